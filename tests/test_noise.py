"""The discrete Gaussian sampler: its law, its exact decisions, its errors."""

import itertools
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy import stats

from skfhe.privacy import noise
from skfhe.privacy.noise import MAX_SIGMA, discrete_gaussian, seeded_bytes

# Fixed seeds make every test deterministic; the levels say how surprising the seed would be.
LEVEL = 1e-3


def pmf(sigma):
    """Return the values -8 sigma..8 sigma and their exact probabilities."""
    values = np.arange(-8 * sigma - 8, 8 * sigma + 9)
    weights = np.exp(-((values / sigma) ** 2) / 2)
    return values, weights / weights.sum()


def chi_square(samples, sigma):
    """Return the p-value of the samples under the exact law, rare values merged."""
    values, probabilities = pmf(sigma)
    expected = probabilities * samples.size
    observed = np.array([np.count_nonzero(samples == v) for v in values])
    assert observed.sum() == samples.size
    rare = expected < 10
    return stats.chisquare(
        np.append(observed[~rare], observed[rare].sum()),
        np.append(expected[~rare], expected[rare].sum()),
    ).pvalue


@pytest.mark.parametrize("sigma", [1, 2, 3, 7])
def test_law_for_small_spreads(sigma):
    samples = discrete_gaussian(sigma, 200_000, seeded_bytes(sigma))
    assert chi_square(samples, sigma) > LEVEL


@pytest.mark.parametrize("sigma", [1, 2, 3, 7])
def test_law_when_many_decisions_are_exact(sigma):
    samples = discrete_gaussian(sigma, 10_000, seeded_bytes(10 + sigma), _band=2.0**-3)
    assert chi_square(samples, sigma) > LEVEL


def test_chi_square_can_fail():
    samples = discrete_gaussian(7, 200_000, seeded_bytes(0))
    assert chi_square(np.where(samples == -1, 1, samples), 7) < 1e-9
    rounded = np.random.default_rng(0).normal(0, 1, 200_000).round()
    assert chi_square(rounded, 1) < 1e-9


@pytest.mark.parametrize("sigma", [2**20, 2**40, 2**40 + 1, 2**46])
def test_large_spreads_look_normal(sigma):
    n = 100_000
    samples = discrete_gaussian(sigma, n, seeded_bytes(sigma % 1000))
    z = samples / sigma
    assert samples.dtype == np.int64
    assert stats.kstest(z, "norm").pvalue > LEVEL
    assert abs(z.mean()) < 4 / np.sqrt(n)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs((z**4).mean() - 3) < 4 * np.sqrt(96 / n)
    assert 4 < np.abs(z).max() < 6.5
    # The lowest bits are where a sampler that rounds floats would show.
    assert stats.chisquare(np.bincount(samples & 255)).pvalue > LEVEL


def test_symmetry():
    samples = discrete_gaussian(5, 100_000, seeded_bytes(5))
    positive, negative = np.count_nonzero(samples > 0), np.count_nonzero(samples < 0)
    assert stats.binomtest(positive, positive + negative).pvalue > LEVEL
    assert stats.ks_2samp(samples[samples > 0], -samples[samples < 0]).pvalue > LEVEL


def test_draws_are_independent():
    z = discrete_gaussian(2**30, 100_000, seeded_bytes(6)) / 2**30
    for values, lag in itertools.product((z, np.abs(z)), (1, 2, 3, 7)):
        assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 4 / np.sqrt(z.size)


@pytest.mark.parametrize("size", [0, 1, 5, 8192])
def test_size(size):
    assert discrete_gaussian(4, size).shape == (size,)


def test_system_randomness_differs_and_seeded_bytes_repeat():
    def draw(*args):
        return discrete_gaussian(2**40, 64, *args)

    assert not np.array_equal(draw(), draw())
    np.testing.assert_array_equal(draw(seeded_bytes(3)), draw(seeded_bytes(3)))
    assert not np.array_equal(draw(seeded_bytes(3)), draw(seeded_bytes(4)))


def test_integer_types_are_equal():
    np.testing.assert_array_equal(
        discrete_gaussian(np.int64(9), np.int32(50), seeded_bytes(1)),
        discrete_gaussian(9, 50, seeded_bytes(1)),
    )


@pytest.mark.parametrize("sigma", [0, -1, 1.0, 2.5, "3", None, MAX_SIGMA + 1])
def test_bad_sigma(sigma):
    with pytest.raises(ValueError, match="sigma must be an integer from 1"):
        discrete_gaussian(sigma, 10)


@pytest.mark.parametrize("size", [-1, 2.0, None])
def test_bad_size(size):
    with pytest.raises(ValueError, match="size must be an integer"):
        discrete_gaussian(10, size)


def test_short_random_bytes_are_refused():
    with pytest.raises(ValueError):
        discrete_gaussian(10, 10, lambda count: bytes(count - 1))


# The decisions.


@pytest.mark.parametrize("sigma", [1, 3, 2**40 + 1, 2**46 - 1])
def test_float_values_are_within_the_proved_distance(sigma, monkeypatch):
    """The comment at `_BAND`: all errors but the undrawn bits, against exact arithmetic."""
    below_exp, worst = noise._below_exp, 0.0

    def checked(gamma, exact_gamma, random_bytes, band):
        nonlocal worst
        with mpmath.workdps(50):
            for i in range(0, gamma.size, 11):
                exact = exact_gamma(i)
                true = mpmath.mpf(exact.numerator) / exact.denominator
                assert abs(gamma[i] - true) <= 5.01 * 2.0**-53 * true
                worst = max(worst, abs(np.exp(-gamma[i : i + 1])[0] - mpmath.exp(-true)))
        return below_exp(gamma, exact_gamma, random_bytes, band)

    monkeypatch.setattr(noise, "_below_exp", checked)
    discrete_gaussian(sigma, 2000, seeded_bytes(2))
    assert worst <= 4 * 2.0**-53 < noise._BAND


def test_exact_and_float_decisions_agree():
    """On the same bits of U, deciding everything exactly changes nothing."""
    rng = np.random.default_rng(0)
    exact = [Fraction(int(a), 10**6) for a in rng.integers(0, 5 * 10**6, 3000)]
    gamma = np.array([float(g) for g in exact])
    fast, slow = (
        noise._below_exp(gamma, exact.__getitem__, seeded_bytes(8), band)
        for band in (noise._BAND, 1.0)
    )
    np.testing.assert_array_equal(fast, slow)
    assert 0.1 < fast.mean() < 0.4


def script(*words):
    """Return a source that yields these 64-bit words and then fails."""
    source = iter(words)

    def random_bytes(count):
        assert count == 8
        return next(source).to_bytes(8, "little")

    return random_bytes


@pytest.mark.parametrize(
    "gamma",
    [
        Fraction(1, 2),
        Fraction(1, 3),
        Fraction(1, 2**92),
        Fraction(123456789, 2**41),
        Fraction(6 * 2**80 + 12345 * (6 * 2**40 + 12345), 2**81),
        Fraction(73, 1),
        Fraction(900, 1),
    ],
    ids=str,
)
def test_exact_decision_at_the_threshold(gamma):
    """Bits that follow exp(-gamma) stay undecided; the first that differ decide."""
    decide = noise._below_exp_exactly
    with mpmath.workdps(400):
        p = mpmath.exp(-mpmath.mpf(gamma.numerator) / gamma.denominator)
        bits = int(mpmath.floor(p * 2**245))
    word = [bits >> shift & 2**64 - 1 for shift in (128, 64, 0)]
    first = bits >> 192
    if first > 0:
        assert decide(first - 1, gamma, script())
    if first + 1 < 2**53:
        assert not decide(first + 1, gamma, script())
    # The closest U on either side: one unit off, then the bits that lead back to the threshold.
    for known in range(3):
        below, above = word[known] - 1, word[known] + 1
        if below >= 0:
            assert decide(first, gamma, script(*word[:known], below, 2**64 - 1, 0))
        if above < 2**64:
            assert not decide(first, gamma, script(*word[:known], above, 0, 0))
    with pytest.raises(StopIteration):
        decide(first, gamma, script(*word[:2]))


def test_exact_decision_for_gamma_zero():
    """exp(0) = 1 is above every U, however many of its bits are one."""
    assert noise._below_exp_exactly(2**53 - 2, Fraction(0), script())
    assert noise._below_exp_exactly(2**53 - 1, Fraction(0), script(2**64 - 1, 0))
