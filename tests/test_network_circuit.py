"""A network's gradient: NumPy formula -> simulated -> tenseal, and what its tracing predicts."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import ring_of
from hypothesis import given, settings
from hypothesis import strategies as st
from network_helpers import (
    NetworkBench,
    NetworkLockstep,
    candidate_of,
    draw_point,
    draw_rows,
    exact_sums,
    flat,
    labels_of,
    layout_of,
    make_network,
    only_entry,
    requirement_of,
    shaped,
    whole,
)
from test_tracing import CountingSeal

from skfhe import EncryptedDPMLPClassifier
from skfhe.approximation import ActivationPolynomial
from skfhe.circuits.activation import FactoredActivation, activate
from skfhe.circuits.arithmetic import Arithmetic
from skfhe.circuits.logistic import margins
from skfhe.circuits.network import STRADDLING, NetworkChunk, NetworkWeights, chunk_gradients
from skfhe.crypto.parameters import Ring
from skfhe.crypto.simulated import SimulatedScheme
from skfhe.crypto.tenseal import TensealScheme
from skfhe.crypto.tracing import TracingEvaluator
from skfhe.planning.network import NetworkSizing
from skfhe.planning.network_bounds import _operands, trace_chunk
from skfhe.planning.requirement import PRODUCT_LEVEL

# Room for any polynomials and layout, for the simulated backend alone.
ROOMY = Ring(32768, ((1 << 58) - 1, (1 << 58) - 1, *[(1 << 44) - 1] * 12, (1 << 60) - 1))
ODD = [(name, degree) for name in ("tanh", "logistic") for degree in (3, 5, 7, 9)]
EVEN = [("relu", d) for d in (2, 4, 6, 8)] + [("softplus", d) for d in (2, 4, 6, 8)]


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


# The activation.


def product(factors, v):
    value = np.ones_like(v) if factors.linear is None else v - factors.linear
    for beta, gamma in factors.quadratics:
        value = value * ((v + beta) ** 2 + gamma)
    return value


def factored_values(f, z):
    """What the circuit multiplies, in double precision, times what the weights carry."""
    u = f.alpha * z
    value, slope = product(f.value, u * u), product(f.derivative, u * u)
    if f.odd:
        return f.sign * u * value, f.slope * slope
    return f.sign * (value + f.tilt * u), f.slope * (u * slope + f.constant)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([*ODD, *EVEN, ("square", 2)]), st.floats(0.2, 30.0))
def test_factors_are_the_activation_and_its_derivative(kind, radius):
    a = ActivationPolynomial.fit(*kind, radius)
    factored = FactoredActivation.of(a)
    z = np.linspace(-radius, radius, 501)
    value, slope = factored_values(factored, z)
    assert np.abs(value - a(z)).max() < 1e-9 * a.max_abs
    assert np.abs(slope - a.derivative(z)).max() < 1e-9 * a.max_slope
    assert factored.reach == pytest.approx(abs(factored.alpha) * radius)
    assert abs(factored.sign) == 1 and factored.odd == (kind[0] in ("tanh", "logistic"))
    # What is not there is exactly zero: no constant is left of a row of zeros.
    assert abs(factored_values(factored, np.zeros(1))[0][0]) < 1e-12 * a.max_abs


@pytest.mark.parametrize("kind", [*ODD, *EVEN, ("square", 2)])
def test_activate_on_slots(kind):
    """The same through the circuit; the derivative takes no more levels than the value."""
    a = ActivationPolynomial.fit(*kind, 3.0)
    factored, scheme = FactoredActivation.of(a), SimulatedScheme(ROOMY)
    keys = scheme.generate(())
    backend = scheme.evaluator(keys.evaluation_keys())
    z = np.linspace(-3, 3, ROOMY.slots)
    u = backend.load(keys.encryptor().encrypt(factored.alpha * z, 2.0**44, ROOMY.top_level))
    value, slope = activate(Arithmetic(backend, 2.0**43), factored, u)
    np.testing.assert_allclose(factored.sign * value.slots, a(z), atol=1e-9 * a.max_abs)
    np.testing.assert_allclose(
        factored.slope * slope.slots, a.derivative(z), atol=1e-9 * a.max_slope
    )
    assert ROOMY.top_level - value.level == a.depth
    assert slope.level >= value.level


# The gradient.

ACTIVATIONS = [
    ("tanh", 3, 2.0), ("tanh", 5, 3.0), ("logistic", 3, 4.0), ("relu", 2, 2.0), ("relu", 4, 3.0),
    ("softplus", 2, 2.0), ("square", 2, 1.5),
]  # fmt: skip
# classes, units, block, m, rows: several chunks, several groups of units, padding units.
SHAPES = [
    (2, 4, 4, 2, 150), (2, 5, 2, 1, 9000), (3, 5, 4, 2, 2500), (3, 12, 16, 1, 1030),
    (3, 1, 1, 2, 150), (4, 7, 2, 16, 700),
]  # fmt: skip


def setup(plan, seed=0):
    """Rows, and weights that fill the intervals: units at the radius, outputs near theirs."""
    rng, c = np.random.default_rng(seed), plan.certificate
    rows, targets = draw_rows(plan, rng)
    point = draw_point(plan, rng, c.activation.radius, 1.0)
    z2 = np.hstack([c.activation(rows @ point.hidden), rows[:, -1:]]) @ point.output
    windows = c.activation.max_abs * np.abs(point.output).sum(axis=0).max() / STRADDLING
    shrink = c.polynomials[0].radius / max(np.abs(z2).max(), windows)
    return rows, targets, replace(point, output=point.output * shrink)


def compare(plan, bench, rows, targets, point):
    """The circuit's sums and the formula's, in units of noise."""
    certified = only_entry(plan)
    found = bench.gradient(bench.chunks(rows, targets), point, certified)
    labels = labels_of(plan, targets) * rows.any(axis=1)[:, None]
    expected = exact_sums(plan, certified, point, rows, labels)
    return found, bench.model.sums(found, certified), expected, certified


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_simulated(activation, shape):
    classes, units, block, m, n = shape
    sigmoid = (5, 6.0) if units % 2 else (3, 4.0)
    plan = shaped(ROOMY, 44, activation, sigmoid, n, 5, classes, units, block, m)
    bench = NetworkBench(plan, SimulatedScheme(ROOMY))
    rows, targets, point = setup(plan)
    found, sums, expected, certified = compare(plan, bench, rows, targets, point)
    for got, wanted in ((sums.hidden, expected.hidden), (sums.output, expected.output)):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-8 * np.abs(wanted).max())
    check_nothing_else(bench, found, expected, certified, 1e-7)


def check_nothing_else(bench, found, expected, certified, tolerance):
    """What is decrypted is the sums, each once: all coefficients, in units of noise.

    A part of a row that were there several times, as the bias's would be if it were left in all
    units of a row, would weigh more against the noise than its sum does.
    """
    error = (
        np.linalg.norm(found - whole(bench.plan, certified, expected))
        * bench.model.layout.rows.output_norm
    )
    assert error < tolerance * np.linalg.norm(flat(expected, certified))


@pytest.mark.parametrize("activation", [ACTIVATIONS[0], ACTIVATIONS[4]])
@pytest.mark.parametrize("shape", SHAPES[:4])
def test_a_row_that_is_not_there_adds_nothing(activation, shape):
    """The same coefficients, all of them, with rows of zeros between the others and behind."""
    classes, units, block, m, _ = shape
    plan = shaped(ROOMY, 44, activation, (3, 4.0), 60, 5, classes, units, block, m)
    bench = NetworkBench(plan, SimulatedScheme(ROOMY))
    rows, targets, point = setup(plan)
    certified, absent = only_entry(plan), np.arange(60) % 3 == 1
    part = bench.gradient(bench.chunks(rows[~absent], targets[~absent]), point, certified)
    rows[absent] = 0
    found = bench.gradient(bench.chunks(rows, targets), point, certified)
    np.testing.assert_allclose(found, part, rtol=0, atol=1e-11 * np.abs(part).max())
    rows[:] = 0
    nothing = bench.gradient(bench.chunks(rows, targets), point, certified)
    assert np.abs(nothing).max() < 1e-13 * np.abs(part).max()
    # And a single one more is seen.
    rows[5] = 0.5
    one = bench.gradient(bench.chunks(rows, targets), point, certified)
    assert np.abs(one).max() > 1e-3 * np.abs(part).max()


def test_every_key_is_used_and_no_other():
    """The evaluator's automorphisms are the layout's elements exactly."""
    plan = shaped(ROOMY, 44, ACTIVATIONS[0], (3, 4.0), 150, 5, 3, 5, 4, 4)
    bench = NetworkBench(plan, SimulatedScheme(ROOMY))
    used, automorphism = set(), bench.backend.automorphism

    def seen(a, element):
        used.add(element)
        return automorphism(a, element)

    bench.backend.automorphism = seen
    rows, targets, point = setup(plan)
    bench.gradient(bench.chunks(rows, targets), point, only_entry(plan))
    assert used == set(bench.model.elements)


# activation, sigmoid, classes, units, block, m, rows
ENCRYPTED = [
    (("tanh", 3, 3.0), (3, 4.0), 2, 4, 4, 4, 1100),
    (("relu", 2, 2.0), (3, 4.0), 3, 3, 2, 2, 150),
    (("square", 2, 1.5), (3, 4.0), 2, 3, 1, 1, 150),
]
MORE_ENCRYPTED = [
    (("logistic", 3, 4.0), (3, 4.0), 3, 5, 4, 1, 150),
    (("softplus", 2, 3.0), (3, 4.0), 2, 7, 4, 2, 2100),
    (("relu", 4, 2.0), (3, 4.0), 3, 3, 4, 4, 150),
    (("tanh", 3, 3.0), (3, 4.0), 2, 12, 16, 2, 150),
]


@pytest.fixture(scope="module")
def encrypted_bench():
    """A ring as a plan chooses it, and keys for all layouts: they take the most time."""
    plan = make_network()
    scheme, elements = TensealScheme(ring_of(plan)), set()
    for activation, sigmoid, *shape in (*ENCRYPTED, *MORE_ENCRYPTED):
        elements.update(layout_of(small(activation, sigmoid, *shape)).elements)
    return NetworkBench(plan, scheme, sorted(elements))


def small(activation, sigmoid, classes, units, block, m, n):
    plan = make_network()
    scale_bits = candidate_of(plan).scale_bits
    return shaped(ring_of(plan), scale_bits, activation, sigmoid, n, 5, classes, units, block, m)


@pytest.mark.parametrize("case", [*ENCRYPTED, *(slow(case) for case in MORE_ENCRYPTED)])
def test_gradient_encrypted(encrypted_bench, case):
    """SEAL against the formula; errors are those of the scale and what a circuit makes of them.

    Every multiplication, key switch, rescale and addition of the step is predicted as well.
    """
    plan = small(*case)
    rows, targets, point = setup(plan)
    bench = encrypted_bench.of(plan)
    seal = bench.backend._evaluator
    bench.backend._evaluator = counting = CountingSeal(seal)
    try:
        found, sums, expected, certified = compare(plan, bench, rows, targets, point)
    finally:
        bench.backend._evaluator = seal
    error = np.linalg.norm(flat(sums, certified) - flat(expected, certified))
    print(f"{case}: error {error:.2g} S")
    assert 1e-9 < error < 1e-3 * np.linalg.norm(flat(expected, certified))
    counts = NetworkSizing(requirement_of(plan)).counts(candidate_of(plan))
    assert counting.counts == counts
    assert sum(n for (name, _), n in counts.items() if name == "key_switch") > 20
    check_nothing_else(bench, found, expected, certified, 1e-3)


# Bounds of messages.


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"classes": 3, "hidden_layer_sizes": 5},
        {"activation": "relu", "degree": 2},
        {"activation": "logistic", "hidden_layer_sizes": 9, "hidden_reach": 6.0},
        {"activation": "square", "degree": 2, "hidden_layer_sizes": 9, "classes": 4},
    ],
)
@pytest.mark.parametrize("data", ["random", "aligned", "start"])
def test_messages_stay_within_their_bounds(parameters, data):
    """At every operation down to the hidden errors, for weights as large as they can be."""
    plan = make_network(**parameters)
    requirement, candidate, layout = requirement_of(plan), candidate_of(plan), layout_of(plan)
    bench, rng = NetworkBench(plan, SimulatedScheme(candidate.ring)), np.random.default_rng(0)
    point = draw_point(plan, rng, None, plan.network.start_norm if data == "start" else None)
    certified = bench.model.certify(point)
    rows, targets = draw_rows(plan, rng, layout.rows.rows_per_chunk)
    if data == "aligned":
        rows[:, :-1] = point.hidden[:-1, 0] / np.linalg.norm(point.hidden[:-1, 0])
        rows[::2, :-1] *= -1
    tracer = TracingEvaluator(candidate.ring)
    index, divisor = certified.indices[0], certified.contribution
    factors, chunk, weights = _operands(requirement, candidate, tracer, index, divisor)
    lockstep = NetworkLockstep(bench.backend, tracer, layout.block, factors.residual.reach)

    def both(real, traced, checked=True):
        if isinstance(traced, list):
            return [both(*pair, checked) for pair in zip(real, traced, strict=True)]
        # Labels and the presence are sent at the level where they are needed.
        pair = real, tracer.switch_to(traced, real.level)
        return lockstep.pair(*pair) if checked else pair

    real = bench.sorted_weights(point, certified)
    paired = NetworkWeights(
        both(real.hidden, weights.hidden, False), both(real.output, weights.output),
        both(real.bias, weights.bias), both(real.backward, weights.backward),
    )  # fmt: skip
    (sent,) = bench.chunks(rows, targets)
    # Groups of columns share the norm of a row and of a unit: the bound is their product's.
    sent = NetworkChunk(
        both(sent.rows, chunk.rows, False), both(sent.low_rows, chunk.low_rows, False),
        both(sent.labels, chunk.labels), both(sent.presence, chunk.presence),
    )  # fmt: skip
    arithmetic = candidate.arithmetic(lockstep)
    hidden = [margins(arithmetic, layout.rows, sent.rows, group) for group in paired.hidden]
    results = chunk_gradients(arithmetic, layout, factors, sent, hidden, paired)
    assert lockstep.compared > 20
    ends = results[0][0], results[-1][0]  # a group's values and its hidden errors
    tight = [np.abs(real.slots).max() / traced.bound for real, traced in ends]
    print(f"{parameters} {data}: of bounds, values {tight[0]:.2g}, hidden errors {tight[1]:.2g}")
    assert tight[0] > 0.5 and tight[1] > 0.01
    traced = trace_chunk(requirement, candidate, index, divisor)
    real, whole = results[-1][0]
    # Norms of residuals and of a unit's weights are less than the sum over outputs.
    assert traced.delta.bound == pytest.approx(whole.bound / plan.problem.n_outputs**0.5)
    assert np.abs(real.slots).max() <= traced.delta.bound
    assert traced.delta.level == results[-1][0][1].level >= PRODUCT_LEVEL


# A whole fit.


@pytest.mark.parametrize(
    "classes, parameters",
    [
        (2, {"hidden_layer_sizes": 4, "max_iter": 2}),
        slow(3, {"hidden_layer_sizes": 3, "max_iter": 3}),
        slow(3, {"hidden_layer_sizes": 4}),  # the discriminant
        slow(2, {"hidden_layer_sizes": 4, "max_iter": 2, "activation": "relu", "degree": 2}),
    ],
)
def test_a_fit_is_that_of_the_simulated_backend(classes, parameters):
    """The same noise, the same weights but for CKKS errors."""
    rng = np.random.default_rng(0)
    X, y = rng.uniform(-1, 1, (60, 3)), rng.integers(classes, size=60)
    y[:classes] = np.arange(classes)
    found = []
    for backend in ("simulated", "tenseal"):
        model = EncryptedDPMLPClassifier(
            5.0, **parameters, data_norm=1.5, random_state=3, backend=backend
        ).fit(X, y)
        found.append(np.concatenate([w.ravel() for w in model.coefs_ + model.intercepts_]))
    difference = np.linalg.norm(found[0] - found[1]) / np.linalg.norm(found[0])
    print(f"{parameters}: tenseal from simulated {difference:.2g}")
    assert 0 < difference < 1e-3
