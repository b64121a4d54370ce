"""Where a network's training starts and what it stays within; all of it public.

Units come in pairs of the same hidden weights and opposite weights of the outputs, so that every
row starts at the prior. The outputs' weights are +-r/sqrt(h) for one output, and orthogonal for
several, of operator norm r. Hidden weights are combinations of the square root of the released
second moments, so that they lie where rows do; they are zero, and units need no pairs, for the
discriminant, and where there are too few pairs for the outputs.

Hidden weights are shortened until no row in the unit ball gives a margin beyond the activation's
interval, outputs' weights until they are within their norm of the prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..plan import TrainingPlan
from ..privacy.network_sensitivity import unit_reaches

_STAND_INS = 400
_LARGEST = 1e100


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


@dataclass(frozen=True)
class NetworkGradient(NetworkPoint):
    """A released gradient sum.

    Attributes
    ----------
    hidden_noise, output_noise : float
        Standard deviations of the noise on every coordinate of either block.
    """

    hidden_noise: float
    output_noise: float


class Bounded:
    """The start, and the projection onto what the plan allows.

    Parameters
    ----------
    plan : TrainingPlan
        Problem, optimiser and network.
    second : ndarray of shape (n_columns, n_columns)
        Second moments of stored rows, as released.

    Attributes
    ----------
    prior : ndarray of shape (n_units + 1, n_outputs)
        Outputs' weights that give every row the prior.
    point : NetworkPoint
        The start.
    """

    def __init__(self, plan: TrainingPlan, second: NDArray):
        self._plan = plan
        self._public = np.random.default_rng(plan.network.seed)
        self.prior = np.zeros((plan.problem.hidden_units + 1, plan.problem.n_outputs))
        self.prior[-1] = plan.problem.prior_margin / plan.problem.intercept_column
        self.point = self.project(NetworkPoint(self._hidden(second), self._output()))

    def project(self, weights: NetworkPoint) -> NetworkPoint:
        """Shortened hidden units, and outputs within their ball about the prior.

        Steps of any size are taken: what overflows is as good as any large number.
        """
        plan = self._plan
        hidden, output = (_finite(block) for block in (weights.hidden, weights.output))
        reach = unit_reaches(hidden, plan.problem.intercept_column)
        largest = plan.network.hidden_reach
        moved, norm = output - self.prior, plan.optimizer.weight_norm
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
        return self._plan.optimizer.solver != "discriminant" and (outputs == 1 or several)

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


def _finite(block: NDArray) -> NDArray:
    """Within what squares without overflow."""
    return np.clip(np.nan_to_num(block), -_LARGEST, _LARGEST)


def mean_weights(iterates: Sequence[NetworkPoint]) -> NetworkPoint:
    """The mean of several weights."""
    return NetworkPoint(
        np.mean([weights.hidden for weights in iterates], axis=0),
        np.mean([weights.output for weights in iterates], axis=0),
    )


def isotropic(plan: TrainingPlan) -> NDArray:
    """Second moments of stored rows, of norm one in no direction more than in another."""
    d, b = plan.problem.n_features, plan.problem.intercept_column
    return np.diag(np.append(np.full(d, 1 / d), b**2))


def stand_ins(plan: TrainingPlan, second: NDArray) -> NDArray:
    """Public rows with about these second moments, of shape (_STAND_INS, n_columns)."""
    b, public = plan.problem.intercept_column, np.random.default_rng(plan.network.seed + 1)
    values, vectors = np.linalg.eigh(second[:-1, :-1])
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    rows = second[:-1, -1] / b + public.normal(size=(_STAND_INS, len(root))) @ root
    rows /= np.maximum(1.0, np.linalg.norm(rows, axis=1, keepdims=True))
    return np.hstack([rows, np.full((_STAND_INS, 1), b)])
