"""Primes and packing for a network's circuit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..circuits.paired import pays
from ..crypto.parameters import MAX_MODULUS_BITS
from ..packing import Layout, NetworkLayout
from .encryption import ROW_BITS_SAVED, ideal_ring, last_primes
from .network_bounds import NetworkRequirement, count_step, error_bounds, sum_scale, trace_chunk
from .requirement import Bounds, Candidate, Circuit
from .traffic import Traffic

_MIN_SPECIAL_BITS = 40
# How many layouts are worth tracing, of those that an estimate finds cheapest.
_TRIED = 3


@dataclass(frozen=True)
class NetworkSizing:
    """Implements `Sizing` for a network with one hidden layer."""

    requirement: NetworkRequirement
    max_scale_bits: int = 56

    def layouts(self, degree: int) -> Iterator[NetworkLayout]:
        found = []
        for units in _powers(self.requirement.problem.hidden_units):
            for blocks in _powers(self.requirement.problem.n_columns):
                problem = self.requirement.problem
                rows = Layout(
                    degree,
                    problem.n_samples,
                    problem.n_columns,
                    units,
                    blocks,
                    self.requirement.n_owners,
                )
                layout = NetworkLayout(rows, problem.hidden_units, problem.n_outputs)
                if rows.rows_per_chunk >= 1 and layout.n_items <= rows.class_span:
                    found.append(layout)
        yield from sorted(found, key=self._estimate)[:_TRIED]

    def _estimate(self, layout: NetworkLayout) -> float:
        """About how long a step takes, in products of a row and a weight at the top.

        A key switch costs about five of these on the average, one at the last product's level two,
        and a fresh ciphertext ten.
        """
        rows, units, outputs = layout.rows, layout.unit_groups, layout.n_outputs
        data = rows.chunks * rows.groups
        switches = units * (5 + rows.feature_blocks.bit_length() + outputs)
        switches += outputs * (4 + 2 * len(layout.window_elements))
        products = 1.25 * units * data + 5 * rows.chunks * switches
        return products + 4 * layout.n_items + 10 * layout.n_weights

    def variants(self) -> Iterable[None]:
        """Every rescale has a prime of its own."""
        return (None,)

    def candidate(self, layout: NetworkLayout, variant: None, scale_bits: int) -> Candidate | None:
        """The last pair, a prime for every product between, and the first with the rows' scale."""
        requirement, rows = self.requirement, layout.rows
        row_bits = scale_bits - ROW_BITS_SAVED
        units = scale_bits + row_bits + math.log2(rows.class_span / rows.output_norm)
        pair = last_primes(requirement, units, scale_bits)
        if pair is None:
            return None
        between = requirement.activation.depth + requirement.polynomials[0].depth + 2
        first = row_bits + (2 * rows.feature_blocks).bit_length() - 1
        bits = (*pair, *[scale_bits] * between, first)
        room = MAX_MODULUS_BITS[rows.poly_modulus_degree] - sum(bits)
        if max(bits) > 60 or room < _MIN_SPECIAL_BITS:
            return None
        ring = ideal_ring(rows.poly_modulus_degree, (*bits, min(60, room)))
        return Candidate(ring, layout, scale_bits, row_bits, scale_bits - 1)

    def bounds(self, candidate: Candidate, whole: bool) -> Bounds:
        return error_bounds(self.requirement, candidate, whole)

    def counts(self, candidate: Candidate) -> Counter[tuple[str, int]]:
        return count_step(self.requirement, candidate)

    def circuit(self, candidate: Candidate) -> Circuit:
        layout, top = candidate.layout, candidate.ring.top_level
        divisor = self.requirement.largest_contribution
        traced = trace_chunk(self.requirement, candidate, -1, divisor)
        rows = layout.rows
        return Circuit(
            sum_scale=sum_scale(candidate, traced),
            output_norm=rows.output_norm,
            feature_blocks=rows.feature_blocks,
            unit_block=layout.block,
            label_level=min(traced.error.level + 1, top),
            presence_level=min(traced.value.level + 1, top),
            traffic=Traffic(
                len(layout.elements) + 1,
                layout.n_weights,
                rows.chunks * (rows.groups + layout.n_outputs + 1),
                rows.chunks if pays(rows.chunks, self.requirement.n_releases) else 0,
            ),
        )

    def needs(self) -> str:
        activation, polynomial = self.requirement.activation, self.requirement.polynomials[0]
        return (
            f"of a network with {self.requirement.problem.hidden_units} hidden units and degree "
            f"{activation.degree} on {self.requirement.problem.n_samples} rows takes "
            f"{activation.depth + polynomial.depth + 4} levels"
        )


def _powers(largest: int) -> list[int]:
    """Powers of two up to the first that is no smaller."""
    return [2**i for i in range((largest - 1).bit_length() + 1)]
