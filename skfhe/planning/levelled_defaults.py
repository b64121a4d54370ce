"""What "auto" stands for where the evaluator takes several steps alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..plan import Preparation, Problem
from .defaults import SHARES, Recipe, Request, box, or_automatic, problem_of

# The most steps that are tried; about as many lines fit the largest modulus.
MOST_STEPS = 14
INTERCEPT = 0.25
# Rounds that a run has unless it says how many, and how far weights may be between them.
VISITS = 5
WEIGHT_NORM = 6.0
# The most that eigenvalues may differ by for the semi-iteration to follow them alike: for rows as
# they are, for centred ones, and where another round goes on.
MOST_TRAVEL, CENTRED_TRAVEL, ROUNDS_TRAVEL = 60.0, 15.0, 2.0
# How far weights may get along flat directions, in as many steps as a run that refreshes has: a
# dozen without get as far.
MOST_WAY, CENTRED_WAY = 300.0, 150.0
_RADIUS = 0.85


@dataclass(frozen=True)
class Terms:
    """The request with its "auto"s filled in.

    Attributes
    ----------
    problem : Problem
        Shape of the data.
    recipe : Recipe
        Statistics that are released before the steps.
    steps : int or None
        Of a round; None for a single round of all steps.
    visits : int
        Rounds, where max_iter is left open.
    max_iter : int or None
        All steps; None to be chosen.
    learning_rate : float or None
        Of every step; None for the schedule of `skfhe.planning.schedule`.
    momentum, weight_norm : float
        As in `skfhe.plan.Optimizer`.
    kind : str
        Of the polynomial.
    most_travel, farthest : float
        Limits of what a round of Chebyshev's steps follows, and of where it gets to.
    """

    problem: Problem
    recipe: Recipe
    steps: int | None
    visits: int
    max_iter: int | None
    learning_rate: float | None
    momentum: float
    weight_norm: float
    kind: str
    most_travel: float
    farthest: float

    def steps_of(self, max_iter: int) -> int:
        """Steps of a round, of so many in all."""
        return max_iter if self.steps is None else self.steps


def resolve(request: Request, n_samples: int, n_features: int, n_classes: int) -> Terms:
    """Fill in every "auto".

    Raises
    ------
    ValueError
        If something is asked for that several steps on end do not have.
    """
    _require_possible(request, n_classes)
    problem = problem_of(request, n_samples, n_features, n_classes, INTERCEPT)
    shares = {"moments": SHARES["moments"]} if request.standardize else {}
    preparation = Preparation(
        moments=None,
        curvature=None,
        box=box(problem),
        radius=_RADIUS,
        scale_columns=True,
        damping=1.0,
        floor=1.0,
    )
    steps = request.steps_per_round or None
    max_iter = None if isinstance(request.max_iter, str) else int(request.max_iter)
    if steps and max_iter and max_iter % steps:
        raise ValueError(
            f"max_iter must be a multiple of steps_per_round={steps}, got {max_iter}; use "
            f"{max(1, max_iter // steps) * steps} or {(max_iter // steps + 1) * steps}."
        )
    momentum = or_automatic(request.momentum, 0.0)
    given = not (isinstance(request.learning_rate, str) and isinstance(request.momentum, str))
    return Terms(
        problem=problem,
        recipe=Recipe(shares, preparation),
        steps=steps,
        visits=VISITS,
        max_iter=max_iter,
        learning_rate=or_automatic(request.learning_rate, 1.0) if given else None,
        momentum=momentum,
        weight_norm=or_automatic(request.weight_norm, WEIGHT_NORM),
        kind="monotone" if request.approximation == "auto" else request.approximation,
        most_travel=ROUNDS_TRAVEL if steps else CENTRED_TRAVEL if shares else MOST_TRAVEL,
        farthest=math.inf if not request.bootstrapping else CENTRED_WAY if shares else MOST_WAY,
    )


def _require_possible(request: Request, n_classes: int) -> None:
    """Refuse what has no certificate, or no circuit."""
    by_name = "protocol='noninteractive' and steps_per_round"
    refused = {
        f"{n_classes} classes; use OneVsRestClassifier and a ledger": n_classes > 2,
        "C": not isinstance(request.C, str),
        "averaging": not isinstance(request.averaging, str),
        "precondition=True": request.precondition is True,
        "solver='discriminant'": request.solver == "discriminant",
        "momentum with degree above 1; leave learning_rate and momentum on their defaults for "
        "accelerated steps": request.degree > 1 and or_automatic(request.momentum, 0.0) > 0,
        "an approximation that is not monotone; use approximation='monotone'": request.degree > 1
        and request.approximation not in ("auto", "monotone")
        and isinstance(request.learning_rate, str),
    }
    found = [name for name, there in refused.items() if there]
    if found:
        raise ValueError(
            f"{by_name} go without {'; '.join(found)}. Or use protocol='interactive' with "
            "steps_per_round=1."
        )
