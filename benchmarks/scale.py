"""Rows encrypted to disk and trained on by one and by two processes: seconds, memory, bytes.

    python benchmarks/scale.py                    a million rows of 32 columns; 15 minutes, 2 GB
    python benchmarks/scale.py --growth           the growth table; half an hour, 15 GB
    python benchmarks/scale.py --rows 100000      fewer

Rows are drawn chunk by chunk and never in memory together. The first step, in which workers start
and load, is shown apart from the mean of the others. Two processes keep twice as much of the
rows, so they are compared with one that keeps all, too.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib.externals.loky import get_reusable_executor
from machine import apart, peak_memory

from skfhe import DataOwner, EncryptedDataset, EncryptedDPLogisticRegression, KeyHolder
from skfhe.protocol.dataset import shares_of
from skfhe.protocol.evaluator import CACHE_BYTES
from skfhe.protocol.folder_state import FolderState
from skfhe.protocol.session import Costs, make_evaluator, prepare
from skfhe.sources.base import Batch

GROWTH_ROWS, GROWTH_COLUMNS = (10**4, 10**5, 10**6), (16, 64, 256)
# Processes, and bytes of loaded shards that each may keep.
WAYS = (
    ("one process", 1, CACHE_BYTES),
    ("one that keeps all rows", 1, 1e11),
    ("two processes", 2, CACHE_BYTES),
)
# The most memory that the growth table takes.
LARGEST = 15e9
_POLL_SECONDS = 0.2


class Drawn:
    """Synthetic rows, drawn anew in every pass; a `RowSource`.

    Parameters
    ----------
    n_samples, n_features : int
        How many.
    """

    def __init__(self, n_samples: int, n_features: int):
        self.n_samples, self.n_features = n_samples, n_features
        self.weights = np.random.default_rng(0).normal(size=n_features)

    def batches(self, size: int) -> Iterator[Batch]:
        """Rows within [-1, 1], and labels that depend on them."""
        for index, start in enumerate(range(0, self.n_samples, size)):
            rng = np.random.default_rng([1, index])
            rows = rng.uniform(-1, 1, (min(size, self.n_samples - start), self.n_features))
            noise = rng.logistic(size=len(rows))
            yield rows, (rows @ self.weights + noise > 0).astype(np.int64)


class Setting(NamedTuple):
    """What is measured."""

    rows: int
    columns: int
    degree: int
    steps: int


class Encrypted(NamedTuple):
    """What encrypting took."""

    seconds: float
    n_bytes: int
    memory: int


class Trained(NamedTuple):
    """What steps took."""

    seconds: list[float]
    memory: int
    worker_memory: int
    weights: np.ndarray


def plan_of(setting: Setting, n_owners: int = 1):
    """A plan of few steps, which cost the same as many."""
    model = EncryptedDPLogisticRegression(degree=setting.degree, max_iter=setting.steps)
    return model.plan(setting.rows, setting.columns, n_owners=n_owners)


def encrypt(setting: Setting, folder: Path) -> Encrypted:
    """Prepare and encrypt all rows under the secret key."""
    plan, source = plan_of(setting), Drawn(setting.rows, setting.columns)
    FolderState.create(folder / "keys", plan).close()
    state = FolderState(folder / "keys")
    key_holder = KeyHolder(plan, state=state)
    evaluator = make_evaluator(key_holder, Costs(), folder=folder / "checkpoint")
    owner = DataOwner.with_secret_key(folder / "keys")
    start = time.perf_counter()
    owner.save_moments(folder / "data", source)
    shares = shares_of("moments", [folder / "data"])
    prepare(evaluator, key_holder, "moments", lambda: shares, Costs())
    owner.adopt(key_holder.frame())
    owner.save(folder / "data", source)
    seconds = time.perf_counter() - start
    dataset = EncryptedDataset.load(folder / "data")
    prepare(
        evaluator,
        key_holder,
        "curvature",
        lambda: shares_of("curvature", [folder / "data"]),
        Costs(),
    )
    state.close()
    return Encrypted(seconds, dataset.n_bytes, peak_memory())


def public_bytes(setting: Setting) -> float:
    """Bytes per value under the public key, from one full chunk of a plan with two owners."""
    plan = plan_of(setting, n_owners=2)
    key_holder = KeyHolder(plan)
    owner = DataOwner.with_public_key(plan, key_holder.public_key())
    if plan.preparation.moments:
        from skfhe.protocol.preparation import pack_frame, plain_frame

        owner.adopt(pack_frame(plain_frame(plan), plan, key_holder.run))
    message = next(owner.encrypt(Drawn(setting.rows, setting.columns)))
    rows = owner._model.rows_per_chunk
    return len(message) / (min(rows, setting.rows) * setting.columns)


def train(folder: Path, n_jobs: int, steps: int, cache_bytes: float = CACHE_BYTES) -> Trained:
    """Steps with so many processes, from where the run is."""
    state = FolderState(folder / "keys")
    key_holder = KeyHolder(state.plan, state=state)
    evaluator = make_evaluator(
        key_holder,
        Costs(),
        folder=folder / "checkpoint",
        n_jobs=n_jobs,
        cache_bytes=cache_bytes,
    )
    dataset = EncryptedDataset.load(folder / "data")
    evaluator.load(dataset.shards)
    seconds, children = [], Children()
    with children:
        first = key_holder.status().step
        for step in range(first, first + steps):
            noise, weights = dataset.noise_of(step), key_holder.weights()
            start = time.perf_counter()
            reply = evaluator.step(weights, noise)
            seconds.append(time.perf_counter() - start)
            key_holder.release(reply)
    point = key_holder._course.optimizer.point.ravel()
    state.close()
    get_reusable_executor().shutdown()  # idle workers would be waited for
    return Trained(seconds, peak_memory(), children.peak, point)


class Children:
    """Largest resident set of any child process meanwhile, where the system has /proc."""

    def __init__(self) -> None:
        self.peak = 0
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Children:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watch.join()

    def _look(self) -> None:
        own = Path("/proc/self/task")
        while not self._done.wait(_POLL_SECONDS):
            for listed in own.glob("*/children"):
                for process in listed.read_text().split():
                    self.peak = max(self.peak, _high_water(process))


def _high_water(process: str) -> int:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def report(setting: Setting) -> None:
    """One size in detail."""
    folder = Path(tempfile.mkdtemp(prefix="skfhe-scale-"))
    values = setting.rows * setting.columns
    try:
        plan = plan_of(setting)
        used, bits = plan.encryption, [p.bit_length() for p in plan.encryption.primes]
        print(
            f"{setting.rows} rows, {setting.columns} columns, degree {setting.degree}: "
            f"N = {used.poly_modulus_degree}, primes {bits}"
        )
        found = apart(encrypt, setting, folder)
        print(
            f"  encrypted in {found.seconds:.0f} s, {found.n_bytes / values:.1f} bytes per value "
            f"(seeded), peak {found.memory / 1e9:.2f} GB"
        )
        print(f"  {apart(public_bytes, setting):.1f} bytes per value under the public key")
        steps, times = setting.steps // len(WAYS), {}
        for name, jobs, cache_bytes in WAYS:
            trained = apart(train, folder, jobs, steps, cache_bytes)
            later = times[name] = float(np.mean(trained.seconds[1:]))
            print(
                f"  {name}: first step {trained.seconds[0]:.1f} s, later ones {later:.1f} s, "
                f"{1e6 * later / values:.3f} microseconds per value, "
                f"peak {trained.memory / 1e9:.2f} GB"
                + (f", of a worker {trained.worker_memory / 1e9:.2f} GB" if jobs > 1 else "")
            )
        one, kept, two = times.values()
        print(f"  speed-up {one / two:.2f}; over one that keeps all rows {kept / two:.2f}")
        direction = Drawn(setting.rows, setting.columns).weights
        cosine = np.corrcoef(trained.weights[: setting.columns], direction)[0, 1]
        print(f"  correlation with the true weights {cosine:.4f}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def growth(degree: int) -> None:
    """Encryption, a step, memory and bytes for growing sizes, one process.

    A step is measured with all rows read from disk and none kept, and with all kept where they
    fit into memory.
    """
    print(
        "| rows | columns | encryption s | step s, none kept | us/value | peak GB "
        "| step s, all kept | us/value | peak GB | bytes/value | disk GB |"
    )
    print("|---" * 11 + "|")
    for columns in GROWTH_COLUMNS:
        for rows in GROWTH_ROWS:
            setting = Setting(rows, columns, degree, 4)
            print(f"| {rows} | {columns} | {' | '.join(grown(setting))} |", flush=True)


def grown(setting: Setting) -> list[str]:
    """One row of the table."""
    values = setting.rows * setting.columns
    folder = Path(tempfile.mkdtemp(prefix="skfhe-scale-"))
    try:
        found = apart(encrypt, setting, folder)
        cells = [f"{found.seconds:.1f}"]
        for cache_bytes in (0.0, LARGEST):
            if cache_bytes and plan_of(setting).prediction.memory_bytes > LARGEST:
                cells += ["does not fit", "", ""]
                continue
            trained = apart(train, folder, 1, 2, cache_bytes)
            step = trained.seconds[-1]
            cells += [f"{step:.2f}", f"{1e6 * step / values:.3f}", f"{trained.memory / 1e9:.2f}"]
        return [*cells, f"{found.n_bytes / values:.1f}", f"{found.n_bytes / 1e9:.2f}"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10**6)
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--degree", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--growth", action="store_true")
    arguments = parser.parse_args()
    if arguments.growth:
        growth(arguments.degree)
    else:
        rows, columns, degree, steps = (
            getattr(arguments, name) for name in ("rows", "columns", "degree", "steps")
        )
        report(Setting(rows, columns, degree, steps))
