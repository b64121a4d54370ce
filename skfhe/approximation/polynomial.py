"""Odd polynomials that stand in for the logistic sigmoid, with facts proved about each."""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.polynomial import chebyshev

from .facts import (
    MAX_DEGREE,
    Proved,
    checked_degree,
    full,
    number,
    range_between,
    roots,
    slope_range,
    slope_series,
    slope_slack,
    sup_error,
    value_slack,
)
from .fitting import least_squares, minimax, monotone

__all__ = ["PolynomialApproximation"]

_SOLVERS = {"minimax": minimax, "least_squares": least_squares, "monotone": monotone}
_MAX_COEF = 250.0
_MAX_RADIUS = 1000.0  # beyond, the grid no longer resolves the sigmoid's rise around zero


@dataclass(frozen=True)
class PolynomialApproximation(Proved):
    """A polynomial p, odd about 1/2, for the logistic sigmoid s on [-radius, radius].

    Everything here is public: it depends on no data. Use `fit`; the constructor computes the
    facts from the coefficients, so an object cannot carry a fact that is not its own
    (docs/proofs/approximation.md, statements 1 and 1a, derives them). Call it for p(z). Outside
    the interval p diverges and no fact holds.

    Parameters
    ----------
    degree : int
        Degree of p, odd, from 1 to 15.
    radius : float
        Half-width R of the interval, above 0 and at most 1000, in units of the margin z.
    kind : {"minimax", "least_squares", "monotone"}
        How the coefficients were chosen; "monotone" is refused if p' is negative somewhere.
    coef : tuple of float
        The (degree + 1) / 2 coefficients of p - 1/2 in T_1, T_3, ..., T_degree of z / radius, none
        above 250.

    Attributes
    ----------
    sup_error : float
        Upper bound of abs(p - s) on the interval.
    max_abs : float
        Maximum of abs(p) on the interval, rounded upwards.
    min_derivative, max_derivative : float
        Extremes of dp/dz (per unit of z, not of z / radius) there, rounded outwards.

    Raises
    ------
    ValueError
        If an argument is not as described.

    Examples
    --------
    >>> from skfhe import PolynomialApproximation
    >>> p = PolynomialApproximation.fit(degree=5, radius=6.0)
    >>> float(p(0.0)), p.depth
    (0.5, 3)
    >>> f"{p.sup_error:.3f}"
    '0.020'
    """

    degree: int
    radius: float
    kind: str
    coef: tuple[float, ...]
    sup_error: float = field(init=False)
    max_abs: float = field(init=False)
    min_derivative: float = field(init=False)
    max_derivative: float = field(init=False)

    def __post_init__(self) -> None:
        degree, radius, kind = _checked(self.degree, self.radius, self.kind)
        coef = tuple(number("every entry of coef", c) for c in self.coef)
        terms = (degree + 1) // 2
        # |c_k| <= (4 / pi) max |p - 1/2|, and a line of slope 1/4 is at most 1/4 of the radius.
        if len(coef) != terms or max(map(abs, coef)) > _MAX_COEF:
            raise ValueError(
                f"coef must be (degree + 1) / 2 = {terms} numbers from -{_MAX_COEF:g} to "
                f"{_MAX_COEF:g}, got {coef}; use PolynomialApproximation.fit to get coefficients."
            )
        self._set(degree=degree, radius=radius, kind=kind, coef=coef)
        low, high = slope_range(np.array(coef))
        self._set(
            sup_error=sup_error(np.array(coef), radius),
            max_abs=float(self.range_on(-radius, radius)[1]),  # see residual_bound
            min_derivative=low / radius,
            max_derivative=high / radius,
        )
        if kind == "monotone" and not self.monotone:
            raise ValueError(
                f"kind='monotone' needs p' >= 0 on the interval, got a slope of "
                f"{self.min_derivative:.3g}; use PolynomialApproximation.fit to get coefficients."
            )

    @classmethod
    def fit(cls, degree: int, radius: float, kind: str = "minimax") -> "PolynomialApproximation":
        """Best approximation of a kind; cached.

        Parameters
        ----------
        degree : int
            Degree of p, odd, from 1 to 15.
        radius : float
            Half-width of the interval, above 0 and at most 1000, in units of the margin z.
        kind : {"minimax", "least_squares", "monotone"}, default="minimax"
            "minimax" has the least sup error, "least_squares" the least L2 error with uniform
            weight, "monotone" the least sup error subject to p' >= 0 on the whole interval.

        Returns
        -------
        approximation : PolynomialApproximation
            With its facts.

        Raises
        ------
        ValueError
            If an argument is not as described.
        """
        return _fit(*_checked(degree, radius, kind))

    @property
    def monotone(self) -> bool:
        """Whether p' >= 0 on the interval is proved (`min_derivative` is rounded downwards)."""
        return self.min_derivative >= 0.0

    @property
    def depth(self) -> int:
        """Multiplicative depth ceil(log2(degree + 1)): the degree's length in bits."""
        return self.degree.bit_length()

    @property
    def odd_coefficients(self) -> np.ndarray:
        """Coefficients c_1, c_3, ..., c_degree of p(z) - 1/2 in powers of z.

        An ndarray of shape ((degree + 1) / 2,). The change of basis amplifies rounding by up to
        (1 + sqrt(2))^degree, 6e5 at degree 15; the facts are those of `coef`.
        """
        monomial = np.zeros(self.degree + 1)
        trimmed = chebyshev.cheb2poly(full(self.coef))
        monomial[: len(trimmed)] = trimmed
        return monomial[1::2] / self.radius ** np.arange(1.0, self.degree + 1, 2)

    def __call__(self, z: np.ndarray | float) -> np.ndarray | float:
        """The value p(z).

        Parameters
        ----------
        z : float or ndarray of any shape
            Margins.

        Returns
        -------
        p : float or ndarray of the shape of z
            Values; bounded by the facts inside the interval only.
        """
        return 0.5 + chebyshev.chebval(np.asarray(z, float) / self.radius, full(self.coef))

    def derivative(self, z: np.ndarray | float) -> np.ndarray | float:
        """The slope dp/dz.

        Parameters
        ----------
        z : float or ndarray of any shape
            Margins.

        Returns
        -------
        slope : float or ndarray of the shape of z
            Per unit of z.
        """
        slope = chebyshev.chebder(full(self.coef))
        return chebyshev.chebval(np.asarray(z, float) / self.radius, slope) / self.radius

    def range_on(
        self, low: np.ndarray | float, high: np.ndarray | float
    ) -> tuple[np.ndarray | float, np.ndarray | float]:
        """Smallest and largest value of p on [low, high], rounded outwards.

        Parameters
        ----------
        low, high : float or ndarray of any shape
            Ends, -radius <= low <= high <= radius (up to a relative 1e-12, for rounding in
            whoever computed them); they broadcast, one subinterval per entry.

        Returns
        -------
        minimum, maximum : float or ndarray of the broadcast shape
            Bounds of p on each subinterval (docs/proofs/approximation.md, statement 1a).

        Raises
        ------
        ValueError
            If an end is out of order, outside the interval or not a number.
        """
        slack = 2 * value_slack(np.array(self.coef))
        return range_between(self, self._critical, low, high, self.radius, slack)

    def residual_bound(self, radius: np.ndarray | float | None = None) -> np.ndarray | float:
        """Bound of the residual abs(p(z) - y) over abs(z) <= radius, for y in {0, 1}.

        With q = max abs(p - 1/2) the residual is at most q + abs(1/2 - y) = q + 1/2. Since
        p - 1/2 is odd it takes both signs of q, so one label attains the bound, q + 1/2 is max p
        on the symmetric interval, and min p = 1 - max p makes it max abs(p) too
        (docs/proofs/approximation.md, statement 1).

        Parameters
        ----------
        radius : float or ndarray of any shape, optional
            Bounds of the margin z; by default the whole interval.

        Returns
        -------
        bound : float or ndarray of the shape of radius
            At least 1/2.

        Raises
        ------
        ValueError
            If a radius is negative or above that of the approximation.
        """
        if radius is None:
            return self.max_abs
        return self.range_on(-np.asarray(radius, float), radius)[1]

    @classmethod
    def from_dict(cls, value: dict) -> "PolynomialApproximation":
        """Restore what `to_dict` gave, proving its facts again.

        Parameters
        ----------
        value : dict
            May come from who is not trusted.

        Returns
        -------
        approximation : PolynomialApproximation
            Equal to the one that was stored.

        Raises
        ------
        ValueError
            If a field is missing, unknown or malformed, a fact is not that of the coefficients up
            to rounding, or a slope of kind "monotone" is negative.
        """
        self = super().from_dict(value)
        if self.kind == "monotone" and not self.monotone:
            raise ValueError("The stored min_derivative of kind='monotone' must not be negative.")
        return self

    def _slacks(self) -> dict[str, float]:
        coef = np.array(self.coef)
        value, slope = value_slack(coef), slope_slack(coef) / self.radius
        return {
            "sup_error": value,
            "max_abs": value,
            "min_derivative": slope,
            "max_derivative": slope,
        }

    @cached_property
    def _critical(self) -> tuple[np.ndarray, np.ndarray]:
        """Critical points of p in [-radius, radius], as z, and the values of p there."""
        t = np.sqrt((1 + roots(slope_series(np.array(self.coef)))) / 2)
        points = self.radius * np.concatenate([-t, t])
        return points, self(points)


def _checked(degree: int, radius: float, kind: str) -> tuple[int, float, str]:
    """The three arguments in canonical types, or a ValueError."""
    degree = checked_degree(degree, MAX_DEGREE, "an even degree adds nothing to an odd function")
    radius = number("radius", radius)
    if not 0 < radius <= _MAX_RADIUS:
        raise ValueError(
            f"radius must be a finite number above 0 and at most {_MAX_RADIUS:g}, got {radius!r}; "
            f"it bounds the margin, the product of weight norm and row norm."
        )
    if not isinstance(kind, str) or kind not in _SOLVERS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, _SOLVERS))}, got {kind!r}.")
    return degree, radius, kind


@lru_cache(maxsize=512)
def _fit(degree: int, radius: float, kind: str) -> PolynomialApproximation:
    coef = _SOLVERS[kind]((degree + 1) // 2, radius)
    return PolynomialApproximation(degree, radius, kind, tuple(coef.tolist()))
