"""Whether the certificate of a plan's rounds follows from its own figures."""

from __future__ import annotations

import math
from itertools import pairwise

from ..circuits.polynomial import FactoredPolynomial
from ..circuits.segments import point_factors, segments
from ..exceptions import PlanMismatch
from ..packing import Layout, output_norm
from ..plan import Encryption, Rounds, TrainingPlan
from ..privacy.sensitivity import RELATION_FACTOR, row_norm
from ..privacy.trajectory import Noise
from .refreshed_error import largest_error
from .rings import ring_of
from .schedule import (
    ERROR_ROOM,
    REFRESHED_SHARE,
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
    if not _refreshing_fits(used, rounds):
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


def _refreshing_fits(used: Encryption, rounds: Rounds | None) -> bool:
    """Whether a ring that refreshes is one, and steps are refreshed within it."""
    if not used.refresh_level:
        plain = (used.n_special, used.digit_primes, used.refresh_slots, used.refresh_budget)
        return plain == (1, 1, 0, ()) and not (rounds and (rounds.refreshes or rounds.lifts))
    slots = used.poly_modulus_degree // 2
    counts = (used.n_special, used.digit_primes, used.refresh_slots, used.refresh_level)
    return (
        rounds is not None
        and all(type(one) is int and one > 0 for one in (*counts, *used.refresh_budget))
        and len(used.refresh_budget) == 2
        and used.n_special + used.refresh_level < len(used.primes)
        and used.refresh_slots in (1 << bits for bits in range(slots.bit_length() - 1))
        and len(rounds.lifts) == 3 * len(rounds.refreshes)
        and all(type(one) is int and one > 0 for one in (*rounds.refreshes, *rounds.lifts))
        and all(a < b for a, b in pairwise((*rounds.refreshes, rounds.steps)))
        and all(rounds.noise_levels[step - 1] > 0 for step in rounds.refreshes)
    )


def _refreshed_within(plan: TrainingPlan, reaches: tuple[float, ...], setting: Setting) -> bool:
    """Whether what is refreshed stays within its share of the base prime."""
    rounds, used, (approximation,) = plan.rounds, plan.encryption, plan.certificate.polynomials
    if not rounds.refreshes:
        return True
    layout = Layout.of(plan.problem, used, plan.guarantee.n_owners)
    points = tuple(rounds.points)
    rows = point_factors(points, approximation, plan.problem.n_samples, layout)
    norms = carried_norms(rounds.certificate, approximation, points, reaches, setting)
    alpha = abs(FactoredPolynomial.of(approximation, 1.0).alpha)
    share = REFRESHED_SHARE * used.primes[0] * (1 + _ROUNDING)
    error = largest_error(ring_of(used))
    if any(second * error > share for _, second, _ in rounds.lift_triples):
        return False
    carrying = segments(rows, rounds.refreshes)[1:]
    for one, (lift, _, _) in zip(carrying, rounds.lift_triples, strict=True):
        scale, bounds = rounds.noise_scales[one.first - 1], norms[one.first - 1]
        if len(one.carried) > len(bounds):
            return False
        for factors, norm in zip(one.carried, bounds, strict=False):
            # As combined, its scale is the latest gradient's over its factor.
            if not alpha * norm * scale / abs(factors[-1]) * lift <= share:
                return False
    return True


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
        if not _refreshed_within(plan, reaches, setting):
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
