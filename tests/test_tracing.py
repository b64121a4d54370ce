"""The tracing backend's readings against what the other backends really do.

Counts against SEAL's own calls, messages against bounds at every single operation, and errors
measured on SEAL against the predicted ones, for random rows and for the worst.
"""

from collections import Counter

import numpy as np
import pytest

from skfhe.circuits.logistic import EncryptedChunk, LogisticSums, margins, residuals
from skfhe.circuits.polynomial import evaluate
from skfhe.crypto.parameters import Ring
from skfhe.crypto.simulated import SimulatedScheme
from skfhe.crypto.tenseal import TensealScheme
from skfhe.crypto.tracing import TracingEvaluator
from skfhe.exceptions import DepthExceeded
from skfhe.planning.logistic_bounds import count_step, label_level, trace_core
from skfhe.planning.requirement import PRODUCT_LEVEL

ROOM = Ring(8192, ((1 << 60) - 1, (1 << 50) - 1, (1 << 50) - 1, (1 << 50) - 1))

# SEAL's methods and what the tracer calls them.
SEAL_NAMES = {
    "multiply": "multiply",
    "square": "multiply",
    "multiply_plain": "multiply_plain",
    "relinearize_inplace": "key_switch",
    "relinearize": "key_switch",
    "apply_galois": "key_switch",
    "apply_galois_inplace": "key_switch",
    "rescale_to_next": "rescale",
    "add": "add",
    "add_inplace": "add",
    "sub": "add",
}
UNCOUNTED = {"add_plain", "mod_switch_to", "mod_switch_to_next"}


class CountingSeal:
    """Stands before SEAL's evaluator and counts its calls by level of the first operand."""

    def __init__(self, evaluator):
        self._evaluator = evaluator
        self.counts = Counter()

    def __getattr__(self, name):
        method = getattr(self._evaluator, name)

        def counted(first, *rest):
            if name not in UNCOUNTED:
                # A method that has no name here is a KeyError: nothing goes uncounted.
                self.counts[SEAL_NAMES[name], first.coeff_modulus_size() - 1] += 1
            return method(first, *rest)

        return counted


class Lockstep:
    """Runs a circuit on the simulated and the tracing backend at once, and compares.

    Every ciphertext is a pair; after every operation levels and scales must be equal and no
    slot may exceed the traced bound, nor its coefficients the modulus.
    """

    def __init__(self, ring, evaluator):
        self.ring = ring
        self.sides = (evaluator, TracingEvaluator(ring))
        self.compared = 0
        self.tightest = 0.0

    def pair(self, real, traced):
        assert self.sides[0].level(real) == traced.level
        assert self.sides[0].scale(real) == pytest.approx(traced.scale, rel=1e-12)
        largest = np.max(np.abs(real.slots))
        assert largest <= traced.bound * (1 + 1e-9)
        assert np.log2(largest * traced.scale) + 1 < self.ring.modulus_bits(traced.level)
        self.compared += 1
        self.tightest = max(self.tightest, largest / traced.bound)
        return real, traced

    def level(self, a):
        return a[1].level

    def scale(self, a):
        return a[1].scale

    def __getattr__(self, name):
        def both(*arguments):
            def side(index):
                return [
                    a[index]
                    if isinstance(a, tuple)
                    else [item[index] for item in a]
                    if isinstance(a, list)
                    else a
                    for a in arguments
                ]

            return self.pair(*(getattr(s, name)(*side(i)) for i, s in enumerate(self.sides)))

        return both


def rms(values):
    return float(np.sqrt(np.mean(np.abs(values) ** 2)))


# Counts


@pytest.mark.parametrize(
    "degree, n_rows, n_columns, n_classes",
    [(1, 300, 7, 2), (3, 300, 11, 2), (3, 1200, 20, 2), (3, 300, 40, 3), (7, 700, 11, 2)],
)
def test_counts_are_seals_calls(make_case, degree, n_rows, n_columns, n_classes):
    """Every multiplication, key switch, rescale and addition of a step, level by level."""
    case = make_case(degree, n_rows, n_columns, n_classes)
    bench = case.bench(TensealScheme)
    rows, targets, weights = case.data(0)
    chunks = list(case.chunks(bench, rows, targets))
    packed = case.weights(bench, weights)
    counting = CountingSeal(bench.evaluator._evaluator)
    bench.evaluator._evaluator = counting
    case.gradient(bench, chunks, packed)
    traced = count_step(case.requirement, case.candidate)
    assert counting.counts == traced
    assert sum(n for (name, _), n in traced.items() if name == "key_switch") > 0


# Bounds of messages


@pytest.mark.parametrize("degree, n_classes", [(1, 2), (3, 2), (3, 3), (7, 2)])
@pytest.mark.parametrize("data", ["random", "constant", "alternating"])
def test_messages_stay_within_their_bounds(make_case, degree, n_classes, data):
    """At every operation of the circuit down to the residuals, and not by a wide margin."""
    case = make_case(degree, 500, 20, n_classes)
    layout, candidate, requirement = case.layout, case.candidate, case.requirement
    bench = case.bench(SimulatedScheme)
    rows, targets, weights = case.data(0)
    if data != "random":
        # Every row along the first output's weights: margins at the ends of the interval.
        rows[:] = weights[:, 0] / np.linalg.norm(weights[:, 0])
    if data == "alternating":
        rows[::2] *= -1
    chunk = next(case.chunks(bench, rows, targets))
    lockstep = Lockstep(candidate.ring, bench.evaluator)
    tracer = lockstep.sides[1]
    share = np.sqrt(layout.feature_blocks / layout.groups)
    top, reach = candidate.ring.top_level, case.factored.reach
    row = tracer.fresh(top, candidate.row_scale, share, dither=True)
    weight = tracer.fresh(top, candidate.scale, reach * share)
    core = trace_core(requirement, candidate, 0).core
    level = label_level(candidate, core)
    label = tracer.fresh(level, candidate.scale, 0.5, dither=True)
    arithmetic = candidate.arithmetic(lockstep)
    u = margins(
        arithmetic,
        layout,
        [(c, row) for c in chunk.rows],
        [(c, weight) for c in case.weights(bench, weights)],
    )
    value = evaluate(arithmetic, case.factored, u)
    lockstep.tightest = 0.0
    residual = residuals(arithmetic, value, lockstep.pair(chunk.labels, label), case.DIVISOR)
    assert lockstep.compared > 2 * degree
    assert residual[1].level == core.level
    # At the ends the residual is all that it can be: a bound that is far above would be vacuous.
    if data != "random":
        assert lockstep.tightest > 0.9


@pytest.mark.parametrize(
    "name", ["add", "multiply", "dot", "project", "project enlarged", "merge", "constant"]
)
def test_bounds_and_errors_of_single_operations(ring, encrypted, name):
    """Operands all one in every slot, where every bound is attained, and their errors on SEAL.

    Projections by X -> X^(N+1) leave constants alone and merging puts one beside the other.
    """
    n, power = ring.poly_modulus_degree, 1
    operations = {
        "add": lambda e, a, b, c, d: e.add(a, b),
        "multiply": lambda e, a, b, c, d: e.relinearize(e.multiply(a, b)),
        "dot": lambda e, a, b, c, d: e.dot([a, b], [c, d]),
        "project": lambda e, a, b, c, d: e.project(a, n + 1),
        # Enlarged, the fresh error outweighs the key switch's rounding.
        "project enlarged": lambda e, a, b, c, d: e.project(
            e.multiply_constant(a, 64.0, 2.0**20), n + 1
        ),
        "merge": lambda e, a, b, c, d: e.merge(a, b, power, n + 1),
        "constant": lambda e, a, b, c, d: e.multiply_constant(a, -0.75, 2.0**20),
    }
    tracer = TracingEvaluator(ring)
    ones = np.ones(ring.slots)
    scale, top = 2.0**30, ring.top_level
    traced = operations[name](tracer, *(tracer.fresh(top, scale, 1.0) for _ in range(4)))
    errors = []
    for _ in range(4):
        operands = [encrypted.encrypt(ones, scale) for _ in range(4)]
        found = encrypted.slots(operations[name](encrypted.evaluator, *operands))
        assert np.max(np.abs(found)) <= traced.bound
        errors.append(found)
    deviation = rms(np.array(errors) - expected_ones(name, ring, power))
    predicted = np.hypot(traced.fixed_error, traced.rounding_error)
    assert predicted / 3 < deviation <= 1.05 * predicted


def expected_ones(name, ring, power):
    """The operations above on ones."""
    monomial = np.exp(1j * np.pi * ring.exponents * power / ring.poly_modulus_degree)
    return {
        "add": 2.0, "multiply": 1.0, "dot": 2.0, "project": 1.0, "project enlarged": 64.0,
        "merge": 1 + monomial,
        "constant": -0.75,
    }[name]  # fmt: skip


# Errors


@pytest.mark.parametrize("degree", [3, 7])
@pytest.mark.parametrize("data", ["random", "ends", "middle"])
def test_errors_of_margins_and_polynomial(make_case, degree, data):
    """Measured on SEAL: root mean square over slots and repetitions of (decryption - formula).

    Fixed and rounding errors are independent, so their squares add. Random rows have most
    margins near zero; constant rows put every slot at one margin, the ends of the interval, where
    the polynomial is steep, or its middle.
    """
    case = make_case(degree, 512, 11)
    bench, layout = case.bench(TensealScheme), case.layout
    traced = trace_core(case.requirement, case.candidate, 0)
    factored, found = case.factored, {"margin": [], "core": []}
    for repeat in range(6):
        rows, targets, weights = case.data(repeat)
        if data == "ends":
            rows[:] = weights[:, 0] / case.RADIUS
            rows[::2] *= -1
        if data == "middle":
            rows -= np.outer(rows @ weights[:, 0], weights[:, 0]) / case.RADIUS**2
        chunk = next(case.chunks(bench, rows, targets))
        u = case.margins(bench, chunk, case.weights(bench, weights))
        z = np.tile(rows @ weights[:, 0], layout.feature_blocks)
        found["margin"].append(bench.slots(u) - factored.alpha * z)
        core = bench.slots(case.core(bench, u))
        found["core"].append(core - (case.polynomial(z) - 0.5) / case.DIVISOR)
    for name, errors in found.items():
        item = getattr(traced, name)
        predicted = np.hypot(item.fixed_error, item.rounding_error)
        measured = rms(np.array(errors))
        assert predicted / 20 < measured <= 1.05 * predicted, (name, measured / predicted)
        # Nor may one slot stand out: |s(zeta)|^2 and a Gaussian, at most ln N and 5 here.
        worst = np.max(np.abs(errors))
        assert worst < np.sqrt(np.log(8192)) * 5 * predicted, (name, worst / predicted)


@pytest.mark.parametrize("degree", [3, 7])
def test_the_worst_margin_is_near_its_prediction(make_case, degree):
    """The prediction is for the worst message: with every slot there, it is nearly attained."""
    case = make_case(degree, 512, 11)
    bench, layout = case.bench(TensealScheme), case.layout
    traced = trace_core(case.requirement, case.candidate, 0)
    predicted = np.hypot(traced.core.fixed_error, traced.core.rounding_error)
    # The product turns an error of u into the slope of (p - 1/2)/S in u times it.
    z = np.linspace(-case.RADIUS, case.RADIUS, 101)
    steepest = z[np.argmax(np.abs(case.polynomial.derivative(z)))]
    worst = []
    for margin in (steepest, case.RADIUS, case.RADIUS * 0.93, 0.0):
        errors = []
        for repeat in range(3):
            rows, targets, weights = case.data(repeat)
            rows[:] = margin * weights[:, 0] / case.RADIUS**2
            chunk = next(case.chunks(bench, rows, targets))
            u = case.margins(bench, chunk, case.weights(bench, weights))
            core = bench.slots(case.core(bench, u))
            value = (case.polynomial(margin) - 0.5) / case.DIVISOR
            errors.append(core - value)
        worst.append(rms(np.array(errors)) / predicted)
    assert layout.rows_per_chunk == 512
    assert 0.25 < max(worst) <= 1.05


# The rest of its contract


def test_counting_alone_follows_no_errors():
    tracer = TracingEvaluator(ROOM, follow_errors=False)
    a = tracer.fresh(2, 2.0**30, 1.0)
    product = tracer.rescale(tracer.dot([a, a], [a, a]))
    assert product.fixed_error == product.rounding_error == 0.0
    assert tracer.counts == {
        ("multiply", 2): 2, ("add", 2): 1, ("key_switch", 2): 1, ("rescale", 2): 1,
    }  # fmt: skip


def test_an_error_along_two_paths_adds_with_its_sign():
    """a + a errs by twice, a - a by nothing; two ciphertexts by sqrt(2)."""
    tracer = TracingEvaluator(ROOM)
    a, b = (tracer.fresh(2, 2.0**30, 1.0) for _ in range(2))
    assert tracer.add(a, a).fixed_error == pytest.approx(2 * a.fixed_error)
    assert tracer.add(a, b).fixed_error == pytest.approx(np.sqrt(2) * a.fixed_error)
    minus = tracer.multiply_constant(tracer.claim(a, 1.0), -1.0, 2.0**15)
    again = tracer.multiply_constant(tracer.claim(a, 1.0), 1.0, 2.0**15)
    constant = 1.02 * 0.5 / 2.0**15
    assert tracer.add(minus, again).fixed_error < 1.6 * constant
    assert tracer.add(minus, again).rounding_error == 0.0


def test_the_error_of_a_square_is_its_derivative():
    tracer = TracingEvaluator(ROOM)
    a = tracer.claim(tracer.fresh(2, 2.0**30, 3.0), 3.0)
    square = tracer.multiply(a, a)
    assert square.fixed_error == pytest.approx(2 * 3.0 * a.fixed_error, rel=1e-3)
    # u^2 - 2 u has slope zero at one: there, and only there, the error vanishes.
    shifted = tracer.multiply(a, tracer.add_constant(a, -2.0))
    (deviation,) = shifted.fixed.values()
    points = a.message
    np.testing.assert_allclose(
        deviation, (2 * points - 2) * next(iter(a.fixed.values())), rtol=1e-12
    )


def test_a_message_beyond_the_modulus_is_refused():
    tracer = TracingEvaluator(ROOM)
    tracer.fresh(0, 2.0**50, 2.0**6)
    with pytest.raises(DepthExceeded, match="at level 0 the message needs"):
        tracer.fresh(0, 2.0**50, 2.0**9)


def test_a_whole_step_without_errors_counts_no_less(make_case):
    """Counting does not depend on whether errors are followed."""
    case = make_case(3, 300, 11)
    ring, layout, candidate = case.candidate.ring, case.layout, case.candidate
    counts = []
    for follow in (False, True):
        tracer = TracingEvaluator(ring, follow_errors=follow)
        row = tracer.fresh(ring.top_level, candidate.row_scale, 2.0**-20)
        low = tracer.fresh(PRODUCT_LEVEL, candidate.row_scale, 2.0**-20)
        label = tracer.fresh(1, candidate.scale, 2.0**-20)
        weight = tracer.fresh(ring.top_level, candidate.scale, 2.0**-20)
        chunk = EncryptedChunk([row] * layout.groups, [low] * layout.groups, label)
        arithmetic = candidate.arithmetic(tracer)
        weights = [weight] * layout.groups
        sums = LogisticSums(arithmetic, layout, case.factored, case.DIVISOR, weights)
        sums.gradient([chunk] * layout.chunks)
        counts.append(tracer.counts)
    assert counts[0] == counts[1]
    assert sum(counts[0].values()) > 20
