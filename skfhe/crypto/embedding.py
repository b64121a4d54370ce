"""The canonical embedding: plaintext coefficients to slots and back, by one FFT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .parameters import Ring


def monomial_slots(ring: Ring, power: int) -> NDArray[np.complex128]:
    """Slots of the monomial X^power; a negative power is the inverse, for X^(2N) = 1."""
    n = ring.poly_modulus_degree
    return np.exp(1j * np.pi / n * (ring.exponents * power % (2 * n)))


def mask_slots(ring: Ring, period: int) -> NDArray[np.complex128]:
    """One in every period-th slot from the first on, zero in all others."""
    return (np.arange(ring.slots) % period == 0).astype(np.complex128)


def coefficients_to_slots(ring: Ring, coefficients: NDArray) -> NDArray[np.complex128]:
    """Values m(zeta^(3^j)) of the polynomial with the given N real coefficients.

    m(zeta^(2i+1)) = sum_k (c_k zeta^k) exp(2 pi i ik / N): an inverse FFT of the twisted
    coefficients gives every odd power of zeta; slot j reads the one at 3^j.
    """
    n = ring.poly_modulus_degree
    twist = np.exp(1j * np.pi / n * np.arange(n))
    values = np.fft.ifft(coefficients * twist) * n
    return values[(ring.exponents - 1) // 2]


def slots_to_coefficients(ring: Ring, slots: NDArray) -> NDArray[np.float64]:
    """The N real coefficients behind N/2 slots; inverse of `coefficients_to_slots`.

    The roots that no slot shows are the conjugates of those that one does, because the
    coefficients are real.
    """
    n = ring.poly_modulus_degree
    index = (ring.exponents - 1) // 2
    values = np.empty(n, dtype=np.complex128)
    values[index] = slots
    values[n - 1 - index] = np.conj(slots)
    twist = np.exp(-1j * np.pi / n * np.arange(n))
    return (np.fft.fft(values) / n * twist).real


def galois_slots(ring: Ring, element: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """How X -> X^element moves slots: result slot j is slot ``source[j]``, maybe conjugated.

    The result's slot j is the value at zeta^(element 3^j), which is the root of another slot
    or the conjugate of one.
    """
    n = ring.poly_modulus_degree
    slot_of = np.full(2 * n, -1, dtype=np.int64)
    slot_of[ring.exponents] = np.arange(ring.slots)
    target = ring.exponents * element % (2 * n)
    conjugate = slot_of[target] < 0
    source = np.where(conjugate, slot_of[(2 * n - target) % (2 * n)], slot_of[target])
    return source, conjugate
