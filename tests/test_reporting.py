"""The report against what a ledger has been debited, and what it says is not covered."""

import math

import numpy as np
import pytest
from report_models import FOLDS, D, N, estimator, page, pipeline
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    StandardScaler,
)

from skfhe import (
    DPStandardScaler,
    EncryptedDPLogisticRegression,
    PrivacyLedger,
    RowNormClipper,
    privacy_report,
    private_scorer,
)


@pytest.fixture
def ledger():
    return PrivacyLedger(epsilon=90.0, delta=1e-5)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (N, D))
    return X, (X[:, 0] + 0.3 * rng.normal(size=N) > 0).astype(int)


def nestings(ledger):
    """Models by name; every one is fitted for real."""
    one, scaled = estimator(ledger=ledger), pipeline(ledger)
    scorer = private_scorer(0.3, ledger)
    epsilons = {"epsilon": [0.3, 0.6], "degree": [3, 5]}
    inside = {"encrypteddplogisticregression__epsilon": [0.3, 0.6]}
    return {
        "estimator": one,
        "pipeline": scaled,
        "grid": GridSearchCV(one, epsilons, cv=FOLDS, scoring=scorer),
        "grid of pipelines": GridSearchCV(scaled, inside, cv=FOLDS),
        "grid without refit": GridSearchCV(
            one, epsilons, cv=2, refit=False, scoring={"a": scorer, "b": "accuracy"},
            return_train_score=True,
        ),
        "grid of estimators": GridSearchCV(
            make_pipeline(RowNormClipper(), one),
            {"encrypteddplogisticregression": [one, estimator(0.9, ledger)]},
            cv=2,
        ),
        "nested grids": GridSearchCV(
            GridSearchCV(one, {"degree": [1, 3]}, cv=2), {"estimator__epsilon": [0.3, 0.4]}, cv=2
        ),
        "randomized": RandomizedSearchCV(
            one, {"epsilon": [0.2, 0.4, 0.6]}, n_iter=2, cv=FOLDS, random_state=1
        ),
        "randomized, free of cost": RandomizedSearchCV(
            one, {"learning_rate": [1.0, 2.0, 3.0]}, n_iter=2, cv=FOLDS
        ),
        "halving by rows": HalvingGridSearchCV(
            one, {"learning_rate": [1.0, 2.0, 3.0, 4.0]}, cv=FOLDS, factor=2, scoring=scorer
        ),
        "halving by steps": HalvingGridSearchCV(
            one, {"learning_rate": [1.0, 2.0, 3.0]}, cv=FOLDS, resource="max_iter",
            min_resources=1, max_resources=4, factor=2, return_train_score=False,
        ),
        "aggressive halving": HalvingGridSearchCV(
            one, {"learning_rate": list(range(1, 9))}, cv=2, factor=2, min_resources=50,
            aggressive_elimination=True,
        ),
        "random halving": HalvingRandomSearchCV(
            one, {"learning_rate": [1.0, 2.0, 3.0, 4.0, 5.0]}, cv=2, factor=2,
            min_resources=24, random_state=0,
        ),
        "calibrated": CalibratedClassifierCV(one, cv=FOLDS),
        "calibrated together": CalibratedClassifierCV(scaled, cv=FOLDS, ensemble=False),
        "voting": VotingClassifier([("a", one), ("b", scaled), ("c", "drop")]),
        "stacking": StackingClassifier([("a", one), ("b", one)], cv=FOLDS),
        "private stacking": StackingClassifier(
            [("a", one)], estimator(0.7, ledger, data_norm=1.0), cv=FOLDS
        ),
        "one against the rest": OneVsRestClassifier(one),
        "fixed threshold": FixedThresholdClassifier(one),
        "tuned threshold": TunedThresholdClassifierCV(one, cv=FOLDS),
        "tuned on one split": TunedThresholdClassifierCV(one, cv=0.25, random_state=0),
        "selection": make_pipeline(SelectFromModel(one, threshold=-1.0), one),
        "columns": make_pipeline(
            ColumnTransformer(
                [("a", DPStandardScaler(0.2, ledger=ledger), [0, 1]), ("b", "drop", [2])],
                remainder="passthrough",
            ),
            one,
        ),
        "union": make_pipeline(
            FeatureUnion([("a", DPStandardScaler(0.2, ledger=ledger)), ("b", "passthrough")]), one
        ),
    }  # fmt: skip


# The same before the fit for any two classes, or columns of labels.
UPPER = {"one against the rest"}
# Whose refit costs what the candidate costs that held-out rows choose.
CHOOSING = {"grid", "grid of pipelines", "grid of estimators", "nested grids", "randomized"}
NAMES = list(nestings(PrivacyLedger(epsilon=1.0, delta=1e-5)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_report_is_what_the_ledger_was_debited(name, ledger, rows):
    model = nestings(ledger)[name]
    before = privacy_report(model, N, D)
    assert not ledger.entries()
    assert before.budgets[0].pays
    assert not before.fitted
    model.fit(*rows)
    entries = ledger.entries()
    after = privacy_report(model, N, D)
    for report in [after] if name in UPPER else [before, after]:
        assert report.delta == ledger.delta
        counts = {}
        for fit in report.fits:
            mechanism = fit.what.split(" in ")[0]
            counts[mechanism] = counts.get(mechanism, 0) + fit.count
        spent = {m: 0 for m in counts}
        for entry in entries:
            spent[entry.mechanism] += 1
        assert counts == spent
    # The ledger counts what noise spreads that are rounded up really cost, a little less.
    spent = ledger.spent().epsilon
    assert spent <= before.epsilon * (1 + 1e-5)
    if name not in UPPER:
        assert before.epsilon == pytest.approx(spent, rel=0.2 if name in CHOOSING else 2e-3)
    assert after.epsilon == pytest.approx(spent, rel=2e-3)
    assert after.fitted


def test_a_fitted_model_reports_what_it_did(ledger, rows):
    model = pipeline(ledger).fit(*rows)
    report = privacy_report(model, N, D)
    assert report.epsilon == pytest.approx(ledger.spent().epsilon, rel=1e-12)
    assert not report.not_covered


def test_a_single_fit_costs_its_own_epsilon():
    report = privacy_report(estimator(0.7, delta=1e-6), N, D)
    (fit,) = report.fits
    assert report.epsilon == pytest.approx(0.7, rel=1e-5)
    assert report.delta == 1e-6
    assert (fit.count, fit.rows, fit.epsilon, fit.guaranteed) == (1, (N, N), 0.7, True)
    assert not report.not_covered
    assert not report.budgets


def test_rows_per_fit_follow_the_splitter():
    search = GridSearchCV(estimator(), {"degree": [3]}, cv=KFold(7))
    folds, refit = privacy_report(search, N, D).fits
    assert folds.rows == (102, 103)
    assert refit.rows == (N, N)
    assert (folds.count, refit.count) == (7, 1)


def test_halving_counts_the_costliest_survivors():
    search = HalvingGridSearchCV(
        estimator(), {"epsilon": [0.1, 0.2, 0.3, 0.4]}, cv=FOLDS, factor=2, min_resources=30,
        max_resources=120,
    )  # fmt: skip
    fits = {(fit.what, fit.epsilon): fit.count for fit in privacy_report(search, N, D).fits}
    name = "EncryptedDPLogisticRegression in HalvingGridSearchCV"
    refit = "EncryptedDPLogisticRegression in the refit of HalvingGridSearchCV"
    assert fits == {
        (name, 0.4): 9, (name, 0.3): 6, (name, 0.2): 3, (name, 0.1): 3, (refit, 0.4): 1,
    }  # fmt: skip


def test_a_ledger_that_does_not_pay_is_named(rows):
    ledger = PrivacyLedger(epsilon=0.6, delta=1e-5)
    model = estimator(ledger=ledger)
    assert "pays for this fit" in page(model)
    model.fit(*rows)
    (state,) = privacy_report(model, N, D).budgets
    assert not state.pays
    assert 0 < state.left.epsilon < 0.4
    assert "does not pay for another such fit" in page(model)
    other = estimator(0.01, ledger, neighboring="replace_one")
    assert not privacy_report(other, N, D).budgets[0].pays


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_bagging_does_seed_the_noise(rows):
    """What the report says of it is so."""
    ledger = PrivacyLedger(epsilon=math.inf, delta=1e-5)
    model = BaggingClassifier(estimator(ledger=ledger), n_estimators=2, bootstrap=False)
    report = privacy_report(model.fit(*rows), N, D)
    assert math.isinf(ledger.spent().epsilon)
    assert [fit.guaranteed for fit in report.fits] == [False]


def test_classes_count_the_fits_of_one_against_the_rest():
    model = OneVsRestClassifier(estimator())
    assert privacy_report(model, N, D).fits[0].count == 2
    assert "one for each column" in page(model)
    assert privacy_report(model, N, D, classes=5).fits[0].count == 5
    assert privacy_report(model, N, D, classes=["a", "b", "c"]).fits[0].count == 3


def test_one_against_the_rest_counts_columns_of_labels(ledger, rows):
    X, y = rows
    model = OneVsRestClassifier(estimator(ledger=ledger))
    before = privacy_report(model, N, D)
    model.fit(X, np.column_stack([y, X[:, 1] > 0]))
    assert before.epsilon == pytest.approx(ledger.spent().epsilon, rel=2e-3)
    assert privacy_report(model, N, D).fits[0].count == 2
    assert "column" not in page(model)


def test_a_model_without_privacy_is_told_so():
    report = privacy_report(LogisticRegression(), N, D)
    assert "no differentially private fit" in str(report)
    assert "in the clear" in report.not_covered[0]


def test_the_table_for_notebooks_is_escaped(ledger):
    class Odd(StandardScaler):
        pass

    Odd.__name__ = "<b>"
    html = privacy_report(make_pipeline(Odd(), estimator(ledger=ledger)), N, D)._repr_html_()
    assert "<table>" in html
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert html.count("<tr>") == 2


@pytest.mark.parametrize(("n", "d"), [(0, 1), (1, 0), (-1, 1)])
def test_counts_must_be_positive(n, d):
    with pytest.raises(ValueError, match="at least 1"):
        privacy_report(estimator(), n, d)


@pytest.mark.parametrize("model", [5, None, "drop", EncryptedDPLogisticRegression])
def test_what_is_no_estimator_is_refused(model):
    with pytest.raises(TypeError, match="must be an estimator"):
        privacy_report(model, N, D)


def test_reports_are_frozen():
    report = privacy_report(estimator(), N, D)
    with pytest.raises(AttributeError):
        report.epsilon = 0.0
    with pytest.raises(AttributeError):
        report.fits[0].count = 0
