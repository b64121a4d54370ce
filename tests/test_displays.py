"""What displays draw equals what plans, histories and ledgers say."""

import math
import sys
import warnings
from dataclasses import dataclass

import matplotlib
import numpy as np
import pytest
from helpers import make, make_rows
from scipy.special import expit
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer, recall_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skfhe import (
    ApproximationDisplay,
    DPStandardScaler,
    EncryptedDPLogisticRegression,
    PolynomialApproximation,
    PrivacyBudgetDisplay,
    PrivacyLedger,
    TradeoffDisplay,
    TrainingDisplay,
)
from skfhe.exceptions import PrivacyLeakWarning, SeededNoiseWarning
from skfhe.privacy.composition import Composition

matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

SHORT = {"degree": 3, "max_iter": 3, "backend": "simulated"}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def fit(classes=2, seed=0, **parameters):
    X, y = make_rows(make(classes=classes), seed)
    return EncryptedDPLogisticRegression(**SHORT | parameters).fit(X, y)


@pytest.fixture(scope="module")
def fitted():
    return fit()


def line(axes, label):
    (found,) = (one for one in axes.lines if one.get_label() == label)
    return found.get_xdata(), found.get_ydata()


def draw(display):
    """Render everything: what cannot be laid out or written fails here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # among matplotlib's own needs
        display.figure_.canvas.draw()


def texts(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


# The approximation.


def test_curves_are_those_of_the_approximation():
    p = PolynomialApproximation.fit(5, 6.0, "monotone")
    display = ApproximationDisplay.from_approximation(p)
    draw(display)
    curves, error = display.axes_
    z, values = line(curves, "monotone, degree 5")
    np.testing.assert_array_equal(values, p(z))
    assert (z[0], z[-1]) == (-6.0, 6.0)
    z, values = line(curves, "sigmoid")
    np.testing.assert_array_equal(values, expit(z))
    z, values = error.lines[0].get_data()
    np.testing.assert_array_equal(values, p(z) - expit(z))
    assert {round(y, 12) for one in error.lines for y in one.get_ydata()} >= {
        round(p.sup_error, 12),
        round(-p.sup_error, 12),
    }
    assert f"{p.sup_error:.2g}" in error.get_title()


def test_a_plan_shows_its_longest_interval_unless_told(fitted):
    plan = fitted.plan_
    polynomials = plan.certificate.polynomials
    assert ApproximationDisplay.from_plan(plan).approximation is polynomials[-1]
    display = ApproximationDisplay.from_plan(plan, index=0)
    assert display.approximation is polynomials[0]
    assert display.intervals == (polynomials[0].radius,)
    with pytest.raises(IndexError, match=f"the plan's {len(polynomials)} polynomials"):
        ApproximationDisplay.from_plan(plan, index=len(polynomials))


def test_a_model_shows_the_intervals_of_its_steps(fitted):
    display = ApproximationDisplay.from_estimator(fitted)
    used = fitted.history_["interval"]
    assert display.approximation.radius == max(used)
    assert set(display.intervals) == set(used)
    corners = [
        patch.get_patch_transform().transform(patch.get_path().vertices)[:, 0]
        for patch in display.axes_[0].patches
    ]
    assert [c.max() for c in corners] == pytest.approx(sorted(set(used)))
    assert [c.min() for c in corners] == pytest.approx(
        sorted(-radius for radius in set(used))[::-1]
    )
    first = ApproximationDisplay.from_estimator(fitted, index=0)
    assert first.approximation is fitted.plan_.certificate.polynomials[0]


# The run.


@pytest.mark.parametrize("classes", [2, 3])
def test_a_run_is_its_history_and_plan(classes):
    model = fit(classes=classes)
    history, primes = model.history_, model.plan_.encryption.primes
    display = TrainingDisplay.from_estimator(model)
    draw(display)
    gradient, weights, modulus, seconds = display.axes_
    np.testing.assert_array_equal(line(gradient, "as released")[1], history["gradient_norm"])
    np.testing.assert_array_equal(line(weights, "after the step")[1], history["weight_norm"])
    assert ("largest allowed" in texts(weights)) == (classes == 2)
    *levels, special = (patch.get_height() for patch in modulus.patches)
    bits = [prime.bit_length() for prime in primes]
    assert levels == list(np.cumsum(bits[:-1]))
    assert special == bits[-1]
    assert [bar.get_width() for bar in seconds.patches] == list(history["phase_seconds"].values())
    assert [t.get_text() for t in seconds.get_yticklabels()] == list(history["phase_seconds"])


def test_noise_alone_has_the_norm_that_is_drawn():
    """With so much noise that it is all there is: mean squares over three steps of five runs."""
    ratios = []
    for seed in range(5):
        display = TrainingDisplay.from_estimator(fit(seed=seed, epsilon=0.02, weight_norm=1.0))
        ratios += list((display.history["gradient_norm"] / display.noise_norm) ** 2)
    # 15 means of 5 squared normal variables: standard deviation sqrt(2 / 75) = 0.16.
    assert abs(np.mean(ratios) - 1) < 5 * math.sqrt(2 / 75)


@pytest.mark.parametrize("display", [ApproximationDisplay, TrainingDisplay])
def test_a_pipeline_shows_its_classifier(display):
    X, y = make_rows(make())
    model = make_pipeline(FunctionTransformer(), EncryptedDPLogisticRegression(**SHORT))
    with pytest.raises(NotFittedError):
        display.from_estimator(model)
    display.from_estimator(model.fit(X, y))
    with pytest.raises(TypeError, match=r"classifier of skfhe.*got LogisticRegression"):
        display.from_estimator(LogisticRegression().fit(X, y))


# The budget.


@dataclass
class Releases:
    noise_multiplier: float = 20.0
    n_releases: int = 10
    error_probability: float = 1e-9
    discreteness: float = 0.0

    @property
    def squared_mu(self):
        return self.n_releases / self.noise_multiplier**2


def ledger_of(n_entries, epsilon=5.0, dataset="", **releases):
    ledger = PrivacyLedger(epsilon=epsilon, delta=1e-5, dataset=dataset)
    for _ in range(n_entries):
        ledger.debit("Mechanism", Releases(**releases), neighboring="add_remove")
    return ledger


def test_entries_add_up_to_what_is_spent():
    ledger = ledger_of(3, dataset="wards")
    display = PrivacyBudgetDisplay.from_ledger(ledger)
    draw(display)
    entries, curve = display.axes_
    expected = [Composition.of(ledger.entries()[:k]).epsilon_at(1e-5) for k in (1, 2, 3)]
    np.testing.assert_array_equal(display.epsilons, expected)
    assert display.epsilons[-1] == pytest.approx(ledger.spent().epsilon, rel=5e-3)
    ends = [patch.get_x() + patch.get_width() for patch in entries.patches]
    np.testing.assert_allclose(ends[3:6], expected)
    assert ends[6] == ledger.epsilon
    labels = [label.get_text() for label in entries.get_yticklabels()]
    assert sum("Mechanism\nwards, " in label for label in labels) == 3
    assert f"epsilon {ledger.remaining().epsilon:.3g}" in " ".join(labels)
    deltas, epsilons = line(curve, "spent")
    assert epsilons == pytest.approx([ledger.composition().epsilon_at(d) for d in deltas])
    assert line(curve, "budget") == ([1e-5], [5.0])


def test_an_empty_ledger_has_all_left():
    display = PrivacyBudgetDisplay.from_ledger(ledger_of(0))
    draw(display)
    (left,) = display.axes_[0].patches
    assert (left.get_x(), left.get_width()) == (0.0, 5.0)


def test_seeded_noise_has_no_limit():
    ledger = ledger_of(1, epsilon=math.inf)
    ledger.debit("Seeded", Releases(), neighboring="add_remove", seeded=True)
    display = PrivacyBudgetDisplay.from_ledger(ledger)
    draw(display)
    entries, curve = display.axes_
    assert np.isinf(display.epsilons).tolist() == [False, True]
    assert [bool(patch.get_hatch()) for patch in entries.patches[2:]] == [False, True]
    assert "no limit: seeded noise" in texts(entries)
    assert texts(curve) == ["spent: no limit"]


def test_errors_that_take_all_of_delta_leave_no_limit():
    display = PrivacyBudgetDisplay.from_ledger(
        ledger_of(2, epsilon=math.inf, error_probability=6e-6)
    )
    draw(display)
    assert np.isinf(display.epsilons).tolist() == [False, True]
    deltas, _ = line(display.axes_[1], "spent")
    assert deltas.min() > 1.2e-5


def test_many_entries_stay_readable():
    display = PrivacyBudgetDisplay.from_ledger(ledger_of(70, epsilon=50.0))
    draw(display)
    labels = display.axes_[0].get_yticklabels()
    assert 10 < len(labels) <= 25
    assert labels[0].get_text().startswith("left for one more fit")


def test_names_are_not_read_as_formulas():
    draw(PrivacyBudgetDisplay.from_ledger(ledger_of(1, dataset="$x^{")))


# Accuracy against epsilon.


@pytest.fixture(scope="module")
def public():
    return make_rows(make())


def test_scores_are_those_of_simulated_fits_with_fresh_noise(public):
    ledger = PrivacyLedger(epsilon=1.0, delta=1e-5)
    model = EncryptedDPLogisticRegression(
        degree=3, max_iter=3, backend="tenseal", random_state=0, ledger=ledger
    )
    before = {k: v for k, v in model.get_params().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        display = TradeoffDisplay.from_estimator(
            model, *public, epsilons=(0.05, 90), n_repeats=8, baseline=LogisticRegression()
        )
    draw(display)
    assert model.get_params() == before
    assert not ledger.entries()
    assert display.scores.shape == (2, 8)
    assert display.baseline_scores.shape == (8,)
    assert display.scores[1].mean() > display.scores[0].mean()
    x, y = display.errorbar_.lines[0].get_data()
    np.testing.assert_array_equal(x, [0.05, 90])
    np.testing.assert_array_equal(y, display.scores.mean(axis=1))
    (bars,) = display.errorbar_.lines[2]
    lengths = [np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments()]
    np.testing.assert_allclose(lengths, display.scores.std(axis=1))
    assert display.ax_.get_ylabel() == "accuracy"
    assert "public data" in display.ax_.get_title()


def test_repeats_of_given_splits_differ_by_their_noise(public):
    model = make_pipeline(FunctionTransformer(), EncryptedDPLogisticRegression(**SHORT))
    display = TradeoffDisplay.from_estimator(
        model, *public, epsilons=[0.05], cv=2, n_repeats=3, scoring="roc_auc"
    )
    assert display.scores.shape == (1, 6)
    assert len(set(display.scores[0, ::2])) > 1
    assert display.ax_.get_ylabel() == "roc auc"


def test_no_part_of_a_simulated_pipeline_pays_or_is_seeded(public):
    ledger = PrivacyLedger(epsilon=3.0, delta=1e-5)
    scaler = DPStandardScaler(epsilon=0.2, ledger=ledger, random_state=0)
    model = make_pipeline(scaler, EncryptedDPLogisticRegression(**SHORT, ledger=ledger))
    how = {"epsilons": [1, 2], "n_repeats": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("error", SeededNoiseWarning)
        # Unseeded noise on the scales can make rows long.
        warnings.simplefilter("ignore", PrivacyLeakWarning)
        TradeoffDisplay.from_estimator(model, *public, **how)
        inside = GridSearchCV(model, {}, cv=2)
        TradeoffDisplay.from_estimator(inside, *public, **how)
    assert not ledger.entries()
    assert (scaler.ledger, scaler.random_state) == (ledger, 0)


def test_a_scorer_is_named(public):
    model = EncryptedDPLogisticRegression(**SHORT)
    display = TradeoffDisplay.from_estimator(
        model, *public, epsilons=[1], n_repeats=1, scoring=make_scorer(recall_score)
    )
    assert display.ax_.get_ylabel() == "score"


def test_a_model_without_privacy_has_no_tradeoff(public):
    with pytest.raises(TypeError, match="without a parameter 'backend'"):
        TradeoffDisplay.from_estimator(LogisticRegression(), *public)


def test_the_tradeoff_says_that_data_must_be_public():
    for text in (TradeoffDisplay.__doc__, TradeoffDisplay.from_estimator.__doc__):
        assert "public" in text
        assert "protect" in text


# All of them.


def test_given_axes_are_used(fitted):
    _, given = plt.subplots(2, 4)
    assert list(TrainingDisplay.from_estimator(fitted, ax=given[0]).axes_) == list(given[0])
    display = ApproximationDisplay.from_estimator(fitted, ax=given[1, :2])
    assert display.figure_ is given[0, 0].figure
    alone = TradeoffDisplay([1, 2], [[0.5, 0.6], [0.7, 0.8]]).plot(given[1, 2])
    assert alone.ax_ is given[1, 2]
    assert len(plt.get_fignums()) == 1
    with pytest.raises(ValueError, match=r"draws 4 panels.*got 2"):
        TrainingDisplay.from_estimator(fitted, ax=given[1, :2])


def test_without_matplotlib_the_extra_is_named(fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for make_display in (
        lambda: ApproximationDisplay.from_plan(fitted.plan_),
        lambda: TrainingDisplay.from_estimator(fitted),
        lambda: PrivacyBudgetDisplay.from_ledger(ledger_of(1)),
        lambda: TradeoffDisplay([1], [[0.5]]).plot(),
    ):
        with pytest.raises(ImportError, match=r"Display needs .*pip install skfhe\[viz\]"):
            make_display()
    # Before the first fit: nothing of this is ever read.
    with pytest.raises(ImportError, match=r"TradeoffDisplay needs"):
        TradeoffDisplay.from_estimator(None, None, None)


def test_displays_hold_what_was_released_and_nothing_else(fitted):
    assert set(vars(TrainingDisplay(fitted.history_, fitted.plan_))) == {"history", "plan"}
    assert set(fitted.history_) == {
        *("gradient_norm", "weight_norm", "interval", "contribution", "split"),
        *("step_seconds", "phase_seconds", "bytes"),
    }
