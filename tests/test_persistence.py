"""Fitted models on their way to disk and to plain scikit-learn.

That no key lies in the bytes is searched for in `test_secrets.py`.
"""

import io
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from helpers import read, write
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skfhe import BoundsScaler, CKKSParameters, EncryptedDPLogisticRegression, SeededNoiseWarning

METHODS = ("predict", "predict_proba", "decision_function")
# What a fitted model consists of, besides NumPy arrays: public values alone.
PARTS = {
    "skfhe.linear_model.EncryptedDPLogisticRegression",
    "skfhe.privacy.guarantee.PrivacyGuarantee",
    "skfhe.approximation.polynomial.PolynomialApproximation",
    *(
        f"skfhe.plan_parts.{part}"
        for part in (
            "Certificate", "Encryption", "Guarantee", "Optimizer", "Prediction", "Preparation",
            "Problem", "Statistic",
        )
    ),
    "skfhe.plan.TrainingPlan",
}  # fmt: skip


def model_of(**parameters):
    defaults = {"epsilon": 20.0, "degree": 3, "max_iter": 3, "backend": "simulated"}
    return EncryptedDPLogisticRegression(**{**defaults, "random_state": 0, **parameters})


@pytest.fixture(scope="module")
def iris():
    """Scaled rows in a frame, and names of three species."""
    X, y = load_iris(return_X_y=True, as_frame=True)
    scaler = BoundsScaler((0, [8, 5, 7, 3])).set_output(transform="pandas")
    return scaler.fit_transform(X), np.array(["setosa", "versicolor", "virginica"])[y]


@pytest.fixture(
    scope="module", params=["two classes", "three classes", "no intercept", "encrypted"]
)
def fitted(request, iris):
    X, y = iris
    if request.param == "three classes":
        return model_of().fit(X, y), X
    y = y == "setosa"
    if request.param == "two classes":
        return model_of().fit(X, y), X
    if request.param == "no intercept":
        return model_of(fit_intercept=False).fit(X.to_numpy(), y), X.to_numpy()
    context = CKKSParameters(8192, (50, 50, 28, 28, 30), 28)
    return model_of(backend="tenseal", context=context, random_state=None).fit(X, y), X


def assert_same_predictions(one, other, X):
    for method in METHODS:
        np.testing.assert_array_equal(getattr(one, method)(X), getattr(other, method)(X))


@pytest.mark.parametrize("how", ["pickle", "joblib", "skops"])
def test_a_model_comes_back_whole(fitted, how):
    model, X = fitted
    copy = read(how, write(how, model))
    assert type(copy) is type(model) and str(copy.get_params()) == str(model.get_params())
    assert vars(copy).keys() == vars(model).keys()
    for name in ("privacy_", "plan_", "history_", "n_iter_", "n_features_in_"):
        assert getattr(copy, name) == getattr(model, name)
    assert copy.plan_.digest == model.plan_.digest
    for name in ("coef_", "intercept_", "classes_", "feature_names_in_"):
        if hasattr(model, name):
            np.testing.assert_array_equal(getattr(copy, name), getattr(model, name))
    assert_same_predictions(copy, model, X)


@pytest.mark.parametrize("how", ["pickle", "joblib", "skops"])
def test_a_pipeline_comes_back_and_can_be_fitted_again(iris, how):
    X, y = iris
    bounds = {name: (-1, 1) for name in X.columns}
    pipeline = make_pipeline(BoundsScaler(bounds), model_of()).fit(X, y)
    copy = read(how, write(how, pipeline))
    assert_same_predictions(copy, pipeline, X)
    np.testing.assert_array_equal(copy.fit(X, y)[-1].coef_, pipeline[-1].coef_)


class Recording(pickle.Unpickler):
    """Notes every class that a pickle names."""

    def __init__(self, data):
        super().__init__(io.BytesIO(data))
        self.names = set()
        self.load()

    def find_class(self, module, name):
        self.names.add(f"{module}.{name}")
        return super().find_class(module, name)


def test_a_pickle_holds_public_values_alone(fitted):
    model, _ = fitted
    names = Recording(write("pickle", model)).names
    own = {name for name in names if not name.startswith("numpy")}
    assert own - {"skfhe.crypto.parameters.CKKSParameters", "sklearn.base.BaseEstimator"} == PARTS


def test_skops_names_what_is_to_be_trusted(fitted):
    model, _ = fitted
    skops = pytest.importorskip("skops.io")
    data = write("skops", model)
    types = set(skops.get_untrusted_types(data=data))
    assert types - {"skfhe.crypto.parameters.CKKSParameters"} == PARTS
    with pytest.raises(skops.exceptions.UntrustedTypesFoundException):
        skops.loads(data)


def test_to_sklearn_predicts_the_same(fitted):
    model, X = fitted
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = model.to_sklearn()
        assert_same_predictions(plain, model, X)
    assert type(plain) is LogisticRegression
    assert plain.score(X, model.predict(X)) == 1
    names = Recording(pickle.dumps(plain)).names
    assert not any(name.startswith(("skfhe", "tenseal")) for name in names)
    if isinstance(X, pd.DataFrame):
        with pytest.raises(ValueError, match="same order"):
            plain.predict(X[X.columns[::-1]])


def test_to_sklearn_needs_a_fit():
    with pytest.raises(NotFittedError):
        model_of().to_sklearn()


def test_a_restored_model_says_that_its_noise_was_seeded(iris):
    X, y = iris
    with pytest.warns(SeededNoiseWarning):
        model = model_of().fit(X, y)
    assert not read("pickle", write("pickle", model)).privacy_.guaranteed
