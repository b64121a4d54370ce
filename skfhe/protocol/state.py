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


@dataclass(frozen=True, eq=False)
class Release:
    """One release of a run.

    Attributes
    ----------
    name : str or int
        A statistic's name, or the step.
    request : str
        SHA-256 of the evaluator's message, in hexadecimal.
    seeded : bool
        Whether an owner has said that its noise came from a seed.
    certified : sequence or None
        The fields of a step's `skfhe.protocol.models.Certified`.
    values : ndarray or None
        The decrypted coefficients, noise included; None before they were decrypted.
    """

    name: str | int
    request: str
    seeded: bool
    certified: Sequence[Any] | None = None
    values: NDArray | None = None


class RunState:
    """The state of one run, in memory: what ends with the process.

    Attributes
    ----------
    run : str
        Random name of the run.
    token : str
        Random name of the run's entry in a privacy ledger.
    burned : bool
        Whether the key was destroyed.
    """

    def __init__(self) -> None:
        self.run = os.urandom(16).hex()
        self.token = os.urandom(16).hex()
        self.burned = False
        self._releases: dict[str | int, Release] = {}

    def secret(self) -> bytes | None:
        """The secret key of an earlier process; None if there was none."""
        return None

    def keep_secret(self, secret: Callable[[], bytes]) -> None:
        """Keep the secret key until the run is burned, where the state outlives the process."""

    def burn(self) -> None:
        """Destroy the secret key; before anything else of the end of a run is done."""
        self.burned = True

    def kept(self, name: str) -> bytes | None:
        """A message that an earlier process has sent; None if there is none."""
        return None

    def keep(self, name: str, data: bytes) -> None:
        """Keep a message before it is sent, in the place of an earlier one of the name."""

    def begin(self, release: Release) -> None:
        """Enter a release before it is decrypted; again if the same request is repeated."""
        self._releases.setdefault(release.name, release)

    def finish(self, name: str | int, values: NDArray) -> None:
        """Enter what it decrypted to, before anything is made of it."""
        self._releases[name] = replace(self._releases[name], values=values)

    def releases(self) -> list[Release]:
        """All releases, in order."""
        return [*self._releases.values()]
