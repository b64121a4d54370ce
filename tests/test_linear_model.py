"""The estimator as its users meet it: results, semantics of its parameters, errors."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import tenseal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

import skfhe._arguments
import skfhe._base
from skfhe import (
    BoundsScaler,
    CKKSParameters,
    DepthExceeded,
    EncryptedDPLogisticRegression,
    InfeasiblePlan,
    PrivacyLeakWarning,
    SeededNoiseWarning,
)


def simulated(**parameters):
    return EncryptedDPLogisticRegression(backend="simulated", random_state=0, **parameters)


@pytest.fixture(scope="module")
def easy():
    """300 rows of two well separated classes within [-1, 1]."""
    X, y = make_classification(
        300, 5, n_informative=5, n_redundant=0, class_sep=2.0, random_state=0
    )
    return X / np.abs(X).max(axis=0), y


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    X = BoundsScaler((X.min(axis=0) - 1e-3, X.max(axis=0) + 1e-3)).fit_transform(X)
    return train_test_split(X, y, test_size=0.2, random_state=0, stratify=y)


@pytest.mark.parametrize("degree", [3, 7])
def test_encrypted_training_equals_simulated_training(cancer, degree):
    X, X_test, y, _ = cancer
    models = [
        EncryptedDPLogisticRegression(
            degree=degree, max_iter=4, backend=backend, random_state=1
        ).fit(X, y)
        for backend in ("tenseal", "simulated")
    ]
    encrypted, clear = (np.r_[m.coef_.ravel(), m.intercept_] for m in models)
    assert np.linalg.norm(encrypted - clear) <= 1e-3 * np.linalg.norm(clear)
    assert np.linalg.norm(encrypted - clear) > 0
    np.testing.assert_array_equal(models[0].predict(X_test), models[1].predict(X_test))
    assert models[0].plan_ == models[1].plan_


def test_a_private_model_learns(cancer):
    X, X_test, y, y_test = cancer
    model = EncryptedDPLogisticRegression(epsilon=5.0, degree=7).fit(X, y)
    assert model.score(X_test, y_test) > 0.85  # the majority class has .63
    assert model.privacy_.epsilon == 5.0
    assert model.privacy_.guaranteed
    assert model.n_iter_ == len(model.history_["step_seconds"]) == model.privacy_.n_releases - 2


def test_encrypted_training_on_ten_classes():
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
    model = EncryptedDPLogisticRegression(epsilon=5.0, degree=3, max_iter=6).fit(X, y)
    assert model.coef_.shape == (10, 64)
    assert model.score(X_test, y_test) > 0.7
    np.testing.assert_allclose(model.predict_proba(X_test).sum(axis=1), 1.0)


def test_the_first_step_is_the_gradient_at_zero(easy):
    """With all but no noise, one step leads to learning_rate times the mean gradient."""
    X, y = easy
    model = simulated(
        epsilon=100, max_iter=1, learning_rate=2.0, averaging=1.0,
        standardize=False, precondition=False,
    )  # fmt: skip
    model.fit(X, y)
    norm, column = model.plan_.problem.data_norm, model.plan_.problem.intercept_column
    rows = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), norm)
    expected = 2.0 * rows.T @ (y - 0.5) / len(y)
    np.testing.assert_allclose(model.coef_.ravel() * norm, expected, atol=2e-3)
    np.testing.assert_allclose(model.intercept_, column**2 * 2.0 * np.mean(y - 0.5), atol=2e-3)


def test_with_little_noise_and_many_steps_it_is_logistic_regression():
    X, y = make_classification(
        20_000, 4, n_informative=4, n_redundant=0, flip_y=0.2, random_state=0
    )
    X = X / np.abs(X).max(axis=0)
    C = 1e-3
    plain = LogisticRegression(C=C, tol=1e-8).fit(X, y)
    model = simulated(
        epsilon=100, degree=15, C=C, max_iter=80, learning_rate=8.0, momentum=0.8,
        data_norm=2.0, weight_norm=8.0, standardize=False, precondition=False,
    ).fit(X, y)  # fmt: skip
    np.testing.assert_allclose(model.coef_, plain.coef_, rtol=0.02, atol=0.01)
    np.testing.assert_allclose(model.intercept_, plain.intercept_, atol=0.02)


def test_seeded_noise_is_told_and_gives_no_guarantee(easy):
    X, y = easy
    with pytest.warns(SeededNoiseWarning, match="no privacy guarantee"):
        model = simulated().fit(X, y)
    again = simulated().fit(X, y)
    np.testing.assert_array_equal(model.coef_, again.coef_)
    assert model.privacy_.epsilon == np.inf
    assert model.privacy_.nominal_epsilon == 1.0
    assert model.privacy_.epsilon_at(1e-5) == np.inf
    assert "no privacy" in str(model.privacy_)


def test_unseeded_noise_differs_between_fits(easy):
    X, y = easy
    models = [EncryptedDPLogisticRegression(backend="simulated").fit(X, y) for _ in range(2)]
    assert not np.allclose(models[0].coef_, models[1].coef_)
    assert models[0].privacy_.epsilon_at(1e-5) <= 1.0
    assert models[0].privacy_.epsilon_at(1e-6) > models[0].privacy_.epsilon_at(1e-5)


def test_replace_one_has_twice_the_sensitivity(easy):
    X, y = easy
    one, two = (
        simulated(neighboring=relation).fit(X, y).privacy_
        for relation in ("add_remove", "replace_one")
    )
    assert two.sensitivity / one.sensitivity == pytest.approx(2, rel=0.02)


def test_unscaled_data_is_told(easy):
    X, y = easy
    with pytest.warns(PrivacyLeakWarning, match="BoundsScaler"):
        simulated().fit(100 * X, y)


def test_a_tenseal_context_gives_its_parameters_only(easy):
    X, y = easy
    bits = [50, 50, 28, 28, 30]
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=bits)
    context.global_scale = 2**28
    model = simulated(degree=3, context=context).fit(X, y)
    assert [p.bit_length() for p in model.plan_.encryption.primes] == bits
    for copy in (clone(model), pickle.loads(pickle.dumps(model))):
        assert isinstance(copy.context, CKKSParameters)
        assert list(copy.context.coeff_mod_bit_sizes) == bits


@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        ({"epsilon": 0}, ValueError, "epsilon"),
        ({"epsilon": -1.0}, ValueError, "epsilon"),
        ({"delta": 0.0}, ValueError, "delta"),
        ({"delta": 1.0}, ValueError, "delta"),
        ({"degree": 4}, ValueError, "odd integer"),
        ({"degree": 17}, ValueError, "degree"),
        ({"neighboring": "swap"}, ValueError, "neighboring"),
        ({"backend": "seal"}, ValueError, "backend"),
        ({"context": "mine"}, TypeError, "CKKSParameters"),
        ({"context": CKKSParameters(8192.0)}, ValueError, "poly_modulus_degree"),
        ({"context": CKKSParameters(8192, 60)}, ValueError, "coeff_mod_bit_sizes"),
        ({"context": CKKSParameters(8192, (50, 30.5))}, InfeasiblePlan, "primes of 2 to 60"),
        ({"context": CKKSParameters(scale_bits="29")}, ValueError, "scale_bits"),
        ({"context": CKKSParameters(8192, (60, 60, 60, 60))}, InfeasiblePlan, "128-bit"),
        ({"context": CKKSParameters(2048, (30, 24))}, InfeasiblePlan, "poly_modulus_degree"),
        (
            {"degree": 15, "context": CKKSParameters(8192, (50, 50, 28, 36))},
            DepthExceeded,
            "more or larger primes",
        ),
    ],
)
def test_bad_parameters_are_refused_before_any_key(easy, monkeypatch, parameters, error, words):
    monkeypatch.setattr(skfhe._base, "plan_scheme", _no_crypto)
    with pytest.raises(error, match=words):
        EncryptedDPLogisticRegression(**parameters).fit(*easy)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda X, y: (np.where(X > 0.99, np.nan, X), y), "NaN"),
        (lambda X, y: (np.where(X > 0.99, np.inf, X), y), "infinity"),
        (lambda X, y: (X, np.zeros_like(y)), "only one class"),
        (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
        (lambda X, y: (X, X[:, 0]), "continuous"),
        (lambda X, y: (X[:0], y[:0]), "0 sample"),
    ],
)
def test_bad_data_is_refused_before_any_key(easy, monkeypatch, spoil, words):
    monkeypatch.setattr(skfhe._base, "plan_scheme", _no_crypto)
    with pytest.raises(ValueError, match=words):
        EncryptedDPLogisticRegression().fit(*spoil(*easy))


def test_more_than_fits_memory_is_refused_before_any_key(easy, monkeypatch):
    monkeypatch.setattr(skfhe._base, "plan_scheme", _no_crypto)
    monkeypatch.setattr(skfhe._arguments, "_available_bytes", lambda: 10_000_000)
    with pytest.raises(InfeasiblePlan, match=r"GB of memory, 0\.0 GB are available"):
        EncryptedDPLogisticRegression().fit(*easy)


def test_history_tells_no_more_than_the_releases(easy):
    X, y = easy
    model = simulated().fit(X, y)
    assert set(model.history_) == {
        "gradient_norm", "weight_norm", "interval", "contribution", "split",
        "step_seconds", "phase_seconds", "bytes",
    }  # fmt: skip


# A kernel as older and newer versions of tqdm recognise it, without ipywidgets.
KERNEL = """
import sys, types
shell = types.ModuleType("IPython")
shell.get_ipython = lambda: types.SimpleNamespace(config={"IPKernelApp": {}})
sys.modules.update({"IPython": shell, "ipykernel.zmqshell": shell, "ipywidgets": None})
from skfhe import EncryptedDPLogisticRegression
from skfhe.protocol.session import _progress
plan = EncryptedDPLogisticRegression(degree=3, max_iter=3).plan(200, 4)
print(*(step for step, _ in _progress(range(3), plan, 1)))
"""


def test_progress_in_a_notebook_needs_no_widgets():
    result = subprocess.run([sys.executable, "-c", KERNEL], capture_output=True, text=True)
    assert result.stdout == "0 1 2\n" and "steps: 100%" in result.stderr
    assert "Warning" not in result.stderr


def _no_crypto(*_):
    raise AssertionError("encryption began before the request was refused")
