"""Several gradient steps of logistic regression on ciphertexts, one after another.

Every noised gradient v_s stays as it came out of the merge: one ciphertext for all columns. A
point is a fixed linear combination of them, w_t = w_0 + sum_{s<t} c_{t,s} v_s, so momentum, step
sizes and averages cost no level: v_{t-1} takes its constant by declaring its scale anew, and the
earlier ones have levels to spare for theirs. Then the point is taken apart into the ciphertexts
that rows are multiplied with, and the next gradient is as in `skfhe.circuits.logistic`:

1. w_t from v_0, ..., v_{t-1}, split into weights        no level, one key switch per item
2. u, e, X_g e, merged                                   as there, two levels and the polynomial's
3. v_t: plus the owners' encrypted noise

Where the first point is zero its residual is the labels alone, and the step is a product less
deep.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..crypto.backend import Ciphertext
from ..packing import Layout
from .arithmetic import Arithmetic, merge_all, projected, split_all
from .logistic import residuals
from .polynomial import FactoredPolynomial, evaluate

# Rows are copied to a lower level whenever a step is so many below them.
_STRIDE = 4


@dataclass(frozen=True)
class LevelledChunk:
    """One chunk of rows as the evaluator keeps it.

    Attributes
    ----------
    rows : list of Ciphertext
        X_g at the top level.
    products : list of Ciphertext
        What residuals are multiplied with: the same, or rows that their owner has weighted.
    labels : Ciphertext
        1/2 - y at the top level.
    """

    rows: list[Ciphertext]
    products: list[Ciphertext]
    labels: Ciphertext


class LevelledSteps:
    """A round of steps.

    Parameters
    ----------
    arithmetic : Arithmetic
        Backend and rescaling rule.
    layout : Layout
        Where values sit.
    factored : FactoredPolynomial
        The polynomial; points come multiplied by its alpha.
    points : sequence of sequence of float
        c_{t,s} for t = 1, ..., k: what the means over slots are multiplied by, alpha included but
        for the last, which is released. The latest, c_{t,t-1}, is not zero.
    levels : sequence of int
        What the gradients 0, ..., k - 1 are rescaled to.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        layout: Layout,
        factored: FactoredPolynomial,
        points: Sequence[Sequence[float]],
        levels: Sequence[int],
    ):
        self._arithmetic = arithmetic
        self._backend = arithmetic.backend
        self._layout = layout
        self._factored = factored
        self._points = points
        self._levels = levels

    def run(
        self,
        chunks: Sequence[LevelledChunk],
        start: Sequence[Ciphertext],
        noises: Sequence[Ciphertext],
    ) -> Ciphertext:
        """The last point less the first, noised, in one ciphertext at the base level.

        Parameters
        ----------
        chunks : sequence of LevelledChunk
            All rows.
        start : sequence of Ciphertext
            W_g of the first point at the top level; none if it is zero.
        noises : sequence of Ciphertext
            The owners' noise for every step, added up.
        """
        gradients: list[Ciphertext] = []
        for level, noise in zip(self._levels, noises, strict=True):
            chunks = [self._lowered(chunk, gradients) for chunk in chunks]
            residuals = self.residuals(chunks, gradients, start)
            gradient = self.gradient(chunks, residuals, level)
            gradients.append(self._backend.add(gradient, noise))
        return self.combined(gradients)

    def _lowered(self, chunk: LevelledChunk, gradients: Sequence[Ciphertext]) -> LevelledChunk:
        """A chunk some levels lower, where the next step is so many below it.

        Every level would be a size of its own, and SEAL's memory pools keep blocks by size.
        """
        level = self._backend.level(gradients[-1] if gradients else chunk.rows[0])
        if self._backend.level(chunk.rows[0]) < level + _STRIDE:
            return chunk
        rows = [self._backend.switch_to(row, level) for row in chunk.rows]
        products = rows
        if chunk.products is not chunk.rows:
            products = [self._backend.switch_to(row, level) for row in chunk.products]
        return replace(chunk, rows=rows, products=products)

    def combined(self, gradients: Sequence[Ciphertext]) -> Ciphertext:
        """The next point less the first: at the level of the latest gradient.

        The earlier ones are multiplied a level higher and share one rescale.
        """
        backend, *earlier = self._backend, *gradients[:-1]
        *factors, last = self._points[len(gradients) - 1]
        point = backend.scaled(gradients[-1], last)
        if not earlier:
            return point
        level = backend.level(point)
        scale = backend.scale(point) * backend.ring.primes[level + 1]
        terms = [backend.switch_to(one, level + 1) for one in earlier]
        terms = [
            backend.multiply_constant(one, factor, scale / backend.scale(one))
            for one, factor in zip(terms, factors, strict=True)
        ]
        total = terms[0]
        for term in terms[1:]:
            total = backend.add(total, term)
        return backend.add(point, backend.rescale(total))

    def weights(
        self, gradients: Sequence[Ciphertext], start: Sequence[Ciphertext]
    ) -> Iterator[Ciphertext]:
        """W_g of the next point, one by one; of the first it is the start."""
        if not gradients:
            yield from start
            return
        backend, layout, first = self._backend, self._layout, iter(start)
        blocks = layout.feature_blocks
        items = split_all(backend, layout, self.combined(gradients), layout.groups * blocks)
        for _ in range(layout.groups):
            total = next(items)
            for power in range(1, blocks):
                total = backend.add(total, backend.multiply_monomial(next(items), -power))
            if start:
                landed = backend.level(total), backend.scale(total)
                total = backend.add(total, self._arithmetic.land(next(first), *landed))
            yield total

    def residuals(
        self,
        chunks: Sequence[LevelledChunk],
        gradients: Sequence[Ciphertext],
        start: Sequence[Ciphertext],
    ) -> list[Ciphertext]:
        """p(z) - y at the next point, per chunk; without any weights z is zero."""
        if not gradients and not start:
            return [chunk.labels for chunk in chunks]
        totals: list[Ciphertext] = []
        for group, weight in enumerate(self.weights(gradients, start)):
            for index, chunk in enumerate(chunks):
                row = self._backend.switch_to(chunk.rows[group], self._backend.level(weight))
                self._add_product(totals, index, row, weight)
        return [self._residual(*one) for one in zip(chunks, totals, strict=True)]

    def _residual(self, chunk: LevelledChunk, total: Ciphertext) -> Ciphertext:
        margin = projected(self._arithmetic, self._layout, self._backend.relinearize(total))
        core = evaluate(self._arithmetic, self._factored, margin)
        return residuals(self._arithmetic, core, chunk.labels, 1.0)

    def gradient(
        self, chunks: Sequence[LevelledChunk], errors: Sequence[Ciphertext], level: int
    ) -> Ciphertext:
        """Means over all slots of (p(z) - y) x, merged and rescaled to a level."""
        merged = merge_all(self._backend, self._layout, self._items(chunks, errors))
        return self._arithmetic.lowered(merged, level)

    def _items(
        self, chunks: Sequence[LevelledChunk], errors: Sequence[Ciphertext]
    ) -> Iterator[Ciphertext]:
        """Products of residuals with all rows, for every group and power of X."""
        backend = self._backend
        for group in range(self._layout.groups):
            totals: list[Ciphertext] = []
            for chunk, error in zip(chunks, errors, strict=True):
                row = backend.switch_to(chunk.products[group], backend.level(error))
                self._add_product(totals, 0, row, error)
            product = backend.relinearize(totals.pop())
            yield product
            for power in range(1, self._layout.feature_blocks):
                yield backend.multiply_monomial(product, -power)

    def _add_product(
        self, totals: list[Ciphertext], index: int, a: Ciphertext, b: Ciphertext
    ) -> None:
        """Add a b to a total, which begins with it."""
        if index == len(totals):
            totals.append(self._backend.multiply(a, b))
        else:
            totals[index] = self._backend.accumulate(totals[index], a, b)
