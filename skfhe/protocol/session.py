"""A run: all parties in one process, or an evaluator with a key holder somewhere else.

The code and the bytes are the same in both cases.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from numpy.typing import NDArray

from ..crypto.backend import Scheme
from ..plan import TrainingPlan
from ..privacy.noise import RandomBytes
from .checkpoint import Checkpoint, FolderCheckpoint
from .costs import Costs, Outcome
from .data_owner import DataOwner
from .dataset import EncryptedDataset
from .evaluator import CACHE_BYTES, Evaluator
from .key_holder import KeyHolder
from .mapping import n_workers
from .outcome import RunStatus, unpack_outcome
from .places import StoredMessage, read
from .round_course import Progress


class Holder(Protocol):
    """What a run needs of a key holder, in this process or elsewhere; see `KeyHolder`.

    Leaving its context ends what this process has of it.
    """

    plan: TrainingPlan
    scheme: Scheme

    def __enter__(self) -> Holder: ...

    def __exit__(self, *_: object) -> None: ...

    def status(self) -> RunStatus: ...

    def evaluation_keys(self) -> bytes: ...

    def prepare(self, reply: bytes) -> None: ...

    def weights(self) -> bytes: ...

    def release(self, reply: bytes) -> None: ...

    def outcome(self) -> bytes: ...


def run_session(
    key_holder: KeyHolder,
    X,
    targets: NDArray,
    costs: Costs,
    *,
    random_bytes: RandomBytes = os.urandom,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> Outcome:
    """Train one model with a single owner, who is the key holder too.

    Parameters
    ----------
    key_holder : KeyHolder
        With a plan for exactly these rows; its key is destroyed in the end.
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Rows. Secret.
    targets : ndarray of shape (n_samples,)
        Class indices. Secret.
    costs : Costs
        Where to add seconds and bytes.
    random_bytes : callable, default=os.urandom
        Source of the noise's randomness. Anything but the operating system's voids the guarantee.
    n_jobs : int, optional
        Processes that steps are spread over, if each is a visit to the key holder; with several,
        encrypted rows and evaluation keys lie in a temporary folder meanwhile.
    verbose : int, default=0
        1 shows a progress bar with the time left.

    Returns
    -------
    outcome : Outcome
        Released weights, safe records, costs.
    """
    n_jobs = 1 if key_holder.plan.rounds else n_jobs
    with key_holder, _scratch(n_jobs) as folder:
        with costs.phase("keys"):
            evaluator = _own_evaluator(key_holder, costs, folder, n_jobs)
        owner = DataOwner(
            key_holder.plan, key_holder.encryptor(), key_holder.run, random_bytes=random_bytes
        )
        for name in key_holder.plan.preparation.statistics:
            share = owner.statistic(name, X)  # outside the clock, as all that draws noise
            with costs.phase("prepare"):
                key_holder.prepare(evaluator.aggregate(name, [share]))
                owner.adopt(key_holder.frame())
        with costs.phase("encrypt"):
            for shard in owner.shards(X, targets, folder):
                costs.data_bytes += len(shard.message)
                evaluator.load([shard])
        return train(evaluator, key_holder, lambda step: [owner.noise(step)], costs, verbose)


def train_encrypted(
    dataset: EncryptedDataset,
    key_holder: Holder,
    costs: Costs,
    *,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> Outcome:
    """Train on a data set that its owners have encrypted, noise included.

    Parameters
    ----------
    dataset : EncryptedDataset
        Rows of all owners and their noise.
    key_holder : KeyHolder or RemoteKeyHolder
        Of the run that they were encrypted for. Leaving it ends what this process has of it: a
        key holder's key is destroyed, a connection is closed.
    costs : Costs
        Where to add seconds and bytes.
    n_jobs : int, optional
        Processes that steps are spread over, where the rows are in files.
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    outcome : Outcome
        Released model, safe records, costs.
    """
    stored = all(isinstance(shard.message, StoredMessage) for shard in dataset.shards)
    with key_holder, _scratch(n_jobs if stored else 1) as folder:
        with costs.phase("keys"):
            evaluator = make_evaluator(key_holder, costs, folder=folder, n_jobs=n_jobs)
        return train_dataset(evaluator, dataset, key_holder, costs, verbose)


def train_dataset(
    evaluator: Evaluator,
    dataset: EncryptedDataset,
    key_holder: Holder,
    costs: Costs,
    verbose: int = 0,
) -> Outcome:
    """Train on an encrypted data set with an evaluator that is there.

    Parameters
    ----------
    evaluator : Evaluator
        Without rows.
    dataset : EncryptedDataset
        Rows of all owners and their noise.
    key_holder : KeyHolder or RemoteKeyHolder
        Of the run that they were encrypted for.
    costs : Costs
        Where to add seconds and bytes.
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    outcome : Outcome
        Released model, safe records, costs.
    """
    prepare(evaluator, key_holder, "curvature", lambda: [*map(read, dataset.curvature)], costs)
    with costs.phase("load"):
        evaluator.load(dataset.shards)
        costs.data_bytes = dataset.n_bytes
    return train(evaluator, key_holder, dataset.noise_of, costs, verbose)


def prepare(
    evaluator: Evaluator,
    key_holder: Holder,
    name: str,
    shares: Callable[[], Sequence[bytes]],
    costs: Costs,
) -> None:
    """Release a statistic, if the plan has it and it is still to be released.

    Parameters
    ----------
    evaluator : Evaluator
        Adds the shares up.
    key_holder : KeyHolder or RemoteKeyHolder
        Decrypts their sum.
    name : {"moments", "curvature"}
        The statistic.
    shares : callable
        Gives every owner's share, a sequence of bytes; may wait for them.
    costs : Costs
        Where to add seconds.
    """
    wanted = key_holder.plan.preparation.statistics
    if name in wanted and name not in key_holder.status().prepared:
        found = shares()
        with costs.phase("prepare"):
            key_holder.prepare(evaluator.aggregate(name, found))


def make_evaluator(
    key_holder: Holder,
    costs: Costs,
    *,
    folder: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    cache_bytes: float = CACHE_BYTES,
) -> Evaluator:
    """An evaluator for a run that may have begun, with the keys that it has had.

    Parameters
    ----------
    key_holder : KeyHolder or RemoteKeyHolder
        Of the run.
    costs : Costs
        Where to add bytes.
    folder : path-like, optional
        Where keys and answers are kept; None for nowhere.
    n_jobs : int, optional
        Processes that steps are spread over, as of `skfhe.Evaluator`.
    cache_bytes : float, default=2e9
        What each process keeps of stored shards between steps, in bytes of loaded ciphertexts.

    Returns
    -------
    evaluator : Evaluator
        Without rows.
    """
    plan, checkpoint = key_holder.plan, Checkpoint()
    if folder is not None:
        checkpoint = FolderCheckpoint(folder, plan.digest)
    keys = checkpoint.keys()
    if keys is None:
        keys = key_holder.evaluation_keys()
    costs.key_bytes = len(keys)
    return Evaluator(
        plan,
        keys,
        key_holder.scheme,
        checkpoint=checkpoint,
        step=key_holder.status().step,
        n_jobs=n_jobs,
        cache_bytes=cache_bytes,
    )


def _own_evaluator(
    key_holder: KeyHolder, costs: Costs, folder: str | None, n_jobs: int | None
) -> Evaluator:
    """An evaluator in the key holder's process; unless others read them, keys come one by one."""
    if folder is not None:
        return make_evaluator(key_holder, costs, folder=folder, n_jobs=n_jobs)

    def counted() -> Iterator[bytes]:
        for message in key_holder.each_evaluation_key():
            costs.key_bytes += len(message)
            yield message

    return Evaluator(key_holder.plan, counted(), key_holder.scheme)


def train(
    evaluator: Evaluator,
    key_holder: Holder,
    noise_of: Callable[[int], Sequence[bytes]],
    costs: Costs,
    verbose: int = 0,
) -> Outcome:
    """Take all steps that are left.

    Parameters
    ----------
    evaluator : Evaluator
        With rows.
    key_holder : KeyHolder or RemoteKeyHolder
        Whose statistics are released.
    noise_of : callable
        Gives every owner's share of a step's noise, a sequence of bytes.
    costs : Costs
        Where to add seconds and bytes.
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    outcome : Outcome
        Released model, safe records, costs.
    """
    plan, status = key_holder.plan, key_holder.status()
    with costs.phase("steps"):
        for step, progress in _progress(range(status.step, status.n_steps), plan, verbose):
            # Outside the clock: how long the noise takes to draw depends on the noise.
            noise = noise_of(step)
            start = time.perf_counter()
            weights = key_holder.weights()
            reply = evaluator.step(weights, noise, progress)
            key_holder.release(reply)
            costs.step_bytes = len(weights) + sum(map(len, noise)) + len(reply)
            costs.step_seconds.append(time.perf_counter() - start)
    with costs.phase("release"):
        return Outcome(unpack_outcome(key_holder.outcome(), plan, status.run), costs)


@contextmanager
def _scratch(n_jobs: int | None) -> Iterator[str | None]:
    """A temporary folder for what several processes read; None for one process."""
    if n_workers(n_jobs) == 1:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="skfhe-") as folder:
        yield folder


def _progress(
    steps: range, plan: TrainingPlan, verbose: int
) -> Iterator[tuple[int, Progress | None]]:
    """The steps, with a progress bar if wanted: of rows, or of what a round tells of itself."""
    if not verbose:
        yield from ((step, None) for step in steps)
        return
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        # A notebook without ipywidgets gets the terminal's bar; that needs no warning.
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm

    rounds = plan.rounds
    if rounds:
        total = len(steps) * (rounds.steps + len(rounds.refreshes))
        with tqdm(total=total, unit="step", desc="steps") as bar:
            yield from ((step, bar.update) for step in steps)
        return
    n_samples = plan.problem.n_samples
    with tqdm(total=len(steps) * n_samples, unit="row", unit_scale=True, desc="steps") as bar:
        for step in steps:
            yield step, None
            bar.update(n_samples)
