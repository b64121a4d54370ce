"""The network's steps: where they start, what they stay within, where they lead, who sees them."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from helpers import owners_of, scheme_of, split
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.datasets import make_circles
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline

import skfhe
from skfhe import EncryptedDPLogisticRegression, EncryptedDPMLPClassifier, PrivacyLedger
from skfhe.privacy.frame import Frame
from skfhe.privacy.statistics import integer_sums
from skfhe.protocol import network_optimizer
from skfhe.protocol.discriminant import Discriminant
from skfhe.protocol.models import model_of
from skfhe.protocol.network_start import NetworkGradient


def network(**parameters):
    defaults = {"epsilon": 20.0, "hidden_layer_sizes": 4, "max_iter": 4, "backend": "simulated"}
    return EncryptedDPMLPClassifier(**{**defaults, **parameters})


@lru_cache(maxsize=64)
def make(classes=2, n=400, d=3, **parameters):
    return network(**{"solver": "steps", **parameters}).plan(n, d, classes)


def make_rows(plan, seed=0):
    """Stored rows, and classes that depend on them."""
    p, rng = plan.problem, np.random.default_rng(seed)
    v = rng.normal(size=(p.n_samples, p.n_features)) + 0.3
    y = v.argmax(axis=1) % p.n_classes if p.n_outputs > 1 else (v[:, 0] > v[:, 1]).astype(int)
    v /= np.maximum(1, np.linalg.norm(v, axis=1, keepdims=True))
    return np.hstack([v, np.full((len(v), 1), p.intercept_column)]), y


def curvature_of(plan, rows):
    """The sums of the second moments, without noise."""
    d, b = plan.problem.n_features, plan.problem.intercept_column
    frame = Frame(np.zeros(d), np.ones(d), b, False)
    return integer_sums("curvature", plan, frame, rows[:, :-1]).astype(float)


def optimizer_of(plan, rows=None):
    d, b = plan.problem.n_features, plan.problem.intercept_column
    frame = Frame(np.zeros(d), np.ones(d), b, False)
    curvature = None if rows is None else curvature_of(plan, rows)
    return model_of(plan).optimizer(frame, curvature)


def margins(plan, point, rows):
    values = plan.certificate.activation(rows @ point.hidden)
    return np.hstack([values, rows[:, -1:]]) @ point.output


def one_hot(plan, y):
    return y[:, None] == (1 if plan.problem.n_outputs == 1 else np.arange(plan.problem.n_classes))


def exact(plan, point, rows, y, noise=0.0):
    """The gradient sum with the true sigmoid."""
    activation, z = plan.certificate.activation, rows @ point.hidden
    e = expit(margins(plan, point, rows)) - one_hot(plan, y)
    values = np.hstack([activation(z), rows[:, -1:]])
    hidden = rows.T @ (activation.derivative(z) * (e @ point.output[:-1].T))
    return NetworkGradient(hidden, values.T @ e, noise, noise)


def loss(plan, point, rows, y):
    signed = margins(plan, point, rows) * (1 - 2 * one_hot(plan, y))
    return float(np.logaddexp(0, signed).sum(axis=1).mean())


def assert_within(plan, point):
    b = plan.problem.intercept_column
    reach = np.linalg.norm(point.hidden[:-1], axis=0) + b * np.abs(point.hidden[-1])
    assert np.all(reach <= plan.network.hidden_reach * (1 + 1e-12))
    moved = point.output.copy()
    moved[-1] -= plan.problem.prior_margin / b
    assert np.all(np.linalg.norm(moved, axis=0) <= plan.optimizer.weight_norm * (1 + 1e-12))


# The start.


@pytest.mark.parametrize(("classes", "units"), [(2, 4), (2, 16), (3, 6), (5, 16)])
def test_every_row_starts_at_the_prior(classes, units):
    """Units come in pairs that cancel, whatever the row; and yet they are no zeros."""
    plan = make(classes, hidden_layer_sizes=units, epsilon=50.0, n=3000)
    rows, _ = make_rows(plan)
    point = optimizer_of(plan, rows).point
    np.testing.assert_allclose(margins(plan, point, rows), plan.problem.prior_margin, atol=1e-12)
    np.testing.assert_array_equal(point.hidden[:, ::2], point.hidden[:, 1::2])
    assert len(np.unique(point.hidden[0])) == units // 2
    body = point.output[:-1] / plan.network.start_norm
    np.testing.assert_allclose(body.T @ body, np.eye(body.shape[1]), atol=1e-9)
    assert_within(plan, point)
    alone = make(3, hidden_layer_sizes=4)  # too few units for pairs of every output
    assert not optimizer_of(alone, make_rows(alone)[0]).point.hidden.any()


def test_a_start_follows_from_what_is_public():
    """From the seed and the released moments: the outputs' from the seed alone."""
    plan = make(epsilon=50.0, n=3000)
    rows, _ = make_rows(plan)
    one, same = optimizer_of(plan, rows).point, optimizer_of(plan, rows).point
    np.testing.assert_array_equal(one.hidden, same.hidden)
    other = optimizer_of(plan, make_rows(plan, seed=1)[0] * [0.1, 1, 1, 1]).point
    np.testing.assert_array_equal(one.output, other.output)
    assert not np.allclose(one.hidden, other.hidden)
    reseeded = replace(plan, network=replace(plan.network, seed=1))
    assert not np.allclose(optimizer_of(reseeded, rows).point.hidden, one.hidden)
    spread = np.std(rows @ one.hidden, axis=0)
    assert 0.2 * plan.network.start_spread < spread.mean() < 2 * plan.network.start_spread


# The steps.


@pytest.mark.parametrize("solver", ["steps", "adam"])
@pytest.mark.parametrize("classes", [2, 4])
@given(seed=st.integers(0, 2**32 - 1), sizes=st.tuples(*[st.floats(-12, 100)] * 2))
@settings(max_examples=25, deadline=None)
def test_wild_gradients_lead_to_no_point_outside(solver, classes, seed, sizes):
    """Neither the iterates nor the points ahead of them, where gradients are certified."""
    plan = make(classes, solver=solver, hidden_reach=2.0, weight_norm=3.0)
    rng, optimizer = np.random.default_rng(seed), optimizer_of(plan, make_rows(plan)[0])
    for _ in range(plan.optimizer.max_iter):
        shapes = optimizer.point.hidden.shape, optimizer.point.output.shape
        wild = [
            10.0**size * rng.standard_cauchy(shape)
            for size, shape in zip(sizes, shapes, strict=True)
        ]
        optimizer.update(NetworkGradient(*wild, 1.0, 1.0))
        assert_within(plan, optimizer.point)
        assert_within(plan, optimizer._tail[-1] if optimizer._tail else optimizer.point)
    assert_within(plan, optimizer.result())


@pytest.mark.parametrize("solver", ["steps", "adam"])
@pytest.mark.parametrize(("classes", "activation"), [(2, "tanh"), (3, "tanh"), (2, "relu")])
def test_exact_gradients_lead_downhill(solver, classes, activation):
    degree = 3 if activation == "tanh" else 2
    chosen = {"activation": activation, "degree": degree, "hidden_layer_sizes": 8}
    plan = make(classes, solver=solver, max_iter=12, n=3000, epsilon=50.0, **chosen)
    rows, y = make_rows(plan)
    optimizer = optimizer_of(plan, rows)
    losses = [loss(plan, optimizer.point, rows, y)]
    for _ in range(12):
        optimizer.update(exact(plan, optimizer.point, rows, y, noise=1e-3))
        losses.append(loss(plan, optimizer.point, rows, y))
    assert losses[1] < losses[0] and losses[-1] < 0.75 * losses[0]
    assert loss(plan, optimizer.result(), rows, y) < 0.75 * losses[0]


@pytest.mark.parametrize(("averaging", "last"), [(0.5, 3), (1.0, 6), (1e-9, 1), (0.34, 2)])
def test_the_result_is_the_mean_of_the_last_iterates(averaging, last):
    plan = make(averaging=averaging, max_iter=6)
    rows, y = make_rows(plan)
    optimizer, seen = optimizer_of(plan, rows), []
    for _ in range(6):
        optimizer.update(exact(plan, optimizer.point, rows, y))
        seen.append(optimizer._weights)
    for layer in ("hidden", "output"):
        mean = np.mean([getattr(one, layer) for one in seen[-last:]], axis=0)
        np.testing.assert_allclose(getattr(optimizer.result(), layer), mean, rtol=1e-12)


def test_momentum_looks_ahead():
    plan, reached = make(), []
    rows, y = make_rows(plan)
    for momentum in (0.0, 0.5):
        optimizer = optimizer_of(make(momentum=momentum))
        start = optimizer.point
        full = exact(plan, start, rows, y)
        optimizer.update(NetworkGradient(1e-3 * full.hidden, 1e-3 * full.output, 1.0, 1.0))
        reached.append(optimizer.point)
    for layer in ("hidden", "output"):
        begun, still, ahead = (getattr(one, layer) for one in (start, *reached))
        assert np.abs(still - begun).max() > 1e-6
        np.testing.assert_allclose(ahead, still + 0.5 * (still - begun), atol=1e-12)


def test_alpha_shrinks_weights():
    found = {}
    for alpha in (0.0, 5.0):
        plan = make(alpha=alpha, n=3000, epsilon=50.0)
        optimizer = optimizer_of(plan, make_rows(plan)[0])
        start = optimizer.point
        zero = 0 * start.hidden, 0 * start.output
        optimizer.update(NetworkGradient(*zero, 10.0, 10.0))
        found[alpha] = optimizer.point
    np.testing.assert_array_equal(found[0.0].hidden, start.hidden)
    np.testing.assert_array_equal(found[0.0].output, start.output)
    for layer in ("hidden", "output"):
        new, old = (np.linalg.norm(getattr(p, layer)[:-1]) for p in (found[5.0], start))
        assert 0.3 * old < new < 0.999 * old, layer
    np.testing.assert_allclose(found[5.0].output[-1], 0, atol=1e-12, err_msg="exempt")


def test_a_network_learns_circles_that_no_line_divides():
    X, y = make_circles(5000, noise=0.1, factor=0.5, random_state=0)
    chosen = {"epsilon": 3.0, "backend": "simulated", "random_state": 0}
    linear = EncryptedDPLogisticRegression(**chosen).fit(X / 1.5, y)
    model = EncryptedDPMLPClassifier(**chosen).fit(X / 1.5, y)
    assert model.score(X / 1.5, y) > 0.9 > 0.6 > linear.score(X / 1.5, y)


# The discriminant.


@pytest.mark.parametrize(("activation", "degree"), [("tanh", 3), ("logistic", 3), ("softplus", 2)])
@pytest.mark.parametrize("units", [3, 4, 16])
def test_the_discriminant_is_the_linear_one_as_margins_shrink(
    monkeypatch, activation, degree, units
):
    chosen = {"activation": activation, "degree": degree, "hidden_layer_sizes": units}
    plan = make(3, solver="discriminant", max_iter="auto", n=2000, **chosen)
    rows, y = make_rows(plan)
    curvature, errors = curvature_of(plan, rows), []
    linear = Discriminant(plan, curvature)
    e = expit(plan.problem.prior_margin) - one_hot(plan, y)
    linear.update(rows.T @ e, 0.0)
    expected = rows @ linear.result()
    expected -= expected.mean(axis=1, keepdims=True)
    assert np.mean(expected.argmax(axis=1) == y) > 0.8
    for straight in (network_optimizer._STRAIGHT, 1e-2, 1e-4):
        monkeypatch.setattr(network_optimizer, "_STRAIGHT", straight)
        optimizer = network_optimizer.NetworkDiscriminant(plan, curvature)
        np.testing.assert_allclose(
            margins(plan, optimizer.point, rows), plan.problem.prior_margin, atol=1e-12
        )
        gradient = exact(plan, optimizer.point, rows, y)
        optimizer.update(replace(gradient, hidden_noise=0.0))
        found = margins(plan, optimizer.result(), rows)
        errors.append(np.abs(found - expected).max() / np.abs(expected).max())
    assert np.mean(found.argmax(axis=1) == expected.argmax(axis=1)) > 0.999
    assert errors[0] < 0.2 and errors[1] < errors[0] / 8 and errors[2] < errors[1] / 8


# Among parties, reports and displays.


def public():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (400, 3))
    return X, (X @ [1, 1, -0.5] > 0).astype(int)


@pytest.mark.parametrize("backend", ["simulated", pytest.param("tenseal", marks=pytest.mark.slow)])
def test_two_owners_train_together(backend):
    (X, y), ledger = public(), PrivacyLedger(epsilon=3.0, delta=1e-5)
    model = network(hidden_layer_sizes=2, epsilon=2.9, max_iter=2)
    assert EncryptedDPMLPClassifier().plan(1000, 5, n_owners=2).problem.hidden_units == 16
    plan = model.plan(400, 3, n_owners=2, n_colluding=1)
    assert not plan.encryption.symmetric and plan.guarantee.flooding <= 2.0**-20
    key_holder = skfhe.KeyHolder(plan, scheme_of(plan, backend), ledger=ledger)
    evaluator = skfhe.Evaluator(plan, key_holder.evaluation_keys(), key_holder.scheme)
    owned = list(zip(owners_of(key_holder), split(400, 2), strict=True))
    shares = [owner.statistic("moments", X[part]) for owner, part in owned]
    key_holder.prepare(evaluator.aggregate("moments", shares))
    for owner, _ in owned:
        owner.adopt(key_holder.frame())
    dataset = skfhe.EncryptedDataset.concat(*(owner.dataset(X[p], y[p]) for owner, p in owned))
    model.fit_encrypted(dataset, key_holder, classes=["ill", "well"])
    assert model.plan_ is plan and model.privacy_.epsilon == 2.9
    assert model.score(X, np.array(["ill", "well"])[y]) > 0.7
    assert ledger.entries()[0].n_releases == model.privacy_.n_releases == 4


def test_reports_and_private_scores():
    (X, y), ledger = public(), PrivacyLedger(epsilon=3.0, delta=1e-5)
    model = network(epsilon=0.3, max_iter=1, data_norm=1.5, classes=[0, 1], ledger=ledger)
    pipeline = make_pipeline(
        skfhe.DPStandardScaler(0.1, ledger=ledger), skfhe.RowNormClipper(1.5), model
    )
    page = " ".join(str(skfhe.privacy_report(pipeline, *X.shape)).split())
    assert "1 400 0.3 1e-05 add_remove EncryptedDPMLPClassifier" in page
    search = GridSearchCV(
        pipeline, {"encrypteddpmlpclassifier__activation": ["tanh", "logistic"]},
        cv=KFold(2, shuffle=True), scoring=skfhe.private_scorer(0.2, ledger), refit=False,
    )  # fmt: skip
    assert (
        "Not covered" not in str(skfhe.privacy_report(search, *X.shape)) and not ledger.entries()
    )
    search.fit(X, y)
    found = [entry.mechanism for entry in ledger.entries()]
    assert found.count("EncryptedDPMLPClassifier") == found.count("private_scorer") == 4


def test_displays_of_a_network():
    pytest.importorskip("matplotlib").use("Agg")
    plt = pytest.importorskip("matplotlib.pyplot")
    (X, y), ledger = public(), PrivacyLedger(epsilon=30.0, delta=1e-5)
    model = network(ledger=ledger).fit(X, y)
    drawn = skfhe.TrainingDisplay.from_estimator(model)
    norms = drawn.axes_[0].lines[0].get_ydata()
    np.testing.assert_array_equal(norms, model.history_["gradient_norm"])
    sigmoid = skfhe.ApproximationDisplay.from_estimator(model)
    assert sigmoid.approximation in model.plan_.certificate.polynomials
    assert sigmoid.approximation.radius == max(model.history_["interval"])
    budget = skfhe.PrivacyBudgetDisplay.from_ledger(ledger)
    assert budget.epsilons[0] == pytest.approx(ledger.spent().epsilon, rel=5e-3)
    scores = skfhe.TradeoffDisplay.from_estimator(
        model, X, y, epsilons=(0.01, 50), n_repeats=2, baseline=LogisticRegression()
    ).scores
    assert scores.shape == (2, 2) and scores[1].mean() > scores[0].mean() + 0.1
    assert len(ledger.entries()) == 1
    for display in (drawn, sigmoid, budget):
        display.figure_.canvas.draw()
    plt.close("all")


def test_noise_alone_has_the_norm_that_is_drawn():
    squares = []
    for _ in range(5):
        model = network(epsilon=0.02).fit(*public())
        display = skfhe.TrainingDisplay(model.history_, model.plan_)
        squares += list((display.history["gradient_norm"] / display.noise_norm) ** 2)
    assert abs(np.mean(squares) - 1) < 0.3


def test_the_linear_bound_is_for_linear_plans():
    with pytest.raises(ValueError, match="network"):
        make(d=1001, momentum=0.0).convergence(0.1)


def test_a_key_holder_for_another_kind_of_model_is_refused():
    (X, y), ledger = public(), PrivacyLedger(epsilon=3.0, delta=1e-5)
    plan = EncryptedDPLogisticRegression(standardize=False).plan(*X.shape)
    key_holder = skfhe.KeyHolder(plan, scheme_of(plan, "simulated"), ledger=ledger)
    (owner,) = owners_of(key_holder)
    with pytest.raises(skfhe.PlanMismatch, match="linear model"):
        network().fit_encrypted(owner.dataset(X, y), key_holder)
    assert not key_holder.releases.spent
