"""All parties in one process, through the same code and the same bytes as apart."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from ..privacy.noise import RandomBytes
from .data_owner import DataOwner
from .dataset import EncryptedDataset
from .evaluator import Evaluator
from .key_holder import KeyHolder, StepRecord


@dataclass
class Costs:
    """Seconds and bytes of a run, by phase.

    Attributes
    ----------
    seconds : dict of str to float
        Wall-clock seconds of the phases "plan", "keys", "prepare", "encrypt" (or "load"), "steps"
        and "release".
    step_seconds : list of float
        Seconds of every step.
    key_bytes, data_bytes, step_bytes : int
        Evaluation keys, encrypted data set, messages of one step.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    step_seconds: list[float] = field(default_factory=list)
    key_bytes: int = 0
    data_bytes: int = 0
    step_bytes: int = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of a block to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Outcome:
    """What a run leaves behind: no key, no row, no ciphertext.

    Attributes
    ----------
    model : ndarray or ReleasedNetwork
        What is released (`KeyHolder.result`).
    records : list of StepRecord
        One per step.
    costs : Costs
        Seconds and bytes.
    guaranteed : bool
        Whether every owner's noise came from the operating system.
    """

    model: Any
    records: list[StepRecord]
    costs: Costs
    guaranteed: bool


def run_session(
    key_holder: KeyHolder,
    X,
    targets: NDArray,
    costs: Costs,
    *,
    random_bytes: RandomBytes = os.urandom,
    verbose: int = 0,
) -> Outcome:
    """Train one model with a single owner, who is the key holder too.

    Parameters
    ----------
    key_holder : KeyHolder
        With a plan for exactly these rows; its key is destroyed in the end.
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Rows.
    targets : ndarray of shape (n_samples,)
        Class indices.
    costs : Costs
        Where to add seconds and bytes.
    random_bytes : callable
        Source of the noise's randomness.
    verbose : int
        1 shows a progress bar with the time left.

    Returns
    -------
    outcome : Outcome
        Released weights, safe records, costs.
    """
    with key_holder:
        with costs.phase("keys"):
            evaluator = _evaluator(key_holder, costs)
        owner = DataOwner(
            key_holder.plan, key_holder.encryptor(), key_holder.run, random_bytes=random_bytes
        )
        for name in key_holder.plan.preparation.statistics:
            share = owner.statistic(name, X)  # outside the clock, as all that draws noise
            with costs.phase("prepare"):
                key_holder.prepare(evaluator.aggregate(name, [share]))
                owner.adopt(key_holder.frame())
        with costs.phase("encrypt"):
            for chunk in owner.encrypt(X, targets):
                costs.data_bytes += len(chunk)
                evaluator.load([chunk])
        return _train(evaluator, key_holder, lambda step: [owner.noise(step)], costs, verbose)


def train_encrypted(
    dataset: EncryptedDataset, key_holder: KeyHolder, costs: Costs, *, verbose: int = 0
) -> Outcome:
    """Train on a data set that its owners have encrypted, noise included."""
    with key_holder:
        with costs.phase("keys"):
            evaluator = _evaluator(key_holder, costs)
        with costs.phase("prepare"):
            if key_holder.plan.preparation.curvature:
                key_holder.prepare(evaluator.aggregate("curvature", dataset.curvature))
        with costs.phase("load"):
            evaluator.load(dataset.shards)
            costs.data_bytes = dataset.n_bytes
        return _train(evaluator, key_holder, dataset.noise_of, costs, verbose)


def _evaluator(key_holder: KeyHolder, costs: Costs) -> Evaluator:
    keys = key_holder.evaluation_keys()
    costs.key_bytes = len(keys)
    return Evaluator(key_holder.plan, keys, key_holder.scheme)


def _train(
    evaluator: Evaluator,
    key_holder: KeyHolder,
    noise_of: Callable[[int], Sequence[bytes]],
    costs: Costs,
    verbose: int,
) -> Outcome:
    plan = key_holder.plan
    with costs.phase("steps"):
        for step in _progress(plan.optimizer.max_iter, plan.problem.n_samples, verbose):
            # Outside the clock: how long the noise takes to draw depends on the noise.
            noise = noise_of(step)
            start = time.perf_counter()
            weights = key_holder.weights()
            reply = evaluator.step(weights, noise)
            key_holder.release(reply)
            costs.step_bytes = len(weights) + sum(map(len, noise)) + len(reply)
            costs.step_seconds.append(time.perf_counter() - start)
    with costs.phase("release"):
        model, guaranteed = key_holder.result(), not key_holder.noise_seeded
        return Outcome(model, key_holder.records, costs, guaranteed)


def _progress(max_iter: int, n_samples: int, verbose: int) -> Iterator[int]:
    """The steps, with a progress bar in rows per second if wanted."""
    if not verbose:
        yield from range(max_iter)
        return
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        # A notebook without ipywidgets gets the terminal's bar; that needs no warning.
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm

    with tqdm(total=max_iter * n_samples, unit="row", unit_scale=True, desc="steps") as bar:
        for step in range(max_iter):
            yield step
            bar.update(n_samples)
