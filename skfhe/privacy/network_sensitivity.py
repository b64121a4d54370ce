r"""How much one row can move the gradient of a network with one hidden layer, without clipping.

A stored row x~ = (v, b), ||v|| <= 1, has z1 = W1^T x~, hidden values a = a(z1), a~ = (a, b),
outputs z2 = W2^T a~ and e = p(z2) - y. It adds e to the gradient through two blocks, a~ e^T for
W2 and x~ (a'(z1) * W e)^T for W1, W being W2 without the bias, and what is released is the first
divided by S and the second by kappa S. With X^2 = 1 + b^2 its squared norm is at most

    ||e||^2 (b^2 + max_u sum_j [a(m_j + u_j)^2 + (X / kappa)^2 a'(m_j + u_j)^2 ||W_j||^2]) / S^2,

m_j the intercept's share of z1_j and u = W1[:-1]^T v, so that S is the square root of such a
product. All that is maximised is known: the weights have been released. A row that is not there
is zero in v, in both entries b and in its label; a(0) = 0, so it adds zero to either block.
Proofs: `docs/proofs/network.md`. Neighbours: `skfhe.privacy.sensitivity.RELATION_FACTOR` times S.

Encryption errors may move z1_j by `hidden_slack` and z2_k by `margin_slack`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..approximation import ActivationPolynomial, PolynomialApproximation
from .sensitivity import residual_norm, row_norm

_STEPS = 128  # per unit, an even number, so that u = 0 is among the points
_ROUNDS = 8
_ROUNDING = 1 + 1e-12


def unit_reaches(hidden: NDArray, intercept_column: float) -> NDArray:
    """Largest |z1| of any row, for every unit."""
    return np.linalg.norm(hidden[:-1], axis=0) + np.abs(intercept_column * hidden[-1])


def hidden_reach(hidden: NDArray, intercept_column: float, slack: float) -> float:
    """Largest |z1| of any row and unit at given, public weights W1, `slack` included."""
    return (float(np.max(unit_reaches(hidden, intercept_column))) + slack) * _ROUNDING


@dataclass(frozen=True)
class _Units:
    """What hidden units can be: u_j within half_j of zero, u within rho, on a grid per unit."""

    rho: float
    steps: NDArray  # of the grid, per unit
    squares: NDArray  # u^2 at its points, shape (units, points)
    values: NDArray  # a there
    slopes: NDArray  # a' there
    centre: NDArray  # a at u = 0
    low: NDArray  # extremes of a
    high: NDArray
    steepest: NDArray  # largest |a'|
    bend: float  # largest |a''|, of all units
    twist: float  # largest |a'''|

    @classmethod
    def at(
        cls, activation: ActivationPolynomial, hidden: NDArray, b: float, slack: float
    ) -> _Units:
        middle = b * hidden[-1]
        half = np.linalg.norm(hidden[:-1], axis=0) + slack
        ends = middle - half, middle + half
        low, high = activation.range_on(*ends)
        offsets = half[:, None] * np.linspace(-1.0, 1.0, _STEPS + 1)
        points = middle[:, None] + offsets
        return cls(
            rho=float(np.linalg.norm(hidden[:-1], 2)) + slack * math.sqrt(len(half)),
            steps=2 * half / _STEPS,
            squares=offsets**2,
            values=activation(points),
            slopes=activation.derivative(points),
            centre=activation(middle),
            low=low,
            high=high,
            steepest=np.max(np.abs(activation.slope_range_on(*ends)), axis=0),
            bend=activation.max_bend,
            # Markov's inequality for a'' on [-radius, radius].
            twist=max(0, activation.degree - 2) ** 2 * activation.max_bend / activation.radius,
        )

    def maximum(self, values: NDArray, bends: NDArray) -> NDArray:
        r"""Upper bounds of max_u sum_j f_j(u_j), one for each of several f.

        Parameters
        ----------
        values : ndarray of shape (several, units, points)
            f_j on the grid.
        bends : ndarray of shape (several, units)
            f_j'' is nowhere below minus this.

        Notes
        -----
        For every mu >= 0, as ||u|| <= rho, the maximum is at most

            g(mu) = mu rho^2 + sum_j max_|u| <= half_j (f_j(u) - mu u^2).

        Between points f_j - mu u^2 + (bends_j / 2 + mu) u^2 is convex, below its chord, so that
        f_j - mu u^2 exceeds its larger neighbour by at most (bends_j + 2 mu) steps_j^2 / 8. With
        that g is convex and piecewise linear. Two of its lines, one falling and one rising, meet
        at the next mu, whose line replaces one of them; the first are those of mu = 0 and of
        u = 0. The bound holds for every mu that is tried.
        """
        excess = self.steps**2 / 8
        constant = bends @ excess
        slope = self.rho**2 + 2 * float(np.sum(excess))
        squares = np.broadcast_to(self.squares, values.shape)

        def line(mu: NDArray) -> NDArray:
            at = np.argmax(values - mu[:, None, None] * squares, axis=2)[:, :, None]
            height = np.take_along_axis(values, at, 2).sum(axis=(1, 2)) + constant
            return np.array([height, slope - np.take_along_axis(squares, at, 2).sum(axis=(1, 2))])

        falling = line(np.zeros(len(values)))
        best = falling[0]
        last = values[:, :, _STEPS // 2].sum(axis=1) + constant
        rising = np.array([last, np.full(len(values), slope)])
        for _ in range(_ROUNDS):
            height, tilt = falling - rising
            mu = np.maximum(height, 0.0) / np.where(tilt < -1e-200, -tilt, np.inf)
            found = line(mu)
            best = np.minimum(best, found[0] + mu * found[1])
            falls = found[1] < 0
            falling, rising = np.where(falls, found, falling), np.where(falls, rising, found)
        return best


@dataclass(frozen=True)
class _Outputs:
    """What z2 can be: middle + u, low <= u <= high in every output, ||u|| <= rho."""

    middle: NDArray
    low: NDArray
    high: NDArray
    rho: float

    @classmethod
    def at(cls, units: _Units, output: NDArray, b: float, slack: float) -> _Outputs:
        """Three bounds of W_k^T (a - a(m)), the least of which counts.

        Interval arithmetic, Cauchy-Schwarz through ||a - a(m)||, and `maximum` of the sum.
        """
        body = output[:-1]
        moved = units.values - units.centre[:, None]
        below, above = units.low - units.centre, units.high - units.centre
        farthest = np.maximum(-below, above)
        squared = units.maximum((moved**2)[None], 2 * units.bend * farthest[None])[0]
        length = math.sqrt(min(squared, np.sum(farthest**2)))
        signed = np.hstack([body, -body]).T
        box = np.maximum(signed * above, signed * below).sum(axis=1)
        ball = np.linalg.norm(signed, axis=1) * length
        dual = units.maximum(signed[:, :, None] * moved, np.abs(signed) * units.bend)
        high, low = np.split(np.minimum(np.minimum(box, ball), dual) + slack, 2)
        n_outputs = output.shape[1]
        rho = float(np.linalg.norm(body, 2)) * length + slack * math.sqrt(n_outputs)
        return cls(body.T @ units.centre + b * output[-1], -low, high, rho)

    def residual_norm(self, approximation: PolynomialApproximation) -> float:
        """Bound of ||p(z2) - y||; refuses z2 outside of the polynomial's interval."""
        approximation.range_on(self.middle + self.low, self.middle + self.high)
        norm = residual_norm(approximation, self.middle, self.low, self.high, self.rho)
        return min(norm, math.sqrt(len(self.middle)) * approximation.residual_bound())


def output_reach(
    activation: ActivationPolynomial,
    hidden: NDArray,
    output: NDArray,
    intercept_column: float,
    hidden_slack: float,
    margin_slack: float,
) -> float:
    """Largest |z2|, slacks included; parameters are those of :func:`best_split`."""
    units = _Units.at(activation, hidden, intercept_column, hidden_slack)
    z = _Outputs.at(units, output, intercept_column, margin_slack)
    return float(np.max(np.abs([z.middle + z.low, z.middle + z.high]))) * _ROUNDING


def largest_output_reach(
    activation: ActivationPolynomial,
    n_units: int,
    output_norm: float,
    intercept_column: float,
    prior_margin: float,
    margin_slack: float,
) -> float:
    """Largest :func:`output_reach` of all weights that the activation's interval suffices for.

    Every column of W2, less the prior, has at most `output_norm`; the prior is a bias that gives
    z2 = `prior_margin` alone.
    """
    length = math.hypot(math.sqrt(n_units) * activation.max_abs, intercept_column)
    return (abs(prior_margin) + output_norm * length + margin_slack) * _ROUNDING**2


def best_split(
    activation: ActivationPolynomial,
    approximation: PolynomialApproximation,
    hidden: NDArray,
    output: NDArray,
    intercept_column: float,
    splits: Sequence[float],
    hidden_slack: float,
    margin_slack: float,
    floors: Sequence[float] | None = None,
) -> tuple[int, float]:
    """The split of a table with the least total squared noise, S^2 (n_out + kappa^2 n_in).

    Parameters
    ----------
    activation : ActivationPolynomial
        a, on an interval that holds every reachable z1 (:func:`hidden_reach`).
    approximation : PolynomialApproximation
        p, on an interval that holds every reachable z2 (:func:`output_reach`).
    hidden : ndarray of shape (n_columns, n_units)
        W1; the last row belongs to the intercept column.
    output : ndarray of shape (n_units + 1, n_outputs)
        W2; the last row belongs to the presence entry, which is `intercept_column`.
    intercept_column : float
        b > 0.
    splits : sequence of float
        kappa > 0.
    hidden_slack, margin_slack : float
        How far encryption errors may move z1 and z2.
    floors : sequence of float, optional
        For every split, what S is to be at least.

    Returns
    -------
    index : int
    contribution : float
        S: never below the norm of what any row adds to (W2's block, W1's / kappa).

    Raises
    ------
    ValueError
        If an interval does not hold what is reachable.
    """
    units = _Units.at(activation, hidden, intercept_column, hidden_slack)
    outputs = _Outputs.at(units, output, intercept_column, margin_slack)
    squares = np.asarray(splits, float) ** 2
    factors = np.append(0.0, row_norm(intercept_column) ** 2 / squares)
    weights = np.sum(output[:-1] ** 2, axis=1)
    largest = np.maximum(-units.low, units.high)
    total = units.maximum(
        units.values**2 + factors[:, None, None] * (weights[:, None] * units.slopes**2),
        2 * (largest * units.bend + factors[:, None] * (weights * units.steepest * units.twist)),
    )
    total = np.minimum(total, np.sum(largest**2) + factors * (weights @ units.steepest**2))
    # Several outputs: e meets one direction of diag(a') W, not all of them.
    spectral = np.linalg.norm(units.steepest[:, None] * output[:-1], 2) ** 2
    total = np.minimum(total, total[0] + factors * spectral)[1:]
    norm = outputs.residual_norm(approximation)
    found = norm * np.sqrt(intercept_column**2 + total) * _ROUNDING
    found = np.maximum(found, 0.0 if floors is None else floors)
    best = int(np.argmin(found**2 * (output.size + squares * hidden.size)))
    return best, float(found[best])


def network_contribution(
    activation: ActivationPolynomial,
    approximation: PolynomialApproximation,
    hidden: NDArray,
    output: NDArray,
    intercept_column: float,
    split: float,
    hidden_slack: float,
    margin_slack: float,
) -> float:
    """S for one split; the other parameters are those of :func:`best_split`."""
    weights = hidden, output, intercept_column
    return best_split(activation, approximation, *weights, [split], hidden_slack, margin_slack)[1]


def largest_contribution(
    activation: ActivationPolynomial,
    approximation: PolynomialApproximation,
    n_units: int,
    n_outputs: int,
    output_norm: float,
    intercept_column: float,
    split: float,
) -> float:
    """Largest S of all weights that these two intervals suffice for.

    Every column of W2, less a prior on the bias, has at most `output_norm`.
    """
    per_split = row_norm(intercept_column) / split * activation.max_slope * output_norm
    total = n_units * activation.max_abs**2 + n_outputs * per_split**2 + intercept_column**2
    norm = math.sqrt(n_outputs) * approximation.residual_bound()
    return norm * math.sqrt(total) * _ROUNDING**2


def least_contribution(n_outputs: int, intercept_column: float) -> float:
    """No weights have a smaller S: |p - y| >= 1/2, or sqrt(1 - 1/K), for the worst label."""
    return intercept_column * (0.5 if n_outputs == 1 else math.sqrt(1 - 1 / n_outputs))
