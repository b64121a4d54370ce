r"""How far weights can move in several steps that nobody looks at: proved before they are taken.

Steps are taken with noised mean gradients v_s = G_s + chi_s of rows of norm at most X, at points
w_t = w_0 - sum_{s<t} c_{t,s} v_s that the plan fixes. The certificate is a bound of |<w_t, x>|
for any row x, whatever the data: it decides where the polynomial must be trusted, and so the
sensitivity S_t = X max |p(z) - y| and the noise. It may fail with a probability that comes out of
delta. Noise is sub-Gaussian, as discrete Gaussians and their sums are (Canonne, Kamath, Steinke
2020, arXiv 2004.00010, Fact 18): with deviations s_j, |sum_j u_j chi_j| exceeds
q sqrt(sum_j u_j^2 s_j^2) with probability at most 2 exp(-q^2/2), and ||chi||^2 exceeds
s^2 (d + 2 sqrt(d t) + 2 t) with probability at most exp(-t) (Hsu, Kakade and Zhang 2012, arXiv
1110.2842). Errors of encryption add at most a given norm to every v_s.

**Lines (degree 1): the spectral certificate.** With p(z) = 1/2 + a z, the rows' second moments
A = mean x x^T (weights of classes, at most 1, within the mean) and b = mean (y - 1/2) x,

    v_s = a A w_s - b + chi_s,

so w_t = r_t(A) w_0 + q_t(A) b - sum_s N_{t,s}(A) chi_s with polynomials of degree at most t that
the coefficients determine; they are computed on eigenvalues l in [0, X^2]. As b = mean c x with
|c| = 1/2, b is in the range of A and b^T A^+ b <= mean c^2 <= 1/4 (the projection onto the span
of the columns shortens c), so sum_k b_k^2/l_k <= 1/4 over eigenvectors, and

    ||w_t|| <= max |r_t| ||w_0|| + max sqrt(l) |q_t(l)| / 2 + ...,

the maxima over [0, X^2]. The noise's part of a margin, for a row that was there before the noise,
has at most X^2 max_l sum_s s_s^2 N_{t,s}(l)^2 as its sub-Gaussian variance. Only the changed row
and what it is changed to matter, so the quantile is taken for two rows and every step.

**Monotone polynomials: the energy certificate.** With p' >= 0 the loss g(w) = mean l(<w, x>, y),
l' = p - y, is convex, and beta-smooth with beta = X^2 max p'. Take accelerated steps in the form
of Nesterov (2018, Lectures on Convex Optimization, section 2.2) and of Allen-Zhu and Orecchia
(2014, arXiv 1407.1537): A_0 = 0, x_0 = z_0 = w_0, a_k^2 = A_{k+1}/beta, A_{k+1} = A_k + a_k,

    y_k = (A_k x_k + a_k z_k)/A_{k+1},                      v_k = G(y_k) + chi_k,
    z_{k+1} = z_k - a_k v_k,    x_{k+1} = (A_k x_k + a_k z_{k+1})/A_{k+1} = y_k - v_k/beta.

Let w_0 = 0; other starts are a shift, after which z counts from w_0 and g(0) is g(w_0). Smoothness
gives A_{k+1} g(x_{k+1}) <= A_{k+1} g(y_k) - a_k^2 ||v_k||^2/2 + a_k^2 <chi_k, v_k>, and convexity
A_{k+1} g(y_k) <= A_k g(x_k) + a_k g(0) + a_k <G(y_k), z_k>. With ||z_{k+1}||^2 expanded,

    h_{k+1} <= h_k + a_k^2 ||chi_k||^2 + <chi_k, a_k^2 G(y_k) - a_k z_k>,
    h_k = A_k (g(x_k) - g(0)) + ||z_k||^2/2.

The last term has mean zero given the past and deviation at most s (a_k^2 B X + a_k ||z_k||), B
the bound of |p - y|. With G_0 = max_z (l(0) - l(z)) every ||z_k||^2 is at most 2 (h_k + A_k G_0),
and y_k is a convex combination of z_0, ..., z_k: the largest of these bounds holds for every
point. With a smoothness of more than beta steps are shorter, and all of it holds too. Beyond
the interval continue p with slope max p' until it is 1, symmetrically below, and as constant then:
still monotone and no steeper, so all of this holds for the steps that such a p would take, and
with the certificate's probability they are the steps that were taken.

**Plain steps: the worst row.** Without momentum, w' = w - eta (G + chi), and w - eta G is the mean
over rows of w - eta e x, so for ||w|| <= rho its norm is at most the largest over one row,

    ||w - eta e x||^2 <= max_{|z| <= rho X, y} rho^2 - 2 eta z (p(z) - y) + eta^2 X^2 (p(z) - y)^2;

or, w -> w - eta G being non-expansive for eta <= 2/beta (contraction), at most
rho + eta X |p(0) - y| = rho + eta X/2. The lesser of both counts. By the two tails above chi adds
at most 2 eta s q times it and eta^2 ||chi||^2 to the square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..approximation import PolynomialApproximation

# Chebyshev points: a polynomial of degree D is at most 1/cos(pi D / 2n) of its largest value on
# n of them (Ehlich and Zeller 1964).
_POINTS = 1025
_CELLS = 2048

Points = tuple[tuple[float, ...], ...]
"""c_{t,s} for t = 1, ..., k and s < t: what points are made of."""


@dataclass(frozen=True)
class Noise:
    """What is known of the noise before it is drawn.

    Attributes
    ----------
    multiplier : float
        Deviation of a step's noise on every coordinate of the mean gradient, of all owners
        together, over S_t as it is certified: noise multiplier times sensitivity over rows.
    n_coordinates : int
        d.
    probability : float
        That the certificate fails over all steps.
    error : float, default=0
        Bound of the norm of any other error of a mean gradient, over S_t.
    deviations : tuple of float, optional
        The deviations themselves, where they are known already.
    n_others : int, default=0
        Directions beside the rows', over all steps, along which points must stay within reach.
    """

    multiplier: float
    n_coordinates: int
    probability: float
    error: float = 0.0
    deviations: tuple[float, ...] | None = None
    n_others: int = 0

    def deviation(self, step: int, contribution: float) -> float:
        """Of the noise of a step, of which this is S_t."""
        if self.deviations is None:
            return self.multiplier * contribution
        return self.deviations[step]

    def quantile(self, n_events: int) -> float:
        """q with n_events times 2 exp(-q^2/2) at most the probability."""
        return math.sqrt(2 * math.log(2 * (n_events + self.n_others) / self.probability))

    def norm(self, n_events: int) -> float:
        """The norm that noise of deviation one exceeds with probability/n_events at most."""
        t, d = math.log(n_events / self.probability), self.n_coordinates
        return math.sqrt(d + 2 * math.sqrt(d * t) + 2 * t)


def spectral_reaches(
    slope: float,
    row_norm: float,
    coefficients: Sequence[Sequence[float]],
    noise: Noise,
    start_norm: float = 0.0,
    slack: float = 0.0,
) -> tuple[float, ...]:
    """Bounds of |<w_t, x>| at the points of steps with a line for p.

    Parameters
    ----------
    slope : float
        a.
    row_norm : float
        X.
    coefficients : sequence of sequence of float
        c_{t,s} for t = 1, ..., k.
    noise : Noise
        Of all steps.
    start_norm : float, default=0
        Bound of ||w_0||.
    slack : float, default=0
        How far anything else may move a margin.

    Returns
    -------
    reaches : tuple of float of length k + 1
        For t = 0, ..., k - 1, where gradients are taken, and for the last point.
    """
    steps = len(coefficients)
    # sqrt(l) = X u: what is maximised are polynomials in u on [-1, 1], even or odd.
    u = np.cos(np.pi * (np.arange(_POINTS) + 0.5) / _POINTS)
    eigenvalues = (row_norm * u) ** 2
    between = 1 / math.cos(math.pi * 2 * (2 * steps + 1) / (2 * _POINTS))
    quantile = noise.quantile(2 * steps)
    # Per eigenvalue: the factors of w_0, b and every chi in w_t and in v_t; and S_t.
    point = np.zeros((steps + 2, _POINTS))
    point[0] = 1.0
    gradients: list[NDArray] = []
    deviations: list[float] = []
    errors: list[float] = []
    reaches: list[float] = []
    for step in range(steps + 1):
        moved = np.array(deviations)[:, None] * point[2 : 2 + step]
        noised = math.sqrt(float(np.max(np.sum(moved**2, axis=0), initial=0.0)))
        far = start_norm * np.max(np.abs(point[0]))
        far += np.max(np.abs(row_norm * u * point[1])) / 2 + quantile * noised
        far += float(np.max(np.abs(point[2 : 2 + step]), axis=1) @ np.array(errors))
        reaches.append(float(row_norm * far * between + slack))
        if step == steps:
            break
        contribution = (0.5 + abs(slope) * reaches[-1]) * row_norm
        deviations.append(noise.deviation(step, contribution))
        errors.append(noise.error * contribution)
        gradient = slope * eigenvalues * point
        gradient[1] -= 1.0
        gradient[2 + step] += 1.0
        gradients.append(gradient)
        point = -sum(c * v for c, v in zip(coefficients[step], gradients, strict=True))
        point[0] += 1.0
    return tuple(reaches)


def energy_reaches(
    approximation: PolynomialApproximation,
    row_norm: float,
    steps: int,
    damping: float,
    noise: Noise,
    start_norm: float = 0.0,
    slack: float = 0.0,
) -> tuple[float, ...]:
    """The same for the accelerated steps of `accelerated`, with a monotone p.

    They hold if they are within the interval of p, damping is at least 1 and the steps are those
    for a smoothness of `damping` times beta.
    """
    beta = row_norm**2 * approximation.max_derivative
    longest = approximation.residual_bound() * row_norm
    error = noise.error * longest
    quantile, norm = noise.quantile(2 * steps), noise.norm(2 * steps)
    gained = _loss_gained(approximation, start_norm * row_norm)
    energy = total = far = 0.0
    reaches = [start_norm * row_norm + slack]
    for step, rate in enumerate(_rates(steps)):
        a, deviation = rate / (beta * damping), noise.deviation(step, longest)
        energy += (a * (deviation * norm + error)) ** 2
        energy += (quantile * deviation + error) * (a**2 * longest + a * far)
        total += a
        far = math.sqrt(2 * (energy + total * gained))
        reaches.append((start_norm + far) * row_norm + slack)
    return tuple(reaches)


def plain_reaches(
    approximation: PolynomialApproximation,
    row_norm: float,
    rates: Sequence[float],
    noise: Noise,
    start_norm: float = 0.0,
    slack: float = 0.0,
) -> tuple[float, ...]:
    """The same for plain steps of given sizes, with any p: the better of both certificates."""
    beta = row_norm**2 * approximation.max_derivative
    longest = approximation.residual_bound() * row_norm
    error = noise.error * longest
    quantile, norm = noise.quantile(2 * len(rates)), noise.norm(2 * len(rates))
    far = start_norm
    reaches = [far * row_norm + slack]
    for step, rate in enumerate(rates):
        moved = _worst_row(approximation, row_norm, rate, far, slack)
        if approximation.monotone and rate * beta <= 2:
            moved = min(moved, far + rate * row_norm / 2)
        noised = rate * noise.deviation(step, longest)
        far = math.sqrt(moved**2 + 2 * quantile * noised * moved + (noised * norm) ** 2)
        far += rate * error
        reaches.append(far * row_norm + slack)
    return tuple(reaches)


def _worst_row(
    approximation: PolynomialApproximation, row_norm: float, rate: float, far: float, slack: float
) -> float:
    """Largest norm of w - rate e x for ||w|| <= far: cell by cell, p bounded on each."""
    radius = min(far * row_norm + slack, approximation.radius)
    edges = np.linspace(-radius, radius, _CELLS + 1)
    low, high = edges[:-1], edges[1:]
    least, most = approximation.range_on(low, high)
    worst = 0.0
    for label in (0.0, 1.0):
        # -2 rate z e is extreme at the ends of both intervals.
        products = [z * (p - label) for z in (low, high) for p in (least, most)]
        residual = np.maximum(np.abs(least - label), np.abs(most - label))
        squared = far**2 - 2 * rate * np.min(products, axis=0) + (rate * row_norm * residual) ** 2
        worst = max(worst, float(np.max(squared)))
    return math.sqrt(worst)


def _loss_gained(approximation: PolynomialApproximation, start: float) -> float:
    """max over |z| <= start of l(z), less inf l: the integral of 1 - p from -start on, label 1.

    Where p ends below 1 the loss goes on falling beyond the interval, while p, continued with its
    largest slope, rises to 1. A start beyond the interval is refused by its own reach.
    """
    edges = np.linspace(-min(start, approximation.radius), approximation.radius, _CELLS + 1)
    least, _ = approximation.range_on(edges[:-1], edges[1:])
    gained = np.cumsum((1 - least) * np.diff(edges))
    missing = max(0.0, 1 - float(approximation.range_on(approximation.radius, edges[-1])[0]))
    beyond = missing**2 / (2 * approximation.max_derivative) if missing else 0.0
    return max(0.0, float(np.max(gained)), float(gained[-1]) + beyond)


def _rates(steps: int) -> list[float]:
    """beta a_k of the accelerated steps: a_k^2 = A_{k+1}/beta, A_{k+1} = A_k + a_k."""
    rates, total = [], 0.0
    for _ in range(steps):
        rates.append((1 + math.sqrt(1 + 4 * total)) / 2)
        total += rates[-1]
    return rates


def accelerated(steps: int, beta: float) -> Points:
    """Coefficients of the accelerated steps: of the points y_1, ..., y_{k-1}, and of x_k."""
    x, z, total = np.zeros(steps), np.zeros(steps), 0.0
    points = []
    for step, rate in enumerate(_rates(steps)):
        z = z.copy()
        z[step] += rate / beta
        x = (total * x + rate * z) / (total + rate)
        total += rate
        following = (1 + math.sqrt(1 + 4 * total)) / 2
        y = (total * x + following * z) / (total + following)
        points.append(x if step == steps - 1 else y)
    return _triangle(points)


def semi_iteration(steps: int, largest: float, travel: float) -> Points:
    """Coefficients of the Chebyshev semi-iteration for eigenvalues in [largest/travel, largest].

    The best that a number of steps can do for all of them alike (Golub and Varga 1961); smaller
    eigenvalues are followed about as far as `travel` over the largest.
    """
    middle, half = largest * (1 + 1 / travel) / 2, largest * (1 - 1 / travel) / 2
    points, change, ratio = [], np.zeros(steps), half / middle
    point = np.zeros(steps)
    for step in range(steps):
        rate, kept = 1 / middle, 0.0
        if step > 0:
            following = 1 / (2 * middle / half - ratio)
            kept, rate, ratio = following * ratio, 2 * following / half, following
        change = kept * change
        # v_step is taken at `point`; its own coefficient is the rate.
        change[step] += rate
        point = point + change
        points.append(point)
    return _triangle(points)


def heavy_ball(steps: int, rate: float, momentum: float) -> Points:
    """Coefficients of w_{t+1} = w_t - rate v_t + momentum (w_t - w_{t-1})."""
    points, change, point = [], np.zeros(steps), np.zeros(steps)
    for step in range(steps):
        change = momentum * change
        change[step] += rate
        point = point + change
        points.append(point)
    return _triangle(points)


def plain(rates: Sequence[float]) -> Points:
    """Coefficients of w_{t+1} = w_t - rate_t v_t."""
    return tuple(tuple(rates[: t + 1]) for t in range(len(rates)))


def _triangle(points: Sequence[NDArray]) -> Points:
    return tuple(tuple(map(float, row[: t + 1])) for t, row in enumerate(points))
