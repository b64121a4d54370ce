"""Which steps a round takes: as far as their certificate and the noise allow.

Everything here is a function of public quantities: rows, columns, the noise multiplier and the
request.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..approximation import PolynomialApproximation
from ..circuits.segments import n_carried
from ..plan import Problem
from ..privacy import trajectory
from ..privacy.trajectory import Noise, Points

# The sigmoid's slope at zero: a line has no better one on every interval that steps may reach.
LINE_SLOPE = 0.25
# Noise may lengthen the last residual's certified bound by so much.
_NOISE_ALLOWANCE = 1.5
_LEAST_TRAVEL = 1.1
_BISECTIONS = 14
# Intervals tried for polynomials, shortest first, and by how much steps may be shortened for one.
_RADII = tuple(2.0 * 1.25**i for i in range(14))
_MOST_DAMPING = 50.0
# Beyond, margins say that noise has outgrown all else.
_MOST_RADIUS = 900.0
# What encryption errors may do: lengthen a row, relatively; move a margin; and move the sum of all
# residuals times rows, in S and over the relation's factor, errors that all data share included.
ROW_ROOM, MARGIN_ROOM, ERROR_ROOM = 0.03, 0.3, 1.0
# Share of the base prime that messages, and then their errors, may have when they are refreshed.
REFRESHED_SHARE = 2.0**-10
# Intervals are longer than margins reach by so much, for rounding in whoever computes them again.
_ROOM = 1 + 1e-6


@dataclass(frozen=True)
class Schedule:
    """The steps of a round, with what bounds them.

    Attributes
    ----------
    certificate : str
        As in `skfhe.plan.Rounds`.
    approximation : PolynomialApproximation
        p, on an interval that holds every margin at which a gradient is taken.
    points : tuple of tuple of float
        Coefficients of the noised gradients.
    reaches : tuple of float
        Bounds of margins at the points 0, ..., k.
    contributions : tuple of float
        S_t for t = 0, ..., k - 1.
    carried_norms : tuple of tuple of float
        Where ciphertexts may be refreshed: bounds of the norms of what is carried over a refresh
        before the steps 1, ..., k - 1 (`skfhe.circuits.segments`).
    """

    certificate: str
    approximation: PolynomialApproximation
    points: Points
    reaches: tuple[float, ...]
    contributions: tuple[float, ...]
    carried_norms: tuple[tuple[float, ...], ...] = ()

    @property
    def travel(self) -> float:
        """How far the last point is along directions in which the loss is flat."""
        return sum(self.points[-1])


@dataclass(frozen=True)
class Setting:
    """What steps are certified for.

    Attributes
    ----------
    row_norm : float
        X, with the slack of encryption errors.
    noise : Noise
        Of the mean gradients.
    start_norm : float
        Bound of the first point's norm.
    slack : float
        How far encryption errors may move a margin.
    """

    row_norm: float
    noise: Noise
    start_norm: float
    slack: float


def n_others(steps: int, problem: Problem) -> int:
    """Directions along which carried vectors must stay within reach: all coordinates of two.

    Those of the second are certified in a run of their own, with fewer events to share the
    probability with: half as many more make up for it.
    """
    return 3 * steps * problem.n_columns


def carried_norms(
    certificate: str,
    approximation: PolynomialApproximation,
    points: Points,
    reaches: tuple[float, ...],
    setting: Setting,
) -> tuple[tuple[float, ...], ...]:
    """Bounds of the norms of w_b and of the part of w_{b+1} that is known by then, b = 1, ....

    A reach over the norm of a row bounds a point's part along every direction that was there
    before the noise, so all its coordinates; their quantiles are among `Noise.n_others`. The
    second one is a point too: the next where a gradient is zero. Of lines it is certified as such.
    Of accelerated steps it is a convex combination of vectors that are as near as the next point
    is certified to be (`skfhe.privacy.trajectory`); plain steps carry none.
    """
    found, slope = [], float(approximation.odd_coefficients[0])
    for b in range(1, len(points)):
        known = [reaches[b]]
        if n_carried(points, b) == 1:
            pass
        elif certificate == "energy":
            known.append(reaches[b + 1])
        elif certificate == "spectral":
            virtual = (*points[:b], (*points[b][:b], 0.0))
            far = trajectory.spectral_reaches(
                slope, setting.row_norm, virtual, setting.noise, setting.start_norm, setting.slack
            )
            known.append(far[-1])
        found.append(tuple(reach / setting.row_norm for reach in known))
    return tuple(found)


def reaches_of(
    certificate: str, approximation: PolynomialApproximation, points: Points, setting: Setting
) -> tuple[float, ...]:
    """The bounds that a certificate gives, computed from the plan's figures.

    Raises
    ------
    ValueError
        If the points are not those that the certificate is for.
    """
    norm, noise = setting.row_norm, setting.noise
    rest = {"start_norm": setting.start_norm, "slack": setting.slack}
    if certificate == "spectral" and approximation.degree == 1 and approximation.monotone:
        slope = float(approximation.odd_coefficients[0])
        return trajectory.spectral_reaches(slope, norm, points, noise, **rest)
    if certificate == "energy" and approximation.monotone:
        beta = norm**2 * approximation.max_derivative
        damping = 1 / (beta * points[0][0]) if points[0][0] > 0 else 0.0
        if damping >= 1 - 1e-9 and _alike(
            points, trajectory.accelerated(len(points), damping * beta)
        ):
            return trajectory.energy_reaches(
                approximation, norm, len(points), max(1.0, damping), noise, **rest
            )
    if certificate == "plain":
        rates = list(points[-1])
        if _alike(points, trajectory.plain(rates)):
            return trajectory.plain_reaches(approximation, norm, rates, noise, **rest)
    raise ValueError(f"the certificate {certificate!r} is not one for these steps.")


def _alike(points: Points, others: Points) -> bool:
    return all(np.allclose(a, b, rtol=1e-9, atol=0.0) for a, b in zip(points, others, strict=True))


def contributions_of(
    approximation: PolynomialApproximation, reaches: tuple[float, ...], row_norm: float
) -> tuple[float, ...]:
    """S_t = X max |p(z) - y| over margins within reach, at every point but the last."""
    return tuple(row_norm * float(approximation.residual_bound(r)) for r in reaches[:-1])


def of_lines(points: Points, setting: Setting, row_norm: float) -> Schedule | None:
    """Steps with a line for p, and their spectral certificate; None if it is of no use."""
    reaches = trajectory.spectral_reaches(
        LINE_SLOPE, setting.row_norm, points, setting.noise, setting.start_norm, setting.slack
    )
    radius = max(reaches[:-1]) * _ROOM
    if not radius <= _MOST_RADIUS:
        return None
    line = PolynomialApproximation(1, radius, "monotone", (LINE_SLOPE * radius,))
    return Schedule("spectral", line, points, reaches, contributions_of(line, reaches, row_norm))


def semi_iteration(
    steps: int,
    most_travel: float,
    setting: Setting,
    row_norm: float,
    farthest: float = math.inf,
) -> Schedule | None:
    """Chebyshev's steps, as far as noise hardly shows in their certificate; None if it would.

    Nor do they go farther, where the loss is flat, than `farthest`.
    """
    quiet = Setting(
        setting.row_norm,
        Noise(0.0, setting.noise.n_coordinates, setting.noise.probability),
        setting.start_norm,
        setting.slack,
    )
    largest = LINE_SLOPE * setting.row_norm**2

    def reach(points: Points, one: Setting) -> float:
        reaches = trajectory.spectral_reaches(
            LINE_SLOPE, one.row_norm, points, one.noise, one.start_norm, one.slack
        )
        return 0.5 + LINE_SLOPE * max(reaches[:-1])

    def quiet_enough(travel: float) -> bool:
        points = trajectory.semi_iteration(steps, largest, travel)
        near = sum(points[-1]) <= farthest
        return near and reach(points, setting) <= _NOISE_ALLOWANCE * reach(points, quiet)

    travel = _largest(quiet_enough, _LEAST_TRAVEL, most_travel)
    if travel is None:
        return None
    return of_lines(trajectory.semi_iteration(steps, largest, travel), setting, row_norm)


def accelerated(
    degree: int, kind: str, steps: int, setting: Setting, row_norm: float
) -> Schedule | None:
    """Accelerated steps with a polynomial, on the interval that lets them travel farthest."""
    best: Schedule | None = None
    for radius in _RADII:
        approximation = PolynomialApproximation.fit(degree, radius, kind)
        beta = setting.row_norm**2 * approximation.max_derivative

        def within(slowness: float, p=approximation) -> bool:
            reaches = trajectory.energy_reaches(
                p,
                setting.row_norm,
                steps,
                1 / slowness,
                setting.noise,
                setting.start_norm,
                setting.slack,
            )
            return max(reaches[:-1]) * _ROOM <= p.radius

        fastest = _largest(within, 1 / _MOST_DAMPING, 1.0)
        if fastest is None:
            continue
        points = trajectory.accelerated(steps, beta / fastest)
        reaches = reaches_of("energy", approximation, points, setting)
        found = Schedule(
            "energy",
            approximation,
            points,
            reaches,
            contributions_of(approximation, reaches, row_norm),
        )
        # Travel counts by the slope that residuals have.
        if best is None or _worth(found) > 1.05 * _worth(best):
            best = found
    return best


def _worth(schedule: Schedule) -> float:
    return schedule.travel * schedule.approximation.max_derivative


def plain(
    degree: int, kind: str, rates: list[float], setting: Setting, row_norm: float
) -> Schedule | None:
    """Plain steps of given sizes, on the shortest interval that holds them."""
    for radius in _RADII:
        approximation = PolynomialApproximation.fit(degree, radius, kind)
        points = trajectory.plain(rates)
        reaches = reaches_of("plain", approximation, points, setting)
        if max(reaches[:-1]) * _ROOM <= radius:
            contributions = contributions_of(approximation, reaches, row_norm)
            return Schedule("plain", approximation, points, reaches, contributions)
    return None


def _largest(holds: Callable[[float], bool], least: float, most: float) -> float | None:
    """About the largest number for which something holds that small ones meet; None for none."""
    if holds(most):
        return most
    if not holds(least):
        return None
    low, high = math.log(least), math.log(most)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(math.exp(middle)) else (low, middle)
    return math.exp(low)
