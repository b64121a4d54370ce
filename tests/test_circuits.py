"""Polynomials as products, and the whole gradient: NumPy formula -> simulated -> tenseal."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skfhe.approximation import PolynomialApproximation
from skfhe.circuits.arithmetic import Arithmetic
from skfhe.circuits.logistic import EncryptedChunk, LogisticSums, residuals
from skfhe.circuits.polynomial import FactoredPolynomial, evaluate
from skfhe.crypto.embedding import slots_to_coefficients
from skfhe.crypto.parameters import Ring
from skfhe.crypto.simulated import SimulatedScheme
from skfhe.crypto.tenseal import TensealScheme
from skfhe.crypto.tracing import TracingEvaluator
from skfhe.packing import Layout
from skfhe.planning.logistic_bounds import error_bounds, label_level, trace_core

DEGREES = range(1, 16, 2)
KINDS = ["minimax", "least_squares", "monotone"]
RADII = [0.9, 2.0, 5.0, 12.0, 45.0]
DIVISORS = [0.5, 1.0, 3.0]

# Primes of 26 bits throughout, for counting levels; many levels and one scale.
LEVELS = Ring(32768, (1 << 60, 1 << 60, *[1 << 26] * 12, 1 << 60))
# Room for any number of feature blocks, for the simulated backend alone.
ROOMY = Ring(16384, ((1 << 55) - 1, (1 << 55) - 1, *[(1 << 30) - 1] * 8, (1 << 60) - 1))


def product_of_factors(factored, z):
    """What the encrypted evaluation multiplies, in double precision."""
    u = factored.alpha * z
    v = u * u
    factors = factored.factors
    value = u if factors.linear is None else u * (v - factors.linear)
    for beta, gamma in factors.quadratics:
        value = value * ((v + beta) ** 2 + gamma)
    return value


def factorisation_error(approximation, divisor):
    """Largest error of the product, relative to the largest value of (p - 1/2)/divisor."""
    z = np.linspace(-approximation.radius, approximation.radius, 1001)
    expected = (approximation(z) - 0.5) / divisor
    found = product_of_factors(FactoredPolynomial.of(approximation, divisor), z)
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))


@pytest.mark.parametrize("degree", DEGREES)
def test_factors_multiply_to_the_polynomial(degree):
    """Worst over all: 7e-12, at degree 15, minimax, radius 45."""
    for kind in KINDS:
        for radius in RADII:
            approximation = PolynomialApproximation.fit(degree, radius, kind)
            for divisor in DIVISORS:
                assert factorisation_error(approximation, divisor) < 1e-9


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(DEGREES)),
    st.sampled_from(KINDS),
    st.floats(0.9, 45.0),
    st.floats(0.5, 3.0),
)
def test_factors_of_any_polynomial(degree, kind, radius, divisor):
    approximation = PolynomialApproximation.fit(degree, radius, kind)
    factored = FactoredPolynomial.of(approximation, divisor)
    assert factorisation_error(approximation, divisor) < 1e-9
    assert factored.reach == pytest.approx(abs(factored.alpha) * radius)
    assert (factored.factors.linear is not None) == (degree % 4 == 3)
    assert 2 * (degree % 4 == 3) + 4 * len(factored.factors.quadratics) + 1 == degree


def test_factors_of_a_polynomial_with_prescribed_roots():
    """Two real roots that pair up, beside a complex pair and a single real one: by hand."""
    z = np.linspace(-1, 1, 101)
    v = z * z
    target = 0.1 * z * (v - 0.3) * (v - 0.5) * (v - 0.7) * ((v + 0.2) ** 2 + 0.05)
    coef = np.polynomial.chebyshev.chebfit(z, target, 11)[1::2]
    approximation = PolynomialApproximation(11, 1.0, "minimax", tuple(coef))
    factored = FactoredPolynomial.of(approximation, 2.0)
    np.testing.assert_allclose(product_of_factors(factored, z), target / 2, atol=1e-13)
    scale = factored.alpha**2
    assert len(factored.factors.quadratics) == 2
    assert any(gamma > 0 for _, gamma in factored.factors.quadratics)
    assert any(gamma < 0 for _, gamma in factored.factors.quadratics)
    assert min(abs(factored.factors.linear / scale - root) for root in (0.3, 0.5, 0.7)) < 1e-6


@pytest.mark.parametrize("degree", DEGREES)
def test_depth(degree):
    """Levels consumed by scale-sized primes: ceil(log2(D + 1)), and none at degree 1."""
    tracer = TracingEvaluator(LEVELS)
    u = tracer.fresh(LEVELS.top_level, 2.0**26, 1.0)
    factored = FactoredPolynomial.of(PolynomialApproximation.fit(degree, 8.0), 1.0)
    core = evaluate(Arithmetic(tracer, 2.0**25), factored, u)
    # At degree 1 the key holder's alpha has done all there is to do.
    expected = math.ceil(math.log2(degree + 1)) if degree > 1 else 0
    assert LEVELS.top_level - core.level == expected
    assert core.scale == 2.0**26
    # Every product is of two ciphertexts: squares and (D + 1)/2 - 1 of the rest, none plain.
    counts = tracer.counts
    assert not any(name == "multiply_plain" for name, _ in counts)


@pytest.mark.parametrize("degree", DEGREES)
def test_polynomial_on_slots(degree):
    bench = SimulatedScheme(ROOMY)
    keys = bench.generate(())
    backend = bench.evaluator(keys.evaluation_keys())
    approximation = PolynomialApproximation.fit(degree, 8.0)
    factored = FactoredPolynomial.of(approximation, 1.5)
    z = np.linspace(-8, 8, ROOMY.slots)
    data = keys.encryptor().encrypt(factored.alpha * z, 2.0**30, ROOMY.top_level)
    value = evaluate(Arithmetic(backend, 2.0**29), factored, backend.load(data))
    np.testing.assert_allclose(value.slots, (approximation(z) - 0.5) / 1.5, atol=1e-10)


@pytest.mark.parametrize("above", [0, 1, 2])
def test_residuals_land_labels_on_the_core(above):
    """The labels' scale is the core's exactly, from however many levels above it."""
    scheme = SimulatedScheme(ROOMY)
    keys = scheme.generate(())
    backend = scheme.evaluator(keys.evaluation_keys())
    random = np.random.default_rng(0)
    core, labels = random.normal(size=(2, ROOMY.slots))
    level, scale = 3, 2.0**51 / 3
    encrypt = keys.encryptor().encrypt
    result = residuals(
        Arithmetic(backend, 2.0**29),
        backend.load(encrypt(core, scale, level)),
        backend.load(encrypt(labels, 2.0**30, level + above)),
        1.7,
    )
    assert result.level == level
    assert result.scale == pytest.approx(scale, rel=1e-13)
    np.testing.assert_allclose(result.slots, core + labels / 1.7, atol=1e-12)


def formula(approximation, rows, targets, weights):
    """sum_i (p(z_i) - y_i) x_i, per column and output."""
    return rows.T @ (approximation(rows @ weights) - targets)


def encrypted_formula(case, bench, rows, targets, weights):
    """The same through the circuit, and all coefficients in units of the sums over S."""
    result = case.gradient(bench, case.chunks(bench, rows, targets), case.weights(bench, weights))
    assert bench.evaluator.level(result) == 0
    coefficients = bench.coefficients(result) / bench.evaluator.scale(result)
    sums = case.DIVISOR * case.layout.unpack_sums(coefficients)
    return sums, coefficients * case.layout.output_norm


CASES = [(1, 300, 7, 2), (3, 300, 11, 2), (3, 1200, 20, 2), (3, 300, 20, 3), (7, 700, 11, 2)]


@pytest.mark.parametrize("degree, n_rows, n_columns, n_classes", CASES)
def test_gradient_simulated(make_case, degree, n_rows, n_columns, n_classes):
    case = make_case(degree, n_rows, n_columns, n_classes)
    bench = case.bench(SimulatedScheme)
    data = case.data(degree)
    sums, coefficients = encrypted_formula(case, bench, *data)
    expected = formula(case.polynomial, *data)
    np.testing.assert_allclose(sums, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    # Classes that only pad carry no gradient: nothing beyond the outputs, however it is read.
    norm = np.linalg.norm(coefficients) * case.DIVISOR
    assert norm == pytest.approx(np.linalg.norm(expected), rel=1e-9)


@pytest.mark.parametrize("blocks", [1, 2, 4, 16])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("degree", [1, 5, 9])
def test_gradient_with_other_feature_blocks(blocks, outputs, degree):
    """Any packing, several chunks, one backend with room for all."""
    layout = Layout(16384, 8192 // blocks // 4 + 77, 5, outputs, blocks)
    scheme = SimulatedScheme(ROOMY)
    keys = scheme.generate(layout.elements)
    backend, encryptor = scheme.evaluator(keys.evaluation_keys()), keys.encryptor()
    approximation = PolynomialApproximation.fit(degree, 6.0)
    factored = FactoredPolynomial.of(approximation, 0.8)
    random = np.random.default_rng(blocks)
    rows = random.normal(size=(layout.n_rows, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    weights = random.normal(size=(5, outputs))
    weights *= 6.0 / np.linalg.norm(weights, axis=0)
    targets = (random.random((layout.n_rows, outputs)) < 0.3).astype(float)

    def encrypt(slots, level):
        return backend.load(encryptor.encrypt(slots, 2.0**30, level))

    chunks, size = [], layout.rows_per_chunk
    for start in range(0, layout.n_rows, size):
        part = slice(start, start + size)
        high = [
            encrypt(layout.pack_rows(rows[part], group), ROOMY.top_level)
            for group in range(layout.groups)
        ]
        low = [backend.switch_to(c, 1) for c in high]
        labels = encrypt(layout.pack_labels(targets[part]), ROOMY.top_level)
        chunks.append(EncryptedChunk(high, low, labels))
    packed = layout.pack_weights(factored.alpha * weights)
    sent = [encrypt(slots, ROOMY.top_level) for slots in packed]
    sums = LogisticSums(Arithmetic(backend, 2.0**29), layout, factored, 0.8, sent)
    result = sums.gradient(chunks)
    assert result.level == 0
    # Read before it is rounded to integers, so that the formula is met to double precision.
    found = slots_to_coefficients(ROOMY, result.slots)
    expected = formula(approximation, rows, targets, weights)
    np.testing.assert_allclose(
        0.8 * layout.unpack_sums(found), expected, rtol=0, atol=1e-9 * np.abs(expected).max()
    )


@pytest.mark.parametrize("degree, n_rows, n_columns, n_classes", CASES)
def test_gradient_encrypted(make_case, degree, n_rows, n_columns, n_classes):
    """End to end on SEAL: every coefficient, outputs or not, within what the plan assumes.

    `Bounds.flooding` is (bound of the error's norm / noise)^2 / 2 for one release, so it gives
    back the bound, of roundings and encryption errors together.
    """
    case = make_case(degree, n_rows, n_columns, n_classes)
    data = case.data(degree)
    sums, coefficients = encrypted_formula(case, case.bench(TensealScheme), *data)
    simulated, exact = encrypted_formula(case, case.bench(SimulatedScheme), *data)
    bounds = error_bounds(case.requirement, case.candidate, (0,))
    bound = math.sqrt(2 * bounds.flooding) * case.requirement.noise_multiplier
    error = np.linalg.norm(coefficients - exact)
    assert bound / 100 < error < bound
    assert np.linalg.norm(sums - simulated) < case.DIVISOR * bound
    # And that bound is small beside what it perturbs: the sum itself.
    assert np.linalg.norm(sums - formula(case.polynomial, *data)) < 1e-2 * np.linalg.norm(sums)


def test_one_row_alone(make_case):
    """A single row at the end of the interval: the gradient is its contribution, nothing else."""
    case = make_case(3, 1, 5)
    weights = case.RADIUS * np.eye(5)[:, :1]
    rows, targets = np.eye(5)[:1], np.zeros((1, 1))
    sums, _ = encrypted_formula(case, case.bench(TensealScheme), rows, targets, weights)
    expected = np.zeros((5, 1))
    expected[0] = case.polynomial(case.RADIUS)
    np.testing.assert_allclose(sums, expected, atol=1e-3)


def test_labels_enter_where_the_trace_says(make_case):
    case = make_case(3, 300, 11)
    core = trace_core(case.requirement, case.candidate, 0).core
    assert label_level(case.candidate, core) in (core.level, core.level + 1)
    assert core.level == 1
