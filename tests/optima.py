"""Logistic losses on a ball, whose optimum can be computed, and comparison with a bound."""

import dataclasses
import math

import numpy as np
from scipy.special import expit

# A mean of squared distances over draws may exceed its expectation by so many of its own errors.
ERRORS = 4.0


@dataclasses.dataclass
class Logistic:
    """Mean logistic loss with a penalty per column, on a ball about the start, in NumPy."""

    rows: np.ndarray  # (n, n_columns)
    targets: np.ndarray  # (n, n_outputs)
    penalty: np.ndarray  # (n_columns, 1)
    radius: float
    start: np.ndarray  # (n_columns, n_outputs)
    weights: np.ndarray | float = 1.0  # (n, 1), of the classes

    def loss(self, w):
        margins = self.rows @ w
        losses = self.weights * (np.logaddexp(0, margins) - self.targets * margins)
        return float(np.sum(losses) / len(self.rows) + np.sum(self.penalty * w**2) / 2)

    def gradient(self, w, activation=expit):
        residual = self.weights * (activation(self.rows @ w) - self.targets)
        return self.rows.T @ residual / len(self.rows) + self.penalty * w

    def project(self, w):
        moved = w - self.start
        norms = np.linalg.norm(moved, axis=0)
        return self.start + moved * np.minimum(1, self.radius / np.maximum(norms, 1e-300))

    @property
    def largest_margin(self):
        ends = np.abs(self.rows @ self.start)
        return float(np.max(ends + self.radius * np.linalg.norm(self.rows, axis=1)[:, None]))

    @property
    def curvature(self):
        """Hessian >= s'(largest margin) times the second moments, plus the penalty."""
        moments = (self.weights * self.rows).T @ self.rows / len(self.rows)
        slope = expit(self.largest_margin) * expit(-self.largest_margin)
        return float(np.linalg.eigvalsh(slope * moments + np.diag(self.penalty[:, 0]))[0])

    @property
    def smoothness(self):
        return float(np.max(np.sum(self.rows**2, axis=1)) / 4 + np.max(self.penalty))

    def optimum(self):
        """Minimiser on the ball: a fixed point of exact projected steps."""
        w, step = self.start, 1.9 / self.smoothness
        for _ in range(200_000):
            new = self.project(w - step * self.gradient(w))
            if np.linalg.norm(new - w) < 1e-13:
                return new
            w = new
        raise AssertionError("no fixed point was reached")


def assert_below(distances, limit):
    error = np.std(distances) / math.sqrt(len(distances))
    assert np.mean(distances) <= limit + ERRORS * error, (np.mean(distances), error, limit)


def plain(**changes):
    """Parameters of an estimator whose steps a bound is proved for."""
    return {"momentum": 0, "learning_rate": 1.0, "averaging": 1e-6, "weight_norm": 2.0, **changes}
