"""OpenFHE's contexts, its order of slots, and the process-wide maps of its evaluation keys."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...exceptions import InfeasiblePlan
from ..parameters import Ring
from ..primes import scaling_primes

# Of all scaling primes, and of the scale that OpenFHE takes every number for encoded at. Scales
# are this package's own affair: what is not this one is declared in a handle, never in OpenFHE.
SCALING_BITS, BASE_BITS = 59, 60
UNIT = 2.0**SCALING_BITS

_MAPS = threading.RLock()


def library() -> ModuleType:
    """The module openfhe, imported when it is first needed.

    Raises
    ------
    ImportError
        If it is missing, or its wheel is not for this Python and system.
    """
    try:
        import openfhe
    except ImportError as error:
        raise ImportError(
            "backend='openfhe' needs OpenFHE: pip install 'skfhe[openfhe]'. Its wheel is for "
            "CPython 3.10 on Linux x86-64; there is a newer one for CPython 3.12 that needs "
            f"glibc 2.38. Python says: {error}."
        ) from error
    _first_process()
    return openfhe


@lru_cache(maxsize=1)
def _first_process() -> int:
    """The process in which OpenFHE was used first."""
    return os.getpid()


def _context(ring: Ring, n_data: int, n_digits: int, secure: bool) -> Any:
    fhe = library()
    parameters = fhe.CCParamsCKKSRNS()
    parameters.SetSecurityLevel(fhe.HEStd_128_classic if secure else fhe.HEStd_NotSet)
    parameters.SetScalingTechnique(fhe.FIXEDMANUAL)
    parameters.SetScalingModSize(SCALING_BITS)
    parameters.SetFirstModSize(BASE_BITS)
    parameters.SetNumLargeDigits(n_digits)
    # Decoding real slots, OpenFHE estimates the error by imaginary parts and adds noise.
    parameters.SetCKKSDataType(fhe.COMPLEX)
    parameters.SetMultiplicativeDepth(n_data - 1)
    parameters.SetRingDim(ring.poly_modulus_degree)
    sparse = ring.refreshing is not None
    parameters.SetSecretKeyDist(fhe.SPARSE_ENCAPSULATED if sparse else fhe.UNIFORM_TERNARY)
    context = fhe.GenCryptoContext(parameters)
    for feature in (fhe.PKE, fhe.KEYSWITCH, fhe.LEVELEDSHE, fhe.ADVANCEDSHE, fhe.FHE):
        context.Enable(feature)
    return context


def openfhe_context(ring: Ring) -> Any:
    """OpenFHE's context of a ring, its primes compared.

    Raises
    ------
    RuntimeError
        In a fork of the process that used OpenFHE first. Its random generator is seeded once for a
        process, so forks would make keys and encryptions of the same randomness.
    """
    if _first_process() != os.getpid():
        raise RuntimeError(
            "OpenFHE was in use before this process was forked, which copied the state of its "
            "random generator: encryptions in both would have the same randomness. Start "
            "processes by spawning them."
        )
    return _checked_context(ring)


@lru_cache(maxsize=8)
def _checked_context(ring: Ring) -> Any:
    library()
    n_digits = -(-ring.n_data // ring.digit_primes)
    try:
        context = _context(ring, ring.n_data, n_digits, True)
    except RuntimeError as error:
        raise InfeasiblePlan(f"OpenFHE refuses the parameters: {error}.") from None
    found = _primes(context)
    if found != ring.primes[: ring.n_data]:
        raise InfeasiblePlan(
            f"the ring's data primes must be those that OpenFHE chooses, "
            f"{[hex(q) for q in found]}, got {[hex(q) for q in ring.primes[: ring.n_data]]}; "
            "take them from skfhe.crypto.primes.scaling_primes."
        )
    known = scaling_primes(
        ring.poly_modulus_degree, ring.n_data, SCALING_BITS, BASE_BITS, ring.n_special
    )
    if known != ring.primes:
        raise InfeasiblePlan(
            "the ring's special primes must be those that OpenFHE computes with; take them from "
            "skfhe.crypto.primes.scaling_primes."
        )
    size, special = -(-ring.n_data // n_digits), special_primes(ring)
    if (size, special) != (ring.digit_primes, ring.n_special):
        raise InfeasiblePlan(
            f"OpenFHE would compute with {special} special primes and digits of {size} primes, "
            f"but the ring has {ring.n_special} and {ring.digit_primes}."
        )
    return context


def special_primes(ring: Ring) -> int:
    """How many special primes OpenFHE takes: what holds the largest digit, and one more."""
    largest = max(q.bit_length() for q in ring.digits(ring.n_data - 1))
    return -(-largest // BASE_BITS) + 1


def shallow_context(ring: Ring) -> Any:
    """A context of two primes, for what depends on the ring's degree alone. Keeps no secrets."""
    return _context(ring, 2, 1, False)


def _primes(context: Any) -> tuple[int, ...]:
    """The data primes, read from the context's text: nothing else shows them."""
    fhe = library()
    pending = [json.loads(fhe.Serialize(context, fhe.JSON))]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if "elp" in item:
                towers = item["elp"]["ptr_wrapper"]["data"]["p"]
                return tuple(int(t["ptr_wrapper"]["data"]["value0"]["cm"]["v"]) for t in towers)
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    raise InfeasiblePlan("OpenFHE's parameters are not written as they were in version 1.6.1.")


@lru_cache(maxsize=8)
def _order(ring: Ring) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """OpenFHE's slot j, the value at zeta^(5^j), as a slot of the ring's or its conjugate."""
    n = ring.poly_modulus_degree
    slot_of = np.full(2 * n, -1, dtype=np.int64)
    slot_of[ring.exponents] = np.arange(n // 2)
    roots = np.array([pow(5, j, 2 * n) for j in range(n // 2)])
    conjugate = slot_of[roots] < 0
    return np.where(conjugate, slot_of[2 * n - roots], slot_of[roots]), conjugate


def to_openfhe(ring: Ring, slots: NDArray) -> NDArray[np.complex128]:
    """Slots in OpenFHE's order."""
    source, conjugate = _order(ring)
    values = np.asarray(slots, dtype=np.complex128)[source]
    return np.where(conjugate, np.conj(values), values)


def from_openfhe(ring: Ring, values: NDArray) -> NDArray[np.complex128]:
    """Slots from OpenFHE's order."""
    source, conjugate = _order(ring)
    slots = np.empty(ring.slots, dtype=np.complex128)
    slots[source] = np.where(conjugate, np.conj(values), values)
    return slots


def encoded(ring: Ring, slots: NDArray, scale: float, level: int) -> Any:
    """A plaintext of slots at a scale and a level."""
    values = to_openfhe(ring, slots) * (scale / UNIT)
    depth = ring.n_data - 1 - level
    return openfhe_context(ring).MakeCKKSPackedPlaintext(values, 1, depth, None, ring.slots)


@contextmanager
def key_maps(
    tag: str = "", multiplication: list | None = None, automorphisms: Any = None
) -> Iterator[None]:
    """Evaluation keys in OpenFHE's maps while an operation lasts; then the maps as before.

    The maps belong to the whole process: operations of several threads wait for each other.
    """
    fhe = library()
    context = fhe.CryptoContext
    with _MAPS:
        before = context.GetAllEvalMultKeys(), context.GetAllEvalAutomorphismKeys()
        _empty(fhe)
        try:
            if multiplication is not None:
                context.InsertEvalMultKey(multiplication, tag)
            if automorphisms is not None:
                context.InsertEvalAutomorphismKey(automorphisms, tag)
            yield
        finally:
            _empty(fhe)
            for name, keys in before[0].items():
                context.InsertEvalMultKey(keys, name)
            for name, keys in before[1].items():
                context.InsertEvalAutomorphismKey(keys, name)


def _empty(fhe: ModuleType) -> None:
    fhe.ClearEvalMultKeys()
    fhe.CryptoContext.ClearEvalAutomorphismKeys()
