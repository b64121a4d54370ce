r"""What the key holder makes of a network's noised gradients: post-processing and free.

**Steps.** With P the linear model's preconditioner, whose slopes are 1/4 and 1, and c the mean of
s'(prior) a'(z_1)^2 over rows, hidden weights move by

    -eta (1/4c) P G_1 / (n ||W_2||^2),

a Gauss-Newton step in the direction of the outputs. Rows are not known, but their moments have
been released: the mean is taken over public normal rows of these moments. Outputs' weights move
by a share of eta (s' H + damping I)^{-1} G_2/n, H being the second moments of the hidden values of
the same public rows. Both have Nesterov momentum, and the last iterates are averaged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ..plan import TrainingPlan
from ..privacy.frame import Frame
from ..privacy.network_sensitivity import hidden_reach
from ..privacy.statistics import second_moments
from .discriminant import Discriminant
from .network_start import (
    Bounded,
    NetworkGradient,
    NetworkPoint,
    isotropic,
    mean_weights,
    stand_ins,
)
from .preparation import damped_curvature

# Of the step length's correction for flat activations.
_LONGEST = 10.0
# How much of the activation's interval the discriminant's margins take: tanh is straight there.
_STRAIGHT = 0.2


class NetworkSteps:
    """Preconditioned Nesterov steps on both layers.

    Parameters
    ----------
    plan : TrainingPlan
        Problem, optimiser and network.
    frame : Frame
        Of the stored rows.
    curvature : ndarray or None
        The noised sums of the second moments; None takes rows for isotropic.

    Attributes
    ----------
    point : NetworkPoint
        Where the next gradient is taken.
    """

    def __init__(self, plan: TrainingPlan, frame: Frame, curvature: NDArray | None):
        self._plan = plan
        if curvature is None:
            second = isotropic(plan)
            self._curvature = second / 4 + plan.preparation.floor * np.eye(len(second))
        else:
            second = second_moments(curvature, plan)
            self._curvature = damped_curvature(plan, curvature)
        self._bounded = Bounded(plan, second)
        self._rows = stand_ins(plan, second)
        self._slope = float(_sigmoid_slope(plan.problem.prior_margin))
        self._weights = self.point = self._bounded.point
        scale = np.append(frame.scale, 0.0)[:, None]
        self._penalty = plan.optimizer.regularization * scale**2
        self._tail: list[NetworkPoint] = []
        self._step = 0

    def update(self, gradient_sum: NetworkGradient) -> None:
        """Take one step with a noised gradient sum."""
        optimizer, margins = self._plan.optimizer, self._rows @ self.point.hidden
        step = NetworkPoint(
            self._hidden_step(gradient_sum, margins), self._output_step(gradient_sum, margins)
        )
        new = self._bounded.project(self.point.moved(step, -optimizer.learning_rate))
        ahead = new.moved(new.moved(self._weights, -1.0), optimizer.momentum)
        self._weights, self.point = new, self._bounded.project(ahead)
        self._step += 1
        first = optimizer.max_iter - max(1, round(optimizer.averaging * optimizer.max_iter))
        if self._step > first:
            self._tail.append(new)

    def result(self) -> NetworkPoint:
        """Mean of the last iterates."""
        return mean_weights(self._tail)

    def _hidden_step(self, gradient_sum: NetworkGradient, margins: NDArray) -> NDArray:
        gradient = gradient_sum.hidden / self._plan.problem.n_samples
        gradient = gradient + self._penalty * self.point.hidden
        slopes = self._activation.derivative(margins)
        curvature = self._slope * float(np.mean(slopes**2))
        length = min(_LONGEST, 0.25 / max(curvature, 1e-12))
        norm = np.linalg.norm(self.point.output[:-1], 2)
        whole = max(norm**2, 1e-12) / length * self._curvature
        whole[np.diag_indices_from(whole)] += self._penalty[:, 0]
        return np.linalg.solve(whole, gradient)

    def _output_step(self, gradient_sum: NetworkGradient, margins: NDArray) -> NDArray:
        plan = self._plan
        n, b = plan.problem.n_samples, plan.problem.intercept_column
        gradient = gradient_sum.output / n
        gradient[:-1] += plan.optimizer.regularization * self.point.output[:-1]
        values = self._activation(margins)
        values = np.hstack([values, np.full((len(values), 1), b)])
        noise = gradient_sum.output_noise / n
        damping = noise * np.sqrt(len(values.T)) + plan.preparation.floor
        curvature = self._slope * (values.T @ values) / len(values)
        added = np.full(len(curvature), damping)
        added[:-1] += plan.optimizer.regularization
        solved = np.linalg.solve(curvature + np.diag(added), gradient)
        return plan.network.output_rate * solved

    @property
    def _activation(self):
        return self._plan.certificate.activation


class NetworkDiscriminant:
    """The linear discriminant of several classes, as a network; from a single gradient.

    At the start all hidden weights are zero, and the hidden gradient is the linear model's times
    the outputs' weights, which have full rank. The discriminant's margins, less their mean over
    classes, are then written into the hidden units, small enough for the activation to be
    straight, and enlarged again by the outputs.

    Parameters
    ----------
    plan : TrainingPlan
        With several classes, no fewer units, a curvature and one step.
    curvature : ndarray
        The noised sums of the second moments.

    Attributes
    ----------
    point : NetworkPoint
        Where the gradient is taken.
    """

    def __init__(self, plan: TrainingPlan, curvature: NDArray):
        self._plan = plan
        self.point = Bounded(plan, second_moments(curvature, plan)).point
        slope = float(plan.certificate.activation.derivative(0.0))
        # W2 has orthogonal columns up to pairs, so this is a right inverse of its transpose.
        self._inverse = np.linalg.pinv(slope * self.point.output[:-1])
        self._discriminant = Discriminant(plan, curvature)

    def update(self, gradient_sum: NetworkGradient) -> None:
        """Take the noised gradient sum."""
        # Rows of the inverse have one norm, as columns of W2 do.
        scale = float(np.linalg.norm(self._inverse[0]))
        noise = gradient_sum.hidden_noise * scale
        self._discriminant.update(gradient_sum.hidden @ self._inverse.T, noise)

    def result(self) -> NetworkPoint:
        """The discriminant's weights in the hidden units."""
        linear = self._discriminant.result()
        linear = linear - linear.mean(axis=1, keepdims=True)
        hidden = linear @ self._inverse
        largest = max(hidden_reach(hidden, self._plan.problem.intercept_column, 0.0), 1e-12)
        shrunk = _STRAIGHT * self._plan.network.hidden_reach / largest
        output = np.vstack([self.point.output[:-1] / shrunk, np.zeros((1, linear.shape[1]))])
        return NetworkPoint(shrunk * hidden, output)


def _sigmoid_slope(z: float) -> float:
    return expit(z) * expit(-z)
