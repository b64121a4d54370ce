"""Rings that refresh ciphertexts, and the ring of a plan."""

from __future__ import annotations

import math

from ..crypto.parameters import Refreshing, Ring
from ..crypto.primes import scaling_primes
from ..packing import Layout
from ..plan import Encryption

# The largest primes: what a refresh errs by goes with the base prime over a scale of this size.
SCALING_BITS, BASE_BITS = 59, 60
REFRESHED_DEGREE = 65536
# Transforms of two levels need four; fewer than these are refreshed no faster.
LEAST_SLOTS = 16
# Levels that a refresh takes beside those of its linear transforms: raising and dividing, eight
# for the sine of an argument below 16.5, which 32 coefficients of a secret cannot exceed.
_SINE_LEVELS = 11
_LEVEL_BUDGET = (2, 2)
# Data primes, and how many of them a digit of key switching has: more levels between refreshes
# make every key switch dearer. All are within the modulus that is secure.
_CHAINS = ((20, 4), (21, 4))


def needed_slots(layout: Layout, carried: int) -> int:
    """Slots of a sparse ciphertext with so many carried vectors, beside each other's items."""
    items = layout.groups * layout.feature_blocks
    return max(carried << (items - 1).bit_length(), LEAST_SLOTS)


def refreshing_rings(slots: int) -> list[Ring]:
    """The rings to choose from, for refreshes of sparse ciphertexts of so many slots."""
    rings = []
    for n_data, size in _CHAINS:
        # OpenFHE takes a special prime more than the largest digit has bits for.
        n_special = math.ceil((BASE_BITS + (size - 1) * SCALING_BITS) / BASE_BITS) + 1
        primes = scaling_primes(REFRESHED_DEGREE, n_data, SCALING_BITS, BASE_BITS, n_special)
        level = n_data - sum(_LEVEL_BUDGET) - _SINE_LEVELS
        refreshing = Refreshing(slots, _LEVEL_BUDGET, level)
        rings.append(Ring(REFRESHED_DEGREE, primes, n_special, size, refreshing))
    return rings


def ring_of(used: Encryption) -> Ring:
    """The ring of a plan, whose security is checked again.

    Raises
    ------
    InfeasiblePlan
        If it is not secure, or none.
    """
    refreshing = None
    if used.refresh_level:
        to_slots, back = used.refresh_budget
        refreshing = Refreshing(used.refresh_slots, (to_slots, back), used.refresh_level)
    return Ring(
        used.poly_modulus_degree, used.primes, used.n_special, used.digit_primes, refreshing
    )
