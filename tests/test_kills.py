"""Evaluator and key holder are killed at random moments; every run completes all the same."""

import random
import shutil
import socket
import time

import numpy as np
import pytest
import skops.io
from cli_helpers import Site, invoke, make_table, processes
from helpers import relative

from skfhe import PrivacyLedger
from skfhe.plan import TrainingPlan
from skfhe.protocol.recorded import RecordedRun

KILLS = 100


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A run whose owner has done its part, and nothing of the training is done."""
    folder = tmp_path_factory.mktemp("prepared")
    plan = ("--epsilon", 5, "--set", "max_iter=10")
    site = Site.make(folder, [make_table(30_000)], *plan)
    budget = ("--ledger", folder / "ledger", "--ledger-epsilon", 5.001, "--ledger-delta", 1e-5)
    keys = folder / "keys"
    invoke("keygen", site.plan, keys, *budget)
    own = ("--keys", keys, "--wait", 0)
    encrypt = ("encrypt", site.plan, site.data(0), folder / "rows0.csv", *own)
    invoke(*encrypt, code=8)
    checkpoint = ("--checkpoint", folder / "checkpoint")
    invoke("fit", site.plan, site.data(0), *checkpoint, *own, code=8)  # releases the moments
    invoke("keyholder", "frame", keys, folder / "frame")
    invoke(*encrypt)
    return site


class Trial:
    """A copy of the prepared run, in which processes are killed and started again."""

    def __init__(self, prepared, folder, start):
        shutil.copytree(prepared.folder, folder)
        self.site = Site(folder, prepared.authority, prepared.tables)
        self.plan = TrainingPlan.from_json(self.site.plan.read_bytes())
        self.start, self.port = start, free_port()
        self.parties = {}

    def run(self, name):
        """Start a party, or start it again."""
        url = f"https://127.0.0.1:{self.port}"
        ledger = ("--ledger", self.site.folder / "ledger")
        keys = self.site.folder / "keys"
        arguments = {
            "service": [*self.site.serve(keys, self.port), *ledger],
            "evaluator": self.site.fit(url),
        }[name]
        self.parties[name] = self.start(name, *arguments)

    def kill(self, name):
        popen = self.parties[name].popen
        popen.kill()
        popen.communicate(timeout=20)

    def check_ledger(self):
        """What was released is never more than what was paid for, at whatever moment."""
        (entry,) = PrivacyLedger.open(self.site.folder / "ledger").entries()
        spent = RecordedRun(self.site.folder / "keys").holder.releases.spent
        assert len(spent) <= entry.n_releases
        assert self.plan.squared_mu_of(spent) <= entry.squared_mu * (1 + 1e-12)
        return entry

    def status(self):
        return RecordedRun(self.site.folder / "keys").status()

    def weights(self):
        model = self.site.folder / "model.skops"
        invoke("release", self.site.plan, model, "--keys", self.site.folder / "keys")
        fitted = skops.io.load(model)[-1]
        return np.append(fitted.coef_, fitted.intercept_)


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    """Weights of a run that nobody kills, and its seconds."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with processes(folder) as start:
        trial = Trial(prepared, folder / "run", start)
        trial.run("service")
        trial.run("evaluator")
        begun = time.monotonic()
        trial.parties["evaluator"].finish(seconds=120)
        seconds = time.monotonic() - begun
    return trial.weights(), seconds


def disturbed(prepared, folder, most, rng, seconds):
    """One run that is killed again and again until it is done; its trial, and where it was."""
    steps = []
    with processes(folder) as start:
        trial = Trial(prepared, folder / "run", start)
        trial.run("service")
        trial.run("evaluator")
        while len(steps) < most:
            time.sleep(rng.uniform(0, seconds))
            victims = rng.choice([["service"], ["evaluator"], ["service", "evaluator"]])
            for name in victims:
                trial.kill(name)
            trial.check_ledger()
            status = trial.status()
            if status.done:  # what is killed now has nothing left to lose
                break
            steps.append(status.step)
            for name in victims:
                trial.run(name)
        else:
            trial.parties["evaluator"].finish(seconds=120)
    return trial, steps


def check_runs(prepared, undisturbed, tmp_path, kills, seed):
    """So many kills of runs that are not done, over as many runs as that takes."""
    expected, seconds = undisturbed
    gaps, steps, rng = [], [], random.Random(seed)
    while len(steps) < kills:
        folder = tmp_path / str(len(gaps))
        folder.mkdir()
        trial, found = disturbed(prepared, folder, kills - len(steps), rng, seconds)
        steps += found
        entry = trial.check_ledger()
        assert entry.n_releases == trial.plan.guarantee.n_releases
        assert entry.squared_mu == trial.plan.squared_mu
        assert trial.status().done
        gaps.append(relative(trial.weights(), expected))
    invoke("keyholder", "status", trial.site.folder / "keys")
    print(
        f"{kills} kills at steps {sorted(steps)} of {len(gaps)} runs; gaps up to {max(gaps):.1e}"
    )
    assert max(gaps) < 1e-5


def test_a_run_survives_kills(prepared, undisturbed, tmp_path):
    check_runs(prepared, undisturbed, tmp_path, 3, seed=0)


@pytest.mark.slow
def test_a_hundred_kills(prepared, undisturbed, tmp_path):
    check_runs(prepared, undisturbed, tmp_path, KILLS, seed=1)
