"""The gradient of logistic regression on ciphertexts.

For a chunk of rows, with weights scaled by alpha (see `polynomial`):

1. u = real S' part of sum_g X_g W_g                 one level, one relinearisation
2. e = (p(z) - y)/S, from u and the encrypted labels ceil(log2(degree + 1)) levels
3. X_g e, summed over chunks                        one level

and then, once for all chunks, these are relinearised and the S parts of X^(-t) X_g e merged into
one ciphertext at the base level; they are rescaled to it before they are merged, or after.
Dividing by S, the bound of one row's contribution, makes noise of one fixed multiplier right at
every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..crypto.backend import Ciphertext
from ..packing import Layout
from .arithmetic import Arithmetic, projected
from .paired import RowProducts
from .polynomial import FactoredPolynomial, evaluate
from .running import RunningSums


@dataclass(frozen=True)
class EncryptedChunk:
    """One chunk of rows as the evaluator keeps it.

    Attributes
    ----------
    rows : list of Ciphertext
        X_g at the top level.
    low_rows : list of Ciphertext
        The same, switched once to the level of the last product; where classes have weights,
        these rows have been multiplied by their owner.
    labels : Ciphertext
        1/2 - y, at its own low level.
    """

    rows: list[Ciphertext]
    low_rows: list[Ciphertext]
    labels: Ciphertext


def margins(
    arithmetic: Arithmetic,
    layout: Layout,
    rows: Sequence[Ciphertext],
    weights: Sequence[Ciphertext],
) -> Ciphertext:
    """The scaled margins u = alpha z of a chunk, settled."""
    return projected(arithmetic, layout, arithmetic.backend.dot(rows, weights))


def residuals(
    arithmetic: Arithmetic, core: Ciphertext, labels: Ciphertext, divisor: float
) -> Ciphertext:
    """(p(z) - y)/divisor from (p(z) - 1/2)/divisor and the labels 1/2 - y.

    The labels are a level above the core where its scale leaves no room for 1/divisor.
    """
    backend = arithmetic.backend
    level, scale = backend.level(core), backend.scale(core)
    labels = arithmetic.land(labels, level, scale, 1 / divisor)
    return backend.add(core, labels)


class LogisticSums(RunningSums):
    """Means over all slots of (p(z) - y) x / divisor.

    Parameters
    ----------
    arithmetic : Arithmetic
        Backend and rescaling rule.
    layout : Layout
        Where values sit.
    factored : FactoredPolynomial
        The polynomial, already divided by `divisor`.
    divisor : float
        S, the bound of one row's contribution at these weights.
    weights : sequence of Ciphertext
        W_g times alpha.
    own : RowProducts, optional
        See `RunningSums`.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        layout: Layout,
        factored: FactoredPolynomial,
        divisor: float,
        weights: Sequence[Ciphertext],
        own: RowProducts | None = None,
    ):
        super().__init__(arithmetic, layout, [weights], own)
        self._factored = factored
        self._divisor = divisor

    def add(self, chunk: EncryptedChunk, kept: bool = True) -> None:
        arithmetic, backend = self.arithmetic, self.arithmetic.backend
        (margin,) = self._margins(chunk, kept)
        core = evaluate(arithmetic, self._factored, margin)
        error = residuals(arithmetic, core, chunk.labels, self._divisor)
        error = backend.switch_to(error, backend.level(chunk.low_rows[0]))
        self._sums.add(chunk.low_rows, [error])

    def items(self) -> list[Ciphertext]:
        return [item for total in self.totals for item in self._powers(total)]
