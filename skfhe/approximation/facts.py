r"""Proved facts about polynomials that stand in for a smooth function, and who carries them.

Let s(z) = 1 / (1 + exp(-z)) and t = z / R in [-1, 1]. Since s(z) - 1/2 = tanh(z/2) / 2 is odd,
so is every p(z) - 1/2 = sum over odd k <= degree of c_k T_k(t) here, m = (degree + 1) / 2 terms,
and t in [0, 1] is enough. Work is done in t; slopes are divided by R at the end.

**Between grid points.** Let e = p - s be known at neighbouring grid points a < b, h = b - a.
Linear interpolation errs by at most max |e''| h^2 / 8 on [a, b], and no point of the cell is
further than h/2 from an end, so

    max over [a, b] of |e| <= max(|e(a)|, |e(b)|) + (max(|e''(a)|, |e''(b)|) + M h/2) h^2 / 8,

where M bounds |e'''|: the sum of |c_k| T_k'''(1), because |T_k'''| peaks at 1 (Markov), plus
R^3 / 8, because s''' = -(1 - u^2)(1 - 3 u^2) / 8 with u = tanh(z/2). The largest cell bound is
`sup_error`: a true upper bound whose excess falls with the square of the spacing. Even
polynomials against even functions need no more than t >= 0 either, where |t| is smooth.

**Extremes of p and p'.** With x = T_2(t) we have T_2j(t) = T_j(x): the even dp/dt is a Chebyshev
series g(x) with the same coefficients, of degree at most 7. So p is extreme at roots of g or at
the ends, dp/dt at roots of g' or at x = -1, 1 (t = 0, 1). Roots are eigenvalues of the colleague
matrix (Trefethen, Approximation Theory and Approximation Practice, ch. 18). Clipped real parts
of complex roots are kept: p takes its value there too, so an extra point does no harm, and a
double root split by rounding is not lost. An error in a root enters in second order; dropping
coefficients of g whose sum is below tau moves p by at most tau, its extremes by 2 tau. A
polynomial that is neither odd nor even takes its roots in t itself, for the same reasons.

**Rounding.** The n-th derivative of T_k in t is at most k^(2n), so a few eps in t or in a term
move that of p by a few eps times the sum of k^(2n + 2) |c_k|. The slack is 64 eps times the sum.
Facts are rounded outwards by twice the slack and compared up to one slack on loading: a fact
computed on another machine loads, and still holds.
"""

import sys
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from numbers import Integral, Real
from typing import TypeVar

import numpy as np
from numpy.polynomial import chebyshev

MAX_DEGREE = 15
CELLS = 4096
EPS = np.finfo(float).eps

T = TypeVar("T", bound="Proved")


class Proved:
    """Base of frozen dataclasses: the fields that `__init__` does not take are proved facts."""

    def _set(self, **values) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)  # the way of a frozen dataclass

    def _slacks(self) -> dict[str, float]:
        """By how much each fact may differ from a stored one, see the module."""
        raise NotImplementedError

    def to_dict(self) -> dict:
        """Give all fields as a dict that JSON can hold; `from_dict` restores an equal object.

        Returns
        -------
        value : dict
            Arguments and facts by name; ``coef`` is a list.
        """
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"coef": list(self.coef)}

    @classmethod
    def from_dict(cls: type[T], value: dict) -> T:
        """Restore what `to_dict` gave, proving its facts again.

        The facts are kept as stored, so that equality survives a machine whose last digits
        differ.

        Parameters
        ----------
        value : dict
            May come from who is not trusted.

        Returns
        -------
        polynomial : object of this class
            Equal to the one that was stored.

        Raises
        ------
        ValueError
            If a field is missing, unknown or malformed, or a fact differs from the recomputed one
            by more than the rounding slack (see the module).
        """
        names = {f.name for f in fields(cls)}
        if not isinstance(value, dict) or set(value) != names:
            got = sorted(map(str, value)) if isinstance(value, dict) else type(value).__name__
            raise ValueError(
                f"A stored approximation must be a dict with the fields {sorted(names)}, got "
                f"{got}; write it with to_dict."
            )
        if not isinstance(value["coef"], (list, tuple)):
            raise ValueError(f"coef must be a list of numbers, got {value['coef']!r}.")
        given = {f.name: value[f.name] for f in fields(cls) if f.init}
        self = cls(**given | {"coef": tuple(value["coef"])})
        for name, slack in self._slacks().items():
            stored, proved = number(name, value[name]), getattr(self, name)
            if abs(stored - proved) > slack:
                raise ValueError(
                    f"The stored {name} must be that of the coefficients, {proved!r}, got "
                    f"{stored!r}; the value was altered: fit the approximation again."
                )
            self._set(**{name: stored})
        return self


def number(name: str, value: float) -> float:
    """A finite real number as a float, or a ValueError."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not abs(value) <= sys.float_info.max:
        raise ValueError(f"{name} must be a finite number, got {value!r}.")
    return float(value)


def checked_degree(degree: int, highest: int, why: str) -> int:
    """A degree of the parity of the highest one, or a ValueError that says why no other."""
    integer = isinstance(degree, Integral) and not isinstance(degree, bool)
    parity, lowest = ("an odd", 1) if highest % 2 else ("an even", 2)
    if integer and degree in range(lowest, highest + 1, 2):
        return int(degree)
    hint = "."
    if integer and lowest < degree < highest:
        hint = f": {why}; use {degree - 1} or {degree + 1}."
    raise ValueError(
        f"degree must be {parity} integer from {lowest} to {highest}, got {degree!r}{hint}"
    )


def full(coef: np.ndarray | tuple[float, ...], parity: int = 1) -> np.ndarray:
    """Chebyshev coefficients with the zeros of the other parity put in."""
    series = np.zeros(2 * len(coef))
    series[parity::2] = coef
    return series


def slope_series(coef: np.ndarray) -> np.ndarray:
    """dp/dt as a Chebyshev series in x = T_2(t)."""
    return chebyshev.chebder(full(coef))[::2]


def roots(series: np.ndarray) -> np.ndarray:
    """Real parts of the roots of a Chebyshev series, clipped to [-1, 1].

    Trailing coefficients below rounding are dropped first, as they would swamp the matrix.
    """
    trimmed = chebyshev.chebtrim(series, EPS * np.abs(series).sum())
    return np.clip(chebyshev.chebroots(trimmed).real, -1, 1)


def rounding(series: np.ndarray, order: int = 0) -> float:
    """Slack of a Chebyshev series' derivative of an order, in t."""
    return 64 * EPS * float(np.abs(series) @ np.arange(float(len(series))) ** (2 * order + 2))


def value_slack(coef: np.ndarray) -> float:
    """Slack of p, whose constant 1/2 is no part of the series."""
    return 64 * EPS + rounding(full(coef))


def slope_slack(coef: np.ndarray) -> float:
    """Slack of dp/dt."""
    return rounding(full(coef), 1)


def slope_range(coef: np.ndarray) -> tuple[float, float]:
    """Extremes of dp/dt on [-1, 1], rounded outwards."""
    series = slope_series(coef)
    values = chebyshev.chebval(np.r_[-1, 1, roots(chebyshev.chebder(series))], series)
    slack = 2 * slope_slack(coef)
    return float(values.min() - slack), float(values.max() + slack)


def range_between(
    function: Callable[[np.ndarray], np.ndarray],
    critical: tuple[np.ndarray, np.ndarray],
    low: np.ndarray | float,
    high: np.ndarray | float,
    radius: float,
    slack: float,
) -> tuple[np.ndarray | float, np.ndarray | float]:
    """Extremes on subintervals of [-radius, radius], widened by a slack.

    An extreme lies at an end or at a critical point inside; those are given with their values.
    """
    low, high = np.broadcast_arrays(np.asarray(low, float), np.asarray(high, float))
    limit = radius * (1 + 1e-12)
    valid = (-limit <= low) & (low <= high) & (high <= limit)
    if not valid.all():
        first = int(np.argmin(valid))
        raise ValueError(
            f"A subinterval must satisfy -{radius} <= low <= high <= {radius}, got "
            f"[{low.flat[first]}, {high.flat[first]}]; nothing is known of the polynomial outside "
            f"its interval: fit one with a larger radius."
        )
    low, high = np.clip((low, high), -radius, radius)
    points, values = critical
    inside = (low[..., None] <= points) & (points <= high[..., None])
    smallest = np.where(inside, values, np.inf).min(axis=-1, initial=np.inf)
    largest = np.where(inside, values, -np.inf).max(axis=-1, initial=-np.inf)
    first, last = function(low), function(high)
    minimum = np.minimum(np.minimum(first, last), smallest) - slack
    return minimum, np.maximum(np.maximum(first, last), largest) + slack


@lru_cache(maxsize=2)
def grid(parity: int) -> tuple[np.ndarray, ...]:
    """Chebyshev points t of [0, 1]; then T_k there, and two derivatives in t.

    The columns are k = 1, 3, ..., 15, or k = 0, 2, ..., 14 for parity 0.
    """
    t = np.sin(np.pi / 2 * np.arange(CELLS + 1) / CELLS)
    values = chebyshev.chebvander(t, MAX_DEGREE)
    terms = np.eye(MAX_DEGREE + 1)[:, parity::2]
    changes = [chebyshev.chebder(terms, order) for order in range(3)]
    arrays = (t, *(values[:, : len(change)] @ change for change in changes))
    for array in arrays:
        array.setflags(write=False)
    return arrays


def distance(
    coef: np.ndarray, parity: int, target: np.ndarray, bend: np.ndarray | float, third: float
) -> float:
    """Largest cell bound of the module's docstring, before rounding.

    `target` and `bend` are a function's values and second derivatives in t at the grid's points,
    `third` bounds its third one; the terms and the function have the same parity.
    """
    t, value, _, curvature = grid(parity)
    m = len(coef)
    error = np.abs(value[:, :m] @ coef - target)
    bend = np.abs(curvature[:, :m] @ coef - bend)
    third = third + float(chebyshev.chebder(full(np.abs(coef), parity), 3).sum())
    h = np.diff(t)
    excess = (np.maximum(bend[:-1], bend[1:]) + third * h / 2) * h**2 / 8
    return float((np.maximum(error[:-1], error[1:]) + excess).max())


def sup_error(coef: np.ndarray, radius: float) -> float:
    """Upper bound of |p - s|."""
    u = np.tanh(radius * grid(1)[0] / 2)
    bend = -(radius**2) * u * (1 - u**2) / 4
    return distance(coef, 1, u / 2, bend, radius**3 / 8) + 2 * value_slack(coef)
