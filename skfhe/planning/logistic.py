"""Primes and packing for the linear model's circuit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from ..approximation import PolynomialApproximation
from ..circuits.arithmetic import Arithmetic
from ..circuits.paired import pays
from ..circuits.polynomial import FactoredPolynomial, evaluate
from ..crypto.parameters import MAX_MODULUS_BITS, Ring
from ..crypto.tracing import TracingEvaluator
from ..exceptions import DepthExceeded
from ..packing import Layout, layouts
from .encryption import ROW_BITS_SAVED, ideal_ring, last_primes
from .logistic_bounds import (
    LogisticRequirement,
    count_step,
    error_bounds,
    label_level,
    sum_scale,
    trace_core,
)
from .requirement import PRODUCT_LEVEL, Bounds, Candidate, Circuit
from .traffic import Traffic

_MIN_SPECIAL_BITS = 30
_MIN_SMALL_BITS = 22
# Bits saved on what is sent; with more chunks of rows it matters little how sums are merged.
_BITS_SAVED, _FEW_CHUNKS = 6, 4


@dataclass(frozen=True)
class LogisticSizing:
    """Implements `Sizing` for logistic regression."""

    requirement: LogisticRequirement
    max_scale_bits: int = 44

    def layouts(self, degree: int) -> Iterator[Layout]:
        """Every number of feature blocks that a ring dimension has room for."""
        return layouts(degree, self.requirement.problem, self.requirement.n_owners)

    def variants(self) -> Iterable[tuple[int, int]]:
        """How many early rescales have a prime of their own; bits saved on what is sent.

        Saving more than rows can bear is what leaves room for a large special prime, below which
        sums can be merged at the base level.
        """
        primes = range(1, self.requirement.polynomials[0].depth + 2)
        return [(0, 0), *product(primes, (0, _BITS_SAVED))]

    def bounds(self, candidate: Candidate, whole: bool) -> Bounds:
        requirement, ring = self.requirement, candidate.ring
        core = trace_core(requirement, candidate, -1).core
        if core.level < PRODUCT_LEVEL or label_level(candidate, core) > ring.top_level:
            raise DepthExceeded("the polynomial leaves no level for the last product.")
        indices = range(len(requirement.polynomials)) if whole else (0, -1)
        return error_bounds(requirement, candidate, indices)

    def counts(self, candidate: Candidate) -> Counter[tuple[str, int]]:
        return count_step(self.requirement, candidate)

    def circuit(self, candidate: Candidate) -> Circuit:
        layout = candidate.layout
        core = trace_core(self.requirement, candidate, -1).core
        rows = layout.groups * layout.chunks
        own = layout.chunks if pays(layout.chunks, self.requirement.n_releases) else 0
        return Circuit(
            sum_scale=sum_scale(candidate, core),
            output_norm=layout.output_norm,
            feature_blocks=layout.feature_blocks,
            unit_block=0,
            label_level=label_level(candidate, core),
            presence_level=0,
            traffic=Traffic(len(layout.elements) + 1, layout.groups, rows, own),
        )

    def needs(self) -> str:
        polynomial = self.requirement.polynomials[0]
        depth = polynomial.depth + (2 if polynomial.degree > 1 else 1)
        return (
            f"of degree {polynomial.degree} on {self.requirement.problem.n_samples} rows takes "
            f"{depth} levels"
        )

    def candidate(
        self, layout: Layout, variant: tuple[int, int], scale_bits: int
    ) -> Candidate | None:
        """Primes for some early rescales and one large pair for all later products.

        The first rescale removes the scale of rows and the factor 2m that projecting the margins
        puts on it. The products after the small primes are spent share the pair (q_0, q_1): q_1 is
        what the last rescale removes and q_0 holds the release. The special prime takes what is
        left. None if that is too little.
        """
        (n_small, saved), requirement = variant, self.requirement
        exponent = _last_exponent(requirement.polynomials[0].degree, n_small)
        if exponent is None or (saved and layout.chunks > _FEW_CHUNKS):
            return None
        doubled = (2 * layout.feature_blocks).bit_length() - 1
        rows = scale_bits - max(ROW_BITS_SAVED, saved)
        # What projecting adds to the first prime weights can do without.
        weights = scale_bits - min(saved, max(0, rows + doubled - _MIN_SMALL_BITS))
        first = rows + weights + doubled - scale_bits
        small = [scale_bits] * (n_small - 1) + [first] if n_small else []
        unspent = 0 if n_small else first * exponent
        scaled = exponent * scale_bits + unspent + rows
        units = scaled + math.log2(layout.class_span / layout.output_norm)
        pair = last_primes(requirement, units, scale_bits)
        if pair is None:
            return None
        room = MAX_MODULUS_BITS[layout.poly_modulus_degree] - sum(pair) - sum(small)
        if max(*pair, *small, 0) > 60 or room < _MIN_SPECIAL_BITS:
            return None
        ring = ideal_ring(layout.poly_modulus_degree, (*pair, *small, min(60, room)))
        merge_level = 0 if saved else PRODUCT_LEVEL
        return Candidate(ring, layout, weights, rows, scale_bits - 1, merge_level)


@lru_cache(maxsize=64)
def _last_exponent(degree: int, n_small: int) -> int | None:
    """The scale of the polynomial's value as a power of that of its argument.

    After `n_small` rescales, of which the first is the margins'. Read off a trace with
    idealised primes; None if the pair of large primes would be needed before.
    """
    bits = 26
    ring = Ring(32768, (1 << 60, 1 << 60, *[1 << bits] * n_small, 1 << 60))
    tracer = TracingEvaluator(ring)
    arithmetic = Arithmetic(tracer, 2.0 ** (bits - 1))
    u = tracer.fresh(ring.top_level, 2.0 ** (2 * bits if n_small else bits), 1.0)
    factored = FactoredPolynomial.of(PolynomialApproximation.fit(degree, 8.0), 1.0)
    try:
        core = evaluate(arithmetic, factored, arithmetic.settle(u))
    except DepthExceeded:
        return None
    return round(math.log2(core.scale) / bits) if core.level == 1 else None
