"""What every encryptor does to slots before they are encoded."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from .embedding import coefficients_to_slots
from .parameters import Ring

# The largest spread of integer coefficients that encoders take without rounding: the two FFTs in
# double precision err by about 2^-53 of the spread times a few, so a spread of 2^45 (largest of
# 8,192 draws below 2^48) stays an order of magnitude below one half.
EXACT_BITS = 48


def dithered(ring: Ring, slots: NDArray, scale: float) -> NDArray[np.complex128]:
    """Slots with a secret uniform number in [-1/2, 1/2) on every coefficient at a scale."""
    words = np.frombuffer(os.urandom(4 * ring.poly_modulus_degree), dtype=np.uint32)
    return slots + coefficients_to_slots(ring, words / 2.0**32 - 0.5) / scale


def integer_slots(ring: Ring, coefficients: NDArray) -> NDArray[np.complex128]:
    """Slots at scale 1 of integer coefficients, which the encoder's rounding gives back exactly.

    Raises
    ------
    ValueError
        If they are too large for that.
    """
    largest = int(np.max(np.abs(coefficients)))
    if largest.bit_length() > EXACT_BITS:
        raise ValueError(
            f"coefficients must be below 2^{EXACT_BITS} to be encoded exactly, "
            f"got one of {largest.bit_length()} bits; use a smaller scale."
        )
    return coefficients_to_slots(ring, coefficients)
