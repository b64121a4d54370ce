"""The shared budget: what it admits, to whom it belongs, and what it does with bad files."""

import contextlib
import copy
import math
import os
import pickle
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from skfhe import BudgetExceeded, PrivacyLedger
from skfhe.privacy import accounting
from skfhe.privacy.composition import Composition
from skfhe.privacy.ledger_store import write


@dataclass(frozen=True)
class Mechanism:
    """What a ledger must know of a mechanism."""

    noise_multiplier: float
    n_releases: int = 1
    error_probability: float = 0.0
    discreteness: float = 0.0

    @property
    def squared_mu(self):
        return self.n_releases / self.noise_multiplier**2


def mechanism(epsilon, delta=1e-5, n_releases=1):
    """One that is exactly (epsilon, delta)-private after delta's reserved share."""
    spare = delta * (1 - accounting.DELTA_SHARE)
    return Mechanism(accounting.calibrate(epsilon, spare, n_releases), n_releases)


FREE = {"n_releases": 1, "error_probability": 0.0, "discreteness": 0.0}


def debit(ledger, one, neighboring="add_remove", **fields):
    return ledger.debit("test", one, neighboring=neighboring, **fields)


@pytest.fixture(params=["memory", "file"])
def ledger(request, tmp_path):
    path = tmp_path / "budget.sqlite" if request.param == "file" else None
    return PrivacyLedger(path, epsilon=2.0, delta=1e-5, dataset="rows")


# What it admits.


@settings(max_examples=60, deadline=None)
@given(
    budget=st.floats(0.1, 20),
    delta=st.floats(1e-9, 1e-2),
    mechanisms=st.lists(
        st.builds(
            Mechanism,
            st.floats(0.3, 100),
            st.integers(1, 40),
            st.floats(0, 1e-5),
            st.floats(0, 1e-7),
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_what_was_admitted_keeps_the_promise(budget, delta, mechanisms):
    """By the closed form, which the ledger does not use, and with beta paid in full."""
    ledger = PrivacyLedger(epsilon=budget, delta=delta)
    admitted = []
    for one in mechanisms:
        try:
            debit(ledger, one)
        except BudgetExceeded:
            after = Composition.of([*admitted, one])
            assert (
                after.epsilon_at(0.99 * delta) > budget * (1 - 1e-5)
                if after.cost_in_delta < 0.01 * delta * (1 - 1e-9)
                else True
            )
        else:
            admitted.append(one)
        squared = sum(a.squared_mu for a in admitted)
        errors = sum(a.error_probability for a in admitted if a.n_releases)
        true = errors + (accounting.gaussian_delta(budget, math.sqrt(squared)) if squared else 0)
        assert true <= delta * (1 + 1e-9)
    assert len(ledger.entries()) == len(admitted)


@pytest.mark.parametrize("budget, delta", [(0.1, 1e-9), (1.0, 1e-5), (20.0, 1e-2)])
def test_a_ledger_filled_to_the_brim_keeps_its_promise(budget, delta):
    """By someone who asks for all that is admitted, of either limit, at once or bit by bit."""

    def most(ledger, of, high):
        low = 0.0
        for _ in range(45):
            middle = (low + high) / 2
            low, high = (middle, high) if ledger.admits(of(middle)) else (low, middle)
        return low

    for shares in ([1.0], [0.5, 0.9, 1.0], [0.01, 0.2, 0.99, 1.0]):
        ledger = PrivacyLedger(epsilon=budget, delta=delta)
        for share in shares:
            squared = share * most(ledger, Composition, 100.0 * max(1.0, budget))
            errors = share * most(ledger, lambda beta: Composition(0.0, beta), delta)
            debit(ledger, Mechanism(1 / math.sqrt(squared), error_probability=errors))
        spent = ledger.composition()
        gaussian = accounting.gaussian_delta(budget, math.sqrt(spent.squared_mu))
        assert gaussian == pytest.approx(0.99 * delta, rel=1e-3)
        assert spent.error_probability == pytest.approx(0.01 * delta, rel=1e-3)
        assert gaussian + spent.error_probability <= delta * (1 + 1e-9)


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1.0, 3.0, 10.0, 40.0])
@pytest.mark.parametrize("n_releases", [1, 13, 200])
def test_a_fit_may_take_the_whole_budget_and_no_more(epsilon, n_releases):
    ledger = PrivacyLedger(epsilon=epsilon, delta=1e-5)
    debit(ledger, mechanism(epsilon, n_releases=n_releases))
    assert ledger.spent().epsilon == pytest.approx(epsilon, rel=1e-4)
    assert ledger.remaining().epsilon < 0.02
    with pytest.raises(BudgetExceeded, match="Nothing was released or debited"):
        debit(ledger, mechanism(epsilon / 10))
    assert len(ledger.entries()) == 1


def test_what_remains_can_be_spent(ledger):
    debit(ledger, mechanism(1.0))
    rest = ledger.remaining().epsilon
    assert 1.0 < rest < 2.0  # Gaussian releases compose better than epsilons add up
    with pytest.raises(BudgetExceeded):
        debit(ledger, mechanism(rest * 1.001))
    debit(ledger, mechanism(rest * 0.999))
    assert ledger.spent() == (pytest.approx(2.0, rel=2e-3), 1e-5)


def test_many_fits_fit():
    """beta of a fit is so small that delta's reserved share holds for thousands."""
    ledger = PrivacyLedger(epsilon=50.0, delta=1e-5)
    one = Mechanism(100.0, 1, error_probability=1e-6 * 1e-5)
    composition = Composition.of([one] * 5000)
    assert composition.cost_in_delta < accounting.DELTA_SHARE * ledger.delta
    debit(ledger, Mechanism(100.0, 1, error_probability=0.0099 * 1e-5))
    with pytest.raises(BudgetExceeded):
        debit(ledger, Mechanism(100.0, 1, error_probability=0.0002 * 1e-5))


def test_seeded_noise_costs_without_limit(ledger):
    with pytest.raises(BudgetExceeded, match="seeded"):
        debit(ledger, mechanism(0.1), seeded=True)
    unlimited = PrivacyLedger(epsilon=math.inf, delta=1e-5)
    debit(unlimited, mechanism(0.1))
    assert 0.09 < unlimited.spent().epsilon < 0.11
    debit(unlimited, mechanism(0.1), seeded=True)
    assert unlimited.spent().epsilon == math.inf == unlimited.remaining().epsilon


def test_relations_are_not_mixed(ledger):
    debit(ledger, mechanism(0.1), "add_remove")
    with pytest.raises(ValueError, match="must be 'add_remove'"):
        debit(ledger, mechanism(0.1), "replace_one")
    assert len(ledger.entries()) == 1


def test_a_run_that_ended_early_is_settled(ledger):
    one = mechanism(2.0, n_releases=10)
    token = debit(ledger, one)
    ledger.settle(token, 3, 0.3 * one.squared_mu)
    assert ledger.entries()[0].n_releases == 3 and ledger.spent().epsilon < 1.2
    ledger.settle(token, 9, one.squared_mu)
    assert ledger.entries()[0].n_releases == 3, "an entry never grows"
    assert ledger.spent().epsilon < 1.2
    ledger.settle(token, 0, 0.0)
    assert ledger.spent().epsilon == 0.0 and ledger.remaining().epsilon == 2.0


@pytest.mark.parametrize("figures", [(-1, 0.0), (1, -1.0), (1, math.nan)])
def test_entries_are_not_settled_to_what_cannot_be(ledger, figures):
    token = debit(ledger, mechanism(1.0))
    with pytest.raises(ValueError, match="settled"):
        ledger.settle(token, *figures)
    assert ledger.entries()[0].n_releases == 1


def test_an_entry_says_what_it_was(ledger):
    one = Mechanism(12.5, 7, 1e-12, 1e-100)
    token = debit(ledger, one, digest="abc")
    (entry,) = ledger.entries()
    assert (entry.mechanism, entry.dataset, entry.digest) == ("test", "rows", "abc")
    assert (entry.number, entry.token) == (1, token)
    assert (entry.squared_mu, entry.n_releases) == (7 / 12.5**2, 7)
    assert (entry.error_probability, entry.discreteness) == (1e-12, 1e-100)
    assert entry.time.tzinfo is not None


# Whose it is.


def test_copies_are_handles(ledger):
    for handle in (copy.copy(ledger), copy.deepcopy(ledger), clone(ledger, safe=False)):
        assert handle == ledger and hash(handle) == hash(ledger)
        debit(handle, mechanism(0.1))
    debit(pickle.loads(pickle.dumps(ledger)), mechanism(0.1))
    assert len(ledger.entries()) == 4
    assert ledger != PrivacyLedger(epsilon=2.0, delta=1e-5)


def spend_in_worker(ledger, epsilon):
    try:
        return debit(ledger, mechanism(epsilon))
    except BudgetExceeded:
        return None


def test_threads_share_it(ledger):
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda _: spend_in_worker(ledger, 0.4), range(64)))
    paid = {token for token in tokens if token}
    assert paid == {entry.token for entry in ledger.entries()} and 5 < len(paid) < 64
    assert ledger.spent().epsilon <= 2.0


def test_processes_share_a_file(tmp_path):
    ledger = PrivacyLedger(tmp_path / "budget", epsilon=2.0, delta=1e-5)
    tokens = joblib.Parallel(2)(joblib.delayed(spend_in_worker)(ledger, 0.4) for _ in range(40))
    paid = {token for token in tokens if token}
    assert paid == {entry.token for entry in ledger.entries()} and 5 < len(paid) < 40
    assert ledger.spent().epsilon <= 2.0


def test_memory_is_one_process_only():
    ledger = PrivacyLedger(epsilon=2.0, delta=1e-5)
    refused = joblib.Parallel(2)(joblib.delayed(spend_in_worker)(ledger, 0.4) for _ in range(2))
    assert refused == [None, None] and not ledger.entries()
    foreign = pickle.dumps(ledger)
    del ledger
    with pytest.raises(BudgetExceeded, match="path"):
        debit(pickle.loads(foreign), mechanism(0.1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_of_memory_is_refused():
    ledger = PrivacyLedger(epsilon=2.0, delta=1e-5)
    child = os.fork()
    if not child:
        os._exit(0 if spend_in_worker(ledger, 0.1) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_relative_paths_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ledger = PrivacyLedger("budget", epsilon=2.0, delta=1e-5)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    debit(ledger, mechanism(0.1))
    assert len(PrivacyLedger(tmp_path / "budget", epsilon=2.0, delta=1e-5).entries()) == 1


# What it refuses.


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan])
def test_epsilon_must_be_positive(epsilon):
    with pytest.raises(ValueError, match="epsilon must be positive"):
        PrivacyLedger(epsilon=epsilon, delta=1e-5)


@pytest.mark.parametrize("delta", [0.0, 1.0, math.nan, -1e-5])
def test_delta_must_be_a_probability(delta):
    with pytest.raises(ValueError, match="delta must be between"):
        PrivacyLedger(epsilon=1.0, delta=delta)


def test_the_budget_of_a_file_stays(tmp_path):
    PrivacyLedger(tmp_path / "budget", epsilon=1.0, delta=1e-5)
    for changed in ({"epsilon": 2.0, "delta": 1e-5}, {"epsilon": 1.0, "delta": 1e-6}):
        with pytest.raises(ValueError, match="must stay"):
            PrivacyLedger(tmp_path / "budget", **changed)


def test_a_lost_file_is_not_made_anew(tmp_path):
    """Or a deleted ledger would be an empty one."""
    path = tmp_path / "budget"
    ledger = PrivacyLedger(path, epsilon=1.0, delta=1e-5)
    debit(ledger, mechanism(1.0))
    path.unlink()
    with pytest.raises(ValueError, match="cannot be opened"):
        debit(ledger, mechanism(1.0))
    assert not path.exists()
    PrivacyLedger(path, epsilon=1.0, delta=1e-5)
    with pytest.raises(ValueError, match="not the ledger that it was"):
        debit(ledger, mechanism(1.0))


def test_foreign_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("no ledger at all " * 100)
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE entries (number)").connection.close()
    for name in ("text", "other", "."):
        with pytest.raises(ValueError, match="ledger"):
            PrivacyLedger(tmp_path / name, epsilon=1.0, delta=1e-5)
    assert (tmp_path / "text").read_text().startswith("no ledger")


@settings(max_examples=30, deadline=None)
@given(place=st.integers(0, 8000), junk=st.binary(min_size=1, max_size=64))
def test_damage_is_one_clear_error_or_none(tmp_path_factory, place, junk):
    path = tmp_path_factory.mktemp("ledger") / "budget"
    ledger = PrivacyLedger(path, epsilon=1.0, delta=1e-5)
    debit(ledger, mechanism(0.5))
    data = bytearray(path.read_bytes())
    data[place : place + len(junk)] = junk
    path.write_bytes(bytes(data))
    with contextlib.suppress(ValueError, BudgetExceeded):
        ledger.spent()


def test_nothing_is_written_when_refused(tmp_path):
    ledger = PrivacyLedger(tmp_path / "budget", epsilon=1.0, delta=1e-5)
    debit(ledger, mechanism(0.9))
    before = (tmp_path / "budget").read_bytes()
    with pytest.raises(BudgetExceeded):
        debit(ledger, mechanism(0.9))
    assert (tmp_path / "budget").read_bytes() == before
    assert np.isfinite(ledger.spent().epsilon)


@pytest.mark.parametrize(
    "impossible",
    [
        Mechanism(1.0, 0),
        Mechanism(1.0, -1),
        Mechanism(1.0, 0.9),
        SimpleNamespace(squared_mu=-1.0, **FREE),
        SimpleNamespace(squared_mu=0.0, **FREE),
        Mechanism(math.nan),
        Mechanism(math.inf),
        Mechanism(1.0, error_probability=-1e-9),
        Mechanism(1.0, error_probability=math.nan),
        Mechanism(1.0, discreteness=math.nan),
    ],
)
@pytest.mark.parametrize("epsilon", [1.0, math.inf])
def test_impossible_figures_are_refused(epsilon, impossible):
    ledger = PrivacyLedger(epsilon=epsilon, delta=1e-5)
    with pytest.raises(ValueError, match="a mechanism must have"):
        debit(ledger, impossible)
    assert not ledger.entries()


def test_settling_after_a_backup_was_restored_settles_nobody_else(tmp_path):
    path = tmp_path / "budget"
    ledger = PrivacyLedger(path, epsilon=1.0, delta=1e-5)
    backup = path.read_bytes()
    lost = debit(ledger, mechanism(0.5))
    path.write_bytes(backup)
    debit(ledger, mechanism(0.5))
    ledger.settle(lost, 0, 0.0)
    assert [entry.n_releases for entry in ledger.entries()] == [1]


CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from test_ledger import PrivacyLedger, debit, mechanism
debit(PrivacyLedger(sys.argv[2], epsilon=2.0, delta=1e-5), mechanism(0.2))
"""


def test_a_backup_in_the_middle_of_a_debit_does_not_lose_another(tmp_path, monkeypatch):
    """Opening and closing the file drops SQLite's POSIX locks; the lock file holds."""
    path = tmp_path / "budget"
    ledger = PrivacyLedger(path, epsilon=2.0, delta=1e-5)
    children = []

    def backed_up(connection, entry):
        path.open("rb").close()
        command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(path)]
        children.append(subprocess.Popen(command))
        time.sleep(3.0)  # the child imports, and must now wait for this transaction
        write(connection, entry)

    monkeypatch.setattr("skfhe.privacy.ledger.write", backed_up)
    debit(ledger, mechanism(0.2))
    assert children[0].wait(timeout=60) == 0
    assert len(ledger.entries()) == 2
