"""A run's entry in a privacy ledger."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..plan import TrainingPlan
from ..privacy.guarantee import PrivacyGuarantee
from ..privacy.ledger import PrivacyLedger


class Account:
    """Pays for a run before there is a key, and settles once no key is left.

    Parameters
    ----------
    plan : TrainingPlan
        What is paid for.
    ledger : PrivacyLedger or None
        What pays; None for no ledger, and nothing is done.
    token : str
        The entry's name: a run that is resumed pays once.
    mechanism : str
        What the ledger calls the run.
    seeded : bool
        Whether noise will come from a seed.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        ledger: PrivacyLedger | None,
        token: str,
        mechanism: str,
        seeded: bool,
    ):
        self._plan = plan
        self._ledger = ledger
        self._token = token
        self._mechanism = mechanism
        self._seeded = seeded

    def pay(self) -> None:
        """Debit the whole run.

        Raises
        ------
        BudgetExceeded
            If the budget does not pay; nothing is written then.
        """
        if self._ledger is None:
            return
        n_releases = self._plan.guarantee.n_releases
        self._ledger.debit(
            self._mechanism,
            PrivacyGuarantee.of(self._plan, n_releases, guaranteed=not self._seeded),
            neighboring=self._plan.certificate.neighboring,
            digest=self._plan.digest,
            seeded=self._seeded,
            token=self._token,
        )

    def settle(self, spent: Sequence[str | int]) -> None:
        """Get back what was not released; for a run whose key is gone."""
        if self._ledger is None:
            return
        seeded = self._seeded and spent
        squared_mu = math.inf if seeded else self._plan.squared_mu_of(spent)
        self._ledger.settle(self._token, self._plan.n_releases_of(spent), squared_mu)
