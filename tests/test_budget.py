"""Fits that share a ledger: each pays first, and a crash never under-counts."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import make, make_rows, scheme_of
from sklearn.model_selection import GridSearchCV

from skfhe import (
    BudgetExceeded,
    EncryptedDPLogisticRegression,
    KeyHolder,
    PlanMismatch,
    PrivacyLeakWarning,
    PrivacyLedger,
)
from skfhe.exceptions import KeyBurned
from skfhe.privacy.noise import seeded_bytes
from skfhe.protocol import data_owner
from skfhe.protocol.session import Costs, run_session


def estimator(ledger, **parameters):
    parameters = {"degree": 3, "max_iter": 3, "backend": "simulated", **parameters}
    return EncryptedDPLogisticRegression(ledger=ledger, **parameters)


@pytest.fixture
def ledger(tmp_path):
    return PrivacyLedger(tmp_path / "budget", epsilon=3.0, delta=1e-5, dataset="rows")


@pytest.fixture(scope="module")
def rows():
    return make_rows(make())


def test_a_fit_is_an_entry(ledger, rows):
    model = estimator(ledger, epsilon=1.0).fit(*rows)
    (entry,) = ledger.entries()
    assert entry.mechanism == "EncryptedDPLogisticRegression" and entry.dataset == "rows"
    assert entry.digest == model.plan_.digest and entry.n_releases == 5
    assert entry.squared_mu == model.privacy_.squared_mu
    assert ledger.spent().epsilon == pytest.approx(1.0, rel=1e-3)


def test_a_fit_that_would_exceed_touches_nothing(monkeypatch, ledger, rows):
    """No key is made, no row packed or encrypted."""
    estimator(ledger, epsilon=2.9).fit(*rows)
    monkeypatch.setattr(data_owner.DataOwner, "encrypt", None)
    monkeypatch.setattr("skfhe.crypto.simulated.SimulatedScheme.generate", None)
    monkeypatch.setattr("skfhe._base.check_rows", None)
    with pytest.raises(BudgetExceeded, match="EncryptedDPLogisticRegression would take"):
        estimator(ledger, epsilon=2.9).fit(*rows)
    assert len(ledger.entries()) == 1


@pytest.mark.parametrize("bad", ["nan", "classes", "length", "degree"])
def test_bad_input_costs_nothing(ledger, rows, bad):
    X, y = rows
    model = estimator(ledger, degree=4 if bad == "degree" else 3)
    if bad == "nan":
        X = np.where(np.arange(len(X))[:, None] == 3, np.nan, X)
    if bad == "classes":
        y = np.zeros_like(y)
    if bad == "length":
        y = y[:-1]
    with pytest.raises(ValueError):
        model.fit(X, y)
    assert not ledger.entries()


def test_seeded_fits_are_refused(ledger, rows):
    with pytest.raises(BudgetExceeded, match="seeded"):
        estimator(ledger, random_state=0).fit(*rows)
    unlimited = PrivacyLedger(epsilon=np.inf, delta=1e-5)
    estimator(unlimited, random_state=0).fit(*rows)
    assert unlimited.spent().epsilon == np.inf


def test_an_interrupted_fit_costs_what_it_released(monkeypatch, ledger, rows):
    """After the key is destroyed nothing can follow, so the rest is given back."""
    make_noise = data_owner.DataOwner.noise

    def interrupted(self, step):
        if step == 2:
            raise KeyboardInterrupt
        return make_noise(self, step)

    monkeypatch.setattr(data_owner.DataOwner, "noise", interrupted)
    with pytest.raises(KeyboardInterrupt):
        estimator(ledger, epsilon=2.9).fit(*rows)
    (entry,) = ledger.entries()
    assert entry.n_releases == 4, "two statistics and two steps"
    assert 2.0 < ledger.spent().epsilon < 2.7


def test_a_key_holder_that_was_never_used_costs_nothing(ledger):
    with KeyHolder(make(), scheme_of(make(), "simulated"), ledger=ledger) as key_holder:
        assert ledger.entries()[0].n_releases == 3
    assert ledger.entries()[0].n_releases == 0
    key_holder.burn()
    assert ledger.spent().epsilon == 0.0


def test_seeded_noise_does_not_pass_for_noise(ledger, rows):
    """An owner's noise from a seed, under a ledger that was charged for real noise."""
    key_holder = KeyHolder(make(), scheme_of(make(), "simulated"), ledger=ledger)
    with pytest.raises(PlanMismatch, match="seed"):
        run_session(key_holder, *rows, Costs(), random_bytes=seeded_bytes(0))
    assert ledger.entries()[0].n_releases == 0


def test_the_key_holder_pays_for_encrypted_data(ledger):
    model = estimator(ledger)
    with pytest.raises(ValueError, match="the key holder pays"):
        model.fit_encrypted(None, KeyHolder(make(), scheme_of(make(), "simulated")))
    assert not ledger.entries()


def entries(ledger):
    """What does not depend on the order or the time."""
    return sorted((e.mechanism, e.digest, e.squared_mu, e.n_releases) for e in ledger.entries())


def test_a_search_leaves_the_same_entries_however_many_processes(tmp_path, rows):
    left = []
    for n_jobs in (1, 2):
        ledger = PrivacyLedger(tmp_path / f"budget{n_jobs}", epsilon=20.0, delta=1e-5)
        grid = {"degree": [3, 5], "epsilon": [0.5, 1.0]}
        search = GridSearchCV(estimator(ledger), grid, cv=2, n_jobs=n_jobs).fit(*rows)
        refit = search.best_estimator_.plan_.digest
        left.append([entry for entry in entries(ledger) if entry[1] != refit])
        assert len(ledger.entries()) == 9
        assert search.best_estimator_.ledger == ledger
    assert left[0] == left[1]


def test_a_search_stops_when_the_budget_does(ledger, rows):
    search = GridSearchCV(
        estimator(ledger), {"degree": [3, 5, 7]}, cv=3, n_jobs=2, error_score="raise"
    )
    with pytest.raises(BudgetExceeded):
        search.fit(*rows)
    assert ledger.spent().epsilon <= 3.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_key_holder_releases_nothing(ledger, rows):
    """Or every child would make a run of its own, and the parent settle for none."""
    plan = make()
    with KeyHolder(plan, scheme_of(plan, "simulated"), ledger=ledger) as key_holder:
        child = os.fork()
        if not child:
            try:
                run_session(key_holder, *rows, Costs())
            except KeyBurned:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert ledger.entries()[0].n_releases == 3, "the child settles nothing"


def test_rows_do_not_decide_what_a_run_costs(ledger, rows):
    """A warning about them that is turned into an error comes after the last release."""
    X, y = rows
    with warnings.catch_warnings():
        warnings.simplefilter("error", PrivacyLeakWarning)
        with pytest.raises(PrivacyLeakWarning):
            estimator(ledger).fit(1e3 * X, y)
    assert ledger.entries()[0].n_releases == 5


def test_public_classes_do_not_depend_on_labels(rows):
    X, y = rows
    model = estimator(None, classes=[2, 0, 1]).fit(X, y)
    assert list(model.classes_) == [0, 1, 2] and model.plan_.problem.n_classes == 3
    assert estimator(None, classes=[0, 1]).fit(X, np.zeros_like(y)).coef_.shape == (1, 4)
    with pytest.raises(ValueError, match="among the public classes"):
        estimator(None, classes=[1, 2]).fit(X, y)
    with pytest.raises(ValueError, match="at least 2 different"):
        estimator(None, classes=[1, 1]).fit(X, y)
    named = estimator(None, classes=["b", "a"]).fit(X, np.array(["a", "b"])[y])
    assert list(named.classes_) == ["a", "b"]


def test_a_refused_refit_leaves_the_model_alone(ledger, rows):
    X, y = rows
    model = estimator(ledger, epsilon=2.9).fit(X, y)
    before = model.predict(X)
    with pytest.raises(BudgetExceeded):
        model.fit(X, np.array(["yes", "no"])[y])
    np.testing.assert_array_equal(model.predict(X), before)


# Fits one after another until it is killed. Before each release is decrypted it says so on
# standard output; it is forked from a parent that has imported and planned already.
VICTIMS = """
import os, sys, time, signal, random
sys.path.insert(0, sys.argv[1])
from helpers import make, make_rows, scheme_of
from skfhe import KeyHolder, PrivacyLedger
from skfhe.crypto.simulated import SimulatedKeys
from skfhe.protocol.session import Costs, run_session

ledger = PrivacyLedger(sys.argv[2], epsilon=float("inf"), delta=1e-5)
plan = make(n=20)
rows = make_rows(plan)
decrypt = SimulatedKeys.decrypt

def fit_forever(pipe):
    def told(*arguments):
        os.write(pipe, b".")
        return decrypt(*arguments)
    SimulatedKeys.decrypt = told
    while True:
        key_holder = KeyHolder(plan, scheme_of(plan, "simulated"), ledger=ledger)
        run_session(key_holder, *rows, Costs())

released = 0
for kill in range(int(sys.argv[3])):
    reader, writer = os.pipe()
    children = []
    for _ in range(2):
        children.append(os.fork())
        if not children[-1]:
            fit_forever(writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        released += len(pipe.read(kill % 4))  # waits for so many, however slow the machine is
        time.sleep(random.uniform(0.0, 0.02))
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        released += len(pipe.read())
    spent = sum(entry.n_releases for entry in ledger.entries())
    assert spent >= released, f"{spent} in the ledger, {released} released"
print(released, spent)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_never_leave_more_released_than_spent(tmp_path, kills):
    """Two processes fit on one ledger until both are killed, again and again."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", VICTIMS]
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [*command, here, str(tmp_path / "budget"), str(kills)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    released, spent = map(int, done.stdout.split())
    assert kills < released <= spent <= released + 2 * 3 * kills


def test_a_key_holder_that_cannot_be_made_costs_nothing(monkeypatch):
    """Out of memory while keys are made, after the debit: the budget is given back."""
    plan = make()
    scheme, ledger = scheme_of(plan, "simulated"), PrivacyLedger(epsilon=3.0, delta=1e-5)

    def fail(elements):
        assert ledger.entries()[0].n_releases == plan.guarantee.n_releases
        raise MemoryError

    monkeypatch.setattr(scheme, "generate", fail)
    with pytest.raises(MemoryError):
        KeyHolder(plan, scheme, ledger=ledger)
    assert ledger.spent().epsilon == 0
