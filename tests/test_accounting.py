"""Accounting against its closed form, other accountants and direct computation."""

import functools
import itertools
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skfhe.privacy import accounting
from skfhe.privacy.accounting import (
    calibrate,
    delta_at,
    discreteness,
    epsilon_at,
    gaussian_delta,
)

EPSILONS = (0.01, 0.1, 1.0, 8.0, 100.0)
DELTAS = (1e-12, 1e-8, 1e-5, 1e-3, 0.1)


def exact_delta(epsilon, mu):
    """The closed form with 60 digits."""
    with mpmath.workdps(60):
        epsilon, mu = mpmath.mpf(epsilon), mpmath.mpf(mu)
        first = mpmath.ncdf(-epsilon / mu + mu / 2)
        return first - mpmath.exp(epsilon) * mpmath.ncdf(-epsilon / mu - mu / 2)


@functools.cache
def closed_form_mu(epsilon, delta):
    """Bisection on the 60-digit closed form."""
    low, high = 1e-6, 1e3
    while high / low > 1 + 1e-13:
        mu = math.sqrt(low * high)
        low, high = (mu, high) if exact_delta(epsilon, mu) < delta else (low, mu)
    return low


# The closed form.


@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 1.0, 20.0, 300.0, 2000.0])
@pytest.mark.parametrize("mu", [1e-3, 0.05, 0.5, 3.0, 30.0, 100.0])
def test_closed_form_is_stable(epsilon, mu):
    exact = exact_delta(epsilon, mu)
    if exact < 1e-300:
        assert gaussian_delta(epsilon, mu) < 1e-299
    else:
        assert gaussian_delta(epsilon, mu) == pytest.approx(float(exact), rel=1e-9)


def test_closed_form_is_the_hockey_stick_divergence():
    """delta(epsilon) = int max(0, N(x; mu, 1) - e^epsilon N(x; 0, 1)) dx."""
    for epsilon, mu in itertools.product((0.1, 1.0, 4.0), (0.3, 1.0, 2.5)):

        def excess(x, epsilon=epsilon, mu=mu):
            return mpmath.npdf(x, mu, 1) - mpmath.exp(epsilon) * mpmath.npdf(x)

        start = epsilon / mu + mu / 2
        integral = mpmath.quad(excess, [start, start + 2, start + 5, start + 20])
        assert gaussian_delta(epsilon, mu) == pytest.approx(float(integral), rel=1e-9)
        assert delta_at(epsilon, 1 / mu, 1) == pytest.approx(float(integral), rel=1e-4)


def test_reference_value():
    """At (1, 1e-5) the analytic Gaussian mechanism has sigma = 3.7306 Delta, mu = .26805."""
    assert gaussian_delta(1.0, 0.268051123) == pytest.approx(1e-5, rel=1e-7)
    assert calibrate(1.0, 1e-5, 1) == pytest.approx(3.730632, rel=2e-6)


# The accountant.


@pytest.mark.parametrize(("epsilon", "delta"), list(itertools.product(EPSILONS, DELTAS)))
def test_accountant_against_closed_form(epsilon, delta):
    for n_releases in (1, 5000):
        multiplier = math.sqrt(n_releases) / closed_form_mu(epsilon, delta)
        assert 0 <= epsilon_at(delta, multiplier, n_releases) / epsilon - 1 < 1e-5
        assert 0 <= delta_at(epsilon, multiplier, n_releases) / delta - 1 < 1e-4


@pytest.mark.parametrize(("epsilon", "delta"), list(itertools.product(EPSILONS, DELTAS)))
def test_calibrate_meets_its_target_and_is_tight(epsilon, delta):
    for n_releases in (1, 30, 5000):
        multiplier = calibrate(epsilon, delta, n_releases)
        assert epsilon_at(delta, multiplier, n_releases) <= epsilon
        assert delta_at(epsilon, multiplier, n_releases) <= delta
        smallest = math.sqrt(n_releases) / closed_form_mu(epsilon, delta)
        assert 0 < multiplier / smallest - 1 < 4e-6
        assert epsilon_at(delta, smallest, n_releases) > epsilon


@pytest.mark.parametrize(("multiplier", "n_releases"), [(4.0, 1), (40.0, 100), (9.0, 200)])
def test_other_accountants(multiplier, n_releases):
    """RDP is looser; composing step by step and dp_accounting's own ledger agree."""
    import dp_accounting as dpa
    from dp_accounting.pld import PLDAccountant, privacy_loss_distribution
    from dp_accounting.rdp import RdpAccountant

    delta = 1e-5
    epsilon = epsilon_at(delta, multiplier, n_releases)
    event = dpa.SelfComposedDpEvent(dpa.GaussianDpEvent(multiplier), n_releases)
    assert epsilon <= RdpAccountant().compose(event).get_epsilon(delta) < 1.3 * epsilon
    ledger = PLDAccountant(value_discretization_interval=1e-4)
    assert ledger.compose(event).get_epsilon(delta) == pytest.approx(epsilon, rel=1e-4)
    one = privacy_loss_distribution.from_gaussian_mechanism(multiplier)
    steps = one.self_compose(n_releases).get_epsilon_for_delta(delta)
    assert steps == pytest.approx(epsilon, rel=1e-3)


def test_no_noise():
    assert calibrate(math.inf, 1e-5, 10) == 0.0
    assert epsilon_at(1e-5, 0.0, 10) == math.inf
    assert delta_at(1.0, 0.0, 10) == 1.0


# Monotonicity. Factors are above 1.001, as cells of the loss follow mu (see `_CELL`).

targets = st.tuples(
    st.floats(math.log(0.01), math.log(100)).map(math.exp),
    st.floats(math.log(1e-12), math.log(0.1)).map(math.exp),
    st.integers(1, 5000),
)
factors = st.floats(1.001, 2.0)
few = settings(max_examples=25, deadline=None)


@few
@given(targets, factors)
def test_more_noise_is_more_private(target, factor):
    epsilon, delta, n_releases = target
    more = calibrate(epsilon, delta, n_releases)
    less = more / factor
    assert epsilon_at(delta, more, n_releases) < epsilon_at(delta, less, n_releases)
    assert delta_at(epsilon, more, n_releases) < delta_at(epsilon, less, n_releases)


@few
@given(targets, factors)
def test_more_releases_are_less_private(target, factor):
    epsilon, delta, n_releases = target
    multiplier = calibrate(epsilon, delta, n_releases)
    more = math.ceil(n_releases * factor) + n_releases // 1000
    assert epsilon_at(delta, multiplier, more) > epsilon_at(delta, multiplier, n_releases)
    assert delta_at(epsilon, multiplier, more) > delta_at(epsilon, multiplier, n_releases)


@few
@given(targets, factors)
def test_epsilon_and_delta_trade(target, factor):
    epsilon, delta, n_releases = target
    multiplier = calibrate(epsilon, delta, n_releases)
    assert delta_at(epsilon * factor, multiplier, n_releases) < delta_at(
        epsilon, multiplier, n_releases
    )
    assert epsilon_at(delta / factor, multiplier, n_releases) > epsilon_at(
        delta, multiplier, n_releases
    )


@few
@given(targets, factors)
def test_calibrate_is_monotone(target, factor):
    epsilon, delta, n_releases = target
    multiplier = calibrate(epsilon, delta, n_releases)
    assert calibrate(epsilon * factor, delta, n_releases) < multiplier
    assert calibrate(epsilon, min(delta * factor, 0.5), n_releases) < multiplier
    assert calibrate(epsilon, delta, n_releases + 1) > multiplier


@given(
    st.floats(0.01, 50),
    st.floats(0.01, 10),
    st.floats(1.0, 3.0, exclude_min=True),
)
def test_closed_form_is_monotone(epsilon, mu, factor):
    slack = 1 + 1e-9  # the accuracy asserted above
    delta = gaussian_delta(epsilon, mu)
    assert 0 <= delta <= 1
    assert gaussian_delta(epsilon, mu * factor) * slack >= delta
    assert gaussian_delta(epsilon * factor, mu) <= delta * slack


# Discreteness.


def discrete_gaussian(s, radius):
    values = np.arange(-radius, radius + 1)
    weights = np.exp(-((values / s) ** 2) / 2)
    return weights / weights.sum()


def rounded_gaussian(v, s, eta):
    """P'(v) of the docstring by numerical integration."""
    tau = mpmath.sqrt(mpmath.mpf(s) ** 2 - mpmath.mpf(eta) ** 2)

    def rho(x):
        return mpmath.exp(-(x**2) / (2 * mpmath.mpf(eta) ** 2))

    def integrand(x):
        near = int(mpmath.nint(x))
        reach = math.ceil(13 * eta)
        total = mpmath.fsum(rho(u - x) for u in range(near - reach, near + reach + 1))
        return mpmath.npdf(x, 0, tau) * rho(v - x) / total

    # The trapezoidal rule converges exponentially on analytic functions that vanish at the ends.
    step = mpmath.mpf(eta) / 6
    return step * mpmath.fsum(integrand(v + i * step) for i in range(-96, 97))


@pytest.mark.parametrize("eta", [0.4, 0.6, 1.0, 4.0])
def test_lemma_step_one(eta):
    """The two laws differ by less than the bound, and by the second order in e at least."""
    s, worst = 6, mpmath.mpf(0)
    with mpmath.workdps(40):
        q = mpmath.exp(-2 * (mpmath.pi * mpmath.mpf(eta)) ** 2)
        e = 2 * q / (1 - q)
        norm = mpmath.fsum(mpmath.exp(-mpmath.mpf(u * u) / (2 * s * s)) for u in range(-90, 91))
        for v in (-4, -1, 0, 2, 3):
            p = mpmath.exp(-mpmath.mpf(v * v) / (2 * s * s)) / norm
            worst = max(worst, abs(mpmath.log(p / rounded_gaussian(v, s, eta))))
        bound = mpmath.log((1 + e) / (1 - e))
    assert e < 3 * q
    assert worst <= max(bound, 1e-30)  # 40 digits cannot resolve the 1e-137 of eta = 4
    assert worst > e**2 / 1000


@pytest.mark.parametrize("s", [4.5, 6.0, 20.0])
@pytest.mark.parametrize("shift", [1, 2, 5])
@pytest.mark.parametrize("eta", [1.0, 4.0])
def test_discrete_releases_keep_the_continuous_guarantee(s, shift, eta, monkeypatch):
    """Exhaustively, for one release and for two."""
    monkeypatch.setattr(accounting, "_SMOOTHING", eta)
    radius = int(12 * s) + shift
    padded = np.pad(discrete_gaussian(s, radius), shift)
    one = padded[shift:], padded[:-shift]
    two = tuple(np.multiply.outer(p, p).ravel() for p in one)
    for n_releases, (p, q) in ((1, one), (2, two)):
        shrink, slack = discreteness(s, 1, n_releases)
        mu = math.sqrt(n_releases) * shift / (s * shrink)
        for epsilon in (0.01, 0.1, 0.5, 1.0, 2.0):
            true = max(np.maximum(0, a - math.exp(epsilon) * b).sum() for a, b in ((p, q), (q, p)))
            assert true <= gaussian_delta(epsilon, mu) + slack + 1e-14


def test_discrete_noise_can_be_worse_than_continuous_noise():
    """Why `discreteness` is needed: at some epsilon the uncorrected delta is exceeded."""
    s, shift = 4.5, 1
    padded = np.pad(discrete_gaussian(s, 60), shift)
    p, q = padded[shift:], padded[:-shift]
    excess = [
        np.maximum(0, p - math.exp(epsilon) * q).sum() - gaussian_delta(epsilon, shift / s)
        for epsilon in np.linspace(0.01, 1, 100)
    ]
    assert max(excess) > 1e-6


def test_discreteness_is_negligible_at_the_spreads_in_use():
    shrink, slack = discreteness(2**10, 2**15, 5000)
    assert 1 - 1e-5 < shrink < 1
    assert 0 < slack < 1e-125
    assert discreteness(2**40, 2**15, 5000)[0] == 1.0


@given(st.floats(4.01, 1e6), st.floats(1.01, 2), st.integers(1, 2**15), st.integers(1, 5000))
def test_discreteness_is_monotone(s, factor, n_coordinates, n_releases):
    shrink, slack = discreteness(s, n_coordinates, n_releases)
    assert 0 < shrink <= discreteness(s * factor, n_coordinates, n_releases)[0] <= 1
    assert slack < discreteness(s, n_coordinates + 1, n_releases)[1]
    assert slack < discreteness(s, n_coordinates, n_releases + 1)[1]


# Errors.


@pytest.mark.parametrize("epsilon", [0, -1.0, math.nan])
def test_bad_epsilon(epsilon):
    for call in (
        lambda: gaussian_delta(epsilon, 1.0),
        lambda: delta_at(epsilon, 1.0, 1),
        lambda: calibrate(epsilon, 1e-5, 1),
    ):
        with pytest.raises(ValueError, match="epsilon must be positive"):
            call()


@pytest.mark.parametrize("delta", [0, 1, -0.1, 1.5, math.nan])
def test_bad_delta(delta):
    for call in (
        lambda: epsilon_at(delta, 1.0, 1),
        lambda: calibrate(1.0, delta, 1),
        lambda: calibrate(math.inf, delta, 1),
    ):
        with pytest.raises(ValueError, match="delta must be between 0 and 1"):
            call()


@pytest.mark.parametrize("count", [0, -3, 2.0])
def test_bad_counts(count):
    for call in (
        lambda: delta_at(1.0, 1.0, count),
        lambda: epsilon_at(1e-5, 1.0, count),
        lambda: calibrate(1.0, 1e-5, count),
        lambda: discreteness(100, 1, count),
    ):
        with pytest.raises(ValueError, match="n_releases must be an integer"):
            call()
    with pytest.raises(ValueError, match="n_coordinates must be an integer"):
        discreteness(100, count, 1)


def test_bad_spreads():
    for multiplier in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="noise_multiplier must be finite"):
            delta_at(1.0, multiplier, 1)
    for mu in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="mu must be positive"):
            gaussian_delta(1.0, mu)
    for s in (4, 0, math.inf):
        with pytest.raises(ValueError, match="sigma_units must be more than 4"):
            discreteness(s, 1, 1)
