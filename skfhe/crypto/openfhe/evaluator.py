"""Arithmetic on OpenFHE's ciphertexts, with evaluation keys only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...exceptions import DepthExceeded, MessageError
from ..embedding import mask_slots, monomial_slots
from ..parameters import Ring
from .context import UNIT, encoded, key_maps, library, openfhe_context
from .messages import (
    AUTOMORPHISM,
    RELINEARISATION,
    SPARSE,
    OpenFHECiphertext,
    filled_key,
    handle,
    key_layout,
    load_ciphertext,
    parse,
    require_form,
    save_ciphertext,
)
from .refreshing import bootstrapping_elements, prepare, sparse_layout, special_elements


class OpenFHEEvaluator:
    """OpenFHE's evaluator with evaluation keys only: it cannot decrypt.

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
        self._context = openfhe_context(ring)
        keys = iter(evaluation_keys)
        first = next(keys, None)
        if first is None:
            raise MessageError("there are no evaluation keys.")
        fhe = library()
        header, rest = parse(ring, first, RELINEARISATION)
        stream = filled_key(ring, key_layout(ring, RELINEARISATION), header, rest)
        self._tag = header.tag
        self._relinearisation = [fhe.DeserializeEvalKeyString(stream, fhe.BINARY)]
        del first, rest, stream
        self._automorphisms: Any = None
        self._elements: set[int] = set()
        for key in keys:
            self._load_automorphism(key)
        self._plaintexts: dict[tuple[str, int, int, float], Any] = {}

    def __reduce__(self):
        raise TypeError("evaluators do not pickle; send the evaluation keys.")

    def _load_automorphism(self, data: bytes) -> None:
        """Put one more key into the map. OpenFHE does so only in the map of the process."""
        fhe, ring = library(), self.ring
        header, rest = parse(ring, data, AUTOMORPHISM + SPARSE)
        sparse, element = header.kind == SPARSE, header.element
        in_place = element % 2 and element < 2 * ring.poly_modulus_degree
        if ring.refreshing is not None:
            to_sparser, back = special_elements(ring)
            in_place = element == to_sparser if sparse else in_place or element == back
        elif sparse:
            in_place = False
        if not in_place or header.tag != self._tag:
            raise MessageError("this key belongs to no automorphism, or to another key pair.")
        layout = sparse_layout(ring) if sparse else key_layout(ring, AUTOMORPHISM)
        stream = filled_key(ring, layout, header, rest)
        key = fhe.DeserializeEvalKeyMapString(stream, fhe.BINARY)
        if self._automorphisms is None:
            self._automorphisms = key
        else:
            with key_maps(self._tag, None, self._automorphisms):
                fhe.CryptoContext.InsertEvalAutomorphismKey(key, self._tag)
        self._elements.add(element)

    def load(self, data: bytes) -> OpenFHECiphertext:
        return load_ciphertext(self.ring, data, self._tag)

    def load_fresh(self, data: bytes, scale: float, level: int) -> OpenFHECiphertext:
        return require_form(self.load(data), scale, level)

    def save(self, a: OpenFHECiphertext) -> bytes:
        return save_ciphertext(self.ring, a)

    def level(self, a: OpenFHECiphertext) -> int:
        return a.level

    def scale(self, a: OpenFHECiphertext) -> float:
        return a.scale

    def claim(self, a: OpenFHECiphertext, bound: float) -> OpenFHECiphertext:
        return a

    def add(self, a: OpenFHECiphertext, b: OpenFHECiphertext) -> OpenFHECiphertext:
        self._require_alike(a, b)
        body = self._context.EvalAdd(a.body, b.body)
        return self._made(body, a.scale, a.level, max(a.size, b.size))

    def add_constant(self, a: OpenFHECiphertext, value: float) -> OpenFHECiphertext:
        body = self._context.EvalAdd(a.body, float(np.rint(value * a.scale)) / UNIT)
        return self._made(body, a.scale, a.level, a.size)

    def multiply(self, a: OpenFHECiphertext, b: OpenFHECiphertext) -> OpenFHECiphertext:
        if a.level != b.level or (a.size, b.size) != (2, 2):
            raise ValueError(
                f"ciphertexts must have the same level and two polynomials to be multiplied, "
                f"got levels {a.level}, {b.level} and sizes {a.size}, {b.size}."
            )
        scale = self._fitting(a.scale * b.scale, a.level)
        return self._made(self._context.EvalMultNoRelin(a.body, b.body), scale, a.level, 3)

    def dot(
        self, left: Sequence[OpenFHECiphertext], right: Sequence[OpenFHECiphertext]
    ) -> OpenFHECiphertext:
        total = self.multiply(left[0], right[0])
        for a, b in zip(left[1:], right[1:], strict=True):
            total = self.accumulate(total, a, b)
        return self.relinearize(total)

    def accumulate(
        self, total: OpenFHECiphertext, a: OpenFHECiphertext, b: OpenFHECiphertext
    ) -> OpenFHECiphertext:
        return self._added(total, self.multiply(a, b))

    def own(self, total: None, a: OpenFHECiphertext, b: OpenFHECiphertext) -> None:
        """Nothing: `crossed` computes both products and has nothing to take away."""

    def crossed(
        self,
        total: OpenFHECiphertext | None,
        a: tuple[OpenFHECiphertext, OpenFHECiphertext],
        b: tuple[OpenFHECiphertext, OpenFHECiphertext],
    ) -> OpenFHECiphertext:
        product = self.accumulate(self.multiply(a[0], b[0]), a[1], b[1])
        return product if total is None else self._added(total, product)

    def without(self, total: OpenFHECiphertext, *owns: None) -> OpenFHECiphertext:
        return total

    def relinearize(self, a: OpenFHECiphertext) -> OpenFHECiphertext:
        if a.size == 2:
            return a
        with key_maps(self._tag, self._relinearisation):
            return self._made(self._context.Relinearize(a.body), a.scale, a.level)

    def rescale(self, a: OpenFHECiphertext) -> OpenFHECiphertext:
        if a.level == 0:
            raise DepthExceeded("the levels are spent: nothing is left to rescale by.")
        scale = a.scale / self.ring.primes[a.level]
        return self._made(self._context.Rescale(a.body), scale, a.level - 1, a.size)

    def switch_to(self, a: OpenFHECiphertext, level: int) -> OpenFHECiphertext:
        if level > a.level:
            raise DepthExceeded(f"a ciphertext at level {a.level} cannot rise to level {level}.")
        if level == a.level:
            return a
        body = self._context.LevelReduce(a.body, None, a.level - level)
        return self._made(body, self._fitting(a.scale, level), level, a.size)

    def multiply_constant(
        self, a: OpenFHECiphertext, value: float, scale: float
    ) -> OpenFHECiphertext:
        """By its size, then its sign: OpenFHE rounds what is below zero to the wrong integer."""
        product = self._fitting(a.scale * scale, a.level)
        body = self._context.EvalMult(a.body, abs(float(np.rint(value * scale))) / UNIT)
        if value < 0:
            body = self._context.EvalNegate(body)
        return self._made(body, product, a.level, a.size)

    def multiply_monomial(self, a: OpenFHECiphertext, power: int) -> OpenFHECiphertext:
        slots = partial(monomial_slots, self.ring, power)
        plaintext = self._kept("monomial", a, power, 1.0, slots)
        return self._made(self._context.EvalMult(a.body, plaintext), a.scale, a.level, a.size)

    def multiply_mask(self, a: OpenFHECiphertext, period: int, scale: float) -> OpenFHECiphertext:
        product = self._fitting(a.scale * scale, a.level)
        plaintext = self._kept("mask", a, period, scale, partial(mask_slots, self.ring, period))
        return self._made(self._context.EvalMult(a.body, plaintext), product, a.level, a.size)

    def project(self, a: OpenFHECiphertext, element: int) -> OpenFHECiphertext:
        moved = self.add_image(a, element)
        return OpenFHECiphertext(moved.body, 2 * a.scale, a.level)

    def automorphism(self, a: OpenFHECiphertext, element: int) -> OpenFHECiphertext:
        if element not in self._elements or element % 2 == 0:
            raise ValueError(f"there is no automorphism key for the Galois element {element}.")
        if a.size != 2:
            raise ValueError("ciphertexts must have two polynomials to be moved; relinearize.")
        body = self._context.EvalAutomorphism(a.body, element, self._automorphisms)
        return self._made(body, a.scale, a.level)

    def add_image(self, a: OpenFHECiphertext, element: int) -> OpenFHECiphertext:
        return self._added(self.automorphism(a, element), a)

    def scaled(self, a: OpenFHECiphertext, factor: float) -> OpenFHECiphertext:
        body = self._context.EvalNegate(a.body) if factor < 0 else a.body.Clone()
        return self._made(body, a.scale / abs(factor), a.level, a.size)

    def split(
        self, a: OpenFHECiphertext, power: int, element: int
    ) -> tuple[OpenFHECiphertext, OpenFHECiphertext]:
        moved = self.automorphism(a, element)
        odd = self._made(self._context.EvalSub(a.body, moved.body), 2 * a.scale, a.level)
        even = OpenFHECiphertext(self._added(moved, a).body, 2 * a.scale, a.level)
        return even, self.multiply_monomial(odd, -power)

    def merge(
        self, a: OpenFHECiphertext, b: OpenFHECiphertext, power: int, element: int
    ) -> OpenFHECiphertext:
        shifted = self.multiply_monomial(b, power)
        self._require_alike(a, shifted)
        odd = self._made(self._context.EvalSub(a.body, shifted.body), a.scale, a.level)
        total = self._added(self.automorphism(odd, element), self._added(shifted, a))
        return OpenFHECiphertext(total.body, 2 * a.scale, a.level)

    def refresh(self, a: OpenFHECiphertext) -> OpenFHECiphertext:
        """A ciphertext at the level of refreshed ones, at the scale and with the message of `a`.

        Of the plaintext only the coefficients at multiples of N/(2 slots) count; the others are
        removed. They come back with an absolute error, so scales should be as large as leaves
        the coefficients 2^-8 of the base prime.
        """
        goal = self.ring.refreshing
        if goal is None:
            raise ValueError("this ring refreshes nothing; its plan must allow for refreshing.")
        if a.level < 1 or a.size != 2:
            raise DepthExceeded("one level must be left, and two polynomials, to be refreshed.")
        missing = {*bootstrapping_elements(self.ring), *special_elements(self.ring)}
        if missing - self._elements:
            raise ValueError("there are no keys for refreshing; generate them for this ring.")
        prepare(self.ring)
        body = self.switch_to(a, 1).body.Clone()
        body.SetSlots(goal.slots)
        with key_maps(self._tag, self._relinearisation, self._automorphisms):
            # What comes back is one factor of the scale ahead.
            body = self._context.Rescale(self._context.EvalBootstrap(body))
        level = self.ring.n_data - 1 - body.GetLevel()
        return self.switch_to(self._made(body, a.scale, level), goal.level)

    def _made(self, body: Any, scale: float, level: int, size: int = 2) -> OpenFHECiphertext:
        return handle(self.ring, body, scale, level, size)

    def _added(self, total: OpenFHECiphertext, a: OpenFHECiphertext) -> OpenFHECiphertext:
        """The sum, in the place of the first."""
        self._require_alike(total, a)
        self._context.EvalAddInPlace(total.body, a.body)
        return self._made(total.body, total.scale, total.level, max(total.size, a.size))

    def _require_alike(self, a: OpenFHECiphertext, b: OpenFHECiphertext) -> None:
        if a.level != b.level or not np.isclose(a.scale, b.scale, rtol=1e-12):
            raise ValueError(
                f"ciphertexts must have the same level and scale to be added, got levels "
                f"{a.level}, {b.level} and scales {a.scale!r}, {b.scale!r}."
            )

    def _kept(
        self, kind: str, a: OpenFHECiphertext, number: int, scale: float,
        slots: Callable[[], NDArray],
    ) -> Any:  # fmt: skip
        """A plaintext that is used again and again, encoded once per level and scale."""
        key = (kind, a.level, number, scale)
        if key not in self._plaintexts:
            self._plaintexts[key] = encoded(self.ring, slots(), scale, a.level)
        return self._plaintexts[key]

    def _fitting(self, scale: float, level: int) -> float:
        """A scale, which must fit the modulus that is left."""
        if np.log2(scale) >= self.ring.modulus_bits(level):
            raise DepthExceeded(
                f"the levels are spent: a scale of {np.log2(scale):.1f} bits does not fit the "
                f"{self.ring.modulus_bits(level):.1f} bits left at level {level}."
            )
        return scale
