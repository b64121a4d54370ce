"""What the key holder publishes: where a run stands, and in the end the model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from ..exceptions import MessageError
from ..plan import TrainingPlan
from . import messages
from .course import StepRecord
from .models import model_of


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands; public.

    Attributes
    ----------
    run : str
        Its name.
    plan : str
        The plan's digest.
    prepared : tuple of str
        Statistics that have been released.
    step, n_steps : int
        Visits made, and in all: steps, or rounds where the evaluator takes several alone.
    done : bool
        Whether the model is there.
    burned : bool
        Whether the key is destroyed, at the end or because the run was broken off.
    """

    run: str
    plan: str
    prepared: tuple[str, ...]
    step: int
    n_steps: int
    done: bool
    burned: bool


@dataclass(frozen=True)
class Released:
    """A released model; public.

    Attributes
    ----------
    model : ndarray of shape (n_columns, n_outputs) or ReleasedNetwork
        As `skfhe.KeyHolder.result` gives it.
    records : list of StepRecord
        One per step.
    guaranteed : bool
        Whether every owner's noise came from the operating system.
    """

    model: Any
    records: list[StepRecord]
    guaranteed: bool


def pack_outcome(released: Released, plan: TrainingPlan, run: str) -> bytes:
    """The key holder's message of the released model."""
    arrays = model_of(plan).arrays(released.model)
    return messages.pack(
        "model",
        plan.digest,
        [np.asarray(array, dtype="<f8").tobytes() for array in arrays],
        run=run,
        shapes=[array.shape for array in arrays],
        records=[asdict(record) for record in released.records],
        guaranteed=released.guaranteed,
    )


def unpack_outcome(data: bytes, plan: TrainingPlan, run: str | None = None) -> Released:
    """Read the key holder's message of a released model.

    Parameters
    ----------
    data : bytes
        The message of `skfhe.KeyHolder.outcome`.
    plan : TrainingPlan
        The plan that it must be for.
    run : str, optional
        The run that it must be of.

    Returns
    -------
    released : Released
        For an estimator's ``from_released``. Public.

    Raises
    ------
    MessageError, PlanMismatch
        If it is malformed, or of another plan or run.
    """
    bound = {} if run is None else {"run": run}
    header, sections = messages.unpack(data, "model", plan.digest, **bound)
    try:
        shapes, records = header["shapes"], [StepRecord(**one) for one in header["records"]]
        arrays = [
            np.frombuffer(section, dtype="<f8").reshape(shape)
            for section, shape in zip(sections, shapes, strict=True)
        ]
        model = model_of(plan).from_arrays(arrays)
        numbers = [value for record in records for value in vars(record).values()]
        sound = (
            type(header["guaranteed"]) is bool
            and len(records) == plan.visits
            and all(type(value) in (int, float) and math.isfinite(value) for value in numbers)
            and all(np.isfinite(array).all() for array in arrays)
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        sound = False
    if not sound:
        raise MessageError("this message holds no released model of the plan.")
    return Released(model, records, header["guaranteed"])


def pack_status(status: RunStatus) -> dict[str, Any]:
    """The status as JSON can hold it."""
    return {**asdict(status), "prepared": [*status.prepared]}


def unpack_status(content: Any) -> RunStatus:
    """Read it back.

    Raises
    ------
    MessageError
        If it is none.
    """
    kinds = {"str": str, "int": int, "bool": bool, "tuple[str, ...]": list}
    if not (
        isinstance(content, dict)
        and content.keys() == {f.name for f in fields(RunStatus)}
        and all(type(content[f.name]) is kinds[str(f.type)] for f in fields(RunStatus))
        and all(type(name) is str for name in content["prepared"])
    ):
        raise MessageError("this is no status of a run.")
    return RunStatus(**{**content, "prepared": tuple(content["prepared"])})
