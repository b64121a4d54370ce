"""What a key holder must not forget: its key, its run's name, and every release.

A release is entered before it is decrypted, with the digest of the request, and again with its
values afterwards. Whoever starts from the same state takes the same steps with the same values;
an entry without values is a release that was paid for and then interrupted, and only the very
same request may have it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from ..exceptions import BudgetExceeded, PlanMismatch, StateError
from ..plan import TrainingPlan


@dataclass(frozen=True, eq=False)
class Release:
    """One release of a run.

    Attributes
    ----------
    name : str or int
        A statistic's name, or the step's number.
    request : str
        SHA-256 of the evaluator's message, in hexadecimal.
    seeded : bool
        Whether an owner has said that its noise came from a seed.
    certified : sequence or None, default=None
        The fields of a step's `skfhe.protocol.models.Certified`.
    values : ndarray of shape (n_coefficients,) or None, default=None
        The decrypted coefficients, noise included; None before they were decrypted.
    """

    name: str | int
    request: str
    seeded: bool
    certified: Sequence[Any] | None = None
    values: NDArray | None = None


class RunState:
    """The state of one run, in memory: what ends with the process. Secret, as it has the key.

    Attributes
    ----------
    run : str
        Random name of the run.
    token : str
        Random name of the run's entry in a privacy ledger.
    burned : bool
        Whether the key was destroyed.
    plan : TrainingPlan or None
        The run's plan, where the state has it.
    lasting : bool
        Whether it outlives the process.
    """

    lasting = False
    plan: TrainingPlan | None = None

    def __init__(self) -> None:
        self.run = os.urandom(16).hex()
        self.token = os.urandom(16).hex()
        self.burned = False
        self._releases: dict[str | int, Release] = {}
        self._process = os.getpid()
        self._taken = False

    def take(self, plan: TrainingPlan) -> None:
        """Become the state of one key holder, in the process that opened it.

        Parameters
        ----------
        plan : TrainingPlan
            The key holder's.

        Raises
        ------
        StateError
            If another key holder or process has it: two would not know of each other's releases.
        PlanMismatch
            If it is of another plan.
        """
        if self._taken or self._process != os.getpid():
            raise StateError(
                "a state is for one key holder, in the process that opened it; open it again."
            )
        if self.plan is not None and self.plan.digest != plan.digest:
            raise PlanMismatch(
                f"the state is of a run of plan {self.plan.digest[:12]}, not of "
                f"{plan.digest[:12]}."
            )
        self._taken = True

    def secret(self) -> bytes | None:
        """The secret key of an earlier process.

        Returns
        -------
        secret : bytes or None
            Secret; None if there was none.
        """
        return None

    def keep_secret(self, secret: Callable[[], bytes]) -> None:
        """Keep the secret key until the run is burned, where the state outlives the process.

        Parameters
        ----------
        secret : callable
            Gives the key, as bytes; not asked where it is not kept.
        """

    def burn(self) -> None:
        """Destroy the secret key; before anything else of the end of a run is done."""
        self.burned = True

    def kept(self, name: str) -> bytes | None:
        """A message that an earlier process has sent.

        Parameters
        ----------
        name : str
            Its kind.

        Returns
        -------
        data : bytes or None
            The same bytes; None if there is none.
        """
        return None

    def keep(self, name: str, data: Callable[[], bytes]) -> None:
        """Keep a message before it is sent, in the place of an earlier one of the name.

        Where the state ends with the process it is not even made.

        Parameters
        ----------
        name : str
            Its kind.
        data : callable
            Gives the message, as bytes.
        """

    def begin(self, release: Release) -> None:
        """Enter a release before it is decrypted; again if the same request is repeated.

        Parameters
        ----------
        release : Release
            Without values.

        Raises
        ------
        BudgetExceeded
            If it was entered for another request.
        """
        require_same_request(self._releases.setdefault(release.name, release).request, release)

    def finish(self, name: str | int, values: NDArray) -> None:
        """Enter what a release decrypted to, before anything is made of it.

        Parameters
        ----------
        name : str or int
            The release's.
        values : ndarray of shape (n_coefficients,)
            The decrypted coefficients, noise included.
        """
        self._releases[name] = replace(self._releases[name], values=values)

    def releases(self) -> list[Release]:
        """All releases, in order.

        Returns
        -------
        releases : list of Release
            The last one may be without values.
        """
        return [*self._releases.values()]


def require_same_request(entered: str, release: Release) -> None:
    """Refuse another request for a release than the one that was entered."""
    if entered != release.request:
        raise BudgetExceeded(
            f"release {release.name!r} of this run was paid for another request; it is not made "
            "twice."
        )
