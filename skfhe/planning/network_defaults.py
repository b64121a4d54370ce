"""A network's hyperparameters left on "auto": functions of public quantities alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..plan import Optimizer, Preparation, Problem
from .defaults import Recipe, box, checked_norm, or_automatic, signal_of, travel_of

SHARES = {"moments": 0.1, "curvature": 0.1}
INTERCEPT = 0.5
RADIUS = 0.85
DAMPING = 0.8
STEPS, LEAST_STEPS, MOST_STEPS = 6.0, 4, 20
LEARNING_RATE, MOMENTUM, AVERAGING = 1.0, 0.4, 0.5
WEIGHT_NORM, HIDDEN_NORM = 6.0, 6.0


@dataclass(frozen=True)
class NetworkRequest:
    """What a user asks for; "auto" where the plan decides.

    Attributes are those of `EncryptedDPMLPClassifier` under the same names.
    """

    epsilon: float
    delta: float
    hidden_units: int
    activation: str
    degree: int
    alpha: float | str
    data_norm: float | str
    hidden_norm: float | str
    weight_norm: float | str
    approximation: str
    max_iter: int | str
    learning_rate: float | str
    momentum: float | str
    averaging: float | str
    neighboring: str
    initial_seed: int


def resolve(
    request: NetworkRequest, n_samples: int, n_features: int, n_classes: int
) -> tuple[Problem, Recipe, Optimizer]:
    """Fill in every "auto".

    Parameters
    ----------
    request : NetworkRequest
        What the user asks for.
    n_samples, n_features, n_classes : int
        Shape of the data, public.
    """
    data_norm = checked_norm(or_automatic(request.data_norm, 2 * math.sqrt(n_features) / 3))
    problem = Problem(
        n_samples, n_features, n_classes, data_norm, INTERCEPT, hidden_units=request.hidden_units
    )
    q = signal_of(request, problem)
    wanted = round(STEPS * (q / 10) ** 0.25)
    steps = int(or_automatic(request.max_iter, min(MOST_STEPS, max(LEAST_STEPS, wanted))))
    preparation = Preparation(
        moments=None,
        curvature=None,
        box=box(problem),
        radius=RADIUS,
        scale_columns=problem.n_outputs == 1,
        damping=DAMPING,
        floor=1 / travel_of(q),
    )
    optimizer = Optimizer(
        solver="steps",
        max_iter=steps,
        learning_rate=or_automatic(request.learning_rate, LEARNING_RATE),
        momentum=or_automatic(request.momentum, MOMENTUM),
        averaging=or_automatic(request.averaging, AVERAGING),
        regularization=or_automatic(request.alpha, 0.0),
        weight_norm=or_automatic(request.weight_norm, WEIGHT_NORM),
        hidden_norm=or_automatic(request.hidden_norm, HIDDEN_NORM),
        initial_seed=request.initial_seed,
    )
    return problem, Recipe(SHARES, preparation), optimizer
