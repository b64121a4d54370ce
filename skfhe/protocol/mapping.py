"""A step's sums over shards as a joblib map, over however many processes or machines.

Each task is a part of the shards; it returns its sums, which add up exactly. What tasks hold is
public to the evaluator: the plan, addresses of files, encrypted weights. Worker processes keep
keys and shards from one step to the next.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
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
class Task:
    """One step over some shards, for a process that may know nothing yet.

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
    shards : tuple of Shard
        Stored ones.
    """

    plan: str
    keys: Message
    identity: str
    backend: str
    cache_bytes: float
    indices: tuple[int, ...]
    weights: tuple[bytes, ...]
    shards: tuple[Shard, ...]


def n_workers(n_jobs: int | None) -> int:
    """How many processes ``n_jobs`` stands for, under joblib's current configuration."""
    return effective_n_jobs(n_jobs)


def parts(shards: Sequence[Shard], n_parts: int) -> list[tuple[Shard, ...]]:
    """Shards in order, in so many parts of nearly equal length, none of them empty."""
    n_parts = max(1, min(n_parts, len(shards)))
    ends = [len(shards) * i // n_parts for i in range(n_parts + 1)]
    return [tuple(shards[a:b]) for a, b in pairwise(ends)]


def mapped_sums(tasks: Sequence[Task], n_jobs: int | None) -> list[list[bytes]]:
    """The totals of every task; lost workers are replaced and the step is done again.

    Raises
    ------
    WorkersLost
        If workers were lost in every attempt.
    """
    for _ in range(_ATTEMPTS):
        try:
            return Parallel(n_jobs=n_jobs)(delayed(totals)(task) for task in tasks)
        except Exception as error:
            if not _is_loss(error):
                raise
    raise WorkersLost(
        f"worker processes were lost in {_ATTEMPTS} attempts at one step, probably for want of "
        "memory: use fewer of them, or let each keep less (cache_bytes)."
    )


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


def totals(task: Task) -> list[bytes]:
    """What a worker process does of a step."""
    with _TURN:
        sums = _resident(task).sums(task.shards, task.indices, task.weights)
        return [sums.arithmetic.backend.save(total) for total in sums.totals]


# A process works for one run at a time, and one thread of it: arithmetic holds the interpreter.
_RESIDENTS: dict[str, Worker] = {}
_TURN = threading.Lock()


def _resident(task: Task) -> Worker:
    """The process's worker for the task's run, with its keys loaded."""
    if task.identity not in _RESIDENTS:
        _RESIDENTS.clear()
        plan = TrainingPlan.from_json(task.plan)
        header, (keys,) = messages.unpack(read(task.keys), "evaluation keys", plan.digest, 1)
        backend, run = plan_scheme(plan, task.backend).evaluator(keys), messages.run_of(header)
        _RESIDENTS[task.identity] = Worker(plan, backend, run, task.cache_bytes)
    return _RESIDENTS[task.identity]


def _is_loss(error: Exception) -> bool:
    """Whether a backend says that it lost a process: loky's and dask's have no class in common."""
    names = {one.__name__ for one in type(error).__mro__}
    return bool(
        names & {"BrokenExecutor", "TerminatedWorkerError", "KilledWorker", "CommClosedError"}
    )
