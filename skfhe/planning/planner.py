"""From public quantities to a training plan."""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Integral

from ..crypto.parameters import CKKSParameters
from ..exceptions import InfeasiblePlan
from ..plan import Certificate, Guarantee, TrainingPlan
from ..privacy import accounting
from ..privacy.sensitivity import RELATION_FACTOR, row_norm
from . import defaults, encryption, network_defaults, preparation
from .checks import check_plan, discreteness, effective_multiplier
from .defaults import Request
from .levelled_plan import make_levelled_plan
from .network_defaults import NetworkRequest
from .tables import linear_tables, network_tables

# Beyond, a guarantee says nothing.
MAX_EPSILON = 100.0
MAX_ERROR = 0.05
# Share of delta that one fit's encryption errors may take for going beyond their bounds: so
# little that thousands of fits stay within what a ledger sets aside (accounting.DELTA_SHARE).
FAILURE_SHARE = 1e-6


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


def _visited_seconds(request: Request, counts: tuple[int, ...], steps: int) -> float:
    """What as many steps with a visit each would take; zero where there is no plan for them."""
    visited = replace(
        request, steps_per_round=1, bootstrapping=False, max_iter=steps, solver="steps"
    )
    *shape, n_owners, n_colluding = counts
    try:
        plan = make_plan(visited, *shape, n_owners=n_owners, n_colluding=n_colluding)
    except InfeasiblePlan:
        return 0.0
    return plan.prediction.seconds_per_step * steps


def make_plan(
    request: Request | NetworkRequest,
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
    request : Request or NetworkRequest
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
    of_network = isinstance(request, NetworkRequest)
    if not of_network and request.steps_per_round != 1:
        if context is not None:
            raise ValueError(
                "context must be 'auto' where the evaluator takes several steps alone: the plan "
                "chooses a prime for every product."
            )
        plan = make_levelled_plan(request, counts, MAX_ERROR, request.delta * FAILURE_SHARE)
        if not request.bootstrapping:
            return plan
        seconds = _visited_seconds(request, counts, plan.optimizer.max_iter)
        return replace(plan, prediction=replace(plan.prediction, visited_seconds=seconds))
    resolve = network_defaults.resolve if of_network else defaults.resolve
    problem, recipe, optimizer, network = resolve(request, n_samples, n_features, n_classes)
    spare = request.delta * (1 - accounting.DELTA_SHARE)
    # The noise multiplier of a single release that may spend everything.
    single = accounting.calibrate(request.epsilon, spare, 1)
    factor, failure = RELATION_FACTOR[request.neighboring], request.delta * FAILURE_SHARE
    if network:
        tables = network_tables(request, problem, optimizer, network)
    else:
        tables = linear_tables(request, problem, optimizer)
    chosen = encryption.choose(
        tables.sizing(
            problem=problem,
            polynomials=tables.polynomials,
            row_norm=row_norm(problem.intercept_column),
            noise_multiplier=single * math.sqrt(optimizer.max_iter / recipe.left),
            relation_factor=factor,
            n_releases=optimizer.max_iter,
            failure=failure,
            max_error=MAX_ERROR,
            max_flooding=preparation.MAX_FLOODING if n_owners > 1 else math.inf,
            n_owners=n_owners,
            n_colluding=n_colluding,
        ),
        context,
    )
    bounds, owners = chosen.bounds, (n_owners, n_colluding)
    prepared = preparation.prepared_statistics(
        recipe, problem, request.neighboring, chosen.encryption, single, owners
    )
    told = sum(
        preparation.flooding(statistic, chosen.encryption, *owners, failure)
        for statistic in prepared.statistics.values()
    )
    if n_owners > 1 and not bounds.flooding + told <= preparation.MAX_FLOODING:
        raise InfeasiblePlan(
            f"releases may tell {preparation.MAX_FLOODING:.2g} nats about the key, but the "
            f"statistics bring them to {bounds.flooding + told:.2g}; use a smaller epsilon, or "
            "switch standardize or precondition off."
        )
    certificate = Certificate(
        polynomials=tables.polynomials,
        contributions=tables.contributions,
        neighboring=request.neighboring,
        row_slack=bounds.row_slack,
        margin_slack=bounds.margin_slack,
        error=bounds.error,
        sensitivity=factor * (1 + bounds.row_slack) + bounds.error,
        error_probability=failure,
        discreteness=discreteness(chosen.encryption, prepared, *owners, optimizer.max_iter),
        activation=tables.activation,
        splits=tables.splits,
        hidden_slack=bounds.hidden_slack,
    )
    plan = TrainingPlan(
        problem,
        prepared,
        optimizer,
        network,
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
