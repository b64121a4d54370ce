"""From public quantities to a training plan."""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Integral

from ..approximation import PolynomialApproximation
from ..crypto.parameters import CKKSParameters
from ..exceptions import InfeasiblePlan
from ..plan import Certificate, Encryption, Guarantee, Preparation, Problem, TrainingPlan
from ..privacy import accounting
from ..privacy.sensitivity import (
    RELATION_FACTOR,
    contribution_table,
    least_contributions,
    row_norm,
)
from . import defaults, encryption, preparation
from .bounds import Requirement
from .checks import MAX_FLOODING, check_plan, discreteness, effective_multiplier
from .defaults import Request

# Beyond, a guarantee says nothing.
MAX_EPSILON = 100.0
MAX_ERROR = 0.05
# Share of delta that one fit's encryption errors may take for going beyond their bounds: so
# little that thousands of fits stay within what a ledger sets aside (accounting.DELTA_SHARE).
FAILURE_SHARE = 1e-6
_RADIUS_RATIO = 1.2
_LEAST_RADIUS = 1.0
_REACH_ROOM = 0.02


def _polynomials(
    request: Request, solver: str, largest_reach: float
) -> tuple[PolynomialApproximation, ...]:
    """The declared approximations: intervals growing geometrically up to all reachable margins.

    The last interval leaves room for the slack of encryption errors, which is known only later
    and is checked against it.
    """
    kind = "minimax" if request.approximation == "auto" else request.approximation
    last = largest_reach * (1 + _REACH_ROOM)
    steps = max(0, math.ceil(math.log(last / _LEAST_RADIUS) / math.log(_RADIUS_RATIO)))
    radii = [last / _RADIUS_RATIO**i for i in range(steps, -1, -1)]
    # All margins of the discriminant's step are the public prior: any constant does there.
    degree = 1 if solver == "discriminant" else request.degree
    return tuple(PolynomialApproximation.fit(degree, radius, kind) for radius in radii)


def _checked_counts(
    n_samples: int, n_features: int, n_classes: int, n_owners: int, n_colluding: int
) -> tuple[int, ...]:
    for name, value, least in (
        ("n_samples", n_samples, 1),
        ("n_features", n_features, 1),
        ("classes", n_classes, 2),
        ("n_owners", n_owners, 1),
        ("n_colluding", n_colluding, 0),
    ):
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
    if n_colluding >= n_owners:
        raise ValueError(
            f"n_colluding must be below n_owners={n_owners}, got {n_colluding}: someone honest "
            "must add noise."
        )
    return tuple(map(int, (n_samples, n_features, n_classes, n_owners, n_colluding)))


def make_plan(
    request: Request,
    n_samples: int,
    n_features: int,
    n_classes: int,
    *,
    n_owners: int = 1,
    n_colluding: int = 0,
    context: CKKSParameters | None = None,
) -> TrainingPlan:
    """Compute a plan.

    Parameters
    ----------
    request : Request
        Hyperparameters.
    n_samples, n_features, n_classes : int
        Shape of the data, public.
    n_owners, n_colluding : int
        Owners, and how many of them may collude (an owner who holds the key counts).
    context : CKKSParameters, optional
        Fixed encryption parameters; None lets the plan choose.

    Raises
    ------
    InfeasiblePlan
        If no plan meets the request, with needed, available and remedy.
    """
    counts = (n_samples, n_features, n_classes, n_owners, n_colluding)
    n_samples, n_features, n_classes, n_owners, n_colluding = _checked_counts(*counts)
    if not 0 < request.epsilon <= MAX_EPSILON or not 0 < request.delta < 1:
        raise ValueError(
            f"epsilon must be above 0 and at most {MAX_EPSILON:g}, and delta between 0 and 1, "
            f"got epsilon={request.epsilon} and delta={request.delta}."
        )
    problem, recipe, optimizer = defaults.resolve(request, n_samples, n_features, n_classes)
    norm = row_norm(problem.intercept_column)
    largest_reach = abs(problem.prior_margin) + optimizer.weight_norm * norm
    polynomials = _polynomials(request, optimizer.solver, largest_reach)
    largest = max(p.residual_bound() for p in polynomials) * norm * math.sqrt(problem.n_outputs)
    contributions = contribution_table(problem.n_outputs, problem.intercept_column, largest)
    spare = request.delta * (1 - accounting.DELTA_SHARE)
    # The noise multiplier of a single release that may spend everything.
    single = accounting.calibrate(request.epsilon, spare, 1)
    factor = RELATION_FACTOR[request.neighboring]
    chosen = encryption.choose(
        Requirement(
            problem=problem,
            polynomials=polynomials,
            contributions=least_contributions(polynomials, problem.intercept_column),
            largest_contribution=contributions[-1],
            row_norm=norm,
            weight_norm=optimizer.weight_norm
            + abs(problem.prior_margin) / (problem.intercept_column or 1.0),
            noise_multiplier=single * math.sqrt(optimizer.max_iter / recipe.left),
            relation_factor=factor,
            n_releases=optimizer.max_iter,
            failure=request.delta * FAILURE_SHARE,
            max_error=MAX_ERROR,
            max_margin_slack=_REACH_ROOM * largest_reach,
            max_flooding=MAX_FLOODING if n_owners > 1 else math.inf,
            n_owners=n_owners,
            n_colluding=n_colluding,
        ),
        context,
    )
    bounds, owners = chosen.bounds, (n_owners, n_colluding)
    prepared = _prepared(request, problem, recipe, chosen.encryption, single, owners)
    told = sum(
        preparation.flooding(
            statistic, chosen.encryption, n_owners, n_colluding, request.delta * FAILURE_SHARE
        )
        for statistic in prepared.statistics.values()
    )
    if n_owners > 1 and not bounds.flooding + told <= MAX_FLOODING:
        raise InfeasiblePlan(
            f"releases may tell {MAX_FLOODING:.2g} nats about the key, but the statistics bring "
            f"them to {bounds.flooding + told:.2g}; use a smaller epsilon, or switch standardize "
            "or precondition off."
        )
    certificate = Certificate(
        polynomials=polynomials,
        contributions=contributions,
        neighboring=request.neighboring,
        row_slack=bounds.row_slack,
        margin_slack=bounds.margin_slack,
        error=bounds.error,
        sensitivity=factor * (1 + bounds.row_slack) + bounds.error,
        error_probability=request.delta * FAILURE_SHARE,
        discreteness=discreteness(chosen.encryption, prepared, *owners, optimizer.max_iter),
    )
    plan = TrainingPlan(
        problem,
        prepared,
        optimizer,
        certificate,
        Guarantee(
            epsilon=request.epsilon,
            delta=request.delta,
            noise_multiplier=effective_multiplier(
                problem, certificate, chosen.encryption, *owners
            ),
            n_releases=optimizer.max_iter + len(recipe.shares),
            n_owners=n_owners,
            n_colluding=n_colluding,
            flooding=bounds.flooding + told,
        ),
        chosen.encryption,
        chosen.prediction,
    )
    check_plan(plan)
    return plan


def _prepared(
    request: Request,
    problem: Problem,
    recipe: defaults.Recipe,
    used: Encryption,
    single: float,
    owners: tuple[int, int],
) -> Preparation:
    """The statistics of the recipe, with their grids and noise."""
    statistics = {
        name: preparation.choose(
            name,
            problem,
            recipe.preparation.box,
            request.neighboring,
            used,
            single / math.sqrt(share),
            *owners,
        )
        for name, share in recipe.shares.items()
    }
    return replace(recipe.preparation, **statistics)
