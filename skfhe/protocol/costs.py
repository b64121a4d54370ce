"""What a run leaves behind: the released model, and what it took in seconds and bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

from .course import StepRecord
from .outcome import Released


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
        Bytes of evaluation keys, encrypted data set, messages of one step.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    step_seconds: list[float] = field(default_factory=list)
    key_bytes: int = 0
    data_bytes: int = 0
    step_bytes: int = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of a block to a phase.

        Parameters
        ----------
        name : str
            The phase.

        Returns
        -------
        context : context manager
            The block is what it manages.
        """
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
    released : Released
        Model, safe records, and whether the noise came from the operating system.
    costs : Costs
        Seconds and bytes.
    """

    released: Released
    costs: Costs

    def history(self) -> dict[str, Any]:
        """The privacy-safe course of the run: released quantities, seconds and bytes.

        Returns
        -------
        history : dict
            ``history_`` of a fitted model: of every figure of `StepRecord` a list with an entry
            per step, ``step_seconds``, ``phase_seconds`` and ``bytes``. Public.
        """
        records, costs = self.released.records, self.costs
        return {
            **{f.name: [getattr(one, f.name) for one in records] for f in fields(StepRecord)},
            "step_seconds": costs.step_seconds,
            "phase_seconds": costs.seconds,
            "bytes": {
                "keys": costs.key_bytes,
                "data": costs.data_bytes,
                "step": costs.step_bytes,
            },
        }
