r"""Adam on a network's noised gradients: post-processing and free.

Adam (Kingma and Ba 2015) divides the running mean of gradients by the root of their running mean
square. Under noise of variance sigma^2 on every coordinate, which is public, that mean square is
too large by sigma^2, and small gradients are shrunk for nothing but the noise; so it is taken off
(Tang, Shpilevskiy and Lecuyer 2023, DP-AdamBC, arXiv 2312.14334, Algorithm 1), down to the
variance of the running mean's own noise, beyond which a step would be noise enlarged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..plan import TrainingPlan
from ..privacy.frame import Frame
from ..privacy.statistics import second_moments
from .network_start import Bounded, NetworkGradient, NetworkPoint, isotropic, mean_weights

_MEMORY = 0.99


class NetworkAdam:
    """Adam on both layers, without a preconditioner.

    Parameters
    ----------
    plan : TrainingPlan
        Problem, optimiser and network; momentum is the memory of the mean.
    frame : Frame
        Of the stored rows.
    curvature : ndarray or None
        The noised sums of the second moments, which the start is made of; None takes rows for
        isotropic.

    Attributes
    ----------
    point : NetworkPoint
        Where the next gradient is taken.
    """

    def __init__(self, plan: TrainingPlan, frame: Frame, curvature: NDArray | None):
        self._plan = plan
        second = isotropic(plan) if curvature is None else second_moments(curvature, plan)
        self._bounded = Bounded(plan, second)
        self.point = self._bounded.point
        scales = np.append(frame.scale, 0.0)[:, None], np.ones((len(self.point.output), 1))
        scales[1][-1] = 0.0
        self._penalties = [plan.optimizer.regularization * scale**2 for scale in scales]
        self._means = [np.zeros_like(block) for block in self._blocks(self.point)]
        self._squares = [np.zeros_like(block) for block in self._blocks(self.point)]
        self._tail: list[NetworkPoint] = []
        self._step = 0

    def update(self, gradient_sum: NetworkGradient) -> None:
        """Take one step with a noised gradient sum."""
        optimizer, n = self._plan.optimizer, self._plan.problem.n_samples
        self._step += 1
        noises = gradient_sum.hidden_noise / n, gradient_sum.output_noise / n
        sums, points = self._blocks(gradient_sum), self._blocks(self.point)
        new = []
        for i, (point, total, noise) in enumerate(zip(points, sums, noises, strict=True)):
            gradient = total / n + self._penalties[i] * point
            new.append(point - optimizer.learning_rate * self._direction(i, gradient, noise))
        self.point = self._bounded.project(NetworkPoint(*new))
        first = optimizer.max_iter - max(1, round(optimizer.averaging * optimizer.max_iter))
        if self._step > first:
            self._tail.append(self.point)

    def result(self) -> NetworkPoint:
        """Mean of the last iterates."""
        return mean_weights(self._tail)

    def _direction(self, block: int, gradient: NDArray, noise: float) -> NDArray:
        """The running mean over the root of the noiseless running mean square."""
        memory = self._plan.optimizer.momentum
        for kept, stored, value in (
            (memory, self._means, gradient),
            (_MEMORY, self._squares, gradient**2),
        ):
            stored[block] = kept * stored[block] + (1 - kept) * value
        mean = self._means[block] / (1 - memory**self._step)
        square = self._squares[block] / (1 - _MEMORY**self._step)
        # Variance of the mean's noise: weights (1 - b) b^i over 1 - b^t, their squares summed.
        left = (1 - memory) / (1 + memory) * (1 + memory**self._step) / (1 - memory**self._step)
        return mean / np.sqrt(np.maximum(square - noise**2, left * noise**2) + 1e-24)

    @staticmethod
    def _blocks(point: NetworkPoint) -> tuple[NDArray, NDArray]:
        return point.hidden, point.output
