"""What several test files share: plans, rows, parties, and the exact gradient in NumPy."""

import io
import math
import pickle
from dataclasses import dataclass
from functools import lru_cache

import joblib
import numpy as np
import pytest

from skfhe import DataOwner, EncryptedDPLogisticRegression, Evaluator, KeyHolder
from skfhe.crypto.embedding import coefficients_to_slots
from skfhe.crypto.parameters import MAX_MODULUS_BITS
from skfhe.crypto.simulated import SimulatedEncryptor, SimulatedScheme
from skfhe.exceptions import KeyBurned
from skfhe.packing import Layout
from skfhe.planning import rings
from skfhe.privacy import accounting
from skfhe.privacy.sensitivity import RELATION_FACTOR, row_norm
from skfhe.protocol import messages
from skfhe.protocol.schemes import plan_scheme

BACKENDS = ["simulated", "tenseal"]
# What tests of single operations use.
SCALE = 2.0**30
N = 8192


@lru_cache(maxsize=64)
def make(n=200, d=4, classes=2, n_owners=1, n_colluding=0, **parameters):
    """A plan of three steps of degree 3 and no statistics, unless told otherwise."""
    plain = {"standardize": False, "precondition": False}
    parameters = {"degree": 3, "max_iter": 3, **plain, **parameters}
    return EncryptedDPLogisticRegression(**parameters).plan(n, d, classes, n_owners, n_colluding)


def make_rows(plan, seed=0):
    """Rows within the plan's bound, and targets that depend on them."""
    rng = np.random.default_rng(seed)
    p = plan.problem
    X = rng.uniform(-1, 1, (p.n_samples, p.n_features))
    X *= p.data_norm / np.linalg.norm(X, axis=1).max()
    if p.n_classes == 2:
        return X, (X[:, 0] + 0.1 * rng.normal(size=len(X)) > 0).astype(int)
    return X, np.argmax(X[:, : p.n_classes] + 0.1 * rng.random((len(X), p.n_classes)), axis=1)


def layout_of(plan):
    return Layout.of(plan.problem, plan.encryption, plan.guarantee.n_owners)


def ring_of(plan):
    return rings.ring_of(plan.encryption)


def scheme_of(plan, backend="tenseal", errors=False):
    if backend == "simulated":
        return SimulatedScheme(ring_of(plan), errors)
    return plan_scheme(plan, backend)


def stored_rows(plan, X):
    """Rows as an owner stores them: over the bound, shortened, with the intercept."""
    p = plan.problem
    lengths = np.maximum(np.linalg.norm(X, axis=1, keepdims=True) / p.data_norm, 1)
    column = 1 / lengths if p.n_outputs == 1 else np.ones_like(lengths)
    return np.hstack([X / p.data_norm / lengths, p.intercept_column * column])


def one_hot(plan, targets):
    if plan.problem.n_outputs == 1:
        return (np.asarray(targets) == 1).astype(float)[:, None]
    return (np.asarray(targets)[:, None] == np.arange(plan.problem.n_classes)).astype(float)


def exact_sums(plan, indices, weights, X, targets):
    """sum_i c_i (p(z_i) - y_i) x_i / S, c_i the class's weight, shape (n_columns, n_outputs)."""
    rows = stored_rows(plan, X)
    p = plan.certificate.polynomials[indices[0]]
    residual = p(rows @ weights) - one_hot(plan, targets)
    if plan.problem.class_weight:
        residual *= np.array(plan.problem.class_weight)[targets][:, None]
    return rows.T @ residual / plan.certificate.contributions[indices[1]]


def output_columns(layout):
    """For every item of the merge its position and its two columns, None for none."""
    m = layout.feature_blocks
    for item, offset in enumerate(layout.merge_offsets):
        first = 2 * m * (item // m) + item % m
        columns = [c if c < layout.n_columns else None for c in (first, first + m)]
        yield int(offset), columns


def exact_coefficients(layout, sums):
    """Coefficients behind sums: what `Layout.unpack_sums` undoes, zero elsewhere.

    An item's 2C real coefficients c and its C values v = V c, V V^H = 2C, v = a + I a'.
    """
    classes, span = layout.class_blocks, layout.class_span
    roots = layout._roots[:classes]
    V = roots[:, None] ** (np.arange(2 * classes) * span)
    padded = np.zeros((layout.n_columns, classes))
    padded[:, : layout.n_outputs] = sums
    result = np.zeros((2 * classes, span))
    for offset, (real, imaginary) in output_columns(layout):
        value = np.zeros(classes, dtype=complex)
        if real is not None:
            value += padded[real]
        if imaginary is not None:
            value += padded[imaginary] * layout._imaginary[:classes]
        result[:, offset] = (V.conj().T @ value).real / classes / layout.rows_per_chunk
    return result.ravel()


def random_weights(plan, rng, scale=None):
    """A point of the ball about the prior; `scale` 1 is its boundary."""
    p = plan.problem
    w = rng.normal(size=(p.n_columns, p.n_outputs))
    w /= np.linalg.norm(w, axis=0)
    w *= plan.optimizer.weight_norm * (rng.random() if scale is None else scale)
    w[-1] += p.prior_margin / p.intercept_column
    return w


def encrypt_any(encryptor, ring, values, scale):
    """As `encrypt_integers` at level 0, without its bound on the values; not exact."""
    slots = coefficients_to_slots(ring, values)
    if isinstance(encryptor, SimulatedEncryptor):
        return encryptor.encrypt(slots / scale, scale, 0)
    plaintext = encryptor._encode(slots, 1.0, 0)
    plaintext.scale = scale
    return encryptor._encrypt(plaintext)


@dataclass
class Parties:
    """One key holder, an evaluator and owners, with rows loaded."""

    key_holder: KeyHolder
    evaluator: Evaluator
    owners: list
    X: np.ndarray
    targets: np.ndarray

    @property
    def plan(self):
        return self.key_holder.plan

    def step(self):
        """One whole step's reply; not released."""
        k = self.key_holder
        return self.evaluator.step(k.weights(), [o.noise(k._course.step) for o in self.owners])

    def at(self, weights):
        """The reply at given weights with noise of zeros, at the same step again and again."""
        k, e = self.key_holder, self.evaluator
        k._course.optimizer.point, k._weights, e._next_step = weights, None, k._course.step
        zeros = np.zeros(self.plan.encryption.poly_modulus_degree, dtype=np.int64)
        return e.step(k.weights(), [self.noise_message(zeros, owner=0)])

    def noise_message(self, values, owner=0, **fields):
        k = self.key_holder
        ciphertext = k._encryptor.encrypt_integers(values, self.plan.encryption.output_scale, 0)
        fields = {"run": k.run, "step": k._course.step, **fields}
        return messages.pack("noise", self.plan.digest, [ciphertext], owner=owner, **fields)

    def gradient_message(self, values, scale=None, **fields):
        """A forged reply that encrypts the given coefficients, however large."""
        k = self.key_holder
        scale = scale or self.plan.encryption.output_scale
        section = encrypt_any(k._encryptor, ring_of(self.plan), values, scale)
        fields = {"run": k.run, "step": k._course.step, **fields}
        return messages.pack("gradient", self.plan.digest, [section], **fields)

    def decrypt(self, reply):
        """Coefficients of a reply in integer units, past the key holder's release."""
        section = messages.unpack(reply, "gradient", self.plan.digest)[1][0]
        scale = self.plan.encryption.output_scale
        return self.key_holder._keys.decrypt(section, 0, scale)


def owners_of(key_holder):
    """Owners: a single one with the key, or several under the public key."""
    plan, n_owners = key_holder.plan, key_holder.plan.guarantee.n_owners
    if n_owners == 1:
        return [DataOwner(plan, key_holder.encryptor(), key_holder.run)]
    key = key_holder.public_key()
    return [DataOwner.with_public_key(plan, key, i, key_holder.scheme) for i in range(n_owners)]


def split(n_samples, n_owners):
    """Slices of very different lengths, one per owner."""
    ends = [n_samples * (i + 1) ** 2 // n_owners**2 for i in range(n_owners)]
    return [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def gather(plan, backend="tenseal", seed=0, data=None, errors=False, keys=None):
    """All parties of a plan, ready for the first step; `keys`: a key holder and what it gave."""
    X, targets = make_rows(plan, seed) if data is None else data
    key_holder, sent = keys or (KeyHolder(plan, scheme_of(plan, backend, errors)), None)
    evaluator = Evaluator(plan, sent or key_holder.evaluation_keys(), key_holder.scheme)
    owners = owners_of(key_holder)
    for owner, part in zip(owners, split(len(X), len(owners)), strict=True):
        evaluator.load(owner.encrypt(X[part], targets[part]))
    return Parties(key_holder, evaluator, owners, X, targets)


def seeded_noise(scale=1.0, seed=0):
    """Stands in for `discrete_gaussian`: the same standard normals in every run, in order."""
    rng = np.random.default_rng(seed)

    def draw(sigma, size, random_bytes):
        return np.rint(scale * sigma * rng.standard_normal(size)).astype(np.int64)

    return draw


def phases(seed, ring):
    """Slots of modulus one: products then keep their size, so that bounds are sharp."""
    random = np.random.default_rng(seed)
    return np.exp(2j * np.pi * random.random(ring.slots))


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def destroyed(key_holder):
    """Whether nothing can be decrypted or encrypted with the secret key any more."""
    with pytest.raises(KeyBurned):
        key_holder._keys.decrypt(b"", 0, 1.0)
    with pytest.raises(KeyBurned):
        key_holder.weights()
    return key_holder._encryptor is None


def assert_sound(plan):
    """All inequalities that a plan stands for, computed anew from its own figures."""
    p, c, g, e = plan.problem, plan.certificate, plan.guarantee, plan.encryption
    layout = layout_of(plan)
    factor = RELATION_FACTOR[c.neighboring]
    # Sensitivity and noise.
    assert 0 < c.error <= 0.05 * factor
    assert c.sensitivity == pytest.approx(factor * (1 + c.row_slack) + c.error, rel=1e-12)
    unit = e.output_scale / layout.output_norm
    honest = g.n_owners - g.n_colluding
    share = math.isqrt(-(-(e.noise_units**2) // honest) - 1) + 1
    assert honest * share**2 >= e.noise_units**2
    assert g.noise_multiplier * c.sensitivity * unit <= e.noise_units * (1 + 1e-12)
    assert 0 < c.error_probability <= c.cost_in_delta < accounting.DELTA_SHARE * g.delta
    gaussian = (1 - accounting.DELTA_SHARE) * g.delta
    statistics = plan.preparation.statistics.values()
    squared_mu = plan.optimizer.max_iter / g.noise_multiplier**2
    squared_mu += sum(1 / s.noise_multiplier**2 for s in statistics)
    assert accounting.epsilon_at(gaussian, 1 / math.sqrt(squared_mu), 1) <= g.epsilon
    assert g.n_releases == plan.optimizer.max_iter + len(statistics)
    # Every margin lies within the last interval, every S within the table.
    norm = row_norm(p.intercept_column)
    reach = abs(p.prior_margin) + plan.optimizer.weight_norm * norm + c.margin_slack
    assert c.polynomials[-1].radius >= reach
    radii = [q.radius for q in c.polynomials]
    assert radii == sorted(radii) and list(c.contributions) == sorted(c.contributions)
    largest = max(q.residual_bound() for q in c.polynomials) * norm * math.sqrt(p.n_outputs)
    assert c.contributions[-1] >= largest * (1 - 1e-12)
    # The base prime holds the release: all rows, a dozen deviations of all owners' noise.
    spread = share * math.sqrt(g.n_owners)
    assert 2 * (1.1 * p.n_samples * unit + 12 * spread) < e.primes[0]
    # Owners can encode their noise exactly: ten deviations below 2^48.
    assert 10 * share < 2**48
    # Security.
    assert math.prod(e.primes).bit_length() <= MAX_MODULUS_BITS[e.poly_modulus_degree]
    assert len(set(e.primes)) == len(e.primes)
    assert all(q % (2 * e.poly_modulus_degree) == 1 and q < 2**60 for q in e.primes)
    assert "128-bit" in e.security
    assert g.flooding <= 2.0**-20 or g.n_owners == 1
    assert e.symmetric == (g.n_owners == 1)


def write(how, model):
    """An estimator as bytes, by pickle, joblib or skops."""
    if how == "pickle":
        return pickle.dumps(model)
    if how == "skops":
        return pytest.importorskip("skops.io").dumps(model)
    file = io.BytesIO()
    joblib.dump(model, file)
    return file.getvalue()


def read(how, data):
    """The estimator back."""
    if how == "skops":
        skops = pytest.importorskip("skops.io")
        return skops.loads(data, trusted=skops.get_untrusted_types(data=data))
    return joblib.load(io.BytesIO(data)) if how == "joblib" else pickle.loads(data)
