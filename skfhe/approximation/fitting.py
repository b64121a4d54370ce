"""Best approximations: of the sigmoid by odd polynomials, and of even functions by even ones."""

import numpy as np
from numpy.polynomial import chebyshev

from .facts import CELLS, EPS, grid, slope_range


def least_squares(m: int, radius: float) -> np.ndarray:
    """Continuous least squares by Gauss-Legendre quadrature.

    Products of odd functions are even, so half the interval suffices; its nodes crowd at zero,
    next to the sigmoid's poles z = +-i pi, and 128 give the coefficients to 1e-11 at radius 1000.
    """
    nodes, weights = np.polynomial.legendre.leggauss(128)
    t, root = (nodes + 1) / 2, np.sqrt(weights)
    basis = chebyshev.chebvander(t, 2 * m)[:, 1::2]
    return np.linalg.lstsq(root[:, None] * basis, root * np.tanh(radius * t / 2) / 2, rcond=None)[
        0
    ]


def minimax(m: int, radius: float) -> np.ndarray:
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
    t, table, *_ = grid(1)
    # The first reference: extrema of T_(2m+1), in rising order. The error at t = 0 is zero.
    reference = np.rint(CELLS * (1 - 2 * np.arange(m, -1, -1) / (2 * m + 1))).astype(int) - 1
    return _exchange(table[1:, :m], (np.tanh(radius * t / 2) / 2)[1:], reference)


def even_minimax(m: int, target: np.ndarray) -> np.ndarray:
    """Coefficients of T_0, T_2, ..., T_2m nearest to an even function's values on the grid.

    As in :func:`minimax`, with m + 2 errors from t = 0 on. The functions wanted here are, in
    v = z^2, sqrt(v) and log cosh(sqrt(v) / 2) = sum over j of log(1 + v / ((2j - 1)^2 pi^2));
    their derivatives of order m + 1 are of one sign too, so the error has at most m + 1 zeros.
    """
    reference = np.rint(CELLS * np.arange(m + 2) / (m + 1)).astype(int)  # extrema of T_(2m+2)
    scale = np.abs(target).max()
    return scale * _exchange(grid(0)[1][:, : m + 1], target / scale, reference)


def _exchange(basis: np.ndarray, target: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Coefficients whose errors at the rows of a reference end up equal, largest, alternating."""
    signs = (-1.0) ** np.arange(len(reference))
    for _ in range(50):  # convergence is quadratic: about four rounds
        system = np.column_stack([basis[reference], signs])
        *coef, level = np.linalg.solve(system, target[reference])
        error = basis @ coef - target
        size = np.abs(error)
        if size.max() - abs(level) <= 1e-9 * abs(level) + 4 * EPS:
            break
        positive = error > 0
        starts = np.flatnonzero(np.diff(positive, prepend=not positive[0]))
        if len(starts) != len(reference):  # the errors have sunk into rounding
            break
        ends = [*starts[1:], len(error)]
        reference = np.array([a + size[a:b].argmax() for a, b in zip(starts, ends, strict=True)])
    return np.array(coef)


def monotone(m: int, radius: float) -> np.ndarray:
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

    coef = minimax(m, radius)
    if slope_range(coef)[0] >= 0:
        return coef
    t, value, slope, _ = grid(1)
    value, slope, target = value[:, :m], slope[:, :m], np.tanh(radius * t / 2) / 2
    at_value = np.arange(CELLS + 1) % (CELLS // 64) == 0
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
    coef[0] += 2 * max(0.0, -slope_range(coef)[0])  # twice, for the rounding of the sum
    return coef


def _peaks(values: np.ndarray, above: float) -> np.ndarray:
    """Mask of the local maxima, ends included, that are above a threshold."""
    padded = np.r_[-np.inf, values, -np.inf]
    return (values >= padded[:-2]) & (values >= padded[2:]) & (values > above)
