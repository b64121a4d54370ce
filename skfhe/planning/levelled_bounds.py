r"""What CKKS errors can do at every step, where nobody interrupts several of them.

The view that privacy is proved for is that of all noised gradients v_s, plaintext
coefficients as they are after the noise is added; points, and what is released, are functions of
them. Between neighbours, given the same v_s before it, gradient t differs by one row's
contribution and by roundings that fall out anew: unlike in `skfhe.planning.logistic_bounds` those
of all chunks, since all ciphertexts of a run that are not fresh differ, and those that the point
has picked up on its way from the v_s to the rows. The latter have a part that is the same for all
rows and adds up coherently: errors delta of the weights move the gradient sum by A delta, with
A = sum p' x x^T of trace norm at most n max |p'| X^2. For independent Gaussian ones of deviation s
its root mean square is at most s times that, and q times as much is exceeded with the probability
of the normal quantile q at most (docs/proofs/rounds.md, statement 11; q + 1 is counted). With r
the error of a rescale and kappa of a key switch per coefficient, at the point's scale,

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
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from ..circuits.arithmetic import Arithmetic
from ..circuits.logistic import margins, residuals
from ..circuits.polynomial import evaluate
from ..crypto import errors
from ..crypto.tracing import Traced, TracingEvaluator
from ..privacy.sensitivity import row_norm
from .levelled import Levelled, factors
from .refreshed_error import largest_error
from .schedule import REFRESHED_SHARE


def _beside(one: Levelled, point: int) -> float:
    """Deviation of a coefficient of a point beside its items, at scale one: rho of the module.

    A merge's key switches are at a scale of a step's primes more: a tenth more than holds them.
    """
    if point in one.refreshes:
        return _beside_carried(one, 1 + one.refreshes.index(point))[0]
    index, row = one.sources(point)
    return _beside_sources(one, index, row)


def _beside_sources(one: Levelled, index: int, row: Sequence[float]) -> float:
    """The same of a combination of a segment's sources."""
    rescale, first = errors.rescale_error(one.ring), one.segments[index].first
    errs = _beside_carried(one, index) if index else []
    errs += [1.1 * rescale / scale for _, scale in one.gradients[first:]]
    return math.hypot(*(c * err for c, err in zip(row, errs, strict=False)))


def _beside_carried(one: Levelled, index: int) -> list[float]:
    """The same of what a segment carries: a rescale's, a key switch's, and what refreshes leave.

    Taking two vectors apart doubles what was there before, with the scale.
    """
    ring, (_, second, last) = one.ring, one.lifts[index - 1]
    apart = len(one.segments[index].carried)
    # The first refresh's, grown with the message since.
    remains = errors.refresh_remains(ring) * second * last / ring.primes[ring.top_level]
    switch = errors.key_switch_error(ring, ring.top_level)
    after = math.hypot(apart * errors.rescale_error(ring), switch, apart * remains)
    return [after / scale for scale in one.carried_scales(index)]


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


@dataclass(frozen=True)
class Kick:
    """What refreshes have done to a point.

    Attributes
    ----------
    deviation : float
        Of every weight: what varies.
    distortion : float
        Bound of the norm of what the sine does, which is a function of the released values.
    """

    deviation: float
    distortion: float


def refresh_kick(one: Levelled, point: int) -> Kick:
    """How far the refreshes before it have moved a point from what its gradients would make it.

    Refreshed vectors are u + e, and are carried on as later vectors' sources, so that e reaches a
    point by the products of their factors (docs/proofs/rounds.md, statement 15).
    """
    reaching = np.zeros((0, 0))
    deviations: list[float] = []
    distortions: list[float] = []
    for index, segment in enumerate(one.segments):
        if index:
            earlier = [row[: reaching.shape[0]] for row in segment.carried]
            reaching = np.hstack([np.array(earlier) @ reaching, np.eye(len(segment.carried))])
            deviations += _deviations(one, index)
            distortions += _distortions(one, index)
        if point == segment.first or (point - 1 in segment.steps and point not in one.refreshes):
            break
    if not index:
        return Kick(0.0, 0.0)
    if point == segment.first:
        reach = np.abs(reaching[0])
    else:
        # The last point is released without alpha.
        gain = abs(one.factored.alpha) if point == len(one.gradients) else 1.0
        row = np.array(segment.points[point - 1 - segment.first][: len(reaching)])
        reach = gain * np.abs(row @ reaching)
    return Kick(
        float(np.linalg.norm(reach * np.array(deviations))), float(reach @ np.array(distortions))
    )


def _deviations(one: Levelled, index: int) -> list[float]:
    """What varies in every weight of what a segment carries: of e, but for the second sine.

    Of the first refresh's error, which is a multiple of q_0 over scale and lift, the second leaves
    its own, and takes the sine's slope off; u has a rescale's rounding; so has bringing e to its
    scale, doubled where two vectors are taken apart by a key switch. The other vector's
    coefficients beside its items were added at the items of this one; and coefficients that are
    kept and no items are what a refresh has not removed: they move every weight at most.
    """
    ring, segment, (first, second, _) = one.ring, one.segments[index], one.lifts[index - 1]
    refreshed, rescale = errors.refresh_error(ring), errors.rescale_error(ring)
    bent, apart = 3 * errors.refresh_distortion(REFRESHED_SHARE), len(segment.carried)
    before = math.hypot(refreshed / second, bent * refreshed) / first
    settled = math.hypot(apart * rescale, errors.key_switch_error(ring, ring.top_level))
    scales = [one.gradients[segment.first - 1][1] / abs(row[-1]) for row in segment.carried]
    # A combination is rescaled once more than its sources.
    beside = [
        math.hypot(_beside_sources(one, index - 1, row), rescale / scale)
        for row, scale in zip(segment.carried, scales, strict=True)
    ]
    items = one.layout.groups * one.layout.feature_blocks * apart
    stray = math.sqrt(2 * max(0, ring.refreshing.slots - items))
    found = []
    for i, after in enumerate(one.carried_scales(index)):
        others = [beside[k] * scales[k] / scales[i] for k in range(apart) if k != i]
        own = (before / scales[i], rescale / scales[i], settled / after, stray * beside[i])
        found.append(math.hypot(*own, *others) / abs(one.factored.alpha))
    return found


def _distortions(one: Levelled, index: int) -> list[float]:
    """Bound of the norm of what the second sine does to what a segment carries.

    It shortens no coordinate of the first one's error by more than the share of it that its
    distortion is, and next to u that error is largest where u is. What is known of u are its
    coordinates.
    """
    share = errors.refresh_distortion(REFRESHED_SHARE) * largest_error(one.ring)
    share /= REFRESHED_SHARE * one.ring.primes[0]
    segment, columns = one.segments[index], one.task.problem.n_columns
    norms = one.task.schedule.carried_norms[segment.first - 1][: len(segment.carried)]
    return [share * norm * math.sqrt(columns) for norm in norms]


@dataclass(frozen=True)
class _Point:
    """What the errors of a point do: to a residual, to a margin, and to every weight alike."""

    residual: Traced
    margin_error: float
    coherent: float


def _point(one: Levelled, step: int) -> _Point:
    """Follow the errors of a point's weights, of margins and of the polynomial."""
    task, ring, layout, scales = one.task, one.ring, one.layout, one.scales
    problem, public = task.problem, not task.symmetric
    tracer = TracingEvaluator(ring)
    arithmetic = Arithmetic(tracer, one.waterline)
    labels = tracer.fresh(ring.top_level, 2.0**scales.labels, 0.5, public=public, dither=True)
    if step == 0 and not task.fresh:
        return _Point(labels, 0.0, 0.0)
    alpha, coherent, beside = abs(one.factored.alpha), 0.0, 0.0
    level, scale = ring.top_level, 2.0**scales.labels
    if step > 0:
        level, scale = one.place(step)
        doubled = 2.0 ** (layout.groups * layout.feature_blocks - 1).bit_length()
        rescale, switch = errors.rescale_error(ring), errors.key_switch_error(ring, level)
        # Where rounds start from fresh weights, those are brought down by a rescale too.
        rescales = rescale * math.sqrt(1 + task.fresh)
        # Taking carried vectors apart is one more of the tree's key switches.
        switches = 4 / 3 + (step in one.refreshes)
        coherent = math.hypot(rescales, switch * math.sqrt(switches)) / scale / alpha
        beside = math.hypot(_beside(one, step), rescale / scale, math.sqrt(2) * switch / scale)
        beside *= math.sqrt(ring.poly_modulus_degree * layout.feature_blocks / doubled)
        scale *= doubled
    norm, share = (
        row_norm(problem.intercept_column),
        math.sqrt(layout.feature_blocks / layout.groups),
    )
    longest = alpha * task.schedule.reaches[step] / min(1.0, problem.intercept_column or 1.0)
    row = tracer.fresh(level, 2.0**scales.rows, norm * share, public=public, dither=True)
    weight = tracer.fresh(level, scale, max(longest, 1e-3) * share)
    weight = replace(weight, rounding={-1: np.asarray(beside)})
    u = margins(arithmetic, layout, [row] * layout.groups, [weight] * layout.groups)
    residual = residuals(arithmetic, evaluate(arithmetic, one.factored, u), labels, 1.0)
    return _Point(residual, (u.fixed_error + u.rounding_error) / alpha, coherent)


def step_bounds(one: Levelled, step: int) -> StepBounds:
    """Bounds at one step; see the module."""
    task, ring, layout, scales = one.task, one.ring, one.layout, one.scales
    problem, schedule, public = task.problem, task.schedule, not task.symmetric
    n, norm = ring.poly_modulus_degree, row_norm(problem.intercept_column)
    contribution, beta = schedule.contributions[step], task.failure / (8 * task.n_steps)
    quantile, secret = -float(ndtri(beta / 2)), -math.log(beta / n)
    rescale, point = errors.rescale_error(ring), _point(one, step)
    kick = refresh_kick(one, step)
    residual, coherent = point.residual, math.hypot(point.coherent, kick.deviation)
    own_level, own_scale = one.gradients[step]
    unit = own_scale / layout.output_norm * contribution
    last, seen = 1.1 * rescale / unit, 2 * layout.groups * layout.feature_blocks
    released = 0.0
    if step == len(schedule.contributions) - 1:
        # All coefficients are released, with the earlier gradients' share and its rescale.
        latest = abs(factors(task, layout)[step][-1])
        share = _beside(one, step + 1) / latest * own_scale
        last, seen = math.hypot(share, rescale) / unit, n
        end = refresh_kick(one, step + 1)
        released = end.deviation / latest * own_scale / unit
    polynomial = schedule.approximation  # it may fall more steeply than it rises
    slope = max(polynomial.max_derivative, -polynomial.min_derivative)
    moved = problem.n_samples * slope * norm**2 / contribution
    together = moved * coherent * (1 + 1 / quantile)
    slot = math.sqrt(n) / 2.0**scales.rows
    encoded = errors.encoding_error(ring, dither=True) * slot
    sent = encoded + errors.fresh_error(ring, ring.top_level, public) * slot

    def rms(
        residual_error: float, row_error: float, n_chunks: int, released_error: float
    ) -> float:
        rows = layout.rows_per_chunk
        moved = norm * residual_error / contribution * math.sqrt(rows * layout.chunks)
        moved += row_error * math.sqrt(rows * n_chunks * layout.groups)
        items = 2 * layout.groups * layout.feature_blocks
        moved_items = items * released**2
        return math.sqrt(moved**2 + seen * released_error**2 + moved_items) + together

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
        margin_slack=single * point.margin_error
        + norm * (coherent * (math.sqrt(layout.n_columns) + quantile) + kick.distortion),
        told=told + moved * kick.distortion,
        flooding=(told / noise) ** 2 / 2,
    )
