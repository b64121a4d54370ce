"""Fitted models are within the bound on the distance from the optimum, which is not far above.

Run with -s for bounds beside measured mean squared distances.
"""

import math
from functools import lru_cache

import numpy as np
import pytest
from helpers import make, one_hot, stored_rows
from optima import Logistic, assert_below, plain
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from skfhe import EncryptedDPLogisticRegression


def draw(n, d, seed=0, strength=1.5):
    """Rows on the unit sphere, so that all of them count, and noisy labels."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X, (rng.random(n) < expit(strength * X @ np.ones(d))).astype(int)


def problem_of(plan, X, targets):
    p = plan.problem
    penalty = np.zeros((p.n_columns, 1))
    penalty[: p.n_features] = plan.optimizer.regularization / p.data_norm**2
    start = np.zeros((p.n_columns, p.n_outputs))
    if p.intercept_column:
        start[-1] = p.prior_margin / p.intercept_column
    weights = np.array(p.class_weight)[targets][:, None] if p.class_weight else 1.0
    rows, outputs = stored_rows(plan, X)[:, : p.n_columns], one_hot(plan, targets)
    return Logistic(rows, outputs, penalty, plan.optimizer.weight_norm, start, weights)


def released(model):
    """Weights for stored rows."""
    p = model.plan_.problem
    body = model.coef_.T * p.data_norm
    if not p.intercept_column:
        return body
    return np.vstack([body, model.intercept_ / p.intercept_column])


@lru_cache(maxsize=32)
def measure(n, d, draws, classes=2, stretched=0.0, **changes):
    """The bound at measured curvature and distance, and squared distances of fitted models."""
    X, y = draw(n, d)
    if classes > 2:
        y = np.argmax(X[:, :classes] + np.random.default_rng(1).normal(size=(n, classes)), axis=1)
    parameters = {
        "standardize": False,
        "precondition": False,
        "data_norm": 1.0,
        **plain(**changes),
    }
    weights = parameters.pop("class_weight", None)
    if weights:
        parameters["class_weight"] = dict(enumerate(weights))
    model = EncryptedDPLogisticRegression(backend="simulated", **parameters)
    X[: round(stretched * n)] *= 1.5
    squared = []
    for seed in range(draws):
        model.set_params(random_state=seed).fit(X, y)
        squared.append(released(model))
    problem = problem_of(model.plan_, X, y)
    optimum = problem.optimum()
    squared = np.array([np.sum((w - optimum) ** 2) for w in squared])
    distance = float(np.linalg.norm(optimum - problem.start))
    distance = min(distance, problem.radius * math.sqrt(model.plan_.problem.n_outputs))
    limit = model.plan_.convergence(problem.curvature, distance=distance)
    return limit, squared, model.plan_.convergence(problem.curvature)


CASES = {
    "optimisation": dict(n=4000, d=3, draws=4, epsilon=20.0, degree=7, max_iter=5),
    "approximation": dict(
        n=4000, d=3, draws=4, epsilon=50.0, degree=1, max_iter=30, fit_intercept=False, C=0.001
    ),
    "noise": dict(
        n=1000,
        d=4,
        draws=16,
        degree=7,
        max_iter=20,
        fit_intercept=False,
        C=0.005,
        learning_rate=2.0,
    ),
}


@pytest.mark.parametrize("term", CASES)
def test_each_term_can_dominate_and_the_bound_holds(term):
    limit, squared, farthest = measure(**CASES[term])
    others = limit.total - getattr(limit, term)
    assert getattr(limit, term) > others
    assert_below(squared, limit.total)
    assert limit.total <= farthest.total
    print(f"\n{term}: bound {limit.total:.3g}, measured {squared.mean():.3g}, {limit}")


@pytest.mark.parametrize(
    "changes",
    [
        dict(fit_intercept=False, C=0.01),
        dict(stretched=0.4),  # rows that are shortened, intercept and all
        dict(classes=3),
        dict(class_weight=(0.3, 1.0)),
        dict(averaging=0.5),
        dict(weight_norm=0.2),  # the optimum of the ball lies on its boundary
        dict(learning_rate=6.0),
        dict(neighboring="replace_one"),
    ],
    ids=str,
)
def test_bound_holds_for_the_estimator(changes):
    limit, squared, _ = measure(**{"n": 1500, "d": 3, "draws": 6, "max_iter": 15, **changes})
    assert_below(squared, limit.total)
    print(f"\n{changes}: bound {limit.total:.3g}, measured {squared.mean():.3g}")


def test_bound_is_not_vacuous():
    limit, squared, _ = measure(**CASES["noise"])
    ratio = limit.total / np.mean(squared)
    print(f"\nbound over measured mean squared distance: {ratio:.2f}; {limit}")
    assert ratio < 20
    assert limit.total < (2 * 2.0) ** 2  # what the ball alone says


def test_encryption_errs_by_less_than_is_allowed_for():
    # A step with the same noise, encrypted and not: only the error of encryption is between them.
    X, y = draw(300, 3)
    parameters = {"standardize": False, "precondition": False, "data_norm": 1.0, "random_state": 0}
    model = EncryptedDPLogisticRegression(epsilon=20.0, max_iter=1, **parameters, **plain())
    first = released(model.set_params(backend="simulated").fit(X, y))
    second = released(model.set_params(backend="tenseal").fit(X, y))
    limit = model.plan_.convergence(0.01)
    errors = [p.sup_error for p in model.plan_.certificate.polynomials]
    allowed = limit.gradient_error - max(errors) * math.hypot(
        1, model.plan_.problem.intercept_column
    )
    assert 0 < np.linalg.norm(first - second) <= allowed * model.plan_.optimizer.learning_rate


def test_computed_optimum_is_scikit_learns():
    X, y = draw(500, 3)
    plan = make(500, 3, C=0.1, fit_intercept=False, data_norm=1.0, **plain(weight_norm=20.0))
    model = LogisticRegression(C=0.1, fit_intercept=False, tol=1e-12).fit(X, y)
    assert problem_of(plan, X, y).optimum().ravel() == pytest.approx(model.coef_[0], abs=1e-7)
