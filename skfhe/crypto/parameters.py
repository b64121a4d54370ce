"""CKKS parameters: what a user may set, and the checked ring that a plan fixes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from ..exceptions import InfeasiblePlan

SECURITY_TABLE = "128-bit classical, ternary secret: min(SEAL 4.1, eprint 2024/463)"

# Largest total modulus in bits, special prime included, per polynomial modulus degree: the
# smaller of SEAL's CoeffModulus::MaxBitCount and the 2024 guidelines' table for 128 bits.
MAX_MODULUS_BITS = {4096: 106, 8192: 214, 16384: 430, 32768: 868}


class CKKSParameters(BaseEstimator):
    """CKKS parameters that a user fixes instead of leaving them to the plan.

    An ordinary scikit-learn parameter object: its parameters can be searched as
    ``context__poly_modulus_degree`` and so on. Everything here is public.

    Parameters
    ----------
    poly_modulus_degree : int, default=8192
        Ring dimension N; a ciphertext has N/2 slots.
    coeff_mod_bit_sizes : sequence of int, default=(50, 55, 32, 32, 45)
        Bits of each prime of the coefficient modulus, in TenSEAL's order: the base prime
        first, the special prime of key switching last.
    scale_bits : int, default=29
        log2 of the scale at which rows and weights are encrypted.

    Notes
    -----
    The defaults have the levels for degree 3. The circuit rescales where a prime allows, so
    primes may be as large as the scale (one product each) or hold several products.
    """

    _parameter_constraints: dict = {
        "poly_modulus_degree": [Integral],
        "coeff_mod_bit_sizes": ["array-like"],
        "scale_bits": [Integral],
    }

    def __init__(
        self,
        poly_modulus_degree: int = 8192,
        coeff_mod_bit_sizes: tuple[int, ...] = (50, 55, 32, 32, 45),
        scale_bits: int = 29,
    ):
        self.poly_modulus_degree = poly_modulus_degree
        self.coeff_mod_bit_sizes = coeff_mod_bit_sizes
        self.scale_bits = scale_bits


@dataclass(frozen=True)
class Ring:
    """A checked CKKS ring: Z_Q[X]/(X^N + 1) with its chain of primes.

    Attributes
    ----------
    poly_modulus_degree : int
        N, a power of two.
    primes : tuple of int
        Data primes from the base prime upwards, then the special prime last.

    Raises
    ------
    InfeasiblePlan
        If N is not supported or the modulus is too large for 128-bit security.

    Notes
    -----
    A ciphertext at *level* l is held modulo the first l + 1 primes; fresh ones are at
    ``top_level``. Slot j is the value at zeta^(3^j), zeta = exp(i pi / N), as in SEAL.
    """

    poly_modulus_degree: int
    primes: tuple[int, ...]

    def __post_init__(self):
        n = self.poly_modulus_degree
        if n not in MAX_MODULUS_BITS:
            raise InfeasiblePlan(
                f"poly_modulus_degree must be one of {sorted(MAX_MODULUS_BITS)}, got {n}."
            )
        if len(self.primes) < 2:
            raise InfeasiblePlan(
                "coeff_mod_bit_sizes must hold a base prime and a special prime at least, "
                f"got {len(self.primes)} prime(s)."
            )
        if self.total_bits > MAX_MODULUS_BITS[n]:
            raise InfeasiblePlan(
                f"the coefficient modulus has {self.total_bits} bits, but 128-bit security "
                f"allows {MAX_MODULUS_BITS[n]} at poly_modulus_degree={n} ({SECURITY_TABLE}); "
                "use fewer or smaller primes, or a larger degree."
            )

    @property
    def total_bits(self) -> int:
        """Bits of the whole modulus, special prime included."""
        product = 1
        for prime in self.primes:
            product *= prime
        return product.bit_length()

    @property
    def prime_bits(self) -> tuple[int, ...]:
        """Bits of each prime."""
        return tuple(prime.bit_length() for prime in self.primes)

    @property
    def slots(self) -> int:
        """Number of complex slots, N/2."""
        return self.poly_modulus_degree // 2

    @property
    def top_level(self) -> int:
        """Level of a fresh ciphertext."""
        return len(self.primes) - 2

    @property
    def special_prime(self) -> int:
        """The prime that only key switching uses."""
        return self.primes[-1]

    def modulus_bits(self, level: int) -> float:
        """log2 of the modulus at a level."""
        return self._modulus_bits[level]

    @cached_property
    def _modulus_bits(self) -> list[float]:
        return np.cumsum(np.log2(np.array(self.primes, dtype=float))).tolist()

    @cached_property
    def exponents(self) -> NDArray[np.int64]:
        """The exponent 3^j mod 2N of the root behind each slot."""
        return slot_exponents(self.poly_modulus_degree)


def slot_exponents(poly_modulus_degree: int) -> NDArray[np.int64]:
    """Exponents e_j = 3^j mod 2N such that slot j is the value at zeta^(e_j)."""
    exponents = np.empty(poly_modulus_degree // 2, dtype=np.int64)
    value = 1
    for j in range(exponents.size):
        exponents[j] = value
        value = value * 3 % (2 * poly_modulus_degree)
    return exponents
