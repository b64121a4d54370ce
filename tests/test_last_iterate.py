"""The last iterate: closed form, a case with a known answer, and Monte Carlo."""

import math

import numpy as np
import pytest

from skfhe.privacy.accounting import gaussian_delta, last_iterate_mu

CASES = [(0.0, 5), (0.5, 1), (0.5, 8), (0.9, 30), (0.999, 12), (1 - 1e-12, 40)]


@pytest.mark.parametrize("c, t", CASES)
def test_it_is_never_above_composition(c, t):
    mu = last_iterate_mu(c, t, 2.0)
    assert 0.5 - 1e-15 <= mu <= math.sqrt(t) / 2 * (1 + 1e-12)
    # However long it goes on, it stays below what the geometric series gives.
    assert mu <= math.sqrt((1 + c) / (1 - c)) / 2 * (1 + 1e-12)


@pytest.mark.parametrize("c, t", CASES)
def test_it_is_exact_for_a_quadratic(c, t):
    """Steps w' = c w + shift + noise: means differ by a series, variances add up as another."""
    mean = math.fsum(c**i for i in range(t))
    variance = math.fsum(c ** (2 * i) for i in range(t))
    assert last_iterate_mu(c, t, 3.0) == pytest.approx(mean / math.sqrt(variance) / 3, rel=1e-12)


def test_a_thousandth_is_what_a_dozen_steps_get_of_it():
    """The figure of docs/proofs/rounds.md, statement 14."""
    gain = 1 - last_iterate_mu(0.99, 12, 1.0) / math.sqrt(12)
    assert gain == pytest.approx(0.01**2 * (12**2 - 1) / 24, rel=0.02)
    assert gain < 1e-3


def test_simulated_iterates_are_as_private_as_stated_and_no_more():
    """The best test between two neighbours, on 200,000 runs of each."""
    rng = np.random.default_rng(0)
    c, t, multiplier, n = 0.8, 6, 1.5, 200_000
    iterates = []
    for shift in (0.0, 1.0):
        w = np.zeros(n)
        for _ in range(t):
            w = c * w + shift + multiplier * rng.normal(size=n)
        iterates.append(w)
    mu = last_iterate_mu(c, t, multiplier)
    for epsilon in (0.2, 0.5, 1.0):
        edges = np.quantile(iterates[1], np.linspace(0.01, 0.99, 99))
        found = max(
            np.mean(iterates[1] > edge) - math.exp(epsilon) * np.mean(iterates[0] > edge)
            for edge in edges
        )
        assert found == pytest.approx(gaussian_delta(epsilon, mu), abs=0.01)


@pytest.mark.parametrize(
    "arguments", [(1.0, 3, 1.0), (-0.1, 3, 1.0), (0.5, 0, 1.0), (0.5, 3, 0.0)]
)
def test_what_it_does_not_hold_for_is_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        last_iterate_mu(*arguments)
