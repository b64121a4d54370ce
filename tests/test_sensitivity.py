"""One row's influence: no row exceeds its bound, the bound is nearly attained, also encrypted."""

import math

import numpy as np
import pytest
from helpers import exact_coefficients, gather, layout_of, make, make_rows, random_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from skfhe import PolynomialApproximation
from skfhe.privacy.sensitivity import (
    contribution_bound,
    contribution_table,
    least_contributions,
    reach,
    row_norm,
)

KINDS = ["minimax", "least_squares", "monotone"]
B = 0.25
ROUNDING = 1 + 1e-12


def approximation(degree, radius, kind):
    """On one of few intervals, since fits take time; the next larger one is as valid."""
    return PolynomialApproximation.fit(degree, float(2.0 ** math.ceil(math.log2(radius))), kind)


def contributions(p, weights, x, b, shares=(0.0, 0.5, 1.0)):
    """Norm of every row's contribution, for each true class; shape (rows, classes).

    With one output the largest for intercept entries that are so much of b.
    """
    k = weights.shape[1]
    targets = np.array([[0.0], [1.0]]) if k == 1 else np.eye(k)
    found = []
    for share in shares if k == 1 and b else (1.0,):
        rows = np.hstack([x, np.full((len(x), 1), share * b)]) if b else x
        residual = np.linalg.norm(p(rows @ weights)[:, None, :] - targets, axis=2)
        found.append(residual * np.linalg.norm(rows, axis=1)[:, None])
    return np.max(found, axis=0)


def adversarial_rows(weights, b, rng):
    """Rows of norm one where contributions are large: along weights, corners, singular vectors."""
    body = weights[:-1] if b else weights
    d = len(body)
    unit = body / np.maximum(np.linalg.norm(body, axis=0), 1e-300)
    differences = (body[:, :1] - body).T
    _, _, right = np.linalg.svd(body.T, full_matrices=False)
    candidates = np.vstack([
        unit.T, np.eye(d), rng.choice([-1.0, 1.0], (20, d)), rng.normal(size=(50, d)),
        differences, right, rng.choice([-1.0, 0.0, 1.0], (20, weights.shape[1])) @ unit.T,
    ])  # fmt: skip
    norms = np.linalg.norm(candidates, axis=1, keepdims=True)
    candidates = candidates / np.where(norms > 1e-12, norms, np.inf)
    inside = candidates * rng.random((len(candidates), 1))
    return np.vstack([candidates, -candidates, inside, np.zeros((1, d))])


def draw_weights(data, rng, k, d, b):
    largest = data.draw(st.sampled_from([0.0, 1e-3, 0.5, 3.0, 12.0]) | st.floats(0, 20))
    shape = data.draw(
        st.sampled_from(["random", "intercept", "aligned", "opposite", "one", "sparse"])
    )
    w = rng.normal(size=(d + (b != 0), k))
    if shape == "intercept":
        w[:-1] *= 0.01
    elif shape in ("aligned", "opposite"):
        w = np.repeat(w[:, :1], k, axis=1)
        w[:, 0] *= -1 if shape == "opposite" else 1
    elif shape == "one":
        w[:, 1:] = 0
    elif shape == "sparse":
        w[rng.random(w.shape) < 0.7] = 0
    norms = np.linalg.norm(w, axis=0)
    w *= largest / np.maximum(norms, 1e-12)
    if b and data.draw(st.booleans()):
        w[-1] -= math.log(max(k - 1, 1)) / b
    return w


@settings(max_examples=400, deadline=None)
@given(
    st.data(),
    st.sampled_from([1, 3, 10]),
    st.sampled_from(range(1, 16, 2)),
    st.sampled_from(KINDS),
    st.sampled_from([0.0, B, 1.0]),
    st.integers(1, 12),
    st.integers(0, 2**32),
)
def test_no_row_exceeds_the_bound(data, k, degree, kind, b, d, seed):
    """The search for a violation; K = 2 has one output."""
    rng = np.random.default_rng(seed)
    weights = draw_weights(data, rng, k, d, b)
    p = approximation(degree, max(1.0, reach(weights, b, 0.0)), kind)
    bound = contribution_bound(p, weights, b, 0.0)
    found = contributions(p, weights, adversarial_rows(weights, b, rng), b)
    assert found.max() <= bound * ROUNDING


@settings(max_examples=25, deadline=None)
@given(
    st.data(),
    st.sampled_from([1, 3, 10]),
    st.sampled_from([1, 3, 5, 7, 15]),
    st.sampled_from(KINDS),
    st.integers(0, 2**32),
)
def test_no_climb_exceeds_the_bound(data, k, degree, kind, seed):
    """The same with an optimiser in the place of luck."""
    rng = np.random.default_rng(seed)
    weights = draw_weights(data, rng, k, 3, B)
    p = approximation(degree, max(1.0, reach(weights, B, 0.0)), kind)
    assert climb(p, weights, rng, 6) <= contribution_bound(p, weights, B, 0.0) * ROUNDING


def climb(p, weights, rng, starts):
    """The largest contribution that local search finds over the ball of rows."""

    def rows(v):
        return (v / max(1.0, np.linalg.norm(v)))[None]

    first = adversarial_rows(weights, B, rng)
    order = np.argsort(-contributions(p, weights, first, B).max(axis=1))
    best = 0.0
    for start in first[order[:starts]]:
        result = minimize(lambda v: -contributions(p, weights, rows(v), B).max(), start)
        best = max(best, -float(result.fun))
    return best


@pytest.mark.parametrize("k, least", [(1, 0.9), (3, 0.6), (10, 0.4)])
def test_the_bound_is_nearly_attained(k, least):
    """Not vacuous: some row comes close, at small weights and large ones."""
    rng = np.random.default_rng(0)
    ratios = []
    for norm in (0.1, 1.0, 4.0, 8.0):
        for degree in (3, 7):
            for _ in range(3):
                weights = rng.normal(size=(6, k))
                weights *= norm / np.linalg.norm(weights, axis=0)
                if k > 1:
                    weights[-1] -= math.log(k - 1) / B
                p = approximation(degree, reach(weights, B, 0.0), "minimax")
                reached = climb(p, weights, rng, 4)
                ratios.append(reached / contribution_bound(p, weights, B, 0.0))
    print(f"K={max(k, 2)}: reached {min(ratios):.3f} to {max(ratios):.3f} of the bound")
    assert least <= min(ratios) and max(ratios) <= ROUNDING


@pytest.mark.parametrize("k", [1, 3])
def test_slack_of_margins_is_covered(k):
    """Margins moved by encryption errors stay within the bound that allows for them."""
    rng = np.random.default_rng(1)
    for slack in (1e-3, 0.1, 0.5):
        weights = rng.normal(size=(4, k)) * 2
        p = approximation(5, reach(weights, B, slack), "minimax")
        bound = contribution_bound(p, weights, B, slack)
        assert bound >= contribution_bound(p, weights, B, 0.0)
        x = adversarial_rows(weights, B, rng)
        rows = np.hstack([x, np.full((len(x), 1), B)])
        moved = rows @ weights + slack * rng.choice([-1.0, 1.0], (len(x), k))
        targets = np.array([[0.0], [1.0]]) if k == 1 else np.eye(k)
        residual = np.linalg.norm(p(moved)[:, None, :] - targets, axis=2)
        assert (residual.max(axis=1) * np.linalg.norm(rows, axis=1)).max() <= bound * ROUNDING
        assert np.abs(moved).max() <= reach(weights, B, slack) * ROUNDING


def test_a_zero_row_contributes_nothing():
    """What `add_remove` compares with: also the intercept's column is zero there."""
    plan = make(n=20)
    X, targets = make_rows(plan)
    full = gather(plan, "simulated", data=(X, targets))
    less = gather(plan, "simulated", data=(X[:-1], targets[:-1]))
    weights = random_weights(plan, np.random.default_rng(0))
    difference = full.decrypt(full.at(weights)) - less.decrypt(less.at(weights))
    polynomial, contribution = full.key_holder._certified.indices
    rows = np.append(X[-1] / plan.problem.data_norm, plan.problem.intercept_column)
    p = plan.certificate.polynomials[polynomial]
    exact = (p(rows @ weights) - targets[-1]) * rows[:, None]
    exact = exact_coefficients(
        layout_of(plan), exact / plan.certificate.contributions[contribution]
    )
    np.testing.assert_allclose(
        difference / plan.encryption.output_scale, exact, atol=1e-9 * np.abs(exact).max()
    )


# The declared tables.


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 12), st.sampled_from([0.0, B, 1.0]), st.floats(1.01, 30.0))
def test_the_table_covers_every_bound(classes, b, times):
    k = 1 if classes == 2 else classes
    least = (0.5 if k == 1 else math.sqrt(1 - 1 / k)) * row_norm(b)
    table = contribution_table(k, b, least * times)
    assert table[-1] >= least * times / ROUNDING and table[0] <= least * 1.01 * ROUNDING
    steps = np.divide(table[1:], table[:-1])
    assert np.all(steps > 1) and np.all(steps < 1.011)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([1, 3, 10]), st.integers(0, 2**32))
def test_no_weights_have_less_than_the_tables_least(data, k, seed):
    rng = np.random.default_rng(seed)
    weights = draw_weights(data, rng, k, 4, B)
    p = approximation(3, max(1.0, reach(weights, B, 0.0)), "minimax")
    least = (0.5 if k == 1 else math.sqrt(1 - 1 / k)) * row_norm(B)
    assert contribution_bound(p, weights, B, 0.0) >= least / ROUNDING


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(KINDS), st.integers(0, 2**32))
def test_least_contributions_are_attained_by_some_row(data, kind, seed):
    """Weights that need a polynomial have a row that contributes its least S, or nearly.

    Weights whose margins hardly vary may contribute less at a polynomial that is not monotone,
    so the rows here reach from one side of zero to the other.
    """
    rng = np.random.default_rng(seed)
    polynomials = [PolynomialApproximation.fit(5, 1.5**i, kind) for i in range(8)]
    least = least_contributions(polynomials, B)
    weights = rng.normal(size=(5, 1))
    weights[-1] *= data.draw(st.sampled_from([0.0, 1.0]))
    weights *= 1.5 ** data.draw(st.floats(-1, 6.9)) / reach(weights, B, 0.0)
    index = int(np.searchsorted([p.radius for p in polynomials], reach(weights, B, 0.0)))
    assert least[index] <= contribution_bound(polynomials[index], weights, B, 0.0) * (1 + 1e-9)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_key_holder_never_uses_less_than_the_bound(classes):
    """Indices into the tables, for weights anywhere in the ball, on its boundary too."""
    plan = make(classes=classes, d=12)
    parties = gather(plan, "simulated", data=tuple(a[:5] for a in make_rows(plan)))
    c, rng, b = plan.certificate, np.random.default_rng(0), plan.problem.intercept_column
    for i in range(60):
        weights = random_weights(plan, rng, scale=1.0 if i % 2 else None)
        if i % 3 == 0:  # all of the radius on the intercept, or on one direction
            weights[:-1] = 0
            prior = plan.problem.prior_margin / b
            weights[-1] = prior + plan.optimizer.weight_norm * rng.choice([-1, 1])
        polynomial, contribution = parties.key_holder._course.model.certify(weights).indices
        p = c.polynomials[polynomial]
        assert p.radius >= reach(weights, b, c.margin_slack)
        used = c.contributions[contribution]
        assert used >= contribution_bound(p, weights, b, c.margin_slack) / ROUNDING
        found = contributions(p, weights, adversarial_rows(weights, b, rng), b)
        assert found.max() <= used * ROUNDING


# Neighbouring data sets, with the errors of encryption.


def worst_rows(plan, weights, indices, rng):
    """The row and class of the largest contribution, and those of nearly the opposite one."""
    p, b = plan.certificate.polynomials[indices[0]], plan.problem.intercept_column
    x = adversarial_rows(weights, b, rng)
    norms = contributions(p, weights, x, b, shares=[1.0])
    i, c = np.unravel_index(np.argmax(norms), norms.shape)
    k = weights.shape[1]
    targets = np.array([[0.0], [1.0]]) if k == 1 else np.eye(k)
    rows = np.hstack([x, np.full((len(x), 1), b)])
    each = rows[:, None, :, None] * (p(rows @ weights)[:, None, :] - targets)[:, :, None, :]
    apart = np.linalg.norm(each - each[i, c], axis=(2, 3))
    j, e = np.unravel_index(np.argmax(apart), apart.shape)
    return (x[i], c), (x[j], e)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("neighboring", ["add_remove", "replace_one"])
@pytest.mark.parametrize("degree", [3, 7])
def test_neighbours_differ_by_at_most_the_sensitivity(classes, neighboring, degree):
    """Over all plaintext coefficients, in units of S, at worst-case rows and weights.

    Without errors the exact part comes close to the bound, so it is not met by chance.
    """
    plan = make(n=100, d=6, classes=classes, degree=degree, neighboring=neighboring)
    rng = np.random.default_rng(degree)
    layout, r = layout_of(plan), plan.problem.data_norm
    unit = plan.encryption.output_scale / layout.output_norm
    X, targets = make_rows(plan)
    ratios = []
    for trial in range(6):
        weights = random_weights(plan, rng, scale=[None, 1.0, 0.05][trial % 3])
        probe = gather(plan, "simulated", data=(X[:1], targets[:1]))
        indices = probe.key_holder._course.model.certify(weights).indices
        (x, c), (other, e) = worst_rows(plan, weights, indices, rng)
        first = (np.vstack([X[:-1], x * r]), np.append(targets[:-1], c))
        if neighboring == "add_remove":
            second = (X[:-1], targets[:-1])
        else:
            second = (np.vstack([X[:-1], other * r]), np.append(targets[:-1], e))
        sums = []
        for data in (first, second):
            parties = gather(plan, "simulated", data=data, errors=True)
            sums.append(parties.decrypt(parties.at(weights)))
        ratios.append(np.linalg.norm(sums[0] - sums[1]) / unit / plan.certificate.sensitivity)
    print(f"{neighboring}, K={classes}, degree {degree}: {max(ratios):.4f} of the sensitivity")
    assert max(ratios) <= 1
    assert max(ratios) > (0.9 if classes == 2 and neighboring == "add_remove" else 0.5)
