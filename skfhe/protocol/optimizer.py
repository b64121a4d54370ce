"""What the key holder makes of releases: projected Nesterov steps, post-processing and free."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..plan import TrainingPlan
from ..privacy.frame import Frame
from .discriminant import Discriminant
from .preparation import preconditioner


def make_optimizer(
    plan: TrainingPlan, frame: Frame, curvature: NDArray | None
) -> Discriminant | ProjectedNesterov:
    """What the plan's solver makes of gradients.

    Parameters
    ----------
    plan : TrainingPlan
        Names the solver.
    frame : Frame
        Of the stored rows.
    curvature : ndarray or None
        The noised sums of the curvature, if the plan has it.
    """
    if plan.optimizer.solver == "discriminant":
        return Discriminant(plan, curvature)
    matrix = None if curvature is None else preconditioner(plan, curvature)
    return ProjectedNesterov(plan, frame, matrix)


class ProjectedNesterov:
    r"""Accelerated gradient steps on a ball of radius W, per output.

    With the gradient g taken at the lookahead point y_t,

        w_{t+1} = B(y_t - eta P (g(y_t)/n + lambda D y_t)),
        y_{t+1} = B(w_{t+1} + m (w_{t+1} - w_t)),

    m = ``momentum`` (Nesterov 1983), P the preconditioner, D the squared scales of the columns
    (the penalty is on the weights of rows as they are given), and the result is the mean of the
    last iterates. B keeps every output's weights within W of the public prior that they start
    at, so the bound on margins holds wherever a gradient is taken.

    Parameters
    ----------
    plan : TrainingPlan
        Problem and optimiser.
    frame : Frame
        Of the stored rows.
    preconditioner : ndarray of shape (n_columns, n_columns), optional
        P; the identity if there is none.

    Attributes
    ----------
    point : ndarray of shape (n_columns, n_outputs)
        Where the next gradient is taken.
    """

    def __init__(self, plan: TrainingPlan, frame: Frame, preconditioner: NDArray | None = None):
        problem = plan.problem
        self._problem = problem
        self._optimizer = plan.optimizer
        self._preconditioner = preconditioner
        self._prior = np.zeros((problem.n_columns, problem.n_outputs))
        self._penalty = np.zeros((problem.n_columns, 1))
        self._penalty[: problem.n_features, 0] = plan.optimizer.regularization * frame.scale**2
        if problem.intercept_column:
            self._prior[-1] = problem.prior_margin / problem.intercept_column
        self._weights = self._prior
        self.point = self._prior
        self._tail: list[NDArray] = []
        self._step = 0

    def update(self, gradient_sum: NDArray) -> None:
        """Take one step with a noised gradient sum of shape (n_columns, n_outputs)."""
        optimizer = self._optimizer
        gradient = gradient_sum / self._problem.n_samples
        gradient += self._penalty * self.point
        if self._preconditioner is not None:
            gradient = self._preconditioner @ gradient
        new = self._project(self.point - optimizer.learning_rate * gradient)
        self._step += 1
        self.point = self._project(new + optimizer.momentum * (new - self._weights))
        self._weights = new
        first = optimizer.max_iter - max(1, round(optimizer.averaging * optimizer.max_iter))
        if self._step > first:
            self._tail.append(new)

    def result(self) -> NDArray:
        """Mean of the last iterates."""
        return np.mean(self._tail, axis=0)

    def _project(self, weights: NDArray) -> NDArray:
        moved = weights - self._prior
        norms = np.linalg.norm(moved, axis=0)
        largest = self._optimizer.weight_norm
        return self._prior + moved * np.minimum(1.0, largest / np.maximum(norms, largest))
