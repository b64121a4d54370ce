"""What evaluator and owners refuse, and what is left after a failure."""

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
    stored_rows,
)
from scipy import sparse

from skfhe import (
    EncryptedDataset,
    EncryptedDPLogisticRegression,
    Evaluator,
    KeyHolder,
    PlanMismatch,
    PrivacyLedger,
)
from skfhe.exceptions import MessageError
from skfhe.protocol import data_owner, messages
from skfhe.protocol.rows import finite_rows
from skfhe.protocol.session import Costs, run_session, train_encrypted

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
        e.step(weights[0], [owner.noise(1)])
    assert e.step(weights[0], noise) is e.step(weights[0], noise)  # the very same is no replay
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
@pytest.mark.parametrize("table", [0, 1])
def test_only_the_plans_tables_are_accepted(table, index):
    parties = gather(make(), "simulated")
    k, digest = parties.key_holder, parties.plan.digest
    header, sections = messages.unpack(k.weights(), "weights", digest)
    fields = {f: v for f, v in header.items() if f not in ("kind", "plan", "sections")}
    changed = [*fields["indices"]]
    changed[table] = index
    noise = parties.owners[0].noise(0)
    for indices in (changed, changed[:1], changed * 2, index):
        forged = messages.pack("weights", digest, sections, **{**fields, "indices": indices})
        with pytest.raises(PlanMismatch):
            parties.evaluator.step(forged, [noise])


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
    bound = plan.problem.data_norm
    assert np.linalg.norm(stored_rows(plan, X)[7, :-1]) <= 1
    assert stored_rows(plan, X)[7, -1] == pytest.approx(0.5 * bound / 1000)
    expected = exact_sums(plan, parties.key_holder._certified.indices, weights, X, targets)
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
    make_noise = data_owner.DataOwner.noise

    def failing(self, step):
        if step == failing_step:
            raise OSError("the owner's machine went down")
        return make_noise(self, step)

    monkeypatch.setattr(data_owner.DataOwner, "noise", failing)
    key_holder = KeyHolder(plan, scheme_of(plan, backend))
    with pytest.raises(OSError):
        run_session(key_holder, X, targets, Costs())
    assert key_holder.releases.spent == list(range(failing_step))
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
    assert key_holder.releases.spent == [0] and destroyed(key_holder)


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
        assert destroyed(other) and not other.releases.spent
    with pytest.raises(ValueError, match="one plan"):
        second = holder(make(epsilon=2.0))
        EncryptedDataset.concat(dataset, owners_of(second)[0].dataset(X, targets))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_refused_chunk_does_not_block_the_good_one(backend):
    plan = make()
    X, targets = make_rows(plan)
    key_holder = KeyHolder(plan, scheme_of(plan, backend))
    evaluator = Evaluator(plan, key_holder.evaluation_keys(), key_holder.scheme)
    (good,) = owners_of(key_holder)[0].encrypt(X, targets)
    header, sections = messages.unpack(good, "rows", plan.digest)
    fields = {name: header[name] for name in ("run", "owner", "chunk", "n_samples")}
    junk = messages.pack("rows", plan.digest, [b"junk"] * len(sections), **fields)
    with pytest.raises(MessageError):
        evaluator.load([junk])
    evaluator.load([good])
    with pytest.raises(PlanMismatch, match="loaded before"):
        evaluator.load([good])


def test_sparse_rows_are_left_as_they_are():
    """Duplicates are added up in a copy, and those that overflow are refused before all else."""
    entries, places = [0.1, 0.2, 0.3], ([0, 0, 1], [1, 1, 2])
    X = sparse.coo_array((entries, places), shape=(3, 3)).tocsr()
    doubled = sparse.csr_array((np.array(entries), np.array([1, 1, 2]), np.array([0, 2, 3, 3])))
    before = doubled.data.copy(), doubled.indices.copy(), doubled.indptr.copy()
    np.testing.assert_array_equal(finite_rows(doubled).toarray(), X.toarray())
    for a, b in zip(before, (doubled.data, doubled.indices, doubled.indptr), strict=True):
        np.testing.assert_array_equal(a, b)
    doubled.data[:] = 1e308
    ledger = PrivacyLedger(epsilon=1.0, delta=1e-5)
    model = EncryptedDPLogisticRegression(backend="simulated", ledger=ledger)
    with pytest.raises(ValueError, match="finite"):
        model.fit(doubled, [0, 1, 0])
    assert not ledger.entries()
