"""What every circuit needs: products that settle their scale, sums over rows, merging."""

from __future__ import annotations

from collections.abc import Sequence

from ..crypto.backend import Ciphertext, Evaluator
from ..packing import Layout


class Arithmetic:
    """A backend with a rule for when to rescale.

    A ciphertext is rescaled as soon as that leaves its scale at or above the *waterline*
    (Dathathri et al. 2020, EVA). With primes as large as a scale this is a rescale after each
    product; with larger ones several products share one, which keeps ciphertexts and key
    switches small.

    Parameters
    ----------
    backend : Evaluator
        Any backend.
    waterline : float
        Smallest scale that a message may be rescaled to.
    """

    def __init__(self, backend: Evaluator, waterline: float):
        self.backend = backend
        self.waterline = waterline

    def settle(self, a: Ciphertext) -> Ciphertext:
        """Rescale while the waterline allows."""
        backend = self.backend
        while backend.level(a) > 0:
            prime = backend.ring.primes[backend.level(a)]
            if backend.scale(a) / prime < self.waterline:
                break
            a = backend.rescale(a)
        return a

    def align(self, a: Ciphertext, b: Ciphertext) -> tuple[Ciphertext, Ciphertext]:
        """Both at the lower of the two levels."""
        level = min(self.backend.level(a), self.backend.level(b))
        return self.backend.switch_to(a, level), self.backend.switch_to(b, level)

    def product(self, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """A b, relinearised and settled."""
        a, b = self.align(a, b)
        return self.settle(self.backend.relinearize(self.backend.multiply(a, b)))

    def land(self, a: Ciphertext, level: int, scale: float, value: float = 1.0) -> Ciphertext:
        """A constant times a, at a level and exactly at a scale.

        The constant is encoded at what is missing from the scale; one level higher, where there
        is one, as the prime in between makes it more precise.
        """
        backend = self.backend
        a = backend.switch_to(a, min(backend.level(a), level + 1))
        above = backend.ring.primes[level + 1 : backend.level(a) + 1]
        for prime in above:
            scale *= prime
        a = backend.multiply_constant(a, value, scale / backend.scale(a))
        return backend.rescale(a) if above else a

    def masked(self, a: Ciphertext, period: int) -> Ciphertext:
        """A where the slot is a multiple of the period, zero elsewhere; a level lower."""
        prime = self.backend.ring.primes[self.backend.level(a)]
        return self.backend.rescale(self.backend.multiply_mask(a, period, float(prime)))

    def square(self, a: Ciphertext) -> Ciphertext:
        """A a, relinearised and settled."""
        return self.settle(self.backend.relinearize(self.backend.multiply(a, a)))


def merge_all(backend: Evaluator, layout: Layout, items: Sequence[Ciphertext]) -> Ciphertext:
    """The S parts of all items in one ciphertext, everything else exactly zero.

    Item q ends at the coefficients ``layout.offsets(len(items))[q]`` + multiples of N/2C. A binary
    tree pairs neighbours while there is more than one item and projects the last one further
    to the end, at one automorphism per node: as few as items, plus log2(rows).
    """
    for step, element in enumerate(layout.sum_elements):
        power = layout.class_span >> (step + 1)
        merged = [
            backend.merge(items[i], items[i + 1], power, element)
            for i in range(0, len(items) - 1, 2)
        ]
        if len(items) % 2:
            merged.append(backend.project(items[-1], element))
        items = merged
    return items[0]


def split_all(
    backend: Evaluator, layout: Layout, merged: Ciphertext, n_items: int
) -> list[Ciphertext]:
    """The conjugates of what `merge_all` put together, one by one: its tree backwards.

    After the conjugation item q sits at minus its offset. Bits of q are split off from the
    highest, whose power of X is the finest: its automorphism leaves all coarser ones alone. One
    automorphism for every item but the first, and one for the conjugation; all scales end up
    alike, doubled for every bit.
    """
    items = [backend.automorphism(merged, 2 * backend.ring.poly_modulus_degree - 1)]
    for bit in reversed(range((n_items - 1).bit_length())):
        power, element = -(layout.class_span >> (bit + 1)), layout.sum_elements[bit]
        parts: list[Ciphertext] = []
        for prefix, item in enumerate(items):
            if (2 * prefix + 1) << bit < n_items:
                parts += backend.split(item, power, element)
            else:  # nothing is at the odd places: only the scale is doubled
                parts.append(backend.scaled(backend.add(item, item), 0.5))
        items = parts
    return items
