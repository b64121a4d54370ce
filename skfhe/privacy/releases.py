"""Counting releases: budget is spent before anything is decrypted."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from ..exceptions import BudgetExceeded


@dataclass
class ReleaseLedger:
    """The Gaussian releases that a run may make, and those it has made.

    Parameters
    ----------
    n_releases : int
        How many the plan accounts for.

    Attributes
    ----------
    spent : list of str or int
        The releases that have been paid for, by name or step and in order; one that failed
        afterwards stays in it.
    """

    n_releases: int
    spent: list[str | int] = field(default_factory=list)
    _pending: tuple[str | int, str] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def spend(self, name: str | int, request: str) -> None:
        """Pay for a release, before it happens.

        A release that was paid for and interrupted may be had by the very same request again: it
        has the same value, so nothing more is released.

        Parameters
        ----------
        name : str or int
            The statistic, or the step.
        request : str
            Digest of what is to be decrypted.

        Raises
        ------
        BudgetExceeded
            If the plan has no release left, or this one has been paid for already.
        """
        with self._lock:
            if self._pending == (name, request):
                return
            if name in self.spent or len(self.spent) >= self.n_releases:
                raise BudgetExceeded(
                    f"the plan pays for {self.n_releases} releases, one per statistic and step; "
                    f"{name!r} would be another after {len(self.spent)}. Make a new plan and a "
                    "new run."
                )
            self.spent.append(name)
            self._pending = (name, request)

    def settle(self) -> None:
        """Close the release that was paid for last: it has happened."""
        with self._lock:
            self._pending = None
