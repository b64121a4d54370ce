"""Choosing ring, scales and packing for several steps: the cheapest that keep errors small."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

from ..crypto.parameters import MAX_MODULUS_BITS
from ..exceptions import DepthExceeded
from ..packing import Layout, layouts
from . import cost
from .encryption import chosen_ring
from .levelled import Levelled, Scales, Task, build
from .levelled_bounds import StepBounds, step_bounds
from .refreshed import candidates
from .rings import REFRESHED_DEGREE, needed_slots, refreshing_rings

_START = Scales(rows=17, labels=26, weights=24, margins=22)
# Of refreshed rounds so many are traced as a whole, if some of their steps say that it may help.
_MOST_TRACED = 40
_MOST = Scales(rows=40, labels=50, weights=50, margins=50)
# Bits of a round that one more bit of a scale takes, per step.
_PRICES = {"rows": 2.0, "labels": 0.3, "weights": 0.5, "margins": 2.0}


@dataclass(frozen=True)
class Limits:
    """What errors must stay below, at every step; `flooding` over all steps of a round."""

    error: float
    row_slack: float
    margin_slack: float
    told: float
    flooding: float


@dataclass(frozen=True)
class Choice:
    """A ring with exact scales, what errors can do in it, and the operations of a round."""

    levelled: Levelled
    bounds: tuple[StepBounds, ...]
    counts: Counter[tuple[str, int]]


def choose(task: Task, limits: Limits, refresh: bool = False) -> Choice | None:
    """The cheapest ring and packing that hold a round; None if there is none.

    With `refresh`, one whose ciphertexts are refreshed whenever their levels are spent.
    """
    if refresh:
        return _choose_refreshed(task, limits)
    for degree in sorted(MAX_MODULUS_BITS):
        candidates = layouts(degree, task.problem, task.n_owners)
        found = [_precise(task, limits, layout) for layout in candidates]
        for one in sorted(filter(None, found), key=_milliseconds):
            choice = _exact(one)
            if choice is not None and _violation(choice.bounds, limits) <= 0:
                return choice
    return None


def _choose_refreshed(task: Task, limits: Limits) -> Choice | None:
    """As `choose`, of all packings, rings that refresh, and scales."""
    found: list[Levelled] = []
    for layout in layouts(REFRESHED_DEGREE, task.problem, task.n_owners):
        n_carried = max((len(one) for one in task.schedule.carried_norms), default=1)
        slots = needed_slots(layout, n_carried)
        if slots > layout.slots // 2:
            continue
        for ring in refreshing_rings(slots):
            found += candidates(task, layout, ring)
    tried = 0
    for one in sorted(found, key=_refreshed_milliseconds):
        if not _precise_here_and_there(one, limits):
            continue
        choice = _traced(one)
        if choice is not None and _violation(choice.bounds, limits) <= 0:
            return choice
        tried += 1
        if tried == _MOST_TRACED:
            break
    return None


def _precise_here_and_there(one: Levelled, limits: Limits) -> bool:
    """Whether some steps are, one by one as each takes a while."""
    last = len(one.gradients) - 1
    try:
        return all(
            _violation([step_bounds(one, step)], limits) <= 0
            for step in {0, min(1, last), last // 2, last}
        )
    except DepthExceeded:
        return False


def _refreshed_milliseconds(one: Levelled) -> float:
    """About what a round takes, refreshes included."""
    counts = Counter({("refresh", 1): 2 * len(one.refreshes)})
    return _milliseconds(one) + cost.evaluation_milliseconds(one.ring, counts)


def _exact(one: Levelled) -> Choice | None:
    """The same with the primes that SEAL chooses."""
    try:
        ring = chosen_ring(one.ring.poly_modulus_degree, one.ring.prime_bits)
    except DepthExceeded:
        return None
    return _traced(replace(one, ring=ring))


def _traced(one: Levelled) -> Choice | None:
    """With exact scales, bounds at every step, and operations; None if it does not fit."""
    try:
        exact, counts = one.traced()
    except DepthExceeded:
        return None
    bounds = tuple(step_bounds(exact, step) for step in range(len(exact.gradients)))
    return Choice(exact, bounds, counts)


def _precise(task: Task, limits: Limits, layout: Layout) -> Levelled | None:
    """Scales raised bit by bit, where that helps most for its price, until errors are small."""
    scales = _START
    tried = _tried(task, limits, layout, scales)
    while tried is not None and tried[0] > 0:
        steps = []
        for name, price in _PRICES.items():
            if name == "margins" and task.schedule.approximation.degree == 1:
                continue
            raised = replace(scales, **{name: getattr(scales, name) + 1})
            if getattr(raised, name) <= getattr(_MOST, name):
                found = _tried(task, limits, layout, raised)
                if found is not None:
                    steps.append(((tried[0] - found[0]) / price, raised, found))
        if not steps:
            return None
        _, scales, tried = max(steps, key=lambda step: step[0])
    return None if tried is None else tried[1]


def _tried(
    task: Task, limits: Limits, layout: Layout, scales: Scales
) -> tuple[float, Levelled] | None:
    """By how much limits are exceeded, and the ring; None if there is none as large."""
    one = build(task, layout, scales)
    if one is None:
        return None
    bounds = _sampled(one)
    return (_violation(bounds, limits), one) if bounds else None


def _sampled(one: Levelled) -> list[StepBounds]:
    """Bounds of some steps, with the flooding of all; none if the circuit does not fit.

    Errors are the largest where weights are first encrypted, and where they are longest.
    """
    last = len(one.gradients) - 1
    steps = sorted({0, min(1, last), last // 2, last})
    try:
        bounds = [step_bounds(one, step) for step in steps]
    except DepthExceeded:
        return []
    return [replace(b, flooding=b.flooding * (last + 1) / len(steps)) for b in bounds]


def _violation(bounds, limits: Limits) -> float:
    """Sum over limits of the logarithm of what exceeds them."""
    figures = (
        (max(b.error for b in bounds), limits.error),
        (max(b.row_slack for b in bounds), limits.row_slack),
        (max(b.margin_slack for b in bounds), limits.margin_slack),
        (max(b.told for b in bounds), limits.told),
        (math.fsum(b.flooding for b in bounds), limits.flooding),
    )
    return sum(max(0.0, math.log(have / limit)) for have, limit in figures if have > limit)


def _milliseconds(one: Levelled) -> float:
    """About what a round takes: key switches and products, by level."""
    layout, counts = one.layout, Counter()
    items, ciphertexts = layout.groups * layout.feature_blocks, layout.groups * layout.chunks
    per_chunk = (
        2 + (layout.feature_blocks.bit_length() - 1) + one.task.schedule.approximation.depth
    )
    tail = (layout.class_span.bit_length() - 1) - (items - 1).bit_length()
    for level, _ in one.gradients:
        counts["key_switch", level + 1] += per_chunk * layout.chunks + layout.groups
        counts["key_switch", level + 1] += 2 * items + tail
        counts["multiply", level + 1] += 2 * ciphertexts
    return cost.evaluation_milliseconds(one.ring, counts)
