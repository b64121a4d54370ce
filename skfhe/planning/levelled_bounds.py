r"""What CKKS errors can do at every step, where nobody interrupts several of them.

The view that privacy is proved for is that of all noised gradients v_s, plaintext
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
        level, scale = one.gradients[step - 1]
        scale /= abs(factors(task, layout)[step - 1][-1])
        doubled = 2.0 ** (layout.groups * layout.feature_blocks - 1).bit_length()
        rescale, switch = errors.rescale_error(ring), errors.key_switch_error(ring, level)
        # Where rounds start from fresh weights, those are brought down by a rescale too.
        rescales = rescale * math.sqrt(1 + task.fresh)
        coherent = math.hypot(rescales, switch * math.sqrt(4 / 3)) / scale / alpha
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
    residual, coherent = point.residual, point.coherent
    own_level, own_scale = one.gradients[step]
    unit = own_scale / layout.output_norm * contribution
    last, seen = 1.1 * rescale / unit, 2 * layout.groups * layout.feature_blocks
    if step == len(schedule.contributions) - 1:
        # All coefficients are released, with the earlier gradients' share and its rescale.
        latest = abs(factors(task, layout)[step][-1])
        share = _beside(one, step + 1) / latest * own_scale
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
        margin_slack=single * point.margin_error
        + quantile * coherent * norm * math.sqrt(layout.n_columns),
        told=told,
        flooding=(told / noise) ** 2 / 2,
    )
