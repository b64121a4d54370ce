"""SEAL, measured against the error model of `skfhe.crypto.errors`.

Every test isolates one operation: what is measured is the standard deviation, over the 8,192
plaintext coefficients of several ciphertexts, of (decryption of the result) minus (the exact
operation on the decryption of the operands), in integer units. Operands have a small scale, so
that double precision reads products exactly to a hundredth of a unit. The model takes the
secret's norm at a bound that is 6% above its mean, so roundings measure 3% below it.
"""

import numpy as np
import pytest

from skfhe.crypto import errors as model
from skfhe.crypto.embedding import coefficients_to_slots, slots_to_coefficients
from skfhe.crypto.tenseal import TensealScheme

N = 8192
SCALE = 2.0**10
REPEATS = 6
# Special prime as large as the largest data prime: key switching errs by digits and rounding.
BITS = (50, 40, 30, 30, 50)
# The special prime of a plan: all that the data primes leave.
PLANNED = (51, 57, 32, 33, 41)


@pytest.fixture(scope="module")
def bench(make_ring, make_bench):
    return make_bench(TensealScheme(make_ring(N, *BITS)), (3,))


@pytest.fixture(scope="module")
def planned(make_ring, make_bench):
    return make_bench(TensealScheme(make_ring(N, *PLANNED)), (3,))


def phases(random):
    return np.exp(2j * np.pi * random.random(N // 2))


def fresh_errors(bench, encryptor, level):
    """Decryption minus what was encrypted, for integers that are encoded exactly."""
    random = np.random.default_rng(level)
    found = []
    for _ in range(REPEATS):
        integers = random.integers(-(2**20), 2**20, N)
        data = encryptor.encrypt_integers(integers, SCALE, level)
        found.append(bench.keys.decrypt(data, level, SCALE) - integers)
    return np.array(found)


def relinearisation_errors(bench, level, repeats=REPEATS):
    """Decryption of a relinearised product minus the product of the decryptions."""
    random, ring, evaluator = np.random.default_rng(level), bench.ring, bench.evaluator
    found = []
    for _ in range(repeats):
        a, b = (bench.encrypt(phases(random), SCALE, level) for _ in range(2))
        slots = (coefficients_to_slots(ring, bench.coefficients(c)) for c in (a, b))
        exact = slots_to_coefficients(ring, np.prod(list(slots), axis=0))
        product = evaluator.relinearize(evaluator.multiply(a, b))
        found.append(bench.coefficients(product) - exact)
    return np.array(found)


def automorphism_errors(bench, level, element=3, repeats=REPEATS):
    """Decryption of a + s(a) minus the decryption of a and its image by substitution."""
    random, evaluator = np.random.default_rng(level), bench.evaluator
    power = np.arange(N) * element % (2 * N)
    found = []
    for _ in range(repeats):
        a = bench.encrypt(phases(random), SCALE, level)
        before, image = bench.coefficients(a), np.empty(N)
        image[power % N] = before * np.where(power < N, 1, -1)
        found.append(bench.coefficients(evaluator.project(a, element)) - before - image)
    return np.array(found)


SWITCHES = {"relinearise": relinearisation_errors, "automorphism": automorphism_errors}


@pytest.mark.parametrize("level", range(4))
def test_fresh_symmetric(bench, level):
    errors = fresh_errors(bench, bench.encryptor, level)
    assert np.std(errors) == pytest.approx(model.fresh_error(bench.ring, level, False), rel=0.03)
    assert np.max(np.abs(errors)) <= 21 + 0.01  # 21 bits minus 21 bits


@pytest.mark.parametrize("level", range(4))
def test_fresh_public(bench, level):
    encryptor = bench.scheme.encryptor(bench.keys.public_key())
    errors = fresh_errors(bench, encryptor, level)
    assert np.std(errors) == pytest.approx(model.fresh_error(bench.ring, level, True), rel=0.08)


def test_encoding(bench):
    """The plaintext before it is encrypted: rounding alone, and never above one half."""
    encryptor, ring = bench.encryptor, bench.ring
    slots, scale = phases(np.random.default_rng(0)), 2.0**30
    plaintext = encryptor._encode(slots, scale, ring.top_level)
    decoded = np.array(encryptor._encoder.decode_complex(plaintext))
    errors = slots_to_coefficients(ring, decoded - slots) * scale
    assert np.std(errors) == pytest.approx(model.encoding_error(ring, False), rel=0.05)
    assert np.max(np.abs(errors)) < 0.5001


def test_dithered_encoding(bench):
    """A dither is rounded to 0 or 1 away: variance f (1 - f) for the fraction f, at most 1/4.

    Measured through a fresh encryption of slots whose coefficients are all one half, where the
    bound is attained, and of integers, where no dither shows.
    """
    ring, scale = bench.ring, 2.0**30
    fresh = model.fresh_error(ring, 1, False)
    for fraction, expected in ((0.5, model.encoding_error(ring, True)), (0.0, 0.0)):
        slots = coefficients_to_slots(ring, np.full(N, 1000 + fraction)) / scale
        errors = []
        for _ in range(20):
            data = bench.encryptor.encrypt(slots, scale, 1, dither=True)
            errors.append(bench.keys.decrypt(data, 1, scale) - 1000 - fraction)
        assert np.std(errors) == pytest.approx(np.hypot(fresh, expected), rel=0.005)
        assert abs(np.mean(errors)) < 5 * fresh / np.sqrt(20 * N)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_rescale(bench, level):
    random, evaluator, ring = np.random.default_rng(level), bench.evaluator, bench.ring
    errors = []
    for _ in range(REPEATS):
        a = bench.encrypt(phases(random), SCALE, level)
        exact = bench.coefficients(a) / ring.primes[level]
        errors.append(bench.coefficients(evaluator.rescale(a)) - exact)
    assert np.std(errors) == pytest.approx(model.rescale_error(ring), rel=0.08)


@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize("name", SWITCHES)
def test_key_switch_varies_from_ciphertext_to_ciphertext(bench, name, level):
    """The part of the error that differs between ciphertexts under one key.

    Measured as the deviation from the mean over `REPEATS` ciphertexts, coefficient by
    coefficient, with Bessel's correction.
    """
    varying = SWITCHES[name](bench, level)
    deviation = np.sqrt(np.mean(np.var(varying, axis=0, ddof=1)))
    assert deviation == pytest.approx(model.key_switch_error(bench.ring, level), rel=0.1)


@pytest.mark.parametrize("name", SWITCHES)
def test_key_switch_slot_by_slot(make_ring, make_bench, name):
    """The whole error is understood: mean square over slots and eight keys, each in its unit.

    SEAL's digits lie in [0, q), not around zero. Their deviations from q/2 and the roundings
    differ from ciphertext to ciphertext. Their mean, the polynomial q/2 (1 + X + ... + X^(N-1)),
    is q/(1 - zeta) at a root zeta; times the key's error polynomial, of variance 10.5 N in a
    slot, and divided by the special prime it is the same for every ciphertext of a level.
    """
    ring, ratios = make_ring(N, *BITS), []
    level = ring.top_level
    primes = np.array(ring.primes[: level + 1], dtype=float)
    distance = np.abs(1 - np.exp(1j * np.pi / N * ring.exponents))
    constant = np.sqrt(np.sum(primes**2) * model.ERROR_VARIANCE * N)
    constant = constant / ring.special_modulus / distance
    expected = N * model.key_switch_error(ring, level) ** 2 + constant**2
    for _ in range(8):
        bench = make_bench(TensealScheme(ring), (3,))
        error = SWITCHES[name](bench, level, repeats=1)[0]
        ratios.append(np.abs(coefficients_to_slots(ring, error)) ** 2 / expected)
    assert np.mean(ratios) == pytest.approx(1.0, rel=0.06)


@pytest.mark.parametrize("name", SWITCHES)
def test_key_switch_peak(planned, name):
    """No slot errs by more than the varying part and the offset's peak allow, and slot 0 shows it.

    Both are complex Gaussian over keys and ciphertexts: 6 standard deviations cover all slots.
    """
    level = planned.ring.top_level
    slots = coefficients_to_slots(planned.ring, SWITCHES[name](planned, level, repeats=1)[0])
    varying = model.key_switch_error(planned.ring, level) * np.sqrt(N)
    offset = model.key_switch_offset(planned.ring, level)
    assert np.max(np.abs(slots)) < 6 * np.hypot(varying, offset)
    assert np.abs(slots[0]) > 0.001 * offset > 0


def test_relinearise_then_rescale(bench):
    """After a rescale by a 30-bit prime nothing of the key switch is left but its rounding."""
    ring, evaluator, level = bench.ring, bench.evaluator, 3
    random, errors = np.random.default_rng(0), []
    for _ in range(REPEATS):
        a, b = (bench.encrypt(phases(random), 2.0**20, level) for _ in range(2))
        slots = (coefficients_to_slots(ring, bench.coefficients(c)) for c in (a, b))
        exact = slots_to_coefficients(ring, np.prod(list(slots), axis=0)) / ring.primes[level]
        product = evaluator.rescale(evaluator.relinearize(evaluator.multiply(a, b)))
        errors.append(bench.coefficients(product) - exact)
    assert np.std(errors) == pytest.approx(model.rescale_error(ring), rel=0.08)


def test_rescale_then_relinearise(bench):
    """A size-three ciphertext rounds r_2 s^2 as well: the model's rescale is for size two only.

    Every circuit here relinearises first; this says what the other order would cost, in slots:
    E s(zeta)^4 = 2 (2N/3)^2, so about sqrt(2 (2N/3)) times as much as r_1 s.
    """
    ring, evaluator, level = bench.ring, bench.evaluator, 3
    random, errors = np.random.default_rng(0), []
    for _ in range(REPEATS):
        a, b = (bench.encrypt(phases(random), 2.0**20, level) for _ in range(2))
        slots = (coefficients_to_slots(ring, bench.coefficients(c)) for c in (a, b))
        exact = slots_to_coefficients(ring, np.prod(list(slots), axis=0)) / ring.primes[level]
        product = evaluator.relinearize(evaluator.rescale(evaluator.multiply(a, b)))
        errors.append(bench.coefficients(product) - exact)
    expected = model.rescale_error(ring) * np.sqrt(2 * (2 * N / 3))
    assert np.std(errors) == pytest.approx(expected, rel=0.15)


def test_the_secret_is_ternary_and_dense(bench):
    """Squared norm 2N/3, which the roundings' error rests on: measured through a rescale.

    A rescale of zero encrypted errs by r_0 + r_1 s, whose variance is (1 + ||s||^2)/12.
    """
    evaluator, zero = bench.evaluator, np.zeros(N // 2)
    errors = [
        bench.coefficients(evaluator.rescale(bench.encrypt(zero, SCALE, 2))) for _ in range(10)
    ]
    squared_norm = 12 * np.mean(np.square(errors)) - 1
    assert squared_norm == pytest.approx(2 * N / 3, rel=0.06)
    assert squared_norm < 1.04 * model.secret_norm(bench.ring)
