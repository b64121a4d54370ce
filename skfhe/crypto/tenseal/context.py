"""SEAL's contexts, and its objects as bytes.

Serialisation goes through anonymous memory, never through a file on disk, wherever the system
offers it (Linux), and through a temporary file for the owner's eyes only elsewhere. A secret key
is serialised for one reader: the key holder's state (`skfhe.protocol.vault`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import tenseal
import tenseal.sealapi as seal
import zstandard

from ...exceptions import InfeasiblePlan, MessageError
from ..parameters import CKKSParameters, Ring

# SEAL's streams begin with a mark, and so do all objects in them; a byte says how they are packed.
_MARK, _HEADER, _COMPRESSION, _ZSTANDARD = b"\x5e\xa1\x10", 16, 5, 2
_SWELLING, _OBJECTS = 4, 8
_SWELLS = "these bytes are no object of SEAL's: they would swell when read."


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
def seal_context(ring: Ring) -> seal.SEALContext:
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(ring.poly_modulus_degree)
    parameters.set_coeff_modulus([seal.Modulus(prime) for prime in ring.primes])
    context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
    if not context.parameters_set():
        raise InfeasiblePlan(f"SEAL refuses the parameters: {context.parameters_error_message()}.")
    return context


@lru_cache(maxsize=8)
def level_ids(ring: Ring) -> tuple[list[int], ...]:
    """SEAL's identifier of each level, base level first."""
    data = seal_context(ring).first_context_data()
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


def save(item) -> bytes:
    with _scratch() as (fd, path):
        item.save(path)
        return os.pread(fd, os.fstat(fd).st_size, 0)


def require_form(
    a: seal.Ciphertext, scale: float, level: int, tolerance: float = 0.0
) -> seal.Ciphertext:
    """A ciphertext that must have two polynomials, at a scale and a level."""
    found = a.coeff_modulus_size() - 1
    if a.is_transparent():
        raise MessageError("a ciphertext must hide its message; this one is not encrypted.")
    if a.size() != 2 or found != level or not abs(a.scale - scale) <= tolerance * scale:
        raise MessageError(
            f"a ciphertext must have level {level} and scale {scale:.6g} here, got level "
            f"{found}, scale {a.scale:.6g} and size {a.size()}."
        )
    return a


def load(item, ring: Ring, data: bytes):
    _require_dense(ring, data)
    return parse(item, ring, data)


def parse(item, ring: Ring, data: bytes):
    """Load what is known not to swell."""
    try:
        with _scratch() as (fd, path):
            os.write(fd, data)
            item.load(seal_context(ring), path)
    except (ValueError, RuntimeError, IndexError, MemoryError) as error:
        # Out of memory is what a forged length looks like.
        kind = type(item).__name__
        raise MessageError(f"these bytes are no {kind} of this ring: {error}.") from None
    return item


def _require_dense(ring: Ring, data: bytes) -> None:
    """Refuse what takes far more memory than it has bytes, before SEAL reads it.

    Residues are random: honest streams are hardly smaller compressed, but for the N counts that a
    set of automorphism keys begins with, mostly zeros. And each of their objects has N words for
    every prime, and three marks at most; a forger's could all be compressed.
    """
    least = 8 * ring.poly_modulus_degree * len(ring.primes)
    most = _SWELLING * len(data) + least
    stream, compression = bytes(data), data[_COMPRESSION] if len(data) > _HEADER else 0
    if compression == _ZSTANDARD:
        reader = zstandard.ZstdDecompressor().stream_reader(
            stream[_HEADER:], read_across_frames=True
        )
        try:
            stream = reader.read(most + 1)
        except zstandard.ZstdError as error:
            raise MessageError(f"these bytes are no object of SEAL's: {error}.") from None
    if compression not in (0, _ZSTANDARD) or len(stream) > most:
        raise MessageError(_SWELLS)
    require_few_objects(stream, 1 + len(stream) / least)


def require_few_objects(stream: bytes, n_parts: float) -> None:
    """Refuse a stream with more objects in it than so many keys or ciphertexts have."""
    if stream.count(_MARK) > _OBJECTS * n_parts:
        raise MessageError(_SWELLS)
