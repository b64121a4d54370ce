"""Several steps on ciphertexts: NumPy formula -> simulated -> tenseal."""

import math
from itertools import pairwise

import numpy as np
import pytest
from helpers import BACKENDS, make, make_rows, one_hot, ring_of, scheme_of, stored_rows

from skfhe import EncryptedDPLogisticRegression
from skfhe.circuits.arithmetic import Arithmetic, merge_all, split_all
from skfhe.circuits.levelled import Course
from skfhe.crypto.embedding import slots_to_coefficients
from skfhe.crypto.parameters import Ring
from skfhe.crypto.simulated import SimulatedScheme
from skfhe.crypto.tracing import TracingEvaluator
from skfhe.packing import Layout
from skfhe.protocol.models import model_of

SPLITTING = Ring(8192, ((1 << 50) - 1, (1 << 55) - 1, (1 << 60) - 1))


def levelled(**parameters):
    """A small plan of a few steps on end."""
    alone = {"degree": 1, "protocol": "noninteractive", "epsilon": 20.0}
    return make(**{"n": 300, "d": 5, "max_iter": 3, **alone, **parameters})


def exact_points(plan, X, targets, start, noises=None):
    """The points of a round by the formula, the first included."""
    rows, (p,) = stored_rows(plan, X), plan.certificate.polynomials
    weights = np.ones(len(X))
    if plan.problem.class_weight:
        weights = np.array(plan.problem.class_weight)[targets]
    visited, gradients = [start], []
    for step, coefficients in enumerate(plan.rounds.points):
        residual = weights * (p(rows @ visited[-1]) - one_hot(plan, targets)[:, 0])
        noise = 0.0 if noises is None else noises[step]
        gradients.append((residual @ rows) / plan.problem.n_samples + noise)
        moved = sum(c * v for c, v in zip(coefficients, gradients, strict=True))
        visited.append(start - moved)
    return visited


class Bench:
    """A plan's model and backend, with encrypted rows."""

    def __init__(self, plan, backend, seed=0, errors=False, data=None):
        self.plan, self.model, scheme = plan, model_of(plan), scheme_of(plan, backend, errors)
        self.keys = scheme.generate(self.model.elements)
        self.backend = scheme.evaluator(self.keys.evaluation_keys())
        self.encryptor = self.keys.encryptor()
        self.X, self.targets = data or make_rows(plan, seed)
        rows, size = stored_rows(plan, self.X), self.model.rows_per_chunk
        self.chunks = []
        for first in range(0, len(rows), size):
            part = slice(first, first + size)
            plains = self.model.pack(rows[part], self.targets[part])
            loaded = [self.load(one.slots, one.scale, one.level) for one in plains]
            self.chunks.append(self.model.chunk(self.backend, loaded))

    def load(self, slots, scale, level):
        return self.backend.load(self.encryptor.encrypt(slots, scale, level))

    def run(self, start=None, noises=None, course=None):
        """What a round moves the weights by."""
        used, size = self.plan.encryption, self.plan.encryption.poly_modulus_degree
        weights = []
        if start is not None:
            slots = self.model.weights(start[:, None], self.model.certify(None))
            weights = [self.load(one, used.scale, used.top_level) for one in slots]
        zero = np.zeros(size, dtype=np.int64)
        encrypted = []
        for form, noise in zip(self.model.noise, noises or [zero] * 99, strict=False):
            message = self.encryptor.encrypt_integers(noise, form.scale, form.level)
            encrypted.append(self.backend.load(message))
        arithmetic = Arithmetic(self.backend, used.waterline)
        result = self.model.round(arithmetic, self.chunks, weights, encrypted, course)
        scale = self.model.release.scale
        values = self.keys.decrypt(self.backend.save(result), 0, scale)
        return values / scale

    def moved(self, **more):
        return self.model.sums(self.run(**more), None)[:, 0]


@pytest.mark.parametrize("n_items", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("backend", BACKENDS)
def test_splitting_undoes_merging(n_items, backend):
    from skfhe.crypto.tenseal import TensealScheme, coefficient_modulus

    if backend == "tenseal":
        ring = Ring(8192, coefficient_modulus(8192, (50, 55, 60)))
        scheme = TensealScheme(ring)
    else:
        ring, scheme = SPLITTING, SimulatedScheme(SPLITTING)
    layout = Layout(8192, 100, 2 * n_items, 1, 1)
    keys = scheme.generate(layout.elements)
    evaluator, encryptor = scheme.evaluator(keys.evaluation_keys()), keys.encryptor()
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n_items, 2))
    slots = [np.full(ring.slots, a) + b * layout._imaginary for a, b in values]
    items = [evaluator.load(encryptor.encrypt(one, 2.0**30, 1)) for one in slots]
    found = [*split_all(evaluator, layout, merge_all(evaluator, layout, items), n_items)]
    assert len(found) == n_items
    scales = {evaluator.scale(one) for one in found}
    assert len(scales) == 1
    for one, (a, b) in zip(found, values, strict=True):
        scale = evaluator.scale(one)
        coefficients = keys.decrypt(evaluator.save(one), 1, scale) / scale
        # The conjugate of a + I b is a constant in every slot: two coefficients, the rest zero.
        assert coefficients[0] == pytest.approx(a, abs=1e-5)
        assert coefficients[4096] == pytest.approx(-b, abs=1e-5)
        rest = np.delete(coefficients, [0, 4096])
        assert np.max(np.abs(rest)) < 1e-5


@pytest.mark.parametrize("degree, max_iter", [(1, 1), (1, 2), (1, 6), (3, 3), (5, 2), (7, 2)])
def test_simulated_steps_are_the_formula(degree, max_iter):
    plan = levelled(degree=degree, max_iter=max_iter)
    bench = Bench(plan, "simulated")
    expected = exact_points(plan, bench.X, bench.targets, np.zeros(6))[-1]
    np.testing.assert_allclose(bench.moved(), expected, atol=1e-5 * np.linalg.norm(expected))


@pytest.mark.parametrize("degree", [1, 3])
def test_a_round_goes_on_from_given_weights(degree):
    plan = levelled(degree=degree, max_iter=6, steps_per_round=3, protocol="interactive")
    assert (plan.visits, plan.rounds.steps) == (2, 3)
    bench = Bench(plan, "simulated")
    start = np.linspace(-1.0, 1.5, 6)
    expected = exact_points(plan, bench.X, bench.targets, start)[-1] - start
    moved = bench.moved(start=start)
    np.testing.assert_allclose(moved, expected, atol=1e-5 * np.linalg.norm(expected))


def test_classes_have_weights():
    plan = EncryptedDPLogisticRegression(
        20.0, max_iter=3, protocol="noninteractive", class_weight={0: 1.0, 1: 0.25}
    ).plan(300, 5)
    bench = Bench(plan, "simulated")
    expected = exact_points(plan, bench.X, bench.targets, np.zeros(6))[-1]
    np.testing.assert_allclose(bench.moved(), expected, atol=1e-5)


def test_rows_in_several_chunks_and_columns_in_several_groups():
    plan = levelled(n=9000, d=20, max_iter=3)
    layout = model_of(plan).layout
    bench = Bench(plan, "simulated")
    assert layout.chunks > 1 or layout.groups > 1
    expected = exact_points(plan, bench.X, bench.targets, np.zeros(21))[-1]
    np.testing.assert_allclose(bench.moved(), expected, atol=1e-5 * np.linalg.norm(expected))


def places_of(form):
    """The coefficients that noise of a form is on."""
    return slice(None) if form.positions is None else form.positions


def drawn_noises(bench, rng):
    """Integer noise of every step's spread, at its places."""
    noises = []
    for form in bench.model.noise:
        noise = np.zeros(bench.plan.encryption.poly_modulus_degree, dtype=np.int64)
        here = noise[places_of(form)].size
        noise[places_of(form)] = np.rint(rng.normal(0, form.units, here))
        noises.append(noise)
    return noises


def test_noise_goes_through_all_later_steps():
    plan = levelled()
    bench, rng = Bench(plan, "simulated"), np.random.default_rng(1)
    model, layout = bench.model, bench.model.layout
    noises, exact = drawn_noises(bench, rng), []
    for form, noise in zip(model.noise, noises, strict=True):
        sums = layout.unpack_sums(noise / form.scale)[:, 0]
        exact.append(sums / plan.problem.n_samples)
    expected = exact_points(plan, bench.X, bench.targets, np.zeros(6), exact)[-1]
    moved = bench.moved(noises=noises)
    np.testing.assert_allclose(moved, expected, atol=1e-5 * np.linalg.norm(expected))


@pytest.mark.parametrize("degree, max_iter", [(1, 3), (3, 2)])
def test_encrypted_steps_are_the_simulated_ones(degree, max_iter):
    plan = levelled(degree=degree, max_iter=max_iter)
    encrypted, simulated = (Bench(plan, backend).moved() for backend in ("tenseal", "simulated"))
    error = np.linalg.norm(encrypted - simulated) / np.linalg.norm(simulated)
    assert error < 1e-3


def test_nothing_but_weights_is_in_the_result():
    """Beside the items there are roundings alone: no row, label, margin or sum of some rows."""
    plan = levelled()
    bench = Bench(plan, "tenseal")
    values = bench.run() * bench.model.release.scale
    beside = np.delete(values, bench.model.layout.item_positions)
    # A rescale's rounding is about sqrt(N/18) units of its own gradient's scale.
    units = math.sqrt(plan.encryption.poly_modulus_degree / 18)
    scales, row = plan.rounds.noise_scales, plan.rounds.points[-1]
    one = units * scales[-1] * math.hypot(*(c / s for c, s in zip(row, scales, strict=True)))
    assert np.max(np.abs(beside)) < 7 * math.hypot(one / row[-1], units)
    assert np.max(np.abs(beside)) > math.hypot(one / row[-1], units)
    assert np.max(np.abs(values)) > 1000 * np.max(np.abs(beside))


def test_the_plan_counts_what_the_circuit_does():
    """Key switches per level as predicted, by running the circuit on the counting backend."""
    plan = levelled(n=3000, d=9, max_iter=4)
    model, used = model_of(plan), plan.encryption
    tracer = TracingEvaluator(ring_of(plan), follow_errors=False)
    top = len(used.primes) - 2
    labels, row = (tracer.fresh(top, s, 2.0**-20) for s in (used.scale, used.row_scale))
    chunk = model.chunk(tracer, [labels, *[row] * model.layout.groups])
    noises = [tracer.fresh(form.level, form.scale, 2.0**-20) for form in model.noise]
    tracer.counts.clear()
    arithmetic = Arithmetic(tracer, used.waterline)
    result = model.round(arithmetic, [chunk] * model.chunks, [], noises)
    assert (result.level, result.scale) == (0, pytest.approx(model.release.scale))
    found = {level: n for (name, level), n in tracer.counts.items() if name == "key_switch"}
    assert found == plan.prediction.key_switches


def test_a_latest_gradient_alone_takes_no_rescale():
    """Momentum and step sizes cost no level: levels are what products need."""
    plan = levelled(max_iter=4, learning_rate=0.5, momentum=0.7)
    levels = plan.rounds.noise_levels
    assert len(plan.encryption.primes) - 2 - levels[0] <= 2
    assert all(a - b <= 2 for a, b in pairwise(levels))


class Released(Course):
    """What statement 11 takes as released: every noised gradient, in integer units."""

    def __init__(self, plan):
        self.ring, self.scales, self.found = ring_of(plan), plan.rounds.noise_scales, []

    def stepped(self, step, gradient):
        found = slots_to_coefficients(self.ring, gradient.slots) * self.scales[step]
        self.found.append(found)


@pytest.mark.parametrize(
    "parameters", [{}, {"neighboring": "replace_one", "degree": 3, "max_iter": 2}]
)
def test_neighbours_with_the_same_releases_differ_by_at_most_the_sensitivity(parameters):
    """Step by step: the second data set's noise makes up for the row that it lacks.

    Then both have the same points, and their next gradients are apart by one row's contribution
    and by errors: on the places of the sums, at the last step on all coefficients.
    """
    plan = levelled(**parameters)
    X, targets = make_rows(plan)
    way = exact_points(plan, X, targets, np.zeros(6))[-1][:5]
    row = plan.problem.data_norm * way / np.linalg.norm(way)
    first = np.vstack([X[:-1], row]), np.append(targets[:-1], 0)
    second = X[:-1], targets[:-1]
    if plan.certificate.neighboring == "replace_one":
        second = np.vstack([X[:-1], -row]), np.append(targets[:-1], 0)
    one, other = (Bench(plan, "simulated", errors=True, data=data) for data in (first, second))
    noises, course, ratios = drawn_noises(one, np.random.default_rng(0)), Released(plan), []
    one.run(noises=noises, course=course)
    for step, form in enumerate(one.model.noise):
        answer = Released(plan)
        other.run(noises=noises, course=answer)
        apart = (course.found[step] - answer.found[step])[places_of(form)]
        unit = form.scale / one.model.layout.output_norm * plan.rounds.contributions[step]
        ratios.append(np.linalg.norm(apart) / unit / plan.certificate.sensitivity)
        noises[step][places_of(form)] += np.rint(apart).astype(np.int64)
    print("of the sensitivity:", np.round(ratios, 3))
    assert max(ratios) <= 1
    # S_0 counts with the slack of margins; later points stay far within their reach.
    assert ratios[0] > 0.75 and min(ratios) > 0.3
