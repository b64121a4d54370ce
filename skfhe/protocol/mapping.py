"""A step's sums over shards as a joblib map, over however many processes or machines.

Each task is a part of the shards; it returns its sums, which add up exactly. What tasks hold is
public to the evaluator: the plan, addresses of files, encrypted weights. Worker processes keep
keys and shards from one step to the next, and take the same part again.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from joblib import Parallel, delayed, effective_n_jobs

from ..circuits.running import RunningSums
from ..exceptions import WorkersLost
from ..plan import TrainingPlan
from . import messages
from .manifest import Shard
from .places import Message, read
from .schemes import plan_scheme
from .worker import Worker

# A lost worker takes the step's sums with it; a machine that keeps losing them needs its owner.
_ATTEMPTS = 3


@dataclass(frozen=True)
class Step:
    """One step over stored shards, for processes that may know nothing yet.

    Attributes
    ----------
    plan : str
        The plan as JSON.
    keys : bytes or StoredMessage
        The message of the evaluation keys.
    identity : str
        What a process remembers keys and shards by.
    backend : str
        "tenseal" or "simulated".
    cache_bytes : float
        What each worker may keep of loaded shards.
    indices : tuple of int
        Into the plan's tables.
    weights : tuple of bytes
        The step's encrypted weights.
    parts : tuple of tuple of Shard
        All shards.
    homes : dict of str to int
        The part that a worker did last, and has kept.
    token : str
        Names the attempt.
    """

    plan: str
    keys: Message
    identity: str
    backend: str
    cache_bytes: float
    indices: tuple[int, ...]
    weights: tuple[bytes, ...]
    parts: tuple[tuple[Shard, ...], ...]
    homes: Mapping[str, int]
    token: str = ""


@dataclass(frozen=True)
class Share:
    """What a worker has done of a step: a part's totals."""

    part: int
    worker: str
    totals: list[bytes]


def n_workers(n_jobs: int | None) -> int:
    """How many processes ``n_jobs`` stands for, under joblib's current configuration."""
    return effective_n_jobs(n_jobs)


def parts(shards: Sequence[Shard], n_parts: int) -> list[tuple[Shard, ...]]:
    """Shards in order, in so many parts of nearly equal length, none of them empty."""
    n_parts = max(1, min(n_parts, len(shards)))
    ends = [len(shards) * i // n_parts for i in range(n_parts + 1)]
    return [tuple(shards[a:b]) for a, b in pairwise(ends)]


def mapped_sums(step: Step, n_jobs: int | None) -> list[Share]:
    """The totals of every part; lost workers are replaced and the step is done again.

    joblib does not say which worker gets which task, so workers say which part they take: the one
    that they did last. Parts that nobody took, as when a worker is new, follow in a second round.

    Raises
    ------
    WorkersLost
        If workers were lost in every attempt.
    """
    done: dict[int, Share] = {}
    losses = 0
    while len(done) < len(step.parts):
        step = replace(step, token=uuid.uuid4().hex)
        missing = [number for number in range(len(step.parts)) if number not in done]
        try:
            shares = Parallel(n_jobs=n_jobs)(delayed(share)(step, number) for number in missing)
        except Exception as error:
            losses += 1
            if not _is_loss(error):
                raise
            if losses == _ATTEMPTS:
                raise WorkersLost(
                    f"worker processes were lost in {_ATTEMPTS} attempts at one step, probably "
                    "for want of memory: use fewer of them, or let each keep less (cache_bytes)."
                ) from error
            continue
        done.update((one.part, one) for one in shares)
        step = replace(step, homes={})
    return [done[number] for number in range(len(step.parts))]


def added(sums: RunningSums, totals_of_tasks: Sequence[Sequence[bytes]]) -> RunningSums:
    """The sums with those of all tasks, as a tree."""
    load = sums.arithmetic.backend.load
    level = [[load(total) for total in totals] for totals in totals_of_tasks]
    add = sums.arithmetic.backend.add
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        odd = level[-1:] if len(level) % 2 else []
        level = [[*map(add, a, b)] for a, b in pairs] + odd
    sums.include(level[0])
    return sums


def share(step: Step, number: int) -> Share:
    """What a worker process does of a step: the part of this number, or its own."""
    with _TURN:
        name = f"{socket.gethostname()}:{os.getpid()}"
        part = _part(step, name, number)
        sums = _resident(step).sums(step.parts[part], step.indices, step.weights)
        return Share(part, name, [sums.arithmetic.backend.save(total) for total in sums.totals])


# A process works for one run at a time, and one thread of it: arithmetic holds the interpreter.
_RESIDENTS: dict[str, Worker] = {}
_TAKEN: dict[str, set[int]] = {}
_TURN = threading.Lock()


def _part(step: Step, name: str, number: int) -> int:
    """The worker's home, if it has one and has not done it; else a part that is nobody's home."""
    if step.token not in _TAKEN:
        _TAKEN.clear()
    taken = _TAKEN.setdefault(step.token, set())
    home, part = step.homes.get(name), number
    if home is not None:
        part = number if home in taken else home
    elif step.homes:
        homeless = [n for n in range(len(step.parts)) if n not in step.homes.values()]
        part = homeless[number % len(homeless)] if homeless else number
    taken.add(part)
    return part


def _resident(step: Step) -> Worker:
    """The process's worker for the step's run, with its keys loaded."""
    if step.identity not in _RESIDENTS:
        _RESIDENTS.clear()
        plan = TrainingPlan.from_json(step.plan)
        header, keys = messages.unpack(read(step.keys), "evaluation keys", plan.digest)
        backend, run = plan_scheme(plan, step.backend).evaluator(keys), messages.run_of(header)
        _RESIDENTS[step.identity] = Worker(plan, backend, run, step.cache_bytes)
    return _RESIDENTS[step.identity]


def _is_loss(error: Exception) -> bool:
    """Whether a backend says that it lost a process: loky's and dask's have no class in common."""
    names = {one.__name__ for one in type(error).__mro__}
    return bool(
        names & {"BrokenExecutor", "TerminatedWorkerError", "KilledWorker", "CommClosedError"}
    )
