"""The estimators among their neighbours: containers, labels, compositions, searches, routing."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFE
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skfhe import (
    BoundsScaler,
    CKKSParameters,
    DataOwner,
    EncryptedDPLogisticRegression,
    KeyHolder,
)
from skfhe.protocol.schemes import plan_scheme

NAMES = ["age", "dose", "marker"]
CONTEXT = CKKSParameters(8192, (50, 50, 28, 28, 30), 28)
WIDE = CKKSParameters(16384, (60, 58, 36, 36, 36, 36, 60), 36)  # for degrees 3 and 5


def model_of(**parameters):
    """Few steps, little noise, no encryption, unless told otherwise."""
    defaults = {"epsilon": 20.0, "degree": 3, "max_iter": 4, "backend": "simulated"}
    return EncryptedDPLogisticRegression(**{**defaults, "random_state": 0, **parameters})


def polars():
    """Polars, unless scikit-learn itself is too old for its frames."""
    module = pytest.importorskip("polars")
    if not hasattr(StandardScaler().fit(module.DataFrame({"a": [0, 1]})), "feature_names_in_"):
        pytest.skip("this scikit-learn reads no column names from this polars")
    return module


def polars_series(values):
    return pytest.importorskip("polars").Series(values)


@pytest.fixture(scope="module")
def data():
    """240 rows that single precision holds, a third of the entries zero; separable classes."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (240, 3)) * (rng.random((240, 3)) > 1 / 3)
    X = X.astype(np.float32).astype(np.float64)
    return X, (X @ [1.0, 1.0, -0.5] > 0).astype(int)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return BoundsScaler((0, [8, 5, 7, 3])).fit_transform(X), y


# Containers and labels.


CONTAINERS = {
    "pandas": lambda X: pd.DataFrame(X, columns=NAMES),
    "pandas float32": lambda X: pd.DataFrame(X, columns=NAMES, dtype="float32"),
    "pandas nullable": lambda X: pd.DataFrame(X, columns=NAMES).convert_dtypes(),
    "polars": lambda X: polars().DataFrame(X, schema=NAMES),
    "float32": lambda X: X.astype(np.float32),
    "list": np.ndarray.tolist,
    "columns first": np.asfortranarray,
    **{
        f"{form}_{kind}": getattr(sparse, f"{form}_{kind}")
        for form in ("csr", "csc", "coo")
        for kind in ("matrix", "array")
    },
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_gives_the_same_model(data, name):
    X, y = data
    given = CONTAINERS[name](X)
    expected, model = model_of().fit(X, y), model_of().fit(given, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9)
    np.testing.assert_array_equal(model.predict(given), expected.predict(X))
    for method in ("predict_proba", "decision_function"):
        result = getattr(model, method)(given)
        assert type(result) is np.ndarray and result.dtype == np.float64
        np.testing.assert_allclose(result, getattr(expected, method)(X), rtol=1e-9, atol=1e-12)
    named = "pandas" in name or name == "polars"
    assert list(getattr(model, "feature_names_in_", [])) == (NAMES if named else [])
    assert not hasattr(expected, "feature_names_in_")


@pytest.mark.parametrize("frame", ["pandas", "polars"])
def test_columns_in_another_order_are_refused(data, frame):
    X, y = data
    X = CONTAINERS[frame](X)
    model = model_of().fit(X, y)
    with pytest.raises(ValueError, match="same order"):
        model.predict(X[NAMES[::-1]])


def test_names_are_those_of_the_last_fit(data):
    X, y = data
    model = model_of(standardize=False).fit(pd.DataFrame(X, columns=NAMES), y)
    names = model.feature_names_in_
    assert not hasattr(model.fit(X, y), "feature_names_in_")
    model.feature_names_in_ = names
    plan = model.plan(*X.shape)
    key_holder = KeyHolder(plan, plan_scheme(plan, "simulated"))
    owner = DataOwner(plan, key_holder.encryptor(), key_holder.run)
    model.fit_encrypted(owner.dataset(X, y), key_holder)
    assert not hasattr(model, "feature_names_in_")


LABELS = {
    "integers": lambda y: y,
    "bytes": lambda y: y.astype(np.uint8),
    "signs": lambda y: 2 * y - 1,
    "floats": lambda y: y.astype(float),
    "bools": lambda y: y.astype(bool),
    "strings": lambda y: np.where(y, "well", "ill"),
    "objects": lambda y: np.where(y, "well", "ill").astype(object),
    "list": lambda y: ["well" if label else "ill" for label in y],
    "pandas strings": lambda y: pd.Series(np.where(y, "well", "ill")),
    "pandas categories": lambda y: pd.Series(np.where(y, "well", "ill"), dtype="category"),
    "pandas integers": lambda y: pd.Series(y, dtype="Int64"),
    "pandas bools": lambda y: pd.Series(y.astype(bool), dtype="boolean"),
    "polars strings": lambda y: polars_series(np.where(y, "well", "ill").tolist()),
    "polars bools": lambda y: polars_series(y.astype(bool)),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_come_back_as_scikit_learn_gives_them(data, name):
    X, y = data
    given = LABELS[name](y)
    model, plain = model_of().fit(X, given), LogisticRegression().fit(X, given)
    assert model.classes_.dtype == plain.classes_.dtype
    np.testing.assert_array_equal(model.classes_, plain.classes_)
    expected = model.classes_[(model.decision_function(X) > 0).astype(int)]
    np.testing.assert_array_equal(model.predict(X), expected)
    assert model.score(X, given) > 0.8


# Parameters and compositions.


def test_encryption_parameters_are_nested_parameters(data):
    model = model_of(context=clone(CONTEXT))
    nested = {k: v for k, v in model.get_params(deep=True).items() if "__" in k}
    assert nested == {f"context__{k}": v for k, v in CONTEXT.get_params().items()}
    copy = clone(model).set_params(
        context__poly_modulus_degree=16384,
        context__coeff_mod_bit_sizes=np.array([60, 33, 33, 33, 33, 60]),
        context__scale_bits=np.int64(32),
    )
    encryption = copy.fit(*data).plan_.encryption
    assert encryption.poly_modulus_degree == 16384 and encryption.scale == 2.0**32
    assert [prime.bit_length() for prime in encryption.primes] == [60, 33, 33, 33, 33, 60]
    assert model.context.get_params() == CONTEXT.get_params()


@pytest.mark.parametrize("context", [None, 8192, "mine"])
def test_a_clone_judges_no_parameter(data, context):
    model = clone(model_of(context=context))
    assert model.context == context
    with pytest.raises(TypeError, match="CKKSParameters"):
        model.fit(*data)


def test_a_clone_keeps_parameters_and_requests_and_no_fit(data):
    with sklearn.config_context(enable_metadata_routing=True):
        model = model_of(C=2.0).set_score_request(sample_weight=True).fit(*data)
        copy = clone(model)
        assert copy.get_metadata_routing().score.requests == {"sample_weight": True}
    assert copy.get_params() == model.get_params()
    assert {name for name in vars(copy) if name.endswith("_")} == set()


def test_pipelines_in_frames(data):
    X, y = data
    X = pd.DataFrame(X * [50, 5, 2] + [50, 5, 0], columns=NAMES, index=np.arange(240) + 7)
    bounds = {"age": (0, 100), "dose": (0, 10), "marker": (-2, 2)}
    pipeline = make_pipeline(BoundsScaler(bounds), model_of()).set_output(transform="pandas")
    pipeline.fit(X, y)
    scaled = pipeline[0].transform(X)
    assert list(scaled.columns) == NAMES and scaled.index.equals(X.index)
    np.testing.assert_allclose(scaled, data[0], atol=1e-7)
    assert list(pipeline[-1].feature_names_in_) == list(pipeline.feature_names_in_) == NAMES
    assert list(pipeline[:-1].get_feature_names_out()) == NAMES
    np.testing.assert_allclose(pipeline[-1].coef_, model_of().fit(*data).coef_, rtol=1e-6)


@pytest.mark.parametrize("frame", ["pandas", "polars"])
def test_transformers_give_frames(data, frame):
    X = CONTAINERS[frame](data[0])
    scaler = BoundsScaler((-1, 1), feature_range=(0, 1)).set_output(transform=frame)
    scaled = scaler.fit_transform(X)
    assert type(scaled) is type(X) and list(scaled.columns) == NAMES
    np.testing.assert_allclose(scaled.to_numpy(), (data[0] + 1) / 2)
    assert list(scaler.feature_names_in_) == list(scaler.get_feature_names_out()) == NAMES
    unnamed = BoundsScaler((-1, 1)).fit(data[0])
    assert list(unnamed.get_feature_names_out()) == ["x0", "x1", "x2"]
    assert list(unnamed.get_feature_names_out(NAMES)) == NAMES


@pytest.mark.parametrize("sparse_threshold", [0.0, 1.0])
def test_columns_of_several_kinds(data, sparse_threshold):
    X, y = data
    X = pd.DataFrame(X, columns=NAMES).assign(site=np.where(y, "north", "south"))
    columns = ColumnTransformer(
        [("bounds", BoundsScaler((-1, 1)), NAMES), ("site", OneHotEncoder(), ["site"])],
        sparse_threshold=sparse_threshold,
    )
    pipeline = make_pipeline(columns, model_of()).fit(X, y)
    assert sparse.issparse(columns.fit_transform(X)) == bool(sparse_threshold)
    assert pipeline[-1].n_features_in_ == 5
    assert pipeline.score(X, y) > 0.95
    names = [*(f"bounds__{name}" for name in NAMES), "site__site_north", "site__site_south"]
    assert list(pipeline[:-1].get_feature_names_out()) == names


def test_votes_and_calibration(data):
    X, y = data
    plain = LogisticRegression()
    votes = VotingClassifier([("private", model_of()), ("plain", plain)], voting="soft")
    votes.fit(X, y)
    private = votes.named_estimators_["private"]
    mean = (private.predict_proba(X) + plain.fit(X, y).predict_proba(X)) / 2
    np.testing.assert_allclose(votes.predict_proba(X), mean)
    calibrated = CalibratedClassifierCV(model_of(), cv=3).fit(X, y)
    assert len(calibrated.calibrated_classifiers_) == 3
    assert {fold.estimator.privacy_.n_releases for fold in calibrated.calibrated_classifiers_} == {
        6
    }
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    assert calibrated.score(X, y) > 0.85


@pytest.mark.parametrize(
    ("wrapper", "n_models"), [(OneVsRestClassifier, 3), (OneVsOneClassifier, 3)]
)
def test_several_classes_by_two_class_models(iris, wrapper, n_models):
    X, y = iris
    y = np.array(["setosa", "versicolor", "virginica"])[y]
    models = wrapper(model_of(epsilon=100.0)).fit(X, y)
    assert [type(m) for m in models.estimators_] == [EncryptedDPLogisticRegression] * n_models
    assert all(m.coef_.shape == (1, 4) for m in models.estimators_)
    assert models.score(X, y) > 0.7
    assert models.score(X[y == "setosa"], y[y == "setosa"]) > 0.9


def test_feature_selection_reads_coefficients(data):
    X, y = data
    X = np.column_stack([X, np.full(len(X), 0.01)])
    selected = RFE(model_of(standardize=False), n_features_to_select=2).fit(X, y)
    assert list(selected.support_) == [True, True, False, False]


# Searches.


def test_cross_validation(data):
    X, y = data
    pipeline = make_pipeline(BoundsScaler((-1, 1)), model_of())
    scores = cross_val_score(pipeline, X, y, cv=3)
    assert scores.shape == (3,) and scores.min() > 0.8
    probabilities = cross_val_predict(model_of(), X, y, cv=3, method="predict_proba")
    assert accuracy_score(y, probabilities.argmax(axis=1)) == pytest.approx(scores.mean())


def test_a_search_in_two_processes(data):
    """Over degree, budget and encryption; seeded, so that both ways agree in every score."""
    pipeline = make_pipeline(BoundsScaler((-1, 1)), model_of(context=WIDE))
    step = "encrypteddplogisticregression__"
    grid = {
        f"{step}degree": [3, 5],
        f"{step}epsilon": [0.01, 10.0],
        f"{step}context__scale_bits": [36, 37],
    }
    serial, parallel = (
        GridSearchCV(pipeline, grid, cv=2, n_jobs=n_jobs, error_score="raise").fit(*data)
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(
        serial.cv_results_["mean_test_score"], parallel.cv_results_["mean_test_score"]
    )
    assert parallel.best_params_ == serial.best_params_
    assert parallel.best_params_[f"{step}epsilon"] == 10.0
    plan = parallel.best_estimator_[-1].plan_
    assert plan.certificate.polynomials[0].degree == parallel.best_params_[f"{step}degree"]
    assert plan.encryption.scale == 2.0 ** parallel.best_params_[f"{step}context__scale_bits"]


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_an_infeasible_candidate_loses(data):
    grid = {"context__coeff_mod_bit_sizes": [(50, 28, 30), CONTEXT.coeff_mod_bit_sizes]}
    search = GridSearchCV(model_of(context=CONTEXT), grid, cv=2)
    with pytest.warns(sklearn.exceptions.FitFailedWarning, match="DepthExceeded"):
        search.fit(*data)
    np.testing.assert_array_equal(np.isnan(search.cv_results_["mean_test_score"]), [True, False])
    assert search.best_params_["context__coeff_mod_bit_sizes"] == CONTEXT.coeff_mod_bit_sizes


@pytest.mark.parametrize("resource", ["n_samples", "max_iter"])
def test_halving(data, resource):
    grid = {"degree": [3, 5], "epsilon": [0.01, 20.0], "context__scale_bits": [36, 37]}
    least, most = (60, 240) if resource == "n_samples" else (2, 8)
    search = HalvingGridSearchCV(
        model_of(context=WIDE), grid, factor=2, cv=2, error_score="raise", random_state=0,
        resource=resource, min_resources=least, max_resources=most,
    ).fit(*data)  # fmt: skip
    assert list(search.n_candidates_) == [8, 4, 2]
    assert search.best_params_["epsilon"] == 20.0
    assert not np.isnan(search.cv_results_["mean_test_score"]).any()
    steps = search.best_estimator_.n_iter_
    assert steps == (4 if resource == "n_samples" else search.n_resources_[-1])


def test_a_search_on_ciphertexts(data):
    X, y = data
    model = model_of(backend="tenseal", max_iter=2, context=CONTEXT)
    grid = {"context__scale_bits": [27, 28]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y)
    best = search.best_estimator_
    assert best.plan_.encryption.scale == 2.0 ** search.best_params_["context__scale_bits"]
    assert min(search.cv_results_["mean_test_score"]) > 0.7
    clear = clone(best).set_params(backend="simulated").fit(X, y)
    np.testing.assert_allclose(best.coef_, clear.coef_, rtol=0.01, atol=1e-4)


# Metadata and displays.


def test_metadata_is_routed_to_the_score(data):
    """Weights reach the score alone: `fit` takes none, which would change the sensitivity."""
    X, y = data
    weights = np.random.default_rng(1).random(len(y)) ** 8
    folds = KFold(3)
    with sklearn.config_context(enable_metadata_routing=True):
        model = model_of(epsilon=0.5).set_score_request(sample_weight=True)
        scores = cross_validate(model, X, y, cv=folds, params={"sample_weight": weights})
        with pytest.raises(TypeError, match="sample_weight"):
            make_pipeline(BoundsScaler((-1, 1)), model).fit(X, y, sample_weight=weights)
    plain, weighted = [], []
    for train, test in folds.split(X):
        predicted = clone(model).fit(X[train], y[train]).predict(X[test])
        plain.append(accuracy_score(y[test], predicted))
        weighted.append(accuracy_score(y[test], predicted, sample_weight=weights[test]))
    np.testing.assert_allclose(scores["test_score"], weighted)
    assert not np.allclose(plain, weighted)


def test_notebooks_show_the_estimator(data):
    model = make_pipeline(BoundsScaler((-1, 1)), model_of(context=CONTEXT)).fit(*data)
    html = model._repr_html_()
    for word in ("BoundsScaler", "EncryptedDPLogisticRegression", "CKKSParameters", "Fitted"):
        assert word in html
