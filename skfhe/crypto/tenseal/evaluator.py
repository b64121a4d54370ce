"""Arithmetic on SEAL's ciphertexts, with evaluation keys only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import tenseal.sealapi as seal

from ...exceptions import DepthExceeded, MessageError
from ..embedding import mask_slots, monomial_slots
from ..parameters import Ring
from .compact import load_ciphertext, save_ciphertext
from .context import load, require_form, seal_context


@contextmanager
def _bare(*ciphertexts: seal.Ciphertext) -> Iterator[None]:
    """Ciphertexts as polynomials alone: SEAL adds and multiplies them whatever their scales."""
    scales = [one.scale for one in ciphertexts]
    try:
        for one in ciphertexts:
            one.scale = 1.0
        yield
    finally:
        for one, scale in zip(ciphertexts, scales, strict=True):
            one.scale = scale


class TensealEvaluator:
    """SEAL's evaluator with evaluation keys only: it cannot decrypt.

    Parameters
    ----------
    ring : Ring
        The checked parameters.
    evaluation_keys : iterable of bytes
        What the key holder's `evaluation_keys` gave, in order; each is loaded before the next is
        asked for.

    Raises
    ------
    MessageError
        If there are no keys, or one of them is malformed.
    """

    def __init__(self, ring: Ring, evaluation_keys: Iterable[bytes]):
        self.ring = ring
        context = seal_context(ring)
        keys = iter(evaluation_keys)
        first = next(keys, None)
        if first is None:
            raise MessageError("there are no evaluation keys.")
        self._relinearisation = load(seal.RelinKeys(), ring, first)
        self._automorphisms = [load(seal.GaloisKeys(), ring, key) for key in keys]
        self._evaluator = seal.Evaluator(context)
        self._encoder = seal.CKKSEncoder(context)
        self._scratch, self._other = seal.Ciphertext(), seal.Ciphertext()
        self._plaintexts: dict[tuple[str, int, int, float], seal.Plaintext] = {}

    def __reduce__(self):
        raise TypeError("evaluators do not pickle; send the evaluation keys.")

    def load(self, data: bytes) -> seal.Ciphertext:
        return load_ciphertext(self.ring, data)

    def load_fresh(self, data: bytes, scale: float, level: int) -> seal.Ciphertext:
        return require_form(self.load(data), scale, level)

    def save(self, a: seal.Ciphertext) -> bytes:
        return save_ciphertext(a, self.ring)

    def level(self, a: seal.Ciphertext) -> int:
        return a.coeff_modulus_size() - 1

    def scale(self, a: seal.Ciphertext) -> float:
        return a.scale

    def claim(self, a: seal.Ciphertext, bound: float) -> seal.Ciphertext:
        return a

    def add(self, a: seal.Ciphertext, b: seal.Ciphertext) -> seal.Ciphertext:
        return self._call("add", a, b)

    def add_constant(self, a: seal.Ciphertext, value: float) -> seal.Ciphertext:
        return self._call("add_plain", a, self._constant(a, value, a.scale))

    def multiply(self, a: seal.Ciphertext, b: seal.Ciphertext) -> seal.Ciphertext:
        return self._call("square", a) if a is b else self._call("multiply", a, b)

    def dot(
        self, left: Sequence[seal.Ciphertext], right: Sequence[seal.Ciphertext]
    ) -> seal.Ciphertext:
        total = self.multiply(left[0], right[0])
        for a, b in zip(left[1:], right[1:], strict=True):
            total = self.accumulate(total, a, b)
        return self.relinearize(total)

    def accumulate(
        self, total: seal.Ciphertext, a: seal.Ciphertext, b: seal.Ciphertext
    ) -> seal.Ciphertext:
        """One scratch ciphertext takes all products, as allocation costs as much as a product."""
        self._call("multiply", a, b, into=self._scratch)
        return self._call("add", total, self._scratch, into=total)

    def own(
        self, total: seal.Ciphertext | None, a: seal.Ciphertext, b: seal.Ciphertext
    ) -> seal.Ciphertext:
        with _bare(a, b):
            return self.multiply(a, b) if total is None else self.accumulate(total, a, b)

    def crossed(
        self,
        total: seal.Ciphertext | None,
        a: tuple[seal.Ciphertext, seal.Ciphertext],
        b: tuple[seal.Ciphertext, seal.Ciphertext],
    ) -> seal.Ciphertext:
        if a[0].scale != a[1].scale or b[0].scale != b[1].scale:
            raise ValueError("ciphertexts of one side must have one scale to be crossed.")
        scale = a[0].scale * b[0].scale
        product = seal.Ciphertext() if total is None else self._scratch
        with _bare(*a, *b):
            self._call("add", a[0], b[1], into=product)
            other = self._call("add", a[1], b[0], into=self._other)
            # In place: SEAL would begin with a copy otherwise.
            self._evaluator.multiply_inplace(product, other)
        product.scale = scale
        return product if total is None else self._call("add", total, product, into=total)

    def without(self, total: seal.Ciphertext, *owns: seal.Ciphertext) -> seal.Ciphertext:
        with _bare(total):
            for own in owns:
                self._call("sub", total, own, into=total)
        return total

    def relinearize(self, a: seal.Ciphertext) -> seal.Ciphertext:
        return self._call("relinearize", a, self._relinearisation)

    def rescale(self, a: seal.Ciphertext) -> seal.Ciphertext:
        return self._call("rescale_to_next", a)

    def switch_to(self, a: seal.Ciphertext, level: int) -> seal.Ciphertext:
        """Level by level, as SEAL's way in one go leaves the copy its full size in memory."""
        if level > self.level(a):
            raise DepthExceeded(f"a ciphertext at level {self.level(a)} cannot rise to {level}.")
        while self.level(a) > level:
            a = self._call("mod_switch_to_next", a)
        return a

    def multiply_constant(self, a: seal.Ciphertext, value: float, scale: float) -> seal.Ciphertext:
        return self._call("multiply_plain", a, self._constant(a, value, scale))

    def multiply_monomial(self, a: seal.Ciphertext, power: int) -> seal.Ciphertext:
        slots = partial(monomial_slots, self.ring, power)
        return self._call("multiply_plain", a, self._kept("monomial", a, power, 1.0, slots))

    def multiply_mask(self, a: seal.Ciphertext, period: int, scale: float) -> seal.Ciphertext:
        slots = partial(mask_slots, self.ring, period)
        return self._call("multiply_plain", a, self._kept("mask", a, period, scale, slots))

    def project(self, a: seal.Ciphertext, element: int) -> seal.Ciphertext:
        moved = self.add_image(a, element)
        moved.scale = 2 * a.scale
        return moved

    def automorphism(self, a: seal.Ciphertext, element: int) -> seal.Ciphertext:
        return self._call("apply_galois", a, element, self._key_of(element))

    def _key_of(self, element: int) -> seal.GaloisKeys:
        """The key of a Galois element."""
        for keys in self._automorphisms:
            if keys.has_key(element):
                return keys
        raise ValueError(f"there is no automorphism key for the Galois element {element}.")

    def add_image(self, a: seal.Ciphertext, element: int) -> seal.Ciphertext:
        moved = self.automorphism(a, element)
        return self._call("add", moved, a, into=moved)

    def scaled(self, a: seal.Ciphertext, factor: float) -> seal.Ciphertext:
        copy = ("negate",) if factor < 0 else ("mod_switch_to", a.parms_id())
        result = self._call(copy[0], a, *copy[1:])
        result.scale = a.scale / abs(factor)
        return result

    def split(
        self, a: seal.Ciphertext, power: int, element: int
    ) -> tuple[seal.Ciphertext, seal.Ciphertext]:
        moved = self.automorphism(a, element)
        odd = self._call("sub", a, moved)
        self._call("add", moved, a, into=moved)
        odd = self.multiply_monomial(odd, -power)
        moved.scale = odd.scale = 2 * a.scale
        return moved, odd

    def refresh(self, a: seal.Ciphertext) -> seal.Ciphertext:
        raise ValueError("SEAL cannot refresh ciphertexts; use the backend 'openfhe'.")

    def merge(
        self, a: seal.Ciphertext, b: seal.Ciphertext, power: int, element: int
    ) -> seal.Ciphertext:
        shifted = self.multiply_monomial(b, power)
        moved = self._call("sub", a, shifted)
        self._call("apply_galois", moved, element, self._key_of(element), into=moved)
        self._call("add", shifted, a, into=shifted)
        self._call("add", shifted, moved, into=shifted)
        shifted.scale = 2 * a.scale
        return shifted

    def _call(
        self, name: str, a: seal.Ciphertext, *arguments, into: seal.Ciphertext | None = None
    ) -> seal.Ciphertext:
        """One of SEAL's operations, its errors put into this package's words."""
        result = seal.Ciphertext() if into is None else into
        try:
            getattr(self._evaluator, name)(a, *arguments, result)
        except (ValueError, RuntimeError) as error:
            raise self._explained(name, a, error) from None
        return result

    def _constant(self, a: seal.Ciphertext, value: float, scale: float) -> seal.Plaintext:
        plaintext = seal.Plaintext()
        self._encoder.encode(float(value), a.parms_id(), scale, plaintext)
        return plaintext

    def _kept(
        self, kind: str, a: seal.Ciphertext, number: int, scale: float, slots: Callable
    ) -> seal.Plaintext:
        """A plaintext that is used again and again, encoded once per level and scale."""
        key = (kind, self.level(a), number, scale)
        if key not in self._plaintexts:
            plaintext = seal.Plaintext()
            self._encoder.encode(slots().tolist(), a.parms_id(), scale, plaintext)
            self._plaintexts[key] = plaintext
        return self._plaintexts[key]

    def _explained(self, name: str, a: seal.Ciphertext, error: Exception) -> ValueError:
        """SEAL's "scale out of bounds" and "end of modulus switching chain" are spent levels."""
        said = str(error)
        if "scale out of bounds" in said or "end of modulus" in said:
            return DepthExceeded(
                f"the levels are spent: SEAL says {said!r} at level {self.level(a)} and scale "
                f"2^{np.log2(a.scale):.1f}; use more primes or a smaller scale."
            )
        return ValueError(
            f"SEAL refuses {name}: {said}; level {self.level(a)}, scale {a.scale!r}."
        )
