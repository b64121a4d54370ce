"""Hyperparameters left on "auto": functions of public quantities alone.

No function here sees a value of X or y; what they see is what the plan states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..plan import Optimizer, Preparation, Problem
from ..privacy import accounting
from ..privacy.sensitivity import RELATION_FACTOR

# Chosen by `benchmarks/study.py`; docs/guide/defaults.md says why, and how little most of them
# matter. Where there are two values, the first is for two classes, the second for more.
SHARES = {"moments": 0.1, "curvature": 0.1}
DISCRIMINANT_SHARES = {"moments": 0.1, "curvature": 0.3}
DISCRIMINANT_DAMPING = 0.7
# Below this signal class means are too noisy to compare with their covariance.
DISCRIMINANT_SIGNAL = 3.0
INTERCEPT = (0.5, 0.2)
# For several classes, whose long rows lose what tells them apart: as far as the signal allows.
RADIUS, LEAST_RADIUS, MOST_RADIUS = 0.85, 0.7, 1.0
SCALE_COLUMNS = (True, False)
DAMPING = (0.8, 1.0)
STEPS, LEAST_STEPS, MOST_STEPS = 3.0, 3, 12
LEARNING_RATE, AVERAGING = 1.0, 0.5
MOMENTUM = (0.4, 0.0)
WEIGHT_NORM = 20.0
# Beyond, factorising the second moments would take longer than the training.
MOST_PRECONDITIONED = 1000


@dataclass(frozen=True)
class Recipe:
    """How rows and gradients are to be prepared.

    Attributes
    ----------
    shares : dict of str to float
        For every statistic, in order, its share of the run's mu^2.
    preparation : Preparation
        All of it but the statistics, whose noise is known later.
    """

    shares: dict[str, float]
    preparation: Preparation

    @property
    def left(self) -> float:
        """The share of mu^2 that gradients have."""
        return 1 - sum(self.shares.values())


@dataclass(frozen=True)
class Request:
    """What a user asks for; "auto" where the plan decides.

    Attributes are those of `EncryptedDPLogisticRegression` under the same names; `class_weight`
    has a weight for every class, in their order, or is empty, `steps_per_round` is zero for a
    single round, and `bootstrapping` is a bool.
    """

    epsilon: float
    delta: float
    degree: int
    C: float | str
    class_weight: tuple[float, ...]
    fit_intercept: bool
    standardize: bool
    precondition: bool | str
    data_norm: float | str
    weight_norm: float | str
    approximation: str
    solver: str
    max_iter: int | str
    learning_rate: float | str
    momentum: float | str
    averaging: float | str
    neighboring: str
    steps_per_round: int = 1
    bootstrapping: bool = False


def resolve(
    request: Request, n_samples: int, n_features: int, n_classes: int
) -> tuple[Problem, Recipe, Optimizer, None]:
    """Fill in every "auto"; there is no network.

    Parameters
    ----------
    request : Request
        What the user asks for.
    n_samples, n_features, n_classes : int
        Shape of the data, public.
    """
    problem = problem_of(request, n_samples, n_features, n_classes, INTERCEPT[n_classes > 2])
    signal = signal_of(request, problem)
    travel = travel_of(signal)
    solver = _solver(request, problem, signal)
    recipe = _recipe(request, problem, signal, solver)
    distance = travel if "moments" in recipe.shares else 2 * travel
    if solver == "discriminant":
        course = (1, 1.0, 0.0, 1.0)
    elif "curvature" in recipe.shares:
        course = _newton(request, problem, signal)
    else:
        course = _nesterov(request, signal, distance)
    max_iter, learning_rate, momentum, averaging = course
    C, heaviest = or_automatic(request.C, math.inf), max(request.class_weight, default=1.0)
    return (
        problem,
        recipe,
        Optimizer(
            solver=solver,
            max_iter=max_iter,
            learning_rate=or_automatic(request.learning_rate, learning_rate),
            momentum=or_automatic(request.momentum, momentum),
            averaging=or_automatic(request.averaging, averaging),
            regularization=1 / (C * heaviest * n_samples),
            weight_norm=or_automatic(request.weight_norm, _weight_norm(problem, signal, solver)),
        ),
        None,
    )


def problem_of(
    request: Request, n_samples: int, n_features: int, n_classes: int, intercept: float
) -> Problem:
    """The linear model's problem; the intercept's entry is for where there is one."""
    usual = math.sqrt(n_features) / 3
    automatic = 2 * usual if request.standardize else usual
    heaviest = max(request.class_weight, default=1.0)
    return Problem(
        n_samples,
        n_features,
        n_classes,
        checked_norm(or_automatic(request.data_norm, automatic)),
        intercept if request.fit_intercept else 0.0,
        tuple(weight / heaviest for weight in request.class_weight),
    )


def travel_of(signal: float) -> float:
    """How far steps may go in all: learning rate times their number, squared with momentum."""
    return min(signal**1.5, 5000.0)


def _solver(request: Request, problem: Problem, signal: float) -> str:
    """The discriminant for several classes, where nothing that it lacks is asked for.

    Raises
    ------
    ValueError
        If it is asked for by name where it cannot be.
    """
    lacking = {
        "two classes": problem.n_outputs == 1,
        "fit_intercept=False": not request.fit_intercept,
        "class_weight": bool(request.class_weight),
        "C": not isinstance(request.C, str),
        "precondition=False": request.precondition is False,
        f"more than {MOST_PRECONDITIONED} features": problem.n_features > MOST_PRECONDITIONED
        and request.precondition is not True,
    }
    wanted = request.standardize and signal >= DISCRIMINANT_SIGNAL
    return chosen_solver(request, lacking, wanted)


def chosen_solver(request: Any, lacking: dict[str, bool], wanted: bool) -> str:
    """The solver by name, or on "auto" the discriminant where it is wanted and possible.

    Parameters
    ----------
    request : Request or NetworkRequest
        Parameters of the steps that it sets are among what a discriminant lacks.
    lacking : dict of str to bool
        What else it would go without, and whether that is asked for.
    wanted : bool
        Whether "auto" prefers it.

    Raises
    ------
    ValueError
        If it is asked for by name where it cannot be.
    """
    for name in ("max_iter", "learning_rate", "momentum", "averaging"):
        lacking[name] = not isinstance(getattr(request, name), str)
    found = [name for name, there in lacking.items() if there]
    if request.solver == "discriminant" and found:
        raise ValueError(
            f"solver='discriminant' goes without {', '.join(found)}; use solver='steps', or leave "
            "these on their defaults."
        )
    if request.solver != "auto":
        return request.solver
    return "discriminant" if wanted and not found else "steps"


def _recipe(request: Request, problem: Problem, signal: float, solver: str) -> Recipe:
    precondition = request.precondition
    if isinstance(precondition, str):
        precondition = problem.n_features <= MOST_PRECONDITIONED
    wanted = {"moments": request.standardize, "curvature": precondition}
    discriminant = solver == "discriminant"
    usual = DISCRIMINANT_SHARES if discriminant else SHARES
    shares = {name: share for name, share in usual.items() if wanted[name]}
    several = problem.n_outputs > 1
    preparation = Preparation(
        moments=None,
        curvature=None,
        box=box(problem),
        radius=several_radius(signal) if several else RADIUS,
        scale_columns=SCALE_COLUMNS[several],
        damping=DISCRIMINANT_DAMPING if discriminant else DAMPING[several],
        floor=1 / travel_of(signal),
    )
    return Recipe(shares, preparation)


def _newton(request: Request, problem: Problem, signal: float) -> tuple[int, float, float, float]:
    """Steps, learning rate, momentum and averaging with a preconditioner: few steps."""
    steps = int(or_automatic(request.max_iter, newton_steps(signal)))
    return steps, LEARNING_RATE, MOMENTUM[problem.n_outputs > 1], AVERAGING


def newton_steps(signal: float) -> int:
    """How many preconditioned steps a signal is worth."""
    return min(MOST_STEPS, max(LEAST_STEPS, round(STEPS * (signal / 10) ** 0.25)))


def several_radius(signal: float) -> float:
    """Where rows are shortened, for several classes."""
    return min(MOST_RADIUS, max(LEAST_RADIUS, signal / 12))


def _nesterov(request: Request, signal: float, travel: float) -> tuple[int, float, float, float]:
    """The same without one: accelerated steps that travel far along weak directions."""
    steps = int(or_automatic(request.max_iter, min(40, max(8, round(10 * (signal / 10) ** 0.35)))))
    return steps, min(4 * travel / steps**2, 16.0), max(0.0, 1 - 2.5 / steps), 0.25


def or_automatic(value: float | str, automatic: float) -> float:
    """What is given, or else what the plan decides."""
    return automatic if isinstance(value, str) else float(value)


def checked_norm(data_norm: float) -> float:
    """A row bound that nothing overflows with."""
    if not 1e-100 < data_norm < 1e100:
        raise ValueError(f"data_norm must be between 1e-100 and 1e100, got {data_norm!r}.")
    return data_norm


def box(problem: Problem) -> float:
    """Where columns are clipped for their moments.

    A norm that is given says nothing of single columns unless it is below that of all.
    """
    typical = 1.5 * problem.data_norm / math.sqrt(problem.n_features)
    return min(problem.data_norm, max(1.0, typical))


def signal_of(request: Request, problem: Problem) -> float:
    """Rows times the privacy of all releases over relation and sqrt(columns).

    The ratio of the mean gradient's largest norm to the noise of one release that takes the
    whole budget; several outputs share it.
    """
    mu = 1 / accounting.calibrate(request.epsilon, request.delta, 1)
    columns = math.sqrt(problem.n_features + 1)
    signal = problem.n_samples * mu / (RELATION_FACTOR[request.neighboring] * columns)
    return signal if problem.n_outputs == 1 else signal / math.sqrt(1.5 * problem.n_outputs)


def _weight_norm(problem: Problem, signal: float, solver: str) -> float:
    if solver == "discriminant":
        return 0.01  # its only gradient is taken at the prior
    if problem.n_outputs == 1:
        return WEIGHT_NORM
    return min(WEIGHT_NORM, max(5.0, signal / 4))
