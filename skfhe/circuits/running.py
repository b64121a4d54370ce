"""Sums over chunks of rows, which any number of processes may add up before they are merged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from ..crypto.backend import Ciphertext
from ..packing import Layout
from .arithmetic import Arithmetic, merge_all, projected
from .paired import Margins, RowProducts, RowSums


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
    vectors : sequence of sequence of Ciphertext
        Weights that rows are multiplied with.
    own : RowProducts, optional
        Of the very chunks that will be added, in their order; found on the way unless they are
        known. Without them every product is computed by itself.

    Attributes
    ----------
    totals : list of Ciphertext
        The sums, right once they are closed; those of rows times residuals come first.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        layout: Layout,
        vectors: Sequence[Sequence[Ciphertext]],
        own: RowProducts | None = None,
    ):
        self.arithmetic = arithmetic
        self._layout = layout
        self._products = Margins(arithmetic.backend, vectors, own)
        self._sums = RowSums(arithmetic.backend, own)
        # Totals of other products than those with rows.
        self._others: list[Ciphertext] = []
        self.totals: list[Ciphertext] = []

    @abstractmethod
    def add(self, chunk: Any, kept: bool = True) -> None:
        """Add one chunk of rows, as the evaluator keeps it.

        Parameters
        ----------
        chunk : EncryptedChunk or NetworkChunk
            The chunk.
        kept : bool, default=True
            Whether it stays in memory for later steps.
        """

    @abstractmethod
    def items(self) -> list[Ciphertext]:
        """What is to be merged of the totals, relinearised and rescaled to be."""

    def close(self) -> None:
        """All chunks have been added."""
        self.totals = [*self._sums.close(), *self._others]

    def include(self, totals: Sequence[Ciphertext]) -> None:
        """Add the totals of other chunks."""
        add = self.arithmetic.backend.add
        self.totals = [*map(add, self.totals, totals)] if self.totals else list(totals)

    def gradient(self, chunks: Iterable[Any]) -> Ciphertext:
        """Add chunks, and merge."""
        for chunk in chunks:
            self.add(chunk)
        self.close()
        return self.merged()

    def merged(self) -> Ciphertext:
        """All sums in one ciphertext at the base level."""
        merged = merge_all(self.arithmetic.backend, self._layout, self.items())
        return self.arithmetic.lowered(merged, 0)

    def _margins(self, chunk: Any, kept: bool) -> list[Ciphertext]:
        """A chunk's margins with every vector, settled."""
        found = self._products.of(chunk.rows, kept)
        return [projected(self.arithmetic, self._layout, one) for one in found]

    def _item(self, total: Ciphertext) -> Ciphertext:
        """A sum of products as it is merged."""
        total = self.arithmetic.backend.relinearize(total)
        return self.arithmetic.lowered(total, self.arithmetic.merge_level)

    def _powers(self, total: Ciphertext) -> list[Ciphertext]:
        """The same and its multiples by X^-t, one for each of the m columns."""
        backend, product = self.arithmetic.backend, self._item(total)
        shifts = range(1, self._layout.feature_blocks)
        return [product, *(backend.multiply_monomial(product, -power) for power in shifts)]
