"""Ciphertexts as bytes, with as many bits per residue as its prime has.

SEAL writes residues as words of 64 bits and compresses the stream with Zstandard, whose entropy
coder mixes the random bytes of a word with the empty ones: about an eighth more than there is to
say. Here a residue below a prime of b bits takes b bits: its whole bytes, and what is left of all
residues together. A message is

    magic   version   fields of SEAL's stream   length of its end   its end   residues

with the fields from the ciphertext's level to the length of its data, and a seed as the end of a
seeded one. Everything that SEAL checks when it loads a ciphertext it still checks.
"""

from __future__ import annotations

import struct

import numpy as np
import tenseal.sealapi as seal
import zstandard
from numpy.typing import NDArray

from ...exceptions import MessageError
from ..parameters import Ring
from .context import parse, require_few_objects, save

_MAGIC = b"SKCT\x01"
# SEAL's header: magic, its length and two numbers of the version; then compression, a reserved
# field, and the whole length.
_VERSION, _REST = 5, struct.Struct("<BHQ")
_ZSTANDARD = 2
# Level, form, polynomials, N, primes, scale, correction factor; then a header and a length.
_FIELDS = struct.Struct("<32sBQQQdQ")
_ARRAY = struct.Struct("<16sQ")
_SEALED = _FIELDS.size + _ARRAY.size
_LONGEST_END = 4096


def save_ciphertext(item, ring: Ring) -> bytes:
    """A ciphertext, or a seeded one, as bytes."""
    stream = save(item)
    compression, _, _ = _REST.unpack_from(stream, _VERSION)
    body = stream[_VERSION + _REST.size :]
    if compression == _ZSTANDARD:
        body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
    count = _ARRAY.unpack_from(body, _FIELDS.size)[1]
    end = body[_SEALED + 8 * count :]
    words = np.frombuffer(body, dtype="<u8", count=count, offset=_SEALED)
    n = ring.poly_modulus_degree
    bits = _bits(ring, _FIELDS.unpack_from(body)[4])
    residues = words.reshape(-1, len(bits), n)
    parts = [_packed(residues[i, j], b) for i in range(len(residues)) for j, b in enumerate(bits)]
    length = len(end).to_bytes(2, "little")
    return b"".join([_MAGIC, stream[:_VERSION], body[:_SEALED], length, end, *parts])


def load_ciphertext(ring: Ring, data: bytes) -> seal.Ciphertext:
    """A ciphertext from its bytes.

    Raises
    ------
    MessageError
        If they are no ciphertext of this ring.
    """
    return parse(seal.Ciphertext(), ring, _stream(ring, bytes(data)))


def _stream(ring: Ring, data: bytes) -> bytes:
    """SEAL's own stream, uncompressed; no length is believed that the ring does not have."""
    n, start = ring.poly_modulus_degree, len(_MAGIC) + _VERSION
    fixed = start + _SEALED + 2
    if len(data) < fixed or not data.startswith(_MAGIC):
        raise MessageError("these bytes are no ciphertext of this package.")
    fields = data[start : start + _SEALED]
    _, _, size, degree, levels, _, _ = _FIELDS.unpack_from(fields)
    count = _ARRAY.unpack_from(fields, _FIELDS.size)[1]
    end = int.from_bytes(data[fixed - 2 : fixed], "little")
    sound = degree == n and 1 <= levels <= len(ring.primes) - 1 and 2 <= size <= 3
    polynomials, rest = divmod(count, levels * n) if sound else (0, 1)
    if rest or polynomials not in (1, size) or end > _LONGEST_END:
        raise MessageError("these bytes are no ciphertext of this ring: its sizes are others.")
    require_few_objects(data[:fixed] + data[fixed : fixed + end], 1)
    bits = _bits(ring, levels)
    if len(data) != fixed + end + polynomials * sum(_packed_bytes(n, b) for b in bits):
        raise MessageError("these bytes are no ciphertext of this ring: their length is another.")
    words = np.empty((polynomials, levels, n), dtype="<u8")
    at = fixed + end
    for i in range(polynomials):
        for j, b in enumerate(bits):
            length = _packed_bytes(n, b)
            words[i, j] = _unpacked(np.frombuffer(data, np.uint8, length, at), n, b)
            at += length
    total = _VERSION + _REST.size + _SEALED + words.nbytes + end
    header = data[len(_MAGIC) : start] + _REST.pack(0, 0, total)
    return b"".join([header, fields, words.tobytes(), data[fixed : fixed + end]])


def _bits(ring: Ring, levels: int) -> list[int]:
    return [prime.bit_length() for prime in ring.primes[:levels]]


def _packed_bytes(n: int, bits: int) -> int:
    return n * bits // 8


def _packed(residues: NDArray[np.uint64], bits: int) -> bytes:
    """Whole bytes of all residues, least first, then the bits that are left of each."""
    whole, left = divmod(bits, 8)
    planes = residues.view(np.uint8).reshape(-1, 8)[:, :whole].tobytes()
    if not left:
        return planes
    # Eight residues' bits fill whole bytes.
    eights = (residues >> np.uint64(8 * whole)).reshape(-1, 8) << _shifts(left)
    octets = np.bitwise_or.reduce(eights, axis=1).view(np.uint8).reshape(-1, 8)
    return planes + octets[:, :left].tobytes()


def _unpacked(data: NDArray[np.uint8], n: int, bits: int) -> NDArray[np.uint64]:
    whole, left = divmod(bits, 8)
    octets = np.zeros((n, 8), dtype=np.uint8)
    octets[:, :whole] = data[: n * whole].reshape(n, whole)
    residues = octets.view("<u8")[:, 0]
    if left:
        rest = np.zeros((n // 8, 8), dtype=np.uint8)
        rest[:, :left] = data[n * whole :].reshape(-1, left)
        each = rest.view("<u8") >> _shifts(left) & np.uint64((1 << left) - 1)
        residues |= each.ravel() << np.uint64(8 * whole)
    return residues


def _shifts(left: int) -> NDArray[np.uint64]:
    """Where each of eight residues' last bits begin."""
    return np.arange(0, 8 * left, left, dtype="<u8")
