r"""What steps need of those before a refresh.

Every point is a fixed linear combination of all noised gradients, w_t = w_0 + sum_{s<t} c_{t,s}
v_s. Where ciphertexts are refreshed not all of them can be: but steps with momentum remember two
vectors, plain ones one. Of the coefficients' block of later points and earlier gradients the rank
is that number, so its first rows span it: what is *carried* over a refresh before step b is the
point w_b itself and, if one does not do, the part of w_{b+1} that is known by then. All later
points are combinations of what is carried and of later gradients.

The *sources* of a segment's points are its carried vectors and then its gradients, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..approximation import PolynomialApproximation
from ..packing import Layout
from .polynomial import FactoredPolynomial

# What coefficients may differ by from a combination of those carried, relatively.
_TOLERANCE = 1e-9
MOST_CARRIED = 2

Rows = tuple[tuple[float, ...], ...]


def point_factors(
    points: Sequence[Sequence[float]],
    approximation: PolynomialApproximation,
    n_samples: int,
    layout: Layout,
) -> list[list[float]]:
    """What merged means over slots are multiplied by: for scaled weights but in the last point.

    Parameters
    ----------
    points : sequence of sequence of float
        c_{t,s} of mean gradients over rows.
    approximation : PolynomialApproximation
        p, whose argument's scale weights are multiplied by.
    n_samples : int
        Rows that gradients are means over.
    layout : Layout
        Whose slots they are means over when merged.
    """
    alpha = FactoredPolynomial.of(approximation, 1.0).alpha
    mean = layout.rows_per_chunk / n_samples
    return [
        [-c * mean * (alpha if t < len(points) else 1.0) for c in row]
        for t, row in enumerate(points, start=1)
    ]


@dataclass(frozen=True)
class Segment:
    """Steps that follow a refresh, or the first ones.

    Attributes
    ----------
    first : int
        The first step.
    carried : tuple of tuple of float
        What is refreshed before it: factors of the sources of the segment before. None in the
        first segment.
    points : tuple of tuple of float
        For every step: factors of the sources for the point after it. The last segment's last
        is the result; elsewhere the point after the last step is what the next one carries first.
    """

    first: int
    carried: Rows
    points: Rows

    @property
    def steps(self) -> range:
        """The steps."""
        return range(self.first, self.first + len(self.points))


def segments(points: Sequence[Sequence[float]], refreshes: Sequence[int]) -> tuple[Segment, ...]:
    """Steps apart at refreshes.

    Parameters
    ----------
    points : sequence of sequence of float
        c_{t,s} for t = 1, ..., k and s < t.
    refreshes : sequence of int
        Steps before which there is one, ascending.

    Raises
    ------
    ValueError
        If later steps need more of the earlier ones than can be carried.
    """
    steps = len(points)
    bounds = [0, *refreshes, steps]
    if not all(a < b for a, b in pairwise(bounds)):
        raise ValueError(f"refreshes must be ascending and within {steps} steps.")
    table = np.zeros((steps, steps))
    for row, factors in enumerate(points):
        table[row, : len(factors)] = factors
    found: list[Segment] = []
    # Every row's combination of what the segment carries; carried vectors are rows too.
    combined = np.zeros((steps, 0))
    for first, end in pairwise(bounds):
        rows: list[NDArray] = []
        if first:
            start = found[-1].first
            rank, following = _combined(table[first - 1 :, :first])
            known = np.hstack([combined, table[:, start:first]])
            rows = [*known[first - 1 : first - 1 + rank]]
            combined = np.vstack([np.zeros((first - 1, rank)), following])
        here = np.hstack([combined, table[:, first:]])
        n_carried = combined.shape[1]
        found.append(
            Segment(
                first,
                tuple(tuple(row.tolist()) for row in rows),
                tuple(
                    tuple(here[step, : n_carried + step - first + 1].tolist())
                    for step in range(first, end)
                ),
            )
        )
    return tuple(found)


def n_carried(points: Sequence[Sequence[float]], step: int) -> int:
    """How many vectors a refresh before a step must carry."""
    table = np.array([row[:step] for row in points[step - 1 :]], dtype=float)
    return _combined(table)[0]


def _combined(block: NDArray) -> tuple[int, NDArray]:
    """How many of the first rows span all, and every row's combination of them."""
    # Row by row: a large one must not lend its tolerance to others, which are certified.
    largest = np.max(np.abs(block), axis=1, keepdims=True)
    for rank in range(1, MOST_CARRIED + 1):
        basis = block[:rank]
        combined = np.linalg.lstsq(basis.T, block.T, rcond=None)[0].T
        if np.all(np.abs(combined @ basis - block) <= _TOLERANCE * largest):
            combined[:rank] = np.eye(rank)[: len(block)]
            return rank, combined
    raise ValueError(f"steps need more than {MOST_CARRIED} vectors of those before a refresh.")
