r"""Primes, scales and error bounds for several steps that nobody interrupts.

**Bits.** One step multiplies by rows twice, at their scale 2^x, and sums doubled in projections:
log2(2m) doublings for margins, log2(N/2) for the merge, and one for every bit of an item's index
when the merged gradient is taken apart. What a point is multiplied by, c_{t,t-1} alpha n'/n for
n' rows to a chunk, is declared and not computed. All of this is divided away again by the step's
primes: as few as are needed, of up to 60 bits, since key switches cost the square of their
number. The merged gradient is kept at a scale of at least 2^w over its factor, so that roundings
are small in the point's weights, and small enough for its noise to be encoded exactly. With a
polynomial of degree three or more the margin is brought to a scale of 2^u first, as its powers
multiply it.

**Errors.** The view that privacy is proved for is that of all noised gradients v_s, plaintext
coefficients as they are after the noise is added; points, and what is released, are functions of
them. Between neighbours, given the same v_s before it, gradient t differs by one row's
contribution and by roundings that fall out anew: unlike in `skfhe.planning.logistic_bounds` those
of all chunks, since all ciphertexts of a run that are not fresh differ, and those that the point
has picked up on its way from the v_s to the rows. The latter have a part that is the same for all
rows and adds up coherently: an error delta in every one of d weights moves the gradient sum by at
most n max p' X^2 sqrt(d) delta. With r the error of a rescale and kappa of a key switch per
coefficient, at the point's scale,

    delta^2 <= r^2 + kappa^2 (1 + 1/4 + 1/16 + ...),

one rescale for the earlier gradients' share, one key switch for the conjugation, and those of the
tree whose results double. The rest of these error polynomials differs from row to row like any
margin's rounding, and so do the roundings beside the items of every gradient that the point is
made of: no noise is there, but in the last. With their sum's deviation rho per coefficient,
rho^2 = sum_s (c_{t,s} r_s)^2 for the error r_s of gradient s, it is per slot

    sqrt(N m (rho^2 + r^2 + 2 kappa^2) / items) / scale.

What is released has them too: rho and r are then part of the last gradient's error.

All are counted with the normal quantile of `logistic_bounds`, once for either neighbour.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.special import ndtri

from ..approximation import PolynomialApproximation
from ..circuits.arithmetic import Arithmetic
from ..circuits.levelled import LevelledChunk, LevelledSteps
from ..circuits.logistic import margins, residuals
from ..circuits.polynomial import FactoredPolynomial, evaluate
from ..crypto import errors
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
_MOST_NOISE_BITS = 43


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
    """

    rows: int
    labels: int
    weights: int
    margins: int


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
    """

    task: Task
    ring: Ring
    layout: Layout
    scales: Scales
    gradients: tuple[tuple[int, float], ...]

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
        tracer = TracingEvaluator(self.ring, follow_errors=False)
        layout, top = self.layout, self.ring.top_level

        def fresh(bits: float) -> Traced:
            return tracer.fresh(top, 2.0**bits, 2.0**-20)

        rows = [fresh(self.scales.rows)] * layout.groups
        chunk = LevelledChunk(rows, rows, fresh(self.scales.labels))
        start = [fresh(self.scales.labels)] * layout.groups if self.task.fresh else []
        steps = LevelledSteps(
            Arithmetic(tracer, self.waterline),
            layout,
            self.factored,
            factors(self.task, layout),
            [level for level, _ in self.gradients],
        )
        gradients, chunks = [], [chunk] * layout.chunks
        for level, _ in self.gradients:
            of_chunks = steps.residuals(chunks, gradients, start)
            gradients.append(steps.gradient(chunks, of_chunks, level))
        steps.combined(gradients)
        exact = tuple((one.level, one.scale) for one in gradients)
        if [level for level, _ in exact] != [level for level, _ in self.gradients]:
            raise DepthExceeded("a step takes more primes than were meant for it.")
        return replace(self, gradients=exact), tracer.counts


def factors(task: Task, layout: Layout) -> list[list[float]]:
    """What merged means are multiplied by at every point; see `LevelledSteps`."""
    return point_factors(task.schedule.points, task.schedule.approximation, task.problem, layout)


def point_factors(points, approximation, problem: Problem, layout: Layout) -> list[list[float]]:
    """The coefficients of points for means over slots, and for scaled weights but in the last."""
    alpha = FactoredPolynomial.of(approximation, 1.0).alpha
    mean = layout.rows_per_chunk / problem.n_samples
    return [
        [-c * mean * (alpha if t < len(points) else 1.0) for c in row]
        for t, row in enumerate(points, start=1)
    ]


def waterline(degree: int, scales: Scales) -> float:
    """Margins are up to half a bit off their scale, their square's multiples some bits."""
    return 2.0 ** (scales.margins - 3 if degree > 1 else 1000)


def chain(
    task: Task, layout: Layout, scales: Scales
) -> tuple[tuple[int, ...], tuple[tuple[int, float], ...]]:
    """Bits of the data primes from the base upwards; level and about the scale of gradients."""
    doubled = math.log2(2 * layout.feature_blocks)
    bits = (layout.groups * layout.feature_blocks - 1).bit_length()
    approximation, contributions = task.schedule.approximation, task.schedule.contributions
    latest = [abs(row[-1]) for row in factors(task, layout)]
    # What the noise is of a unit of the merged mean, rounded upwards.
    noise = [2 * task.noise_multiplier * task.relation_factor * s for s in contributions]
    noise = [one / layout.output_norm for one in noise]
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
        most = _MOST_NOISE_BITS - math.log2(noise[step])
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


def _beside(one: Levelled, point: int) -> float:
    """Deviation of a coefficient of a point beside its items, at scale one: rho of the module.

    A merge's key switches are at a scale of a step's primes more: a tenth more than holds them.
    """
    rescale, row = errors.rescale_error(one.ring), factors(one.task, one.layout)[point - 1]
    scales = [scale for _, scale in one.gradients]
    return 1.1 * rescale * math.hypot(*(c / s for c, s in zip(row, scales, strict=False)))


@dataclass(frozen=True)
class StepBounds:
    """What errors can do at one step, in units of its S.

    Attributes
    ----------
    error, row_slack, flooding : float
        As in `skfhe.planning.requirement.Bounds`, of this step alone.
    margin_slack : float
        How far a margin may be moved.
    told : float
        How far the sum may be moved by all errors, those that all data share included.
    """

    error: float
    row_slack: float
    margin_slack: float
    told: float
    flooding: float


def step_bounds(one: Levelled, step: int) -> StepBounds:
    """Bounds at one step; see the module."""
    task, ring, layout, scales = one.task, one.ring, one.layout, one.scales
    problem, schedule, public = task.problem, task.schedule, not task.symmetric
    n, norm = ring.poly_modulus_degree, row_norm(problem.intercept_column)
    contribution, beta = schedule.contributions[step], task.failure / (8 * task.n_steps)
    quantile, secret = -float(ndtri(beta / 2)), -math.log(beta / n)
    tracer = TracingEvaluator(ring)
    arithmetic = Arithmetic(tracer, one.waterline)
    labels = tracer.fresh(ring.top_level, 2.0**scales.labels, 0.5, public=public, dither=True)
    rescale, alpha = errors.rescale_error(ring), abs(one.factored.alpha)
    latest = [abs(row[-1]) for row in factors(task, layout)]
    margin_error = coherent = 0.0
    residual = labels
    if step > 0 or task.fresh:
        share = math.sqrt(layout.feature_blocks / layout.groups)
        longest = alpha * schedule.reaches[step] / min(1.0, problem.intercept_column or 1.0)
        if step > 0:
            level, scale = one.gradients[step - 1]
            scale /= latest[step - 1]
            items = layout.groups * layout.feature_blocks
            doubled = 2.0 ** (items - 1).bit_length()
            switch = errors.key_switch_error(ring, level)
            # Where rounds start from fresh weights, those are brought down by a rescale too.
            rescales = rescale * math.sqrt(1 + task.fresh)
            coherent = math.hypot(rescales, switch * math.sqrt(4 / 3)) / scale / alpha
            beside = math.hypot(_beside(one, step), rescale / scale, math.sqrt(2) * switch / scale)
            beside *= math.sqrt(n * layout.feature_blocks / doubled)
            scale *= doubled
        else:
            level, scale, beside = ring.top_level, 2.0**scales.labels, 0.0
        row = tracer.fresh(level, 2.0**scales.rows, norm * share, public=public, dither=True)
        weight = tracer.fresh(level, scale, max(longest, 1e-3) * share)
        weight = replace(weight, rounding={-1: np.asarray(beside)})
        u = margins(arithmetic, layout, [row] * layout.groups, [weight] * layout.groups)
        margin_error = (u.fixed_error + u.rounding_error) / alpha
        residual = residuals(arithmetic, evaluate(arithmetic, one.factored, u), labels, 1.0)
    own_level, own_scale = one.gradients[step]
    unit = own_scale / layout.output_norm * contribution
    last, seen = 1.1 * rescale / unit, 2 * layout.groups * layout.feature_blocks
    if step == len(schedule.contributions) - 1:
        # All coefficients are released, with the earlier gradients' share and its rescale.
        share = _beside(one, step + 1) / latest[step] * own_scale
        last, seen = math.hypot(share, rescale) / unit, n
    slope = schedule.approximation.max_derivative
    together = problem.n_samples * slope * norm**2 * coherent / contribution
    together *= math.sqrt(layout.n_columns)
    slot = math.sqrt(n) / 2.0**scales.rows
    encoded = errors.encoding_error(ring, dither=True) * slot
    sent = encoded + errors.fresh_error(ring, ring.top_level, public) * slot

    def rms(
        residual_error: float, row_error: float, n_chunks: int, released_error: float
    ) -> float:
        rows = layout.rows_per_chunk
        moved = norm * residual_error / contribution * math.sqrt(rows * layout.chunks)
        moved += row_error * math.sqrt(rows * n_chunks * layout.groups)
        return math.sqrt(moved**2 + seen * released_error**2) + together

    either = residual.rounding_error + residual.fixed_error
    all_slots = layout.chunks * layout.slots
    single = math.sqrt(-2 * math.log(beta / all_slots) * secret)
    row_error = sent * (math.sqrt(layout.n_columns) + math.sqrt(-2 * math.log(beta / all_slots)))
    if public:
        row_error *= math.sqrt(secret)
    noised = errors.fresh_error(ring, own_level, public) * math.sqrt(task.n_owners)
    told = quantile * rms(either, sent, layout.chunks, last + noised / unit)
    noise = task.noise_multiplier * task.relation_factor
    return StepBounds(
        error=2 * quantile * rms(residual.rounding_error, encoded, 1, last),
        row_slack=single * either * norm / contribution + 2 * row_error / norm,
        margin_slack=single * margin_error
        + quantile * coherent * norm * math.sqrt(layout.n_columns),
        told=told,
        flooding=(told / noise) ** 2 / 2,
    )
