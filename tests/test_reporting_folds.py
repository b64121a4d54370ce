"""What a report says of folds: whether labels decide on them, and on the classes in them."""

import math

import numpy as np
import pytest
from report_models import FOLDS, D, N, estimator, pipeline
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    HalvingGridSearchCV,
    KFold,
    LeaveOneOut,
    LeavePOut,
    PredefinedSplit,
    RandomizedSearchCV,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    TimeSeriesSplit,
)
from sklearn.multiclass import OneVsRestClassifier

from skfhe import PrivacyLedger, privacy_report, private_scorer

LEDGER = PrivacyLedger(epsilon=math.inf, delta=1e-5)


class ByLabel(StratifiedKFold):
    """Under another name."""


class MyFolds(KFold):
    """May do anything."""


def search(cv, inner=None):
    inner = estimator(ledger=LEDGER) if inner is None else inner
    return GridSearchCV(inner, {}, cv=cv, scoring=private_scorer(0.1, LEDGER))


def gaps(model, n_samples=N):
    return privacy_report(model, n_samples, D).not_covered


@pytest.mark.parametrize(
    "cv",
    [
        KFold(3),
        ShuffleSplit(3),
        RepeatedKFold(n_splits=3, n_repeats=2),
        LeaveOneOut(),
        LeavePOut(1),
        TimeSeriesSplit(3),
        PredefinedSplit(np.arange(N) % 3),
    ],
)
def test_splitters_that_look_at_no_label_are_not_named(cv):
    assert not gaps(search(cv))


@pytest.mark.parametrize(
    ("cv", "words"),
    [
        (3, "stratified"),
        (None, "stratified"),
        (StratifiedKFold(3), "stratified"),
        (StratifiedShuffleSplit(3), "stratified"),
        (StratifiedGroupKFold(3), "stratified"),
        (RepeatedStratifiedKFold(n_splits=3), "stratified"),
        (ByLabel(3), "stratified"),
        (MyFolds(3), "made by MyFolds"),
        (GroupKFold(3), "groups must be public"),
        (GroupShuffleSplit(3), "groups must be public"),
        (list(FOLDS.split(np.zeros(N))), "given as lists"),
        (tuple(FOLDS.split(np.zeros(N))), "given as lists"),
    ],
)
def test_all_other_splitters_are_named(cv, words):
    assert any(words in sentence for sentence in gaps(search(cv)))


FIRST, LAST = np.arange(80), np.arange(80, N)


@pytest.mark.parametrize(
    "split",
    [
        (np.r_[FIRST, FIRST], LAST),
        (FIRST, np.r_[LAST, 80]),
        (FIRST.tolist() + [-N], LAST),  # the row 0 again
        (FIRST, np.repeat(LAST, 10)),
    ],
)
def test_a_row_that_is_twice_in_a_fold_ends_the_count(split):
    report = privacy_report(search([split]), N, D)
    assert math.isinf(report.epsilon)
    assert any("has a row twice" in sentence for sentence in report.not_covered)


def test_masks_and_negative_indices_are_rows():
    mask = np.arange(N) < 80
    report = privacy_report(search([(mask, ~mask), (FIRST - N, LAST)]), N, D)
    assert math.isfinite(report.epsilon)
    assert [fit.rows for fit in report.fits[:2]] == [(80, 80), (40, 40)]


# The list of classes.


@pytest.mark.parametrize(
    "nest",
    [
        lambda one: search(FOLDS, one),
        lambda one: RandomizedSearchCV(one, {"degree": [1]}, n_iter=1, cv=FOLDS),
        lambda one: HalvingGridSearchCV(one, {}, cv=FOLDS, min_resources=60),
        lambda one: StackingClassifier([("a", one)], estimator(), cv=FOLDS),
        lambda one: BaggingClassifier(one, max_samples=0.5, bootstrap=False),
    ],
)
def test_classes_must_be_public_where_not_all_rows_are_fitted(nest):
    def named(one):
        found = [sentence for sentence in gaps(nest(one)) if "classes=[...]" in sentence]
        return bool(found)

    assert named(estimator(classes=None))
    assert not named(estimator(classes=["a", "b"]))
    assert not named(estimator(classes=np.array([0, 1])))


def test_all_rows_have_the_public_classes():
    one = estimator(classes=None)
    assert not gaps(one)
    assert not gaps(VotingClassifier([("a", one), ("b", one)]))


def test_private_searches_with_public_classes_are_wholly_covered():
    assert not gaps(search(FOLDS, pipeline(LEDGER)))


@pytest.mark.parametrize(
    "one",
    [
        OneVsRestClassifier(estimator()),
        VotingClassifier([("a", estimator())]),
        StackingClassifier([("a", estimator())], estimator(), cv=FOLDS),
    ],
)
def test_ensembles_that_encode_labels_are_named_in_folds(one):
    words = f"{type(one).__name__} in GridSearchCV takes its classes"
    assert any(words in sentence for sentence in gaps(search(FOLDS, one)))
    assert not any("takes its classes" in sentence for sentence in gaps(one))


def test_models_in_the_clear_need_no_classes():
    found = gaps(search(FOLDS, LogisticRegression()))
    assert not any("classes=[...]" in sentence for sentence in found)
