"""The parties together: what a run releases, what it refuses, and what is left after a failure."""

import numpy as np
import pytest
from helpers import (
    exact_sums,
    gather,
    layout_of,
    make,
    make_rows,
    owners_of,
    scheme_of,
    seeded_noise,
    split,
)

from skfhe import (
    EncryptedDataset,
    EncryptedDPLogisticRegression,
    Evaluator,
    KeyHolder,
    PlanMismatch,
)
from skfhe.exceptions import BudgetExceeded, KeyBurned, MessageError
from skfhe.protocol import data_owner, messages
from skfhe.protocol.optimizer import ProjectedNesterov
from skfhe.protocol.session import Costs, run_session, train_encrypted

BACKENDS = ["simulated", "tenseal"]


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def spy(monkeypatch, key_holder):
    """Record what the key pair's decrypt is called with, and what the ledger said then."""
    seen, decrypt = [], key_holder._keys.decrypt

    def watched(*arguments):
        seen.append(list(key_holder.ledger.spent))
        return decrypt(*arguments)

    monkeypatch.setattr(key_holder._keys, "decrypt", watched)
    return seen


def destroyed(key_holder):
    """Whether nothing can be decrypted or encrypted with the secret key any more."""
    with pytest.raises(KeyBurned):
        key_holder._keys.decrypt(b"", 0, 1.0)
    with pytest.raises(KeyBurned):
        key_holder.weights()
    return key_holder._encryptor is None


def train_exactly(plan, X, targets, key_holder):
    """The same steps in NumPy without noise, approximations chosen as the key holder does."""
    optimizer = ProjectedNesterov(plan.problem, plan.optimizer)
    for _ in range(plan.optimizer.max_iter):
        indices = key_holder._certified(optimizer.point)
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
    """DESIGN 8.6: the same plan and the same noise give the same weights."""
    plan = make(classes=classes, degree=degree)
    X, targets = make_rows(plan)
    weights = []
    for backend in BACKENDS:
        monkeypatch.setattr(data_owner, "discrete_gaussian", seeded_noise(seed=1))
        weights.append(run_session(plan, scheme_of(plan, backend), X, targets, Costs()).weights)
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
    assert model.privacy_.n_releases == 3 == len(key_holder.ledger.spent)
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
    expected = exact_sums(plan, parties.key_holder._indices, weights, parties.X, parties.targets)
    assert relative(got, expected) < 1e-3


def zero_noise(parties, weights):
    key_holder, evaluator = parties.key_holder, parties.evaluator
    key_holder._optimizer.point, key_holder._weights = weights, None
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
    before = key_holder._optimizer.point.copy()
    for _ in range(3):
        key_holder.release(reply)
    np.testing.assert_array_equal(key_holder._optimizer.point, before)
    assert seen == [[0]] and key_holder.ledger.spent == [0] and len(key_holder.records) == 1
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
    assert seen == [[0]] and key_holder.ledger.spent == [0]


def test_a_reply_before_the_weights_is_refused(monkeypatch):
    parties = gather(make(), "simulated")
    key_holder = parties.key_holder
    seen = spy(monkeypatch, key_holder)
    zeros = np.zeros(parties.plan.encryption.poly_modulus_degree, dtype=np.int64)
    with pytest.raises(PlanMismatch, match="not begun"):
        key_holder.release(parties.gradient_message(zeros))
    assert not seen and not key_holder.ledger.spent


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
    assert not seen and not key_holder.ledger.spent
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
    assert not seen and not key_holder.ledger.spent


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
        "altered": honest[:40] + bytes(b ^ 0xFF for b in honest[40:60]) + honest[60:],
    }[how]
    reply = messages.pack("gradient", plan.digest, [section], run=key_holder.run, step=0)
    with pytest.raises((MessageError, KeyBurned)):
        key_holder.release(reply)
    assert key_holder.ledger.spent == [0]
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
    assert key_holder.ledger.spent == [0] and not key_holder.records
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
        seen.append(list(key_holder.ledger.spent))
        raise error("no")

    with monkeypatch.context() as patch:
        patch.setattr(key_holder._keys, "decrypt", failing)
        with pytest.raises(error):
            key_holder.release(reply)
    assert seen == [[0]] and key_holder.ledger.spent == [0]
    with pytest.raises((KeyBurned, BudgetExceeded)):
        key_holder.release(reply)
    assert key_holder.ledger.spent == [0]
    assert destroyed(key_holder)


def test_an_empty_ledger_decrypts_nothing(monkeypatch):
    parties = gather(make(), "simulated")
    key_holder = parties.key_holder
    reply = parties.step()
    seen = spy(monkeypatch, key_holder)
    key_holder.ledger.n_releases = 0
    with pytest.raises(BudgetExceeded):
        key_holder.release(reply)
    assert not seen and not key_holder.ledger.spent and not key_holder.records


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
        assert key_holder.ledger.spent == list(range(step + 1))
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
    assert parties.key_holder.ledger.spent == [0, 1, 2]


# What the evaluator refuses.


def test_the_evaluator_refuses_replays():
    """Weights and noise of another step, run or plan, or too little noise."""
    plan = make()
    parties, others = gather(plan, "simulated"), gather(plan, "simulated")
    foreign = gather(make(epsilon=2.0), "simulated")
    k, e, (owner,) = parties.key_holder, parties.evaluator, parties.owners
    weights, noise = [k.weights()], [owner.noise(0)]
    for bad_weights, bad_noise in [
        (others.key_holder.weights(), noise),
        (foreign.key_holder.weights(), noise),
        (weights[0], [others.owners[0].noise(0)]),
        (weights[0], [foreign.owners[0].noise(0)]),
        (weights[0], [owner.noise(1)]),
        (weights[0], []),
        (weights[0], [noise[0], noise[0]]),
    ]:
        with pytest.raises(PlanMismatch):
            e.step(bad_weights, bad_noise)
    for bad_weights, bad_noise in [
        (noise[0], noise),
        (weights[0], weights),
        (weights[0][:-1], noise),
        (b"", noise),
        (weights[0], [b"junk"]),
    ]:
        with pytest.raises(MessageError):
            e.step(bad_weights, bad_noise)
    k.release(e.step(weights[0], noise))  # the refusals have changed nothing
    with pytest.raises(PlanMismatch):
        e.step(weights[0], noise)
    with pytest.raises(PlanMismatch):
        e.step(k.weights(), noise)
    with pytest.raises(PlanMismatch):
        e.step(weights[0], [owner.noise(2)])


def test_each_owner_must_send_its_own_noise():
    parties = gather(make(n_owners=2), "simulated")
    first, second = (owner.noise(0) for owner in parties.owners)
    weights = parties.key_holder.weights()
    for noise in ([first], [first, first], [second, first], [second]):
        with pytest.raises(PlanMismatch):
            parties.evaluator.step(weights, noise)
    parties.key_holder.release(parties.evaluator.step(weights, [first, second]))


@pytest.mark.parametrize("n_sections", [0, 2])
@pytest.mark.parametrize("kind", ["evaluation keys", "noise"])
def test_the_number_of_sections_is_checked(kind, n_sections):
    parties = gather(make(), "simulated")
    k, digest = parties.key_holder, parties.plan.digest
    message = k.evaluation_keys() if kind == "evaluation keys" else parties.owners[0].noise(0)
    header, (section,) = messages.unpack(message, kind, digest)
    fields = {f: v for f, v in header.items() if f not in ("kind", "plan", "sections")}
    forged = messages.pack(kind, digest, [section] * n_sections, **fields)
    with pytest.raises((MessageError, PlanMismatch)):
        if kind == "evaluation keys":
            Evaluator(parties.plan, forged, k.scheme)
        else:
            parties.evaluator.step(k.weights(), [forged])


@pytest.mark.parametrize("index", [-1, 10**6, 1.0, "0", None, [0]])
@pytest.mark.parametrize("name", ["polynomial", "contribution"])
def test_only_the_plans_tables_are_accepted(name, index):
    parties = gather(make(), "simulated")
    k, digest = parties.key_holder, parties.plan.digest
    header, sections = messages.unpack(k.weights(), "weights", digest)
    fields = {f: v for f, v in header.items() if f not in ("kind", "plan", "sections")}
    forged = messages.pack("weights", digest, sections, **{**fields, name: index})
    with pytest.raises(PlanMismatch):
        parties.evaluator.step(forged, [parties.owners[0].noise(0)])


def test_rows_beyond_the_plan_are_refused():
    plan = make()
    parties = gather(plan, "simulated")
    X, targets = make_rows(plan)
    with pytest.raises(PlanMismatch):
        parties.evaluator.load(parties.owners[0].encrypt(X[:1], targets[:1]))
    with pytest.raises(PlanMismatch):
        list(parties.owners[0].encrypt(np.vstack([X, X]), np.tile(targets, 2)))
    with pytest.raises(PlanMismatch):
        list(parties.owners[0].encrypt(X[:, 1:], targets))


def test_a_chunk_counts_once():
    """A row that were added twice would have twice the influence that the plan allows."""
    plan = make()
    X, targets = make_rows(plan)
    parties = gather(plan, "simulated", data=(X[:50], targets[:50]))
    (chunk,) = parties.owners[0].encrypt(X[:50], targets[:50])
    evaluator = Evaluator(plan, parties.key_holder.evaluation_keys(), parties.key_holder.scheme)
    with pytest.raises((PlanMismatch, MessageError)):
        evaluator.load([chunk, chunk])


def test_a_chunk_counts_once_among_many():
    """The same where the plan has room for more chunks."""
    plan = make(n=10_000, d=4)
    assert layout_of(plan).chunks >= 2
    X, targets = make_rows(plan)
    part = layout_of(plan).rows_per_chunk // 2
    parties = gather(plan, "simulated", data=(X[:part], targets[:part]))
    (chunk,) = parties.owners[0].encrypt(X[:part], targets[:part])
    with pytest.raises((PlanMismatch, MessageError)):
        parties.evaluator.load([chunk])


@pytest.mark.parametrize("n_samples", [-5, 0, 1e400, "3", None, 2.5])
def test_a_chunk_states_how_many_rows_it_has(n_samples):
    """A count that is none would let more rows in than the plan is for."""
    plan = make(n=10_000, d=4)
    part = layout_of(plan).rows_per_chunk
    X, targets = make_rows(plan)
    parties = gather(plan, "simulated", data=(X[:part], targets[:part]))
    *_, chunk = parties.owners[0].encrypt(X[: part + 3], targets[: part + 3])
    _, sections = messages.unpack(chunk, "rows", plan.digest)
    forged = messages.pack("rows", plan.digest, sections, owner=0, chunk=1, n_samples=n_samples)
    with pytest.raises((PlanMismatch, MessageError)):
        parties.evaluator.load([forged])


def test_no_step_without_rows():
    plan = make()
    key_holder = KeyHolder(plan, scheme_of(plan, "simulated"))
    evaluator = Evaluator(plan, key_holder.evaluation_keys(), key_holder.scheme)
    (owner,) = owners_of(key_holder)
    with pytest.raises(PlanMismatch, match="no rows"):
        evaluator.step(key_holder.weights(), [owner.noise(0)])


# What an owner does.


@pytest.mark.parametrize("step", [0, 2])
def test_noise_is_made_once(step):
    owner = gather(make(), "simulated").owners[0]
    owner.noise(step)
    with pytest.raises(PlanMismatch, match="once"):
        owner.noise(step)


@pytest.mark.parametrize("step", [-1, 3, 1000])
def test_noise_is_for_the_plans_steps(step):
    with pytest.raises(PlanMismatch):
        gather(make(), "simulated").owners[0].noise(step)


@pytest.mark.parametrize("owner", [-1, 1, 2])
def test_owners_are_counted(owner):
    key_holder = KeyHolder(make(), scheme_of(make(), "simulated"))
    with pytest.raises(PlanMismatch):
        data_owner.DataOwner(make(), key_holder.encryptor(), key_holder.run, owner=owner)


def test_symmetric_encryption_is_for_a_single_owner():
    plan = make(n_owners=2)
    with pytest.raises(PlanMismatch, match="public"):
        KeyHolder(plan, scheme_of(plan, "simulated")).encryptor()


def test_long_rows_are_shortened_before_encryption():
    """A row a thousand times too long has no more influence than one at the bound."""
    plan = make()
    X, targets = make_rows(plan)
    X[7] *= 1000.0 / np.linalg.norm(X[7])
    parties = gather(plan, "simulated", data=(X, targets))
    weights = np.full((5, 1), 0.3)
    got = layout_of(plan).unpack_sums(parties.decrypt(parties.at(weights)))
    got /= plan.encryption.output_scale
    shortened = X.copy()
    shortened[7] *= plan.problem.data_norm / 1000.0
    expected = exact_sums(plan, parties.key_holder._indices, weights, shortened, targets)
    assert relative(got, expected) < 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_must_be_finite(bad):
    """What is not a number has no norm to shorten, so it must not be encrypted."""
    plan = make()
    X, targets = make_rows(plan)
    X[3, 1] = bad
    owner = gather(plan, "simulated").owners[0]
    with pytest.raises(ValueError):
        list(owner.encrypt(X, targets))


@pytest.mark.parametrize("bad", [-1, 3, 7])
def test_targets_must_be_classes_of_the_plan(bad):
    """A row of no class is outside what the certificate covers."""
    plan = make(classes=3)
    X, targets = make_rows(plan)
    targets[3] = bad
    owner = gather(plan, "simulated").owners[0]
    with pytest.raises(ValueError):
        list(owner.encrypt(X, targets))


# What is left after a failure.


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("failing_step", [0, 1, 2])
def test_an_owner_that_fails_ends_the_run(monkeypatch, backend, failing_step):
    """The key is destroyed and the ledger keeps every release that was made."""
    plan = make()
    X, targets = make_rows(plan)
    holders = []
    make_noise = data_owner.DataOwner.noise

    def failing(self, step):
        if step == failing_step:
            raise OSError("the owner's machine went down")
        return make_noise(self, step)

    class Kept(KeyHolder):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            holders.append(self)

    monkeypatch.setattr(data_owner.DataOwner, "noise", failing)
    monkeypatch.setattr("skfhe.protocol.session.KeyHolder", Kept)
    with pytest.raises(OSError):
        run_session(plan, scheme_of(plan, backend), X, targets, Costs())
    (key_holder,) = holders
    assert key_holder.ledger.spent == list(range(failing_step))
    assert len(key_holder.records) == failing_step
    assert destroyed(key_holder)


def test_an_evaluator_that_fails_ends_the_run(monkeypatch):
    plan = make()
    X, targets = make_rows(plan)
    key_holder = KeyHolder(plan, scheme_of(plan, "simulated"))
    dataset = owners_of(key_holder)[0].dataset(X, targets)
    step = Evaluator.step

    def failing(self, *arguments):
        if self._next_step == 1:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Evaluator, "step", failing)
    with pytest.raises(KeyboardInterrupt):
        train_encrypted(dataset, key_holder, Costs())
    assert key_holder.ledger.spent == [0] and destroyed(key_holder)


def test_a_dataset_of_another_plan_or_run_is_refused():
    plan = make()
    X, targets = make_rows(plan)

    def holder(chosen=plan):
        return KeyHolder(chosen, scheme_of(chosen, "simulated"))

    first = holder()
    dataset = owners_of(first)[0].dataset(X, targets)
    for other in (holder(), holder(make(epsilon=2.0))):
        with pytest.raises(PlanMismatch):
            EncryptedDPLogisticRegression().fit_encrypted(dataset, other)
        assert destroyed(other) and not other.ledger.spent
    with pytest.raises(ValueError, match="one plan"):
        second = holder(make(epsilon=2.0))
        EncryptedDataset.concat(dataset, owners_of(second)[0].dataset(X, targets))
