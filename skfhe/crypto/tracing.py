r"""A backend that computes nothing: it follows levels, scales, bounds and errors, and counts.

The plan is made from its readings, so what a plan predicts is what the circuit does.

Errors are followed to first order, source by source: a ciphertext knows by how much each
earlier rounding moves it (for each of a few message values), so that an error which reaches a
result along several paths adds up with its signs and not in absolute value. What a polynomial
does to an error of its argument is then its derivative, as it should be.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..exceptions import DepthExceeded
from . import errors
from .parameters import Ring

# Chebyshev points on [-1, 1]: a polynomial of degree D <= 30 is at most 1/cos(pi D / 2n), that
# is 1.02, times its largest value on n = 257 of them (Ehlich and Zeller 1964).
_POINTS = np.cos(np.pi * (np.arange(257) + 0.5) / 257)
_BETWEEN_POINTS = 1.02

Sources = dict[int, NDArray]


@dataclass(frozen=True)
class Traced:
    """What is known of a ciphertext without its contents.

    Attributes
    ----------
    level, scale, size : int, float, int
        As SEAL would report them.
    message : ndarray of shape () or (257,)
        A bound of the message in any slot; or, once a real message is claimed to lie in an
        interval, its value for each of 257 points of that interval.
    fixed, rounding : dict of int to ndarray
        Standard deviation in a slot, in message units, that each source of error causes: the
        sources that encryption randomness fixes whatever the data is, and the roundings that
        fall out anew when any row changes.
    """

    level: int
    scale: float
    size: int
    message: NDArray
    fixed: Sources = field(default_factory=dict)
    rounding: Sources = field(default_factory=dict)

    @property
    def bound(self) -> float:
        """Bound of the absolute value of the message."""
        largest = np.max(np.abs(self.message)) if self.message.ndim else abs(self.message)
        return float(largest) * _BETWEEN_POINTS

    @property
    def fixed_error(self) -> float:
        """Standard deviation of a slot's fixed error, for the worst message."""
        return _deviation(self.fixed)

    @property
    def rounding_error(self) -> float:
        """Standard deviation of a slot's rounding error, for the worst message."""
        return _deviation(self.rounding)


def _deviation(sources: Sources) -> float:
    total = sum((np.square(s) for s in sources.values()), np.zeros(()))
    return float(np.sqrt(np.max(total))) * _BETWEEN_POINTS


def _combine(a: Sources, left: NDArray | float, b: Sources, right: NDArray | float) -> Sources:
    """a left + b right, source by source."""
    combined = {key: value * left for key, value in a.items()}
    for key, value in b.items():
        combined[key] = combined[key] + value * right if key in combined else value * right
    return combined


class TracingEvaluator:
    """Counts operations by level and follows bounds and errors through a circuit.

    Parameters
    ----------
    ring : Ring
        The ring to trace in.
    follow_errors : bool, default=True
        Whether to follow errors; counting alone is faster.
    refreshed : float, default=inf
        Bound of refreshed messages' slots, where one is proved.

    Attributes
    ----------
    counts : Counter
        ``counts[operation, level]``, with operations "multiply", "multiply_plain",
        "key_switch", "rescale" and "add".
    """

    def __init__(self, ring: Ring, follow_errors: bool = True, refreshed: float = math.inf):
        self.ring = ring
        self.counts: Counter[tuple[str, int]] = Counter()
        self._follow = follow_errors
        self._refreshed = refreshed
        self._sources = 0

    def fresh(
        self, level: int, scale: float, bound: float, *, public: bool = False, dither: bool = False
    ) -> Traced:
        """A ciphertext as an owner or the key holder sends it."""
        error = errors.fresh_error(self.ring, level, public)
        encoding = errors.encoding_error(self.ring, dither)
        return self._checked(
            Traced(
                level,
                scale,
                2,
                np.asarray(bound),
                fixed=self._source(error, scale),
                rounding=self._source(encoding, scale),
            )
        )

    def level(self, a: Traced) -> int:
        return a.level

    def scale(self, a: Traced) -> float:
        return a.scale

    def claim(self, a: Traced, bound: float) -> Traced:
        """From here on the message is taken to be real and anywhere in [-bound, bound].

        Errors that were known for each value of an earlier message are taken at their largest.
        Without errors to follow the bound alone will do.
        """
        if not self._follow:
            return replace(a, message=np.asarray(bound))
        worst = [
            {
                key: np.max(np.abs(value)) * _BETWEEN_POINTS if value.ndim else value
                for key, value in s.items()
            }
            for s in (a.fixed, a.rounding)
        ]
        return replace(a, message=bound * _POINTS, fixed=worst[0], rounding=worst[1])

    def add(self, a: Traced, b: Traced) -> Traced:
        self.counts["add", a.level] += 1
        return self._sum(a, b)

    def _sum(self, a: Traced, b: Traced) -> Traced:
        return self._checked(
            Traced(
                a.level,
                a.scale,
                max(a.size, b.size),
                np.abs(a.message) + np.abs(b.message),
                _combine(a.fixed, 1.0, b.fixed, 1.0),
                _combine(a.rounding, 1.0, b.rounding, 1.0),
            )
        )

    def add_constant(self, a: Traced, value: float) -> Traced:
        return self._checked(replace(a, message=a.message + value))

    def multiply(self, a: Traced, b: Traced) -> Traced:
        self.counts["multiply", a.level] += 1
        return self._times(a, b)

    def _times(self, a: Traced, b: Traced) -> Traced:
        return self._product(
            Traced(
                a.level,
                a.scale * b.scale,
                3,
                a.message * b.message,
                _combine(a.fixed, b.message, b.fixed, a.message),
                _combine(a.rounding, b.message, b.rounding, a.message),
            )
        )

    def dot(self, left: Sequence[Traced], right: Sequence[Traced]) -> Traced:
        """Messages add up linearly, errors of different ciphertexts in quadrature.

        Terms that are one and the same object stand for ciphertexts that are alike.
        """
        level, n_terms = left[0].level, len(left)
        pairs = Counter((id(a), id(b)) for a, b in zip(left, right, strict=True))
        by_id = {id(a): a for a in (*left, *right)}
        terms = [(self.multiply(by_id[a], by_id[b]), n) for (a, b), n in pairs.items()]
        self.counts["multiply", level] += n_terms - len(terms)
        self.counts["add", level] += n_terms - 1
        total = replace(terms[0][0], message=np.asarray(sum(t.bound * n for t, n in terms)))
        if self._follow:
            fixed = math.hypot(*(t.fixed_error * math.sqrt(n) for t, n in terms))
            rounding = math.hypot(*(t.rounding_error * math.sqrt(n) for t, n in terms))
            total = replace(
                total, fixed=self._source_of(fixed), rounding=self._source_of(rounding)
            )
        return self.relinearize(self._checked(total))

    def accumulate(self, total: Traced, a: Traced, b: Traced) -> Traced:
        return self.add(total, self.multiply(a, b))

    def own(self, total: None, a: Traced, b: Traced) -> None:
        self.counts["multiply", a.level] += 1
        self.counts["add", a.level] += 1

    def crossed(
        self, total: Traced | None, a: tuple[Traced, Traced], b: tuple[Traced, Traced]
    ) -> Traced:
        self.counts["multiply", a[0].level] += 1
        self.counts["add", a[0].level] += 3
        product = self._sum(self._times(a[0], b[0]), self._times(a[1], b[1]))
        return product if total is None else self._sum(total, product)

    def without(self, total: Traced, *owns: None) -> Traced:
        self.counts["add", total.level] += len(owns)
        return total

    def relinearize(self, a: Traced) -> Traced:
        return replace(self._key_switched(a), size=2)

    def rescale(self, a: Traced) -> Traced:
        if a.level == 0:
            raise DepthExceeded("the circuit needs one level more than the parameters have.")
        self.counts["rescale", a.level] += 1
        scale = a.scale / self.ring.primes[a.level]
        error = self._source(errors.rescale_error(self.ring), scale)
        return self._checked(
            replace(a, level=a.level - 1, scale=scale, rounding=a.rounding | error)
        )

    def switch_to(self, a: Traced, level: int) -> Traced:
        if level > a.level:
            raise DepthExceeded("the circuit needs one level more than the parameters have.")
        return self._checked(replace(a, level=level))

    def multiply_constant(self, a: Traced, value: float, scale: float) -> Traced:
        """The constant is rounded to a multiple of 1/scale."""
        self.counts["multiply_plain", a.level] += 1
        constant = self._source_of(a.bound * 0.5 / scale)
        return self._product(
            replace(
                a,
                scale=a.scale * scale,
                message=a.message * value,
                fixed=_combine(a.fixed, value, {}, 0.0) | constant,
                rounding=_combine(a.rounding, value, {}, 0.0),
            )
        )

    def multiply_mask(self, a: Traced, period: int, scale: float) -> Traced:
        """The mask's rounding is a fixed error in proportion to the message."""
        self.counts["multiply_plain", a.level] += 1
        encoding = errors.encoding_error(self.ring, dither=False)
        rounding = a.bound * encoding * math.sqrt(self.ring.poly_modulus_degree) / scale
        masked = replace(a, scale=a.scale * scale, fixed=a.fixed | self._source_of(rounding))
        return self._checked(masked)

    def multiply_monomial(self, a: Traced, power: int) -> Traced:
        self.counts["multiply_plain", a.level] += 1
        return a

    def project(self, a: Traced, element: int) -> Traced:
        """Averaging two slots keeps the bound; their errors are taken as uncorrelated."""
        self.counts["add", a.level] += 1
        moved = self._key_switched(replace(a, scale=2 * a.scale, fixed={}, rounding={}))
        half = math.sqrt(0.5)
        return replace(
            moved,
            fixed=_combine(a.fixed, half, {}, 0.0) | moved.fixed,
            rounding=_combine(a.rounding, half, {}, 0.0) | moved.rounding,
        )

    def add_image(self, a: Traced, element: int) -> Traced:
        """Two slots' messages add up; their errors are taken as uncorrelated."""
        self.counts["add", a.level] += 1
        moved = self._key_switched(replace(a, fixed={}, rounding={}))
        root = math.sqrt(2.0)
        return self._checked(
            replace(
                moved,
                message=np.asarray(2 * a.bound),
                fixed=self._source_of(root * a.fixed_error) | moved.fixed,
                rounding=self._source_of(root * a.rounding_error) | moved.rounding,
            )
        )

    def automorphism(self, a: Traced, element: int) -> Traced:
        return self._key_switched(a)

    def scaled(self, a: Traced, factor: float) -> Traced:
        return replace(
            a,
            scale=a.scale / abs(factor),
            message=a.message * factor,
            fixed=_combine(a.fixed, factor, {}, 0.0),
            rounding=_combine(a.rounding, factor, {}, 0.0),
        )

    def refresh(self, a: Traced) -> Traced:
        """A slot has an error from every coefficient that is kept; the sine is left to others."""
        refreshing = self.ring.refreshing
        if refreshing is None:
            raise ValueError("this ring's ciphertexts cannot be refreshed.")
        if a.level == 0:
            raise DepthExceeded("the circuit needs one level more than the parameters have.")
        self.counts["refresh", a.level] += 1
        kept = math.sqrt(2 * refreshing.slots)
        error = self._source_of(errors.refresh_error(self.ring) * kept / a.scale)
        message = np.minimum(np.asarray(a.bound), self._refreshed)
        return self._checked(
            replace(a, level=refreshing.level, message=message, rounding=a.rounding | error)
        )

    def split(self, a: Traced, power: int, element: int) -> tuple[Traced, Traced]:
        self.counts["multiply_plain", a.level] += 1
        self.counts["add", a.level] += 1
        part = self.project(a, element)
        return part, part

    def merge(self, a: Traced, b: Traced, power: int, element: int) -> Traced:
        self.counts["multiply_plain", a.level] += 1
        self.counts["add", a.level] += 2
        both = replace(
            a,
            message=np.asarray(a.bound + b.bound),
            fixed=_combine(a.fixed, 1.0, b.fixed, 1.0),
            rounding=_combine(a.rounding, 1.0, b.rounding, 1.0),
        )
        return self.project(both, element)

    def worse(self, a: Traced, b: Traced) -> Traced:
        """A, with the larger of the two errors."""
        return replace(
            a,
            fixed=self._source_of(max(a.fixed_error, b.fixed_error)),
            rounding=self._source_of(max(a.rounding_error, b.rounding_error)),
        )

    def _key_switched(self, a: Traced) -> Traced:
        self.counts["key_switch", a.level] += 1
        error = self._source(errors.key_switch_error(self.ring, a.level), a.scale)
        offset = self._source_of(errors.key_switch_offset(self.ring, a.level) / a.scale)
        return replace(a, fixed=a.fixed | offset, rounding=a.rounding | error)

    def _source(self, coefficient_error: float, scale: float) -> Sources:
        """A new source; a slot errs by sqrt(N) times as much as a coefficient."""
        return self._source_of(
            coefficient_error * math.sqrt(self.ring.poly_modulus_degree) / scale
        )

    def _source_of(self, deviation: float) -> Sources:
        if not self._follow:
            return {}
        self._sources += 1
        return {self._sources: np.asarray(deviation)}

    def _product(self, a: Traced) -> Traced:
        """SEAL wants a product's scale itself below Q, however small the message is."""
        if math.log2(a.scale) >= self.ring.modulus_bits(a.level):
            raise DepthExceeded(
                f"at level {a.level} a product has a scale of {math.log2(a.scale):.1f} bits, but "
                f"the modulus has {self.ring.modulus_bits(a.level):.1f}; use a smaller scale or "
                "more primes."
            )
        return self._checked(a)

    def _checked(self, a: Traced) -> Traced:
        """A coefficient never exceeds scale times the largest slot; it must fit Q/2."""
        needed = math.log2(a.scale * max(a.bound, 2.0**-40)) + 1
        available = self.ring.modulus_bits(a.level)
        if needed > available - 1:
            raise DepthExceeded(
                f"at level {a.level} the message needs {needed + 1:.1f} bits, but the modulus "
                f"has {available:.1f}; use a smaller scale, a lower degree or more primes."
            )
        return a
