"""What a fitted model promises."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._html import Page, cards
from ..plan import TrainingPlan
from ..plan_text import promise, releases
from .composition import Composition


@dataclass(frozen=True)
class PrivacyGuarantee:
    """What the fitted model's privacy rests on.

    Attributes
    ----------
    epsilon, delta : float
        The guarantee for what was really done: infinite epsilon if the noise was seeded.
    nominal_epsilon : float
        The epsilon that unseeded noise gives.
    noise_multiplier : float
        Noise spread over sensitivity of every gradient release.
    squared_mu : float
        Sum over all releases of one over the squared noise multiplier.
    sensitivity : float
        Of a release, in units of the bound S that follows the weights.
    n_releases : int
        Gaussian releases that were made, those that prepare the rows included.
    neighboring : str
        "add_remove" (a row against a zero row, n public) or "replace_one".
    guaranteed : bool
        Whether the noise came from the operating system.
    error_probability, discreteness : float
        What encryption errors and integer noise cost of delta (`skfhe.plan.Certificate`).

    Notes
    -----
    With the noise multiplier m_i of release i, all releases together are mu-Gaussian
    differentially private with mu^2 = sum 1/m_i^2 (docs/mathematics.md, statement 3).
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

    @classmethod
    def of(cls, plan: TrainingPlan, n_releases: int, guaranteed: bool) -> PrivacyGuarantee:
        """The guarantee of a run under a plan."""
        terms, certificate = plan.guarantee, plan.certificate
        return cls(
            epsilon=terms.epsilon if guaranteed else math.inf,
            delta=terms.delta,
            nominal_epsilon=terms.epsilon,
            noise_multiplier=terms.noise_multiplier,
            squared_mu=plan.squared_mu,
            sensitivity=certificate.sensitivity,
            n_releases=n_releases,
            neighboring=certificate.neighboring,
            guaranteed=guaranteed,
            error_probability=certificate.error_probability,
            discreteness=certificate.discreteness,
        )

    def epsilon_at(self, delta: float) -> float:
        """Epsilon at another delta; infinite if the noise was seeded.

        Parameters
        ----------
        delta : float
            Between 0 and 1, and above what encryption errors may cost.

        Raises
        ------
        ValueError
            If no epsilon meets this delta.
        """
        return Composition.of([self]).epsilon_at(delta) if self.guaranteed else math.inf

    def __str__(self) -> str:
        stated = (
            f"({self.epsilon:g}, {self.delta:g})-differential privacy, {self.neighboring}, "
            f"{self.n_releases} releases with noise multiplier {self.noise_multiplier:.4f}"
        )
        if self.guaranteed:
            return stated
        return f"no privacy: the noise was seeded (would be epsilon={self.nominal_epsilon:g})"

    def page(self) -> Page:
        """Title and rows (name, value) of the guarantee's card."""
        stated = promise(self.nominal_epsilon, self.delta, self.neighboring)
        rows = [
            ("guarantee", stated if self.guaranteed else str(self)),
            ("noise multiplier", releases(self.noise_multiplier, self.n_releases)),
            ("sensitivity", f"{self.sensitivity:.5f} S per release"),
            (
                "out of delta",
                f"{self.error_probability:.2g} for encryption errors, "
                f"{self.discreteness:.2g} for integer noise",
            ),
        ]
        return [("Privacy", rows)]

    def _repr_html_(self) -> str:
        return cards(self.page())
