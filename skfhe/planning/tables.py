"""The finite tables that a plan declares: intervals with their polynomials, values of S, splits.

Intervals grow geometrically up to what the projected weights can reach. The last one leaves room
for the slack of encryption errors, which is known only later and is checked against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..approximation import ActivationPolynomial, PolynomialApproximation
from ..exceptions import InfeasiblePlan
from ..plan import Network, Optimizer, Problem
from ..privacy import network_sensitivity as network
from ..privacy.sensitivity import contribution_table, least_contributions, row_norm
from .defaults import Request
from .logistic import LogisticSizing
from .logistic_bounds import LogisticRequirement
from .network import NetworkSizing
from .network_bounds import NetworkRequirement
from .network_defaults import NetworkRequest
from .requirement import Sizing

_RADIUS_RATIO, _CONTRIBUTION_RATIO = 1.2, 1.01
_LEAST_RADIUS, _TINIEST_RADIUS, _MOST_REACH = 1.0, 1e-3, 900.0
_REACH_ROOM = 0.02
_LEAST_HIDDEN, _MOST_HIDDEN = 1e-3, 100.0
# kappa: about as much as blocks of a network can differ in size.
_SPLITS = tuple(2.0 ** (i / 4) for i in range(-8, 9))


@dataclass(frozen=True)
class Tables:
    """What a certificate declares, and the sizing that goes with it.

    Attributes
    ----------
    polynomials, contributions, activation, splits : tuple
        As in `skfhe.plan.Certificate`.
    sizing : callable
        Takes what every `Requirement` has.
    """

    polynomials: tuple[PolynomialApproximation, ...]
    contributions: tuple[float, ...]
    activation: ActivationPolynomial | None
    splits: tuple[float, ...]
    sizing: Callable[..., Sizing]


def linear_tables(request: Request, problem: Problem, optimizer: Optimizer) -> Tables:
    """Of the linear model."""
    norm = row_norm(problem.intercept_column)
    reach = abs(problem.prior_margin) + optimizer.weight_norm * norm
    # All margins of the discriminant's step are the public prior: any constant does there.
    degree = 1 if optimizer.solver == "discriminant" else request.degree
    polynomials = _polynomials(request.approximation, degree, reach)
    largest = max(p.residual_bound() for p in polynomials) * norm * math.sqrt(problem.n_outputs)
    contributions = contribution_table(problem.n_outputs, problem.intercept_column, largest)

    def sizing(**common: Any) -> LogisticSizing:
        return LogisticSizing(
            LogisticRequirement(
                **common,
                max_margin_slack=_REACH_ROOM * reach,
                max_hidden_slack=0.0,
                contributions=least_contributions(polynomials, problem.intercept_column),
                largest_contribution=contributions[-1],
                weight_norm=_with_prior(problem, optimizer),
            )
        )

    return Tables(polynomials, contributions, None, (), sizing)


def network_tables(
    request: NetworkRequest, problem: Problem, optimizer: Optimizer, start: Network
) -> Tables:
    """Of a network with one hidden layer."""
    b, units, outputs = problem.intercept_column, problem.hidden_units, problem.n_outputs
    if not _LEAST_HIDDEN <= start.hidden_reach <= _MOST_HIDDEN:
        raise InfeasiblePlan(
            f"hidden_reach must be from {_LEAST_HIDDEN:g} to {_MOST_HIDDEN:g}, got "
            f"{start.hidden_reach:g}."
        )
    radius = start.hidden_reach * (1 + _REACH_ROOM)
    activation = ActivationPolynomial.fit(request.activation, request.degree, radius)
    reach = network.largest_output_reach(
        activation,
        units,
        optimizer.weight_norm,
        b,
        problem.prior_margin,
        0.0,
    )
    polynomials = _polynomials(request.approximation, request.degree | 1, reach)
    largest = max(
        network.largest_contribution(
            activation, polynomial, units, outputs, optimizer.weight_norm, b, _SPLITS[0]
        )
        for polynomial in polynomials
    )
    # What S is rounded up to: about that of the start, with the largest split.
    start_norm = min(start.start_norm, optimizer.weight_norm)
    steepest = abs(float(activation.derivative(0.0))) * start_norm / _SPLITS[-1]
    least = network.least_contribution(outputs, math.hypot(b, row_norm(b) * steepest))
    steps = max(1, math.ceil(math.log(largest / least) / math.log(_CONTRIBUTION_RATIO)))
    contributions = tuple(least * _CONTRIBUTION_RATIO**i for i in range(1, steps + 1))

    def sizing(**common: Any) -> NetworkSizing:
        return NetworkSizing(
            NetworkRequirement(
                **common,
                max_margin_slack=_REACH_ROOM * reach,
                max_hidden_slack=_REACH_ROOM * start.hidden_reach,
                activation=activation,
                least_contribution=contributions[0],
                largest_contribution=contributions[-1],
                hidden_norm=start.hidden_reach / min(1.0, b),
                output_norm=_with_prior(problem, optimizer),
            )
        )

    return Tables(polynomials, contributions, activation, _SPLITS, sizing)


def _polynomials(kind: str, degree: int, reach: float) -> tuple[PolynomialApproximation, ...]:
    kind = "minimax" if kind == "auto" else kind
    radii = _radii(reach)
    return tuple(PolynomialApproximation.fit(degree, radius, kind) for radius in radii)


def _radii(reach: float) -> list[float]:
    """From about the least to the reach and its room.

    Raises
    ------
    InfeasiblePlan
        If no polynomial reaches as far.
    """
    if not reach <= _MOST_REACH:
        raise InfeasiblePlan(
            f"margins must stay within {_MOST_REACH:g}, but weights may reach {reach:.4g}; use a "
            "smaller weight_norm, or fewer hidden units."
        )
    last = max(reach * (1 + _REACH_ROOM), _TINIEST_RADIUS)
    steps = max(0, math.ceil(math.log(last / _LEAST_RADIUS) / math.log(_RADIUS_RATIO)))
    return [last / _RADIUS_RATIO**i for i in range(steps, -1, -1)]


def _with_prior(problem: Problem, optimizer: Optimizer) -> float:
    """Largest norm of an output's weights, the prior on its bias included."""
    return optimizer.weight_norm + abs(problem.prior_margin) / (problem.intercept_column or 1.0)
