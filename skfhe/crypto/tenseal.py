"""The encrypted backend: Microsoft SEAL's CKKS through TenSEAL. No other module imports tenseal.

Encryptor, evaluator and key pair are separate objects; only the key pair holds a secret key.
Serialisation goes through anonymous memory, never through a file on disk, wherever the system
offers it (Linux); elsewhere public objects fall back to a temporary file. Secret keys are never
serialised at all.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import tenseal
import tenseal.sealapi as seal
from numpy.typing import NDArray

from ..exceptions import DepthExceeded, InfeasiblePlan, KeyBurned, MessageError
from .embedding import coefficients_to_slots, monomial_slots, slots_to_coefficients
from .parameters import CKKSParameters, Ring

# The largest spread of integer coefficients that CKKSEncoder.encode takes without rounding:
# the two FFTs in double precision err by about 2^-53 of the spread times a few, so a spread of
# 2^45 (largest of 8,192 draws below 2^48) stays an order of magnitude below one half.
EXACT_BITS = 48


@lru_cache(maxsize=64)
def coefficient_modulus(poly_modulus_degree: int, bit_sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The primes that SEAL chooses for the given bit sizes (deterministic)."""
    try:
        return tuple(
            m.value() for m in seal.CoeffModulus.Create(poly_modulus_degree, list(bit_sizes))
        )
    except (ValueError, RuntimeError, TypeError) as error:
        raise InfeasiblePlan(
            f"coeff_mod_bit_sizes must be primes of 2 to 60 bits that exist for "
            f"poly_modulus_degree={poly_modulus_degree}, got {list(bit_sizes)}: {error}."
        ) from None


def context_parameters(context: tenseal.Context) -> CKKSParameters:
    """The parameters of a user's own TenSEAL context; none of its keys.

    Raises
    ------
    InfeasiblePlan
        If the context is not a CKKS context.
    """
    data = context.seal_context().data.key_context_data()
    parameters = data.parms()
    # TenSEAL's and its sealapi's enumerations are different types with the same values.
    if int(parameters.scheme()) != int(seal.SCHEME_TYPE.CKKS):
        raise InfeasiblePlan(
            "context must be a CKKS context, got another scheme; use SCHEME_TYPE.CKKS."
        )
    bits = tuple(m.bit_count() for m in parameters.coeff_modulus())
    try:
        scale_bits = round(np.log2(context.global_scale))
    except ValueError:
        scale_bits = sorted(bits[1:-1] or bits[:1])[0]
    return CKKSParameters(parameters.poly_modulus_degree(), bits, scale_bits)


def is_context(value: object) -> bool:
    """Whether a value is a TenSEAL context."""
    return isinstance(value, tenseal.Context)


@lru_cache(maxsize=8)
def _seal_context(ring: Ring) -> seal.SEALContext:
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(ring.poly_modulus_degree)
    parameters.set_coeff_modulus([seal.Modulus(prime) for prime in ring.primes])
    context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
    if not context.parameters_set():
        raise InfeasiblePlan(f"SEAL refuses the parameters: {context.parameters_error_message()}.")
    return context


@lru_cache(maxsize=8)
def _level_ids(ring: Ring) -> tuple[list[int], ...]:
    """SEAL's identifier of each level, base level first."""
    data = _seal_context(ring).first_context_data()
    ids = []
    while data is not None:
        ids.append(data.parms_id())
        data = data.next_context_data()
    return tuple(reversed(ids))


@contextmanager
def _scratch() -> Iterator[tuple[int, str]]:
    """A file descriptor and a path to it, in anonymous memory where the system has it."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("skfhe")
        try:
            yield fd, f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "object")
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                yield fd, path
            finally:
                os.close(fd)


def _save(item) -> bytes:
    with _scratch() as (fd, path):
        item.save(path)
        return os.pread(fd, os.fstat(fd).st_size, 0)


def _load(item, ring: Ring, data: bytes):
    try:
        with _scratch() as (fd, path):
            os.write(fd, data)
            item.load(_seal_context(ring), path)
    except (ValueError, RuntimeError) as error:
        kind = type(item).__name__
        raise MessageError(f"these bytes are no {kind} of this ring: {error}.") from None
    return item


class TensealScheme:
    """CKKS for one ring.

    Parameters
    ----------
    ring : Ring
        The checked parameters.
    """

    def __init__(self, ring: Ring):
        self.ring = ring
        _seal_context(ring)

    def generate(self, elements: Sequence[int]) -> TensealKeys:
        return TensealKeys(self.ring, tuple(elements))

    def evaluator(self, evaluation_keys: bytes) -> TensealEvaluator:
        return TensealEvaluator(self.ring, evaluation_keys)

    def encryptor(self, public_key: bytes) -> TensealEncryptor:
        key = _load(seal.PublicKey(), self.ring, public_key)
        return TensealEncryptor(self.ring, public_key=key)


class TensealKeys:
    """A fresh secret key and what is derived from it. Never leaves the key holder.

    Neither pickles nor shows anything of the key in its repr.

    Parameters
    ----------
    ring : Ring
        The checked parameters.
    elements : tuple of int
        Galois elements to make automorphism keys for.
    """

    def __init__(self, ring: Ring, elements: tuple[int, ...]):
        self._ring = ring
        self._elements = elements
        self._generator = seal.KeyGenerator(_seal_context(ring))
        self._decryptor = seal.Decryptor(_seal_context(ring), self._generator.secret_key())
        self._encoder = seal.CKKSEncoder(_seal_context(ring))

    def __reduce__(self):
        raise TypeError("secret keys do not pickle; send evaluation_keys() or public_key().")

    def evaluation_keys(self) -> bytes:
        generator = self._alive()
        relinearisation = _save(generator.create_relin_keys())
        automorphisms = _save(generator.create_galois_keys(list(self._elements)))
        return struct.pack("<Q", len(relinearisation)) + relinearisation + automorphisms

    def public_key(self) -> bytes:
        key = seal.PublicKey()
        self._alive().create_public_key(key)
        return _save(key)

    def encryptor(self) -> TensealEncryptor:
        return TensealEncryptor(self._ring, secret_key=self._alive().secret_key())

    def decrypt(self, data: bytes, level: int, scale: float) -> NDArray[np.float64]:
        """Decrypt to the integer plaintext coefficients.

        The caller is the key holder's release, which has spent the budget before.
        """
        self._alive()
        ciphertext = _load(seal.Ciphertext(), self._ring, data)
        found = ciphertext.coeff_modulus_size() - 1
        if ciphertext.size() != 2 or found != level or not _close(ciphertext.scale, scale):
            raise MessageError(
                f"a ciphertext must have level {level} and scale {scale:.6g} here, got level "
                f"{found}, scale {ciphertext.scale:.6g} and size {ciphertext.size()}."
            )
        plaintext = seal.Plaintext()
        try:
            self._decryptor.decrypt(ciphertext, plaintext)
            plaintext.scale = 1.0  # the decoder then takes scales beyond the base prime too
            slots = np.array(self._encoder.decode_complex(plaintext))
        except (ValueError, RuntimeError) as error:
            raise MessageError(f"this ciphertext cannot be decrypted: {error}.") from None
        return np.rint(slots_to_coefficients(self._ring, slots))

    def destroy(self) -> None:
        self._generator = self._decryptor = None

    def _alive(self) -> seal.KeyGenerator:
        if self._generator is None:
            raise KeyBurned("the secret key of this run has been destroyed.")
        return self._generator


class TensealEncryptor:
    """Encrypts under a public key, or under the secret key at half the size (seeded).

    Parameters
    ----------
    ring : Ring
        The checked parameters.
    public_key : seal.PublicKey, optional
        For data owners.
    secret_key : seal.SecretKey, optional
        For the key holder and the single owner who is the key holder.
    """

    def __init__(self, ring: Ring, *, public_key=None, secret_key=None):
        self._ring = ring
        self._symmetric = secret_key is not None
        key = secret_key if self._symmetric else public_key
        self._encryptor: seal.Encryptor | None = seal.Encryptor(_seal_context(ring), key)
        self._encoder = seal.CKKSEncoder(_seal_context(ring))

    def __reduce__(self):
        raise TypeError("encryptors do not pickle; send the public key.")

    def encrypt(self, slots: NDArray, scale: float, level: int, dither: bool = False) -> bytes:
        if dither:
            words = np.frombuffer(os.urandom(4 * self._ring.poly_modulus_degree), dtype=np.uint32)
            uniform = words / 2.0**32 - 0.5
            slots = slots + coefficients_to_slots(self._ring, uniform) / scale
        return self._encrypt(self._encode(slots, scale, level))

    def encrypt_integers(self, coefficients: NDArray, scale: float, level: int) -> bytes:
        """Encrypt integers as plaintext coefficients, exactly.

        The encoder takes slots, so the integers pass through an FFT to the slots and back at
        scale 1; below 2^48 its rounding to the nearest integer undoes the error of both.
        """
        largest = int(np.max(np.abs(coefficients)))
        if largest.bit_length() > EXACT_BITS:
            raise ValueError(
                f"coefficients must be below 2^{EXACT_BITS} to be encoded exactly, "
                f"got one of {largest.bit_length()} bits; use a smaller scale."
            )
        plaintext = self._encode(coefficients_to_slots(self._ring, coefficients), 1.0, level)
        plaintext.scale = scale
        return self._encrypt(plaintext)

    def _encode(self, slots: NDArray, scale: float, level: int) -> seal.Plaintext:
        if not 0 <= level <= self._ring.top_level:
            raise DepthExceeded(f"level must be 0 to {self._ring.top_level}, got {level}.")
        plaintext = seal.Plaintext()
        values = np.asarray(slots, dtype=np.complex128).tolist()
        self._encoder.encode(values, _level_ids(self._ring)[level], scale, plaintext)
        return plaintext

    def destroy(self) -> None:
        """Forget the key."""
        self._encryptor = None

    def _encrypt(self, plaintext: seal.Plaintext) -> bytes:
        if self._encryptor is None:
            raise KeyBurned("the secret key of this run has been destroyed.")
        if self._symmetric:
            return _save(self._encryptor.encrypt_symmetric(plaintext))
        ciphertext = seal.Ciphertext()
        self._encryptor.encrypt(plaintext, ciphertext)
        return _save(ciphertext)


class TensealEvaluator:
    """SEAL's evaluator with evaluation keys only: it cannot decrypt.

    Parameters
    ----------
    ring : Ring
        The checked parameters.
    evaluation_keys : bytes
        What the key holder's `evaluation_keys` returned.
    """

    def __init__(self, ring: Ring, evaluation_keys: bytes):
        self.ring = ring
        context = _seal_context(ring)
        if len(evaluation_keys) < 8:
            raise MessageError("these bytes are no evaluation keys: too short.")
        split = 8 + struct.unpack("<Q", evaluation_keys[:8])[0]
        self._relinearisation = _load(seal.RelinKeys(), ring, evaluation_keys[8:split])
        self._automorphisms = _load(seal.GaloisKeys(), ring, evaluation_keys[split:])
        self._evaluator = seal.Evaluator(context)
        self._encoder = seal.CKKSEncoder(context)
        self._monomials: dict[tuple[int, int], seal.Plaintext] = {}

    def load(self, data: bytes) -> seal.Ciphertext:
        return _load(seal.Ciphertext(), self.ring, data)

    def save(self, a: seal.Ciphertext) -> bytes:
        return _save(a)

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
        """One scratch ciphertext takes all products, as allocation costs as much as a product."""
        total = self.multiply(left[0], right[0])
        term = seal.Ciphertext()
        for a, b in zip(left[1:], right[1:], strict=True):
            self._call("multiply", a, b, into=term)
            self._call("add", total, term, into=total)
        return self.relinearize(total)

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
        return self._call("multiply_plain", a, self._monomial(a, power))

    def project(self, a: seal.Ciphertext, element: int) -> seal.Ciphertext:
        moved = self._call("apply_galois", a, element, self._automorphisms)
        self._call("add", moved, a, into=moved)
        moved.scale = 2 * a.scale
        return moved

    def merge(
        self, a: seal.Ciphertext, b: seal.Ciphertext, power: int, element: int
    ) -> seal.Ciphertext:
        shifted = self.multiply_monomial(b, power)
        moved = self._call("sub", a, shifted)
        self._call("apply_galois", moved, element, self._automorphisms, into=moved)
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
        except ValueError as error:
            raise self._explained(name, a, arguments, error) from None
        return result

    def _constant(self, a: seal.Ciphertext, value: float, scale: float) -> seal.Plaintext:
        plaintext = seal.Plaintext()
        self._encoder.encode(float(value), a.parms_id(), scale, plaintext)
        return plaintext

    def _monomial(self, a: seal.Ciphertext, power: int) -> seal.Plaintext:
        key = (self.level(a), power)
        if key not in self._monomials:
            plaintext = seal.Plaintext()
            slots = monomial_slots(self.ring, power).tolist()
            self._encoder.encode(slots, a.parms_id(), 1.0, plaintext)
            self._monomials[key] = plaintext
        return self._monomials[key]

    def _explained(
        self, name: str, a: seal.Ciphertext, arguments: tuple, error: ValueError
    ) -> ValueError:
        """SEAL's "scale out of bounds" and "end of modulus switching chain" are spent levels."""
        said = str(error)
        if "scale out of bounds" in said or "end of modulus" in said:
            return DepthExceeded(
                f"the levels are spent: SEAL says {said!r} at level {self.level(a)} and scale "
                f"2^{np.log2(a.scale):.1f}; use more primes or a smaller scale."
            )
        if "key not present" in said.lower():
            return ValueError(
                f"there is no automorphism key for the Galois element {arguments[0]}."
            )
        return ValueError(
            f"SEAL refuses {name}: {said}; level {self.level(a)}, scale {a.scale!r}."
        )


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-9 * b
