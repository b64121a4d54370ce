"""What several fits cost together, each of which may depend on all earlier ones.

Every mechanism of this package is a number of Gaussian releases, plus a small probability that its
bound on encryption errors fails, plus what integer noise costs over continuous noise. So their
composition needs three sums only:

- **mu^2 = sum 1 / m_i^2** over releases, m_i the noise multiplier. Gaussian releases compose to
  one Gaussian release, also when each is chosen after the earlier ones have been seen, as long as
  a limit on the sum was fixed in advance (A. Smith, A. Thakurta, "Fully adaptive composition for
  Gaussian differential privacy", arXiv 2210.17520; A. Koskela, M. Tobaben, A. Honkela, "Individual
  privacy accounting with Gaussian differential privacy", arXiv 2209.15596).
- **beta = sum beta_i.** Let `bad` be the event that some release of a pair of neighbours differs
  by more than its sensitivity. It is a function of the outputs and of the encryption's randomness
  and keys, which have the same law for both neighbours. Replace the releases by data-independent
  ones wherever they would be bad: what results is Gaussian for any fixed randomness, and agrees
  with the truth wherever `bad` does not hold, for either neighbour. So

      P[M(D) in A] <= P[M(D) in A, not bad] + beta <= e^epsilon P[M(D') in A] + delta' + beta,

  and beta is paid once, without a factor e^epsilon.
- **s = sum s_i** of the slack for integer noise. One mechanism's is expm1(k) + expm1(2k) >= 3k for
  its k (`skfhe.privacy.accounting.discreteness`); several have the sum of all k, at most s/3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from . import accounting


class Releases(Protocol):
    """What composition needs to know of a mechanism.

    `squared_mu` is the sum of 1/m^2 over its releases; infinite if the noise was seeded.
    """

    @property
    def squared_mu(self) -> float: ...
    @property
    def n_releases(self) -> int: ...
    @property
    def error_probability(self) -> float: ...
    @property
    def discreteness(self) -> float: ...


@dataclass(frozen=True)
class Composition:
    """Several mechanisms together; all of it public.

    They add up, and are multiplied by how often they run. Why three sums are enough is in the
    module's docstring and in docs/proofs/accounting.md, statements 7 and 8.

    Attributes
    ----------
    squared_mu : float
        Sum over all releases of one over the squared noise multiplier; infinite if some noise
        was seeded.
    error_probability : float
        Sum of the probabilities that encryption errors exceed their bounds.
    discreteness : float
        Sum of what integer noise costs each mechanism alone.
    """

    squared_mu: float = 0.0
    error_probability: float = 0.0
    discreteness: float = 0.0

    @classmethod
    def of(cls, mechanisms: Iterable[Releases]) -> Composition:
        """Compose mechanisms; those without a release cost nothing.

        Parameters
        ----------
        mechanisms : iterable of objects with the figures of `Releases`
            Entries of a ledger, guarantees of fitted models or mechanisms.

        Returns
        -------
        composition : Composition
            The three sums.
        """
        made = [one for one in mechanisms if one.n_releases]
        return cls(
            squared_mu=math.fsum(one.squared_mu for one in made),
            error_probability=math.fsum(one.error_probability for one in made),
            discreteness=math.fsum(one.discreteness for one in made),
        )

    def __add__(self, other: Composition) -> Composition:
        return Composition(
            self.squared_mu + other.squared_mu,
            self.error_probability + other.error_probability,
            self.discreteness + other.discreteness,
        )

    def __mul__(self, times: int) -> Composition:
        """The same mechanisms, so many times."""
        return Composition(
            self.squared_mu * times, self.error_probability * times, self.discreteness * times
        )

    @property
    def cost_in_delta(self) -> float:
        """What is added to the delta of the Gaussian releases, at any epsilon."""
        k = self.discreteness / 3
        return self.error_probability + math.expm1(k) + math.expm1(2 * k)

    def epsilon_at(self, delta: float) -> float:
        """Epsilon at a delta: zero if nothing was released, infinite for seeded noise.

        Parameters
        ----------
        delta : float
            Of the guarantee, between 0 and 1.

        Returns
        -------
        epsilon : float
            Of the guarantee, an upper bound.

        Raises
        ------
        ValueError
            If delta is out of range or not above what encryption errors may cost.
        """
        if not self.squared_mu:
            return 0.0
        if math.isinf(self.squared_mu):
            return math.inf
        spare = delta - self.cost_in_delta
        if not 0 < spare < 1:
            raise ValueError(
                f"delta must be below 1 and above the probability {self.cost_in_delta:.2g} that "
                f"encryption errors exceed their bounds, got {delta}."
            )
        return accounting.epsilon_at(spare, 1 / math.sqrt(self.squared_mu), 1)

    def delta_at(self, epsilon: float) -> float:
        """Delta at an epsilon; 1 for seeded noise.

        Parameters
        ----------
        epsilon : float
            Of the guarantee, positive.

        Returns
        -------
        delta : float
            Of the guarantee, an upper bound; zero if nothing was released.
        """
        if not self.squared_mu:
            return 0.0
        if math.isinf(self.squared_mu):
            return 1.0
        gaussian = accounting.delta_at(epsilon, 1 / math.sqrt(self.squared_mu), 1)
        return min(1.0, gaussian + self.cost_in_delta)
