r"""Primes and scales for several steps that nobody interrupts.

**Bits.** One step multiplies by rows twice, at their scale 2^x, and sums doubled in projections:
log2(2m) doublings for margins, log2(N/2) for the merge, and one for every bit of an item's index
when the merged gradient is taken apart. What a point is multiplied by, c_{t,t-1} alpha n'/n for
n' rows to a chunk, is declared and not computed. All of this is divided away again by the step's
primes: as few as are needed, of up to 60 bits, since key switches cost the square of their
number. The merged gradient is kept at a scale of at least 2^w over its factor, so that roundings
are small in the point's weights, and small enough for its noise to be encoded exactly. With a
polynomial of degree three or more the margin is brought to a scale of 2^u first, as its powers
multiply it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain as joined

from ..approximation import PolynomialApproximation
from ..circuits.arithmetic import Arithmetic
from ..circuits.levelled import Course, LevelledChunk, LevelledSteps
from ..circuits.polynomial import FactoredPolynomial, evaluate
from ..circuits.segments import Segment, point_factors, segments
from ..crypto.parameters import MAX_MODULUS_BITS, Ring
from ..crypto.tracing import Traced, TracingEvaluator
from ..exceptions import DepthExceeded
from ..packing import Layout
from ..plan import Problem
from ..privacy.sensitivity import row_norm
from .encryption import LARGEST_PRIME_BITS, ideal_ring
from .schedule import Schedule

_LEAST_PRIME = 20
_SPECIAL_ROOM = 2
# Noise must stay below 2^48 to be encoded exactly; a dozen deviations are 2^4.
MOST_NOISE_BITS = 43


@dataclass(frozen=True)
class Task:
    """What encryption must serve.

    Attributes
    ----------
    problem : Problem
        Shape of the data.
    schedule : Schedule
        The steps of a round.
    fresh : bool
        Whether rounds start from weights that the key holder sends.
    noise_multiplier, relation_factor : float
        Noise over the sensitivity; Delta over one row's contribution.
    failure : float
        Probability that error bounds may fail with, over a run of n_steps.
    n_steps, n_owners, n_colluding : int
        All steps; owners, and how many collude.
    """

    problem: Problem
    schedule: Schedule
    fresh: bool
    noise_multiplier: float
    relation_factor: float
    failure: float
    n_steps: int
    n_owners: int
    n_colluding: int

    @property
    def symmetric(self) -> bool:
        """Whether rows are encrypted under the secret key."""
        return self.n_owners == 1


@dataclass(frozen=True)
class Scales:
    """log2 of scales.

    Attributes
    ----------
    rows, labels : int
        Of fresh ones; fresh weights, where there are any, have that of the labels.
    weights : int
        The least of a point's weights before they are split.
    margins : int
        What polynomials are taken of.
    refreshed : int, default=0
        The least of points that have been refreshed, before they are taken apart.
    """

    rows: int
    labels: int
    weights: int
    margins: int
    refreshed: int = 0


@dataclass(frozen=True)
class Levelled:
    """A ring with the circuit's fixed points.

    Attributes
    ----------
    task : Task
        What it serves.
    ring : Ring
        The ring.
    layout : Layout
        Where values sit.
    scales : Scales
        The scales.
    gradients : tuple of (int, float)
        Level and scale of the gradients 0, ..., k - 1.
    refreshes : tuple of int
        As in `skfhe.plan.Rounds`.
    lifts : tuple of tuple of int
        Of every refresh, as `skfhe.circuits.refreshing` takes them.
    """

    task: Task
    ring: Ring
    layout: Layout
    scales: Scales
    gradients: tuple[tuple[int, float], ...]
    refreshes: tuple[int, ...] = ()
    lifts: tuple[tuple[int, int, int], ...] = ()

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The steps apart at refreshes, with factors of merged means."""
        return segments(factors(self.task, self.layout), self.refreshes)

    def sources(self, point: int) -> tuple[int, Sequence[float]]:
        """The index of the segment that makes a point, and the factors of its sources."""
        index = max(i for i, one in enumerate(self.segments) if one.first < point)
        segment = self.segments[index]
        return index, segment.points[point - 1 - segment.first]

    def carried_scales(self, index: int) -> list[float]:
        """Scales of what a segment carries, refreshed."""
        if not index:
            return []
        segment, prime = self.segments[index], self.ring.primes[self.ring.top_level]
        scale = self.gradients[segment.first - 1][1] * math.prod(self.lifts[index - 1]) / prime
        return [len(segment.carried) * scale / abs(row[-1]) for row in segment.carried]

    def place(self, step: int) -> tuple[int, float]:
        """Level and scale of the point of a step, from the second on."""
        if step in self.refreshes:
            scales = self.carried_scales(1 + self.refreshes.index(step))
            return self.ring.top_level - 1, scales[0]
        level, scale = self.gradients[step - 1]
        return level, scale / abs(factors(self.task, self.layout)[step - 1][-1])

    @property
    def waterline(self) -> float:
        """The smallest scale to rescale to; a line's margins are not rescaled."""
        return waterline(self.task.schedule.approximation.degree, self.scales)

    @property
    def factored(self) -> FactoredPolynomial:
        """The polynomial that residuals are computed with."""
        return FactoredPolynomial.of(self.task.schedule.approximation, 1.0)

    def traced(self) -> tuple[Levelled, Counter[tuple[str, int]]]:
        """The same with the exact scales of its gradients, and the operations of a whole round.

        Raises
        ------
        DepthExceeded
            If the circuit does not fit.
        """
        norms = joined.from_iterable(self.task.schedule.carried_norms)
        # A slot is a sum of all coefficients times roots of unity.
        longest = abs(self.factored.alpha) * max(norms, default=math.inf)
        bound = 2 * longest * math.sqrt(2 * self.task.problem.n_columns)
        tracer = TracingEvaluator(self.ring, follow_errors=False, refreshed=bound)
        layout, top = self.layout, self.ring.top_level

        def fresh(bits: float) -> Traced:
            return tracer.fresh(top, 2.0**bits, 2.0**-20)

        rows = [fresh(self.scales.rows)] * layout.groups
        chunk = LevelledChunk(rows, rows, fresh(self.scales.labels))
        start = [fresh(self.scales.labels)] * layout.groups if self.task.fresh else []
        levels = [level for level, _ in self.gradients]
        steps = LevelledSteps(
            Arithmetic(tracer, self.waterline),
            layout,
            self.factored,
            self.segments,
            levels,
            self.lifts,
        )
        # Of messages that are added the scale is taken to fit.
        noises = [tracer.fresh(level, 1.0, 0.0) for level in levels]
        taken = _Taken()
        steps.run([chunk] * layout.chunks, start, noises, taken)
        if [level for level, _ in taken.gradients] != levels:
            raise DepthExceeded("a step takes more primes than were meant for it.")
        return replace(self, gradients=tuple(taken.gradients)), tracer.counts


class _Taken(Course):
    """Notes level and scale of gradients."""

    def __init__(self) -> None:
        self.gradients: list[tuple[int, float]] = []

    def stepped(self, step: int, gradient: Traced) -> None:
        self.gradients.append((gradient.level, gradient.scale))


def factors(task: Task, layout: Layout) -> list[list[float]]:
    """What merged means are multiplied by at every point; see `LevelledSteps`."""
    n_samples = task.problem.n_samples
    return point_factors(task.schedule.points, task.schedule.approximation, n_samples, layout)


def waterline(degree: int, scales: Scales) -> float:
    """Margins are up to half a bit off their scale, their square's multiples some bits."""
    return 2.0 ** (scales.margins - 3 if degree > 1 else 1000)


def noise_units(task: Task, layout: Layout) -> list[float]:
    """What every step's noise is of a unit of the merged mean, rounded upwards."""
    unit = 2 * task.noise_multiplier * task.relation_factor / layout.output_norm
    return [unit * s for s in task.schedule.contributions]


def chain(
    task: Task, layout: Layout, scales: Scales
) -> tuple[tuple[int, ...], tuple[tuple[int, float], ...]]:
    """Bits of the data primes from the base upwards; level and about the scale of gradients."""
    doubled = math.log2(2 * layout.feature_blocks)
    bits = (layout.groups * layout.feature_blocks - 1).bit_length()
    approximation = task.schedule.approximation
    latest = [abs(row[-1]) for row in factors(task, layout)]
    noise = noise_units(task, layout)
    primes: list[int] = []  # from the top
    taken: list[tuple[int, float]] = []
    point = residual = float(scales.labels)
    for step, factor in enumerate(latest):
        if step > 0 or task.fresh:
            residual = point + (bits if step > 0 else 0) + scales.rows + doubled
            if approximation.degree > 1:
                parts = _parts(residual - scales.margins)
                between, residual = _polynomial(
                    approximation.degree, scales.margins, residual - sum(parts) - scales.margins
                )
                primes += parts + between
        merged = residual + scales.rows + math.log2(layout.class_span)
        least = scales.weights + math.log2(factor)
        most = MOST_NOISE_BITS - math.log2(noise[step])
        parts = _parts(merged - least, room=max(0.0, most - least))
        primes += parts
        point = merged - sum(parts) - math.log2(factor)
        taken.append((len(primes), 2.0 ** (merged - sum(parts))))
    # The base holds the last point's weights, and the noise on all other coefficients.
    reach = task.schedule.reaches[-1] / row_norm(task.problem.intercept_column)
    largest = 2 * reach + 16 * noise[-1] * latest[-1] * math.sqrt(task.n_owners)
    base = max(math.ceil(point + math.log2(4 * largest)), _LEAST_PRIME)
    gradients = tuple((len(primes) - n, scale) for n, scale in taken)
    return (base, *reversed(primes)), gradients


@lru_cache(maxsize=256)
def _polynomial(degree: int, bits: int, excess: float) -> tuple[list[int], float]:
    """Primes that a polynomial's products are rescaled by, and log2 of its value's scale.

    The last two products share a prime where they fit one: neither a square nor its product with
    the margin multiplies itself again. The scale is read off a trace.
    """
    approximation = PolynomialApproximation.fit(degree, 8.0)
    shared = 2 * bits <= LARGEST_PRIME_BITS
    primes = [bits] * (approximation.depth - 2 * shared) + [2 * bits] * shared
    ring = ideal_ring(32768, (60, 60, 60, *reversed(primes), 60))
    arithmetic = Arithmetic(TracingEvaluator(ring), waterline(degree, Scales(0, 0, 0, bits)))
    u = arithmetic.backend.fresh(ring.top_level, 2.0 ** (bits + excess), 1.0)
    core = evaluate(arithmetic, FactoredPolynomial.of(approximation, 1.0), u)
    return primes, math.log2(core.scale)


def _parts(bits: float, room: float = 0.0) -> list[int]:
    """Primes that divide by about so many bits, or by as many less as there is room for."""
    count = max(1, math.ceil((bits - room) / LARGEST_PRIME_BITS))
    total = max(count * _LEAST_PRIME, round(min(bits, count * LARGEST_PRIME_BITS)))
    return [total // count + (i < total % count) for i in range(count)]


def build(task: Task, layout: Layout, scales: Scales) -> Levelled | None:
    """The ring for given scales; None if it has more bits than are secure."""
    bits, gradients = chain(task, layout, scales)
    degree = layout.poly_modulus_degree
    room = MAX_MODULUS_BITS[degree] - sum(bits)
    if max(bits) > LARGEST_PRIME_BITS or (
        room < max(bits) + _SPECIAL_ROOM and room < LARGEST_PRIME_BITS
    ):
        return None
    ring = ideal_ring(degree, (*bits, min(room, LARGEST_PRIME_BITS)))
    return Levelled(task, ring, layout, scales, gradients)
