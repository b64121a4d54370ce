r"""Scales and refreshes for rounds whose steps are more than any modulus holds.

Primes are given (`skfhe.planning.rings`), so scales are fitted to them: a step's gradient is
rescaled until its noise can be encoded exactly, and must then still be above what its roundings
call for. Refreshes come as late as levels allow, each with one of its error
(`skfhe.circuits.refreshing`): the first lift brings the largest message that the certificate
admits to a small share of the base prime, the second does the same with the largest error, and
the last sets the scale of what follows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from ..circuits.arithmetic import Arithmetic
from ..circuits.polynomial import FactoredPolynomial, evaluate
from ..crypto.parameters import Ring
from ..crypto.tracing import TracingEvaluator
from ..exceptions import DepthExceeded
from ..packing import Layout
from ..privacy.sensitivity import row_norm
from .levelled import (
    MOST_NOISE_BITS,
    Levelled,
    Scales,
    Task,
    factors,
    noise_units,
    waterline,
)
from .refreshed_error import largest_error
from .schedule import REFRESHED_SHARE

_ROWS, _MARGINS = (*range(20, 34), *range(34, 60, 4)), (22, 28, 34, 40, 46, 52, 58)
_REFRESHED, _LABELS, _WEIGHTS = (36, 32, 28, 24), range(60, 30, -6), 24
_MOST_REFRESHED = 50
# Bits that a product's modulus has beside its scale: for the message, and for half bits.
_ROOM = 4
# Scales of the search are nearly those of the circuit.
_NEARLY = 0.99
# Labels are brought to a residual's scale by a constant of at least so many bits.
_LANDING = 20


@dataclass(frozen=True)
class _Place:
    """Level and log2 of the scale of a ciphertext."""

    level: int
    bits: float


class _Search:
    """Puts one step after another where it fits.

    Parameters
    ----------
    task, layout, ring
        As in `Levelled`.
    """

    def __init__(self, task: Task, layout: Layout, ring: Ring):
        self._task, self._layout, self._ring = task, layout, ring
        self._scales, self._most = Scales(0, 0, 0, 0), 0
        self._steps = len(task.schedule.points)
        self._latest = [abs(row[-1]) for row in factors(task, layout)]
        self._noise = noise_units(task, layout)
        self._factored = FactoredPolynomial.of(task.schedule.approximation, 1.0)
        self._primes = [math.log2(prime) for prime in ring.primes[: ring.top_level + 1]]
        self._items = (layout.groups * layout.feature_blocks - 1).bit_length()

    def found(self, scales: Scales) -> Levelled | None:
        """Every gradient's place, and the refreshes; None if there are none."""
        self._scales, self._most = scales, self._ring.top_level
        gradients, refreshes = self._segment(0, None), list[int]()
        lifts = list[tuple[int, int, int]]()
        while gradients and len(gradients) < self._steps:
            step = len(gradients)
            point = self._after(step - 1, gradients[-1])
            triple, following = self._refreshed(step, point)
            if not following:
                return None
            gradients += following
            refreshes.append(step)
            lifts.append(triple)
        if not gradients:
            return None
        taken = tuple((one.level, 2.0**one.bits) for one in gradients)
        task, ring = self._task, self._ring
        return Levelled(
            task, ring, self._layout, self._scales, taken, tuple(refreshes), tuple(lifts)
        )

    def _segment(self, first: int, point: _Place | None) -> list[_Place]:
        """Places of gradients from a step on, as far as levels last."""
        places: list[_Place] = []
        for step in range(first, self._steps):
            place = self._gradient(step, point, last=step == self._steps - 1)
            if place is None:
                break
            places.append(place)
            point = self._after(step, place)
        return places

    def _after(self, step: int, gradient: _Place) -> _Place:
        """The point after a step, whose scale is declared."""
        return _Place(gradient.level, gradient.bits - math.log2(self._latest[step]))

    def _refreshed(self, step: int, point: _Place) -> tuple[tuple[int, int, int], list[_Place]]:
        """Lifts for the largest scale that lets most steps follow, and these steps' places."""
        best: tuple[tuple[int, int, int], list[_Place]] = (1, 1, 1), []
        for bits in range(_MOST_REFRESHED, self._scales.refreshed - 1, -4):
            triple = self._lifts(step, point, bits)
            prime = self._ring.primes[self._ring.top_level]
            landed = point.bits + math.log2(max(1, math.prod(triple)) / prime)
            fresh = _Place(self._ring.top_level - 1, landed + self._n_carried(step) - 1)
            following = self._segment(step, fresh) if math.prod(triple) >= 1 else []
            if len(following) > len(best[1]):
                best = triple, following
            if len(following) == min(self._most, self._steps - step):
                break
        self._most = len(best[1])
        return best

    def _n_carried(self, step: int) -> int:
        return len(self._task.schedule.carried_norms[step - 1])

    def _lifts(self, step: int, point: _Place, bits: int) -> tuple[int, int, int]:
        """The integers that messages, their errors and what is left are multiplied by."""
        norms, points = self._task.schedule.carried_norms[step - 1], self._task.schedule.points
        # The second one keeps the scale that its own coefficient gives it.
        ratios = [1.0] + [points[step - 1][-1] / points[step][step - 1]] * (len(norms) - 1)
        largest = abs(self._factored.alpha) * max(
            n * abs(r) for n, r in zip(norms, ratios, strict=True)
        )
        base, prime = self._ring.primes[0], self._ring.primes[self._ring.top_level]
        first = math.floor(_NEARLY * REFRESHED_SHARE * base / (largest * 2.0**point.bits))
        second = math.floor(REFRESHED_SHARE * base / largest_error(self._ring))
        wanted = 2.0 ** (bits - point.bits) * prime
        return first, second, math.floor(wanted / max(1, first * second))

    def _gradient(self, step: int, point: _Place | None, last: bool) -> _Place | None:
        """Where a step's gradient ends, if its levels do not."""
        layout, scales, ring = self._layout, self._scales, self._ring
        residual = _Place(ring.top_level, float(scales.labels))
        if point is not None:
            apart = self._items if step else 0
            bits = point.bits + apart + scales.rows + math.log2(2 * layout.feature_blocks)
            found = self._residual(_Place(point.level, bits))
            if found is None:
                return None
            residual = found
        merged = residual.bits + scales.rows + math.log2(layout.class_span)
        level = residual.level
        if merged + _ROOM > ring.modulus_bits(level):
            return None
        most = MOST_NOISE_BITS - math.log2(self._noise[step])
        while merged > most and level > 0:
            merged -= self._primes[level]
            level -= 1
        least = scales.weights + math.log2(self._latest[step])
        # A level is left for the refresh, or the last point must fit the base prime.
        room = ring.modulus_bits(0) - 1 - math.log2(self._largest) if last else math.inf
        enough = level >= (0 if last else 1)
        fits = least <= merged <= min(most, room + math.log2(self._latest[step]))
        return _Place(level, merged) if enough and fits else None

    @property
    def _largest(self) -> float:
        """Of the last point, with the noise on all other coefficients."""
        task = self._task
        reach = task.schedule.reaches[-1] / row_norm(task.problem.intercept_column)
        spread = self._noise[-1] * self._latest[-1] * math.sqrt(task.n_owners)
        return 2 * (2 * reach + 16 * spread)

    def _of_polynomial(self, margin: _Place) -> _Place | None:
        """Between two traces, half a bit apart, that rescale alike: scales are products."""
        line = waterline(self._task.schedule.approximation.degree, self._scales)
        halves = math.floor(2 * margin.bits)
        low, high = (
            _evaluated(self._ring, self._factored, line, margin.level, halves + i) for i in (0, 1)
        )
        if low is None or high is None or low.level != high.level:
            return None
        share = 2 * margin.bits - halves
        return _Place(low.level, low.bits + share * (high.bits - low.bits))

    def _residual(self, margin: _Place) -> _Place | None:
        """Of a margin, which must leave labels a constant to be brought to its scale by."""
        approximation, scales = self._task.schedule.approximation, self._scales
        found: _Place | None = margin
        if approximation.degree > 1:
            found = self._of_polynomial(margin)
        if found is None:
            return None
        above = [*self._primes, 0.0][found.level + 1]
        landing = found.bits + above - scales.labels
        return found if landing >= _LANDING else None


@lru_cache(maxsize=1 << 16)
def _evaluated(
    ring: Ring, factored: FactoredPolynomial, line: float, level: int, halves: int
) -> _Place | None:
    """Where a polynomial of a margin ends, read off a trace."""
    tracer = TracingEvaluator(ring, follow_errors=False)
    arithmetic = Arithmetic(tracer, line)
    try:
        u = arithmetic.settle(tracer.fresh(level, 2.0 ** (halves / 2), factored.reach))
        core = evaluate(arithmetic, factored, u)
    except DepthExceeded:
        return None
    return _Place(core.level, math.log2(core.scale))


def candidates(task: Task, layout: Layout, ring: Ring) -> list[Levelled]:
    """All scales that fit, in no order."""
    margins = _MARGINS if task.schedule.approximation.degree > 1 else _MARGINS[:1]
    found, search = [], _Search(task, layout, ring)
    for rows, bits, refreshed in product(_ROWS, margins, _REFRESHED):
        for labels in _LABELS:
            one = search.found(Scales(rows, labels, _WEIGHTS, bits, refreshed))
            if one is not None:
                found.append(one)
                break
    return found
