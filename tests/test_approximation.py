"""Every fact of an approximation is attacked on points it was not computed from."""

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev
from scipy.special import expit

from skfhe.approximation import PolynomialApproximation

DEGREES = range(1, 16, 2)
KINDS = ("minimax", "least_squares", "monotone")
RADII = (0.25, 1.0, 5.0, 12.0, 40.0)
FACTS = ("sup_error", "max_abs", "min_derivative", "max_derivative")
# Denser towards the ends and zero, with no point in common with the grid that proves the facts.
DENSE = np.unique(np.r_[np.linspace(-1, 1, 20_011), np.sin(np.linspace(-1.57, 1.57, 10_007)), 1])

fit = PolynomialApproximation.fit
degrees, kinds = st.sampled_from(DEGREES), st.sampled_from(KINDS)
radii = st.floats(1e-3, 1000.0)
unit = st.floats(-1.0, 1.0)


@pytest.mark.parametrize(
    ("kind", "figures", "tolerance"),
    [
        ("least_squares", (0.0230, 0.0502, 0.0955, 0.1439), 5e-5),
        ("minimax", (0.0126, 0.0334, 0.0721, 0.1069), 5e-5),
        ("monotone", (0.0280, 0.0823, 0.1465, 0.1912), 3e-4),
    ],
)
def test_degree_seven_has_the_published_errors(kind, figures, tolerance):
    for radius, figure in zip((7, 10, 15, 20), figures, strict=True):
        assert fit(7, radius, kind).sup_error == pytest.approx(figure, abs=tolerance)


@pytest.mark.parametrize(
    ("kind", "slopes"),
    [
        ("least_squares", (-0.1264, -0.1893, -0.2066, -0.1881)),
        ("minimax", (-0.1094, -0.1931, -0.2653, -0.2881)),
    ],
)
def test_plain_fits_turn_downwards(kind, slopes):
    # Per unit of z; checked here against differences, so that the unit is not a convention.
    for radius, slope in zip((7, 10, 15, 20), slopes, strict=True):
        p = fit(7, radius, kind)
        assert p.min_derivative == pytest.approx(slope, abs=5e-5)
        z = radius * DENSE
        assert np.min(np.diff(p(z)) / np.diff(z)) == pytest.approx(slope, abs=1e-3)
        assert not p.monotone


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("degree", DEGREES)
def test_facts_hold_and_are_tight(degree, kind, radius):
    p = fit(degree, radius, kind)
    z = radius * DENSE
    error, value, slope = np.abs(p(z) - expit(z)).max(), p(z), p.derivative(z)
    assert error <= p.sup_error <= error * (1 + 1e-4) + 3e-12
    assert np.abs(value).max() <= p.max_abs <= np.abs(value).max() + 1e-6
    assert p.min_derivative <= slope.min() <= p.min_derivative + 1e-5
    assert p.max_derivative - 1e-5 <= slope.max() <= p.max_derivative
    np.testing.assert_allclose(value + p(-z), 1, rtol=0, atol=1e-14)
    if kind == "monotone":
        assert p.monotone
        assert p.min_derivative >= 0
        assert np.diff(p(np.sort(z))).min() >= -1e-14
    assert p.depth == math.ceil(math.log2(degree + 1))


@settings(max_examples=100, deadline=None)
@given(degrees, radii, kinds, st.lists(unit, min_size=1, max_size=30))
def test_facts_hold_at_any_point_of_any_fit(degree, radius, kind, points):
    p = fit(degree, radius, kind)
    z = radius * np.array(points)
    assert np.all(np.abs(p(z) - expit(z)) <= p.sup_error)
    assert np.all(np.abs(p(z)) <= p.max_abs)
    assert np.all(np.abs(p(z)[:, None] - [0, 1]) <= p.residual_bound())
    assert np.all(p.derivative(z) >= p.min_derivative)
    assert np.all(p.derivative(z) <= p.max_derivative)
    assert p.monotone or kind != "monotone"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.floats(-2, 2) | st.builds(lambda m, e: m * 10.0**e, unit, st.integers(-20, 0)),
        min_size=1,
        max_size=8,
    ),
    st.floats(0.01, 100),
)
def test_facts_hold_for_any_coefficients(coef, radius):
    # Arbitrary coefficients, some of them tiny, attack the root finder.
    p = PolynomialApproximation(2 * len(coef) - 1, radius, "minimax", tuple(coef))
    z = radius * DENSE
    assert np.abs(p(z) - expit(z)).max() <= p.sup_error
    value, slope = np.abs(p(z)).max(), p.derivative(z)
    scale = np.abs(coef) @ np.arange(1, 2 * len(coef), 2) ** 4  # bounds the second derivative
    assert value <= p.max_abs <= value + 1e-7 * scale + 1e-12
    assert p.min_derivative <= slope.min()
    assert slope.max() <= p.max_derivative
    assert p.max_derivative <= slope.max() + 1e-4 * scale / radius


@settings(max_examples=60, deadline=None)
@given(degrees, radii, kinds, st.lists(st.tuples(unit, unit).map(sorted), min_size=1, max_size=8))
def test_range_on_subintervals(degree, radius, kind, intervals):
    p = fit(degree, radius, kind)
    low, high = radius * np.array(intervals).T
    minimum, maximum = p.range_on(low, high)
    assert minimum.shape == maximum.shape == low.shape
    for i in range(len(low)):
        dense = p(np.linspace(low[i], high[i], 3001))
        gap = 1e-6 * p.degree**4
        assert dense.min() - gap <= minimum[i] <= dense.min()
        assert dense.max() <= maximum[i] <= dense.max() + gap
        assert p.range_on(low[i], high[i]) == (minimum[i], maximum[i])


def test_range_on_sees_an_extreme_between_the_ends():
    p = fit(7, 10.0)
    z = 10 * DENSE[DENSE > 0]
    top = z[np.argmax(p(z) * (z < 6))]
    assert p.range_on(top - 1, top + 1)[1] == pytest.approx(p(top), abs=1e-6)
    assert p.range_on(top - 1, top + 1)[1] > max(p(top - 1), p(top + 1)) + 1e-3
    assert p.range_on(1.0, 1.0) == pytest.approx((p(1.0), p(1.0)), abs=1e-11)
    low, high = p.range_on(np.zeros((2, 1)), np.ones(3))
    assert low.shape == high.shape == (2, 3)


@pytest.mark.parametrize(
    ("low", "high"), [(-10.1, 0), (0, 10.1), (2, 1), (math.nan, 1), ([0, -11], 1)]
)
def test_range_on_refuses(low, high):
    with pytest.raises(ValueError, match="A subinterval must satisfy"):
        fit(7, 10.0).range_on(low, high)


def test_range_on_forgives_rounding_at_the_ends():
    p = fit(7, 10.0)
    assert p.range_on(-10 * (1 + 1e-14), 10 * (1 + 1e-14)) == p.range_on(-10, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_residual_bound_is_attained(kind):
    p = fit(5, 8.0, kind)
    inner = np.array([0.0, 0.5, 3.0, 8.0])
    bounds = p.residual_bound(inner)
    for radius, bound in zip(inner, bounds, strict=True):
        residual = np.abs(p(radius * DENSE)[:, None] - [0, 1]).max()
        assert residual <= bound <= residual + 1e-6
    assert p.residual_bound() == bounds[-1] == p.max_abs
    assert np.all(np.diff(bounds) >= 0)
    for bad in (-1.0, 8.1):
        with pytest.raises(ValueError, match="A subinterval must satisfy"):
            p.residual_bound(bad)


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("degree", DEGREES)
def test_kinds_are_ordered(degree, radius):
    minimax, least, monotone = (fit(degree, radius, kind) for kind in KINDS)
    slack = 1e-4 * minimax.sup_error + 3e-12  # what sup_error may exceed the error by
    assert minimax.sup_error <= least.sup_error + slack
    assert minimax.sup_error <= monotone.sup_error + slack
    if minimax.monotone:
        assert monotone.coef == minimax.coef


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("radius", RADII)
def test_error_falls_with_degree(radius, kind):
    errors = np.array([fit(degree, radius, kind).sup_error for degree in DEGREES])
    if kind == "monotone":  # an added term may be of no use under the constraint
        assert np.all(np.diff(errors) <= 1e-4 * errors[:-1] + 3e-12)
        assert errors[-1] < errors[0]
    else:
        assert np.all((np.diff(errors) < -0.05 * errors[:-1]) | (errors[1:] < 3e-12))


@pytest.mark.parametrize("radius", [0.25, 1.0, 5.0, 12.0, 40.0, 60.0, 1000.0])
@pytest.mark.parametrize("degree", DEGREES)
def test_minimax_equioscillates(degree, radius):
    # Chebyshev: degree + 3 alternating extremes on [-R, R] prove optimality among odd functions
    # of this degree, and among all polynomials of degree + 1.
    p = fit(degree, radius)
    if p.sup_error < 1e-11:
        pytest.skip("the error is rounding")
    z = radius * np.sin(np.linspace(-np.pi / 2, np.pi / 2, 40_001))
    error = p(z) - expit(z)
    size = np.abs(error)
    extreme = np.sign(error[size >= size.max() * (1 - 2e-3)])
    assert 1 + np.count_nonzero(np.diff(extreme)) == degree + 3


@pytest.mark.parametrize("radius", RADII)
def test_least_squares_error_is_orthogonal(radius):
    nodes, weights = np.polynomial.legendre.leggauss(900)  # the whole interval, another rule
    for degree in DEGREES:
        error = fit(degree, radius, "least_squares")(radius * nodes) - expit(radius * nodes)
        products = chebyshev.chebvander(nodes, degree).T @ (weights * error)
        np.testing.assert_allclose(products, 0, atol=1e-13)


def test_monotone_is_optimal():
    # Duality by hand is long; perturbing the optimum within the constraint must not help.
    p = fit(7, 10.0, "monotone")
    t = np.sin(np.linspace(0, np.pi / 2, 4001))
    target, rng = expit(10 * t) - 0.5, np.random.default_rng(0)
    steps = np.vstack([np.eye(4), -np.eye(4), rng.standard_normal((2000, 4))]) * 1e-3
    tables = [chebyshev.chebvander(t, 7)[:, 1::2]]
    tables.append((chebyshev.chebvander(t, 6) @ chebyshev.chebder(np.eye(8)))[:, 1::2])
    for coef in p.coef + steps:
        feasible = np.all(tables[1] @ coef >= 0)
        assert not feasible or np.abs(tables[0] @ coef - target).max() > p.sup_error - 1e-5


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("degree", DEGREES)
def test_monomials_and_derivative(degree, radius):
    p = fit(degree, radius)
    z = np.linspace(-radius, radius, 101)
    powers = z[:, None] ** np.arange(1, degree + 1, 2)
    np.testing.assert_allclose(0.5 + powers @ p.odd_coefficients, p(z), rtol=0, atol=1e-10)
    step = 1e-5 * radius
    inner = z[1:-1]
    slope = (p(inner + step) - p(inner - step)) / (2 * step)
    np.testing.assert_allclose(p.derivative(inner), slope, atol=1e-5)
    assert p.odd_coefficients.shape == ((degree + 1) // 2,)


@settings(max_examples=40, deadline=None)
@given(degrees, radii, kinds)
def test_json_round_trip_is_exact(degree, radius, kind):
    p = fit(degree, radius, kind)
    q = PolynomialApproximation.from_dict(json.loads(json.dumps(p.to_dict())))
    assert q == p
    assert hash(q) == hash(p)
    assert json.dumps(q.to_dict()) == json.dumps(p.to_dict())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [1e-9, -1e-9, -1e-2, math.nan, math.inf, "0", None, 10**400])
@pytest.mark.parametrize("name", FACTS)
def test_tampered_fact_is_refused(name, change, kind):
    value = fit(7, 10.0, kind).to_dict()
    value[name] = value[name] + change if isinstance(change, float) else change
    with pytest.raises(ValueError, match=name):
        PolynomialApproximation.from_dict(value)


@pytest.mark.parametrize(
    "change",
    [
        {"coef": [0.6, -0.1, 0.05, -0.02]},
        {"coef": [0.6, -0.1, 0.05]},
        {"coef": [1e308, 1e308, 1e308, 1e308]},
        {"coef": ["0.6", 0.0, 0.0, 0.0]},
        {"coef": "0.61"},
        {"coef": None},
        {"radius": 9.9},
        {"degree": 5},
        {"degree": 7.0},
        {"degree": True},
        {"kind": "monotone"},
        {"kind": ["minimax"]},
        {"extra": 1},
    ],
)
def test_tampered_field_is_refused(change):
    with pytest.raises(ValueError):
        PolynomialApproximation.from_dict(fit(7, 10.0).to_dict() | change)


def test_incomplete_or_foreign_value_is_refused():
    value = fit(7, 10.0).to_dict()
    del value["sup_error"]
    for bad in (value, [], None, "p"):
        with pytest.raises(ValueError, match="must be a dict with the fields"):
            PolynomialApproximation.from_dict(bad)


def test_a_falling_polynomial_cannot_be_called_monotone():
    with pytest.raises(ValueError, match="needs p' >= 0"):
        PolynomialApproximation(7, 10.0, "monotone", fit(7, 10.0).coef)


@pytest.mark.parametrize("degree", [0, 2, 4, 14, 16, 17, -1, 3.0, "3", None, True])
def test_bad_degree(degree):
    with pytest.raises(ValueError, match="degree must be an odd integer from 1 to 15, got"):
        fit(degree, 5.0)


def test_even_degree_says_what_to_use():
    with pytest.raises(ValueError, match=r"got 4: an even degree adds nothing .* use 3 or 5"):
        fit(4, 5.0)


@pytest.mark.parametrize("radius", [0, -1.0, math.nan, math.inf, 1001, 10**400, "5", None, [5.0]])
def test_bad_radius(radius):
    with pytest.raises(ValueError, match="radius must be a finite number"):
        fit(3, radius)


@pytest.mark.parametrize("kind", ["auto", None, ["minimax"]])
def test_bad_kind(kind):
    with pytest.raises(ValueError, match="kind must be one of 'minimax', 'least_squares', 'mono"):
        fit(3, 5.0, kind)


def test_values_are_cached_immutable_and_compared_by_value():
    p = fit(np.int64(3), 5, "minimax")
    assert p is fit(degree=3, radius=5.0)
    assert p == PolynomialApproximation(3, 5.0, "minimax", p.coef)
    assert p != fit(3, 5.1)
    assert {p, PolynomialApproximation(3, 5.0, "minimax", p.coef)} == {p}
    with pytest.raises(AttributeError):
        p.sup_error = 0.0


def test_thirty_fits_are_quick():
    fit(15, 33.0, "monotone")  # imports the solver
    start = time.process_time()
    for i in range(10):
        for kind in KINDS:
            fit(DEGREES[i % 8], 5.0 + 1.37 * i, kind)
    assert time.process_time() - start < 2.0  # measured: 0.15
