r"""Linear discriminant analysis from the releases of a single step, for several classes.

At the public prior all rows have the same p, so the first gradient holds the sums of rows by
class: with stored rows (x, b) and their noised second moments A, x_mean = A[x, b]/b, and

    pi_k = 1/K - (g_k - g_mean)[b]/b,    pi_k mu_k = x_mean/K - (g_k - g_mean)[x],

where g_mean is the mean over classes, which is what sum_k y_k = 1 leaves of p. Then

    Sigma = A[x, x] - sum_k pi_k mu_k mu_k^T,
    margin_k(x) = mu_k^T Sigma^{-1} x - mu_k^T Sigma^{-1} mu_k / 2 + log pi_k.

All of this is post-processing. Regression on indicators of classes, which a preconditioned step
amounts to, has the same subspace but neither these intercepts nor this metric, and can let one
class hide another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from skfhe.plan import TrainingPlan
from skfhe.privacy.frame import Frame
from skfhe.privacy.statistics import deviation, second_moments
from skfhe.protocol import key_holder
from skfhe.protocol.optimizer import ProjectedNesterov

# Times the spectral norm of the noise on A, added to Sigma.
DAMPING = 0.7
_LEAST_SHARE = 0.2


class Discriminant(ProjectedNesterov):
    """Takes the place of the optimiser; `matrix` are the noised second moments."""

    def __init__(self, plan: TrainingPlan, frame: Frame, matrix: NDArray):
        super().__init__(plan, frame)
        self._plan = plan
        self._matrix = matrix

    def update(self, gradient_sum: NDArray) -> None:
        self._gradient = gradient_sum / self._problem.n_samples
        super().update(gradient_sum)

    def result(self) -> NDArray:
        """Weights for stored rows, of shape (n_columns, n_outputs)."""
        problem, matrix = self._problem, self._matrix
        b, classes = problem.intercept_column, problem.n_outputs
        spectral = math.sqrt(2 * problem.n_columns) * deviation("curvature", self._plan)
        off_diagonal = deviation("curvature", self._plan) / math.sqrt(2)
        mean = _kept(matrix[:-1, -1] / b, off_diagonal / b)
        moved = self._gradient - self._gradient.mean(axis=1, keepdims=True)
        guarantee, certificate = self._plan.guarantee, self._plan.certificate
        noise = guarantee.noise_multiplier * certificate.sensitivity * certificate.contributions[0]
        shares = 1 / classes - _kept(moved[-1] / b, noise / (problem.n_samples * b))
        shares = np.maximum(shares, _LEAST_SHARE / classes)
        shares /= shares.sum()
        means = (mean[:, None] / classes - moved[:-1]) / shares
        within = matrix[:-1, :-1] - (means * shares) @ means.T
        values, vectors = np.linalg.eigh(within)
        damped = np.maximum(values, 0) + DAMPING * spectral
        weights = vectors @ ((vectors.T @ means) / damped[:, None])
        intercepts = np.log(shares) - np.sum(means * weights, axis=0) / 2
        return np.vstack([weights, intercepts / b])


@contextmanager
def discriminant() -> Iterator[None]:
    """Within, key holders make a discriminant of what they release."""

    def moments(plan: TrainingPlan, sums: NDArray) -> NDArray:
        return second_moments(sums, plan)

    with (
        patch.object(key_holder, "preconditioner", moments),
        patch.object(key_holder, "ProjectedNesterov", Discriminant),
    ):
        yield


def _kept(values: NDArray, noise: float) -> NDArray:
    """Values shrunk towards zero by as much as noise dominates their mean square."""
    signal = max(float(np.mean(values**2)) - noise**2, 0.0)
    return values * (signal / (signal + noise**2) if signal else 0.0)
