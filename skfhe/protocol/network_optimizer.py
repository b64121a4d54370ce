"""What the key holder makes of a network's noised gradients: post-processing and free."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..plan import TrainingPlan
from ..privacy.frame import Frame
from .preparation import preconditioner


@dataclass(frozen=True)
class NetworkPoint:
    """Weights of both layers, or a gradient with respect to them.

    Attributes
    ----------
    hidden : ndarray of shape (n_columns, n_units)
        W1; the intercept's row is the last.
    output : ndarray of shape (n_units + 1, n_outputs)
        W2; the bias is the last row.
    """

    hidden: NDArray
    output: NDArray


class NetworkOptimizer:
    """Preconditioned momentum on both layers, within their balls.

    Parameters
    ----------
    plan : TrainingPlan
        Problem and optimiser.
    frame : Frame
        Of the stored rows.
    curvature : ndarray or None
        The noised sums of the curvature.

    Attributes
    ----------
    point : NetworkPoint
        Where the next gradient is taken.
    """

    def __init__(self, plan: TrainingPlan, frame: Frame, curvature: NDArray | None):
        self._plan = plan
        problem = plan.problem
        h, k = problem.hidden_units, problem.n_outputs
        rng = np.random.default_rng(plan.optimizer.initial_seed)
        signs = np.where(np.arange(h)[:, None] % 2 == 0, 1.0, -1.0)
        if k > 1:
            signs = rng.choice([-1.0, 1.0], size=(h, k))
        W2 = np.zeros((h + 1, k))
        W2[:-1] = 2.0 * signs / np.sqrt(h)
        W2[-1] = problem.prior_margin / problem.intercept_column
        self._prior = np.zeros_like(W2)
        self._prior[-1] = W2[-1]
        W1 = 0.3 * rng.normal(size=(problem.n_columns, h)) / np.sqrt(problem.n_columns)
        self._P = (
            np.eye(problem.n_columns) if curvature is None else preconditioner(plan, curvature)
        )
        self._w = NetworkPoint(W1, W2)
        self.point = self._w
        self._tail = []
        self._step = 0

    def update(self, g: NetworkPoint) -> None:
        o, n = self._plan.optimizer, self._plan.problem.n_samples
        W1 = self.point.hidden - o.learning_rate * (self._P @ g.hidden) / n / 4.0
        W2 = self.point.output - 0.5 * o.learning_rate * g.output / n
        new = self._project(NetworkPoint(W1, W2))
        old, m = self._w, o.momentum
        self.point = self._project(
            NetworkPoint(
                new.hidden + m * (new.hidden - old.hidden),
                new.output + m * (new.output - old.output),
            )
        )
        self._w = new
        self._step += 1
        if self._step > o.max_iter - max(1, round(o.averaging * o.max_iter)):
            self._tail.append(new)

    def _project(self, w):
        o = self._plan.optimizer
        a = np.linalg.norm(w.hidden, axis=0)
        moved = w.output - self._prior
        b = np.linalg.norm(moved, axis=0)
        return NetworkPoint(
            w.hidden * np.minimum(1, o.hidden_norm / np.maximum(a, o.hidden_norm)),
            self._prior + moved * np.minimum(1, o.weight_norm / np.maximum(b, o.weight_norm)),
        )

    def result(self) -> NetworkPoint:
        return NetworkPoint(
            np.mean([w.hidden for w in self._tail], axis=0),
            np.mean([w.output for w in self._tail], axis=0),
        )
