r"""How much one row can move a gradient sum: certificates without clipping.

A stored row x~ = (x, s b) with ||x|| <= 1, 0 <= s <= 1 (`skfhe.privacy.frame`), and its targets
y add (p(z) - y) x~^T to the sum, z_k = s b w_kb + <w_k, x>. s is the factor that a long row was
shortened by if there is one output, and 1 if there are several. With X = sqrt(1 + b^2) its L2
norm is

    ||p(z) - y||_2 ||x~||_2 <= X max_{z, y} ||p(z) - y||_2 =: S,

the maximum taken over what z can be at the weights that are used (within ||w_k|| of the
intercept's share s b w_kb) and over one true class. Then, with n public,

- `add_remove` (a row against one that is zero in all its slots, features, intercept and labels,
  like padding): Delta = S, because such a row has z = 0, p - 1/2 = 0 and contributes zero;
- `replace_one`: Delta = 2 S by the triangle inequality.

The weights are released before they are used, so S may depend on them: every step is a Gaussian
release of one multiplier on a sum divided by S, and the composition of adaptively chosen
Gaussian mechanisms is that of fixed ones (Dong, Roth and Su 2019, arXiv 1905.02383, section 3:
the trade-off function of each step is the same whatever the earlier releases were).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..approximation import PolynomialApproximation

RELATION_FACTOR = {"add_remove": 1.0, "replace_one": 2.0}
_CELLS = 256
_MULTIPLIERS = np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 25)])


def row_norm(intercept_column: float) -> float:
    """X: the largest norm of a stored row, its intercept column included."""
    return math.hypot(1.0, intercept_column)


def contribution_bound(
    approximation: PolynomialApproximation,
    weights: NDArray,
    intercept_column: float,
    margin_slack: float,
) -> float:
    r"""S: the largest norm of one row's contribution at given, public weights.

    Parameters
    ----------
    approximation : PolynomialApproximation
        p, on an interval that holds every reachable margin.
    weights : ndarray of shape (n_columns, n_outputs)
        Weights at which the gradient is taken; the last row belongs to the intercept column
        if `intercept_column` is not zero. Public: they have been released.
    intercept_column : float
        b, or zero where there is no intercept.
    margin_slack : float
        How far encryption errors may move a margin.

    Returns
    -------
    bound : float
        An upper bound of S, never below the contribution of any row.

    Notes
    -----
    A row has z_k = m_k + u_k, where m_k is the intercept's share, and u = W^T x satisfies
    |u_k| <= h_k = ||w_k|| and ||u|| <= rho, the operator norm of the weights without the
    intercept's. With one output the intercept's entry may be shortened, so the margin lies
    within ||w|| of the segment from 0 to m. :func:`residual_norm` does the rest.
    """
    body = weights[:-1] if intercept_column else weights
    middle = intercept_column * weights[-1] if intercept_column else np.zeros(weights.shape[1])
    half = np.linalg.norm(body, axis=0) + margin_slack
    low, high = -half, half
    if weights.shape[1] == 1:
        low, high = np.minimum(middle, 0.0) - half, np.maximum(middle, 0.0) + half
        middle = np.zeros(1)
    rho = float(np.linalg.norm(body, 2)) + margin_slack * math.sqrt(weights.shape[1])
    return row_norm(intercept_column) * residual_norm(approximation, middle, low, high, rho)


def residual_norm(
    approximation: PolynomialApproximation,
    middle: NDArray,
    low: NDArray,
    high: NDArray,
    rho: float,
) -> float:
    r"""Bound ||p(z) - y||_2 over all y and z_k = middle_k + u_k, u in a box and a ball.

    Parameters
    ----------
    approximation : PolynomialApproximation
        p, on an interval that holds every z_k.
    middle, low, high : ndarray of shape (n_outputs,)
        low_k <= u_k <= high_k.
    rho : float
        ||u||_2 <= rho.

    Returns
    -------
    bound : float
        Never below ||p(z) - y||_2; y is 0 or 1 for one output, one true class for several.

    Notes
    -----
    One output: the ends of the interval and the critical points of p decide. Several outputs:
    for the true class c, maximise F_c(u) = sum_k f_k(u_k), f_k(u) = (p(m_k + u) - [k = c])^2.
    Weak duality gives, for every multiplier mu >= 0,

        max F_c <= mu rho^2 + sum_k max_u (f_k(u) - mu u^2),

    the maxima over the box, and the least over a few mu is returned. Each one-dimensional
    maximum is bounded cell by cell: f at the cell's middle plus its Lipschitz constant times
    half a cell, less mu times the least u^2 of the cell.
    """
    if len(middle) == 1:
        p = np.array(approximation.range_on(middle + low, middle + high))
        return float(np.max(np.abs([p, 1 - p])))
    half = ((high - low) / 2)[:, None]
    shift = ((high + low) / 2)[:, None]
    edges = np.linspace(-1.0, 1.0, _CELLS + 1)
    p = approximation(middle[:, None] + (shift + half * (edges[1:] + edges[:-1]) / 2))
    slope = max(abs(approximation.min_derivative), abs(approximation.max_derivative))
    slack = slope * half / _CELLS
    wrong = (np.abs(p) + slack) ** 2
    right = (np.abs(1 - p) + slack) ** 2
    first, last = shift + half * edges[:-1], shift + half * edges[1:]
    nearest = np.maximum(np.maximum(first, -last), 0.0) ** 2
    best = math.inf
    for multiplier in _MULTIPLIERS:
        rest = np.max(wrong - multiplier * nearest, axis=1)
        own = np.max(right - multiplier * nearest, axis=1)
        best = min(best, multiplier * rho**2 + np.sum(rest) + np.max(own - rest))
    return math.sqrt(best)


def reach(weights: NDArray, intercept_column: float, margin_slack: float) -> float:
    """R: the largest |z| of any row and output at given, public weights."""
    body = weights[:-1] if intercept_column else weights
    middle = np.abs(intercept_column * weights[-1]) if intercept_column else 0.0
    return float(np.max(middle + np.linalg.norm(body, axis=0))) + margin_slack


def contribution_table(
    n_outputs: int, intercept_column: float, largest: float
) -> tuple[float, ...]:
    """The declared values of S, a geometric grid that a bound is rounded up to.

    No weights have a smaller S than the first: for one output |p - y| >= 1/2 for the worse
    label, and for K outputs max_c (||p||^2 - 2 p_c + 1) is least where every p_k = 1/K.
    """
    norm = row_norm(intercept_column)
    least = 0.5 if n_outputs == 1 else math.sqrt(1 - 1 / n_outputs)
    ratio = 1.01
    steps = math.ceil(math.log(largest / (least * norm)) / math.log(ratio))
    return tuple(least * norm * ratio**i for i in range(1, max(1, steps) + 1))


def least_contributions(
    polynomials: Sequence[PolynomialApproximation], intercept_column: float
) -> tuple[float, ...]:
    """The least S that is used with each polynomial, whatever the weights.

    S is rounded up to this, so that the plan can count encryption errors relative to it. That
    hardly costs noise: a polynomial is used only where the previous interval is too short, so
    that some row may have a margin of the previous radius, for which the worse label is off by
    p there (p is odd about 1/2).
    """
    norm = row_norm(intercept_column)
    previous = [0.0, *(p.radius for p in polynomials[:-1])]
    return tuple(
        norm * max(0.5, float(p(radius))) for p, radius in zip(polynomials, previous, strict=True)
    )
