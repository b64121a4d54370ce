"""Every estimator and transformer passes every common check of scikit-learn.

One of skfhe's is excused where bounds do not suit the rows and passed where they do; a pipeline is
excused from the two that any pipeline fails.
"""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import SkipTestWarning
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from skfhe import (
    BoundsScaler,
    CKKSParameters,
    DPStandardScaler,
    EncryptedDPLogisticRegression,
    EncryptedDPMLPClassifier,
    PrivacyLeakWarning,
    RowNormClipper,
)

# Some checks compare two fits within 1e-7. A seed fixes the noise, never the encryption, so they
# get the most precise 128-bit parameters that two steps of degree one have room for.
PRECISE = CKKSParameters(8192, (60, 38, 38, 60), 38)


def classifier(backend, **parameters):
    return EncryptedDPLogisticRegression(
        **{"epsilon": 5.0, "max_iter": 8, "backend": backend, "random_state": 0, **parameters}
    )


def network(backend, **parameters):
    few = {"epsilon": 5.0, "hidden_layer_sizes": 4, "max_iter": 8, **parameters}
    return EncryptedDPMLPClassifier(**few, backend=backend, random_state=0)


SIMULATED = classifier("simulated")
ENCRYPTED = classifier("tenseal", degree=1, max_iter=2, context=PRECISE)
NETWORK = network("simulated")
# The depth of its circuit takes primes that are precise enough for those checks anyway.
ENCRYPTED_NETWORK = network("tenseal", max_iter=2)
SCALER = BoundsScaler((-5, 5))
TRANSFORMERS = [SCALER, RowNormClipper(), DPStandardScaler(random_state=0)]
PIPELINE = make_pipeline(SCALER, SIMULATED)
# scikit-learn's own list of expected failures has these for every Pipeline.
OF_PIPELINES = dict.fromkeys(
    ["check_dont_overwrite_parameters", "check_estimators_overwrite_params"],
    "Pipeline.fit replaces its own attribute steps, whatever the steps are",
)
# 50 rows of length 28 are shortened to the default bound of .47, which their margins are not, and
# their noise is that of epsilon = 5. With bounds and a budget that suit them the check passes.
OF_SHORT_BOUNDS = {"check_class_weight_classifiers": "rows far beyond the public row bound"}
# Checks that `check_estimator` leaves out.
MORE = ["check_param_validation", "check_dataframe_column_names_consistency"]
TRANSFORMER_MORE = [
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_get_feature_names_out_error",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
]
# Those that need no fit, for objects that hold parameters alone.
UNFITTED = [
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_mixin_order",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
]


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """No check skips itself; the unscaled data of the checks is no news.

    The array API check, which passes NumPy arrays with dispatch turned on, wants this variable.
    """
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrivacyLeakWarning)
        warnings.filterwarnings("ignore", "X (has|does not have valid) feature names")
        yield


def run(name, estimator):
    getattr(estimator_checks, name)(type(estimator).__name__, estimator)


@parametrize_with_checks(
    [SIMULATED, NETWORK, *TRANSFORMERS, PIPELINE],
    expected_failed_checks=lambda e: OF_PIPELINES if e is PIPELINE else OF_SHORT_BOUNDS,
)
def test_common_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [ENCRYPTED, ENCRYPTED_NETWORK], expected_failed_checks=lambda e: OF_SHORT_BOUNDS
)
def test_common_checks_on_ciphertexts(estimator, check):
    check(estimator)


@pytest.mark.parametrize("backend", ["simulated", pytest.param("tenseal", marks=pytest.mark.slow)])
def test_class_weights_where_the_bounds_suit_the_rows(backend):
    run("check_class_weight_classifiers", classifier(backend, data_norm=100.0, epsilon=50.0))


@pytest.mark.parametrize("name", MORE)
@pytest.mark.parametrize(
    "estimator",
    [
        SIMULATED,
        NETWORK,
        *TRANSFORMERS,
        *(pytest.param(one, marks=pytest.mark.slow) for one in (ENCRYPTED, ENCRYPTED_NETWORK)),
    ],
    ids=["simulated", "network", "bounds", "norm", "standard", "tenseal", "encrypted network"],
)
def test_checks_that_the_common_ones_leave_out(estimator, name):
    run(name, estimator)


@pytest.mark.parametrize("name", TRANSFORMER_MORE)
@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=["bounds", "norm", "standard"])
def test_checks_of_transformers(transformer, name):
    pytest.importorskip("polars")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SkipTestWarning)
        run(name, transformer)


@pytest.mark.parametrize("name", UNFITTED)
def test_checks_of_encryption_parameters(name):
    run(name, CKKSParameters())


@pytest.mark.parametrize(
    "estimator", [SIMULATED, ENCRYPTED, NETWORK], ids=["simulated", "tenseal", "network"]
)
def test_no_check_is_excused_by_a_tag(estimator):
    """The tags promise all that a classifier can have; the checks above hold them to it."""
    names = {getattr(c, "func", c).__name__ for _, c in estimator_checks_generator(estimator)}
    assert {
        "check_estimator_sparse_tag",
        "check_estimator_sparse_array",
        "check_estimators_nan_inf",
        "check_estimators_pickle",
        "check_methods_sample_order_invariance",
        "check_methods_subset_invariance",
        "check_fit_idempotent",
        "check_classifiers_train",
        "check_decision_proba_consistency",
    } <= names
    tags = estimator.__sklearn_tags__()
    assert tags.input_tags.sparse and tags.classifier_tags.multi_class
    assert not (tags.non_deterministic or tags.no_validation or tags.classifier_tags.poor_score)
    assert not tags._skip_test


def test_a_seed_fixes_the_noise_but_not_the_encryption():
    """Why the checks need precise parameters: encrypted fits of one seed nearly agree."""
    rng = np.random.default_rng(0)
    X, y = rng.uniform(-1, 1, (80, 2)), rng.integers(0, 2, 80)
    model = classifier("tenseal", degree=3, max_iter=2)
    one, two = (model.fit(X, y).coef_.copy() for _ in range(2))
    assert not np.array_equal(one, two)
    np.testing.assert_allclose(one, two, rtol=1e-3)
