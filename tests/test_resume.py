"""A key holder that is started again from its folder goes on as if nothing had happened."""

import dataclasses
import os
import sqlite3
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import BACKENDS, make, make_rows, owners_of, scheme_of, seeded_noise

from skfhe import Evaluator, KeyHolder, PlanMismatch, PrivacyLedger
from skfhe.exceptions import BudgetExceeded, KeyBurned, StateError
from skfhe.privacy.guarantee import PrivacyGuarantee
from skfhe.protocol import data_owner
from skfhe.protocol.checkpoint import FolderCheckpoint
from skfhe.protocol.folder_state import FolderState
from skfhe.protocol.outcome import unpack_outcome
from skfhe.protocol.state import Release, RunState

PREPARED = {"standardize": True, "precondition": True}


class Run:
    """One run whose parties can be thrown away and made again from their folders."""

    def __init__(self, folder, plan, backend, ledger=None, passphrase=None):
        self.folder, self.plan, self.backend, self.ledger = folder, plan, backend, ledger
        self.passphrase = passphrase
        FolderState.create(folder / "keys", plan, passphrase).close()
        self.state = None
        self.restart()
        self.X, self.targets = make_rows(plan)
        (self.owner,) = owners_of(self.holder)
        self.shares = {}
        self.evaluator = self.new_evaluator()

    def restart(self):
        """The key holder's process dies, and another one begins."""
        if self.state is not None:
            self.state.close()
        self.state = FolderState(self.folder / "keys", self.passphrase)
        scheme = scheme_of(self.plan, self.backend)
        self.holder = KeyHolder(self.plan, scheme, ledger=self.ledger, state=self.state)
        return self.holder

    def new_evaluator(self):
        checkpoint = FolderCheckpoint(self.folder / "checkpoint", self.plan.digest)
        kept = checkpoint.keys()
        keys = self.holder.evaluation_keys() if kept is None else kept
        scheme, step = scheme_of(self.plan, self.backend), self.holder.status().step
        return Evaluator(self.plan, keys, scheme, checkpoint=checkpoint, step=step)

    def share(self, name):
        """What the owner sends for a release: once, however often it is needed."""
        if name not in self.shares:
            noise = isinstance(name, int)
            make_one = self.owner.noise if noise else lambda n: self.owner.statistic(n, self.X)
            self.shares[name] = make_one(name)
        return [self.shares[name]]

    def prepare(self, between=lambda: None):
        for name in self.plan.preparation.statistics:
            reply = self.evaluator.aggregate(name, self.share(name))
            between()
            self.holder.prepare(reply)
            between()
            self.holder.prepare(reply)
            self.owner.adopt(self.holder.frame())
        self.rows = [*self.owner.encrypt(self.X, self.targets)]
        self.evaluator.load(self.rows)

    def step(self, number, between=lambda: None):
        weights = self.holder.weights()
        between()
        assert self.holder.weights() == weights
        reply = self.evaluator.step(weights, self.share(number))
        between()
        self.holder.release(reply)
        between()
        self.holder.release(reply)

    def finish(self, between=lambda: None):
        self.prepare(between)
        for number in range(self.plan.optimizer.max_iter):
            self.step(number, between)
        return unpack_outcome(self.holder.outcome(), self.plan, self.holder.run)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_run_is_the_same_however_often_it_is_started_again(
    monkeypatch, tmp_path, backend, n_classes
):
    plan = make(classes=n_classes, max_iter=3, **PREPARED)
    monkeypatch.setattr(data_owner, "discrete_gaussian", seeded_noise(seed=3))
    ledgers = [PrivacyLedger(tmp_path / name, epsilon=1.0, delta=1e-5) for name in "ab"]
    plain = Run(tmp_path / "plain", plan, backend, ledgers[0])
    expected = plain.finish()
    monkeypatch.setattr(data_owner, "discrete_gaussian", seeded_noise(seed=3))
    run = Run(tmp_path / "restarted", plan, backend, ledgers[1])
    found = run.finish(run.restart)
    tolerance = 1e-12 if backend == "simulated" else 1e-4
    np.testing.assert_allclose(found.model, expected.model, rtol=tolerance, atol=tolerance)
    assert [len(f.records) for f in (found, expected)] == [3, 3]
    for ledger in ledgers:
        (entry,) = ledger.entries()
        assert entry.n_releases == plan.guarantee.n_releases
        assert entry.squared_mu == plan.squared_mu
    assert run.holder.status().done and run.holder.status().burned


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_evaluator_that_is_started_again_sends_the_same_bytes(tmp_path, backend):
    plan = make(max_iter=2)
    run = Run(tmp_path, plan, backend)
    run.prepare()
    weights = run.holder.weights()
    reply = run.evaluator.step(weights, run.share(0))
    run.evaluator = run.new_evaluator()
    assert run.evaluator.step(weights, run.share(0)) == reply  # before any row is there
    run.holder.release(reply)
    run.evaluator = run.new_evaluator()
    run.evaluator.load(run.rows)
    with pytest.raises(PlanMismatch, match="step"):
        run.evaluator.step(weights, [fresh_noise(run, 0)])
    run.step(1)
    assert run.holder.done


def fresh_noise(run, step):
    """Other noise for the same step, of an owner whose process began anew."""
    return owners_of(run.holder)[0].noise(step)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_was_paid_and_interrupted_is_had_by_the_same_request_alone(
    monkeypatch, tmp_path, backend
):
    """Between payment and decryption, and between decryption and the journal."""
    plan = make(max_iter=2)
    run = Run(tmp_path, plan, backend)
    run.prepare()
    weights = run.holder.weights()
    reply = run.evaluator.step(weights, run.share(0))
    other = Evaluator(plan, run.holder.evaluation_keys(), scheme_of(plan, backend))
    other.load(run.rows)
    forged = other.step(weights, [fresh_noise(run, 0)])

    def fail(*_):
        raise StateError("the disk is full")

    for place in ("begin", "finish"):
        with monkeypatch.context() as patch:
            patch.setattr(run.state, place, fail)
            with pytest.raises(StateError):
                run.holder.release(reply)
        with pytest.raises(BudgetExceeded):
            run.holder.release(forged)
    run.restart()
    assert run.holder.status().step == 0 and run.holder.releases.spent == [0]
    with pytest.raises(BudgetExceeded):
        run.holder.release(forged)
    run.holder.release(reply)
    assert run.holder.status().step == 1 and run.holder.releases.spent == [0]


def test_a_refused_budget_makes_no_key(tmp_path):
    plan = make(max_iter=2)
    ledger = PrivacyLedger(epsilon=0.1, delta=1e-5)
    FolderState.create(tmp_path, plan).close()
    state = FolderState(tmp_path)
    with pytest.raises(BudgetExceeded):
        KeyHolder(plan, ledger=ledger, state=state)
    assert not (tmp_path / "secret.key").exists() and not ledger.entries()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_burned_run_stays_burned(tmp_path, backend):
    plan = make(max_iter=2)
    ledger = PrivacyLedger(tmp_path / "ledger", epsilon=1.0, delta=1e-5)
    run = Run(tmp_path / "run", plan, backend, ledger)
    run.prepare()
    run.step(0)
    key = run.folder / "keys" / "secret.key"
    assert key.exists()
    run.holder.burn()
    assert not key.exists()
    for _ in range(2):
        assert run.holder.status().burned and not run.holder.done
        with pytest.raises(KeyBurned):
            run.holder.weights()
        (entry,) = ledger.entries()
        assert entry.n_releases == 1
        run.restart()


def test_a_key_that_is_gone_is_not_made_anew(tmp_path):
    """Other keys under the same run would hide that ciphertexts no longer fit."""
    run = Run(tmp_path, make(max_iter=2), "simulated")
    run.prepare()
    run.step(0)
    (tmp_path / "keys" / "secret.key").unlink()
    with pytest.raises(StateError, match="gone"):
        run.restart()


def test_the_key_at_rest(tmp_path):
    """Sealed by the passphrase, for its owner alone, bound to its run."""
    plan, passphrase = make(max_iter=2), b"correct horse battery staple"
    run = Run(tmp_path / "a", plan, "tenseal", passphrase=passphrase)
    secret = run.holder._keys.secret_key()
    path = tmp_path / "a" / "keys" / "secret.key"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700
    sealed = path.read_bytes()
    assert all(secret[i : i + 32] not in sealed for i in range(200, len(secret) - 32, 997))
    assert secret == FolderState.secret(run.state)
    run.state.close()
    for wrong in (None, b"", b"wrong"):
        state = FolderState(tmp_path / "a" / "keys", wrong)
        with pytest.raises(StateError, match="passphrase"):
            KeyHolder(plan, state=state)
        assert path.read_bytes() == sealed  # a wrong passphrase costs nothing
        state.close()
    other = Run(tmp_path / "b", plan, "tenseal", passphrase=passphrase)
    other.state.close()
    (tmp_path / "b" / "keys" / "secret.key").write_bytes(sealed)
    with pytest.raises(PlanMismatch, match="run"):
        KeyHolder(plan, state=FolderState(tmp_path / "b" / "keys", passphrase))


def test_one_process_at_a_time(tmp_path):
    run = Run(tmp_path, make(max_iter=2), "simulated")
    with pytest.raises(StateError, match="another process"):
        FolderState(tmp_path / "keys")
    with pytest.raises(StateError, match="another process"):
        FolderState.create(tmp_path / "keys", run.plan)
    run.state.close()
    with pytest.raises(StateError, match="already"):
        FolderState.create(tmp_path / "keys", run.plan)


@pytest.mark.parametrize("damage", ["no folder", "journal", "other plan", "plan", "foreign"])
def test_damaged_folders_are_refused(tmp_path, damage):
    folder = tmp_path / "keys"
    if damage != "no folder":
        FolderState.create(folder, make(max_iter=2)).close()
    if damage == "journal":
        (folder / "journal").write_bytes(b"junk" * 1000)
    if damage == "other plan":
        (folder / "plan.json").write_text(make(max_iter=3).to_json())
    if damage == "plan":
        (folder / "plan.json").write_text("{}")
    if damage == "foreign":
        (folder / "journal").write_bytes(b"")
    with pytest.raises(StateError):
        FolderState(folder)


def test_a_mechanism_is_paid_once_by_name():
    """The same name again is the same entry; another mechanism under it is refused."""
    plan = make(max_iter=2)
    ledger = PrivacyLedger(epsilon=1.0, delta=1e-5)
    releases = PrivacyGuarantee.of(plan, plan.guarantee.n_releases, guaranteed=True)
    for _ in range(3):
        token = ledger.debit("run", releases, neighboring="add_remove", token="one")
    assert token == "one" and len(ledger.entries()) == 1
    less = dataclasses.replace(releases, n_releases=1)
    with pytest.raises(BudgetExceeded):
        ledger.debit("run", less, neighboring="add_remove", token="one")
    ledger.settle("one", 1, 0.01)
    with pytest.raises(BudgetExceeded):
        ledger.debit("run", releases, neighboring="add_remove", token="one")
    assert len(ledger.entries()) == 1


@pytest.mark.parametrize("folder", [False, True])
def test_one_key_holder_for_a_state(tmp_path, folder):
    """Two would not know of each other's releases."""
    plan = make(max_iter=2)
    state = FolderState.create(tmp_path, plan) if folder else RunState()
    KeyHolder(plan, scheme_of(plan, "simulated"), state=state)
    with pytest.raises(StateError, match="one key holder"):
        KeyHolder(plan, scheme_of(plan, "simulated"), state=state)


def test_a_state_is_not_for_a_fork(tmp_path):
    plan = make(max_iter=2)
    state = FolderState.create(tmp_path, plan)
    state._process += 1  # as in a child, whose parent has it too
    with pytest.raises(StateError, match="one key holder"):
        KeyHolder(plan, state=state)


def test_a_state_belongs_to_its_plan(tmp_path):
    with pytest.raises(PlanMismatch, match="of plan"):
        KeyHolder(make(max_iter=3), state=FolderState.create(tmp_path, make(max_iter=2)))


@pytest.mark.parametrize("folder", [False, True])
def test_a_release_is_entered_for_one_request(tmp_path, folder):
    state = FolderState.create(tmp_path, make(max_iter=2)) if folder else RunState()
    state.begin(Release(0, "a", False))
    state.begin(Release(0, "a", False))
    with pytest.raises(BudgetExceeded):
        state.begin(Release(0, "b", False))
    (release,) = state.releases()
    assert release.request == "a"


def test_a_journal_that_was_busy_goes_on(tmp_path):
    """A commit that fails leaves no transaction open."""
    state = FolderState.create(tmp_path, make(max_iter=2))
    state._journal.execute("PRAGMA busy_timeout = 100")
    reader = sqlite3.connect(tmp_path / "journal")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM run").fetchall()
    with pytest.raises(StateError, match="same request again"):
        state.begin(Release(0, "a", False))
    reader.close()
    state.begin(Release(0, "a", False))
    assert len(state.releases()) == 1


def test_a_burn_destroys_the_key_whatever_the_journal_does(monkeypatch, tmp_path):
    run = Run(tmp_path, make(max_iter=2), "simulated")
    with monkeypatch.context() as patch:
        patch.setattr(run.state, "_journal", sqlite3.connect(":memory:"))
        with pytest.raises(StateError):
            run.holder.burn()
    assert not (tmp_path / "keys" / "secret.key").exists()


@pytest.mark.parametrize("error", [ImportError, OSError, KeyboardInterrupt])
def test_a_start_that_fails_costs_no_run(monkeypatch, tmp_path, error):
    run = Run(tmp_path, make(max_iter=2), "simulated")
    run.prepare()
    run.step(0)

    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(FolderState, "secret", fail)
        with pytest.raises(error):
            run.restart()
    assert (tmp_path / "keys" / "secret.key").exists()
    run.restart()
    run.step(1)
    assert run.holder.done


def test_threads_take_turns(monkeypatch, tmp_path):
    """The same reply from many threads is decrypted once."""
    run = Run(tmp_path, make(max_iter=2), "simulated")
    run.prepare()
    reply = run.evaluator.step(run.holder.weights(), run.share(0))
    decrypt, seen = run.holder._keys.decrypt, []

    def slow(*arguments):
        seen.append(arguments)
        time.sleep(0.01)
        return decrypt(*arguments)

    monkeypatch.setattr(run.holder._keys, "decrypt", slow)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(run.holder.release, [reply] * 8))
    assert len(seen) == 1 and run.holder.status().step == 1 and not run.holder.status().burned
