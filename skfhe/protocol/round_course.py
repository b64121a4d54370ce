"""What an evaluator notes on its way through a round: how far it is, and what it need not redo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..circuits.levelled import Course
from ..crypto.backend import Ciphertext, Loader
from ..exceptions import MessageError
from . import messages
from .checkpoint import Checkpoint

Progress = Callable[[int], Any]


class RoundCourse(Course):
    """Keeps what was refreshed last, so that a round goes on from there after a restart.

    Parameters
    ----------
    backend : Loader
        That computes.
    checkpoint : Checkpoint
        Where it is kept.
    plan_digest : str
        The plan's.
    request : str
        What the round was asked for with: other noise or weights begin anew.
    bound : dict
        Run, step, and whatever else the round depends on.
    n_refreshes : int
        How many the round has.
    progress : callable, optional
        Told of every step and every refresh.
    """

    def __init__(
        self,
        backend: Loader,
        checkpoint: Checkpoint,
        plan_digest: str,
        request: str,
        bound: dict[str, Any],
        n_refreshes: int,
        progress: Progress | None = None,
    ):
        self._backend = backend
        self._checkpoint = checkpoint
        self._digest = plan_digest
        self._bound = {**bound, "request": request}
        self._n_refreshes = n_refreshes
        self._progress = progress or (lambda count: None)

    def kept(self) -> tuple[int, Ciphertext] | None:
        data = self._checkpoint.answer("refreshed")
        if data is None:
            return None
        header, (section,) = messages.unpack(data, "refreshed", self._digest, 1)
        if any(header.get(name) != value for name, value in self._bound.items()):
            return None  # of another round
        segment, done = header.get("segment"), header.get("done")
        carried = self._backend.load(section)
        if not (
            all(type(one) is int and one > 0 for one in (segment, done))
            and segment <= self._n_refreshes
            and self._backend.level(carried) == self._backend.ring.top_level - 1
        ):
            raise MessageError("the checkpoint's refreshed message is malformed.")
        self._progress(done)
        return segment, carried

    def stepped(self, step: int, gradient: Ciphertext) -> None:
        self._progress(1)

    def refreshed(self, segment: int, first: int, carried: Ciphertext) -> None:
        sections = [self._backend.save(carried)]
        told = {**self._bound, "segment": segment, "done": first + segment}
        self._checkpoint.keep(
            "refreshed", messages.pack("refreshed", self._digest, sections, **told)
        )
        self._progress(1)
