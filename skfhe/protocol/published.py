"""What a key holder tells the other parties: all of it public, and none of it decrypted for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from ..crypto.backend import Encryptor, KeyPair
from ..exceptions import KeyBurned, PlanMismatch
from ..plan import TrainingPlan
from . import messages
from .course import Course, StepRecord
from .outcome import Released, RunStatus, pack_outcome
from .preparation import pack_frame
from .state import RunState


class Published:
    """The public half of a key holder; the other half, `KeyHolder`, has the key and decrypts."""

    plan: TrainingPlan
    run: str
    noise_seeded: bool
    _state: RunState
    _course: Course
    _keys: KeyPair | None
    _encryptor: Encryptor | None
    _process: int

    def status(self) -> RunStatus:
        """Where the run stands.

        Returns
        -------
        status : RunStatus
            Public.
        """
        statistics, left = self.plan.preparation.statistics, self._course.unprepared
        return RunStatus(
            run=self.run,
            plan=self.plan.digest,
            prepared=tuple(name for name in statistics if name not in left),
            step=self._course.step,
            n_steps=self.plan.visits,
            done=self.done,
            burned=self._encryptor is None,
        )

    def evaluation_keys(self) -> bytes:
        """Relinearisation and automorphism keys, for the evaluator.

        Returns
        -------
        keys : bytes
            One message. Public: nothing can be decrypted with it.

        Raises
        ------
        KeyBurned
            If the key is destroyed and no state has kept the message.
        """
        return self._published("evaluation keys", lambda: [*self._keys.evaluation_keys()])

    def each_evaluation_key(self) -> Iterator[bytes]:
        """The same, a message for each of what may be gigabytes; made when asked for, not kept.

        Yields
        ------
        key : bytes
            One message, for `Evaluator` in this order. Public.

        Raises
        ------
        KeyBurned
            If the key is destroyed.
        """
        self._alive()
        for key in self._keys.evaluation_keys():
            yield messages.pack("evaluation keys", self.plan.digest, [key], run=self.run)

    def public_key(self) -> bytes:
        """The encryption key, for data owners.

        Returns
        -------
        key : bytes
            One message, for `DataOwner.with_public_key`. Public.

        Raises
        ------
        KeyBurned
            If the key is destroyed and no state has kept the message.
        """
        return self._published("public key", lambda: [self._keys.public_key()])

    def _published(self, kind: str, make: Callable[[], list[bytes]]) -> bytes:
        """A message of keys: the same again where the state keeps it."""
        if (data := self._state.kept(kind)) is None:
            self._alive()
            data = messages.pack(kind, self.plan.digest, make(), run=self.run)
            self._state.keep(kind, lambda: data)
        return data

    def frame(self) -> bytes:
        """How rows are to be stored, for the owners' `adopt`.

        Returns
        -------
        frame : bytes
            One message. Public, as a function of the released moments.

        Raises
        ------
        PlanMismatch
            If the moments have not been released.
        """
        if self._course.frame is None:
            raise PlanMismatch("the frame is made from the moments: release these first.")
        return pack_frame(self._course.frame, self.plan, self.run)

    @property
    def done(self) -> bool:
        """Whether every step has been taken."""
        return self._course.done

    @property
    def records(self) -> list[StepRecord]:
        """One per step: what it may tell."""
        return self._course.records

    def result(self) -> Any:
        """The released model.

        Returns
        -------
        model : ndarray of shape (n_columns, n_outputs) or ReleasedNetwork
            The linear model's weights for rows as they are given, the intercept last; or a
            network. Public.

        Raises
        ------
        PlanMismatch
            If steps are missing.
        """
        return self._course.result()

    def outcome(self) -> bytes:
        """The released model as a message.

        Returns
        -------
        outcome : bytes
            For `skfhe.protocol.outcome.unpack_outcome`. Public.

        Raises
        ------
        PlanMismatch
            If steps are missing.
        """
        released = Released(self.result(), self.records, not self.noise_seeded)
        return pack_outcome(released, self.plan, self.run)

    def _alive(self) -> Encryptor:
        """The encryptor, while there is one."""
        if self._process != os.getpid():
            raise KeyBurned("a key holder works in the process that made it; make one here.")
        if self._encryptor is None:
            raise KeyBurned("this run is over and its secret key destroyed; start a new run.")
        return self._encryptor
