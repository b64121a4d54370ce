"""Certificates of several steps: whatever the data, margins stay within reach."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from skfhe.approximation import PolynomialApproximation
from skfhe.planning.schedule import LINE_SLOPE, Setting, contributions_of, reaches_of
from skfhe.privacy import trajectory
from skfhe.privacy.trajectory import Noise

NORM = 1.2
QUIET = Noise(0.0, 5, 1e-9)


def line(radius=500.0, slope=LINE_SLOPE):
    return PolynomialApproximation(1, radius, "monotone", (slope * radius,))


def noisy(multiplier, d, probability=1e-9):
    return Noise(multiplier, d, probability)


def adversarial_rows(rng, d, norm):
    """Rows at the ends of what is allowed: few, long, nearly or exactly alike, some zero."""
    n = int(rng.integers(1, 12))
    rows = rng.normal(size=(n, d))
    if rng.random() < 0.5:
        rows = np.outer(rng.choice([-1.0, 0.0, 0.3, 1.0], n), rows[0]) + 0.05 * rows
    if rng.random() < 0.3:
        rows[:] = rows[0]
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    rows *= norm / lengths * rng.choice([1.0, 1.0, 0.5, 0.1], (n, 1))
    labels = rng.integers(0, 2, n) if rng.random() < 0.5 else (rows[:, 0] > 0).astype(int)
    return rows, labels


def walk(p, points, rows, labels, start, noises=None):
    """The points 0, ..., k of steps on these rows, by the formula."""
    gradients, w = [], start
    visited = [w]
    for step, coefficients in enumerate(points):
        gradient = ((p(rows @ w) - labels)[:, None] * rows).mean(axis=0)
        gradients.append(gradient + (0.0 if noises is None else noises[step]))
        w = start - sum(c * v for c, v in zip(coefficients, gradients, strict=True))
        visited.append(w)
    return visited


def far(visited, norm):
    """Largest margin of any row of the norm at every point."""
    return norm * np.linalg.norm(visited, axis=1)


def steps_of(certificate, degree, rng):
    """A polynomial, points and a setting of a certificate, within its interval."""
    k = int(rng.integers(1, 8))
    if certificate == "spectral":
        largest = LINE_SLOPE * NORM**2
        travel = float(rng.uniform(1.2, 100))
        kinds = [
            trajectory.semi_iteration(k, largest, travel),
            trajectory.heavy_ball(k, float(rng.uniform(0.1, 1.9 / largest)), 0.6),
        ]
        return line(), kinds[int(rng.integers(2))]
    p = PolynomialApproximation.fit(degree, float(rng.uniform(4, 40)), "monotone")
    beta = NORM**2 * p.max_derivative
    if certificate == "energy":
        return p, trajectory.accelerated(k, beta * float(rng.uniform(1, 8)))
    return p, trajectory.plain([float(rng.uniform(0.05, 1.9)) / beta] * k)


@pytest.mark.parametrize("certificate, degree", [("spectral", 1), ("energy", 3), ("plain", 5)])
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_data_lead_beyond_the_certificate(certificate, degree, seed):
    rng = np.random.default_rng(seed)
    p, points = steps_of(certificate, degree, rng)
    start_norm = float(rng.choice([0.0, 2.0]))
    reaches = reaches_of(certificate, p, points, Setting(NORM, QUIET, start_norm, 0.0))
    rows, labels = adversarial_rows(rng, 5, NORM)
    start = rng.normal(size=5)
    start *= start_norm / np.linalg.norm(start)
    if max(reaches[:-1]) > p.radius:
        return  # a plan would refuse these steps
    found = far(walk(p, points, rows, labels, start), NORM)
    assert np.all(found <= np.array(reaches) * (1 + 1e-9))


@pytest.mark.parametrize("certificate, degree", [("spectral", 1), ("energy", 3), ("plain", 3)])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_noise_leads_beyond_the_certificate(certificate, degree, seed):
    """A certificate that fails once in 1e9 never fails; one of .3 does so in 30 of 100 at most."""
    rng = np.random.default_rng(seed)
    p, points = steps_of(certificate, degree, rng)
    rows, labels = adversarial_rows(rng, 5, NORM)
    multiplier = float(rng.choice([0.003, 0.03]))
    settings_ = [Setting(NORM, noisy(multiplier, 5, chance), 0.0, 0.0) for chance in (1e-9, 0.3)]
    rare, often = (reaches_of(certificate, p, points, one) for one in settings_)
    if max(rare[:-1]) > p.radius:
        return
    spreads = [multiplier * NORM * float(p.residual_bound(r)) for r in rare[:-1]]
    row = NORM * rng.normal(size=5)
    row *= NORM / np.linalg.norm(row)
    exceeded = 0
    for _ in range(20):
        noises = [s * rng.normal(size=5) for s in spreads]
        visited = np.array(walk(p, points, rows, labels, np.zeros(5), noises))
        margins = np.abs(visited @ row) if certificate == "spectral" else far(visited, NORM)
        assert np.all(margins <= np.array(rare) * (1 + 1e-9))
        exceeded += bool(np.any(margins > np.array(often) * (1 + 1e-9)))
    assert exceeded <= 14


@pytest.mark.parametrize("probability", [0.3, 1e-4, 1e-12])
@pytest.mark.parametrize("d, n_events", [(1, 1), (5, 4), (60, 100)])
def test_tails_are_above_those_of_gaussian_noise(d, n_events, probability):
    """What simulations are too few for: of so many events together, and by how much too long."""
    noise = Noise(1.0, d, probability)
    q, norm = noise.quantile(n_events), noise.norm(n_events)
    assert 2 * n_events * stats.norm.sf(q) <= probability
    assert n_events * stats.chi2.sf(norm**2, d) <= probability
    if probability < 1e-9:
        assert 2 * n_events * stats.norm.sf(0.9 * q) > probability
        assert n_events * stats.chi2.sf((0.8 * norm) ** 2, d) > probability


def test_some_data_reach_the_spectral_certificate():
    """A share of equal rows makes any eigenvalue, and with equal labels b as long as it can be."""
    largest = LINE_SLOPE * NORM**2
    points = trajectory.semi_iteration(6, largest, 30.0)
    reaches = reaches_of("spectral", line(), points, Setting(NORM, QUIET, 0.0, 0.0))
    best = np.zeros(7)
    for share in np.linspace(0.02, 1, 50):
        # Zero rows for the rest: the share's rows have c = 1/2, the eigenvalue share X^2.
        rows = np.zeros((100, 2))
        rows[: round(100 * share), 0] = NORM
        visited = walk(line(), points, rows, np.ones(100, int), np.zeros(2))
        # b^T A^+ b is the share's, not all of 1/4: what the zero rows' labels would be worth.
        best = np.maximum(best, far(visited, NORM) / math.sqrt(share))
    assert np.all(best[1:] <= np.array(reaches[1:]) * (1 + 1e-9))
    assert np.all(best[1:] >= 0.95 * np.array(reaches[1:]))


def test_some_row_contributes_what_its_step_is_certified_for():
    """S_t too: at the end of its reach, with the label that is wrong there."""
    points = trajectory.semi_iteration(6, LINE_SLOPE * NORM**2, 30.0)
    reaches = reaches_of("spectral", line(), points, Setting(NORM, QUIET, 0.0, 0.0))
    certified = contributions_of(line(), reaches, NORM)
    found = np.zeros(6)
    for share in np.linspace(0.02, 1, 50):
        # The others are at right angles to the share's rows, in as many directions: the
        # projection onto the span of all keeps what labels are worth.
        n = 50
        alike = max(1, round(n * share))
        rows = NORM * np.eye(n)[np.r_[np.zeros(alike, int), 1 : n - alike + 1]]
        visited = walk(line(), points, rows, np.ones(n, int), np.zeros(n))
        margins = np.array(visited[:-1]) @ rows[0] / math.sqrt(alike / n)
        residual = np.abs(line()(margins)[:, None] - [0, 1]).max(axis=1)
        found = np.maximum(found, NORM * residual)
    assert np.all(found <= np.array(certified) * (1 + 1e-9))
    assert np.all(found >= 0.95 * np.array(certified))


def test_the_semi_iteration_is_chebyshevs():
    """1 - l q(l) is the Chebyshev polynomial of the interval, over its value at zero."""
    k, largest, travel = 5, 0.7, 20.0
    points = trajectory.semi_iteration(k, largest, travel)
    eigenvalues = np.linspace(0, largest, 101)
    middle, half = largest * (1 + 1 / travel) / 2, largest * (1 - 1 / travel) / 2
    gradients, w = [], np.zeros(101)
    for row in points:
        gradients.append(eigenvalues * w - 1)
        w = -sum(c * v for c, v in zip(row, gradients, strict=True))
    polynomial = np.polynomial.chebyshev.Chebyshev.basis(k)
    expected = polynomial((middle - eigenvalues) / half) / polynomial(middle / half)
    np.testing.assert_allclose(1 - eigenvalues * w, expected, atol=1e-12)


def test_accelerated_points_are_those_of_the_method():
    """By the two sequences of the docstring, on a quadratic."""
    rng = np.random.default_rng(0)
    A, b, beta, k = rng.normal(size=(4, 4)), rng.normal(size=4), 3.0, 6
    A = A @ A.T / 8
    x = z = np.zeros(4)
    gradients, total = [], 0.0
    for step in range(k):
        a = (1 + math.sqrt(1 + 4 * beta * total)) / (2 * beta)
        assert a**2 == pytest.approx((total + a) / beta)
        y = (total * x + a * z) / (total + a)
        if step:
            row = trajectory.accelerated(k, beta)[step - 1]
            np.testing.assert_allclose(y, -sum(c * v for c, v in zip(row, gradients, strict=True)))
        gradients.append(A @ y - b)
        z = z - a * gradients[-1]
        x = (total * x + a * z) / (total + a)
        np.testing.assert_allclose(x, y - gradients[-1] / beta)
        total += a
    row = trajectory.accelerated(k, beta)[-1]
    np.testing.assert_allclose(x, -sum(c * v for c, v in zip(row, gradients, strict=True)))


def test_a_certificate_is_for_its_own_steps_alone():
    p = PolynomialApproximation.fit(3, 10.0, "monotone")
    setting = Setting(NORM, QUIET, 0.0, 0.0)
    beta = NORM**2 * p.max_derivative
    accelerated, momentum = trajectory.accelerated(4, beta), trajectory.heavy_ball(4, 1.0, 0.9)
    for name, points in [
        ("spectral", accelerated),  # p is no line
        ("energy", momentum),
        ("energy", trajectory.accelerated(4, beta / 2)),  # longer steps than are certified
        ("plain", accelerated),
        ("hope", accelerated),
    ]:
        with pytest.raises(ValueError, match="is not one for these steps"):
            reaches_of(name, p, points, setting)
    minimax = PolynomialApproximation.fit(3, 10.0, "minimax")
    with pytest.raises(ValueError, match="is not one for these steps"):
        reaches_of("energy", minimax, trajectory.accelerated(4, NORM**2), setting)


@pytest.mark.parametrize("certificate, degree", [("spectral", 1), ("energy", 3), ("plain", 3)])
def test_errors_of_every_gradient_are_within_the_certificate(certificate, degree):
    """The worst direction at every step: along the point, away from zero."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        p, points = steps_of(certificate, degree, rng)
        allowed = 0.02
        noise = Noise(0.0, 5, 1e-9, error=allowed)
        reaches = reaches_of(certificate, p, points, Setting(NORM, noise, 0.0, 0.0))
        if max(reaches[:-1]) > p.radius:
            continue
        rows, labels = adversarial_rows(rng, 5, NORM)
        direction = rng.normal(size=5)
        direction /= np.linalg.norm(direction)
        errors = [
            -rng.choice([-1, 1]) * allowed * NORM * float(p.residual_bound(r)) * direction
            for r in reaches[:-1]
        ]
        found = far(walk(p, points, rows, labels, np.zeros(5), errors), NORM)
        assert np.all(found <= np.array(reaches) * (1 + 1e-9))


def test_a_loss_that_goes_on_falling_beyond_the_interval_is_counted():
    """Where p ends below 1, more can be gained than within the interval."""
    p = PolynomialApproximation.fit(3, 2.0, "monotone")
    missing = 1 - float(p(2.0))
    assert missing > 0.05
    z = np.linspace(0, 2, 10_001)
    within = np.trapezoid(1 - p(z), z)
    gained = trajectory._loss_gained(p, 0.0)
    assert gained >= within + missing**2 / (2 * p.max_derivative)
    assert gained == pytest.approx(within + missing**2 / (2 * p.max_derivative), rel=1e-2)


def test_deviations_that_are_known_count_in_the_place_of_a_multiplier():
    points = trajectory.semi_iteration(3, LINE_SLOPE * NORM**2, 10.0)
    setting = Setting(NORM, Noise(0.01, 5, 1e-9), 0.0, 0.0)
    reaches = reaches_of("spectral", line(), points, setting)
    spreads = tuple(0.01 * NORM * (0.5 + LINE_SLOPE * r) for r in reaches[:-1])
    known = Setting(NORM, Noise(math.nan, 5, 1e-9, deviations=spreads), 0.0, 0.0)
    assert reaches_of("spectral", line(), points, known) == pytest.approx(reaches)
    wider = Setting(NORM, Noise(0.0, 5, 1e-9, deviations=(1.0, *spreads[1:])), 0.0, 0.0)
    assert reaches_of("spectral", line(), points, wider)[1] > 2 * reaches[1]
