r"""Polynomials that stand in for the activation of a hidden unit, zero at zero.

A constant behind a hidden unit is absorbed by the output's bias, so what a polynomial a replaces
is f(z) - f(0), and a(0) = 0. With t = z / R in [-1, 1] there are two families.

- tanh and logistic are odd about f(0). With the sigmoid s, logistic(z) - 1/2 = s(z) - 1/2 and
  tanh(z) = 2 (s(2z) - 1/2), so the fit of s on radius 2R, doubled, is that of tanh on radius R.
- relu and softplus are z/2 + even: relu(z) = z/2 + |z|/2, whose fit scales with R, and
  softplus(z) - log 2 = z/2 + log cosh(z/2). a(z) = z/2 + E(t), E even; square has E alone.

**Even errors.** E is the minimax polynomial of the even part g, of level L, moved to E(0) = 0.
At the optimum e = E - g has m + 2 alternating extremes +-L in v = z^2, m = degree / 2, and at
most m inside, so t = 0 is one of them: after the move e runs from 0 to 2L or -2L. The linear
parts cancel, so `sup_error` = 2L bounds |a - (f - f(0))|; with the best constant it would be L.
The cell bound of `facts` needs t in [0, 1] alone, where |t| is t and its derivatives vanish. Of
log cosh(Rt/2) the second derivative in t is R^2 / (4 cosh^2(Rt/2)); the third, with
u = tanh(Rt/2), is -R^3 u (1 - u^2) / 4, within R^3 / 10 since u - u^3 <= 2 / 27^(1/2) < 0.4.
"""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial

import numpy as np
from numpy.polynomial import chebyshev

from .facts import (
    MAX_DEGREE,
    Proved,
    checked_degree,
    distance,
    full,
    grid,
    number,
    range_between,
    roots,
    rounding,
    sup_error,
)
from .fitting import even_minimax, minimax

__all__ = ["ActivationPolynomial"]

_EXACT = {  # f(z) - f(0), accurate for z near zero and for z far from it
    "tanh": np.tanh,
    "logistic": lambda z: np.tanh(z / 2) / 2,
    "relu": lambda z: np.maximum(z, 0.0),
    "softplus": lambda z: np.maximum(z, 0.0) + np.log1p(np.expm1(-np.abs(z)) / 2),
    "square": np.square,
}
_ODD = {"tanh": 2, "logistic": 1}  # f(z) - f(0) is q (s(qz) - 1/2)
_BOUNDS = ("max_abs", "max_slope", "max_bend")  # of the derivatives of order 0, 1, 2
_RADII = 1e-6, 500.0  # below, bends are rounding; above, the grid misses the rise of tanh at zero


@dataclass(frozen=True)
class ActivationPolynomial(Proved):
    """A polynomial a for f(z) - f(0) on [-radius, radius], where f is a unit's activation.

    Everything here is public: it depends on no data. Use `fit`; the constructor computes the
    facts from the coefficients, as `skfhe.PolynomialApproximation` does. Call it for a(z); a(0) is
    exactly zero. Outside the interval a diverges and no fact holds. How relu and softplus are
    fitted is in the module's docstring, what bounds errors between grid points in
    docs/proofs/approximation.md, statement 1a.

    Parameters
    ----------
    name : {"tanh", "logistic", "relu", "softplus", "square"}
        The activation f; "square" is the polynomial z^2 itself.
    degree : int
        Odd, 1 to 15, for tanh and logistic; even, 2 to 14, for relu and softplus; 2 for square.
    radius : float
        Half-width R of the interval, from 1e-6 to 500, in units of the pre-activation z.
    coef : tuple of float
        Coefficients of a in T_1, T_3, ..., T_degree of t = z / radius for tanh and logistic; of
        its even part E in T_2, T_4, ..., T_degree for the others. The constant of E follows from
        E(0) = 0, and the name implies the term z/2 (relu, softplus) or none (square).

    Attributes
    ----------
    sup_error : float
        Upper bound of abs(a - (f - f(0))) on the interval; zero for square. For relu and
        softplus, fitted, it is twice what the best added constant would leave (see the module).
    max_abs, max_slope, max_bend : float
        Maxima of abs of a, of da/dz and of d2a/dz2 on the interval, rounded upwards.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """

    name: str
    degree: int
    radius: float
    coef: tuple[float, ...]
    sup_error: float = field(init=False)
    max_abs: float = field(init=False)
    max_slope: float = field(init=False)
    max_bend: float = field(init=False)

    def __post_init__(self) -> None:
        name, degree, radius = _checked(self.name, self.degree, self.radius)
        coef = tuple(number("every entry of coef", c) for c in self.coef)
        terms, limit = (degree + 1) // 2, 2 * max(1.0, radius)  # a limit above those of all fits
        valid = len(coef) == terms and max(map(abs, coef)) <= limit
        what = f"{terms} numbers from -{limit:g} to {limit:g}"
        if name == "square":
            valid, what = coef == (radius * radius / 2,), f"radius * radius / 2 for {name!r}"
        if not valid:
            raise ValueError(f"coef must be {what}, got {coef}; ActivationPolynomial.fit gets it.")
        self._set(name=name, degree=degree, radius=radius, coef=coef)
        self._set(sup_error=self._error_bound())
        for order, bound in enumerate(_BOUNDS):
            self._set(**{bound: float(np.abs(self._range(order, -radius, radius)).max())})

    @classmethod
    def fit(cls, name: str, degree: int, radius: float) -> "ActivationPolynomial":
        """Best fit, for relu and softplus up to a constant; cached.

        Parameters
        ----------
        name : {"tanh", "logistic", "relu", "softplus", "square"}
            The activation.
        degree : int
            As of the class.
        radius : float
            Half-width of the interval, from 1e-6 to 500, in units of the pre-activation z.

        Returns
        -------
        polynomial : ActivationPolynomial
            With its facts.

        Raises
        ------
        ValueError
            If an argument is not as described.
        """
        return _fit(*_checked(name, degree, radius))

    @property
    def odd(self) -> bool:
        """Whether a is odd: for tanh and logistic."""
        return self.name in _ODD

    @property
    def depth(self) -> int:
        """Levels to evaluate a: ceil(log2(degree + 1)) if it is odd, ceil(log2(degree)) if not."""
        return (self.degree if self.odd else self.degree - 1).bit_length()

    @property
    def coefficients(self) -> np.ndarray:
        """Coefficients c_0 = 0, c_1, ..., c_degree of a(z) in powers of z.

        An ndarray of shape (degree + 1,). The change of basis amplifies rounding, up to 6e5 times;
        the facts are those of `coef`.
        """
        monomial = np.zeros(self.degree + 1)
        trimmed = chebyshev.cheb2poly(self._series)
        monomial[1 : len(trimmed)] = trimmed[1:]
        return monomial / np.vander([self.radius], self.degree + 1, increasing=True)[0]

    def __call__(self, z: np.ndarray | float) -> np.ndarray | float:
        """The value a(z); exactly z * z for square.

        Parameters
        ----------
        z : float or ndarray of any shape
            Pre-activations.

        Returns
        -------
        a : float or ndarray of the shape of z
            Values; bounded by the facts inside the interval only.
        """
        if self.name == "square":
            return self.exact(z)
        return self._change(0, z) - self._change(0, 0.0)  # at zero, the difference of equals

    def derivative(self, z: np.ndarray | float) -> np.ndarray | float:
        """The slope da/dz.

        Parameters
        ----------
        z : float or ndarray of any shape
            Pre-activations.

        Returns
        -------
        slope : float or ndarray of the shape of z
            Per unit of z.
        """
        return self._change(1, z)

    def exact(self, z: np.ndarray | float) -> np.ndarray | float:
        """The true f(z) - f(0), inside the interval and outside.

        Parameters
        ----------
        z : float or ndarray of any shape
            Pre-activations.

        Returns
        -------
        f : float or ndarray of the shape of z
            What a stands in for.
        """
        return _EXACT[self.name](np.asarray(z, float))

    def range_on(
        self, low: np.ndarray | float, high: np.ndarray | float
    ) -> tuple[np.ndarray | float, np.ndarray | float]:
        """Smallest and largest value of a on [low, high], rounded outwards.

        Parameters
        ----------
        low, high : float or ndarray of any shape
            Ends, as of `skfhe.PolynomialApproximation.range_on`.

        Returns
        -------
        minimum, maximum : float or ndarray of the broadcast shape
            Bounds of a on each subinterval.

        Raises
        ------
        ValueError
            If an end is out of order, outside the interval or not a number.
        """
        return self._range(0, low, high)

    def slope_range_on(
        self, low: np.ndarray | float, high: np.ndarray | float
    ) -> tuple[np.ndarray | float, np.ndarray | float]:
        """Smallest and largest da/dz on [low, high], rounded outwards.

        Parameters
        ----------
        low, high : float or ndarray of any shape
            Ends, as of `range_on`.

        Returns
        -------
        minimum, maximum : float or ndarray of the broadcast shape
            Bounds of the slope on each subinterval.

        Raises
        ------
        ValueError
            If an end is out of order, outside the interval or not a number.
        """
        return self._range(1, low, high)

    @cached_property
    def _series(self) -> np.ndarray:
        """Chebyshev coefficients of a in t, shape (degree + 1,)."""
        if self.odd:
            return full(self.coef)
        constant = -np.sum(self.coef * (-1.0) ** np.arange(1, self.degree // 2 + 1))
        series = full((constant, *self.coef), 0)[:-1]
        series[1] = 0.0 if self.name == "square" else self.radius / 2
        return series

    @cached_property
    def _critical(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Where a, a' and a'' can be extreme inside the interval, and their values there."""
        slopes = [chebyshev.chebder(self._series, order) for order in (1, 2, 3)]
        points = [self.radius * roots(slope) for slope in slopes]
        return [(z, self._change(order, z)) for order, z in enumerate(points)]

    def _change(self, order: int, z: np.ndarray | float) -> np.ndarray | float:
        """The derivative of an order in z."""
        slope = chebyshev.chebder(self._series, order)
        return chebyshev.chebval(np.asarray(z, float) / self.radius, slope) / self.radius**order

    def _range(self, order: int, low: np.ndarray | float, high: np.ndarray | float) -> tuple:
        change, slack = partial(self._change, order), 2 * self._slack(order)
        return range_between(change, self._critical[order], low, high, self.radius, slack)

    def _slack(self, order: int) -> float:
        return rounding(self._series, order) / self.radius**order

    def _slacks(self) -> dict[str, float]:
        slacks = {bound: self._slack(order) for order, bound in enumerate(_BOUNDS)}
        return {"sup_error": min(slacks["max_abs"], self.sup_error / 2)} | slacks  # square: zero

    def _error_bound(self) -> float:
        if self.name == "square":
            return 0.0
        if self.odd:
            q = _ODD[self.name]
            return q * sup_error(np.array(self.coef) / q, q * self.radius)
        even = distance(self._series[::2], 0, *_even_part(self.name, self.radius))
        return even + 2 * self._slack(0)


def _even_part(name: str, radius: float) -> tuple[np.ndarray, np.ndarray | float, float]:
    """The even part at the grid's t, its second derivative there, and a bound of its third."""
    half = radius * grid(0)[0] / 2
    if name == "relu":
        return half, 0.0, 0.0
    value = np.log1p(2 * np.sinh(half / 2) ** 2)  # log cosh(half), since cosh = 1 + 2 sinh^2
    return value, (radius / np.cosh(half)) ** 2 / 4, radius**3 / 10


def _checked(name: str, degree: int, radius: float) -> tuple[str, int, float]:
    """The three arguments in canonical types, or a ValueError."""
    if not isinstance(name, str) or name not in _EXACT:
        raise ValueError(f"name must be one of {', '.join(map(repr, _EXACT))}, got {name!r}.")
    if name in _ODD:
        highest, why = MAX_DEGREE, f"an even degree adds nothing to {name}, which is odd"
    else:
        highest, why = MAX_DEGREE - 1, f"an odd degree adds nothing to {name}, z/2 + even"
    if name == "square" and degree != 2:
        raise ValueError(f"degree must be 2 for name='square', which is z^2, got {degree!r}.")
    degree, radius = checked_degree(degree, highest, why), number("radius", radius)
    if not _RADII[0] <= radius <= _RADII[1]:
        raise ValueError(
            f"radius must be a finite number from {_RADII[0]:g} to {_RADII[1]:g}, got {radius!r}; "
            f"it bounds the pre-activation of a hidden unit."
        )
    return name, degree, radius


@lru_cache(maxsize=512)
def _fit(name: str, degree: int, radius: float) -> ActivationPolynomial:
    terms = (degree + 1) // 2
    if name == "square":
        coef = np.array([radius * radius / 2])
    elif name in _ODD:
        coef = _ODD[name] * minimax(terms, _ODD[name] * radius)
    else:
        coef = even_minimax(terms, _even_part(name, radius)[0])[1:]
    return ActivationPolynomial(name, degree, radius, tuple(coef.tolist()))
