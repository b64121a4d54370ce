"""Sums over chunks of rows, which any number of processes may add up before they are merged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from ..crypto.backend import Ciphertext
from ..packing import Layout
from .arithmetic import Arithmetic, merge_all


class RunningSums(ABC):
    """A step's sums over the chunks seen so far, not relinearised.

    Adding ciphertexts is exact, so the merged result is the same to the last bit however chunks
    are shared out among processes, and in whatever order their sums arrive.

    Parameters
    ----------
    arithmetic : Arithmetic
        Backend and rescaling rule.
    layout : Layout
        Where rows and sums sit.

    Attributes
    ----------
    totals : list of Ciphertext
        The sums; empty before the first chunk.
    """

    def __init__(self, arithmetic: Arithmetic, layout: Layout):
        self.arithmetic = arithmetic
        self._layout = layout
        self.totals: list[Ciphertext] = []

    @abstractmethod
    def add(self, chunk: Any) -> None:
        """Add one chunk of rows, as the evaluator keeps it."""

    @abstractmethod
    def items(self) -> list[Ciphertext]:
        """What is to be merged of the totals, relinearised."""

    def include(self, totals: Sequence[Ciphertext]) -> None:
        """Add the totals of other chunks."""
        add = self.arithmetic.backend.add
        self.totals = [*map(add, self.totals, totals)] if self.totals else list(totals)

    def gradient(self, chunks: Iterable[Any]) -> Ciphertext:
        """Add chunks, and merge."""
        for chunk in chunks:
            self.add(chunk)
        return self.merged()

    def merged(self) -> Ciphertext:
        """All sums in one ciphertext at the base level."""
        backend = self.arithmetic.backend
        merged = merge_all(backend, self._layout, self.items())
        while backend.level(merged) > 0:
            merged = backend.rescale(merged)
        return merged

    def _product(self, index: int, a: Ciphertext, b: Ciphertext) -> None:
        """Add a b to a total, which begins with it."""
        if index == len(self.totals):
            self.totals.append(self.arithmetic.backend.multiply(a, b))
        else:
            total = self.totals[index]
            self.totals[index] = self.arithmetic.backend.accumulate(total, a, b)

    def _powers(self, product: Ciphertext) -> list[Ciphertext]:
        """A relinearised product and its multiples by X^-t, one for each of the m columns."""
        backend = self.arithmetic.backend
        product = backend.relinearize(product)
        shifts = range(1, self._layout.feature_blocks)
        return [product, *(backend.multiply_monomial(product, -power) for power in shifts)]
