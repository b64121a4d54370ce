r"""Proved facts about odd polynomials that stand in for the logistic sigmoid.

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

from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev

MAX_DEGREE = 15
CELLS = 4096
EPS = np.finfo(float).eps


def full(coef: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """Chebyshev coefficients with the even zeros put in."""
    series = np.zeros(2 * len(coef))
    series[1::2] = coef
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


def bound_at_one(coef: np.ndarray, order: int) -> float:
    """Sum of |c_k| times the derivative of T_k at 1: bounds that derivative of p in t."""
    return float(chebyshev.chebder(full(np.abs(coef)), order).sum())


def value_slack(coef: np.ndarray) -> float:
    return 64 * EPS * (1 + bound_at_one(coef, 1))


def slope_slack(coef: np.ndarray) -> float:
    return 64 * EPS * float(np.abs(coef) @ np.arange(1.0, 2 * len(coef), 2) ** 4)


def slope_range(coef: np.ndarray) -> tuple[float, float]:
    """Extremes of dp/dt on [-1, 1], rounded outwards."""
    series = slope_series(coef)
    values = chebyshev.chebval(np.r_[-1, 1, roots(chebyshev.chebder(series))], series)
    slack = 2 * slope_slack(coef)
    return float(values.min() - slack), float(values.max() + slack)


@lru_cache(maxsize=1)
def grid() -> tuple[np.ndarray, ...]:
    """Chebyshev points t of [0, 1]; then T_1, T_3, ..., T_15 there, and two derivatives in t."""
    t = np.sin(np.pi / 2 * np.arange(CELLS + 1) / CELLS)
    values = chebyshev.chebvander(t, MAX_DEGREE)
    changes = [chebyshev.chebder(np.eye(MAX_DEGREE + 1), order)[:, 1::2] for order in range(3)]
    arrays = (t, *(values[:, : len(change)] @ change for change in changes))
    for array in arrays:
        array.setflags(write=False)
    return arrays


def sup_error(coef: np.ndarray, radius: float) -> float:
    """Upper bound of |p - s| by the cell bound of the module's docstring."""
    t, value, _, curvature = grid()
    m = len(coef)
    u = np.tanh(radius * t / 2)
    error = np.abs(value[:, :m] @ coef - u / 2)
    # s'' = -u (1 - u^2) / 4, so e'' in t is p'' + R^2 u (1 - u^2) / 4.
    bend = np.abs(curvature[:, :m] @ coef + radius**2 * u * (1 - u**2) / 4)
    third = bound_at_one(coef, 3) + radius**3 / 8
    h = np.diff(t)
    excess = (np.maximum(bend[:-1], bend[1:]) + third * h / 2) * h**2 / 8
    return float((np.maximum(error[:-1], error[1:]) + excess).max()) + 2 * value_slack(coef)
