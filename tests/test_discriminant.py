"""The linear discriminant of one gradient: what it estimates, and when it is taken."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import BACKENDS, make, relative
from sklearn.datasets import load_digits, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import train_test_split

from skfhe import BoundsScaler, EncryptedDPLogisticRegression
from skfhe.exceptions import PlanMismatch
from skfhe.plan import TrainingPlan
from skfhe.planning import check_plan, defaults

AUTO = {
    "standardize": True, "precondition": "auto", "max_iter": "auto", "degree": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def blobs():
    """Normal classes of one covariance, unequal shares, inside the box."""
    rng = np.random.default_rng(0)
    covariance = 0.01 * np.diag([1.0, 2.0, 0.5]) + 0.004
    means = np.array([[0.1, 0.0, 0.2], [-0.1, 0.2, 0.0], [0.1, 0.3, -0.2], [0.3, -0.2, 0.1]])
    y = rng.choice(4, size=20_000, p=[0.4, 0.3, 0.2, 0.1])
    return means[y] + rng.multivariate_normal(np.zeros(3), covariance, size=len(y)), y


@pytest.mark.parametrize("backend", BACKENDS)
def test_with_hardly_any_noise_it_is_fishers(blobs, backend):
    """That of scikit-learn on the same rows, but for what shortening loses."""
    X, y = blobs
    ours = EncryptedDPLogisticRegression(100.0, backend=backend).fit(X, y)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y)
    assert ours.plan_.optimizer.solver == "discriminant" and ours.n_iter_ == 1
    assert ours.score(X, y) > theirs.score(X, y) - 0.015
    assert np.mean(ours.predict(X) == theirs.predict(X)) > 0.93


def test_where_no_row_is_shortened_it_is_exactly_fishers(monkeypatch, blobs):
    """Up to a little noise and damping."""
    for name in ("LEAST_RADIUS", "MOST_RADIUS"):
        monkeypatch.setattr(defaults, name, 4.0)
    X, y = blobs
    model = EncryptedDPLogisticRegression(100.0, backend="simulated").fit(X, y)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y)
    ours, exact = (m.coef_ - m.coef_.mean(axis=0) for m in (model, theirs))
    assert relative(ours, exact) < 0.05
    assert np.mean(model.predict(X) == theirs.predict(X)) > 0.98
    assert np.abs(model.predict_proba(X) - theirs.predict_proba(X)).mean() < 0.01


def test_it_is_more_accurate_than_steps():
    X, y = load_digits(return_X_y=True)
    split = train_test_split(X / 16, y, test_size=0.2, random_state=0, stratify=y)
    X_train, X_test, y_train, y_test = split
    scores = {
        solver: np.mean(
            [
                EncryptedDPLogisticRegression(2.0, solver=solver, backend="simulated")
                .fit(X_train, y_train)
                .score(X_test, y_test)
                for _ in range(4)
            ]
        )
        for solver in ("steps", "discriminant")
    }
    print(scores)
    assert scores["discriminant"] > scores["steps"] > 0.85
    assert scores["discriminant"] > 0.9


def test_backends_agree():
    X, y = load_iris(return_X_y=True)
    X = BoundsScaler((0, [8, 5, 7, 3])).fit_transform(X)
    found = [
        EncryptedDPLogisticRegression(5.0, backend=backend, random_state=0).fit(X, y)
        for backend in BACKENDS
    ]
    assert relative(found[1].coef_, found[0].coef_) < 1e-4
    assert relative(found[1].intercept_, found[0].intercept_) < 1e-4


@pytest.mark.parametrize(
    "parameters",
    [
        {"C": 1.0},
        {"fit_intercept": False},
        {"class_weight": (1,)},
        {"precondition": False},
        {"standardize": False},
        {"max_iter": 5},
        {"momentum": 0.5},
        {"averaging": 1.0},
        {"learning_rate": 0.5},
        {"epsilon": 0.01},
        {"solver": "steps"},
    ],
)
def test_what_asks_for_steps_gets_them(parameters):
    if "class_weight" in parameters:
        parameters = {"class_weight": {0: 2.0, 1: 1.0}}
    model = EncryptedDPLogisticRegression(**parameters)
    assert model.plan(300, 4, 3).optimizer.solver == "steps"
    assert EncryptedDPLogisticRegression().plan(300, 4, 3).optimizer.solver == "discriminant"
    assert EncryptedDPLogisticRegression().plan(300, 4, 2).optimizer.solver == "steps"


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"max_iter": 3}, "max_iter"),
        ({"C": 1.0, "fit_intercept": False}, "fit_intercept=False, C"),
        ({"precondition": False}, "precondition=False"),
    ],
)
def test_a_discriminant_that_cannot_be_is_refused(parameters, words):
    model = EncryptedDPLogisticRegression(solver="discriminant", **parameters)
    with pytest.raises(ValueError, match=f"goes without {words}"):
        model.plan(300, 4, 3)
    with pytest.raises(ValueError, match="goes without two classes"):
        EncryptedDPLogisticRegression(solver="discriminant").plan(300, 4, 2)


@pytest.mark.parametrize(
    "part, changes",
    [
        ("optimizer", {"solver": "magic"}),
        ("optimizer", {"max_iter": 2}),
        ("preparation", {"curvature": None}),
        ("problem", {"class_weight": (1.0, 1.0, 0.5)}),
        ("problem", {"intercept_column": 0.0}),
    ],
)
def test_forged_discriminants_are_refused(part, changes):
    plan = make(classes=3, **AUTO)
    assert plan.optimizer.solver == "discriminant"
    assert TrainingPlan.from_json(plan.to_json()) == plan
    with pytest.raises(PlanMismatch):
        check_plan(replace(plan, **{part: replace(getattr(plan, part), **changes)}))


def test_the_plan_says_so():
    plan = make(classes=3, **AUTO)
    assert "linear discriminant of one gradient" in str(plan)
    assert plan.certificate.polynomials[0].degree == 1
    assert plan.optimizer.max_iter == 1 and plan.guarantee.n_releases == 3


def test_noise_alone_gives_a_finite_model():
    rng = np.random.default_rng(3)
    X, y = rng.uniform(-1, 1, (40, 6)), rng.integers(0, 4, 40)
    for _ in range(5):
        model = EncryptedDPLogisticRegression(
            0.1, solver="discriminant", backend="simulated", classes=range(4)
        ).fit(X, y)
        assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
