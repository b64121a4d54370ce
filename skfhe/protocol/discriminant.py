r"""A linear discriminant for several classes, from the releases of a single step.

At the public prior all rows have the same residual but for their labels, so the first gradient
holds the sums of stored rows by class. With the noised second moments A of stored rows (x, b),
their mean is A[x, b]/b, and with g the noised mean gradient and its mean over classes taken away
(which takes away what all classes share),

    pi_k = 1/K - g_k[b]/b,    pi_k mu_k = mean/K - g_k[x],
    Sigma = A[x, x] - sum_k pi_k mu_k mu_k^T,
    margin_k(x) = <w_k, x> - <w_k, mu_k>/2 + log pi_k,    w_k = (Sigma + damping nu I)^{-1} mu_k,

Fisher's linear discriminant: the margins' softmax is the posterior of normal classes of one
covariance. All of this is post-processing. Sums with more noise than signal are shrunk (empirical
Bayes), and nu is the spectral norm of the noise on A, as for the preconditioner.

Steps of one-vs-rest regression have to spend several releases on what is one matrix inverse here,
and their certificate grows as weights do, to about twice that of the prior.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..plan import TrainingPlan
from ..privacy.statistics import deviation, second_moments
from .preparation import kept_share

# No class is taken for rarer than this share of an even one: noise could make it negative.
_LEAST_SHARE = 0.2


class Discriminant:
    """Takes one gradient at the public prior; stands where the optimiser does otherwise.

    Parameters
    ----------
    plan : TrainingPlan
        With several classes, an intercept, a curvature and one step.
    sums : ndarray
        The noised sums of the curvature, in integer units. Public.

    Attributes
    ----------
    point : ndarray of shape (n_columns, n_outputs)
        The public prior.
    """

    def __init__(self, plan: TrainingPlan, sums: NDArray):
        self._plan = plan
        self._second = second_moments(sums, plan)
        problem = plan.problem
        self.point = np.zeros((problem.n_columns, problem.n_outputs))
        self.point[-1] = problem.prior_margin / problem.intercept_column

    def update(self, gradient_sum: NDArray, noise: float | None = None) -> None:
        """Take the noised gradient sum of shape (n_columns, n_outputs).

        With the deviation of its noise, if that is not the plan's for its first S.
        """
        certificate, guarantee = self._plan.certificate, self._plan.guarantee
        if noise is None:
            noise = guarantee.noise_multiplier * certificate.sensitivity
            noise *= guarantee.noise_excess * certificate.contributions[0]
        self._noise = noise / self._plan.problem.n_samples
        gradient = gradient_sum / self._plan.problem.n_samples
        self._gradient = gradient - gradient.mean(axis=1, keepdims=True)

    def result(self) -> NDArray:
        """Weights for stored rows, of shape (n_columns, n_outputs)."""
        problem, second, gradient = self._plan.problem, self._second, self._gradient
        classes, b = problem.n_outputs, problem.intercept_column
        noise = deviation("curvature", self._plan)
        mean = second[:-1, -1] / b
        mean = mean * kept_share(np.mean(mean**2), noise**2 / 2 / b**2)
        uneven = -gradient[-1] / b
        uneven = uneven * kept_share(np.mean(uneven**2), (self._noise / b) ** 2)
        shares = np.maximum(1 / classes + uneven, _LEAST_SHARE / classes)
        shares /= shares.sum()
        means = (mean[:, None] / classes - gradient[:-1]) / shares
        within = second[:-1, :-1] - (means * shares) @ means.T
        values, vectors = np.linalg.eigh(within)
        spectral = math.sqrt(2 * problem.n_columns) * noise
        damped = np.maximum(values, 0) + self._plan.preparation.damping * spectral
        weights = vectors @ ((vectors.T @ means) / damped[:, None])
        intercepts = np.log(shares) - np.sum(means * weights, axis=0) / 2
        return np.vstack([weights, intercepts / b])
