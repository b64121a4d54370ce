r"""What the key holder makes of a network's noised gradients: post-processing and free.

**Start.** Units come in pairs of the same hidden weights and opposite weights of the outputs, so
that every row starts at the prior. The outputs' weights are +-r/sqrt(h) for one output, and
orthogonal for several, of operator norm r. Hidden weights are combinations of the square root of
the released second moments, so that they lie where rows do; they are zero, and units need no
pairs, for the discriminant, and where there are too few pairs for the outputs.

**Steps.** With P the linear model's preconditioner, whose slopes are 1/4 and 1, and c the mean of
s'(prior) a'(z_1)^2 over rows, hidden weights move by

    -eta (1/4c) P G_1 / (n ||W_2||^2),

a Gauss-Newton step in the direction of the outputs. Rows are not known, but their moments have
been released: the mean is taken over public normal rows of these moments. Outputs' weights move
by a share of eta (s' H + damping I)^{-1} G_2/n, H being the second moments of the hidden values of
the same public rows. Both have Nesterov momentum, and the last iterates are averaged.

**Bounds.** Hidden weights are shortened until no row in the unit ball gives a margin beyond the
activation's interval, outputs' weights until they are within their norm of the prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ..plan import TrainingPlan
from ..privacy.frame import Frame
from ..privacy.statistics import second_moments
from .discriminant import Discriminant
from .preparation import preconditioner

_STAND_INS = 400
# Of the step length's correction for flat activations.
_LONGEST = 10.0
# How much of the activation's interval the discriminant's margins take: tanh is straight there.
_STRAIGHT = 0.2


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

    def moved(self, other: NetworkPoint, by: float) -> NetworkPoint:
        """This plus a multiple of another."""
        return NetworkPoint(self.hidden + by * other.hidden, self.output + by * other.output)


class _Bounded:
    """The start, and the projection onto what the plan allows."""

    def __init__(self, plan: TrainingPlan, second: NDArray):
        self._plan = plan
        self._public = np.random.default_rng(plan.network.seed)
        self.prior = np.zeros((plan.problem.hidden_units + 1, plan.problem.n_outputs))
        self.prior[-1] = plan.problem.prior_margin / plan.problem.intercept_column
        self.point = self.project(NetworkPoint(self._hidden(second), self._output()))

    def project(self, weights: NetworkPoint) -> NetworkPoint:
        """Shortened hidden units, and outputs within their ball about the prior."""
        plan, hidden = self._plan, weights.hidden
        reach = np.linalg.norm(hidden[:-1], axis=0)
        reach += np.abs(plan.problem.intercept_column * hidden[-1])
        largest = plan.network.hidden_reach
        moved, norm = weights.output - self.prior, plan.optimizer.weight_norm
        lengths = np.linalg.norm(moved, axis=0)
        return NetworkPoint(
            hidden * np.minimum(1.0, largest / np.maximum(reach, largest)),
            self.prior + moved * np.minimum(1.0, norm / np.maximum(lengths, norm)),
        )

    def _output(self) -> NDArray:
        units, outputs = self.prior.shape[0] - 1, self.prior.shape[1]
        signs = np.where(np.arange(units) % 2, -1.0, 1.0)[:, None]
        norm = self._plan.network.start_norm
        if outputs == 1:
            body = signs * norm / np.sqrt(units)
        elif self._paired:
            body = signs * np.repeat(self._orthogonal(units // 2), 2, axis=0) * norm / np.sqrt(2)
        else:
            body = self._orthogonal(units) * norm
        return self.prior + np.vstack([body, np.zeros((1, outputs))])

    @property
    def _paired(self) -> bool:
        units, outputs = self.prior.shape[0] - 1, self.prior.shape[1]
        several = units % 2 == 0 and units >= 2 * outputs
        return self._plan.optimizer.solver == "steps" and (outputs == 1 or several)

    def _orthogonal(self, rows: int) -> NDArray:
        """Public directions of the outputs, orthonormal columns where there are rows enough."""
        outputs = self.prior.shape[1]
        size = max(rows, outputs)
        return np.linalg.qr(self._public.normal(size=(size, size)))[0][:rows, :outputs]

    def _hidden(self, second: NDArray) -> NDArray:
        network, problem = self._plan.network, self._plan.problem
        if not self._paired:
            return np.zeros((problem.n_columns, problem.hidden_units))
        pairs = -(-problem.hidden_units // 2)
        values, vectors = np.linalg.eigh(second[:-1, :-1])
        values = np.maximum(values, 0.0)
        draws = self._public.normal(size=(problem.n_features, pairs))
        spread = (vectors * np.sqrt(values)) @ (vectors.T @ draws)
        spread *= network.start_spread / max(float(np.linalg.norm(values)), 1e-12)
        bias = network.start_bias / problem.intercept_column
        signs = np.where(np.arange(pairs) % 2, -1.0, 1.0)
        pairwise = np.vstack([spread, bias * signs])
        return np.repeat(pairwise, 2, axis=1)[:, : problem.hidden_units]


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
            second = _isotropic(plan)
            self._preconditioner = np.linalg.inv(
                second / 4 + plan.preparation.floor * np.eye(len(second))
            )
        else:
            second = second_moments(curvature, plan)
            self._preconditioner = preconditioner(plan, curvature)
        self._bounded = _Bounded(plan, second)
        self._rows = _stand_ins(plan, second)
        self._slope = float(_sigmoid_slope(plan.problem.prior_margin))
        self._weights = self.point = self._bounded.point
        scale = np.append(frame.scale, 0.0)[:, None]
        self._penalty = plan.optimizer.regularization * scale**2
        self._tail: list[NetworkPoint] = []
        self._step = 0

    def update(self, gradient_sum: NetworkPoint) -> None:
        """Take one step with a noised gradient sum."""
        optimizer = self._plan.optimizer
        step = NetworkPoint(self._hidden_step(gradient_sum), self._output_step(gradient_sum))
        new = self._bounded.project(self.point.moved(step, -optimizer.learning_rate))
        ahead = new.moved(new.moved(self._weights, -1.0), optimizer.momentum)
        self._weights, self.point = new, self._bounded.project(ahead)
        self._step += 1
        first = optimizer.max_iter - max(1, round(optimizer.averaging * optimizer.max_iter))
        if self._step > first:
            self._tail.append(new)

    def result(self) -> NetworkPoint:
        """Mean of the last iterates."""
        return NetworkPoint(
            np.mean([weights.hidden for weights in self._tail], axis=0),
            np.mean([weights.output for weights in self._tail], axis=0),
        )

    def _hidden_step(self, gradient_sum: NetworkPoint) -> NDArray:
        gradient = gradient_sum.hidden / self._plan.problem.n_samples
        gradient = gradient + self._penalty * self.point.hidden
        slopes = self._activation.derivative(self._margins())
        curvature = self._slope * float(np.mean(slopes**2))
        length = min(_LONGEST, 0.25 / max(curvature, 1e-12))
        norm = np.linalg.norm(self.point.output[:-1], 2)
        return length / max(norm**2, 1e-12) * (self._preconditioner @ gradient)

    def _output_step(self, gradient_sum: NetworkPoint) -> NDArray:
        plan = self._plan
        n, b = plan.problem.n_samples, plan.problem.intercept_column
        gradient = gradient_sum.output / n
        gradient[:-1] += plan.optimizer.regularization * self.point.output[:-1]
        values = self._activation(self._margins())
        values = np.hstack([values, np.full((len(values), 1), b)])
        certificate = plan.certificate
        noise = plan.guarantee.noise_multiplier * certificate.sensitivity / n
        damping = noise * np.sqrt(len(values.T)) + plan.preparation.floor
        curvature = self._slope * (values.T @ values) / len(values)
        solved = np.linalg.solve(curvature + damping * np.eye(len(curvature)), gradient)
        return plan.network.output_rate * solved

    @property
    def _activation(self):
        return self._plan.certificate.activation

    def _margins(self) -> NDArray:
        return self._rows @ self.point.hidden


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
        self._bounded = _Bounded(plan, second_moments(curvature, plan))
        self.point = self._bounded.point
        slope = float(plan.certificate.activation.derivative(0.0))
        # W2 has orthogonal columns up to pairs, so this is a right inverse of its transpose.
        self._inverse = np.linalg.pinv(slope * self.point.output[:-1])
        self._discriminant = Discriminant(plan, curvature)

    def update(self, gradient_sum: NetworkPoint) -> None:
        """Take the noised gradient sum."""
        self._discriminant.update(gradient_sum.hidden @ self._inverse.T)

    def result(self) -> NetworkPoint:
        """The discriminant's weights in the hidden units."""
        linear = self._discriminant.result()
        linear = linear - linear.mean(axis=1, keepdims=True)
        hidden = linear @ self._inverse
        reach = np.linalg.norm(hidden[:-1], axis=0)
        reach += np.abs(self._plan.problem.intercept_column * hidden[-1])
        shrunk = _STRAIGHT * self._plan.network.hidden_reach / float(np.max(reach))
        output = np.vstack([self.point.output[:-1] / shrunk, np.zeros((1, linear.shape[1]))])
        return NetworkPoint(shrunk * hidden, output)


def _isotropic(plan: TrainingPlan) -> NDArray:
    """Second moments of stored rows, of norm one in no direction more than in another."""
    d, b = plan.problem.n_features, plan.problem.intercept_column
    return np.diag(np.append(np.full(d, 1 / d), b**2))


def _stand_ins(plan: TrainingPlan, second: NDArray) -> NDArray:
    """Public rows with about these second moments, of shape (_STAND_INS, n_columns)."""
    b, public = plan.problem.intercept_column, np.random.default_rng(plan.network.seed + 1)
    values, vectors = np.linalg.eigh(second[:-1, :-1])
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    rows = second[:-1, -1] / b + public.normal(size=(_STAND_INS, len(root))) @ root
    rows /= np.maximum(1.0, np.linalg.norm(rows, axis=1, keepdims=True))
    return np.hstack([rows, np.full((_STAND_INS, 1), b)])


def _sigmoid_slope(z: float) -> float:
    return expit(z) * expit(-z)
