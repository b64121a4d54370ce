"""The part of a training plan that says what an evaluator does alone; a public value."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

# Fields that came later: at their default they are left out of JSON and so of the digest.
LATER = {"later": True}


@dataclass(frozen=True)
class Rounds:
    """Steps that the evaluator takes alone between two visits to the key holder.

    All of it is public; docs/proofs/rounds.md, statements 11 to 15, is what it rests on.

    Attributes
    ----------
    steps : int
        The number k of steps of a round.
    certificate : str
        What bounds margins beforehand (`skfhe.privacy.trajectory`): "spectral", "energy" or
        "plain".
    coefficients : tuple of float
        The c_{t,s} for t = 1, ..., k and s < t, row after row: a round's point t is its first less
        their sum over the noised mean gradients v_s.
    probability : float
        That the certificate fails over the whole run; comes out of delta.
    reaches : tuple of float
        Bounds of any row's margin at the points 0, ..., k of a round.
    contributions : tuple of float
        S_t: what a row contributes at most at the points 0, ..., k - 1.
    noise_levels : tuple of int
        Levels of the gradients 0, ..., k - 1.
    noise_scales : tuple of float
        Their scales.
    noise_units : tuple of int
        The spread sigma of the noise on each of their coefficients, in integer units.
    refreshes, lifts : tuple of int
        Steps before which the evaluator refreshes what the following ones need of those before,
        and three integers for each that it is multiplied by meanwhile
        (`skfhe.circuits.refreshing`); none where the levels last.
    """

    steps: int
    certificate: str
    coefficients: tuple[float, ...]
    probability: float
    reaches: tuple[float, ...]
    contributions: tuple[float, ...]
    noise_levels: tuple[int, ...]
    noise_scales: tuple[float, ...]
    noise_units: tuple[int, ...]
    refreshes: tuple[int, ...] = field(default=(), metadata=LATER)
    lifts: tuple[int, ...] = field(default=(), metadata=LATER)

    @property
    def lift_triples(self) -> list[tuple[int, int, int]]:
        """The lifts of every refresh."""
        return list(zip(*[iter(self.lifts)] * 3, strict=True))

    @property
    def points(self) -> list[tuple[float, ...]]:
        """The coefficients of every point, those of the point 1 first."""
        starts = [t * (t + 1) // 2 for t in range(self.steps + 1)]
        return [self.coefficients[a:b] for a, b in pairwise(starts)]
