"""Rows on their way into ciphertexts: as many at a time as share one, stored as the frame says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..crypto.backend import Encryptor
from ..exceptions import PlanMismatch
from ..plan import TrainingPlan
from ..privacy.frame import Frame
from ..sources import RowSource
from ..sources.base import Batch
from . import messages
from .models import Model


class Chunks:
    """Batches of an owner's rows that fit the plan, and their messages.

    Parameters
    ----------
    plan : TrainingPlan
        The plan that all parties agreed on.
    run : str
        The key holder's run.
    owner : int
        Index of the owner among the plan's.
    encryptor : Encryptor
        Of the owner.
    model : Model
        Of the plan: how rows are packed.
    """

    def __init__(
        self, plan: TrainingPlan, run: str, owner: int, encryptor: Encryptor, model: Model
    ):
        self._plan = plan
        self._run = run
        self._owner = owner
        self._encryptor = encryptor
        self._model = model

    def batches(self, source: RowSource) -> Iterator[Batch]:
        """A source's rows, as many as share a ciphertext; refused if they do not fit the plan."""
        problem, count = self._plan.problem, 0
        if source.n_features != problem.n_features:
            raise PlanMismatch(
                f"rows must have the plan's {problem.n_features} features, got "
                f"{source.n_features}."
            )
        for rows, targets in source.batches(self._model.rows_per_chunk):
            count += len(targets)
            if count > problem.n_samples:
                raise PlanMismatch(
                    f"the plan is for at most {problem.n_samples} rows of all owners; this one "
                    "has more."
                )
            yield rows, targets

    def encrypted(self, source: RowSource, frame: Frame) -> Iterator[tuple[int, int, bytes]]:
        """Index, number of rows and message of every chunk."""
        n_classes = self._plan.problem.n_classes
        for index, (rows, targets) in enumerate(self.batches(source)):
            if not np.isin(targets, np.arange(n_classes)).all():
                raise ValueError(f"targets must be class indices from 0 to {n_classes - 1}.")
            dense = rows.toarray() if sparse.issparse(rows) else rows
            yield index, len(targets), self._message(index, frame.rows(dense), targets)

    @np.errstate(all="ignore")  # nothing may be raised that depends on a row
    def _message(self, index: int, rows: NDArray, targets: NDArray) -> bytes:
        sections = [
            self._encryptor.encrypt(plain.slots, plain.scale, plain.level, dither=True)
            for plain in self._model.pack(rows, targets)
        ]
        return messages.pack(
            "rows",
            self._plan.digest,
            sections,
            run=self._run,
            owner=self._owner,
            chunk=index,
            n_samples=len(rows),
        )
