"""Whether a plan's guarantee follows from its own figures: what every party checks."""

from __future__ import annotations

import math
from itertools import pairwise

from ..exceptions import PlanMismatch
from ..packing import fits, output_norm
from ..plan import Certificate, Encryption, Preparation, Problem, Rounds, TrainingPlan
from ..privacy import accounting, network_sensitivity, statistics
from ..privacy.sensitivity import RELATION_FACTOR, row_norm
from . import preparation
from .levelled_checks import covered, require_rounds

# Figures are recomputed in another order or on another machine: a few last digits may differ.
_ROUNDING = 1e-9


def discreteness(
    used: Encryption,
    prepared: Preparation,
    n_owners: int,
    n_colluding: int,
    max_iter: int,
    least_units: int | None = None,
) -> float:
    """What the discrete noise of the whole run costs of delta."""
    values = used.poly_modulus_degree * max_iter
    values += sum(statistic.length for statistic in prepared.statistics.values())
    units = used.noise_units if least_units is None else least_units
    return preparation.honest_discreteness(units, values, n_owners, n_colluding)[1]


def effective_multiplier(
    problem: Problem,
    certificate: Certificate,
    used: Encryption,
    n_owners: int,
    n_colluding: int,
    rounds: Rounds | None = None,
) -> float:
    """Noise over sensitivity, both in units of the sums, as the accountant may take it.

    Where rounds have several steps the least of theirs counts, each over its own S.
    """
    noises = [(used.noise_units, used.output_scale, 1.0)]
    if rounds:
        figures = rounds.noise_units, rounds.noise_scales, rounds.contributions
        noises = [*zip(*figures, strict=True)]
    norm, shrink = output_norm(problem, used, n_owners), preparation.honest_discreteness
    return min(
        units
        * norm
        / (scale * s)
        / certificate.sensitivity
        * shrink(units, 1, n_owners, n_colluding)[0]
        for units, scale, s in noises
    )


def check_plan(plan: TrainingPlan) -> None:
    """Refuse a plan whose stated guarantee is better than its figures give.

    The bounds on encryption errors are taken from the plan; everything that follows from them
    is recomputed, with the closed form for Gaussian releases. Comparisons are written so that
    they fail for NaN.

    Raises
    ------
    PlanMismatch
        If noise, sensitivity and (epsilon, delta) do not fit together, or the schema does not
        fit the problem.
    """
    try:
        _require_sound(plan)
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise PlanMismatch(f"this plan has a field of the wrong kind: {error}.") from None


def _require_sound(plan: TrainingPlan) -> None:
    certificate, guarantee = plan.certificate, plan.guarantee
    _require_counts(plan)
    require_rounds(plan)
    _require_fitting_schema(plan)
    _require_possible(plan)
    factor = RELATION_FACTOR[certificate.neighboring]
    sensitivity = factor * (1 + certificate.row_slack) + certificate.error
    owners = (guarantee.n_owners, guarantee.n_colluding)
    multiplier = effective_multiplier(
        plan.problem, certificate, plan.encryption, *owners, plan.rounds
    )
    _require_sound_statistics(plan)
    delta = math.inf
    if 0 < guarantee.noise_multiplier < math.inf:
        delta = accounting.gaussian_delta(guarantee.epsilon, math.sqrt(plan.squared_mu))
        delta += certificate.cost_in_delta
    if not (
        certificate.sensitivity >= sensitivity * (1 - _ROUNDING)
        and guarantee.noise_multiplier <= multiplier * (1 + _ROUNDING)
        and guarantee.n_releases == plan.optimizer.max_iter + len(plan.preparation.statistics)
        and delta <= guarantee.delta * (1 + _ROUNDING)
    ):
        raise PlanMismatch(
            f"this plan claims ({guarantee.epsilon:g}, {guarantee.delta:g})-differential privacy, "
            f"but its noise and sensitivity give delta = {delta:.3g}; do not use it."
        )


def _require_sound_statistics(plan: TrainingPlan) -> None:
    """Refuse statistics with more noise multiplier than their noise and sensitivity give."""
    problem, prepared, guarantee = plan.problem, plan.preparation, plan.guarantee
    owners = (guarantee.n_owners, guarantee.n_colluding)
    for name, statistic in prepared.statistics.items():
        sensitivity = statistics.sensitivity(
            name, problem, prepared.box, statistic.grid_bits, plan.certificate.neighboring
        )
        multiplier = preparation.effective_multiplier(statistic, *owners)
        if not (
            statistic.length == statistics.length(name, problem)
            and 0 < sensitivity * (1 - _ROUNDING) <= statistic.sensitivity < math.inf
            and 0 < statistic.noise_multiplier <= multiplier * (1 + _ROUNDING)
            and preparation.fits(name, statistic, problem, plan.encryption, *owners)
        ):
            raise PlanMismatch(
                f"this plan claims a noise multiplier of {statistic.noise_multiplier:.4g} for the "
                f"{name}, but its noise and sensitivity give {multiplier:.4g}, or its sums do not "
                "fit a ciphertext; do not use it."
            )


def _slope_at_zero(plan: TrainingPlan) -> float:
    """Of a network's activation: what its discriminant divides by."""
    activation = plan.certificate.activation
    return abs(float(activation.derivative(0.0))) if activation else 0.0


def _covered(plan: TrainingPlan) -> bool:
    """Whether tables hold what weights within their norms can reach, and rows contribute there."""
    problem, certificate, optimizer = plan.problem, plan.certificate, plan.optimizer
    b, outputs = problem.intercept_column, problem.n_outputs
    if plan.rounds:
        return covered(plan)
    residual = max(p.residual_bound() for p in certificate.polynomials)
    longest, most = certificate.polynomials[-1].radius, certificate.contributions[-1]
    if not problem.hidden_units:
        reach = abs(problem.prior_margin) + optimizer.weight_norm * row_norm(b)
        largest = residual * row_norm(b) * math.sqrt(outputs)
        plain = not (certificate.activation or certificate.splits or plan.network)
        held = longest >= reach + certificate.margin_slack and most >= largest * (1 - _ROUNDING)
        return plain and held
    activation, network = certificate.activation, plan.network
    if not (
        activation
        and network
        and b > 0
        and certificate.splits
        and all(2.0**-10 <= split <= 2.0**10 for split in certificate.splits)
        and activation.coefficients[-1] != 0
        and 0 <= certificate.hidden_slack < math.inf
    ):
        return False
    units, norm = problem.hidden_units, optimizer.weight_norm
    slack = certificate.margin_slack
    reach = network_sensitivity.largest_output_reach(
        activation, units, norm, b, problem.prior_margin, slack
    )
    largest = max(
        network_sensitivity.largest_contribution(
            activation, polynomial, units, outputs, norm, b, min(certificate.splits)
        )
        for polynomial in certificate.polynomials
    )
    return (
        not problem.class_weight
        and activation.degree > 1
        and activation.radius >= network.hidden_reach + certificate.hidden_slack
        and longest >= reach * (1 - _ROUNDING)
        and most >= largest * (1 - _ROUNDING)
    )


def _require_counts(plan: TrainingPlan) -> None:
    """Refuse counts that are none, before anything is computed with them."""
    problem, guarantee, prepared = plan.problem, plan.guarantee, plan.preparation
    least = (
        (problem.n_samples, 1),
        (problem.n_features, 1),
        (problem.n_classes, 2),
        (plan.optimizer.max_iter, 1),
        (plan.encryption.noise_units, 5),
        (guarantee.n_owners, 1),
        (guarantee.n_colluding, 0),
        (problem.hidden_units, 0),
        (plan.encryption.feature_blocks, 1),
        (plan.encryption.unit_block, 0),
        (plan.network.seed if plan.network else 0, 0),
    )
    levels = range(plan.encryption.top_level + 1)
    grids = range(preparation.MIN_GRID_BITS, preparation.MAX_GRID_BITS + 1)
    if not (
        all(type(count) is int and count >= bound for count, bound in least)
        and fits(problem, plan.encryption, guarantee.n_owners)
        and plan.encryption.label_level in levels
        and plan.encryption.presence_level in levels
        and plan.encryption.merge_level in levels
        and guarantee.n_colluding < guarantee.n_owners
        and all(
            type(count) is int
            for one in prepared.statistics.values()
            for count in (one.length, one.grid_bits, one.noise_units)
        )
        and all(one.grid_bits in grids for one in prepared.statistics.values())
    ):
        raise PlanMismatch(
            "this plan counts rows, classes, steps, owners or bits in numbers that cannot be; do "
            "not use it."
        )


def _require_fitting_schema(plan: TrainingPlan) -> None:
    """Refuse names and labels for another number of columns or classes."""
    problem, schema = plan.problem, plan.schema
    if schema and (len(schema.features), len(schema.classes)) != (
        problem.n_features,
        problem.n_classes,
    ):
        raise PlanMismatch(
            f"this plan is for {problem.n_features} features and {problem.n_classes} classes, but "
            f"its schema names {len(schema.features)} and {len(schema.classes)}; plan anew with "
            "the schema's numbers."
        )


def _require_possible(plan: TrainingPlan) -> None:
    """Refuse figures that no plan can have: they would pass for small ones."""
    problem, certificate, optimizer = plan.problem, plan.certificate, plan.optimizer
    prepared, guarantee, start = plan.preparation, plan.guarantee, plan.network
    never_negative = (
        certificate.row_slack,
        certificate.margin_slack,
        certificate.error,
        certificate.error_probability,
        certificate.discreteness,
        certificate.sensitivity,
        optimizer.regularization,
        optimizer.momentum,
        prepared.damping,
        problem.intercept_column,
        *problem.class_weight,
        *((start.output_rate, start.start_spread, start.start_bias) if start else ()),
    )
    positive = (
        problem.data_norm,
        optimizer.learning_rate,
        optimizer.averaging,
        optimizer.weight_norm,
        prepared.floor,
        *((start.start_norm, start.hidden_reach) if start else ()),
    )
    steps = certificate.contributions
    by_steps = ("steps", "adam") if problem.hidden_units else ("steps",)
    solvable = optimizer.solver in by_steps or (
        optimizer.solver == "discriminant"
        and problem.n_outputs > 1
        and problem.intercept_column > 0
        and not problem.class_weight
        and optimizer.max_iter == 1
        and prepared.curvature is not None
        and (
            not problem.hidden_units
            or (problem.hidden_units >= problem.n_outputs and _slope_at_zero(plan) > 0)
        )
    )
    if not (
        solvable
        and all(0 <= figure < math.inf for figure in never_negative)
        and all(0 < figure < math.inf for figure in positive)
        and all(weight <= 1 for weight in problem.class_weight)
        and len(problem.class_weight) in (0, problem.n_classes)
        and steps[0] > 0
        and optimizer.momentum < 1
        and optimizer.averaging <= 1
        and all(p.odd_coefficients[-1] != 0 for p in certificate.polynomials)
        and all(a.radius < b.radius for a, b in pairwise(certificate.polynomials))
        and all(a < b for a, b in pairwise(steps))
        and _covered(plan)
        and 1e-100 < problem.data_norm < 1e100
        and 0 < prepared.box <= problem.data_norm
        and 1e-3 <= prepared.radius <= 1e3
        and (guarantee.n_owners == 1 or 0 <= guarantee.flooding <= preparation.MAX_FLOODING)
    ):
        raise PlanMismatch(
            "this plan has figures that none can have: a negative slack, weights of classes above "
            "one, or tables that leave out what rows may contribute; do not use it."
        )
