r"""Odd polynomials that stand in for the logistic sigmoid, with facts proved about each.

Let s(z) = 1 / (1 + exp(-z)) and t = z / R in [-1, 1]. Since s(z) - 1/2 = tanh(z/2) / 2 is odd,
so is every p(z) - 1/2 = sum over odd k <= degree of c_k T_k(t) here, m = (degree + 1) / 2 terms,
and t in [0, 1] is enough. Work is done in t; slopes are divided by R at the end.

**Between grid points.** Let e = p - s be known at neighbouring grid points a < b, h = b - a.
Linear interpolation errs by at most max |e''| h^2 / 8 on [a, b], and no point of the cell is
further than h/2 from an end, so

    max over [a, b] of |e| <= max(|e(a)|, |e(b)|) + (max(|e''(a)|, |e''(b)|) + M h/2) h^2 / 8,

where M bounds |e'''|: the sum of |c_k| T_k'''(1), because |T_k'''| peaks at 1 (Markov), plus
R^3 / 8, because s''' = -(1 - u^2)(1 - 3 u^2) / 8 with u = tanh(z/2). The largest cell bound is
`sup_error`: a true upper bound whose excess falls with the square of the spacing.

**Extremes of p and p'.** With x = T_2(t) we have T_2j(t) = T_j(x): the even dp/dt is a Chebyshev
series g(x) with the same coefficients, of degree at most 7. So p is extreme at roots of g or at
the ends, dp/dt at roots of g' or at x = -1, 1 (t = 0, 1). Roots are eigenvalues of the colleague
matrix (Trefethen, Approximation Theory and Approximation Practice, ch. 18). Clipped real parts
of complex roots are kept: p takes its value there too, so an extra point does no harm, and a
double root split by rounding is not lost. An error in a root enters in second order; dropping
coefficients of g whose sum is below tau moves p by at most tau, its extremes by 2 tau.

**Rounding.** |dp/dt| <= sum k^2 |c_k| and |d2p/dt2| <= sum k^4 |c_k|, so a few eps in t or in a
term move p, or dp/dt, by a few eps times these sums. The slack is 64 eps times the sum. Facts
are rounded outwards by twice the slack and compared up to one slack on loading: a fact computed
on another machine loads, and still holds.
"""

import sys
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from numbers import Integral, Real

import numpy as np
from numpy.polynomial import chebyshev

__all__ = ["PolynomialApproximation"]

_KINDS = ("minimax", "least_squares", "monotone")
_FACTS = ("sup_error", "max_abs", "min_derivative", "max_derivative")
_MAX_DEGREE = 15
_MAX_RADIUS = 1000.0  # beyond, the grid no longer resolves the sigmoid's rise around zero
_CELLS = 4096
_EPS = np.finfo(float).eps


@dataclass(frozen=True)
class PolynomialApproximation:
    """A polynomial p, odd about 1/2, for the logistic sigmoid s on [-radius, radius].

    Everything here is public: it depends on no data. Use :meth:`fit`; the constructor computes
    the facts from the coefficients, so an object cannot carry a fact that is not its own (the
    module's docstring derives them). Outside the interval p diverges and no fact holds.

    Parameters
    ----------
    degree : int
        Odd, from 1 to 15.
    radius : float
        R, above 0 and at most 1000, in units of the margin z.
    kind : {"minimax", "least_squares", "monotone"}
        How the coefficients were chosen; "monotone" is refused if p' is negative somewhere.
    coef : tuple of float, length (degree + 1) / 2
        Coefficients of p - 1/2 in T_1, T_3, ..., T_degree of z / radius, none above 2.

    Attributes
    ----------
    sup_error : float
        Upper bound of max abs(p - s) on the interval.
    max_abs : float
        max abs(p) on the interval, rounded upwards.
    min_derivative, max_derivative : float
        Extremes of dp/dz (per unit of z, not of z / radius) there, rounded outwards.

    Raises
    ------
    ValueError
        If an argument is not as described.
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
        coef = tuple(_number("every entry of coef", c) for c in self.coef)
        terms = (degree + 1) // 2
        # |c_k| <= (4 / pi) max |p - 1/2|, so a larger entry belongs to no use of this class.
        if len(coef) != terms or max(map(abs, coef)) > 2:
            raise ValueError(
                f"coef must be (degree + 1) / 2 = {terms} numbers from -2 to 2, got {coef}; use "
                f"PolynomialApproximation.fit to get coefficients."
            )
        self._set(degree=degree, radius=radius, kind=kind, coef=coef)
        low, high = _slope_range(np.array(coef))
        self._set(
            sup_error=_sup_error(np.array(coef), radius),
            max_abs=float(self.range_on(-radius, radius)[1]),  # see residual_bound
            min_derivative=low / radius,
            max_derivative=high / radius,
        )
        if kind == "monotone" and not self.monotone:
            raise ValueError(
                f"kind='monotone' needs p' >= 0 on the interval, got a slope of "
                f"{self.min_derivative:.3g}; use PolynomialApproximation.fit to get coefficients."
            )

    def _set(self, **values) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)  # the way of a frozen dataclass

    @classmethod
    def fit(cls, degree: int, radius: float, kind: str = "minimax") -> "PolynomialApproximation":
        """Best approximation of a kind; cached. Parameters and errors are those of the class.

        "minimax" has the least sup error, "least_squares" the least L2 error with uniform weight,
        "monotone" the least sup error subject to p' >= 0 on the whole interval.
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
        """c_1, c_3, ..., c_degree with p(z) - 1/2 = sum of c_k z^k, shape ((degree + 1) / 2,).

        The change of basis amplifies rounding by up to (1 + sqrt(2))^degree, 6e5 at degree 15;
        the facts are those of `coef`.
        """
        monomial = np.zeros(self.degree + 1)
        trimmed = chebyshev.cheb2poly(_full(self.coef))
        monomial[: len(trimmed)] = trimmed
        return monomial[1::2] / self.radius ** np.arange(1.0, self.degree + 1, 2)

    def __call__(self, z: np.ndarray | float) -> np.ndarray | float:
        """p(z), of the shape of z."""
        return 0.5 + chebyshev.chebval(np.asarray(z, float) / self.radius, _full(self.coef))

    def derivative(self, z: np.ndarray | float) -> np.ndarray | float:
        """dp/dz at z, of the shape of z."""
        slope = chebyshev.chebder(_full(self.coef))
        return chebyshev.chebval(np.asarray(z, float) / self.radius, slope) / self.radius

    def range_on(
        self, low: np.ndarray | float, high: np.ndarray | float
    ) -> tuple[np.ndarray | float, np.ndarray | float]:
        """Smallest and largest value of p on [low, high], rounded outwards.

        An extreme of p on a subinterval lies at an end or at a critical point inside it.

        Parameters
        ----------
        low, high : float or array
            Ends, -radius <= low <= high <= radius (up to a relative 1e-12, for rounding in
            whoever computed them); they broadcast, one subinterval per entry.

        Returns
        -------
        minimum, maximum : float or array of the broadcast shape

        Raises
        ------
        ValueError
            If an end is out of order, outside the interval or not a number.
        """
        low, high = np.broadcast_arrays(np.asarray(low, float), np.asarray(high, float))
        limit = self.radius * (1 + 1e-12)
        valid = (-limit <= low) & (low <= high) & (high <= limit)
        if not valid.all():
            first = int(np.argmin(valid))
            raise ValueError(
                f"A subinterval must satisfy -{self.radius} <= low <= high <= {self.radius}, got "
                f"[{low.flat[first]}, {high.flat[first]}]; nothing is known of p outside its "
                f"interval: fit one with a larger radius."
            )
        low, high = np.clip((low, high), -self.radius, self.radius)
        points, values = self._critical
        inside = (low[..., None] <= points) & (points <= high[..., None])
        smallest = np.where(inside, values, np.inf).min(axis=-1, initial=np.inf)
        largest = np.where(inside, values, -np.inf).max(axis=-1, initial=-np.inf)
        first, last = self(low), self(high)
        slack = 2 * _value_slack(np.array(self.coef))
        minimum = np.minimum(np.minimum(first, last), smallest) - slack
        return minimum, np.maximum(np.maximum(first, last), largest) + slack

    def residual_bound(self, radius: np.ndarray | float | None = None) -> np.ndarray | float:
        """Bound of abs(p(z) - y) over abs(z) <= radius (default: the whole interval), y in {0, 1}.

        With q = max abs(p - 1/2) the residual is at most q + abs(1/2 - y) = q + 1/2. Since
        p - 1/2 is odd it takes both signs of q, so one label attains the bound, q + 1/2 is max p
        on the symmetric interval, and min p = 1 - max p makes it max abs(p) too. A radius that
        is negative or above that of the approximation raises ValueError.
        """
        if radius is None:
            return self.max_abs
        return self.range_on(-np.asarray(radius, float), radius)[1]

    def to_dict(self) -> dict:
        """JSON-ready dict of all fields; :meth:`from_dict` restores an equal object."""
        names = ("degree", "radius", "kind", "coef", *_FACTS)
        return {name: getattr(self, name) for name in names} | {"coef": list(self.coef)}

    @classmethod
    def from_dict(cls, value: dict) -> "PolynomialApproximation":
        """Restore what :meth:`to_dict` gave, from an untrusted dict, proving its facts again.

        The facts are kept as stored, so that equality survives a machine whose last digits
        differ. A field that is missing, unknown or malformed, or a fact that differs from the
        recomputed one by more than the rounding slack (see the module), raises ValueError.
        """
        names = {"degree", "radius", "kind", "coef", *_FACTS}
        if not isinstance(value, dict) or set(value) != names:
            got = sorted(map(str, value)) if isinstance(value, dict) else type(value).__name__
            raise ValueError(
                f"A stored approximation must be a dict with the fields {sorted(names)}, got "
                f"{got}; write it with to_dict."
            )
        if not isinstance(value["coef"], (list, tuple)):
            raise ValueError(f"coef must be a list of numbers, got {value['coef']!r}.")
        self = cls(value["degree"], value["radius"], value["kind"], tuple(value["coef"]))
        coef = np.array(self.coef)
        slacks = [_value_slack(coef)] * 2 + [_slope_slack(coef) / self.radius] * 2
        for name, slack in zip(_FACTS, slacks, strict=True):
            stored, proved = _number(name, value[name]), getattr(self, name)
            if abs(stored - proved) > slack:
                raise ValueError(
                    f"The stored {name} must be that of the coefficients, {proved!r}, got "
                    f"{stored!r}; the value was altered: fit the approximation again."
                )
            self._set(**{name: stored})
        if self.kind == "monotone" and not self.monotone:
            raise ValueError("The stored min_derivative of kind='monotone' must not be negative.")
        return self

    @cached_property
    def _critical(self) -> tuple[np.ndarray, np.ndarray]:
        """Critical points of p in [-radius, radius], as z, and the values of p there."""
        t = np.sqrt((1 + _roots(_slope_series(np.array(self.coef)))) / 2)
        points = self.radius * np.concatenate([-t, t])
        return points, self(points)


def _checked(degree: int, radius: float, kind: str) -> tuple[int, float, str]:
    """The three arguments in canonical types, or a ValueError."""
    integer = isinstance(degree, Integral) and not isinstance(degree, bool)
    if not (integer and degree % 2 == 1 and 1 <= degree <= _MAX_DEGREE):
        why = "."
        if integer and 1 < degree < _MAX_DEGREE:
            why = ": an even degree adds nothing to an odd function; "
            why += f"use {degree - 1} or {degree + 1}."
        raise ValueError(
            f"degree must be an odd integer from 1 to {_MAX_DEGREE}, got {degree!r}{why}"
        )
    radius = _number("radius", radius)
    if not 0 < radius <= _MAX_RADIUS:
        raise ValueError(
            f"radius must be a finite number above 0 and at most {_MAX_RADIUS:g}, got {radius!r}; "
            f"it bounds the margin, the product of weight norm and row norm."
        )
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, _KINDS))}, got {kind!r}.")
    return int(degree), radius, kind


def _number(name: str, value: float) -> float:
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not abs(value) <= sys.float_info.max:
        raise ValueError(f"{name} must be a finite number, got {value!r}.")
    return float(value)


# Facts ------------------------------------------------------------------------------------------


def _full(coef: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """Chebyshev coefficients with the even zeros put in."""
    series = np.zeros(2 * len(coef))
    series[1::2] = coef
    return series


def _slope_series(coef: np.ndarray) -> np.ndarray:
    """dp/dt as a Chebyshev series in x = T_2(t)."""
    return chebyshev.chebder(_full(coef))[::2]


def _roots(series: np.ndarray) -> np.ndarray:
    """Real parts of the roots of a Chebyshev series, clipped to [-1, 1].

    Trailing coefficients below rounding are dropped first, as they would swamp the matrix.
    """
    trimmed = chebyshev.chebtrim(series, _EPS * np.abs(series).sum())
    return np.clip(chebyshev.chebroots(trimmed).real, -1, 1)


def _bound_at_one(coef: np.ndarray, order: int) -> float:
    """Sum of |c_k| times the derivative of T_k at 1: bounds that derivative of p in t."""
    return float(chebyshev.chebder(_full(np.abs(coef)), order).sum())


def _value_slack(coef: np.ndarray) -> float:
    return 64 * _EPS * (1 + _bound_at_one(coef, 1))


def _slope_slack(coef: np.ndarray) -> float:
    return 64 * _EPS * float(np.abs(coef) @ np.arange(1.0, 2 * len(coef), 2) ** 4)


def _slope_range(coef: np.ndarray) -> tuple[float, float]:
    """Extremes of dp/dt on [-1, 1], rounded outwards."""
    series = _slope_series(coef)
    values = chebyshev.chebval(np.r_[-1, 1, _roots(chebyshev.chebder(series))], series)
    slack = 2 * _slope_slack(coef)
    return float(values.min() - slack), float(values.max() + slack)


@lru_cache(maxsize=1)
def _grid() -> tuple[np.ndarray, ...]:
    """Chebyshev points t of [0, 1]; then T_1, T_3, ..., T_15 there, and two derivatives in t."""
    t = np.sin(np.pi / 2 * np.arange(_CELLS + 1) / _CELLS)
    values = chebyshev.chebvander(t, _MAX_DEGREE)
    changes = [chebyshev.chebder(np.eye(_MAX_DEGREE + 1), order)[:, 1::2] for order in range(3)]
    arrays = (t, *(values[:, : len(change)] @ change for change in changes))
    for array in arrays:
        array.setflags(write=False)
    return arrays


def _sup_error(coef: np.ndarray, radius: float) -> float:
    """Upper bound of |p - s| by the cell bound of the module's docstring."""
    t, value, _, curvature = _grid()
    m = len(coef)
    u = np.tanh(radius * t / 2)
    error = np.abs(value[:, :m] @ coef - u / 2)
    # s'' = -u (1 - u^2) / 4, so e'' in t is p'' + R^2 u (1 - u^2) / 4.
    bend = np.abs(curvature[:, :m] @ coef + radius**2 * u * (1 - u**2) / 4)
    third = _bound_at_one(coef, 3) + radius**3 / 8
    h = np.diff(t)
    excess = (np.maximum(bend[:-1], bend[1:]) + third * h / 2) * h**2 / 8
    return float((np.maximum(error[:-1], error[1:]) + excess).max()) + 2 * _value_slack(coef)


# Fits -------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _fit(degree: int, radius: float, kind: str) -> PolynomialApproximation:
    solve = {"minimax": _minimax, "least_squares": _least_squares, "monotone": _monotone}[kind]
    coef = solve((degree + 1) // 2, radius)
    return PolynomialApproximation(degree, radius, kind, tuple(coef.tolist()))


def _least_squares(m: int, radius: float) -> np.ndarray:
    """Continuous least squares by Gauss-Legendre quadrature.

    Products of odd functions are even, so half the interval suffices; its nodes crowd at zero,
    next to the sigmoid's poles z = +-i pi, and 128 give the coefficients to 1e-11 at radius 1000.
    """
    nodes, weights = np.polynomial.legendre.leggauss(128)
    t, root = (nodes + 1) / 2, np.sqrt(weights)
    basis = chebyshev.chebvander(t, 2 * m)[:, 1::2]
    return np.linalg.lstsq(root[:, None] * basis, root * np.tanh(radius * t / 2) / 2)[0]


def _minimax(m: int, radius: float) -> np.ndarray:
    """Remez exchange on the grid's points in (0, 1] (Cheney, Approximation Theory, ch. 3).

    The odd T_k form a Haar system there, so m + 1 equal errors of alternating sign mark the
    optimum. No step has to choose among alternations, since e = p - s has at most m zeros in
    (0, R]. The logarithmic derivative of the product for cosh (DLMF 4.36.2) gives
    s(z) - 1/2 = z g(z^2), g(v) = 2 sum over j of 1 / ((2j - 1)^2 pi^2 + v), and e / z is a
    polynomial of degree m - 1 in v = z^2 minus g. With m + 1 zeros, Rolle's theorem would give a
    zero of the m-th derivative of g, all of whose terms have the sign of (-1)^m. So the error
    changes sign exactly m times, and the largest error of each stretch is the next reference.
    A linear program's tolerance (1e-9) would spoil small radii; here only rounding does.
    """
    t, table, *_ = _grid()
    basis, target = table[:, :m], np.tanh(radius * t / 2) / 2
    signs = (-1.0) ** np.arange(m + 1)
    # The first reference: extrema of T_(2m+1), in rising order.
    reference = np.rint(_CELLS * (1 - 2 * np.arange(m, -1, -1) / (2 * m + 1))).astype(int)
    for _ in range(50):  # convergence is quadratic: about four rounds
        system = np.column_stack([basis[reference], signs])
        *coef, level = np.linalg.solve(system, target[reference])
        error = basis @ coef - target
        size = np.abs(error)
        if size.max() - abs(level) <= 1e-9 * abs(level) + 4 * _EPS:
            break
        positive = error[1:] > 0  # the error at t = 0 is zero
        starts = 1 + np.flatnonzero(np.diff(positive, prepend=not positive[0]))
        if len(starts) != m + 1:  # the errors have sunk into rounding
            break
        ends = [*starts[1:], _CELLS + 1]
        reference = np.array([a + size[a:b].argmax() for a, b in zip(starts, ends, strict=True)])
    return np.array(coef)


def _monotone(m: int, radius: float) -> np.ndarray:
    """Least sup error subject to p' >= 0: a semi-infinite linear program by exchange.

    If the minimax polynomial is monotone it is the answer. Otherwise solve the program on few
    grid points, add the local extremes that violate it, and repeat (Hettich and Kortanek, SIAM
    Review 35, 1993, sec. 7). Fewer constraints make the level a lower bound of the optimum, so
    stopping at violations below `tolerance` is optimal up to about that. It ends, since each
    round adds a point of a finite grid. For degrees up to 15 the error here is above 5e-5, far
    above the solver's tolerance: a smaller one leaves p' close to s' > 0.

    What is left of a dip, between grid points or below tolerance, is repaired exactly: adding
    delta T_1 raises dp/dt by delta everywhere and the error by at most delta.
    """
    from scipy.optimize import linprog

    coef = _minimax(m, radius)
    if _slope_range(coef)[0] >= 0:
        return coef
    t, value, slope, _ = _grid()
    value, slope, target = value[:, :m], slope[:, :m], np.tanh(radius * t / 2) / 2
    at_value = np.arange(_CELLS + 1) % (_CELLS // 64) == 0
    at_slope = at_value.copy()
    while True:
        above = np.column_stack([value, -np.ones_like(t)])[at_value]
        below = np.column_stack([-value, -np.ones_like(t)])[at_value]
        falling = np.column_stack([-slope, np.zeros_like(t)])[at_slope]
        result = linprog(
            np.eye(m + 1)[m],
            A_ub=np.vstack([above, below, falling]),
            b_ub=np.r_[target[at_value], -target[at_value], np.zeros(len(falling))],
            bounds=(None, None),
            method="highs-ds",
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        if not result.success:
            raise RuntimeError(
                f"No monotone approximation of degree {2 * m - 1} on radius {radius} was found "
                f"({result.message}); use kind='minimax' or another radius."
            )
        coef, level = result.x[:m], result.x[m]
        tolerance = 1e-5 * level
        new_value = _peaks(np.abs(value @ coef - target), level + tolerance) & ~at_value
        new_slope = _peaks(-(slope @ coef), tolerance) & ~at_slope
        if not (new_value.any() or new_slope.any()):
            break
        at_value |= new_value
        at_slope |= new_slope
    coef[0] += 2 * max(0.0, -_slope_range(coef)[0])  # twice, for the rounding of the sum
    return coef


def _peaks(values: np.ndarray, above: float) -> np.ndarray:
    """Mask of the local maxima, ends included, that are above a threshold."""
    padded = np.r_[-np.inf, values, -np.inf]
    return (values >= padded[:-2]) & (values >= padded[2:]) & (values > above)
