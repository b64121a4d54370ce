"""Releases in the clear: their sensitivity, their noise, and what they cost."""

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skfhe import BudgetExceeded, PrivacyLedger
from skfhe.privacy import accounting
from skfhe.privacy.mechanism import GaussianMechanism
from skfhe.privacy.noise import seeded_bytes

NAMES = {"mechanism": "test", "neighboring": "add_remove"}


def release(values, sensitivity, epsilon, delta, **keywords):
    mechanism = GaussianMechanism.calibrate(len(values), sensitivity, epsilon, delta)
    return mechanism.release(values, **keywords)


def noiseless(mechanism, values):
    """What the mechanism rounds the values to: the same noise is under both sums."""
    noise = mechanism.release(np.zeros(len(values)), random_bytes=seeded_bytes(0), **NAMES)
    return mechanism.release(values, random_bytes=seeded_bytes(0), **NAMES) - noise


@pytest.mark.parametrize("sensitivity", [1e-30, 0.3, 1.0, 2.0, 1e12])
def test_the_noise_has_its_spread(sensitivity):
    n = 4000
    mechanism = GaussianMechanism.calibrate(n, sensitivity, 0.5, 1e-6)
    released = mechanism.release(np.zeros(n), random_bytes=seeded_bytes(1), **NAMES)
    least = sensitivity * accounting.calibrate(0.5, 0.99e-6, 1)
    assert least < mechanism.spread < 1.001 * least
    # Five deviations of a sample's variance.
    assert abs(np.var(released) / mechanism.spread**2 - 1) < 5 * math.sqrt(2 / n)
    assert abs(np.mean(released)) < 5 * mechanism.spread / math.sqrt(n)


@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 1.0, 20.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5])
def test_the_ledger_is_debited_what_was_asked_and_no_more(epsilon, delta):
    ledger = PrivacyLedger(epsilon=epsilon, delta=delta)
    release([3.0, 4.0], 1.7, epsilon, delta, ledger=ledger, **NAMES)
    assert 0.999 * epsilon < ledger.spent().epsilon <= epsilon
    (entry,) = ledger.entries()
    assert entry.mechanism == "test"
    assert entry.neighboring == "add_remove"
    assert entry.n_releases == 1
    with pytest.raises(BudgetExceeded):
        release([3.0, 4.0], 1.7, epsilon, delta, ledger=ledger, **NAMES)


def test_the_multiplier_is_spread_over_sensitivity_of_what_is_rounded():
    mechanism = GaussianMechanism.calibrate(9, 0.7, 1.0, 1e-5)
    unit = 2.0**mechanism.exponent
    assert mechanism.sensitivity == pytest.approx(0.7 + 3 * unit, rel=1e-12)
    ratio = mechanism.spread / mechanism.sensitivity
    assert 0.999 * ratio < mechanism.noise_multiplier < ratio
    assert mechanism.noise_multiplier >= accounting.calibrate(1.0, 0.99e-5, 1)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1, 1)), min_size=1, max_size=6),
    st.floats(1e-3, 1e3),
)
def test_rounding_stays_within_the_stated_sensitivity(pairs, sensitivity):
    values, step = map(np.array, zip(*pairs, strict=True))
    norm = np.linalg.norm(step)
    if norm:
        step = step / norm * sensitivity * (1 - 1e-12)
    mechanism = GaussianMechanism.calibrate(len(values), sensitivity, 1.0, 1e-5)
    unit = 2.0**mechanism.exponent
    moved = noiseless(mechanism, values + step) - noiseless(mechanism, values)
    room = 1e-12 * np.abs(values).max()  # of the addition in this test
    assert np.linalg.norm(moved) <= mechanism.sensitivity + room
    assert np.abs(noiseless(mechanism, values) - values).max() <= unit / 2


def test_the_slack_for_rounding_is_needed_and_tight():
    """Halves that round apart: a whole unit in every coordinate."""
    mechanism = GaussianMechanism.calibrate(100, 1.0, 1.0, 1e-5)
    unit = 2.0**mechanism.exponent
    below, above = np.full(100, 0.5 * unit), np.full(100, np.nextafter(0.5, 1) * unit)
    moved = np.linalg.norm(noiseless(mechanism, above) - noiseless(mechanism, below))
    assert moved == pytest.approx(10 * unit)


def test_released_values_are_on_the_grid():
    mechanism = GaussianMechanism.calibrate(50, 3.3, 1.0, 1e-5)
    released = mechanism.release(np.linspace(-9, 9, 50), **NAMES)
    units = released / 2.0**mechanism.exponent
    np.testing.assert_array_equal(units, np.rint(units))
    assert 2**19 <= 3.3 / 2.0**mechanism.exponent <= 2**20


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, 2.0**34])
def test_huge_and_missing_values_are_refused_before_the_debit(bad):
    ledger = PrivacyLedger(epsilon=1.0, delta=1e-5)
    with pytest.raises(ValueError, match="finite and at most"):
        release([0.0, bad], 1.0, 0.1, 1e-6, ledger=ledger, **NAMES)
    assert not ledger.entries()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0.0, 1.0, 1e-5), "sensitivity must"),
        ((math.nan, 1.0, 1e-5), "sensitivity must"),
        ((math.inf, 1.0, 1e-5), "sensitivity must"),
        ((1.0, 0.0, 1e-5), "epsilon must"),
        ((1.0, math.inf, 1e-5), "epsilon must"),
        ((1.0, 1.0, 1.0), "delta must"),
        ((1.0, 1.0, 1e-100), "larger epsilon or delta"),
        ((1.0, 1e-9, 1e-5), "epsilon must"),
    ],
)
def test_bad_parameters_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        release([0.0], *arguments, **NAMES)


def test_the_least_epsilon_can_be_drawn():
    for delta in (1e-12, 1e-6, 0.5):
        assert np.isfinite(release(np.zeros(1000), 1.0, 1e-6, delta, **NAMES)).all()


def test_a_wrong_number_of_values_is_refused():
    mechanism = GaussianMechanism.calibrate(2, 1.0, 1.0, 1e-5)
    with pytest.raises(ValueError, match="shape"):
        mechanism.release([1.0], **NAMES)


def test_the_debit_comes_before_the_noise():
    """Whatever fails after it can only over-count."""
    ledger = PrivacyLedger(epsilon=math.inf, delta=1e-5)

    def failing(count):
        raise OSError("no randomness")

    with pytest.raises(OSError, match="no randomness"):
        release([0.0], 1.0, 1.0, 1e-5, ledger=ledger, random_bytes=failing, **NAMES)
    assert len(ledger.entries()) == 1


def test_seeded_noise_is_debited_without_limit():
    ledger = PrivacyLedger(epsilon=math.inf, delta=1e-5)
    release([0.0], 1.0, 1.0, 1e-5, ledger=ledger, random_bytes=seeded_bytes(0), **NAMES)
    assert math.isinf(ledger.spent().epsilon)
    finite = PrivacyLedger(epsilon=100.0, delta=1e-5)
    with pytest.raises(BudgetExceeded, match="seeded"):
        release([0.0], 1.0, 1.0, 1e-5, ledger=finite, random_bytes=seeded_bytes(0), **NAMES)


def test_noise_is_fresh_each_time():
    a, b = (release(np.zeros(8), 1.0, 1.0, 1e-5, random_bytes=os.urandom, **NAMES) for _ in "ab")
    assert not (a == b).any()
