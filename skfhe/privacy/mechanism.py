"""Release of a few real numbers, in the clear, with discrete Gaussian noise."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import accounting
from .ledger import PrivacyLedger
from .noise import MAX_SIGMA, RandomBytes, discrete_gaussian

# The grid has 2^19 to 2^20 units to a sensitivity.
_GRID_BITS = 20
# Integers up to here, and their sum with any noise that ever occurs, are float64 exactly.
_MAX_UNITS = 2.0**52
# Below, nothing but noise is left of a sum; beyond, a guarantee says nothing.
_LEAST_EPSILON, _LARGEST_EPSILON = 1e-6, 100.0


@dataclass(frozen=True)
class GaussianMechanism:
    """Noise for one release of a vector: calibrated, not yet drawn. All of it is public.

    Attributes
    ----------
    n_values : int
        Coordinates of the vector.
    exponent : int
        One unit of the integer grid is ``2**exponent``.
    sensitivity : float
        L2 sensitivity of the vector after rounding to the grid, in its own units.
    sigma_units : int
        Spread of the discrete Gaussian noise, in units of the grid.
    noise_multiplier : float
        Spread over sensitivity, as the accountant may take it.
    discreteness : float
        What integer noise costs of delta.
    n_releases : int
        One.
    error_probability : float
        Zero: nothing is encrypted.

    Notes
    -----
    **Rounding.** Let D and D' be neighbours, v and v' their exact vectors with
    ``|v - v'| <= S``, and u the unit. Both are rounded to the nearest multiples of u, every
    coordinate by at most u/2, so coordinates of ``(v - v')`` move by at most u, and

        |round(v) - round(v')| <= S + sqrt(n_values) u.

    u is a power of two, so scaling and rounding are exact in floating point; nothing else is done
    to the values before the noise.

    **Noise.** Integers plus exact discrete Gaussian noise of spread s units are as private as
    continuous Gaussian noise with multiplier ``sqrt(s^2 - 16) u / sensitivity``, up to
    `discreteness` of delta (docs/proofs/errors.md, statement 5a). s is the least integer, plus one
    for the roundings of this computation, for which that is at least the multiplier that
    `accounting.calibrate` gives for (epsilon, (1 - DELTA_SHARE) delta) and one release. What
    follows, conversion to floating point included, is post-processing.
    """

    n_values: int
    exponent: int
    sensitivity: float
    sigma_units: int
    noise_multiplier: float
    discreteness: float
    n_releases: int = 1
    error_probability: float = 0.0

    @classmethod
    def calibrate(
        cls, n_values: int, sensitivity: float, epsilon: float, delta: float
    ) -> GaussianMechanism:
        """Find the grid and the noise for a guarantee.

        Parameters
        ----------
        n_values : int
            Coordinates of the vector, at least 1.
        sensitivity : float
            Bound on the L2 distance of the vectors of neighbours, positive and finite.
        epsilon, delta : float
            The guarantee: epsilon from 1e-6 to 100, delta between 0 and 1.

        Returns
        -------
        mechanism : GaussianMechanism
            With the least noise that meets it.

        Raises
        ------
        ValueError
            If a value is out of range, or the noise wider than can be drawn.
        """
        if not 1e-100 < sensitivity < 1e100:
            raise ValueError(f"sensitivity must be between 1e-100 and 1e100, got {sensitivity!r}.")
        if not _LEAST_EPSILON <= epsilon <= _LARGEST_EPSILON:
            raise ValueError(
                f"epsilon must be between {_LEAST_EPSILON:g} and {_LARGEST_EPSILON:g}, got "
                f"{epsilon!r}."
            )
        if not 0 < delta < 1:
            raise ValueError(f"delta must be between 0 and 1, both excluded, got {delta!r}.")
        exponent = math.frexp(sensitivity)[1] - _GRID_BITS
        units = math.ldexp(sensitivity, -exponent) + math.sqrt(n_values)
        multiplier = accounting.calibrate(epsilon, (1 - accounting.DELTA_SHARE) * delta, 1)
        sigma_units = math.ceil(math.hypot(multiplier * units, 4.0)) + 1
        if sigma_units > MAX_SIGMA:
            raise ValueError(
                f"epsilon={epsilon:g} with delta={delta:g} asks for noise {multiplier:.3g} times "
                "the sensitivity, more than can be drawn; use a larger epsilon or delta."
            )
        shrink, slack = accounting.discreteness(sigma_units, n_values, 1)
        return cls(
            n_values=int(n_values),
            exponent=exponent,
            sensitivity=math.ldexp(units, exponent),
            sigma_units=sigma_units,
            noise_multiplier=sigma_units / units * shrink,
            discreteness=slack,
        )

    @property
    def squared_mu(self) -> float:
        """One over the squared noise multiplier."""
        return 1 / self.noise_multiplier**2

    @property
    def spread(self) -> float:
        """Standard deviation of the noise, in the values' own units."""
        return math.ldexp(self.sigma_units, self.exponent)

    def release(
        self,
        values: ArrayLike,
        *,
        mechanism: str,
        neighboring: str,
        ledger: PrivacyLedger | None = None,
        random_bytes: RandomBytes = os.urandom,
    ) -> NDArray[np.float64]:
        """Pay, then add noise.

        Parameters
        ----------
        values : array-like of shape (n_values,)
            Secret. Their computation must have the stated sensitivity as it is done, floating
            point included.
        mechanism : str
            What the ledger calls the release.
        neighboring : {"add_remove", "replace_one"}
            The relation that the sensitivity refers to.
        ledger : PrivacyLedger, default=None
            Debited before any noised value exists.
        random_bytes : callable, default=os.urandom
            Source of the noise's randomness. Any other voids the guarantee, and the ledger is
            then debited without limit.

        Returns
        -------
        released : ndarray of shape (n_values,)
            Multiples of the grid's unit. Public.

        Raises
        ------
        ValueError
            If there are not `n_values` values, or one is NaN, infinite or too large for the
            grid. Nothing is debited then.
        BudgetExceeded
            If the ledger does not pay.
        """
        values = np.asarray(values, dtype=np.float64)
        if values.shape != (self.n_values,):
            raise ValueError(f"values must have shape ({self.n_values},), got {values.shape}.")
        with np.errstate(over="ignore"):
            units = np.rint(np.ldexp(values, -self.exponent))
        if not (np.abs(units) <= _MAX_UNITS).all():
            raise ValueError(
                f"values must be finite and at most {math.ldexp(_MAX_UNITS, self.exponent):.3g} "
                "in size, 2^32 times their sensitivity; nothing was released."
            )
        if ledger is not None:
            ledger.debit(
                mechanism, self, neighboring=neighboring, seeded=random_bytes is not os.urandom
            )
        noise = discrete_gaussian(self.sigma_units, self.n_values, random_bytes)
        return np.ldexp((units.astype(np.int64) + noise).astype(np.float64), self.exponent)
