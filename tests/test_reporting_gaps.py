"""What a report says that its figures do not cover, and when there is no total."""

import math

import numpy as np
import pytest
from report_models import FOLDS, D, N, estimator, page, pipeline
from scipy.stats import uniform
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
)

from skfhe import (
    BoundsScaler,
    DPStandardScaler,
    RowNormClipper,
    privacy_report,
)


def encoded(step):
    return make_pipeline(step, estimator())


class Wrapper(ClassifierMixin, BaseEstimator):
    """A meta-estimator of somebody else's."""

    def __init__(self, inner=None):
        self.inner = inner

    def fit(self, X, y):
        return self


class MyGrid(GridSearchCV):
    """May do anything."""


@pytest.mark.parametrize(
    "model",
    [
        Wrapper(estimator()),
        Wrapper([("a", estimator())]),
        Wrapper({"a": make_pipeline(DPStandardScaler())}),
        MyGrid(estimator(), {}),
        AdaBoostClassifier(estimator()),
        make_pipeline(BoundsScaler(), Wrapper(estimator())),
        GridSearchCV(Wrapper(estimator()), {}, cv=FOLDS),
    ],
)
def test_unknown_meta_estimators_end_the_count(model):
    report = privacy_report(model, N, D)
    assert math.isinf(report.epsilon)
    assert any("is not known here" in sentence for sentence in report.not_covered)
    assert "no finite guarantee" in str(report)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (make_pipeline(StandardScaler(), estimator()), "StandardScaler learns from the rows"),
        (make_pipeline(OneHotEncoder(), estimator()), "OneHotEncoder learns"),
        (make_pipeline(estimator(), LogisticRegression()), "fitted on the rows in the clear"),
        (VotingClassifier([("a", Wrapper())]), "Wrapper in VotingClassifier is fitted"),
        (CalibratedClassifierCV(estimator(), cv=FOLDS), "sigmoid calibrator"),
        (CalibratedClassifierCV(FrozenEstimator(estimator())), "sigmoid calibrator"),
        (CalibratedClassifierCV(estimator()), "stratified"),
        (StackingClassifier([("a", estimator())], cv=FOLDS), "final LogisticRegression"),
        (TunedThresholdClassifierCV(estimator(), cv=0.2), "threshold"),
        (GridSearchCV(estimator(), {}, cv=FOLDS), "private_scorer"),
        (GridSearchCV(estimator(), {}, cv=FOLDS, scoring=["accuracy"]), "private_scorer"),
        (GridSearchCV(estimator(), {}), "stratified"),
        (estimator(random_state=0), "seeded noise"),
        (BaggingClassifier(estimator(), bootstrap=False), "sets random_state"),
        (BaggingClassifier(estimator()), "replacement"),
        (GridSearchCV(estimator(), {}, cv=GroupKFold(3)), "cannot be counted"),
        (GridSearchCV(estimator(), {}, cv=FOLDS.split(np.zeros(N))), "only once"),
        (RandomizedSearchCV(estimator(), {"epsilon": uniform(1, 2)}, n_iter=1), "random_state"),
        (BaggingClassifier(bootstrap=False), "DecisionTreeClassifier in BaggingClassifier is"),
        (CalibratedClassifierCV(cv=FOLDS), "LinearSVC in CalibratedClassifierCV is fitted"),
        (encoded(OneHotEncoder(categories=[["a"]])), "handle_unknown='ignore'"),
        (encoded(OrdinalEncoder(categories=[["a"]])), "handle_unknown='use_encoded_value'"),
        (
            encoded(SplineTransformer(knots=np.eye(3), extrapolation="error")),
            "extrapolation='constant'",
        ),
        (HalvingGridSearchCV(estimator(), {}, min_resources=500), "will not run"),
    ],
)
def test_what_is_not_covered_is_named(model, words):
    report = privacy_report(model, N, D)
    assert any(words in sentence for sentence in report.not_covered), report.not_covered
    assert words in page(model)


@pytest.mark.parametrize(
    "step",
    [
        BoundsScaler(),
        RowNormClipper(),
        FunctionTransformer(),
        Normalizer(),
        PolynomialFeatures(),
        OneHotEncoder(categories=[["a", "b"]], handle_unknown="ignore"),
        OrdinalEncoder(categories=[["a"]], handle_unknown="use_encoded_value", unknown_value=-1),
        SplineTransformer(knots=np.eye(3)),
        "passthrough",
        None,
    ],
)
def test_steps_that_learn_nothing_are_not_named(step):
    report = privacy_report(make_pipeline(step, estimator()), N, D)
    assert not report.not_covered


def test_a_one_off_iterator_is_not_used_up():
    splits = FOLDS.split(np.zeros(N))
    privacy_report(GridSearchCV(estimator(), {}, cv=splits), N, D)
    assert len(list(splits)) == 3


@pytest.mark.parametrize(
    "model",
    [
        estimator(random_state=0),
        BaggingClassifier(estimator(), bootstrap=False),
        BaggingClassifier(pipeline(None)),
        VotingClassifier([("a", estimator()), ("b", estimator(neighboring="replace_one"))]),
        GridSearchCV(estimator(), {"neighboring": ["add_remove", "replace_one"]}, cv=FOLDS),
        GridSearchCV(estimator(), {"random_state": [None, 0]}, cv=FOLDS),
        GridSearchCV(estimator(), {}, cv=GroupKFold(3)),
        RandomizedSearchCV(estimator(), {"epsilon": uniform(1, 2)}, n_iter=1, cv=FOLDS),
        RandomizedSearchCV(
            estimator(),
            {"epsilon": [1.0, 2.0]},
            n_iter=1,
            cv=FOLDS,
            random_state=np.random.RandomState(0),
        ).set_params(param_distributions={"degree": list(range(1, 5002))}),
        RandomizedSearchCV(estimator(), {"delta": [1e-6, 1e-5]}, n_iter=1, cv=FOLDS),
    ],
)
def test_there_is_no_total_where_nothing_bounds_it(model):
    assert math.isinf(privacy_report(model, N, D).epsilon)


def test_mixed_relations_are_named():
    model = VotingClassifier([("a", estimator()), ("b", estimator(neighboring="replace_one"))])
    assert "add_remove and replace_one" in privacy_report(model, N, D).not_covered[-1]


class Duck:
    """Without tags, and without parameters."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X


def test_a_step_without_tags_is_taken_to_learn():
    report = privacy_report(make_pipeline(Duck(), estimator()), N, D)
    assert "Duck learns from the rows" in report.not_covered[0]
