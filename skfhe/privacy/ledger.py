"""Counting releases: budget is spent before anything is decrypted."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..exceptions import BudgetExceeded
from . import accounting


@dataclass
class ReleaseLedger:
    """The Gaussian releases that a run may make, and those it has made.

    Parameters
    ----------
    noise_multiplier : float
        Of every release.
    n_releases : int
        How many the plan accounts for.

    Attributes
    ----------
    spent : list of int
        The steps whose release has been paid for, in order; a release that failed afterwards
        stays in it.
    """

    noise_multiplier: float
    n_releases: int
    spent: list[int] = field(default_factory=list)

    def spend(self, step: int) -> None:
        """Pay for the release of a step, before it happens.

        Raises
        ------
        BudgetExceeded
            If the plan has no release left, or this step's has been paid for already.
        """
        if step in self.spent or len(self.spent) >= self.n_releases:
            raise BudgetExceeded(
                f"the plan pays for {self.n_releases} releases, one per step; step {step} would "
                f"be another after {len(self.spent)}. Make a new plan and a new run."
            )
        self.spent.append(step)

    def epsilon_at(self, delta: float) -> float:
        """Epsilon of the releases made so far."""
        if not self.spent:
            return 0.0
        return accounting.epsilon_at(delta, self.noise_multiplier, len(self.spent))
