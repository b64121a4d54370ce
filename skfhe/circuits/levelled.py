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
deep. Where levels are spent and the backend can refresh ciphertexts, what later steps need
(`skfhe.circuits.segments`) goes through one refresh, and all goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..crypto.backend import Ciphertext
from ..packing import Layout
from .arithmetic import Arithmetic, merge_all, projected, split_all
from .logistic import residuals
from .polynomial import FactoredPolynomial, evaluate
from .refreshing import refreshed
from .segments import Segment

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


class Course:
    """What a round tells of its way: nothing, unless a party wants to know."""

    def kept(self) -> tuple[int, Ciphertext] | None:
        """The segment that the round may begin at, with what was refreshed before it."""
        return None

    def stepped(self, step: int, gradient: Ciphertext) -> None:
        """A step has been taken."""

    def refreshed(self, segment: int, first: int, carried: Ciphertext) -> None:
        """What a segment carries, whose first step is told too, has been refreshed."""


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
    segments : sequence of Segment
        The steps; factors are what means over slots are multiplied by, alpha included but for the
        last point, which is released. That of the latest source is not zero.
    levels : sequence of int
        What the gradients 0, ..., k - 1 are rescaled to.
    lifts : sequence of tuple of int
        For every refresh: what `refreshed` multiplies by.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        layout: Layout,
        factored: FactoredPolynomial,
        segments: Sequence[Segment],
        levels: Sequence[int],
        lifts: Sequence[tuple[int, int, int]] = (),
    ):
        self._arithmetic = arithmetic
        self._backend = arithmetic.backend
        self._layout = layout
        self._factored = factored
        self._segments = segments
        self._levels = levels
        self._lifts = lifts

    def run(
        self,
        chunks: Sequence[LevelledChunk],
        start: Sequence[Ciphertext],
        noises: Sequence[Ciphertext],
        course: Course | None = None,
    ) -> Ciphertext:
        """The last point less the first, noised, in one ciphertext at the last gradient's level.

        Parameters
        ----------
        chunks : sequence of LevelledChunk
            All rows.
        start : sequence of Ciphertext
            W_g of the first point at the top level; none if it is zero.
        noises : sequence of Ciphertext
            The owners' noise for every step, added up.
        course : Course, optional
            What is told of the way, and where it may begin.
        """
        course = course or Course()
        index, sources = 0, list[Ciphertext]()
        if (kept := course.kept()) is not None:
            index, carried = kept
            sources = self._apart(carried, self._segments[index])
        while True:
            segment = self._segments[index]
            self._take(segment, sources, chunks, start, noises, course)
            index += 1
            if index == len(self._segments):
                return self.combined(sources, segment.points[-1])
            packed = self._together(sources, self._segments[index])
            carried = refreshed(self._backend, packed, self._lifts[index - 1])
            course.refreshed(index, self._segments[index].first, carried)
            sources = self._apart(carried, self._segments[index])

    def _take(
        self,
        segment: Segment,
        sources: list[Ciphertext],
        chunks: Sequence[LevelledChunk],
        start: Sequence[Ciphertext],
        noises: Sequence[Ciphertext],
        course: Course,
    ) -> None:
        """The steps of a segment: adds their gradients to its sources, which begin with points."""
        point = sources[0] if sources else None
        for step, factors in zip(segment.steps, segment.points, strict=True):
            chunks = [self._lowered(chunk, point) for chunk in chunks]
            residuals = self.residuals(chunks, point, start)
            gradient = self.gradient(chunks, residuals, self._levels[step])
            sources.append(self._backend.add(gradient, noises[step]))
            course.stepped(step, sources[-1])
            if step != segment.steps[-1]:
                point = self.combined(sources, factors)

    def _lowered(self, chunk: LevelledChunk, point: Ciphertext | None) -> LevelledChunk:
        """A chunk some levels lower, where the next step is so many below it.

        Every level would be a size of its own, and SEAL's memory pools keep blocks by size.
        """
        level = self._backend.level(chunk.rows[0] if point is None else point)
        if self._backend.level(chunk.rows[0]) < level + _STRIDE:
            return chunk
        rows = [self._backend.switch_to(row, level) for row in chunk.rows]
        products = rows
        if chunk.products is not chunk.rows:
            products = [self._backend.switch_to(row, level) for row in chunk.products]
        return replace(chunk, rows=rows, products=products)

    def combined(self, sources: Sequence[Ciphertext], factors: Sequence[float]) -> Ciphertext:
        """A point less the first: at the level of the latest source.

        The others are multiplied a level higher and share one rescale.
        """
        backend, *earlier = self._backend, *sources[:-1]
        point = backend.scaled(sources[-1], factors[-1])
        level = backend.level(point)
        scale = backend.scale(point) * backend.ring.primes[level + 1]
        total = None
        for one, factor in zip(earlier, factors, strict=False):
            if not factor:
                continue
            one = backend.switch_to(one, level + 1)
            term = backend.multiply_constant(one, factor, scale / backend.scale(one))
            total = term if total is None else backend.add(total, term)
        return point if total is None else backend.add(point, backend.rescale(total))

    def _together(self, sources: Sequence[Ciphertext], segment: Segment) -> Ciphertext:
        """What a segment carries, in one ciphertext: the second beside the items of the first.

        Multiples of powers of X do not mind each other's scales, so the second is taken to be at
        the first one's.
        """
        backend = self._backend
        first, *others = (self.combined(sources, factors) for factors in segment.carried)
        for other in others:
            other = backend.scaled(other, backend.scale(other) / backend.scale(first))
            first = backend.add(first, backend.multiply_monomial(other, self._beside[0]))
        return first

    def _apart(self, carried: Ciphertext, segment: Segment) -> list[Ciphertext]:
        """The carried vectors again, at the level of refreshed ciphertexts."""
        backend = self._backend
        if len(segment.carried) == 1:
            return [carried]
        first, second = backend.split(carried, *self._beside)
        ratio = abs(segment.carried[1][-1] / segment.carried[0][-1])
        return [first, backend.scaled(second, ratio)]

    @property
    def _beside(self) -> tuple[int, int]:
        """The power of X next to all items, and the Galois element that negates it alone."""
        layout = self._layout
        bits = (layout.groups * layout.feature_blocks - 1).bit_length()
        return layout.class_span >> (bits + 1), layout.sum_elements[bits]

    def weights(
        self, point: Ciphertext | None, start: Sequence[Ciphertext]
    ) -> Iterator[Ciphertext]:
        """W_g of a point, one by one; of the first it is the start."""
        if point is None:
            yield from start
            return
        backend, layout, first = self._backend, self._layout, iter(start)
        blocks = layout.feature_blocks
        items = split_all(backend, layout, point, layout.groups * blocks)
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
        point: Ciphertext | None,
        start: Sequence[Ciphertext],
    ) -> list[Ciphertext]:
        """p(z) - y at a point, per chunk; without any weights z is zero."""
        if point is None and not start:
            return [chunk.labels for chunk in chunks]
        totals: list[Ciphertext] = []
        for group, weight in enumerate(self.weights(point, start)):
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
