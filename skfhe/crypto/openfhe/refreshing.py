"""What refreshing needs: the linear transforms' plaintexts, and keys for it.

The secret is sparse, and a still sparser one is used where the modulus is raised (Bossuat,
Troncoso-Pastoriza and Hubaux 2022, eprint 2022/024). The keys from one to the other and back are
in OpenFHE's map of automorphism keys, as those of 2N - 4 and 2N - 2. They belong together and are
made only along with rotation keys: the fewest are those of one slot.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ..parameters import Ring
from .context import key_maps, library, openfhe_context, shallow_context
from .layout import TAG, Layout, taken_apart
from .messages import AUTOMORPHISM, SPARSE, Header, dump, key_layout

# Refreshing divides messages by two to this power before and multiplies them after: plans choose
# scales far enough below the base prime themselves, and this is the least that OpenFHE takes.
_CORRECTION = 1


def _set_up(ring: Ring, context: Any, slots: int, precompute: bool) -> None:
    # One slot has transforms of one level; OpenFHE would print that it has no more.
    budget = list(ring.refreshing.level_budget) if slots > 1 else [1, 1]
    context.EvalBootstrapSetup(budget, [0, 0], slots, _CORRECTION, precompute)


@lru_cache(maxsize=8)
def prepare(ring: Ring) -> None:
    """The plaintexts of the transforms to slots and back, kept in the ring's context."""
    _set_up(ring, openfhe_context(ring), ring.refreshing.slots, True)


def special_elements(ring: Ring) -> tuple[int, int]:
    """What stands for the keys to the sparser secret and from it."""
    order = 2 * ring.poly_modulus_degree
    return order - 4, order - 2


def bootstrapping_elements(ring: Ring) -> tuple[int, ...]:
    """Galois elements that refreshing applies; without the two special ones."""
    return _shallow(ring)[0]


def sparse_layout(ring: Ring) -> Layout:
    """The layout of a map of one key to the sparser secret."""
    return _shallow(ring)[1]


@lru_cache(maxsize=8)
def _shallow(ring: Ring) -> tuple[tuple[int, ...], Layout]:
    """Which keys a context makes, and the bytes of the one that is like no other.

    Both depend on the degree alone, so a context of two primes tells them in a second. Its bytes
    refer to nothing before the key's name: what stands before it may be of the ring's context.
    """
    fhe, context = library(), shallow_context(ring)
    secret = context.KeyGen().secretKey
    _set_up(ring, context, ring.refreshing.slots, False)
    with key_maps():
        context.EvalBootstrapKeyGen(secret, ring.refreshing.slots)
        tag = secret.GetKeyTag()
        elements = fhe.CryptoContext.GetExistingEvalAutomorphismKeyIndices(tag)
        stream = fhe.Serialize(fhe.CryptoContext.GetEvalAutomorphismKeyMap(tag), fhe.BINARY)
    layout, _ = taken_apart(stream, ring.poly_modulus_degree)
    special = special_elements(ring)
    begin, middle = _places(layout, special)
    piece, last = layout.pieces[begin], layout.pieces[middle]
    pieces = (
        _head(key_layout(ring, AUTOMORPHISM).pieces[0], piece),
        *layout.pieces[begin + 1 : middle],
        last[: last.index(_mark(special[1]))],
    )
    others = tuple(sorted(set(elements) - set(special)))
    return others, Layout(pieces, layout.moduli[begin:middle])


def _head(first: bytes, later: bytes) -> bytes:
    """What stands before a later key's residues, as if it were the first of its map.

    After the name there are the number of polynomials and that of a polynomial's runs. Only the
    first key in a map also tells the version of each.
    """
    at, there = TAG.search(first).end(), TAG.search(later).end()
    digits, runs = later[there : there + 8], later[there + 8 : there + 16]
    return first[:at] + digits + first[at + 8 : at + 12] + runs + first[at + 20 :]


def _mark(element: int) -> bytes:
    """How a key in a map begins: its element, then the type that the first one has named."""
    return element.to_bytes(4, "little") + b"\x01\0\0\0"


def _places(layout: Layout, elements: tuple[int, ...]) -> list[int]:
    """Number of the run that the key of each element begins with."""
    pieces = layout.pieces
    found = [[i for i, piece in enumerate(pieces) if _mark(e) in piece] for e in elements]
    if any(len(places) != 1 for places in found):
        raise RuntimeError("OpenFHE's keys are not laid out as they were in version 1.6.1.")
    return [places[0] for places in found]


def sparse_pair(ring: Ring, secret: Any) -> Iterator[bytes]:
    """The keys to the sparser secret and from it, as messages. The sparser secret is forgotten."""
    fhe, context, tag = library(), openfhe_context(ring), secret.GetKeyTag()
    _set_up(ring, context, 1, False)
    special = special_elements(ring)
    # Two copies of these keys are enough: written to memory outside Python, they are not copied
    # again to be looked through.
    descriptor = os.memfd_create("skfhe")
    try:
        with key_maps():
            context.EvalBootstrapKeyGen(secret, 1)
            keys = fhe.CryptoContext.GetEvalAutomorphismKeyMap(tag)
            fhe.SerializeToFile(f"/proc/self/fd/{descriptor}", keys, fhe.BINARY)
        del keys
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as stream:
            kept = _special_runs(ring, stream, special)
    finally:
        os.close(descriptor)
    yield dump(ring, Header(SPARSE, tag, special[0]), kept[0])
    yield dump(ring, Header(AUTOMORPHISM, tag, special[1]), kept[1])


def _special_runs(ring: Ring, stream: Any, special: tuple[int, int]) -> list[list[bytes]]:
    """The residues of both special keys."""
    layout, runs = taken_apart(stream, ring.poly_modulus_degree)
    begin, middle = _places(layout, special)
    end = middle + len(key_layout(ring, AUTOMORPHISM).moduli)
    kept = [[bytes(r) for r in runs[begin:middle]], [bytes(r) for r in runs[middle:end]]]
    for run in runs:
        run.release()
    return kept
