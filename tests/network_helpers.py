"""What tests of the network share: plans, the circuit without parties, the formula."""

import copy
import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
from helpers import ring_of
from test_tracing import Lockstep

from skfhe import EncryptedDPMLPClassifier, PolynomialApproximation
from skfhe.approximation import ActivationPolynomial
from skfhe.circuits.activation import FactoredActivation
from skfhe.circuits.arithmetic import Arithmetic
from skfhe.circuits.network import STRADDLING, NetworkWeights
from skfhe.crypto.embedding import slots_to_coefficients
from skfhe.crypto.simulated import SimulatedCiphertext
from skfhe.packing import NetworkLayout
from skfhe.planning.network_bounds import NetworkRequirement
from skfhe.planning.requirement import Candidate
from skfhe.privacy.sensitivity import RELATION_FACTOR, row_norm
from skfhe.protocol.models import Certified, model_of
from skfhe.protocol.network_optimizer import NetworkPoint


@lru_cache(maxsize=64)
def make_network(n=120, d=4, classes=2, n_owners=1, n_colluding=0, **parameters):
    """A plan of two steps and no statistics, so that it is known how rows are stored."""
    parameters = {"hidden_layer_sizes": 4, "max_iter": 2, **parameters}
    plan = EncryptedDPMLPClassifier(**parameters).plan(n, d, classes, n_owners, n_colluding)
    return replace(
        plan,
        preparation=replace(plan.preparation, moments=None, curvature=None),
        guarantee=replace(plan.guarantee, n_releases=plan.optimizer.max_iter),
    )


def shaped(ring, scale_bits, activation, sigmoid, n=200, d=5, classes=2, units=3, block=4, m=2):
    """A plan of given polynomials and any packing, for the circuit alone: it guarantees nothing.

    `activation` is (name, degree, radius), `sigmoid` (degree, radius); S = 1.7, the split 0.6.
    """
    plan = make_network()
    first = math.log2(ring.primes[ring.top_level])
    top = ring.top_level
    return replace(
        plan,
        problem=replace(
            plan.problem, n_samples=n, n_features=d, n_classes=classes, hidden_units=units
        ),
        certificate=replace(
            plan.certificate,
            activation=ActivationPolynomial.fit(*activation),
            polynomials=(PolynomialApproximation.fit(*sigmoid),),
            contributions=(1.7,),
            splits=(0.6,),
        ),
        encryption=replace(
            plan.encryption,
            poly_modulus_degree=ring.poly_modulus_degree,
            primes=ring.primes,
            scale=2.0**scale_bits,
            row_scale=2.0 ** (round(first) - math.log2(2 * m)),
            waterline=2.0 ** (scale_bits - 1),
            feature_blocks=m,
            unit_block=block,
            label_level=top,
            presence_level=top,
        ),
    )


def only_entry(plan):
    """What a shaped plan has for any weights."""
    c = plan.certificate
    return Certified((0, 0), c.polynomials[0].radius, c.contributions[0], c.splits[0])


def layout_of(plan):
    return NetworkLayout.of(plan.problem, plan.encryption, plan.guarantee.n_owners)


def candidate_of(plan):
    """The candidate that a plan was made from."""
    e = plan.encryption
    scale, row_scale = (round(math.log2(s)) for s in (e.scale, e.row_scale))
    waterline = round(math.log2(e.waterline))
    ring, layout = ring_of(plan), layout_of(plan)
    return Candidate(ring, layout, scale, row_scale, waterline, e.merge_level)


def requirement_of(plan):
    """What the encryption of a plan has to serve."""
    p, c, g, optimizer = plan.problem, plan.certificate, plan.guarantee, plan.optimizer
    return NetworkRequirement(
        p, c.polynomials, row_norm(p.intercept_column),
        noise_multiplier=g.noise_multiplier, relation_factor=RELATION_FACTOR[c.neighboring],
        n_releases=optimizer.max_iter, failure=c.error_probability, max_error=0.05,
        max_margin_slack=math.inf, max_hidden_slack=math.inf, max_flooding=math.inf,
        n_owners=g.n_owners, n_colluding=g.n_colluding, activation=c.activation,
        least_contribution=c.contributions[0], largest_contribution=c.contributions[-1],
        hidden_norm=plan.network.hidden_reach / min(1.0, p.intercept_column),
        output_norm=optimizer.weight_norm + abs(p.prior_margin) / p.intercept_column,
    )  # fmt: skip


# Rows, weights and the formula.


def draw_rows(plan, rng, n=None):
    """Stored rows, norms up to one, and classes."""
    p = plan.problem
    v = rng.normal(size=(n or p.n_samples, p.n_features))
    v /= np.maximum(1, np.linalg.norm(v, axis=1, keepdims=True))
    rows = np.hstack([v, np.full((len(v), 1), p.intercept_column)])
    return rows, rng.integers(p.n_classes, size=len(v))


def labels_of(plan, targets):
    """What an owner stores, 1/2 - y, per output."""
    k = plan.problem.n_outputs
    return 0.5 - (targets[:, None] == (1 if k == 1 else np.arange(k)))


def draw_point(plan, rng, hidden=None, output=None):
    """Weights whose units all reach `hidden` and whose outputs are `output` from the prior.

    By default as far as the plan lets them: a corner of what is feasible.
    """
    p, b = plan.problem, plan.problem.intercept_column
    hidden = plan.network.hidden_reach if hidden is None else hidden
    output = plan.optimizer.weight_norm if output is None else output
    W1 = rng.normal(size=(p.n_columns, p.hidden_units))
    W1 *= hidden / (np.linalg.norm(W1[:-1], axis=0) + b * np.abs(W1[-1]))
    W2 = rng.normal(size=(p.hidden_units + 1, p.n_outputs))
    W2 *= output / np.linalg.norm(W2, axis=0)
    W2[-1] += p.prior_margin / b
    return NetworkPoint(W1, W2)


def points_of(plan, seed=0):
    """Weights: all hidden units at zero, the corners of what is feasible, and random ones."""
    rng, reach = np.random.default_rng(seed), plan.network.hidden_reach
    norm, b = plan.optimizer.weight_norm, plan.problem.intercept_column
    flat_units, equal = draw_point(plan, rng, 0.0, plan.network.start_norm), draw_point(plan, rng)
    prior = 0 * equal.output
    prior[-1] = plan.problem.prior_margin / b
    equal.hidden[:] = equal.hidden[:, :1]
    moved = equal.output - prior
    moved[:-1] = np.abs(moved[:1])
    equal = replace(equal, output=prior + moved * norm / np.linalg.norm(moved, axis=0))
    yield flat_units
    yield draw_point(plan, rng, 0.0, 0.0)
    yield equal
    yield draw_point(plan, rng)
    yield draw_point(plan, rng, reach, 0.1 * norm)
    yield draw_point(plan, rng, 0.1 * reach, norm)
    for _ in range(4):
        yield draw_point(plan, rng, reach * rng.random(), norm * rng.random())


def exact_rows(plan, certified, point, rows, labels):
    """Every row's two blocks of the gradient, as the circuit's polynomials have them.

    `labels` are 1/2 - y, and zero, as all of the row is, for a row that is not there.
    """
    a, p = plan.certificate.activation, plan.certificate.polynomials[certified.indices[0]]
    z1 = rows @ point.hidden
    values = np.hstack([a(z1), rows[:, -1:]])
    e = (p(values @ point.output) - 0.5) + labels
    behind = a.derivative(z1) * (e @ point.output[:-1].T)
    return NetworkPoint(rows[:, :, None] * behind[:, None, :], values[:, :, None] * e[:, None, :])


def exact_sums(plan, certified, point, rows, labels):
    blocks = exact_rows(plan, certified, point, rows, labels)
    return NetworkPoint(blocks.hidden.sum(axis=0), blocks.output.sum(axis=0))


def flat(point, certified):
    """Both blocks in one vector, as noise meets them: in units of S, the hidden one over kappa."""
    hidden = point.hidden / certified.split
    return np.concatenate([hidden.ravel(), point.output.ravel()]) / certified.contribution


def extreme_rows(plan, certified, point, rng):
    """A row that weighs much, and another that is as far from it as can be found, with classes."""
    body, p = point.hidden[:-1], plan.problem
    signs = rng.choice([-1.0, 1.0], (100, p.hidden_units))
    v = np.vstack([
        body.T, signs @ body.T, (body @ point.output[:-1]).T, rng.normal(size=(50, len(body))),
    ])  # fmt: skip
    lengths = np.linalg.norm(v, axis=1, keepdims=True)
    v = np.vstack([v, -v]) / np.tile(np.maximum(lengths, 1e-12), (2, 1))
    rows = np.hstack([v, np.full((len(v), 1), p.intercept_column)])
    rows, targets = np.tile(rows, (p.n_classes, 1)), np.repeat(np.arange(p.n_classes), len(v))
    blocks = exact_rows(plan, certified, point, rows, labels_of(plan, targets))
    vectors = np.array([
        flat(NetworkPoint(h, o), certified)
        for h, o in zip(blocks.hidden, blocks.output, strict=True)
    ])  # fmt: skip
    first = np.argmax(np.linalg.norm(vectors, axis=1))
    second = np.argmax(np.linalg.norm(vectors - vectors[first], axis=1))
    return rows[[first, second]], targets[[first, second]]


# The map from sums to coefficients.


def item_values(layout, hidden, output):
    """What every item of the merge holds in its C unit slots, complex, zero but for the sums.

    Items are, per group of units, the columns by group and power, then outputs, then biases.
    """
    rows, block = layout.rows, layout.block
    m, k, padded = rows.feature_blocks, layout.n_outputs, layout.unit_groups * layout.block
    W = np.zeros((rows.groups * 2 * m, padded))
    W[: rows.n_columns, : layout.n_units] = hidden
    values, found = np.zeros((padded, k)), []
    values[: layout.n_units] = output[:-1]
    for unit in range(0, padded, block):
        parts = W[:, unit : unit + block].reshape(rows.groups, 2, m, block)
        complex_ones = parts[:, 0] + parts[:, 1] * rows._imaginary[:block]
        found += list(complex_ones.reshape(-1, block))
    for column in range(k):
        found += list(values[:, column].reshape(-1, block))
    unit_0 = np.eye(block)[0]
    found += [unit_0 * output[-1, column] for column in range(k)]
    return np.array(found)


def exact_coefficients(layout, hidden, output):
    """Coefficients behind sums in units of S: what `unpack_sums` undoes, zero elsewhere.

    An item's 2C real coefficients c and its C values v = V c, V V^H = 2C.
    """
    block, span = layout.block, layout.rows.class_span
    V = layout.rows._roots[:block, None] ** (np.arange(2 * block) * span)
    result = np.zeros((2 * block, span))
    items = item_values(layout, hidden, output)
    offsets = layout.rows.offsets(len(items))
    result[:, offsets] = (V.conj().T @ items.T).real / block / layout.rows.rows_per_chunk
    return result.ravel()


def whole(plan, certified, sums):
    """Exact coefficients behind sums, in units of S, as `NetworkBench.gradient` gives them."""
    output = sums.output.copy()
    output[:-1] *= FactoredActivation.of(plan.certificate.activation).sign
    coefficients = exact_coefficients(layout_of(plan), sums.hidden / certified.split, output)
    return coefficients / certified.contribution


def is_output(layout):
    """Which coefficients carry a sum: those of items with at least one column."""
    rng = np.random.default_rng(0)
    shape = (layout.rows.n_columns, layout.n_units), (layout.n_units + 1, layout.n_outputs)
    items = item_values(layout, *(rng.uniform(1, 2, size) for size in shape))
    mask = np.zeros((2 * layout.block, layout.rows.class_span), dtype=bool)
    mask[:, layout.rows.offsets(len(items))[items.any(axis=1)]] = True
    return mask.ravel()


class NetworkBench:
    """The circuit of a plan in the hands of one party, on any backend."""

    def __init__(self, plan, scheme, elements=None):
        self.plan, self.scheme, self.model = plan, scheme, model_of(plan)
        self.keys = scheme.generate(elements or self.model.elements)
        self.backend = scheme.evaluator(self.keys.evaluation_keys())
        self.encryptor = self.keys.encryptor()

    def of(self, plan):
        """Another plan's circuit under the same keys, which take most of the time to make."""
        other = copy.copy(self)
        other.plan, other.model = plan, model_of(plan)
        return other

    @property
    def arithmetic(self):
        used = self.plan.encryption
        return Arithmetic(self.backend, used.waterline, used.merge_level)

    def encrypt(self, slots, scale, level, dither=False):
        return self.backend.load(self.encryptor.encrypt(slots, scale, level, dither))

    def chunks(self, rows, targets):
        """As an owner sends them; a row of zeros is one that is not there."""
        layout, size = self.model.layout, self.model.rows_per_chunk
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            plains = self.model.pack(part, targets[start : start + size])
            missing = np.flatnonzero(~part.any(axis=1))
            for plain in plains:
                shape = layout.rows.feature_blocks, size, layout.block
                plain.slots.reshape(shape)[:, missing] = 0
            yield self.model.chunk(self.backend, [self.encrypt(*p, dither=True) for p in plains])

    def weights(self, point, certified):
        scale, top = self.plan.encryption.scale, self.scheme.ring.top_level
        packed = self.model.weights(point, certified)
        return [self.encrypt(slots, scale, top) for slots in packed]

    def sorted_weights(self, point, certified):
        """The same, by what they are for, as the evaluator sorts them."""
        layout, found = self.model.layout, iter(self.weights(point, certified))
        sizes = layout.rows.groups, layout.unit_groups
        hidden = [[next(found) for _ in range(sizes[0])] for _ in range(sizes[1])]
        output, backward = (
            [[next(found) for _ in range(sizes[1])] for _ in range(layout.n_outputs)]
            for _ in range(2)
        )
        return NetworkWeights(hidden, output, list(found), backward)

    def coefficients(self, a):
        """Plaintext coefficients in message units, simulated ones before they are rounded."""
        if isinstance(a, SimulatedCiphertext):
            return slots_to_coefficients(self.scheme.ring, a.slots)
        level, scale = self.backend.level(a), self.backend.scale(a)
        return self.keys.decrypt(self.backend.save(a), level, scale) / scale

    def gradient(self, chunks, point, certified):
        """All coefficients of the merged result, in units of S over the output norm."""
        weights = self.weights(point, certified)
        sums = self.model.running_sums(self.arithmetic, certified.indices, weights)
        result = sums.gradient(chunks)
        assert self.backend.level(result) == 0
        return self.coefficients(result)


class NetworkLockstep(Lockstep):
    """Where windows straddle two rows only the wider bound holds, until they are masked."""

    def __init__(self, evaluator, tracer, block, reach):
        super().__init__(evaluator.ring, evaluator)
        self.sides = evaluator, tracer
        self.block, self.reach, self.period = block, reach, 1

    def pair(self, real, traced):
        super().pair(replace(real, slots=real.slots[:: self.period]), traced)
        return real, traced

    def claim(self, a, bound):
        self.period = self.block if bound == self.reach else 1
        claimed = super().__getattr__("claim")(a, bound)
        if bound == STRADDLING * self.reach:
            self.period = self.block
        return claimed

    def add_image(self, a, element):
        self.period = 1
        return super().__getattr__("add_image")(a, element)
