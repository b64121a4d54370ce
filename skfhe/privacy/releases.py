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
    spent : list of int
        The steps whose release has been paid for, in order; a release that failed afterwards
        stays in it.
    """

    n_releases: int
    spent: list[int] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def spend(self, step: int) -> None:
        """Pay for the release of a step, before it happens.

        Raises
        ------
        BudgetExceeded
            If the plan has no release left, or this step's has been paid for already.
        """
        with self._lock:
            if step in self.spent or len(self.spent) >= self.n_releases:
                raise BudgetExceeded(
                    f"the plan pays for {self.n_releases} releases, one per step; step {step} "
                    f"would be another after {len(self.spent)}. Make a new plan and a new run."
                )
            self.spent.append(step)
