"""Private scores: what they count, what they cost, and where scikit-learn calls them."""

import copy
import math
import pickle

import numpy as np
import pytest
import sklearn
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate

from skfhe import (
    BudgetExceeded,
    EncryptedDPLogisticRegression,
    PrivacyLedger,
    SeededNoiseWarning,
    private_scorer,
)
from skfhe.privacy import accounting

KEEP_FOLDS = KFold(3, shuffle=True, random_state=0)


@pytest.fixture
def endless():
    return PrivacyLedger(epsilon=math.inf, delta=1e-5)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (90, 3))
    return X, np.where(X[:, 0] > 0, "yes", "no")


def estimator(**parameters):
    return EncryptedDPLogisticRegression(
        degree=3, max_iter=2, data_norm=1.5, backend="simulated", **parameters
    )


def test_a_score_is_the_accuracy_plus_noise(endless):
    y = np.array(["a"] * 700 + ["b"] * 300)
    X = np.zeros((1000, 1))
    model = DummyClassifier(strategy="constant", constant="a").fit(X, y)
    scorer = private_scorer(0.5, endless)
    scores = np.array([scorer(model, X, y) for _ in range(300)])
    spread = accounting.calibrate(0.5, 0.99e-5, 1) / 1000
    assert abs(scores.mean() - 0.7) < 5 * spread / math.sqrt(300)
    assert scores.std() == pytest.approx(spread, rel=0.2)
    assert len(endless.entries()) == 300
    assert {entry.mechanism for entry in endless.entries()} == {"private_scorer"}


def test_scores_stay_between_zero_and_one(endless):
    X, y = np.zeros((3, 1)), np.array([0, 1, 1])
    model = DummyClassifier().fit(X, y)
    scorer = private_scorer(0.01, endless)
    scores = [scorer(model, X, y) for _ in range(30)]
    assert min(scores) == 0.0
    assert max(scores) == 1.0


@pytest.mark.parametrize("neighboring", ["add_remove", "replace_one"])
def test_a_score_costs_what_was_asked(neighboring):
    ledger = PrivacyLedger(epsilon=0.2, delta=1e-6)
    scorer = private_scorer(0.2, ledger, neighboring=neighboring)
    X, y = np.zeros((3, 1)), np.array([0, 1, 1])
    model = DummyClassifier().fit(X, y)
    scorer(model, X, y)
    assert 0.1999 < ledger.spent().epsilon <= 0.2
    assert ledger.entries()[0].neighboring == neighboring
    with pytest.raises(BudgetExceeded):
        scorer(model, X, y)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_pays_for_every_fit_and_every_score(tmp_path, rows, routing, n_jobs):
    ledger = PrivacyLedger(tmp_path / "ledger", epsilon=50.0, delta=1e-5)
    search = GridSearchCV(
        estimator(ledger=ledger),
        {"epsilon": [1.0, 2.0]},
        scoring=private_scorer(0.5, ledger),
        cv=KEEP_FOLDS,
        n_jobs=n_jobs,
        error_score="raise",
    )
    with sklearn.config_context(enable_metadata_routing=routing):
        search.fit(*rows)
    names = [entry.mechanism for entry in ledger.entries()]
    assert names.count("private_scorer") == 2 * 3
    assert names.count("EncryptedDPLogisticRegression") == 2 * 3 + 1
    assert np.all(search.cv_results_["mean_test_score"] <= 1)


def test_cross_validation_takes_it_alone_and_among_others(endless, rows):
    model, scorer = DummyClassifier(), private_scorer(1.0, endless)
    assert cross_val_score(model, *rows, scoring=scorer, cv=KEEP_FOLDS).shape == (3,)
    assert len(endless.entries()) == 3
    cross_validate(
        model, *rows, scoring={"a": scorer, "b": "accuracy"}, cv=KEEP_FOLDS,
        return_train_score=True,
    )  # fmt: skip
    assert len(endless.entries()) == 3 + 6


def test_a_search_that_may_fail_ends_with_the_budget(rows):
    ledger = PrivacyLedger(epsilon=1.0, delta=1e-5)
    scorer = private_scorer(0.7, ledger)
    with pytest.raises(BudgetExceeded):
        cross_val_score(
            DummyClassifier(), *rows, scoring=scorer, cv=KEEP_FOLDS, error_score="raise"
        )
    assert ledger.spent().epsilon <= 1.0


def test_copies_pay_from_the_same_ledger(endless, rows):
    scorer = private_scorer(1.0, endless)
    model = DummyClassifier().fit(*rows)
    for twin in (pickle.loads(pickle.dumps(scorer)), copy.deepcopy(scorer)):
        assert twin == scorer
        twin(model, *rows)
    assert len(endless.entries()) == 2


def test_a_seeded_score_is_debited_without_limit(endless, rows):
    scorer = private_scorer(1.0, endless, random_state=0)
    model = DummyClassifier().fit(*rows)
    with pytest.warns(SeededNoiseWarning, match="score has no privacy"):
        first = scorer(model, *rows)
    assert first == scorer(model, *rows)
    assert math.isinf(endless.spent().epsilon)


def test_bad_parameters_are_refused(endless):
    with pytest.raises(TypeError, match="ledger must be a PrivacyLedger"):
        private_scorer(1.0, None)
    with pytest.raises(ValueError, match="epsilon must"):
        private_scorer(0.0, endless)
    with pytest.raises(ValueError, match="delta must"):
        private_scorer(1.0, endless, 2.0)
    with pytest.raises(ValueError, match="neighboring must"):
        private_scorer(1.0, endless, neighboring="both")


def test_labels_of_another_shape_are_refused_before_the_debit(endless, rows):
    X, _ = rows
    model = DummyClassifier().fit(X, np.zeros((90, 2)))
    with pytest.raises(ValueError, match="one label per row"):
        private_scorer(1.0, endless)(model, X, np.zeros((90, 2)))
    assert not endless.entries()
