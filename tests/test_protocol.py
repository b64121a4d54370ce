"""The parties together: what a run releases, what it refuses, and what is left after a failure."""

import numpy as np
import pytest
from helpers import (
    BACKENDS,
    destroyed,
    exact_sums,
    gather,
    layout_of,
    make,
    make_rows,
    owners_of,
    relative,
    scheme_of,
    seeded_noise,
    split,
)

from skfhe import (
    EncryptedDataset,
    EncryptedDPLogisticRegression,
    KeyHolder,
    PlanMismatch,
)
from skfhe.exceptions import BudgetExceeded, KeyBurned, MessageError
from skfhe.protocol import data_owner, messages
from skfhe.protocol.optimizer import ProjectedNesterov
from skfhe.protocol.preparation import plain_frame
from skfhe.protocol.session import Costs, run_session


def spy(monkeypatch, key_holder):
    """Record what the key pair's decrypt is called with, and what the ledger said then."""
    seen, decrypt = [], key_holder._keys.decrypt

    def watched(*arguments):
        seen.append(list(key_holder.releases.spent))
        return decrypt(*arguments)

    monkeypatch.setattr(key_holder._keys, "decrypt", watched)
    return seen


def train_exactly(plan, X, targets, key_holder):
    """The same steps in NumPy without noise, approximations chosen as the key holder does."""
    optimizer = ProjectedNesterov(plan, plain_frame(plan))
    for _ in range(plan.optimizer.max_iter):
        indices = key_holder._course.model.certify(optimizer.point).indices
        bound = plan.certificate.contributions[indices[1]]
        optimizer.update(exact_sums(plan, indices, optimizer.point, X, targets) * bound)
    return optimizer.result()


def run_together(plan, backend):
    X, targets = make_rows(plan)
    key_holder = KeyHolder(plan, scheme_of(plan, backend))
    owners = owners_of(key_holder)
    parts = [
        owner.dataset(X[part], targets[part])
        for owner, part in zip(owners, split(len(X), len(owners)), strict=True)
    ]
    dataset = EncryptedDataset.concat(*parts)
    assert dataset.n_samples == len(X)
    model = EncryptedDPLogisticRegression().fit_encrypted(dataset, key_holder)
    return model, key_holder, (X, targets)


# Whole runs.


@pytest.mark.parametrize("degree", [3, 7])
@pytest.mark.parametrize("classes", [2, 3])
def test_simulated_and_encrypted_training_agree(monkeypatch, degree, classes):
    """The same plan and the same noise give the same weights."""
    plan = make(classes=classes, degree=degree)
    X, targets = make_rows(plan)
    weights = []
    for backend in BACKENDS:
        monkeypatch.setattr(data_owner, "discrete_gaussian", seeded_noise(seed=1))
        weights.append(
            run_session(
                KeyHolder(plan, scheme_of(plan, backend)), X, targets, Costs()
            ).released.model
        )
    assert np.linalg.norm(weights[0]) > 0.1
    assert relative(weights[1], weights[0]) < 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n_owners, n_colluding", [(1, 0), (2, 0), (3, 1)])
def test_owners_together_train_the_exact_model(monkeypatch, backend, n_owners, n_colluding):
    """With noise switched off, any number of owners gives what NumPy gives."""
    monkeypatch.setattr(data_owner, "discrete_gaussian", seeded_noise(scale=0.0))
    plan = make(n_owners=n_owners, n_colluding=n_colluding)
    model, key_holder, (X, targets) = run_together(plan, backend)
    exact = train_exactly(plan, X, targets, key_holder)
    p = plan.problem
    expected = np.vstack([exact[:-1] / p.data_norm, exact[-1:] * p.intercept_column])
    got = np.vstack([model.coef_.T, model.intercept_[None]])
    assert relative(got, expected) < 1e-3
    assert model.privacy_.n_releases == 3 == len(key_holder.releases.spent)
    assert model.predict(X).shape == targets.shape


def test_owners_agree_across_backends_with_noise(monkeypatch):
    plan = make(n_owners=3, n_colluding=1)
    weights = []
    for backend in BACKENDS:
        monkeypatch.setattr(data_owner, "discrete_gaussian", seeded_noise(seed=2))
        model, _, _ = run_together(plan, backend)
        weights.append(np.append(model.coef_, model.intercept_))
    assert relative(weights[1], weights[0]) < 1e-3


@pytest.mark.parametrize("n", [1, 2, 20, 60])
def test_few_rows(n):
    """However few the rows are, a run goes through."""
    plan = make(n=n)
    parties = gather(plan)
    parties.key_holder.release(parties.step())
    assert len(parties.key_holder.records) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_unequal_owners_may_leave_chunks_half_empty(backend):
    """More rows than a chunk holds, in parts that fill chunks badly."""
    plan = make(n=5000, d=4, n_owners=2)
    layout = layout_of(plan)
    assert layout.chunks > 2
    parties = gather(plan, backend)
    weights = np.full((5, 1), 0.5)
    got = layout.unpack_sums(parties.decrypt(zero_noise(parties, weights)))
    got /= plan.encryption.output_scale
    expected = exact_sums(
        plan, parties.key_holder._certified.indices, weights, parties.X, parties.targets
    )
    assert relative(got, expected) < 1e-3


def zero_noise(parties, weights):
    key_holder, evaluator = parties.key_holder, parties.evaluator
    key_holder._course.optimizer.point, key_holder._weights = weights, None
    zeros = np.zeros(parties.plan.encryption.poly_modulus_degree, dtype=np.int64)
    shares = [parties.noise_message(zeros, owner=i) for i in range(len(parties.owners))]
    return evaluator.step(key_holder.weights(), shares)


# What the key holder answers, and to whom.


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_reply_again_changes_nothing(monkeypatch, backend):
    parties = gather(make(), backend)
    key_holder = parties.key_holder
    seen = spy(monkeypatch, key_holder)
    reply = parties.step()
    key_holder.release(reply)
    before = key_holder._course.optimizer.point.copy()
    for _ in range(3):
        key_holder.release(reply)
    np.testing.assert_array_equal(key_holder._course.optimizer.point, before)
    assert seen == [[0]] and key_holder.releases.spent == [0] and len(key_holder.records) == 1
    message = key_holder.weights()
    key_holder.release(reply)
    assert key_holder.weights() is message


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_reply_to_an_answered_step_is_refused(monkeypatch, backend):
    """Two sums under one noise would show their exact difference."""
    parties = gather(make(), backend)
    key_holder, plan = parties.key_holder, parties.plan
    weights, noise = key_holder.weights(), [parties.owners[0].noise(0)]
    first = parties.evaluator.step(weights, noise)
    parties.evaluator._next_step = 0
    second = parties.evaluator.step(weights, noise)
    if first == second:  # deterministic evaluation: make the second differ
        zeros = np.zeros(plan.encryption.poly_modulus_degree, dtype=np.int64)
        second = parties.gradient_message(zeros, step=0)
    seen = spy(monkeypatch, key_holder)
    key_holder.release(first)
    for _ in range(2):  # before and after the next step has begun
        with pytest.raises((PlanMismatch, KeyBurned)):
            key_holder.release(second)
        if key_holder._encryptor is None:
            break
        key_holder.weights()
    assert seen == [[0]] and key_holder.releases.spent == [0]


def test_a_reply_before_the_weights_is_refused(monkeypatch):
    parties = gather(make(), "simulated")
    key_holder = parties.key_holder
    seen = spy(monkeypatch, key_holder)
    zeros = np.zeros(parties.plan.encryption.poly_modulus_degree, dtype=np.int64)
    with pytest.raises(PlanMismatch, match="not begun"):
        key_holder.release(parties.gradient_message(zeros))
    assert not seen and not key_holder.releases.spent


@pytest.mark.parametrize(
    "change", [{"run": "0" * 32}, {"step": 1}, {"step": -1}, {"digest": "0" * 64}]
)
def test_replies_of_another_run_step_or_plan_are_refused(monkeypatch, change):
    parties = gather(make(), "simulated")
    key_holder = parties.key_holder
    key_holder.weights()
    seen = spy(monkeypatch, key_holder)
    fields = {"run": key_holder.run, "step": 0, **change}
    digest = fields.pop("digest", parties.plan.digest)
    with pytest.raises(PlanMismatch):
        key_holder.release(messages.pack("gradient", digest, [b"x"], **fields))
    with pytest.raises(MessageError):
        key_holder.release(messages.pack("noise", parties.plan.digest, [b"x"], **fields))
    assert not seen and not key_holder.releases.spent
    key_holder.release(parties.step())  # nothing has changed: the honest reply still counts


@pytest.mark.parametrize("sections", [0, 2, 3])
def test_a_reply_has_one_ciphertext(monkeypatch, sections):
    parties = gather(make(), "simulated")
    key_holder = parties.key_holder
    key_holder.weights()
    seen = spy(monkeypatch, key_holder)
    reply = messages.pack(
        "gradient", parties.plan.digest, [b"x"] * sections, run=key_holder.run, step=0
    )
    with pytest.raises(MessageError):
        key_holder.release(reply)
    assert not seen and not key_holder.releases.spent


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ["junk", "empty", "cut", "other scale", "other level", "altered"])
def test_a_malformed_ciphertext_burns_the_key(backend, how):
    """KeyHolder: a malformed release is paid for, ends the run and destroys the key."""
    parties = gather(make(), backend)
    key_holder, plan = parties.key_holder, parties.plan
    honest = bytes(messages.unpack(parties.step(), "gradient", plan.digest)[1][0])
    zeros = np.zeros(plan.encryption.poly_modulus_degree, dtype=np.int64)
    encrypt, scale = key_holder._encryptor.encrypt_integers, plan.encryption.output_scale
    section = {
        "junk": b"\x5e\xa1\x10\x04" + b"junk" * 100,
        "empty": b"",
        "cut": honest[: len(honest) // 2],
        "other scale": encrypt(zeros, scale * 2, 0),
        "other level": encrypt(zeros, scale, 1),
        "altered": honest[:40] + b"\x50" * 20 + honest[60:],  # as a simulated slot: 1e79
    }[how]
    reply = messages.pack("gradient", plan.digest, [section], run=key_holder.run, step=0)
    with pytest.raises((MessageError, KeyBurned)):
        key_holder.release(reply)
    assert key_holder.releases.spent == [0]
    assert destroyed(key_holder)
    with pytest.raises(KeyBurned):
        key_holder.release(reply)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spread", ["one coefficient", "all"])
def test_an_impossible_vector_burns_the_key(backend, spread):
    parties = gather(make(), backend)
    key_holder, used = parties.key_holder, parties.plan.encryption
    key_holder.weights()
    unit = used.output_scale / layout_of(parties.plan).output_norm
    limit = 1.1 * parties.plan.problem.n_samples * unit + 12 * used.noise_units
    values = np.zeros(used.poly_modulus_degree, dtype=np.int64)
    values[5 if spread == "one coefficient" else slice(None)] = -int(1.01 * limit)
    assert limit < used.primes[0] / 2 / 1.01
    forged = parties.gradient_message(values)
    with pytest.raises(KeyBurned):
        key_holder.release(forged)
    assert key_holder.releases.spent == [0] and not key_holder.records
    assert destroyed(key_holder)
    for call in (lambda: key_holder.release(forged), key_holder.weights, key_holder.encryptor):
        with pytest.raises(KeyBurned):
            call()
    with pytest.raises(PlanMismatch):
        key_holder.result()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_vector_at_the_limit_is_released(backend):
    """The refusal leaves room for everything that honest data can give."""
    parties = gather(make(), backend)
    key_holder, used = parties.key_holder, parties.plan.encryption
    key_holder.weights()
    unit = used.output_scale / layout_of(parties.plan).output_norm
    values = np.zeros(used.poly_modulus_degree, dtype=np.int64)
    values[0] = int(parties.plan.problem.n_samples * unit + 11 * used.noise_units)
    key_holder.release(parties.gradient_message(values))
    assert len(key_holder.records) == 1


@pytest.mark.parametrize("error", [MessageError, RuntimeError, ValueError, KeyboardInterrupt])
def test_the_ledger_is_spent_whatever_decryption_does(monkeypatch, error):
    parties = gather(make(), "simulated")
    key_holder = parties.key_holder
    reply = parties.step()
    seen = []

    def failing(*arguments):
        seen.append(list(key_holder.releases.spent))
        raise error("no")

    with monkeypatch.context() as patch:
        patch.setattr(key_holder._keys, "decrypt", failing)
        with pytest.raises(error):
            key_holder.release(reply)
    assert seen == [[0]] and key_holder.releases.spent == [0]
    with pytest.raises((KeyBurned, BudgetExceeded)):
        key_holder.release(reply)
    assert key_holder.releases.spent == [0]
    assert destroyed(key_holder)


def test_an_empty_ledger_decrypts_nothing(monkeypatch):
    parties = gather(make(), "simulated")
    key_holder = parties.key_holder
    reply = parties.step()
    seen = spy(monkeypatch, key_holder)
    key_holder.releases.n_releases = 0
    with pytest.raises(BudgetExceeded):
        key_holder.release(reply)
    assert not seen and not key_holder.releases.spent and not key_holder.records


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_key_is_destroyed_after_the_last_step(backend):
    parties = gather(make(), backend)
    key_holder = parties.key_holder
    for step in range(3):
        assert not key_holder.done
        with pytest.raises(PlanMismatch):
            key_holder.result()
        reply = parties.step()
        key_holder.release(reply)
        assert key_holder.releases.spent == list(range(step + 1))
    assert key_holder.done and destroyed(key_holder)
    assert key_holder.result().shape == (5, 1)


def test_the_last_reply_again_changes_nothing():
    """A reply that is repeated because its receipt was lost is no error, the last one neither."""
    parties = gather(make(), "simulated")
    for _ in range(3):
        reply = parties.step()
        parties.key_holder.release(reply)
    result = parties.key_holder.result()
    parties.key_holder.release(reply)
    np.testing.assert_array_equal(parties.key_holder.result(), result)
    assert parties.key_holder.releases.spent == [0, 1, 2]
