"""Releases that follow earlier ones, and bounds that may fail: exact divergences of small cases.

Statements 3 and 7 of docs/proofs are attacked where they can be computed: two releases of one
number each, the first of which decides what the second may do.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_ndtr, ndtr

from skfhe.privacy.accounting import gaussian_delta
from skfhe.privacy.composition import Composition

# First releases, standardised; the trapezoidal rule on them errs by less than this.
FIRST = np.linspace(-12.0, 13.0, 4_001)
INTEGRATION = 1e-6
mus, epsilons = st.floats(0.05, 2.0), st.floats(0.01, 3.0)
# What the second release's sensitivity is of its bound, with its sign, where the first one falls.
choices = st.lists(st.sampled_from([-1.0, 0.0, 1.0]) | st.floats(-1, 1), min_size=1, max_size=8)


def density(x):
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def excess(epsilon, mu):
    """delta of a Gaussian release at any real epsilon, negative ones too; mu may be zero."""
    mu = np.maximum(np.abs(mu), 1e-12)
    second = np.exp(epsilon + log_ndtr(-epsilon / mu - mu / 2))
    return np.maximum(ndtr(-epsilon / mu + mu / 2) - second, 0.0)


def divergence(mu, second, epsilon, bad=None):
    """The exact delta between N(0, 1) and N(mu, 1), each followed by a release that depends on it.

    `second` is the shift of the second release for every first one; where `bad`, what follows
    tells the neighbours apart with certainty.
    """
    ratio = mu * FIRST - mu**2 / 2
    inside = np.exp(ratio) * excess(epsilon - ratio, second)
    if bad is not None:
        inside = np.where(bad, np.exp(ratio), inside)
    return float(np.trapezoid(inside * density(FIRST), FIRST))


def stepwise(values):
    """One value for each of equally likely first releases."""
    return np.array(values)[np.minimum((ndtr(FIRST) * len(values)).astype(int), len(values) - 1)]


@settings(max_examples=100, deadline=None)
@given(mus, mus, choices, epsilons)
def test_a_release_may_follow_earlier_ones_within_its_bound(first, second, shares, epsilon):
    """Whatever the second query makes of the first release, two are worth the squares' sum."""
    found = divergence(first, second * stepwise(shares), epsilon)
    assert found <= gaussian_delta(epsilon, math.hypot(first, second)) + INTEGRATION


@pytest.mark.parametrize("first, second", [(0.3, 0.3), (1.0, 0.5), (0.1, 2.0)])
def test_a_bound_that_is_attained_leaves_nothing_over(first, second):
    """Equality where the second release always moves by its bound; beyond it, more is told."""
    together = math.hypot(first, second)
    for epsilon in (0.1, 0.5, 1.0):
        promised = gaussian_delta(epsilon, together)
        whole = np.full_like(FIRST, second)
        assert divergence(first, whole, epsilon) == pytest.approx(promised, abs=INTEGRATION)
        # A tenth more after the likelier half of first releases breaks the promise.
        beyond = np.where(first / 2 < FIRST, 1.1 * second, second)
        assert divergence(first, beyond, epsilon) > promised + 10 * INTEGRATION


@settings(max_examples=100, deadline=None)
@given(mus, mus, epsilons, st.floats(-3, 3), st.floats(0.01, 6))
def test_failures_cost_their_probability_and_no_more(first, second, epsilon, start, width):
    """Where first releases lead to a second query beyond all bounds: beta once, at any epsilon."""
    bad = (start <= FIRST) & (start + width >= FIRST)
    # beta bounds the probability for either neighbour, as a certificate's does.
    beta = max(float(np.trapezoid(bad * density(FIRST - shift), FIRST)) for shift in (0.0, first))
    cost = Composition(math.hypot(first, second) ** 2, beta, 0.0).cost_in_delta
    found = divergence(first, np.full_like(FIRST, second), epsilon, bad)
    assert found <= gaussian_delta(epsilon, math.hypot(first, second)) + cost + INTEGRATION


def test_failures_can_cost_their_whole_probability():
    """Where first releases are rare for one neighbour and nearly impossible for the other."""
    bad = FIRST > 5.0
    beta = float(np.trapezoid(bad * density(FIRST - 1.0), FIRST))
    cost = Composition(1.04, beta, 0.0).cost_in_delta
    promised = gaussian_delta(8.0, math.sqrt(1.04))
    found = divergence(1.0, np.full_like(FIRST, 0.2), 8.0, bad)
    assert promised + 0.95 * beta < found <= promised + cost + 1e-3 * beta
