"""OpenFHE's objects as bytes: a header of this package's own, then residues.

    magic   kind   ring   name of the key   element   level   polynomials   scale   residues

A residue takes eight bytes. What OpenFHE needs beside them comes from layouts, see `layout`.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...exceptions import MessageError
from ..parameters import Ring
from .context import UNIT, encoded, key_maps, library, openfhe_context
from .layout import Layout, taken_apart

_MAGIC = b"SKOF\x01"
_HEADER = struct.Struct("<5sc8s32sIBBd")
_NAME = re.compile(rb"[0-9a-f]{32}")
CIPHERTEXT, SECRET, PUBLIC = b"C", b"S", b"P"
RELINEARISATION, AUTOMORPHISM, SPARSE = b"R", b"A", b"B"


@dataclass(frozen=True)
class OpenFHECiphertext:
    """A ciphertext with the bookkeeping that OpenFHE's own is not used for."""

    body: Any
    scale: float
    level: int
    size: int = 2


@dataclass(frozen=True)
class Header:
    """What a message says of itself."""

    kind: bytes
    tag: str
    element: int = 0
    level: int = 0
    size: int = 0
    scale: float = 1.0


def handle(ring: Ring, body: Any, scale: float, level: int, size: int = 2) -> OpenFHECiphertext:
    """A handle of a ciphertext, whose own bookkeeping is set to what lets OpenFHE do anything."""
    body.SetNoiseScaleDeg(1)
    body.SetScalingFactor(UNIT)
    body.SetLevel(ring.n_data - 1 - level)
    body.SetSlots(ring.slots)
    return OpenFHECiphertext(body, scale, level, size)


@lru_cache(maxsize=8)
def _digest(ring: Ring) -> bytes:
    return hashlib.sha256(repr(ring).encode()).digest()[:8]


def dump(ring: Ring, header: Header, runs: Sequence[Any]) -> bytes:
    """A message."""
    head = _HEADER.pack(
        _MAGIC, header.kind, _digest(ring), header.tag.encode(), header.element, header.level,
        header.size, header.scale,
    )  # fmt: skip
    return b"".join([head, *runs])


def parse(ring: Ring, data: bytes, kinds: bytes) -> tuple[Header, memoryview]:
    """A message's header, and what follows it.

    Raises
    ------
    MessageError
        If the bytes are no message of this kind and ring.
    """
    view = memoryview(data).cast("B")
    if view.nbytes < _HEADER.size:
        raise MessageError("these bytes are no object of this backend: they end too early.")
    magic, kind, digest, name, *numbers = _HEADER.unpack_from(view)
    if magic != _MAGIC or kind not in kinds or not _NAME.fullmatch(name):
        raise MessageError("these bytes are no object of this backend, or not of this kind.")
    if digest != _digest(ring):
        raise MessageError("these bytes belong to another ring.")
    return Header(kind, name.decode(), *numbers), view[_HEADER.size :]


def save_ciphertext(ring: Ring, a: OpenFHECiphertext) -> bytes:
    fhe = library()
    _, runs = taken_apart(fhe.Serialize(a.body, fhe.BINARY), ring.poly_modulus_degree)
    header = Header(CIPHERTEXT, a.body.GetKeyTag(), 0, a.level, a.size, a.scale)
    return dump(ring, header, runs)


def load_ciphertext(ring: Ring, data: bytes, tag: str) -> OpenFHECiphertext:
    """A ciphertext under the key of a name.

    Raises
    ------
    MessageError
        If the bytes are none.
    """
    header, rest = parse(ring, data, CIPHERTEXT)
    if header.tag != tag:
        raise MessageError("this ciphertext was made under another key.")
    level, size, scale = header.level, header.size, header.scale
    if level > ring.top_level or size not in (2, 3) or header.element:
        raise MessageError(
            f"a ciphertext must have 2 or 3 polynomials at a level up to {ring.top_level}, "
            f"got {size} at level {level}."
        )
    if not (0 < scale < math.inf and math.log2(scale) < ring.modulus_bits(level)):
        raise MessageError(f"a ciphertext's scale must fit its modulus, got {scale!r}.")
    layout = ciphertext_layout(ring, level, size)
    residues = layout.residues(rest, ring.poly_modulus_degree)
    if not np.any(residues[level + 1 :]):
        raise MessageError("a ciphertext must hide its message; this one is not encrypted.")
    fhe = library()
    body = fhe.DeserializeCiphertextString(layout.filled(residues, tag), fhe.BINARY)
    return handle(ring, body, scale, level, size)


def require_form(
    a: OpenFHECiphertext, scale: float, level: int, tolerance: float = 0.0
) -> OpenFHECiphertext:
    """A ciphertext that must have two polynomials, at a scale and a level."""
    if a.size != 2 or a.level != level or not abs(a.scale - scale) <= tolerance * scale:
        raise MessageError(
            f"a ciphertext must have level {level} and scale {scale:.6g} here, got level "
            f"{a.level}, scale {a.scale:.6g} and size {a.size}."
        )
    return a


@lru_cache(maxsize=4)
def _sample(ring: Ring) -> Any:
    """A key pair that nothing is encrypted under: its objects show what others look like."""
    return openfhe_context(ring).KeyGen()


@lru_cache(maxsize=64)
def ciphertext_layout(ring: Ring, level: int, size: int) -> Layout:
    context, key = openfhe_context(ring), _sample(ring).secretKey
    body = context.Encrypt(key, encoded(ring, np.zeros(ring.slots), 1.0, level))
    if size == 3:
        body = context.EvalMultNoRelin(body, body)
    return _layout_of(ring, handle(ring, body, 1.0, level, size).body, ring.primes[: level + 1])


@lru_cache(maxsize=16)
def key_layout(ring: Ring, kind: bytes) -> Layout:
    """The layout of every kind of key but one, see `refreshing.sparse_layout`."""
    fhe, context, pair = library(), openfhe_context(ring), _sample(ring)
    data, tag = ring.primes[: ring.n_data], pair.secretKey.GetKeyTag()
    if kind == SECRET:
        return _layout_of(ring, pair.secretKey, data)
    if kind == PUBLIC:
        return _layout_of(ring, pair.publicKey, data)
    with key_maps():
        if kind == AUTOMORPHISM:
            item = context.EvalAutomorphismKeyGen(pair.secretKey, [5])
        else:
            context.EvalMultKeyGen(pair.secretKey)
            (item,) = fhe.CryptoContext.GetEvalMultKeyVector(tag)
    return _layout_of(ring, item, ring.primes)


def _layout_of(ring: Ring, item: Any, primes: tuple[int, ...]) -> Layout:
    fhe = library()
    layout, _ = taken_apart(fhe.Serialize(item, fhe.BINARY), ring.poly_modulus_degree)
    times, rest = divmod(len(layout.moduli), len(primes))
    if not times or rest or not layout.same_moduli(primes * times):
        raise RuntimeError(
            "OpenFHE's bytes are not laid out as they were in version 1.6.1, or its primes are "
            "not the ring's."
        )
    return layout


def filled_key(ring: Ring, layout: Layout, header: Header, rest: memoryview) -> bytes:
    """The bytes that OpenFHE reads a key from."""
    residues: NDArray[np.uint64] = layout.residues(rest, ring.poly_modulus_degree)
    return layout.filled(residues, header.tag, header.element or None)
