"""The canonical embedding: round trips, the definition of a slot, SEAL's encoder, X -> X^a."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skfhe.crypto.embedding import (
    coefficients_to_slots,
    galois_slots,
    monomial_slots,
    slots_to_coefficients,
)
from skfhe.crypto.parameters import Ring, slot_exponents

SMALL = Ring(4096, (68719403009, 68719230977, 17179672577))
N = SMALL.poly_modulus_degree


def random_slots(seed, n=N // 2):
    random = np.random.default_rng(seed)
    return random.normal(size=n) + 1j * random.normal(size=n)


def substituted(coefficients, element):
    """Coefficients of m(X^element), with X^N = -1, from the definition."""
    n = len(coefficients)
    power = np.arange(n) * element % (2 * n)
    result = np.zeros(n)
    result[power % n] = np.where(power < n, coefficients, -coefficients)
    return result


def test_exponents_are_the_powers_of_three_and_miss_no_conjugate_pair():
    exponents = slot_exponents(N)
    assert exponents[0] == 1
    np.testing.assert_array_equal(exponents[1:], exponents[:-1] * 3 % (2 * N))
    pairs = np.concatenate([exponents, 2 * N - exponents])
    np.testing.assert_array_equal(np.sort(pairs), np.arange(1, 2 * N, 2))


def test_slots_are_values_at_the_roots():
    """Against direct evaluation of a sparse polynomial at zeta^(3^j), digit by digit."""
    terms = {0: 0.5, 1: -2.0, 2: 3.0, 5: 0.25, 17: 1.0, N - 1: -1.5}
    coefficients = np.zeros(N)
    coefficients[list(terms)] = list(terms.values())
    slots = coefficients_to_slots(SMALL, coefficients)
    exponent = 1
    for j in range(200):
        # Reduced exactly before the exponential, so that the reference has no rounding to share.
        value = sum(
            c * np.exp(1j * np.pi * (exponent * power % (2 * N)) / N) for power, c in terms.items()
        )
        assert abs(slots[j] - value) < 1e-12
        exponent = exponent * 3 % (2 * N)


def test_round_trips():
    slots = random_slots(0)
    coefficients = np.random.default_rng(1).normal(size=N)
    there = coefficients_to_slots(SMALL, slots_to_coefficients(SMALL, slots))
    np.testing.assert_allclose(there, slots, rtol=0, atol=1e-12)
    back = slots_to_coefficients(SMALL, coefficients_to_slots(SMALL, coefficients))
    np.testing.assert_allclose(back, coefficients, rtol=0, atol=1e-12)


def test_embedding_is_sqrt_n_times_an_isometry():
    """The mean square of slots is N times that of coefficients: what the error model rests on."""
    coefficients = np.random.default_rng(2).normal(size=N)
    slots = coefficients_to_slots(SMALL, coefficients)
    assert np.mean(np.abs(slots) ** 2) == pytest.approx(N * np.mean(coefficients**2), rel=1e-12)


def test_products_of_slots_are_negacyclic_products():
    random = np.random.default_rng(3)
    a, b = random.normal(size=N), random.normal(size=N)
    full = np.convolve(a, b)
    product = full[:N] - np.append(full[N:], 0.0)
    slots = coefficients_to_slots(SMALL, a) * coefficients_to_slots(SMALL, b)
    np.testing.assert_allclose(slots_to_coefficients(SMALL, slots), product, atol=1e-9)


def test_agrees_with_seals_encoder(ring, encrypted):
    """Slots encoded by SEAL and read as coefficients, and back, at a scale of 2^40."""
    encryptor = encrypted.encryptor
    slots, scale = random_slots(4, ring.slots), 2.0**40
    plaintext = encryptor._encode(slots, scale, ring.top_level)
    decoded = np.array(encryptor._encoder.decode_complex(plaintext))
    coefficients = slots_to_coefficients(ring, decoded) * scale
    # What SEAL holds are integers, the roundings of what this module computes.
    np.testing.assert_allclose(coefficients, np.rint(coefficients), atol=0.01)
    expected = slots_to_coefficients(ring, slots) * scale
    assert np.max(np.abs(np.rint(coefficients) - expected)) < 0.51


def test_seal_multiplies_by_the_monomial_that_is_meant(ring, encrypted):
    """X^1 encoded through `monomial_slots` is coefficient 1 at place 1 for SEAL."""
    encryptor = encrypted.encryptor
    plaintext = encryptor._encode(monomial_slots(ring, 1), 2.0**30, 0)
    decoded = np.array(encryptor._encoder.decode_complex(plaintext))
    coefficients = np.rint(slots_to_coefficients(ring, decoded) * 2.0**30)
    assert coefficients[1] == 2**30
    assert np.count_nonzero(coefficients) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(-3 * N, 3 * N))
def test_monomial_slots(power):
    coefficients = np.zeros(N)
    coefficients[power % N] = 1.0 if power % (2 * N) < N else -1.0
    slots = monomial_slots(SMALL, power)
    np.testing.assert_allclose(slots, coefficients_to_slots(SMALL, coefficients), atol=1e-11)
    np.testing.assert_allclose(slots * monomial_slots(SMALL, -power), 1.0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, N - 1).map(lambda k: 2 * k + 1), st.integers(0, 2**32))
def test_galois_slots_are_the_substitution(element, seed):
    coefficients = np.random.default_rng(seed).normal(size=N)
    source, conjugate = galois_slots(SMALL, element)
    moved = coefficients_to_slots(SMALL, coefficients)[source]
    moved[conjugate] = moved[conjugate].conj()
    expected = coefficients_to_slots(SMALL, substituted(coefficients, element))
    np.testing.assert_allclose(moved, expected, atol=1e-9)
    assert np.array_equal(np.sort(source), np.arange(N // 2))
