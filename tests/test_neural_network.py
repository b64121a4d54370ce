"""The network as its users meet it: frames, searches, errors, what is released, what it costs."""

import numpy as np
import pandas as pd
import pytest
from helpers import read, write
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from test_html import rows_of
from test_persistence import METHODS, PARTS, Recording, assert_same_predictions

import skfhe._arguments
import skfhe._base
from skfhe import (
    BoundsScaler,
    BudgetExceeded,
    EncryptedDPMLPClassifier,
    InfeasiblePlan,
    PrivacyLedger,
    SeededNoiseWarning,
    TrainingPlan,
)
from skfhe.plan_text import sections
from skfhe.protocol import data_owner
from skfhe.protocol.models import model_of

NAMES = ["age", "dose", "marker"]
EVERY = [("tanh", 3), ("logistic", 3), ("relu", 2), ("softplus", 2), ("square", 2)]
SHARED = PARTS - {"skfhe.linear_model.EncryptedDPLogisticRegression"}
OWN = {
    "skfhe.neural_network.EncryptedDPMLPClassifier", "skfhe.plan_parts.Network",
    "skfhe.approximation.activation.ActivationPolynomial",
}  # fmt: skip
REFUSED = [
    *(({"hidden_layer_sizes": s}, "one hidden layer") for s in ((8, 8), (), (0,), (2.5,), [[4]])),
    *(({"hidden_layer_sizes": s}, "'hidden_layer_sizes' parameter") for s in (0, 2.5, "16")),
    ({"degree": 4}, "odd.*activation='tanh', got 4; use 3 or 5"),
    ({"degree": 2}, "odd.*activation='tanh', got 2; use 3."),
    ({"activation": "logistic", "degree": 14}, "odd.*got 14; use 13 or 15"),
    ({"activation": "relu"}, "even.*activation='relu', got 3; use 2 or 4"),
    ({"activation": "softplus", "degree": 15}, "even.*got 15; use 14"),
    ({"activation": "square", "degree": 4}, "degree must be 2 for activation='square'"),
    ({"degree": 15}, "takes .* levels.*use a lower degree"),
    ({"activation": "identity"}, "'activation' parameter"), ({"data_norm": 1e300}, "data_norm"),
    ({"solver": "discriminant"}, "solver='discriminant' goes without two classes"),
    ({"activation": "square", "degree": 2, "solver": "discriminant"}, "activation='square'"),
    ({"epsilon": 0}, "epsilon"), ({"epsilon": 101}, "epsilon"), ({"delta": 1.0}, "delta"),
    ({"alpha": -1.0}, "alpha"), ({"alpha": np.inf}, "alpha"), ({"averaging": 0}, "averaging"),
    ({"initial_seed": -1}, "initial_seed"), ({"hidden_reach": 0}, "hidden_reach"),
]  # fmt: skip


def network(**parameters):
    """Few units, few steps, little noise, no encryption, unless told otherwise."""
    defaults = {"epsilon": 20.0, "hidden_layer_sizes": 4, "max_iter": 4, "backend": "simulated"}
    return EncryptedDPMLPClassifier(**{**defaults, "random_state": 0, **parameters})


def paying(ledger, **parameters):
    return network(**{"epsilon": 2.0, "random_state": None, "ledger": ledger, **parameters})


@pytest.fixture
def ledger(tmp_path):
    return PrivacyLedger(tmp_path / "budget", epsilon=3.0, delta=1e-5, dataset="rows")


@pytest.fixture(scope="module")
def rows():
    """400 rows, a third of the entries zero, and two and three classes."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (400, 3)) * (rng.random((400, 3)) > 1 / 3)
    return X, (X @ [1, 1, -0.5] > 0).astype(int), np.argmax(X, axis=1)


@pytest.fixture(scope="module", params=["two classes", "steps", "discriminant"])
def fitted(request, rows):
    X, two, three = rows
    if request.param == "two classes":
        return network().fit(X, two)
    max_iter = "auto" if request.param == "discriminant" else 4
    model = network(hidden_layer_sizes=(6,), solver=request.param, max_iter=max_iter)
    return model.fit(X, np.array(["a", "b", "c"])[three])


# Results.


@pytest.mark.parametrize(
    ("activation", "degree", "classes"),
    [("tanh", 3, 2), pytest.param("relu", 2, 3, marks=pytest.mark.slow)],
)
def test_encrypted_training_equals_simulated_training(rows, activation, degree, classes):
    X = rows[0]
    chosen = {"activation": activation, "degree": degree, "max_iter": 1, "solver": "steps"}
    models = [network(backend=backend, **chosen) for backend in ("tenseal", "simulated")]
    encrypted, clear = (model.fit(X, rows[classes - 1]) for model in models)
    for one, other in zip(encrypted.coefs_, clear.coefs_, strict=True):
        assert 0 < np.linalg.norm(one - other) < 1e-4 * np.linalg.norm(other)
    np.testing.assert_allclose(encrypted.predict_proba(X), clear.predict_proba(X), atol=1e-4)
    assert encrypted.plan_ == clear.plan_


@pytest.mark.parametrize(("activation", "degree"), EVERY)
def test_every_activation_learns(rows, activation, degree):
    X, two, three = rows
    model = network(activation=activation, degree=degree, max_iter="auto").fit(X, two)
    assert model.score(X, two) > 0.85  # the larger class has .53
    assert model.plan_.certificate.activation.name == activation
    several = model.set_params(solver="steps", hidden_layer_sizes=6, epsilon=50.0)
    assert several.fit(X, three).score(X, three) > 0.6  # the largest has .35


def test_to_numpy_is_the_model(fitted, rows):
    """Predictions from the arrays and the docstring alone."""
    m = fitted.to_numpy()

    def margins(X):
        v = (X - m["centre"]) * m["scale"]
        v = v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1)
        z = v @ m["hidden_coef"] + m["hidden_intercept"]
        a = sum(c * z**k for k, c in enumerate(m["activation"]))
        return a @ m["output_coef"] + m["output_intercept"]

    X = np.vstack([rows[0], 50 * rows[0]])
    scores, expected = margins(X), fitted.decision_function(X)
    np.testing.assert_allclose(scores.reshape(expected.shape), expected, rtol=1e-8, atol=1e-9)
    index = scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(int)
    np.testing.assert_array_equal(fitted.predict(X), m["classes"][index])


def test_what_a_fit_leaves(fitted, rows):
    h, steps = fitted.plan_.problem.hidden_units, fitted.plan_.optimizer.max_iter
    outputs = 1 if len(fitted.classes_) == 2 else 3
    assert [w.shape for w in fitted.coefs_] == [(3, h), (h, outputs)]
    assert [b.shape for b in fitted.intercepts_] == [(h,), (outputs,)]
    assert (fitted.n_layers_, fitted.n_outputs_, fitted.n_features_in_) == (3, outputs, 3)
    assert fitted.n_iter_ == steps == len(fitted.history_["gradient_norm"])
    assert fitted.privacy_.n_releases == steps + 2
    assert {name for name in vars(fitted) if name.endswith("_")} == {
        *("classes_", "coefs_", "intercepts_", "centre_", "scale_", "n_iter_", "n_layers_"),
        *("n_outputs_", "n_features_in_", "plan_", "privacy_", "history_"),
    }
    assert {"gradient_norm", "weight_norm", "interval", "contribution"} <= set(fitted.history_)
    proba = fitted.predict_proba(rows[0])
    assert proba.shape == (400, len(fitted.classes_)) and proba.min() >= 0
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(fitted.classes_[proba.argmax(1)], fitted.predict(rows[0]))


@pytest.mark.filterwarnings("ignore:invalid value encountered in reduce")
def test_no_row_leaves_the_polynomials(fitted, rows):
    """Rows of any length are shortened to a direction, for which nothing diverges."""
    X = rows[0][np.abs(rows[0]).sum(axis=1) > 0.5]
    reach = np.linalg.norm(fitted.coefs_[0], axis=0) + np.abs(fitted.intercepts_[0])
    assert np.all(reach <= fitted.plan_.network.hidden_reach * (1 + 1e-9))
    far = fitted.decision_function(1e9 * X)
    assert np.abs(far).max() < 1e3
    np.testing.assert_allclose(fitted.decision_function(1e140 * X), far, rtol=1e-6, atol=1e-6)
    assert np.isfinite(fitted.predict_proba(1e308 * X)).all()
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            fitted.decision_function(np.where(X.max() == X, bad, X))


@pytest.mark.parametrize("n", [2, 40, 9000])
def test_few_rows_and_many_chunks_of_one_column(n):
    X = np.random.default_rng(0).uniform(-1, 1, (n, 1))
    y = (X[:, 0] > np.median(X)).astype(int)
    model = network(epsilon=100.0, max_iter="auto").fit(X, y)
    assert (n > model_of(model.plan_).rows_per_chunk) == (n == 9000)
    assert n < 40 or model.score(X, y) > 0.9
    constant = network(epsilon=100.0).fit(np.hstack([X, np.zeros_like(X)]), y)
    assert np.isfinite(constant.decision_function(np.ones((3, 2)))).all()


def test_more_classes_than_units(rows):
    model = network(hidden_layer_sizes=2, epsilon=100.0, max_iter="auto").fit(rows[0], rows[2])
    assert model.plan_.optimizer.solver == "steps" and model.score(rows[0], rows[2]) > 0.6


# scikit-learn.


def test_a_frame_through_a_pipeline_and_a_search(rows):
    X = pd.DataFrame(rows[0] * [50, 5, 2] + [50, 5, 0], columns=NAMES)
    y = pd.Series(np.where(rows[1], "well", "ill"))
    scaler = BoundsScaler({"age": (0, 100), "dose": (0, 10), "marker": (-2, 2)})
    model = make_pipeline(scaler.set_output(transform="pandas"), network(max_iter=2))
    grids = [
        {"activation": ["tanh"], "degree": [3], "learning_rate": [0.5, 1.0]},
        {"activation": ["relu"], "degree": [2], "hidden_layer_sizes": [2, (4,)]},
    ]
    step = "encrypteddpmlpclassifier__"
    grids = [{step + name: values for name, values in grid.items()} for grid in grids]
    search = GridSearchCV(model, grids, cv=KFold(2), error_score="raise").fit(X, y)
    assert search.best_score_ > 0.8 and len(set(search.cv_results_["mean_test_score"])) > 2
    plan = search.best_estimator_[-1].plan_
    assert plan.certificate.activation.name == search.best_params_[f"{step}activation"]
    assert list(search.best_estimator_[-1].feature_names_in_) == NAMES
    assert list(search.classes_) == ["ill", "well"]
    with pytest.raises(ValueError, match="same order"):
        search.predict(X[NAMES[::-1]])


def test_clones_and_parameters(rows):
    model = network(hidden_layer_sizes=(3,), activation="relu", degree=2).fit(*rows[:2])
    copy = clone(model)
    assert copy.get_params() == model.get_params() and not hasattr(copy, "coefs_")
    copy.set_params(hidden_layer_sizes=np.int64(2), alpha=0, initial_seed=3)
    plan = copy.fit(*rows[:2]).plan_
    assert (plan.problem.hidden_units, plan.network.seed) == (2, 3)
    assert plan.optimizer.regularization == 0
    with pytest.raises(ValueError, match="Invalid parameter 'fit_intercept'"):
        model.set_params(fit_intercept=False)
    text = repr(EncryptedDPMLPClassifier(activation="relu", degree=2))
    assert text == "EncryptedDPMLPClassifier(activation='relu', degree=2)"


@pytest.mark.parametrize("form", ["csr_matrix", "csc_array", "coo_array"])
def test_sparse_rows_are_rows(rows, form):
    X, given = rows[0], getattr(sparse, form)(rows[0])
    dense, model = network().fit(X, rows[2]), network().fit(given, rows[2])
    for method in METHODS:
        found = getattr(model, method)(given)
        np.testing.assert_array_equal(getattr(model, method)(X), found)
        np.testing.assert_allclose(getattr(dense, method)(X), found, rtol=1e-9)


def test_public_classes(rows):
    X, y = rows[0], np.array(["a", "c"])[rows[1]]
    model = network(classes=["c", "a", "b"]).fit(X, y)
    assert list(model.classes_) == ["a", "b", "c"] and model.n_outputs_ == 3
    assert model.predict_proba(X).shape == (400, 3) and model.score(X, y) > 0.8
    with pytest.raises(ValueError, match="among the public classes"):
        network(classes=["a", "b"]).fit(X, y)


def test_cards_in_notebooks(fitted):
    page = fitted._repr_html_()
    assert {row for _, part in sections(fitted.plan_) for row in part} <= set(rows_of(page))
    assert "sk-estimator" in page and "skfhe-cards" not in clone(fitted)._repr_html_()


@pytest.mark.parametrize("how", ["pickle", "joblib", "skops"])
def test_a_model_comes_back_whole(fitted, rows, how):
    data = write(how, fitted)
    copy = read(how, data)
    assert vars(copy).keys() == vars(fitted).keys()
    assert copy.plan_ == fitted.plan_ and copy.plan_.digest == fitted.plan_.digest
    assert copy.privacy_ == fitted.privacy_ and copy.history_ == fitted.history_
    assert_same_predictions(copy, fitted, rows[0])
    names = {n for n in Recording(write("pickle", fitted)).names if not n.startswith("numpy")}
    assert names - {"sklearn.base.BaseEstimator"} == SHARED | OWN
    if how == "skops":
        types = pytest.importorskip("skops.io").get_untrusted_types(data=data)
        assert set(types) == SHARED | OWN


# Plans and errors.


def test_a_plan_is_stable_and_its_page_complete():
    model = network(activation="softplus", degree=2, initial_seed=7)
    plan = model.plan(500, 6, classes=4)
    assert clone(model).plan(500, 6, classes=list("abcd")).digest == plan.digest
    assert TrainingPlan.from_json(plan.to_json()) == plan
    for text in (
        "500 rows, 6 features, 4 classes", "4 hidden units, softplus", "degree 2", "start 7",
        "4 steps", "(20, 1e-05)-DP", "split", "S from", "hidden units side by side",
        f"sup error {plan.certificate.activation.sup_error:.2g}",
    ):  # fmt: skip
        assert text in str(plan), text
    for change in ({"initial_seed": 8}, {"alpha": 1.0}, {"delta": 1e-6}):
        assert model.set_params(**change).plan(500, 6, classes=4).digest != plan.digest


def test_noise_follows_the_guarantee():
    def noise(**parameters):
        plan = network(**parameters).plan(400, 3)
        return plan.guarantee.noise_multiplier * plan.certificate.sensitivity

    assert noise(epsilon=1e-6) > 1e3 * noise(epsilon=0.1) > 1e5 * noise(epsilon=100.0)
    assert noise(delta=1e-12) > noise() > noise(delta=0.1)
    assert noise(neighboring="replace_one") / noise() == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize(("parameters", "words"), REFUSED)
def test_bad_parameters_are_refused_before_any_key(monkeypatch, rows, parameters, words):
    monkeypatch.setattr(skfhe._base, "plan_scheme", None)
    with pytest.raises(ValueError, match=words):
        network(**parameters).fit(*rows[:2])


def test_bad_data_is_refused_before_any_key(monkeypatch, rows):
    monkeypatch.setattr(skfhe._base, "plan_scheme", None)
    X, y, _ = rows
    for bad, words in ((np.where(X > 0.9, np.nan, X), "NaN"), (X[1:], "inconsistent")):
        with pytest.raises(ValueError, match=words):
            network().fit(bad, y)
    with pytest.raises(TypeError, match="takes X and y alone"):
        network().fit(X, y, sample_weight=np.ones(len(y)))
    monkeypatch.setattr(skfhe._arguments, "_available_bytes", lambda: 10_000_000)
    with pytest.raises(InfeasiblePlan, match="GB are available"):
        network().fit(X, y)


# Noise, budgets, owners.


def test_seeds(rows):
    with pytest.warns(SeededNoiseWarning, match="no privacy guarantee"):
        model = network().fit(*rows[:2])
    first = model.coefs_[0]
    assert model.privacy_.epsilon == np.inf and model.privacy_.nominal_epsilon == 20.0
    np.testing.assert_array_equal(network().fit(*rows[:2]).coefs_[0], first)
    free = [network(random_state=None).fit(*rows[:2]) for _ in range(2)]
    assert free[0].privacy_.epsilon == 20.0 and free[0].privacy_.guaranteed
    assert not np.allclose(free[0].coefs_[0], free[1].coefs_[0])
    for other in (network(random_state=1), network(initial_seed=1)):
        assert not np.allclose(other.fit(*rows[:2]).coefs_[0], first, atol=1e-3)


def test_a_fit_pays_first_and_settles_after_a_failure(monkeypatch, ledger, rows):
    X, y, _ = rows
    make_noise, seen = data_owner.DataOwner.noise, []

    def interrupted(self, step):
        seen.append(ledger.entries()[-1].n_releases)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return make_noise(self, step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(data_owner.DataOwner, "noise", interrupted)
        paying(ledger).fit(X, y)
    assert seen == [6, 6], "all is debited before the first step"
    assert ledger.entries()[0].n_releases == 3, "two statistics and one step"
    for change, words in (
        ({"epsilon": 2.9}, "EncryptedDPMLPClassifier would take"),
        ({"random_state": 0}, "seeded"),
    ):
        with pytest.raises(BudgetExceeded, match=words):
            paying(ledger, **change).fit(X, y)
    model = paying(ledger, epsilon=1.0).fit(X, y)
    _, entry = ledger.entries()
    assert (entry.mechanism, entry.digest) == ("EncryptedDPMLPClassifier", model.plan_.digest)
    assert entry.squared_mu == model.privacy_.squared_mu
