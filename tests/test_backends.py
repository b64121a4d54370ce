"""Every operation on every backend: NumPy formula -> simulated -> tenseal, levels and scales.

`Reference` is the NumPy side: slots, level, scale and a bound of the root mean square error of
a slot, put together from `skfhe.crypto.errors` by the triangle inequality alone.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from helpers import SCALE, N, phases
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from skfhe.crypto import errors as model
from skfhe.crypto.embedding import coefficients_to_slots, slots_to_coefficients
from skfhe.crypto.simulated import SimulatedScheme
from skfhe.crypto.tracing import TracingEvaluator

# X -> X^element negates X^power: what `merge` asks for.
HALVES = {1: N + 1, 2: N // 2 + 1}


@dataclass(frozen=True)
class Value:
    """Slots, bookkeeping and a bound of a slot's root mean square error."""

    slots: np.ndarray
    level: int
    scale: float
    error: float

    @property
    def largest(self):
        return float(np.max(np.abs(self.slots)))


class Reference:
    """The protocol on plain slots. Automorphisms act on coefficients, by their definition."""

    def __init__(self, ring):
        self.ring = ring

    def fresh(self, slots, level, public=False):
        error = np.hypot(
            model.fresh_error(self.ring, level, public), model.encoding_error(self.ring, False)
        )
        return Value(slots, level, SCALE, self._slot(error, SCALE))

    def _slot(self, coefficient_error, scale):
        return coefficient_error * np.sqrt(self.ring.poly_modulus_degree) / scale

    def level(self, a):
        return a.level

    def scale(self, a):
        return a.scale

    def add(self, a, b):
        return replace(a, slots=a.slots + b.slots, error=a.error + b.error)

    def add_constant(self, a, value):
        return replace(a, slots=a.slots + value, error=a.error + 0.5 / a.scale)

    def multiply(self, a, b):
        error = a.error * b.largest + b.error * a.largest + a.error * b.error
        return Value(a.slots * b.slots, a.level, a.scale * b.scale, error)

    def dot(self, left, right):
        terms = [self.multiply(a, b) for a, b in zip(left, right, strict=True)]
        total = replace(terms[0], slots=sum(t.slots for t in terms))
        # Errors of different fresh ciphertexts are independent, but what is a bound need not be.
        return self.relinearize(replace(total, error=sum(t.error for t in terms)))

    def relinearize(self, a):
        switch = model.key_switch_error(self.ring, a.level)
        return replace(a, error=a.error + self._slot(switch, a.scale))

    def rescale(self, a):
        scale = a.scale / self.ring.primes[a.level]
        error = a.error + self._slot(model.rescale_error(self.ring), scale)
        return replace(a, level=a.level - 1, scale=scale, error=error)

    def switch_to(self, a, level):
        return replace(a, level=level)

    def multiply_constant(self, a, value, scale):
        error = a.error * (abs(value) + 0.5 / scale) + a.largest * 0.5 / scale
        return Value(a.slots * value, a.level, a.scale * scale, error)

    def multiply_monomial(self, a, power):
        return replace(a, slots=a.slots * self._monomial(power))

    def project(self, a, element):
        slots = (a.slots + self._automorphism(a.slots, element)) / 2
        moved = replace(a, scale=2 * a.scale)
        return replace(self.relinearize(moved), slots=slots)

    def merge(self, a, b, power, element):
        first, second = self.project(a, element), self.project(b, element)
        slots = first.slots + self._monomial(power) * second.slots
        return replace(first, slots=slots, error=first.error + b.error)

    def _monomial(self, power):
        # Reduced exactly: the exponents are integers, the exponential comes last.
        n = self.ring.poly_modulus_degree
        return np.exp(1j * np.pi * (self.ring.exponents * power % (2 * n)) / n)

    def _automorphism(self, slots, element):
        n = self.ring.poly_modulus_degree
        power = np.arange(n) * element % (2 * n)
        moved = np.empty(n)
        moved[power % n] = slots_to_coefficients(self.ring, slots) * np.where(power < n, 1, -1)
        return coefficients_to_slots(self.ring, moved)


def rms(values):
    return float(np.sqrt(np.mean(np.abs(values) ** 2)))


class Quartet:
    """One value on all four sides: reference, tracing, simulated and tenseal."""

    def __init__(self, ring, simulated, encrypted=None):
        self.ring = ring
        self.benches = [simulated] + ([encrypted] if encrypted else [])
        self.reference = Reference(ring)
        self.evaluators = [
            self.reference,
            TracingEvaluator(ring),
            *(bench.evaluator for bench in self.benches),
        ]

    def fresh(self, seed, level=None):
        level = self.ring.top_level if level is None else level
        slots = phases(seed, self.ring)
        return [
            self.reference.fresh(slots, level),
            self.evaluators[1].fresh(level, SCALE, 1.0),
            *(bench.encrypt(slots, SCALE, level) for bench in self.benches),
        ]

    def apply(self, operation, *operands):
        """``operation(evaluator, *operands)`` on every side."""
        return [operation(e, *(o[i] for o in operands)) for i, e in enumerate(self.evaluators)]

    def check(self, value, tightest=0.0):
        """Same level and scale; slots within the predicted error, and not far below it."""
        expected = value[0]
        for evaluator, item in zip(self.evaluators[1:], value[1:], strict=True):
            assert evaluator.level(item) == expected.level
            assert evaluator.scale(item) == pytest.approx(expected.scale, rel=1e-12)
        exact = self.benches[0].slots(value[2])
        tolerance = 1e-12 * max(1.0, expected.largest) * self.ring.poly_modulus_degree**0.5
        assert np.max(np.abs(exact - expected.slots)) < tolerance
        for bench, item in zip(self.benches[1:], value[3:], strict=True):
            ratio = rms(bench.slots(item) - expected.slots) / expected.error
            assert tightest < ratio < 1.1, ratio


# name: (operation, least share of the predicted error that must be there)
OPERATIONS = {
    "add": (lambda e, a, b: e.add(a, b), 0.6),
    "add_constant": (lambda e, a, b: e.add_constant(a, -2.718281828), 0.9),
    "multiply": (lambda e, a, b: e.relinearize(e.multiply(a, b)), 0.6),
    "square": (lambda e, a, b: e.relinearize(e.multiply(a, a)), 0.9),
    "dot": (lambda e, a, b: e.dot([a, b, a], [b, b, a]), 0.3),
    "rescale": (lambda e, a, b: e.rescale(e.relinearize(e.multiply(a, b))), 0.6),
    "switch_to": (lambda e, a, b: e.switch_to(a, 1), 0.9),
    "switch_to its own level": (lambda e, a, b: e.switch_to(a, e.level(a)), 0.9),
    # The error of the constant is one rounding of at most 1/2: it may be any share of that.
    "multiply_constant": (lambda e, a, b: e.multiply_constant(a, 3.25, 2.0**20), 0.6),
    "multiply_constant, rounded": (lambda e, a, b: e.multiply_constant(a, 1 / 3, 2.0**25), 0.2),
    "multiply_monomial": (lambda e, a, b: e.multiply_monomial(a, -5), 0.9),
    "project": (lambda e, a, b: e.project(a, 3), 0.3),
    "project on real slots": (lambda e, a, b: e.project(a, 2 * N - 1), 0.3),
    "merge 1": (lambda e, a, b: e.merge(a, b, 1, HALVES[1]), 0.3),
    "merge 2": (lambda e, a, b: e.merge(a, b, 2, HALVES[2]), 0.3),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name, ring, simulated, encrypted):
    operation, tightest = OPERATIONS[name]
    quartet = Quartet(ring, simulated, encrypted)
    for level in (ring.top_level, 1):
        a, b = quartet.fresh(1, level), quartet.fresh(2, level)
        if name != "switch_to" or level > 1:
            quartet.check(quartet.apply(operation, a, b), tightest)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_leave_their_operands_alone(name, ring, simulated, encrypted):
    operation, _ = OPERATIONS[name]
    for bench in (simulated, encrypted):
        a, b = (bench.encrypt(phases(seed, ring), SCALE) for seed in (1, 2))
        before = bench.coefficients(a), bench.coefficients(b)
        operation(bench.evaluator, a, b)
        np.testing.assert_array_equal(before[0], bench.coefficients(a))
        np.testing.assert_array_equal(before[1], bench.coefficients(b))


def test_relinearize_leaves_its_operand_alone(ring, encrypted):
    """As on the other backends, where values are immutable: a product can be used twice."""
    evaluator = encrypted.evaluator
    a = encrypted.encrypt(phases(1, ring), SCALE)
    product = evaluator.multiply(a, a)
    evaluator.relinearize(product)
    assert product.size() == 3


def test_automorphisms_move_slots_that_are_not_fixed(ring, simulated, encrypted):
    """A projection applied twice is the projection once: exactly, so errors stay small."""
    quartet = Quartet(ring, simulated, encrypted)
    a = quartet.fresh(5)
    twice = quartet.apply(lambda e, a: e.project(e.project(a, N + 1), N + 1), a)
    quartet.check(twice)
    once = quartet.apply(lambda e, a: e.project(a, N + 1), a)
    np.testing.assert_allclose(twice[0].slots, once[0].slots, atol=1e-12)


step = st.tuples(
    st.sampled_from(
        ["add", "constant", "product", "square", "rescale", "switch", "scale", "monomial",
         "project", "merge"]
    ),
    st.integers(0, 7),
    st.integers(0, 7),
    st.integers(-20, 20),
)  # fmt: skip


def run(quartet, program):
    """Run a random program; what would not fit, or does not go together, is left out."""
    ring = quartet.ring
    pool = [quartet.fresh(seed) for seed in range(3)]
    for name, first, second, number in program:
        a, b = pool[first % len(pool)], pool[second % len(pool)]
        level = a[0].level
        aligned = level == b[0].level
        same = aligned and np.isclose(a[0].scale, b[0].scale, rtol=1e-12)
        room = ring.modulus_bits(level) - 3 - np.log2(max(a[0].largest, 1.0))
        bits = np.log2(a[0].scale)
        fits = bits + np.log2(b[0].scale * max(b[0].largest, 1)) < room
        if name == "add" and same and a[0].largest + b[0].largest < 8:
            value = quartet.apply(lambda e, a, b: e.add(a, b), a, b)
        elif name == "constant" and a[0].largest < 4:
            value = quartet.apply(lambda e, a, c=number / 7: e.add_constant(a, c), a)
        elif name == "product" and aligned and fits:
            value = quartet.apply(lambda e, a, b: e.relinearize(e.multiply(a, b)), a, b)
        elif name == "square" and 2 * bits + np.log2(max(a[0].largest, 1)) < room:
            value = quartet.apply(lambda e, a: e.relinearize(e.multiply(a, a)), a)
        elif name == "rescale" and level and a[0].scale > 2.0**20 * ring.primes[level]:
            value = quartet.apply(lambda e, a: e.rescale(a), a)
        elif name == "switch" and level and bits + 3 < ring.modulus_bits(level - 1):
            if np.log2(max(a[0].largest, 1)) + bits + 3 > ring.modulus_bits(level - 1):
                continue
            value = quartet.apply(lambda e, a, to=level - 1: e.switch_to(a, to), a)
        elif name == "scale" and number and bits + 25 < room:
            value = quartet.apply(
                lambda e, a, c=number / 16: e.multiply_constant(a, c, 2.0**20), a
            )
        elif name == "monomial":
            value = quartet.apply(lambda e, a, p=number: e.multiply_monomial(a, p), a)
        elif name == "project" and bits + 1 < room:
            element = (3, N + 1, N // 2 + 1, 2 * N - 1)[second % 4]
            value = quartet.apply(lambda e, a, s=element: e.project(a, s), a)
        elif name == "merge" and same and bits + 2 < room and b[0].largest < 4:
            power = 1 + number % 2
            value = quartet.apply(lambda e, a, b, p=power: e.merge(a, b, p, HALVES[p]), a, b)
        else:
            continue
        if value[0].largest < 2.0**-10:  # nothing left to compare
            continue
        pool.append(value)
    return pool


@settings(max_examples=40, deadline=None)
@given(program=st.lists(step, min_size=4, max_size=20))
def test_random_circuits_simulated(program, ring, simulated):
    quartet = Quartet(ring, simulated)
    for value in run(quartet, program):
        quartet.check(value)


# Not shrunk: a failure is found again by its program, and shrinking takes minutes here.
@settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])
@given(program=st.lists(step, min_size=10, max_size=20))
def test_random_circuits_encrypted(program, ring, simulated, encrypted):
    quartet = Quartet(ring, simulated, encrypted)
    for value in run(quartet, program):
        quartet.check(value)


def test_simulated_errors_are_those_of_the_model(ring, make_bench):
    """With errors on, the simulated backend errs as the encrypted one is predicted to."""
    noisy = make_bench(SimulatedScheme(ring, errors=True), (3, N + 1, N // 2 + 1, 2 * N - 1))
    quartet = Quartet(
        ring, make_bench(SimulatedScheme(ring), tuple(HALVES.values()) + (3,)), noisy
    )
    for name in ("add", "rescale", "project", "merge 1", "multiply"):
        operation, tightest = OPERATIONS[name]
        quartet.check(quartet.apply(operation, quartet.fresh(1), quartet.fresh(2)), tightest)


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("level", [1, 2])
def test_integers_are_encrypted_exactly(ring, encrypted, public, level):
    """Noise of spread 2^44: what comes back differs by the encryption's error alone.

    Read in slots by double precision, 2^44 rounds to about 2^-8: far below an error of 3.24. A
    single coefficient misrounded by the encoder would be unseen, so a shift of all by its half
    is not what is tested, but that no coefficient is off by more than errors can be.
    """
    encryptor = encrypted.encryptor
    if public:
        encryptor = encrypted.scheme.encryptor(encrypted.keys.public_key())
    random = np.random.default_rng(level)
    integers = np.rint(random.normal(0, 2.0**44, N)).astype(np.int64)
    data = encryptor.encrypt_integers(integers, 2.0**35, level)
    error = encrypted.keys.decrypt(data, level, 2.0**35) - integers
    predicted = model.fresh_error(ring, level, public)
    assert np.std(error) == pytest.approx(predicted, rel=0.06)
    assert np.max(np.abs(error)) < (60 if not public else 7 * predicted)
    assert abs(np.mean(error)) < 5 * predicted / np.sqrt(N)


def test_the_encoding_of_integers_has_no_rounding_at_all(ring, encrypted):
    """The plaintext itself, before encryption, against the integers."""
    encryptor = encrypted.encryptor
    random = np.random.default_rng(0)
    integers = np.rint(random.normal(0, 2.0**44, N)).astype(np.int64)
    slots = coefficients_to_slots(ring, integers)
    plaintext = encryptor._encode(slots, 1.0, 1)
    decoded = np.array(encryptor._encoder.decode_complex(plaintext))
    assert np.max(np.abs(slots_to_coefficients(ring, decoded) - integers)) < 0.25


def test_integers_too_large_to_encode_are_refused(encrypted):
    with pytest.raises(ValueError, match=r"below 2\^48"):
        encrypted.encryptor.encrypt_integers(np.full(N, 2**49), SCALE, 1)


def test_public_encryption(ring, simulated, encrypted):
    for bench in (simulated, encrypted):
        public = bench.scheme.encryptor(bench.keys.public_key())
        slots = phases(3, ring)
        a = bench.evaluator.load(public.encrypt(slots, SCALE, 2))
        fresh = np.hypot(model.fresh_error(ring, 2, True), model.encoding_error(ring, False))
        assert bench.evaluator.level(a) == 2
        assert rms(bench.slots(a) - slots) < 1.1 * fresh * np.sqrt(N) / SCALE


def test_seeded_ciphertexts_are_half_the_size(ring, encrypted):
    data = encrypted.encryptor.encrypt(phases(1, ring), SCALE, ring.top_level)
    assert len(data) < 0.55 * len(encrypted.evaluator.save(encrypted.evaluator.load(data)))
