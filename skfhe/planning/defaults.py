"""Hyperparameters left on "auto": functions of public quantities alone.

No function here sees a value of X or y; what they see is what the plan states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..plan import Optimizer, Problem
from ..privacy import accounting
from ..privacy.sensitivity import RELATION_FACTOR

INTERCEPT_COLUMN = 0.25


@dataclass(frozen=True)
class Request:
    """What a user asks for; "auto" where the plan decides.

    Attributes are those of `EncryptedDPLogisticRegression` under the same names; `class_weight`
    has a weight for every class, in their order, or is empty.
    """

    epsilon: float
    delta: float
    degree: int
    C: float | str
    class_weight: tuple[float, ...]
    fit_intercept: bool
    data_norm: float | str
    weight_norm: float | str
    approximation: str
    max_iter: int | str
    learning_rate: float | str
    momentum: float | str
    averaging: float | str
    neighboring: str


def resolve(
    request: Request, n_samples: int, n_features: int, n_classes: int
) -> tuple[Problem, Optimizer]:
    """Fill in every "auto".

    Parameters
    ----------
    request : Request
        What the user asks for.
    n_samples, n_features, n_classes : int
        Shape of the data, public.
    """
    data_norm = _or(request.data_norm, math.sqrt(n_features) / 3)
    if not 1e-100 < data_norm < 1e100:
        raise ValueError(f"data_norm must be between 1e-100 and 1e100, got {data_norm!r}.")
    heaviest = max(request.class_weight, default=1.0)
    problem = Problem(
        n_samples,
        n_features,
        n_classes,
        data_norm,
        INTERCEPT_COLUMN if request.fit_intercept else 0.0,
        tuple(weight / heaviest for weight in request.class_weight),
    )
    signal = _signal(request, problem)
    max_iter = int(_or(request.max_iter, min(40, max(8, round(10 * (signal / 10) ** 0.35)))))
    travel = min(2 * signal**1.5, 5000.0)
    C = _or(request.C, math.inf)
    return problem, Optimizer(
        max_iter=max_iter,
        learning_rate=_or(request.learning_rate, min(4 * travel / max_iter**2, 16.0)),
        momentum=_or(request.momentum, max(0.0, 1 - 2.5 / max_iter)),
        averaging=_or(request.averaging, 0.25),
        regularization=1 / (C * heaviest * n_samples * data_norm**2),
        weight_norm=_or(request.weight_norm, _weight_norm(problem, signal)),
    )


def _or(value: float | str, automatic: float) -> float:
    return automatic if isinstance(value, str) else float(value)


def _signal(request: Request, problem: Problem) -> float:
    """Rows times the privacy of all releases over relation and sqrt(columns).

    The ratio of the mean gradient's largest norm to the noise of one release that takes the
    whole budget; several outputs share it.
    """
    mu = 1 / accounting.calibrate(request.epsilon, request.delta, 1)
    columns = math.sqrt(problem.n_features + 1)
    signal = problem.n_samples * mu / (RELATION_FACTOR[request.neighboring] * columns)
    return signal if problem.n_outputs == 1 else signal / math.sqrt(1.5 * problem.n_outputs)


def _weight_norm(problem: Problem, signal: float) -> float:
    if problem.n_outputs == 1:
        return 40.0
    return min(40.0, max(1.0, signal / 5))
