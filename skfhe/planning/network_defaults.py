"""A network's hyperparameters left on "auto": functions of public quantities alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..plan import Network, Optimizer, Preparation, Problem
from .defaults import (
    DAMPING,
    DISCRIMINANT_DAMPING,
    DISCRIMINANT_SHARES,
    MOST_PRECONDITIONED,
    SCALE_COLUMNS,
    SHARES,
    Recipe,
    box,
    checked_norm,
    chosen_solver,
    newton_steps,
    or_automatic,
    several_radius,
    signal_of,
    travel_of,
)

# Chosen by `benchmarks/study.py --networks`; docs/guide/defaults.md says why. Where there are two
# values, the first is for steps, the second for the discriminant.
INTERCEPT = (0.5, 0.2)
# A network starts as the linear model at a signal of LINEAR and is as non-linear as it gets
# CURVED above it.
LINEAR, CURVED = 50.0, 150.0
SPREAD, BIAS = 0.6, 0.7
# Several classes below this signal start, and end, at the linear discriminant.
DISCRIMINANT_SIGNAL = 1000.0
HIDDEN_REACH = 3.0
# The square of three would be nine; and at zero it is flat, so units start with a bias even in a
# network that is to be linear. Spread and bias are in units of the reach.
SQUARE_REACH, SQUARE_SPREAD, SQUARE_BIAS = 2.0, 0.3, 0.5
START_NORM = 4.0
LEARNING_RATE, FASTER = 1.0, 0.5
OUTPUT_RATE = 0.1
MOMENTUM, AVERAGING = 0.4, 0.5
ADAM_STEPS, ADAM_RATE, ADAM_MOMENTUM = 30, 0.05, 0.9
RADIUS, MOST_RADIUS = 0.85, 1.2
# How far weights of the outputs may go, over where they start.
ROOM = 1.5


@dataclass(frozen=True)
class NetworkRequest:
    """What a user asks for; "auto" where the plan decides.

    Attributes are those of `EncryptedDPMLPClassifier` under the same names, and ``hidden_units``.
    """

    epsilon: float
    delta: float
    hidden_units: int
    activation: str
    degree: int
    alpha: float | str
    data_norm: float | str
    hidden_reach: float | str
    weight_norm: float | str
    approximation: str
    solver: str
    max_iter: int | str
    learning_rate: float | str
    momentum: float | str
    averaging: float | str
    neighboring: str
    initial_seed: int


def resolve(
    request: NetworkRequest, n_samples: int, n_features: int, n_classes: int
) -> tuple[Problem, Recipe, Optimizer, Network]:
    """Fill in every "auto".

    Parameters
    ----------
    request : NetworkRequest
        What the user asks for.
    n_samples, n_features, n_classes : int
        Shape of the data, public.
    """
    data_norm = checked_norm(or_automatic(request.data_norm, 2 * math.sqrt(n_features) / 3))
    shape = n_samples, n_features, n_classes, data_norm
    problem = Problem(*shape, INTERCEPT[0], hidden_units=request.hidden_units)
    signal = signal_of(request, problem)
    discriminant = _solver(request, problem, signal) == "discriminant"
    problem = Problem(*shape, INTERCEPT[discriminant], hidden_units=request.hidden_units)
    several = problem.n_outputs > 1
    curved = 0.0 if discriminant else min(1.0, max(0.0, (signal - LINEAR) / CURVED))
    adam = request.solver == "adam"
    steps = 1 if discriminant else ADAM_STEPS if adam else newton_steps(signal)
    radius = min(MOST_RADIUS, max(RADIUS, RADIUS * (signal / 60) ** 0.2))
    preparation = Preparation(
        moments=None,
        curvature=None,
        box=box(problem),
        radius=several_radius(signal) if several else radius,
        scale_columns=SCALE_COLUMNS[several],
        damping=DISCRIMINANT_DAMPING if discriminant else DAMPING[several],
        floor=1 / travel_of(signal),
    )
    shares = DISCRIMINANT_SHARES if discriminant else SHARES
    if n_features > MOST_PRECONDITIONED:
        shares = {"moments": shares["moments"]}
    square = request.activation == "square"
    if square and several and problem.hidden_units < 2 * problem.n_outputs:
        raise ValueError(
            "activation='square' is flat at zero, so its units start in pairs: two for each of "
            f"{problem.n_outputs} classes, got {problem.hidden_units}; use more units, or another "
            "activation."
        )
    hidden_reach = SQUARE_REACH if square else HIDDEN_REACH
    hidden_reach = or_automatic(request.hidden_reach, hidden_reach)
    spread, bias = SPREAD * curved, BIAS * curved
    if square:
        spread, bias = SQUARE_SPREAD * curved * hidden_reach, SQUARE_BIAS * hidden_reach
    norm = START_NORM if several else math.sqrt(problem.hidden_units) / 2
    return (
        problem,
        Recipe(shares, preparation),
        Optimizer(
            solver="discriminant" if discriminant else "adam" if adam else "steps",
            max_iter=int(or_automatic(request.max_iter, steps)),
            learning_rate=or_automatic(
                request.learning_rate, ADAM_RATE if adam else LEARNING_RATE + FASTER * curved
            ),
            momentum=or_automatic(request.momentum, ADAM_MOMENTUM if adam else MOMENTUM),
            averaging=or_automatic(request.averaging, AVERAGING),
            regularization=or_automatic(request.alpha, 0.0) / n_samples,
            weight_norm=or_automatic(request.weight_norm, ROOM * norm),
        ),
        Network(
            hidden_reach=hidden_reach,
            output_rate=OUTPUT_RATE,
            start_norm=norm,
            start_spread=spread,
            start_bias=bias,
            seed=request.initial_seed,
        ),
    )


def _solver(request: NetworkRequest, problem: Problem, signal: float) -> str:
    """The discriminant for several classes and a low signal, where no parameter of steps is set.

    Raises
    ------
    ValueError
        If it is asked for by name where it cannot be.
    """
    lacking = {
        "two classes": problem.n_outputs == 1,
        "activation='square'": request.activation == "square",
        "alpha": not isinstance(request.alpha, str),
        "fewer units than classes": problem.hidden_units < problem.n_outputs,
        f"more than {MOST_PRECONDITIONED} features": problem.n_features > MOST_PRECONDITIONED,
    }
    return chosen_solver(request, lacking, signal < DISCRIMINANT_SIGNAL)
