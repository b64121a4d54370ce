"""Whether the certificate of a plan's rounds follows from its own figures."""

from __future__ import annotations

import math
from itertools import pairwise

from ..exceptions import DepthExceeded, InfeasiblePlan, PlanMismatch
from ..packing import Layout, output_norm
from ..plan import TrainingPlan
from ..privacy.sensitivity import RELATION_FACTOR, row_norm
from ..privacy.trajectory import Noise
from .levelled import Levelled, Scales, Task
from .levelled_bounds import step_bounds
from .refreshed_error import largest_error
from .rings import needed_slots, refreshing_rings, ring_of
from .schedule import (
    ERROR_ROOM,
    REFRESHED_SHARE,
    Schedule,
    Setting,
    carried_norms,
    contributions_of,
    n_others,
    reaches_of,
)

# Figures are recomputed on another machine: a few last digits may differ.
_ROUNDING = 1e-9
# More steps than any modulus holds; the certificates' maxima are taken on points for fewer.
_MOST_STEPS = 64
# 2E of a step, over the relation's factor: errors are otherwise taken from the plan.
_MOST_ERROR = 0.1
# Bounds on errors are sums over many figures.
_TOLD = 1 + 1e-6
# By how much the last reach, which releases are checked against, may exceed the certificate's.
_LAST_REACH = 2.0


def require_rounds(plan: TrainingPlan) -> None:
    """Refuse rounds whose lists do not fit each other or the plan, before they are computed with.

    Raises
    ------
    PlanMismatch
        If so.
    """
    rounds, used = plan.rounds, plan.encryption
    if not _refreshing_fits(plan):
        raise PlanMismatch(
            "this plan refreshes ciphertexts that its ring, steps or levels do not allow for; do "
            "not use it."
        )
    if rounds is None:
        return
    k, problem, last = rounds.steps, plan.problem, used.top_level + 1
    lists = (
        rounds.contributions,
        rounds.noise_levels,
        rounds.noise_scales,
        rounds.noise_units,
    )
    if not (
        type(k) is int
        and 1 <= k <= _MOST_STEPS
        and plan.optimizer.max_iter % k == 0
        and problem.n_outputs == 1
        and not problem.hidden_units
        and plan.preparation.curvature is None
        and len(rounds.coefficients) == k * (k + 1) // 2
        and len(rounds.reaches) == k + 1
        and all(len(one) == k for one in lists)
        and all(math.isfinite(c) for c in rounds.coefficients)
        and all(row[-1] > 0 for row in rounds.points)
        and all(type(u) is int and u >= 5 for u in rounds.noise_units)
        and all(0 <= level < last for level in rounds.noise_levels)
        and all(
            a > b or step in rounds.refreshes
            for step, (a, b) in enumerate(pairwise(rounds.noise_levels), start=1)
        )
        and (rounds.noise_levels[-1] == 0 or bool(used.refresh_level))
        and all(0 < scale < 2.0**60 for scale in rounds.noise_scales)
        and (rounds.noise_units[-1], rounds.noise_scales[-1])
        == (used.noise_units, used.output_scale)
        and 0 < rounds.probability < 1
        and len(plan.certificate.polynomials) == 1
    ):
        raise PlanMismatch(
            "this plan's rounds have lists of steps, levels or noise that do not fit each other; "
            "do not use it."
        )


def _refreshing_fits(plan: TrainingPlan) -> bool:
    """Whether a ring that refreshes is one of those there are, and steps are refreshed within."""
    used, rounds = plan.encryption, plan.rounds
    if not used.refresh_level:
        plain = (used.n_special, used.digit_primes, used.refresh_slots, used.refresh_budget)
        return plain == (1, 1, 0, ()) and not (rounds and (rounds.refreshes or rounds.lifts))
    if type(used.refresh_slots) is not int:
        return False
    try:
        known = ring_of(used) in refreshing_rings(used.refresh_slots)
    except (InfeasiblePlan, ValueError):  # no ring, or no budget of two levels
        return False
    return (
        known
        and rounds is not None
        and rounds.steps == plan.optimizer.max_iter
        and used.refresh_slots.bit_count() == 1
        and used.refresh_slots <= used.poly_modulus_degree // 4
        and len(rounds.lifts) == 3 * len(rounds.refreshes)
        and all(type(one) is int and one > 0 for one in (*rounds.refreshes, *rounds.lifts))
        and all(a < b for a, b in pairwise((*rounds.refreshes, rounds.steps)))
        and all(rounds.noise_levels[step - 1] > 0 for step in rounds.refreshes)
    )


def _refreshed_within(plan: TrainingPlan, one: Levelled) -> bool:
    """Whether what is refreshed stays within its share of the base prime, and in its slots."""
    ring, rounds = one.ring, plan.rounds
    share = REFRESHED_SHARE * ring.primes[0] * (1 + _ROUNDING)
    alpha = abs(one.factored.alpha)
    for segment, (first, second, _) in zip(one.segments[1:], one.lifts, strict=True):
        scale = rounds.noise_scales[segment.first - 1]
        bounds = one.task.schedule.carried_norms[segment.first - 1]
        if not (
            len(segment.carried) <= len(bounds)
            and needed_slots(one.layout, len(segment.carried)) <= ring.refreshing.slots
            and second * largest_error(ring) <= share
            # As combined, a vector's scale is the latest gradient's over its factor.
            and all(
                alpha * norm * scale / abs(row[-1]) * first <= share
                for row, norm in zip(segment.carried, bounds, strict=False)
            )
        ):
            return False
    return True


def levelled_of(plan: TrainingPlan, reaches: tuple[float, ...]) -> Levelled:
    """The circuit of a plan that refreshes ciphertexts, as its bounds are computed of.

    Parameters
    ----------
    plan : TrainingPlan
        With refreshes that fit.
    reaches : tuple of float
        Its certificate's, computed anew.
    """
    rounds, used, guarantee = plan.rounds, plan.encryption, plan.guarantee
    (approximation,) = plan.certificate.polynomials
    points = tuple(rounds.points)
    norms = carried_norms(rounds.certificate, approximation, points, reaches, setting_of(plan))
    found = Schedule(
        rounds.certificate, approximation, points, reaches, rounds.contributions, norms
    )
    factor = RELATION_FACTOR[plan.certificate.neighboring]
    owners = guarantee.n_owners, guarantee.n_colluding
    noise, failure = guarantee.noise_multiplier, plan.certificate.error_probability / 2
    task = Task(plan.problem, found, False, noise, factor, failure, rounds.steps, *owners)
    margins = math.log2(used.waterline) + 3 if approximation.degree > 1 else 0
    scales = Scales(
        round(math.log2(used.row_scale)), round(math.log2(used.scale)), 0, round(margins)
    )
    return Levelled(
        task,
        ring_of(used),
        Layout.of(plan.problem, used, guarantee.n_owners),
        scales,
        tuple(zip(rounds.noise_levels, rounds.noise_scales, strict=True)),
        rounds.refreshes,
        tuple(rounds.lift_triples),
    )


def _errs_as_told(plan: TrainingPlan, reaches: tuple[float, ...]) -> bool:
    """Whether a circuit with refreshes fits its ring, and errs by no more than the plan says."""
    used, certificate = plan.encryption, plan.certificate
    one = levelled_of(plan, reaches)
    if not _refreshed_within(plan, one) or (2.0**one.scales.rows, 2.0**one.scales.labels) != (
        used.row_scale,
        used.scale,
    ):
        return False
    try:
        exact, _ = one.traced()
        bounds = [step_bounds(exact, step) for step in range(plan.rounds.steps)]
    except DepthExceeded:
        return False
    room = ERROR_ROOM * RELATION_FACTOR[certificate.neighboring]
    scales = zip(exact.gradients, one.gradients, strict=True)
    return all(math.isclose(a, b, rel_tol=_ROUNDING) for (_, a), (_, b) in scales) and all(
        bound.error <= certificate.error * _TOLD
        and bound.row_slack <= certificate.row_slack * _TOLD
        and bound.margin_slack <= certificate.margin_slack * _TOLD
        and bound.told <= room * _TOLD
        for bound in bounds
    )


def setting_of(plan: TrainingPlan) -> Setting:
    """What a plan's certificate is for, with the noise that the owners really add."""
    rounds, certificate, guarantee = plan.rounds, plan.certificate, plan.guarantee
    problem, n = plan.problem, plan.problem.n_samples
    sums = output_norm(problem, plan.encryption, guarantee.n_owners)
    spreads = [
        guarantee.share(units) * math.sqrt(guarantee.n_owners) * sums / (scale * n)
        for units, scale in zip(rounds.noise_units, rounds.noise_scales, strict=True)
    ]
    noise = Noise(
        multiplier=math.nan,
        n_coordinates=problem.n_columns,
        probability=rounds.probability / plan.visits,
        error=ERROR_ROOM * RELATION_FACTOR[certificate.neighboring] / n,
        deviations=tuple(spreads),
        n_others=n_others(rounds.steps, problem) if plan.encryption.refresh_level else 0,
    )
    start = plan.optimizer.weight_norm if plan.visits > 1 else 0.0
    longest = row_norm(problem.intercept_column) * (1 + certificate.row_slack)
    return Setting(longest, noise, start, certificate.margin_slack)


def covered(plan: TrainingPlan) -> bool:
    """Whether margins stay within reach, rows contribute at most S, and both come out of delta.

    The certificate is computed anew, for the noise that the owners really add.
    """
    rounds, certificate, setting = plan.rounds, plan.certificate, setting_of(plan)
    (approximation,) = certificate.polynomials
    norm = row_norm(plan.problem.intercept_column)
    factor = RELATION_FACTOR[certificate.neighboring]
    try:
        reaches = reaches_of(rounds.certificate, approximation, tuple(rounds.points), setting)
        contributions = contributions_of(approximation, rounds.reaches, norm)
        if plan.encryption.refresh_level and not _errs_as_told(plan, reaches):
            return False
    except ValueError:  # beyond the interval, or no such certificate
        return False
    return (
        all(a >= b * (1 - _ROUNDING) for a, b in zip(rounds.reaches, reaches, strict=True))
        and all(
            a >= b * (1 - _ROUNDING)
            for a, b in zip(rounds.contributions, contributions, strict=True)
        )
        and rounds.reaches[-1] <= _LAST_REACH * reaches[-1]
        and certificate.error <= _MOST_ERROR * factor
        and certificate.error_probability >= rounds.probability * (1 + _ROUNDING)
    )
