"""Steps spread over processes: the same bytes, whoever dies meanwhile."""

import gc
import hashlib
import os
import signal
import tempfile
import time
import weakref
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import joblib
import numpy as np
import pytest
from helpers import make, make_rows, owners_of, scheme_of
from hypothesis import given, settings
from hypothesis import strategies as st
from network_helpers import make_network

from skfhe import EncryptedDataset, EncryptedDPLogisticRegression, Evaluator, KeyHolder
from skfhe.exceptions import MessageError, WorkersLost
from skfhe.protocol import mapping, session, worker
from skfhe.protocol.checkpoint import FolderCheckpoint
from skfhe.protocol.mapping import parts
from skfhe.protocol.places import StoredMessage


@dataclass(frozen=True)
class Deadly(StoredMessage):
    """A shard that kills the worker that reads it, for the first few times.

    Worker processes know nothing of what a test patches; but they read what they are told to.
    """

    folder: str = ""
    times: int = 1
    spared: int = 0  # the test's own process

    @classmethod
    def made_of(cls, shard, folder, times):
        folder.mkdir()
        m = shard.message
        message = cls(m.place, m.name, m.n_bytes, m.sha256, str(folder), times, os.getpid())
        return replace(shard, message=message)

    def read(self):
        deaths = len(os.listdir(self.folder))
        if deaths < self.times and os.getpid() != self.spared:
            (Path(self.folder) / str(deaths)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read()


class Stored:
    """An encrypted data set in a folder, the first step's messages, and the reply that is due."""

    def __init__(self, folder, plan, backend):
        self.plan, self.folder, self.backend = plan, folder, backend
        self.holder = KeyHolder(plan, scheme_of(plan, backend))
        (owner,) = owners_of(self.holder)
        owner.save(folder / "data", *make_rows(plan))
        self.dataset = EncryptedDataset.load(folder / "data")
        self.keys = self.holder.evaluation_keys()
        self.weights, self.noise = self.holder.weights(), self.dataset.noise_of(0)
        self.first = self.evaluator()
        self.reply = self.first.step(self.weights, self.noise)

    def evaluator(self, shards=None, folder=None, **options):
        if folder is not None:
            options["checkpoint"] = FolderCheckpoint(folder, self.plan.digest)
        evaluator = Evaluator(self.plan, self.keys, scheme_of(self.plan, self.backend), **options)
        evaluator.load(self.dataset.shards if shards is None else shards)
        return evaluator

    def step(self, shards=None, **options):
        return self.evaluator(shards, **options).step(self.weights, self.noise)

    def deadly(self, folder, times, index=2):
        """The shards, one of them deadly."""
        shards = [*self.dataset.shards]
        shards[index] = Deadly.made_of(shards[index], folder, times)
        return shards


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    found = Stored(tmp_path_factory.mktemp("stored"), make(n=20_000, max_iter=4), "tenseal")
    assert len(found.dataset.shards) == 5
    return found


# Nothing is kept, so that a worker that outlives a test reads every shard anew in the next.
TWO = {"n_jobs": 2, "cache_bytes": 0}


@pytest.fixture(scope="module", autouse=True)
def no_worker_is_left():
    yield
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True, kill_workers=True)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 60), st.integers(1, 100))
def test_parts_cover_all_shards_once_and_evenly(n_shards, n_parts):
    found = parts(range(n_shards), n_parts)
    assert [one for part in found for one in part] == [*range(n_shards)]
    sizes = [len(part) for part in found]
    assert len(found) == min(n_shards, n_parts)
    assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(5)), st.sets(st.integers(1, 4)))
def test_sums_of_any_parts_add_up_to_the_same_bytes(stored, order, cuts):
    """Ciphertexts add exactly, so neither order nor tree can be seen in the result."""
    evaluator = stored.first
    save = evaluator._backend.save
    weights = mapping.messages.unpack(stored.weights, "weights", stored.plan.digest)
    indices, sections = tuple(weights[0]["indices"]), tuple(map(bytes, weights[1]))
    expected = evaluator._worker.sums(stored.dataset.shards, indices, sections)
    ends = [0, *sorted(cuts), 5]
    groups = [[stored.dataset.shards[i] for i in order[a:b]] for a, b in pairwise(ends)]
    found = [
        [save(total) for total in evaluator._worker.sums(group, indices, sections).totals]
        for group in groups
    ]
    sums = mapping.added(evaluator._worker.empty(indices, sections), found)
    assert save(sums.merged()) == save(expected.merged())


def test_processes_give_the_same_bytes(stored, tmp_path):
    """With the keys in a folder, and sent along."""
    assert stored.step(folder=tmp_path, **TWO) == stored.reply
    assert stored.step(**TWO) == stored.reply


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_step_after_step(stored, tmp_path, backend):
    """Whichever worker takes which shards, and whatever it has kept."""
    with joblib.parallel_config(backend=backend, n_jobs=2):
        evaluator = stored.evaluator(folder=tmp_path, cache_bytes=0)
        for _ in range(5):
            evaluator._next_step, evaluator._checkpoint = 0, session.Checkpoint()
            assert evaluator.step(stored.weights, stored.noise) == stored.reply


def test_joblib_is_told_elsewhere(stored, tmp_path):
    for backend in ("threading", "sequential"):
        with joblib.parallel_config(backend=backend, n_jobs=3):
            assert stored.step(folder=tmp_path / backend) == stored.reply


@pytest.mark.slow
def test_networks_give_the_same_bytes(tmp_path):
    network = Stored(tmp_path, make_network(n=9000), "tenseal")
    assert len(network.dataset.shards) > 2
    found = network.step(folder=tmp_path / "checkpoint", **TWO)
    assert found == network.reply


@pytest.mark.parametrize("n_kept", [0, 2, 5])
def test_what_is_kept_of_shards(stored, monkeypatch, n_kept):
    """What fits is read once; the rest in every step, one shard in memory at a time."""
    size = worker._loaded_bytes(stored.plan, stored.first._model)
    evaluator = stored.evaluator(cache_bytes=(n_kept + 0.5) * size)
    sums, reads, alive = {}, [], []
    chunk, read = worker.Worker.chunk, worker.read

    def noted_read(message):
        reads.append(message.name)
        return read(message)

    def noted_chunk(self, shard):
        gc.collect()
        extra = sum(one() is not None for one in alive) - len(self._kept)
        assert extra == 0, "an earlier shard is still in memory"
        found = chunk(self, shard)
        if all(one() is not found for one in alive):
            alive.append(weakref.ref(found))
        return found

    monkeypatch.setattr(worker, "read", noted_read)
    monkeypatch.setattr(worker.Worker, "chunk", noted_chunk)
    for step in range(2):
        reads.clear()
        evaluator._next_step, evaluator._checkpoint = 0, session.Checkpoint()
        sums[step] = evaluator.step(stored.weights, stored.noise)
        assert len(reads) == (5 if step == 0 else 5 - n_kept)
    assert sums[0] == sums[1] == stored.reply


def test_loaded_bytes_bound_what_a_chunk_takes(stored):
    """In words of the ciphertexts at both levels."""
    evaluator = stored.first
    chunk = evaluator._worker.chunk(stored.dataset.shards[0])
    taken = [*chunk.rows, chunk.labels, *(c for c in chunk.low_rows if c not in chunk.rows)]
    words = sum(c.size() * c.coeff_modulus_size() * c.poly_modulus_degree() for c in taken)
    assert 0.5 < 8 * words / worker._loaded_bytes(stored.plan, evaluator._model) <= 1


def test_a_lost_worker_costs_a_second_attempt(stored, tmp_path):
    shards = stored.deadly(tmp_path / "deaths", times=1)
    evaluator = stored.evaluator(shards, folder=tmp_path / "checkpoint", **TWO)
    assert evaluator.step(stored.weights, stored.noise) == stored.reply
    assert len(os.listdir(tmp_path / "deaths")) == 1


@pytest.mark.slow
def test_workers_that_are_always_lost(stored, tmp_path):
    """The step has not happened: with workers that live it is done."""
    shards = stored.deadly(tmp_path / "deaths", times=3)
    evaluator = stored.evaluator(shards, folder=tmp_path / "checkpoint", **TWO)
    with pytest.raises(WorkersLost, match="3 attempts"):
        evaluator.step(stored.weights, stored.noise)
    assert len(os.listdir(tmp_path / "deaths")) == 3
    assert evaluator.step(stored.weights, stored.noise) == stored.reply


@pytest.mark.parametrize("damage", ["flipped", "missing", "forged"])
def test_what_workers_refuse_is_refused_here(stored, tmp_path, damage):
    """Not taken for a lost worker, and not done again."""
    message = stored.dataset.shards[3].message
    data = bytearray(message.read())
    data[len(data) // 2] ^= 1
    name, checksum = "rows-00003.skfhe", message.sha256
    if damage != "missing":
        (tmp_path / name).write_bytes(data)
    if damage == "forged":  # the manifest as well, but not the message's own checksum
        checksum = hashlib.sha256(data).hexdigest()
    shards = [*stored.dataset.shards]
    other = StoredMessage(str(tmp_path), name, len(data), checksum)
    shards[3] = replace(shards[3], message=other)
    start = time.monotonic()
    with pytest.raises(MessageError):
        stored.step(shards, folder=tmp_path / "checkpoint", **TWO)
    assert time.monotonic() - start < 30
    assert stored.step(folder=tmp_path / "again", **TWO) == stored.reply


def test_a_process_works_for_one_run_after_another(stored, tmp_path):
    """Keys and shards of an earlier run make room for those of the next."""
    other = Stored(tmp_path, make(n=9000, max_iter=2), "simulated")
    mapping._RESIDENTS.clear()
    for run in (stored, other, stored):
        with joblib.parallel_config(backend="threading", n_jobs=2):
            found = run.step(folder=tmp_path / "checkpoint" / run.plan.digest)
        if run is stored:
            assert found == run.reply
        assert len(mapping._RESIDENTS) == 1
    mapping._RESIDENTS.clear()


def test_other_rows_in_the_same_place_are_not_taken_for_those_that_were_kept(stored, tmp_path):
    """An owner may encrypt its rows again, without one of them; workers outlive evaluators."""
    X, targets = make_rows(stored.plan)
    owners_of(stored.holder)[0].save(tmp_path / "again", X[1:], targets[1:])
    again = EncryptedDataset.load(tmp_path / "again").shards
    expected = stored.step(again)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        for shards, reply in ((None, stored.reply), (again, expected), (None, stored.reply)):
            assert stored.step(shards, folder=tmp_path / "checkpoint" / reply[-8:].hex()) == reply
    assert expected != stored.reply


@pytest.mark.parametrize("backend", ["simulated", "tenseal"])
def test_fit_with_two_processes(tmp_path, monkeypatch, backend):
    plan = make(n=9000)
    X, y = make_rows(plan)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    options = {"max_iter": 2, "random_state": 0, "backend": backend}
    one, two = (
        EncryptedDPLogisticRegression(n_jobs=n_jobs, **options).fit(X, y) for n_jobs in (None, 2)
    )
    tolerance = 1e-9 if backend == "simulated" else 1e-4
    np.testing.assert_allclose(two.coef_, one.coef_, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(two.intercept_, one.intercept_, rtol=tolerance, atol=tolerance)
    assert not [*tmp_path.glob("skfhe-*")]


def test_the_temporary_folder_goes_when_a_fit_fails(tmp_path, monkeypatch):
    X, y = make_rows(make(n=9000))
    seen = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def fail(*_):
        seen.extend(tmp_path.glob("skfhe-*/rows-*.skfhe"))
        raise MemoryError

    monkeypatch.setattr(session, "train", fail)
    with pytest.raises(MemoryError):
        EncryptedDPLogisticRegression(n_jobs=2, backend="simulated").fit(X, y)
    assert len(seen) > 1 and not [*tmp_path.glob("skfhe-*")]


@pytest.mark.slow
def test_a_dask_cluster(stored, tmp_path):
    """Two worker processes give the same bytes; one that is killed is replaced meanwhile."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    )
    with cluster, distributed.Client(cluster), joblib.parallel_config(backend="dask"):
        assert stored.step(folder=tmp_path / "first", cache_bytes=0) == stored.reply
        shards = stored.deadly(tmp_path / "deaths", times=1)
        assert stored.step(shards, folder=tmp_path / "killed", cache_bytes=0) == stored.reply
        assert len(os.listdir(tmp_path / "deaths")) == 1
