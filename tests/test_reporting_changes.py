"""Reports of models whose parameters were changed after a fit, and of grids that replace parts."""

import copy
import math

import numpy as np
import pytest
from report_models import FOLDS, D, N, estimator, pipeline
from scipy.stats import uniform
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    RandomizedSearchCV,
)
from sklearn.pipeline import Pipeline, make_pipeline

from skfhe import PrivacyLedger, RowNormClipper, privacy_report

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def ledger():
    return PrivacyLedger(epsilon=90.0, delta=1e-5)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (N, D))
    return X, (X[:, 0] + 0.3 * rng.normal(size=N) > 0).astype(int)


def report(model):
    return privacy_report(model, N, D)


def fitted(rows, epsilon=0.1, **parameters):
    return estimator(epsilon, **parameters).fit(*rows)


def replacing_steps(part):
    return GridSearchCV(
        Pipeline([("clf", estimator())]),
        {"steps": [[("clf", part)]], "clf__epsilon": [0.5, 5.0]},
        cv=FOLDS,
    )


# Whole steps in a grid.


def test_a_fit_before_a_search_says_nothing_of_its_candidates(ledger, rows):
    part = fitted(rows).set_params(ledger=ledger)
    model = replacing_steps(part)
    before = report(model)
    model.fit(*rows)
    assert ledger.spent().epsilon <= before.epsilon * (1 + 1e-5)
    assert report(model).epsilon == pytest.approx(ledger.spent().epsilon, rel=2e-3)


def snapshot(value):
    """Everything that an object holds, by value."""
    if hasattr(value, "get_params") and not isinstance(value, type):
        return type(value).__name__, snapshot(vars(value))
    if isinstance(value, dict):
        return {key: snapshot(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [snapshot(one) for one in value]
    if isinstance(value, np.random.RandomState):
        return snapshot(value.get_state(legacy=False))
    return copy.deepcopy(repr(value))


@pytest.mark.parametrize("state", [None, np.random.RandomState(0)])
def test_a_report_leaves_all_objects_as_they_are(rows, state):
    part = fitted(rows)
    models = [
        replacing_steps(part),
        GridSearchCV(replacing_steps(part), {"param_grid__steps": [1]}, cv=2).set_params(
            param_grid={"estimator__steps": [[("clf", part)]]}
        ),
        GridSearchCV(VotingClassifier([("a", part)]), {"estimators": [[("a", part)]]}, cv=2),
        RandomizedSearchCV(
            Pipeline([("clf", part)]),
            [{"steps": [[("clf", part)]], "clf__epsilon": [1.0]}, {"clf": [part, estimator()]}],
            n_iter=2, cv=KFold(3, shuffle=True, random_state=state), random_state=state,
        ),
        make_pipeline(RowNormClipper(), part),
        StackingClassifier([("a", part)], part, cv=FOLDS),
        CalibratedClassifierCV(part, cv=FOLDS),
    ]  # fmt: skip
    for model in models:
        values = {name: id(value) for name, value in model.get_params(deep=True).items()}
        before = snapshot([model, part, state])
        report(model)
        assert snapshot([model, part, state]) == before
        assert {name: id(value) for name, value in model.get_params(deep=True).items()} == values
    assert part.epsilon == 0.1


# Parameters that were changed after a fit.


@pytest.mark.parametrize(("then", "now"), [(0.1, 5.0), (5.0, 0.1)])
@pytest.mark.parametrize("nest", [lambda one: one, lambda one: make_pipeline(one)])
def test_the_costlier_of_then_and_now_is_counted(rows, nest, then, now):
    model = nest(fitted(rows, then).set_params(epsilon=now))
    found = report(model)
    assert found.epsilon == pytest.approx(5.0, rel=2e-3)
    assert any("other parameters" in sentence for sentence in found.not_covered)


def test_deltas_count_as_parameters_of_a_guarantee(rows):
    found = report(fitted(rows, delta=1e-5).set_params(delta=1e-7))
    assert any("other parameters" in sentence for sentence in found.not_covered)
    assert found.delta == 1e-5  # the less noise


def test_other_parameters_do_not_matter(rows):
    model = fitted(rows)
    before = report(model)
    assert report(model.set_params(verbose=1, learning_rate=2.0)) == before
    assert not before.not_covered


@pytest.mark.parametrize(("then", "now"), [(0, None), (None, 0)])
def test_seeded_noise_then_or_now_has_no_total(rows, then, now):
    assert math.isinf(report(fitted(rows, random_state=then).set_params(random_state=now)).epsilon)


def test_relations_that_differ_end_the_count(rows):
    found = report(fitted(rows).set_params(neighboring="replace_one"))
    assert math.isinf(found.epsilon)
    assert "cannot be compared" in found.not_covered[0]


def test_scalers_are_compared_too(rows):
    model = pipeline(None).fit(*rows).set_params(dpstandardscaler__epsilon=20.0)
    assert report(model).epsilon > 15


def test_a_ledger_pays_for_new_fits_from_the_parameters(rows):
    ledger = PrivacyLedger(epsilon=1.0, delta=1e-5)
    model = fitted(rows, 0.3, ledger=ledger)
    assert report(model).budgets[0].pays
    model.set_params(epsilon=0.99)
    assert not report(model).budgets[0].pays
    # What was costly does not have to be paid again.
    rich = PrivacyLedger(epsilon=1.0, delta=1e-5)
    model = fitted(rows, 8.0).set_params(epsilon=0.5, ledger=rich)
    assert report(model).budgets[0].pays
    model = VotingClassifier([("a", estimator(0.1, rich))]).fit(*rows)
    assert report(model).budgets[0].pays
    model.set_params(a__epsilon=0.999)
    assert not report(model).budgets[0].pays


def test_a_ledger_that_only_a_new_fit_would_pay_from_is_listed(rows, ledger):
    model = VotingClassifier([("a", estimator(0.1))]).fit(*rows).set_params(a__ledger=ledger)
    assert [state.ledger for state in report(model).budgets] == [ledger]


# Searches that were changed after their fit.


def test_a_fitted_search_counts_what_it_tried(rows, ledger):
    model = GridSearchCV(estimator(ledger=ledger), {"epsilon": [0.3, 0.6]}, cv=FOLDS).fit(*rows)
    before = report(model)
    assert report(model.set_params(param_grid={"epsilon": [0.1]})).epsilon == before.epsilon
    model.set_params(param_grid={"epsilon": [60.0]})
    changed = report(model)
    assert changed.epsilon == before.epsilon
    assert not changed.budgets[0].pays


def test_a_fitted_search_counts_its_folds(rows, ledger):
    model = GridSearchCV(estimator(ledger=ledger), {}, cv=KFold(5)).fit(*rows)
    model.set_params(cv=KFold(2))
    found = report(model)
    assert sum(fit.count for fit in found.fits) == len(ledger.entries())
    assert any("was fitted on 5 folds" in sentence for sentence in found.not_covered)


def test_an_estimator_that_was_changed_after_the_search_ends_the_count(rows):
    model = GridSearchCV(estimator(), {"degree": [1, 3]}, cv=FOLDS).fit(*rows)
    assert math.isfinite(report(model).epsilon)
    found = report(model.set_params(estimator__epsilon=0.01))
    assert math.isinf(found.epsilon)
    assert any("after the search" in sentence for sentence in found.not_covered)


def test_folds_that_are_fewer_now_lose_no_fit(rows, ledger):
    model = CalibratedClassifierCV(estimator(ledger=ledger), cv=KFold(4)).fit(*rows)
    model.set_params(cv=KFold(2))
    assert sum(fit.count for fit in report(model).fits) == len(ledger.entries())


# Searches by chance.


@pytest.mark.parametrize(
    "model",
    [
        RandomizedSearchCV(estimator(), {"epsilon": [0.1] * 50 + [20.0]}, n_iter=1, cv=FOLDS),
        RandomizedSearchCV(
            estimator(), [{"epsilon": [0.1] * 50}, {"epsilon": [20.0]}], n_iter=1, cv=FOLDS,
            random_state=np.random.RandomState(0),
        ),
    ],
)  # fmt: skip
def test_the_costliest_draw_counts_without_a_seed(model):
    alone = GridSearchCV(estimator(), {"epsilon": [20.0]}, cv=FOLDS)
    assert report(model).epsilon == report(alone).epsilon


def test_as_many_as_are_drawn_are_counted():
    model = RandomizedSearchCV(estimator(), {"epsilon": [0.1, 0.2, 0.3]}, n_iter=2, cv=FOLDS)
    fits = [(fit.epsilon, fit.count) for fit in report(model).fits]
    assert fits == [(0.3, 3), (0.2, 3), (0.3, 1)]
    model.set_params(random_state=0)
    assert report(model).epsilon <= report(clone(model).set_params(random_state=None)).epsilon


def test_gaps_of_candidates_that_may_be_drawn_are_named():
    plain = {"clf": [estimator(9.0), estimator(classes=None)]}
    model = RandomizedSearchCV(Pipeline([("clf", estimator())]), plain, n_iter=1, cv=FOLDS)
    assert any("classes=[...]" in sentence for sentence in report(model).not_covered)


@pytest.mark.parametrize("search", [RandomizedSearchCV, HalvingRandomSearchCV])
def test_distributions_without_a_seed_have_no_total(search):
    model = search(estimator(), {"learning_rate": uniform(1, 2)}, cv=FOLDS)
    assert math.isinf(report(model).epsilon)
    assert math.isfinite(report(model.set_params(random_state=0)).epsilon)
