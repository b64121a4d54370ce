"""Statistics that prepare the training: their sensitivity, attacked, and their exactness."""

import dataclasses
import math

import numpy as np
import pytest
from helpers import assert_sound, make
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from skfhe.exceptions import PlanMismatch
from skfhe.planning import check_plan
from skfhe.privacy.frame import Frame
from skfhe.privacy.statistics import (
    deviation,
    integer_sums,
    largest,
    moments,
    second_moments,
    sensitivity,
)

NAMES = ["moments", "curvature"]
BOTH = {"standardize": True, "precondition": True}


def rows_to_try(plan, frame, rng):
    """Rows at the ends: on axes, in corners of the box, on the bounds, far out, zero, random."""
    d, bound, box = plan.problem.n_features, plan.problem.data_norm, plan.preparation.box
    signs = rng.choice([-1.0, 1.0], (20, d))
    directions = rng.normal(size=(20, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    few = signs * (rng.random((20, d)) < 0.3)
    sphere = frame.centre + directions / frame.scale
    return np.vstack(
        [
            *(size * np.eye(d)[: min(d, 5)] for size in (box, -bound, 1e9)),
            *(size * signs for size in (box, bound, bound / math.sqrt(d), 1e200)),
            *(size * directions for size in (bound, 0.5 * bound)),
            few * box,
            sphere,
            frame.centre + 2 * directions / frame.scale,
            np.zeros((1, d)),
        ]
    )


def some_frame(plan, rng):
    p = plan.problem
    centre = rng.normal(size=p.n_features) * 0.5 * (p.intercept_column != 0)
    scale = np.exp(rng.normal(size=p.n_features))
    return Frame(centre, scale, p.intercept_column, p.shorten_intercept)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.integers(1, 40),
    st.sampled_from([2, 5]),
    st.sampled_from(["add_remove", "replace_one"]),
    st.booleans(),
    st.sampled_from(["auto", 0.01, 1.0, 3.7, 50.0]),
    st.integers(0, 2**32),
)
def test_no_row_moves_a_statistic_beyond_its_sensitivity(
    name, d, classes, neighboring, intercept, data_norm, seed
):
    rng = np.random.default_rng(seed)
    plan = make(
        d=d, classes=classes, neighboring=neighboring, fit_intercept=intercept,
        data_norm=data_norm, **BOTH,
    )  # fmt: skip
    frame = some_frame(plan, rng)
    statistic = plan.preparation.statistics[name]
    rows = rows_to_try(plan, frame, rng)
    parts = np.array([integer_sums(name, plan, frame, row[None]) for row in rows])
    assert np.abs(parts).max() <= largest(name, plan.problem, statistic.grid_bits)
    if neighboring == "add_remove":
        moved = np.linalg.norm(parts.astype(float), axis=1)
    else:
        moved = np.linalg.norm((parts[:, None] - parts[None]).astype(float), axis=-1)
    assert moved.max() <= statistic.sensitivity


@pytest.mark.parametrize("neighboring", ["add_remove", "replace_one"])
@pytest.mark.parametrize("name, least", [("moments", 0.8), ("curvature", 0.99)])
def test_the_sensitivity_is_nearly_attained(name, least, neighboring):
    plan = make(d=9, neighboring=neighboring, **BOTH)
    frame = some_frame(plan, np.random.default_rng(0))
    # Alike in all columns at the row bound, against its opposite; two stored rows at right angles.
    if name == "moments":
        size = min(plan.preparation.box, plan.problem.data_norm / 3)
        few = np.zeros(9)
        few[:4] = plan.preparation.box
        rows = np.array([few, -few, np.full(9, size), np.full(9, -size)])
    else:
        rows = frame.centre + np.eye(9)[:2] / frame.scale
    parts = np.array([integer_sums(name, plan, frame, row[None]) for row in rows]).astype(float)
    moved = np.linalg.norm(parts, axis=1).max()
    if neighboring == "replace_one":
        moved = np.linalg.norm(parts[:, None] - parts[None], axis=-1).max()
    reached = moved / plan.preparation.statistics[name].sensitivity
    print(f"{name}, {neighboring}: {reached:.3f}")
    assert least * (0.8 if neighboring == "replace_one" else 1) <= reached <= 1


@pytest.mark.parametrize("name", NAMES)
def test_sums_are_exact_and_rows_add_up(name):
    """Also beyond the number of rows that is read at once, sparse or dense, in any order."""
    plan = make(n=9000, d=3, **BOTH)
    rng = np.random.default_rng(1)
    frame = some_frame(plan, rng)
    X = rng.normal(size=(9000, 3)) * (rng.random((9000, 3)) < 0.5)
    whole = integer_sums(name, plan, frame, X)
    assert whole.dtype == np.int64
    split = integer_sums(name, plan, frame, X[:17]) + integer_sums(name, plan, frame, X[17:])
    np.testing.assert_array_equal(whole, split)
    np.testing.assert_array_equal(whole, integer_sums(name, plan, frame, sparse.csr_array(X)))
    shuffled = integer_sums(name, plan, frame, rng.permutation(X))
    np.testing.assert_array_equal(whole, shuffled)


def test_values_come_back():
    """Moments and second moments of the rows, up to the grid."""
    plan = make(n=500, d=4, data_norm=1.5, **BOTH)
    rng = np.random.default_rng(2)
    X = rng.uniform(-0.7, 0.7, (500, 4))
    frame = some_frame(plan, rng)
    means, squares = moments(integer_sums("moments", plan, frame, X), plan)
    box = plan.preparation.box
    np.testing.assert_allclose(means, X.mean(axis=0) / box, atol=1e-8)
    np.testing.assert_allclose(squares, (X**2).mean(axis=0) / box**2, atol=1e-8)
    rows = frame.rows(X)
    matrix = second_moments(integer_sums("curvature", plan, frame, X), plan)
    np.testing.assert_allclose(matrix, rows.T @ rows / 500, atol=1e-4)


@pytest.mark.parametrize("n_owners, n_colluding", [(1, 0), (3, 1)])
def test_the_noise_is_as_wide_as_it_says(n_owners, n_colluding):
    """`deviation` is that of a mean over rows, of all owners together."""
    plan = make(n_owners=n_owners, n_colluding=n_colluding, **BOTH)
    excess = plan.guarantee.noise_excess
    for name, unit in (("moments", 1.0), ("curvature", 5.0)):
        statistic = plan.preparation.statistics[name]
        power = statistic.grid_bits * (1 if name == "moments" else 2)
        expected = statistic.noise_units * excess / unit / 2.0**power / plan.problem.n_samples
        assert deviation(name, plan) == pytest.approx(expected)


@pytest.mark.parametrize("epsilon", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("n, d", [(20, 1), (300, 30), (40_000, 60)])
@pytest.mark.parametrize("n_owners", [1, 3])
def test_plans_with_statistics_are_sound(epsilon, n, d, n_owners):
    plan = make(n=n, d=d, epsilon=epsilon, n_owners=n_owners, **BOTH)
    assert_sound(plan)
    for name, statistic in plan.preparation.statistics.items():
        share = 1 / statistic.noise_multiplier**2 / plan.squared_mu
        assert share == pytest.approx(0.1, rel=0.05)
        spread = 12 * statistic.noise_units * plan.guarantee.noise_excess
        total = spread + n * largest(name, plan.problem, statistic.grid_bits)
        assert total < 2**47, "exact in floating point, and in the encoder"
        assert 2 * total < math.prod(plan.encryption.primes[:2])


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": 1e9},
        {"noise_units": 10},
        {"sensitivity": 1.0},
        {"sensitivity": math.nan},
        {"grid_bits": 39},
        {"length": 1},
        {"noise_multiplier": math.nan},
        {"noise_multiplier": -1.0},
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_forged_statistics_are_refused(name, change):
    plan = make(**BOTH)
    forged = dataclasses.replace(plan.preparation.statistics[name], **change)
    preparation = dataclasses.replace(plan.preparation, **{name: forged})
    with pytest.raises(PlanMismatch):
        check_plan(dataclasses.replace(plan, preparation=preparation))


@pytest.mark.parametrize("name, bits, n", [("moments", 40, 60_000), ("curvature", 23, 26_500)])
def test_sums_that_would_not_be_exact_are_refused(name, bits, n):
    """Beyond 2^53 they round, beyond 2^63 they wrap; noise that fits the grid does not help."""
    plan = make(n=n, d=4, **BOTH)
    one = plan.preparation.statistics[name]
    scale = 2 ** ((bits - one.grid_bits) * (1 if name == "moments" else 2))
    forged = dataclasses.replace(
        one,
        grid_bits=bits,
        sensitivity=one.sensitivity * scale,
        noise_units=int(one.noise_units * scale) + 1,
    )
    preparation = dataclasses.replace(plan.preparation, **{name: forged})
    with pytest.raises(PlanMismatch, match="fit a ciphertext"):
        check_plan(dataclasses.replace(plan, preparation=preparation))


@pytest.mark.parametrize(
    "n, d, n_owners, n_colluding, epsilon",
    [(1_000_000, 100, 2, 0, 10.0), (300_000, 300, 3, 1, 30.0)],
)
def test_statistics_tell_little_about_the_key(n, d, n_owners, n_colluding, epsilon):
    """Also where rows are many and noise is small; together with the steps below the limit."""
    plan = make(
        n=n, d=d, n_owners=n_owners, n_colluding=n_colluding, epsilon=epsilon, degree=1, **BOTH
    )
    assert plan.guarantee.flooding <= 2.0**-20


def test_rows_raise_nothing_that_depends_on_them():
    """Underflow, overflow and sparse entries that add up to infinity, errors switched on."""
    plan = make(n=10, d=3, **BOTH)
    frame = some_frame(plan, np.random.default_rng(5))
    wild = np.array(
        [[1e-170, 0, 0], [1e308, -1e308, 1.0], [5e-324, 1e-308, 0], [1e200, -3e160, 0]]
    )
    doubled = sparse.csr_array(([1e308, 1e308], ([0, 0], [1, 1])), shape=(1, 3))
    with np.errstate(all="raise"):
        for name in NAMES:
            bound = plan.preparation.statistics[name].sensitivity
            for rows in (wild[:1], wild[1:2], wild[2:3], wild[3:], doubled):
                values = integer_sums(name, plan, frame, rows)
                assert np.linalg.norm(values.astype(float)) <= bound


@pytest.mark.parametrize("box", [0.0, -1.0, math.nan, 1e9])
def test_an_impossible_box_is_refused(box):
    plan = make(**BOTH)
    preparation = dataclasses.replace(plan.preparation, box=box)
    with pytest.raises(PlanMismatch):
        check_plan(dataclasses.replace(plan, preparation=preparation))


def test_a_smaller_box_costs_more():
    """Relative to a box that shrinks, rows of one norm are longer."""
    problem = make(d=16, data_norm=4.0, **BOTH).problem
    bounds = [sensitivity("moments", problem, box, 10, "add_remove") for box in (4.0, 2.0, 0.5)]
    assert bounds == sorted(bounds)


def test_without_statistics_there_is_nothing_of_them():
    plan = make()
    assert not plan.preparation.statistics
    assert plan.guarantee.n_releases == plan.optimizer.max_iter
