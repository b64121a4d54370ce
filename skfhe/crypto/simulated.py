"""The simulated backend: NumPy arrays with the slots, levels and scales of real ciphertexts.

Nothing here is encrypted. It exists to test circuits against, to study accuracy quickly and to
show what CKKS itself changes: with ``errors=True`` every operation adds an error of the size
that `skfhe.crypto.errors` predicts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..exceptions import DepthExceeded, KeyBurned, MessageError
from . import errors as model
from .embedding import (
    coefficients_to_slots,
    galois_slots,
    mask_slots,
    monomial_slots,
    slots_to_coefficients,
)
from .parameters import Ring

_SECRET = b"simulated secret key"


@dataclass(frozen=True)
class SimulatedCiphertext:
    """Slots in the clear with the bookkeeping of a ciphertext."""

    slots: NDArray[np.complex128]
    scale: float
    level: int


def _dump(a: SimulatedCiphertext) -> bytes:
    header = json.dumps([a.scale, a.level]).encode()
    return len(header).to_bytes(2, "little") + header + a.slots.tobytes()


def _parse(ring: Ring, data: bytes) -> SimulatedCiphertext:
    try:
        split = 2 + int.from_bytes(data[:2], "little")
        scale, level = json.loads(bytes(data[2:split]))
        slots = np.frombuffer(data[split:], dtype=np.complex128)
        if slots.size != ring.slots or not 0 <= level <= ring.top_level or not scale > 0:
            raise ValueError("wrong size, level or scale")
    except (ValueError, TypeError, RecursionError) as error:
        raise MessageError(f"these bytes are no simulated ciphertext: {error}.") from None
    return SimulatedCiphertext(slots, scale, level)


def _require_form(
    a: SimulatedCiphertext, scale: float, level: int, tolerance: float = 0.0
) -> SimulatedCiphertext:
    if a.level != level or not abs(a.scale - scale) <= tolerance * scale:
        raise MessageError(
            f"a ciphertext must have level {level} and scale {scale:.6g} here, "
            f"got level {a.level} and scale {a.scale:.6g}."
        )
    return a


class SimulatedScheme:
    """Stands in for a CKKS scheme without encrypting anything.

    Parameters
    ----------
    ring : Ring
        The ring whose slots, levels and scales are followed.
    errors : bool, default=False
        Whether to add errors of the size that the ring would cause.
    """

    name = "simulated"

    def __init__(self, ring: Ring, errors: bool = False):
        self.ring = ring
        self.errors = errors

    def generate(self, elements: Sequence[int]) -> SimulatedKeys:
        return SimulatedKeys(self.ring, self.errors, tuple(elements))

    def restore(self, elements: Sequence[int], secret: bytes) -> SimulatedKeys:
        if secret != _SECRET:
            raise MessageError("these bytes are no simulated secret key.")
        return self.generate(elements)

    def evaluator(self, evaluation_keys: Iterable[bytes]) -> SimulatedEvaluator:
        try:
            (keys,) = evaluation_keys
            elements = frozenset(json.loads(bytes(keys))["simulated evaluation keys"])
        except (ValueError, TypeError, KeyError):
            raise MessageError("these bytes are no simulated evaluation keys.") from None
        return SimulatedEvaluator(self.ring, self.errors, elements)

    def encryptor(self, public_key: bytes) -> SimulatedEncryptor:
        if public_key != b"simulated public key":
            raise MessageError("these bytes are no simulated public key.")
        return SimulatedEncryptor(self.ring, self.errors, public=True)


class SimulatedKeys:
    """Keys in name only."""

    def __init__(self, ring: Ring, errors: bool, elements: tuple[int, ...]):
        self._ring = ring
        self._errors = errors
        self._elements = elements
        self._alive = True

    def evaluation_keys(self) -> Iterator[bytes]:
        return iter([json.dumps({"simulated evaluation keys": self._elements}).encode()])

    def public_key(self) -> bytes:
        return b"simulated public key"

    def secret_key(self) -> bytes:
        return _SECRET

    def encryptor(self) -> SimulatedEncryptor:
        return SimulatedEncryptor(self._ring, self._errors, public=False)

    def decrypt(self, data: bytes, level: int, scale: float) -> NDArray[np.float64]:
        if not self._alive:
            raise KeyBurned("the secret key of this run has been destroyed.")
        a = _require_form(_parse(self._ring, data), scale, level, 1e-9)
        return np.rint(slots_to_coefficients(self._ring, a.slots) * a.scale)

    def destroy(self) -> None:
        self._alive = False


class _Noisy:
    """Adds the errors of the model where they are switched on."""

    ring: Ring

    def __init__(self, ring: Ring, errors: bool):
        self.ring = ring
        self._random = np.random.default_rng(int.from_bytes(os.urandom(16), "little"))
        self._errors = errors

    def _with_error(self, a: SimulatedCiphertext, coefficient_error: float):
        if not self._errors:
            return a
        error = self._random.normal(0.0, coefficient_error, self.ring.poly_modulus_degree)
        return replace(a, slots=a.slots + coefficients_to_slots(self.ring, error) / a.scale)


class SimulatedEncryptor(_Noisy):
    """Packs slots; with errors on, as a fresh ciphertext would hold them."""

    def __init__(self, ring: Ring, errors: bool, public: bool):
        super().__init__(ring, errors)
        self.symmetric = not public
        self._alive = True

    def encrypt(self, slots: NDArray, scale: float, level: int, dither: bool = False) -> bytes:
        if not self._alive:
            raise KeyBurned("the secret key of this run has been destroyed.")
        fresh = model.fresh_error(self.ring, level, not self.symmetric)
        a = SimulatedCiphertext(np.asarray(slots, dtype=np.complex128), scale, level)
        encoding = model.encoding_error(self.ring, dither)
        return _dump(self._with_error(a, float(np.hypot(fresh, encoding))))

    def destroy(self) -> None:
        self._alive = False

    def encrypt_integers(self, coefficients: NDArray, scale: float, level: int) -> bytes:
        return self.encrypt(coefficients_to_slots(self.ring, coefficients) / scale, scale, level)


class SimulatedEvaluator(_Noisy):
    """Arithmetic on slots, refusing what a real evaluator would refuse."""

    def __init__(self, ring: Ring, errors: bool, elements: frozenset[int]):
        super().__init__(ring, errors)
        self._elements = elements

    def load(self, data: bytes) -> SimulatedCiphertext:
        return _parse(self.ring, data)

    def load_fresh(self, data: bytes, scale: float, level: int) -> SimulatedCiphertext:
        return _require_form(_parse(self.ring, data), scale, level)

    def save(self, a: SimulatedCiphertext) -> bytes:
        return _dump(a)

    def level(self, a: SimulatedCiphertext) -> int:
        return a.level

    def scale(self, a: SimulatedCiphertext) -> float:
        return a.scale

    def claim(self, a: SimulatedCiphertext, bound: float) -> SimulatedCiphertext:
        return a

    def add(self, a: SimulatedCiphertext, b: SimulatedCiphertext) -> SimulatedCiphertext:
        if a.level != b.level or not np.isclose(a.scale, b.scale, rtol=1e-12):
            raise ValueError(
                f"ciphertexts must have the same level and scale to be added, got levels "
                f"{a.level}, {b.level} and scales {a.scale!r}, {b.scale!r}."
            )
        return replace(a, slots=a.slots + b.slots)

    def add_constant(self, a: SimulatedCiphertext, value: float) -> SimulatedCiphertext:
        return replace(a, slots=a.slots + value)

    def multiply(self, a: SimulatedCiphertext, b: SimulatedCiphertext) -> SimulatedCiphertext:
        if a.level != b.level:
            raise ValueError(
                f"ciphertexts must have the same level to be multiplied, got {a.level}, {b.level}."
            )
        return self._fitting(replace(a, slots=a.slots * b.slots, scale=a.scale * b.scale))

    def dot(
        self, left: Sequence[SimulatedCiphertext], right: Sequence[SimulatedCiphertext]
    ) -> SimulatedCiphertext:
        total = self.multiply(left[0], right[0])
        for a, b in zip(left[1:], right[1:], strict=True):
            total = self.accumulate(total, a, b)
        return self.relinearize(total)

    def accumulate(
        self, total: SimulatedCiphertext, a: SimulatedCiphertext, b: SimulatedCiphertext
    ) -> SimulatedCiphertext:
        return self.add(total, self.multiply(a, b))

    def own(self, total: None, a: SimulatedCiphertext, b: SimulatedCiphertext) -> None:
        """Nothing: slots are not exact, so nothing is added that is to be taken away again."""

    def crossed(
        self,
        total: SimulatedCiphertext | None,
        a: tuple[SimulatedCiphertext, SimulatedCiphertext],
        b: tuple[SimulatedCiphertext, SimulatedCiphertext],
    ) -> SimulatedCiphertext:
        product = self.accumulate(self.multiply(a[0], b[0]), a[1], b[1])
        return product if total is None else self.add(total, product)

    def without(self, total: SimulatedCiphertext, *owns: None) -> SimulatedCiphertext:
        return total

    def relinearize(self, a: SimulatedCiphertext) -> SimulatedCiphertext:
        return self._with_error(a, model.key_switch_error(self.ring, a.level))

    def rescale(self, a: SimulatedCiphertext) -> SimulatedCiphertext:
        if a.level == 0:
            raise DepthExceeded("the levels are spent: nothing is left to rescale by.")
        lowered = replace(a, scale=a.scale / self.ring.primes[a.level], level=a.level - 1)
        return self._with_error(lowered, model.rescale_error(self.ring))

    def switch_to(self, a: SimulatedCiphertext, level: int) -> SimulatedCiphertext:
        if level > a.level:
            raise DepthExceeded(f"a ciphertext at level {a.level} cannot rise to level {level}.")
        return self._fitting(replace(a, level=level))

    def multiply_constant(
        self, a: SimulatedCiphertext, value: float, scale: float
    ) -> SimulatedCiphertext:
        return self._fitting(replace(a, slots=a.slots * value, scale=a.scale * scale))

    def multiply_mask(
        self, a: SimulatedCiphertext, period: int, scale: float
    ) -> SimulatedCiphertext:
        slots = a.slots * _mask(self.ring, period, scale)
        return self._fitting(replace(a, slots=slots, scale=a.scale * scale))

    def multiply_monomial(self, a: SimulatedCiphertext, power: int) -> SimulatedCiphertext:
        return replace(a, slots=a.slots * _monomial(self.ring, power))

    def project(self, a: SimulatedCiphertext, element: int) -> SimulatedCiphertext:
        image = self.add_image(a, element)
        return replace(image, slots=image.slots / 2, scale=2 * a.scale)

    def add_image(self, a: SimulatedCiphertext, element: int) -> SimulatedCiphertext:
        return replace(a, slots=a.slots + self.automorphism(a, element).slots)

    def scaled(self, a: SimulatedCiphertext, factor: float) -> SimulatedCiphertext:
        return replace(a, slots=a.slots * factor, scale=a.scale / abs(factor))

    def split(
        self, a: SimulatedCiphertext, power: int, element: int
    ) -> tuple[SimulatedCiphertext, SimulatedCiphertext]:
        moved = self.automorphism(a, element)
        even = replace(a, slots=(a.slots + moved.slots) / 2, scale=2 * a.scale)
        odd = replace(a, slots=(a.slots - moved.slots) / 2, scale=2 * a.scale)
        return even, self.multiply_monomial(odd, -power)

    def merge(
        self, a: SimulatedCiphertext, b: SimulatedCiphertext, power: int, element: int
    ) -> SimulatedCiphertext:
        shifted = self.multiply_monomial(b, power)
        kept = replace(a, slots=a.slots + shifted.slots)
        moved = self.automorphism(replace(a, slots=a.slots - shifted.slots), element)
        return replace(a, slots=(kept.slots + moved.slots) / 2, scale=2 * a.scale)

    def refresh(self, a: SimulatedCiphertext) -> SimulatedCiphertext:
        """Errs in any case: by far more than all else, whose errors may be left out."""
        refreshing = self.ring.refreshing
        if refreshing is None:
            raise ValueError("this ring's ciphertexts cannot be refreshed.")
        if a.level == 0:
            raise DepthExceeded("a ciphertext must have level 1 at least to be refreshed.")
        n, base = self.ring.poly_modulus_degree, self.ring.primes[0] / (2 * np.pi)
        kept = slice(None, None, n // (2 * refreshing.slots))
        coefficients = np.zeros(n)
        exact = slots_to_coefficients(self.ring, a.slots)[kept] * a.scale
        error = self._random.normal(0.0, model.refresh_error(self.ring), exact.size)
        coefficients[kept] = base * np.sin(exact / base) + error
        slots = coefficients_to_slots(self.ring, coefficients) / a.scale
        return replace(a, slots=slots, level=refreshing.level)

    def automorphism(self, a: SimulatedCiphertext, element: int) -> SimulatedCiphertext:
        if element not in self._elements:
            raise ValueError(f"there is no automorphism key for the Galois element {element}.")
        source, conjugate = _galois(self.ring, element)
        slots = a.slots[source]
        np.conjugate(slots, out=slots, where=conjugate)
        return self._with_error(
            replace(a, slots=slots), model.key_switch_error(self.ring, a.level)
        )

    def _fitting(self, a: SimulatedCiphertext) -> SimulatedCiphertext:
        """A scale beyond the modulus is what SEAL reports as "scale out of bounds"."""
        if np.log2(a.scale) >= self.ring.modulus_bits(a.level):
            raise DepthExceeded(
                f"the levels are spent: a scale of {np.log2(a.scale):.1f} bits does not fit "
                f"the {self.ring.modulus_bits(a.level):.1f} bits left at level {a.level}."
            )
        return a


@lru_cache(maxsize=512)
def _monomial(ring: Ring, power: int) -> NDArray[np.complex128]:
    return monomial_slots(ring, power)


@lru_cache(maxsize=64)
def _mask(ring: Ring, period: int, scale: float) -> NDArray[np.complex128]:
    """The mask as it is encoded: with coefficients rounded at its scale."""
    coefficients = slots_to_coefficients(ring, mask_slots(ring, period)) * scale
    return coefficients_to_slots(ring, np.rint(coefficients)) / scale


@lru_cache(maxsize=64)
def _galois(ring: Ring, element: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    return galois_slots(ring, element)
