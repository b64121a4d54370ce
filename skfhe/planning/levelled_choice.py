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

_START = Scales(rows=17, labels=26, weights=24, margins=22)
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


def choose(task: Task, limits: Limits) -> Choice | None:
    """The cheapest ring and packing that hold a round; None if there is none."""
    for degree in sorted(MAX_MODULUS_BITS):
        candidates = layouts(degree, task.problem, task.n_owners)
        found = [_precise(task, limits, layout) for layout in candidates]
        for one in sorted(filter(None, found), key=_milliseconds):
            choice = _exact(one)
            if choice is not None and _violation(choice.bounds, limits) <= 0:
                return choice
    return None


def _exact(one: Levelled) -> Choice | None:
    """The same with the primes that SEAL chooses."""
    try:
        ring = chosen_ring(one.ring.poly_modulus_degree, one.ring.prime_bits)
        exact, counts = replace(one, ring=ring).traced()
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
    # Errors are the largest where weights are first encrypted, and where they are longest.
    last = len(one.gradients) - 1
    steps = sorted({0, min(1, last), last // 2, last})
    try:
        bounds = [step_bounds(one, step) for step in steps]
    except DepthExceeded:
        return None
    bounds = [replace(b, flooding=b.flooding * (last + 1) / len(steps)) for b in bounds]
    return _violation(bounds, limits), one


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
