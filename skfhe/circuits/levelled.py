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

from collections.abc import Sequence
from dataclasses import dataclass

from ..crypto.backend import Ciphertext
from ..packing import Layout
from .arithmetic import Arithmetic, merge_all, split_all
from .logistic import margins, residuals
from .polynomial import FactoredPolynomial, evaluate


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
            weights = self.weights(gradients, start) if gradients else list(start)
            gradient = self.gradient(chunks, weights, level)
            gradients.append(self._backend.add(gradient, noise))
        return self.combined(gradients)

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
    ) -> list[Ciphertext]:
        """W_g of the next point."""
        backend, layout = self._backend, self._layout
        blocks = layout.feature_blocks
        items = split_all(backend, layout, self.combined(gradients), layout.groups * blocks)
        weights = []
        for group in range(layout.groups):
            total = items[group * blocks]
            for power in range(1, blocks):
                item = backend.multiply_monomial(items[group * blocks + power], -power)
                total = backend.add(total, item)
            weights.append(total)
        level, scale = backend.level(weights[0]), backend.scale(weights[0])
        first = [self._arithmetic.land(one, level, scale) for one in start]
        return [*map(backend.add, weights, first)] if first else weights

    def residual(self, chunk: LevelledChunk, weights: Sequence[Ciphertext]) -> Ciphertext:
        """p(z) - y of a chunk; without weights z is zero."""
        backend = self._backend
        if not weights:
            return chunk.labels
        level = backend.level(weights[0])
        rows = [backend.switch_to(row, level) for row in chunk.rows]
        margin = margins(self._arithmetic, self._layout, rows, weights)
        core = evaluate(self._arithmetic, self._factored, margin)
        return residuals(self._arithmetic, core, chunk.labels, 1.0)

    def gradient(
        self, chunks: Sequence[LevelledChunk], weights: Sequence[Ciphertext], level: int
    ) -> Ciphertext:
        """Means over all slots of (p(z) - y) x, merged and rescaled to a level."""
        backend, totals = self._backend, []
        for chunk in chunks:
            residual = self.residual(chunk, weights)
            for group, row in enumerate(chunk.products):
                low = backend.switch_to(row, backend.level(residual))
                if len(totals) == group:
                    totals.append(backend.multiply(low, residual))
                else:
                    totals[group] = backend.accumulate(totals[group], low, residual)
        items = []
        for total in totals:
            product = backend.relinearize(total)
            shifts = range(1, self._layout.feature_blocks)
            items += [product, *(backend.multiply_monomial(product, -t) for t in shifts)]
        merged = merge_all(backend, self._layout, items)
        while backend.level(merged) > level:
            merged = backend.rescale(merged)
        return merged
