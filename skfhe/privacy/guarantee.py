"""What a fitted model promises."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._html import Page, cards
from ..parties import EVERY_STEP, Party, table
from ..plan import TrainingPlan
from ..plan_text import promise, views
from .composition import Composition


@dataclass(frozen=True)
class PrivacyGuarantee:
    """What the fitted model's privacy rests on; all of it public.

    Attributes
    ----------
    epsilon, delta : float
        The guarantee for what was really done: infinite epsilon if the noise was seeded.
    nominal_epsilon : float
        Of the guarantee that unseeded noise gives.
    noise_multiplier : float
        Noise spread over sensitivity of every gradient release.
    squared_mu : float
        Sum over all releases of one over the squared noise multiplier; infinite if the noise was
        seeded.
    sensitivity : float
        L2 sensitivity of a release, in units of the bound S that follows the weights.
    n_releases : int
        Gaussian releases that were made, those that prepare the rows included.
    neighboring : {"add_remove", "replace_one"}
        What is hidden: that a row was there (against a zero row, n being public), or what it was.
    guaranteed : bool
        Whether the noise came from the operating system.
    error_probability, discreteness : float
        What encryption errors and integer noise cost of delta (`skfhe.plan.Certificate`).
    n_owners, n_colluding : int
        Owners of an encrypted run, and how many of them may collude; no owners where one party
        computed in the clear.
    decrypted : str
        What the key holder got to see of steps, in words.

    Notes
    -----
    With the noise multiplier m_i of release i, all releases together are mu-Gaussian
    differentially private with mu^2 = sum 1/m_i^2 (docs/proofs/sensitivity.md, statement 3).
    """

    epsilon: float
    delta: float
    nominal_epsilon: float
    noise_multiplier: float
    squared_mu: float
    sensitivity: float
    n_releases: int
    neighboring: str
    guaranteed: bool
    error_probability: float
    discreteness: float
    n_owners: int = 0
    n_colluding: int = 0
    decrypted: str = EVERY_STEP

    @classmethod
    def of(cls, plan: TrainingPlan, n_releases: int, guaranteed: bool) -> PrivacyGuarantee:
        """The guarantee of a run under a plan.

        Parameters
        ----------
        plan : TrainingPlan
            The run's.
        n_releases : int
            Gaussian releases that were made.
        guaranteed : bool
            Whether the noise came from the operating system.

        Returns
        -------
        guarantee : PrivacyGuarantee
            The plan's, or none if the noise was seeded.
        """
        terms, certificate = plan.guarantee, plan.certificate
        return cls(
            epsilon=terms.epsilon if guaranteed else math.inf,
            delta=terms.delta,
            nominal_epsilon=terms.epsilon,
            noise_multiplier=terms.noise_multiplier,
            squared_mu=plan.squared_mu if guaranteed else math.inf,
            sensitivity=certificate.sensitivity,
            n_releases=n_releases,
            neighboring=certificate.neighboring,
            guaranteed=guaranteed,
            error_probability=certificate.error_probability,
            discreteness=certificate.discreteness,
            n_owners=terms.n_owners,
            n_colluding=terms.n_colluding,
            decrypted=plan.decrypted,
        )

    def epsilon_at(self, delta: float) -> float:
        """Epsilon at another delta; infinite if the noise was seeded.

        Parameters
        ----------
        delta : float
            Of the guarantee, between 0 and 1, and above what encryption errors may cost.

        Returns
        -------
        epsilon : float
            Of the guarantee, an upper bound.

        Raises
        ------
        ValueError
            If no epsilon meets this delta.
        """
        return Composition.of([self]).epsilon_at(delta)

    def parties(self) -> tuple[Party, ...]:
        """Who saw what of the run, what protects a row from them, and how well.

        Returns
        -------
        parties : tuple of Party
            As `skfhe.TrainingPlan.parties` has them; every guarantee is "none" if the noise was
            seeded. Empty where one party computed in the clear.
        """
        cost = self.error_probability + self.discreteness
        owners = self.n_owners, self.n_colluding
        return table(*owners, self.squared_mu, self.delta, cost, self.decrypted)

    def __str__(self) -> str:
        stated = (
            f"({self.epsilon:g}, {self.delta:g})-differential privacy, {self.neighboring}, "
            f"{self.n_releases} releases, noise multiplier {self.noise_multiplier:.4f} per step"
        )
        if self.guaranteed:
            return stated
        return f"no privacy: the noise was seeded (would be epsilon={self.nominal_epsilon:g})"

    def page(self) -> Page:
        """Title and rows (name, value) of the guarantee's card.

        Returns
        -------
        page : list of tuple
            Sections of the card that notebooks show: a title, and rows of a name and a value.
        """
        stated = promise(self.nominal_epsilon, self.delta, self.neighboring)
        rows = [
            ("guarantee", stated if self.guaranteed else str(self)),
            ("noise multiplier", f"{self.noise_multiplier:.4f} per step"),
            ("releases", f"{self.n_releases}, mu = {math.sqrt(self.squared_mu):.4f} together"),
            ("sensitivity", f"{self.sensitivity:.5f} S per step"),
            (
                "out of delta",
                f"{self.error_probability:.2g} for encryption errors, "
                f"{self.discreteness:.2g} for integer noise",
            ),
        ]
        parties = self.parties()
        return [("Privacy", rows), *([views(parties)] if parties else [])]

    def _repr_html_(self) -> str:
        return cards(self.page())
