"""What every circuit needs: products that settle their scale, sums over rows, merging."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
    merge_level : int, default=1
        What sums over rows are rescaled to before they are merged: key switches are the cheaper
        the lower, but below large primes they err by more than small scales bear.
    """

    def __init__(self, backend: Evaluator, waterline: float, merge_level: int = 1):
        self.backend = backend
        self.waterline = waterline
        self.merge_level = merge_level

    def settle(self, a: Ciphertext) -> Ciphertext:
        """Rescale while the waterline allows."""
        backend = self.backend
        while backend.level(a) > 0:
            prime = backend.ring.primes[backend.level(a)]
            if backend.scale(a) / prime < self.waterline:
                break
            a = backend.rescale(a)
        return a

    def lowered(self, a: Ciphertext, level: int) -> Ciphertext:
        """Rescale down to a level."""
        while self.backend.level(a) > level:
            a = self.backend.rescale(a)
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


def projected(arithmetic: Arithmetic, layout: Layout, u: Ciphertext) -> Ciphertext:
    """Margins from the products of rows and weights, added up and relinearised: settled."""
    for element in layout.margin_elements:
        u = arithmetic.backend.project(u, element)
    return arithmetic.settle(u)


def merge_all(backend: Evaluator, layout: Layout, items: Iterable[Ciphertext]) -> Ciphertext:
    """The S parts of all items in one ciphertext, everything else exactly zero.

    Item q ends at the coefficients ``layout.offsets(n)[q]`` + multiples of N/2C. A binary tree
    pairs neighbours while there is more than one item and projects the last one further to the
    end, at one automorphism per node: as few as items, plus log2(rows). Items are merged as they
    come, so that only one for every level of the tree is in memory.
    """
    waiting: dict[int, Ciphertext] = {}

    def put(item: Ciphertext, step: int) -> None:
        """Let an item meet the one that waits for it at a level of the tree, if there is one."""
        while step in waiting:
            power, element = layout.class_span >> (step + 1), layout.sum_elements[step]
            item = backend.merge(waiting.pop(step), item, power, element)
            step += 1
        waiting[step] = item

    for item in items:
        put(item, 0)
    for step, element in enumerate(layout.sum_elements):
        if step in waiting:
            put(backend.project(waiting.pop(step), element), step + 1)
    return waiting[len(layout.sum_elements)]


def split_all(
    backend: Evaluator, layout: Layout, merged: Ciphertext, n_items: int
) -> Iterator[Ciphertext]:
    """The conjugates of what `merge_all` put together, one by one: its tree backwards.

    After the conjugation item q sits at minus its offset. Bits of q are split off from the
    highest, whose power of X is the finest: its automorphism leaves all coarser ones alone. One
    automorphism for every item but the first, and one for the conjugation; all scales end up
    alike, doubled for every bit. Only one item for every bit is in memory.
    """
    conjugate = backend.automorphism(merged, 2 * backend.ring.poly_modulus_degree - 1)
    # Parts that are still to be split: (part, bits left, those of q that are known).
    parts = [(conjugate, (n_items - 1).bit_length(), 0)]
    while parts:
        part, bits, known = parts.pop()
        if not bits:
            yield part
        elif (2 * known + 1) << (bits - 1) < n_items:
            power, element = -(layout.class_span >> bits), layout.sum_elements[bits - 1]
            even, odd = backend.split(part, power, element)
            parts += [(odd, bits - 1, 2 * known + 1), (even, bits - 1, 2 * known)]
        else:  # nothing is at the odd places: only the scale is doubled
            doubled = backend.scaled(backend.add(part, part), 0.5)
            parts.append((doubled, bits - 1, 2 * known))
