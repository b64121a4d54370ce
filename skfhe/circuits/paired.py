r"""Sums of products of rows at half the ciphertext products.

Winograd (1968, IEEE Transactions on Computers C-17) computes inner products two terms at a time:

    x_1 w_1 + x_2 w_2 = (x_1 + w_2)(x_2 + w_1) - x_1 x_2 - w_2 w_1.

What is taken away belongs to one side alone, so it is shared: the rows' *own products* x_1 x_2
are the same at every step, the weights' w_1 w_2 for every chunk of rows. A ciphertext is a
polynomial in the secret over the residues modulo q, and the identity holds in every commutative
ring. So the result is the same to the last bit as without it: no error is added, whatever is
encrypted and at whatever scale, and bounds for the one hold for the other.

Margins are inner products over the groups of a chunk, gradients inner products over chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product, repeat

from ..crypto.backend import Ciphertext, Evaluator, Own

# Below so many chunks or steps the own products cost more than they save.
_LEAST_CHUNKS, _LEAST_STEPS = 3, 3

_Pair = tuple[Ciphertext, Ciphertext]
# Rows of a chunk, and the residuals that they are multiplied with.
_Terms = tuple[Sequence[Ciphertext], Sequence[Ciphertext]]


@dataclass
class RowProducts:
    """The own products of a sequence of chunks, found in one step for all later ones.

    Attributes
    ----------
    margins : dict of int to Own
        Over a chunk's groups, for the chunks that stay in memory.
    gradients : list of Own
        Over pairs of neighbouring chunks, per group.
    known : bool
        Whether all have been found.
    """

    margins: dict[int, Own] = field(default_factory=dict)
    gradients: list[Own] = field(default_factory=list)
    known: bool = False


def pays(n_chunks: int, n_steps: int) -> bool:
    """Whether own products save more than they cost."""
    return n_chunks >= _LEAST_CHUNKS and n_steps >= _LEAST_STEPS


class Margins:
    """Inner products of rows with vectors of weights.

    Parameters
    ----------
    backend : Evaluator
        Any backend.
    vectors : sequence of sequence of Ciphertext
        The weights, one for every group of columns.
    own : RowProducts or None
        Of the chunks that are to come, in their order; None to compute every product by itself.
    """

    def __init__(
        self,
        backend: Evaluator,
        vectors: Sequence[Sequence[Ciphertext]],
        own: RowProducts | None,
    ):
        self._backend = backend
        self._vectors = vectors
        self._own = own
        self._chunk = 0

    def of(self, rows: Sequence[Ciphertext], kept: bool) -> list[Ciphertext]:
        """The next chunk's, relinearised, with every vector.

        Parameters
        ----------
        rows : sequence of Ciphertext
            The chunk's, one for every group.
        kept : bool
            Whether the chunk stays in memory; if not, its own products do not either.
        """
        backend, own, index = self._backend, self._own, self._chunk
        self._chunk += 1
        if own is not None and index in own.margins:
            vectors = zip(self._vectors, self._vectors_own, strict=True)
            return [self._paired(rows, one, own.margins[index], other) for one, other in vectors]
        if own is not None and kept and len(rows) > 1:
            own.margins[index] = self._own_of(rows)
        return [backend.dot(rows, weights) for weights in self._vectors]

    def _paired(
        self, rows: Sequence[Ciphertext], weights: Sequence[Ciphertext], *owns: Own
    ) -> Ciphertext:
        backend, total = self._backend, None
        for pair in zip(_pairs(rows), _pairs(weights), strict=True):
            total = backend.crossed(total, *pair)
        total = backend.without(total, *owns)
        if len(rows) % 2:
            total = backend.accumulate(total, rows[-1], weights[-1])
        return backend.relinearize(total)

    @cached_property
    def _vectors_own(self) -> list[Own]:
        return [self._own_of(weights) for weights in self._vectors]

    def _own_of(self, items: Sequence[Ciphertext]) -> Own:
        own = None
        for pair in _pairs(items):
            own = self._backend.own(own, *pair)
        return own


class RowSums:
    """Sums over chunks of rows times residuals, not relinearised.

    Parameters
    ----------
    backend : Evaluator
        Any backend.
    own : RowProducts or None
        Of the chunks that are to come, in their order; None to compute every product by itself.

    Attributes
    ----------
    totals : list of Ciphertext
        Per residual and group of columns; right once the sums are closed.
    """

    def __init__(self, backend: Evaluator, own: RowProducts | None):
        self._backend = backend
        self._own = own
        self._waiting: _Terms | None = None
        self._residuals_own: list[Own] = []
        self.totals: list[Ciphertext] = []

    def add(self, rows: Sequence[Ciphertext], residuals: Sequence[Ciphertext]) -> None:
        """Add the products of a chunk's rows with each of its residuals."""
        terms = rows, residuals
        if self._own is None:
            self._plain(*terms)
        elif self._waiting is None:
            self._waiting = terms
        else:
            first, self._waiting = self._waiting, None
            row_pairs = [*zip(first[0], rows, strict=True)]
            if self._own.known:
                pairs = [*zip(first[1], residuals, strict=True)]
                self._residuals_own = self._owns(self._residuals_own, pairs)
                self._crossed(row_pairs, pairs)
            else:
                self._own.gradients = self._owns(self._own.gradients, row_pairs)
                self._plain(*first)
                self._plain(*terms)

    def close(self) -> list[Ciphertext]:
        """All chunks have been added: the totals."""
        if self._waiting is not None:
            self._plain(*self._waiting)
            self._waiting = None
        if self._own is not None:
            if self._residuals_own:
                owns = product(self._residuals_own, self._own.gradients)
                both = zip(self.totals, owns, strict=True)
                self.totals = [self._backend.without(total, *own) for total, own in both]
            self._own.known = True
        return self.totals

    def _plain(self, rows: Sequence[Ciphertext], residuals: Sequence[Ciphertext]) -> None:
        backend, terms = self._backend, product(residuals, rows)
        if self.totals:
            both = zip(self.totals, terms, strict=True)
            self.totals = [backend.accumulate(t, row, residual) for t, (residual, row) in both]
        else:
            self.totals = [backend.multiply(row, residual) for residual, row in terms]

    def _crossed(self, rows: Sequence[_Pair], residuals: Sequence[_Pair]) -> None:
        totals = self.totals or repeat(None)
        pairs = product(residuals, rows)
        self.totals = [
            self._backend.crossed(total, row_pair, pair)
            for total, (pair, row_pair) in zip(totals, pairs, strict=False)
        ]

    def _owns(self, before: Sequence[Own], pairs: Iterable[_Pair]) -> list[Own]:
        totals = before or repeat(None)
        both = zip(totals, pairs, strict=False)
        return [self._backend.own(total, *pair) for total, pair in both]


def _pairs(items: Sequence[Ciphertext]) -> list[_Pair]:
    """Neighbours; of an odd number the last is left out."""
    return [*zip(items[::2], items[1::2], strict=False)]
