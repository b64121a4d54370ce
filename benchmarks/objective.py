r"""Objective perturbation for two classes: what data in the clear would allow. A comparator.

The released weights minimise, over rows x of norm at most X with labels y,

    J(w) = sum log(1 + exp(-y w.x)) + (lambda/2) ||w||^2 + v.w,    v ~ N(0, sigma^2 I)

(Chaudhuri, Monteleoni and Sarwate 2011; Gaussian noise: Kifer, Smith and Thakurta 2012; stopping
short of the minimum: Iyengar et al. 2019). What they leave is that the minimum has to be found by
one who sees all rows.

**Privacy**, with or without one row z = (x, y). w and v are in one-to-one correspondence, so the
densities of w have the ratio of those of v times that of Jacobians. With v' = v - g,
g = -y s(-y w.x) x, the first is exp of (||v'||^2 - ||v||^2)/(2 sigma^2) or its negative. In
either direction it is at most exp of

    X |N| / sigma + X^2/(2 sigma^2),   and with the sign, X max(N, 0)/sigma + X^2/(2 sigma^2),

N standard normal: g is x times a factor whose sign is the label's alone and whose size is below
one. The second ratio is at most c = 1 + X^2/(4 lambda), as the matrices differ by one of rank one
and s' <= 1/4 (matrix determinant lemma). So the loss is stochastically below
mu max(N, 0) + mu^2/2 + log c with mu = X/sigma, and, as delta is the expectation of an increasing
function of the loss, delta follows by integration; a Gaussian release of mu_0 before, of the
moments, adds mu_0 N_0 + mu_0^2/2. The bound is that of a Gaussian mechanism at
epsilon - log c, wherever this is above mu^2/2.

**Stopping.** Where ||grad J|| <= gamma, a public number, w is within gamma/lambda of the minimum;
noise of deviation 2 gamma m/lambda, m the multiplier of a hundredth of (epsilon, delta), hides
that.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, log_ndtr, ndtr

from skfhe import EncryptedDPLogisticRegression
from skfhe.plan import TrainingPlan
from skfhe.privacy import accounting
from skfhe.privacy.statistics import integer_sums
from skfhe.protocol.preparation import fitted_frame, plain_frame

# Of epsilon and delta, for what is left of the gradient.
_STOPPING = 0.01
_MOST_STEPS = 200
_TOLERANCE = 1e-10
# Of epsilon, at most, for the Jacobians.
_JACOBIAN = 0.05
# The least lambda over the noise's norm. Both were chosen on sets of the study, to the
# comparator's advantage.
RIDGE = 0.1


class ObjectivePerturbation:
    """Rows bounded as in the estimator, one release of the perturbed minimum.

    Parameters
    ----------
    epsilon, delta : float
        The guarantee, for a row that is there or not.
    standardize : bool
        Whether rows are centred and scaled by the estimator's own noised moments.
    random_state : int
        Seeds the noise.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features + 1,)
        Weights for rows as they are given, the intercept last.
    """

    def __init__(
        self, epsilon: float, delta: float = 1e-5, standardize: bool = True, random_state: int = 0
    ):
        self.epsilon = epsilon
        self.delta = delta
        self.standardize = standardize
        self.random_state = random_state

    def fit(self, X: NDArray, y: NDArray) -> ObjectivePerturbation:
        """Perturb and minimise.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows.
        y : ndarray of shape (n_samples,)
            Two labels.
        """
        rng = np.random.default_rng(self.random_state)
        self.classes_, target = np.unique(y, return_inverse=True)
        plan = _plan(self.epsilon, self.delta, self.standardize, *X.shape)
        frame, first = plain_frame(plan), 0.0
        if self.standardize:
            statistic = plan.preparation.moments
            sums = integer_sums("moments", plan, frame, X)
            noise = statistic.noise_units * rng.standard_normal(len(sums))
            frame, first = fitted_frame(plan, sums + noise), 1 / statistic.noise_multiplier
        rows = frame.rows(X)
        norm = math.hypot(1.0, plan.problem.intercept_column)
        share = 1 - _STOPPING
        log_jacobian = _JACOBIAN * self.epsilon
        mu = calibrate(share * self.epsilon - log_jacobian, share * self.delta, first)
        noise = norm / mu
        least = norm**2 / 4 / math.expm1(log_jacobian)
        ridge = max(least, RIDGE * noise * math.sqrt(rows.shape[1]))
        shift = noise * rng.standard_normal(rows.shape[1])
        left = _TOLERANCE * len(rows)
        weights = _minimum(rows, 2.0 * target - 1, ridge, shift, left)
        multiplier = accounting.calibrate(_STOPPING * self.epsilon, _STOPPING * self.delta, 1)
        weights += 2 * left / ridge * multiplier * rng.standard_normal(len(weights))
        self.coef_ = frame.original(weights[:, None])[:, 0]
        return self

    def score(self, X: NDArray, y: NDArray) -> float:
        """Accuracy."""
        chosen = (X @ self.coef_[:-1] + self.coef_[-1] > 0).astype(int)
        return float(np.mean(self.classes_[chosen] == y))


@lru_cache(maxsize=64)
def _plan(epsilon: float, delta: float, standardize: bool, *shape: int) -> TrainingPlan:
    """The estimator's, for its moments and its intercept column."""
    return EncryptedDPLogisticRegression(
        epsilon, delta, standardize=standardize, precondition=False
    ).plan(*shape)


@lru_cache(maxsize=256)
def calibrate(epsilon: float, delta: float, first: float = 0.0) -> float:
    """The largest mu of the perturbation that keeps delta at epsilon.

    Parameters
    ----------
    epsilon, delta : float
        The target, epsilon without log c.
    first : float
        mu_0 of a Gaussian release that goes before.
    """
    return brentq(lambda mu: loss_delta(epsilon, mu, first) / delta - 1, 1e-6, 50.0, xtol=1e-9)


def loss_delta(epsilon: float, mu: float, first: float = 0.0) -> float:
    """Delta at epsilon of a loss mu max(N, 0) + mu^2/2 + first N_0 + first^2/2."""
    normal = np.linspace(-12.0, 12.0, 24001)
    density = np.exp(-(normal**2) / 2) / math.sqrt(2 * math.pi)
    left = epsilon - mu * np.maximum(normal, 0) - mu**2 / 2
    if first:
        upper, lower = ndtr(first / 2 - left / first), log_ndtr(-first / 2 - left / first)
        delta = upper - np.exp(np.minimum(left + lower, 0))
    else:
        delta = np.maximum(-np.expm1(left), 0)
    return float(np.sum(density * delta) * (normal[1] - normal[0]))


def _minimum(rows: NDArray, signs: NDArray, ridge: float, shift: NDArray, gamma: float) -> NDArray:
    """Newton steps, halved where they are too long, until the gradient's norm is within gamma."""
    signed = rows * signs[:, None]

    def value(weights: NDArray) -> float:
        losses = np.logaddexp(0, -signed @ weights)
        return losses.sum() + ridge / 2 * weights @ weights + shift @ weights

    weights = np.zeros(rows.shape[1])
    for _ in range(_MOST_STEPS):
        wrong = expit(-signed @ weights)
        gradient = ridge * weights + shift - signed.T @ wrong
        if np.linalg.norm(gradient) <= gamma:
            return weights
        curvature = (rows.T * (wrong * (1 - wrong))) @ rows + ridge * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        now, length = value(weights), 1.0
        while length > 1e-3 and value(weights - length * step) > now:
            length /= 2
        weights = weights - length * step
    raise RuntimeError("the minimum was not found.")
