"""Every fact of an activation's polynomial is attacked on points it was not computed from."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skfhe.approximation import ActivationPolynomial, PolynomialApproximation

ODD, EVEN = ("tanh", "logistic"), ("relu", "softplus")
DEGREES = {name: range(1, 16, 2) for name in ODD} | {name: range(2, 15, 2) for name in EVEN}
DEGREES["square"] = (2,)
CASES = [(name, degree) for name in DEGREES for degree in DEGREES[name]]
RADII = (1e-3, 0.25, 1.0, 5.0, 12.0, 100.0)
# Denser towards the ends and zero, with no point in common with the grid that proves the facts.
DENSE = np.unique(np.r_[np.linspace(-1, 1, 20_011), np.sin(np.linspace(-1.57, 1.57, 10_007)), 1])
REFERENCE = {
    "tanh": np.tanh,
    "logistic": lambda z: 1 / (1 + np.exp(-z)) - np.longdouble(0.5),
    "relu": lambda z: np.where(z > 0, z, 0),
    "softplus": lambda z: np.logaddexp(0, z) - np.log(np.longdouble(2)),
    "square": lambda z: z * z,
}

fit = ActivationPolynomial.fit
cases, radii = st.sampled_from(CASES), st.floats(1e-3, 100.0)
unit = st.floats(-1.0, 1.0)
pairs = st.tuples(unit, unit).map(sorted)
entries = unit | st.builds(lambda m, e: m * 10.0**e, unit, st.integers(-20, 0))
fitted = [case for case in CASES if case[0] != "square"]
lists = st.lists(entries, min_size=8, max_size=8)


def with_coef(case, radius, coef):
    return ActivationPolynomial(*case, radius, tuple(coef[: (case[1] + 1) // 2]))


def in_fractions(a, z):
    """a(z) and a'(z) by recurrences in exact arithmetic, from nothing but the coefficients."""
    t, first = Fraction(z) / Fraction(a.radius), 1 if a.odd else 2
    values, slopes = [Fraction(1), t], [Fraction(0), Fraction(1)]
    for _ in range(a.degree - 1):
        slopes.append(2 * values[-1] + 2 * t * slopes[-1] - slopes[-2])
        values.append(2 * t * values[-1] - values[-2])
    linear = Fraction(1, 2) if a.name in EVEN else Fraction(0)
    value, slope = linear * Fraction(z), linear
    for k, c in zip(range(first, a.degree + 1, 2), map(Fraction, a.coef), strict=True):
        value += c * (values[k] - (0 if a.odd else (-1) ** (k // 2)))
        slope += c * slopes[k] / Fraction(a.radius)
    return float(value), float(slope)


def largest_bend(a):
    """max |a''| up to the steepest change of a' between neighbours, which cannot exceed it."""
    z = a.radius * np.linspace(-1, 1, 20_011)
    return np.abs(np.diff(a.derivative(z)) / np.diff(z)).max()


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize(("name", "degree"), CASES)
def test_facts_hold_and_are_tight(name, degree, radius):
    a, z = fit(name, degree, radius), radius * DENSE
    error, value = np.abs(a(z) - a.exact(z)).max(), np.abs(a(z)).max()
    slope, bend = np.abs(a.derivative(z)).max(), largest_bend(a)
    assert error <= a.sup_error <= error * (1 + 1e-3) + 1e-10
    assert value <= a.max_abs <= value * (1 + 1e-6) + 1e-14
    assert slope <= a.max_slope <= slope * (1 + 1e-5)
    noise = 1e-9 * a.max_slope / radius
    assert bend - noise <= a.max_bend <= bend * (1 + 0.01) + noise


@settings(max_examples=100, deadline=None)
@given(cases, radii, st.lists(unit, min_size=1, max_size=30))
def test_facts_hold_at_any_point_of_any_fit(case, radius, points):
    a, z = fit(*case, radius), radius * np.array(points)
    assert np.all(np.abs(a(z) - a.exact(z)) <= a.sup_error)
    assert np.all((np.abs(a(z)) <= a.max_abs) & (np.abs(a.derivative(z)) <= a.max_slope))
    change = np.abs(a.derivative(z) - a.derivative(z[0]))  # the mean value theorem
    assert np.all(change <= a.max_bend * np.abs(z - z[0]) + 1e-12 * a.max_slope)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(fitted), radii, lists)
def test_facts_hold_for_any_coefficients(case, radius, coef):
    # Arbitrary coefficients, some of them tiny, attack the root finder.
    a, z = with_coef(case, radius, coef), radius * DENSE
    assert a(0.0) == 0.0
    assert np.abs(a(z) - a.exact(z)).max() <= a.sup_error
    value, slope = np.abs(a(z)).max(), np.abs(a.derivative(z)).max() * radius
    bend = largest_bend(a) * radius**2
    # Sums that bound the second derivatives in t of a, a' and a'': what the grid may miss.
    scale = [np.abs(a.coef).sum() * a.degree**n + radius for n in (4, 6, 8)]
    assert value <= a.max_abs <= value + 1e-7 * scale[0]
    assert slope <= a.max_slope * radius <= slope + 1e-7 * scale[1]
    assert bend - 1e-9 * scale[0] <= a.max_bend * radius**2 <= bend + 1e-4 * scale[2]


@settings(max_examples=60, deadline=None)
@given(cases, radii, lists, st.booleans(), st.lists(pairs, min_size=1, max_size=8))
def test_ranges_on_subintervals(case, radius, coef, best, intervals):
    a = fit(*case, radius) if best or case[0] == "square" else with_coef(case, radius, coef)
    low, high = radius * np.array(intervals).T
    gap = 1e-6 * a.degree**4 * (np.abs(a.coef).sum() + radius)
    slopes = a.derivative, a.slope_range_on, gap * a.degree**2 / radius
    for function, range_on, missed in ((a, a.range_on, gap), slopes):
        minimum, maximum = range_on(low, high)
        assert minimum.shape == maximum.shape == low.shape
        for i in range(len(low)):
            dense = function(np.linspace(low[i], high[i], 3001))
            assert dense.min() - missed <= minimum[i] <= dense.min()
            assert dense.max() <= maximum[i] <= dense.max() + missed
            assert range_on(low[i], high[i]) == (minimum[i], maximum[i])


def test_ranges_see_an_extreme_between_the_ends():
    a = fit("relu", 2, 4.0)  # z / 2 + c z^2: lowest where the slope is zero, rising slope
    lowest = -1 / (4 * a.coefficients[2])
    least = a.range_on(lowest - 0.5, lowest + 0.5)[0]
    assert least == pytest.approx(a(lowest), abs=1e-12) != a(lowest + 0.5)
    b = fit("tanh", 3, 2.0)  # its slope is largest at zero
    assert b.slope_range_on(-1, 1)[1] == pytest.approx(b.derivative(0.0), abs=1e-12)
    assert np.shape(b.slope_range_on(np.zeros((2, 1)), np.ones(3))) == (2, 2, 3)


@pytest.mark.parametrize("method", ["range_on", "slope_range_on"])
def test_ranges_refuse_and_forgive(method):
    range_on = getattr(fit("softplus", 6, 10.0), method)
    for low, high in [(-10.1, 0), (0, 10.1), (2, 1), (math.nan, 1), ([0, -11], 1)]:
        with pytest.raises(ValueError, match="A subinterval must satisfy"):
            range_on(low, high)
    assert range_on(-10 * (1 + 1e-14), 10 * (1 + 1e-14)) == range_on(-10, 10)


@settings(max_examples=60, deadline=None)
@given(cases, radii)
def test_zero_at_zero_exactly_parity_and_depth(case, radius):
    a = fit(*case, radius)
    assert a.odd == (case[0] in ODD)
    assert a.depth == math.ceil(math.log2(a.degree + 1 if a.odd else a.degree))
    assert a(0.0) == a(-0.0) == a(0) == a.exact(0.0) == a.coefficients[0] == 0.0
    assert not a(np.zeros((3, 5))).any()
    assert a(0.0).shape == a.derivative(0.0).shape == a.exact(0.0).shape == ()


@settings(max_examples=60, deadline=None)
@given(cases, radii, unit)
def test_values_are_those_of_exact_arithmetic(case, radius, point):
    a, z = fit(*case, radius), radius * point
    value, slope = in_fractions(a, z)
    assert a(z) == pytest.approx(value, rel=0, abs=1e-14 * (a.max_abs + radius))
    assert a.derivative(z) == pytest.approx(slope, rel=0, abs=1e-12 * a.max_slope)
    powers = z ** np.arange(a.degree + 1.0) @ a.coefficients
    assert powers == pytest.approx(value, rel=0, abs=1e-10 * (a.max_abs + radius))
    assert a.coefficients.shape == (a.degree + 1,)
    assert not a.coefficients[0 if a.odd else 3 :: 2].any()  # the parity, exactly


@pytest.mark.parametrize("name", DEGREES)
def test_the_true_function_near_and_far(name):
    a, near = fit(name, DEGREES[name][0], 3.0), np.geomspace(1e-12, 20, 400) * [[-1], [1]]
    reference = REFERENCE[name](near.astype(np.longdouble))
    np.testing.assert_allclose(a.exact(near), reference, rtol=1e-15, atol=1e-18)
    far = {"tanh": (-1, 1), "logistic": (-0.5, 0.5), "relu": (0, 1e5), "square": (1e10, 1e10)}
    far["softplus"] = -math.log(2), 1e5 - math.log(2)
    np.testing.assert_array_equal(a.exact(np.array([-1e5, 1e5])), far[name])


@pytest.mark.parametrize("radius", [0.25, 1.0, 5.0, 12.0, 40.0, 100.0, 500.0])
@pytest.mark.parametrize(("name", "degree"), fitted)
def test_fits_equioscillate(name, degree, radius):
    # Chebyshev: degree + 3 alternating extremes of the error, up to a constant for the even
    # ones, prove optimality among all polynomials of degree + 1.
    a = fit(name, degree, radius)
    if a.sup_error < 1e-10 * max(1, radius):
        pytest.skip("the error is rounding")
    z = radius * np.sin(np.linspace(-np.pi / 2, np.pi / 2, 40_001))
    error = a(z) - a.exact(z)
    middle = (error.max() + error.min()) / 2
    size = np.abs(error - middle)
    extreme = np.sign((error - middle)[size >= size.max() * (1 - 5e-3)])
    assert 1 + np.count_nonzero(np.diff(extreme)) == degree + 3
    # A constant is of no use to the odd ones, and halves the error of the others.
    best = a.sup_error * (1 if a.odd else 0.5)
    assert size.max() == pytest.approx(best, rel=2e-3, abs=1e-10)


@pytest.mark.parametrize("name", [*ODD, *EVEN])
@pytest.mark.parametrize("radius", RADII)
def test_error_falls_with_degree(name, radius):
    errors = np.array([fit(name, degree, radius).sup_error for degree in DEGREES[name]])
    assert np.all((np.diff(errors) < -0.04 * errors[:-1]) | (errors[1:] < 1e-12))


@pytest.mark.parametrize("degree", DEGREES["tanh"])
@pytest.mark.parametrize("radius", RADII)
def test_odd_fits_are_those_of_the_sigmoid(radius, degree):
    sigmoid, double = (PolynomialApproximation.fit(degree, r) for r in (radius, 2 * radius))
    logistic, tanh = fit("logistic", degree, radius), fit("tanh", degree, radius)
    assert (logistic.coef, logistic.sup_error) == (sigmoid.coef, sigmoid.sup_error)
    assert tanh.coef == tuple(2 * c for c in double.coef)
    steepest = max(-double.min_derivative, double.max_derivative)
    assert tanh.max_slope == pytest.approx(4 * steepest, rel=1e-9)


@pytest.mark.parametrize("degree", DEGREES["relu"])
def test_relu_scales_with_the_radius(degree):
    one, seven = fit("relu", degree, 1.0), fit("relu", degree, 7.0)
    np.testing.assert_allclose(seven.coef, 7 * np.array(one.coef), rtol=1e-12)
    assert seven.sup_error == pytest.approx(7 * one.sup_error, rel=1e-9)
    assert seven.max_slope == pytest.approx(one.max_slope, rel=1e-9)
    if degree == 2:  # |t| is nearest to t^2 + 1/8
        assert one.sup_error == pytest.approx(1 / 8, rel=1e-6)


@pytest.mark.parametrize("radius", [1e-3, 0.3, 1.0, 7.7, 100.0])
def test_square_is_itself(radius):
    a, z = fit("square", 2, radius), radius * DENSE
    assert a.sup_error == 0.0
    np.testing.assert_array_equal(a(z), z * z)
    np.testing.assert_array_equal(a.coefficients, [0, 0, 1])
    expected = radius**2, 2 * radius, 2.0
    assert (a.max_abs, a.max_slope, a.max_bend) == pytest.approx(expected, rel=1e-12)
    for coef in (a.coef[0] * (1 + 1e-15), 0.0):
        with pytest.raises(ValueError, match=r"coef must be radius \* radius / 2 for 'square'"):
            ActivationPolynomial("square", 2, radius, (coef,))


@settings(max_examples=60, deadline=None)
@given(cases, radii)
def test_json_round_trip_is_exact(case, radius):
    a = fit(*case, radius)
    text = json.dumps(a.to_dict())
    b = ActivationPolynomial.from_dict(json.loads(text))
    assert (b, hash(b), json.dumps(b.to_dict())) == (a, hash(a), text)
    elsewhere = a.to_dict() | {"max_abs": np.nextafter(a.max_abs, 0)}  # another machine's digit
    assert ActivationPolynomial.from_dict(elsewhere).max_abs < a.max_abs


@pytest.mark.parametrize("name", DEGREES)
@pytest.mark.parametrize("change", [1e-8, -1e-8, -1e-2, math.nan, math.inf, "0", None, 10**400])
@pytest.mark.parametrize("fact", ["sup_error", "max_abs", "max_slope", "max_bend"])
def test_altered_fact_is_refused(fact, change, name):
    value = fit(name, DEGREES[name][-1], 3.0).to_dict()
    value[fact] = value[fact] + change if isinstance(change, float) else change
    with pytest.raises(ValueError, match=fact):
        ActivationPolynomial.from_dict(value)


CHANGES = [
    *({"coef": c} for c in ([0.7, -0.1], [0.7], [1e308] * 2, ["0.7", 0.0], "0.7", None, [])),
    *({"degree": d} for d in (6, 5, 4.0, True)),
    *({"name": n} for n in ("softplus", "tanh", "square", ["relu"])),
    {"radius": 2.9},
    {"extra": 1},
]


@pytest.mark.parametrize("change", CHANGES)
def test_altered_field_is_refused(change):
    with pytest.raises(ValueError):
        ActivationPolynomial.from_dict(fit("relu", 4, 3.0).to_dict() | change)


def test_incomplete_or_foreign_value_is_refused():
    for bad in ({"coef": []}, PolynomialApproximation.fit(7, 2.0).to_dict(), [], None):
        with pytest.raises(ValueError, match="must be a dict with the fields"):
            ActivationPolynomial.from_dict(bad)


ODD_ONE, EVEN_ONE = "an odd integer from 1 to 15, got", "an even integer from 2 to 14, got"
REFUSED = [
    *(("tanh", d, 5.0, ODD_ONE) for d in (0, 17, -1, 3.0, "3", None, True)),
    *(("relu", d, 5.0, EVEN_ONE) for d in (0, 1, 15, 16, 2.0, "2", None)),
    *(("square", d, 5.0, "degree must be 2 for name='square'") for d in (1, 4, "2", None)),
    ("logistic", 4, 5.0, f"{ODD_ONE} 4: an even degree adds nothing .*; use 3 or 5"),
    ("softplus", 5, 5.0, f"{EVEN_ONE} 5: an odd degree adds nothing .*; use 4 or 6"),
    *((n, 2, 5.0, "name must be one of 'tanh', 'logistic', 'relu'") for n in ("gelu", None, [])),
    *(("relu", 2, r, "radius must be a finite number") for r in (0, -1.0, 1e-7, 501, "5", None)),
    *(("tanh", 3, r, "radius must be a finite number") for r in (math.nan, math.inf, 10**400)),
]


@pytest.mark.parametrize(("name", "degree", "radius", "message"), REFUSED)
def test_bad_arguments(name, degree, radius, message):
    with pytest.raises(ValueError, match=message):
        fit(name, degree, radius)


def test_values_are_cached_immutable_and_compared_by_value():
    a = fit("tanh", np.int64(3), 5)
    assert a is fit(name="tanh", degree=3, radius=5.0)
    b = ActivationPolynomial("tanh", np.int64(3), 5, a.coef)
    assert {a, b} == {a} != {fit("tanh", 3, 5.1)} and isinstance(b.degree, int)
    with pytest.raises(AttributeError):
        a.sup_error = 0.0
