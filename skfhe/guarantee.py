"""The differential privacy of a fitted model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._html import Page, cards
from .plan import TrainingPlan
from .plan_text import promise, releases
from .privacy import accounting


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
        Noise spread over sensitivity of every release.
    sensitivity : float
        Of a release, in units of the bound S that follows the weights.
    n_releases : int
        Gaussian releases that were made.
    neighboring : str
        "add_remove" (a row against a zero row, n public) or "replace_one".
    guaranteed : bool
        Whether the noise came from the operating system.
    error_probability, discreteness : float
        What encryption errors and integer noise cost of delta (`skfhe.plan.Certificate`).
    """

    epsilon: float
    delta: float
    nominal_epsilon: float
    noise_multiplier: float
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
            epsilon=terms.epsilon if guaranteed else np.inf,
            delta=terms.delta,
            nominal_epsilon=terms.epsilon,
            noise_multiplier=terms.noise_multiplier,
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
            Between 0 and 1, and not so small that encryption errors take all of it.

        Notes
        -----
        The smallest epsilon with delta_Gauss(epsilon) + (1 + e^epsilon) beta + slack <= delta,
        approached from below: each round takes out what the last epsilon costs.

        Raises
        ------
        ValueError
            If no epsilon meets this delta.
        """
        if not self.guaranteed:
            return np.inf
        epsilon = 0.0
        for _ in range(200):
            spare = delta - (1 + np.exp(epsilon)) * self.error_probability - self.discreteness
            if not 0 < spare < 1:
                raise ValueError(
                    f"delta must be below 1 and leave room for the probability "
                    f"{2 * self.error_probability:.2g} or more that encryption errors exceed "
                    f"their bounds, got {delta}."
                )
            previous, epsilon = (
                epsilon,
                accounting.epsilon_at(spare, self.noise_multiplier, self.n_releases),
            )
            if epsilon <= previous * (1 + 1e-9):
                break
        return float(epsilon)

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
