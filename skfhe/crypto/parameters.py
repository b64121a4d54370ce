"""CKKS parameters: what a user may set, and the checked ring that a plan fixes."""

from __future__ import annotations

import math
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

# Where ciphertexts are refreshed the secret is sparse, and the tables above do not apply: for 192
# coefficients that are not zero, and 32 of the secret under which the modulus is raised, Bossuat,
# Troncoso-Pastoriza and Hubaux (2022, eprint 2022/024) give these bits for 128-bit security.
SPARSE_SECURITY = "128-bit classical, sparse secret (192, encapsulated 32): eprint 2022/024"
MAX_SPARSE_MODULUS_BITS = {65536: 1546}
SECRET_WEIGHT = 192


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
        Bits of the scale at which rows and weights are encrypted: its log2.

    Notes
    -----
    The defaults have the levels for degree 3. The circuit rescales where a prime allows, so
    primes may be as large as the scale (one product each) or hold several products. A plan
    refuses a modulus that is too large for 128-bit security at its ring dimension: the smaller of
    SEAL's limit and that of the security guidelines (eprint 2024/463).

    Examples
    --------
    >>> from skfhe import CKKSParameters, EncryptedDPLogisticRegression
    >>> parameters = CKKSParameters(16384, (55, 45, 45, 45, 45, 55), scale_bits=30)
    >>> model = EncryptedDPLogisticRegression(degree=3, context=parameters)
    >>> model.plan(n_samples=1000, n_features=10).encryption.poly_modulus_degree
    16384
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
class Refreshing:
    """How a ring's ciphertexts get their levels back (bootstrapping).

    Attributes
    ----------
    slots : int
        Complex slots of the sparse ciphertexts that are refreshed: of their plaintexts only
        coefficients at multiples of N/(2 slots) count.
    level_budget : tuple of int
        Levels of the linear transforms to slots and back.
    level : int
        Level of a refreshed ciphertext. Fresh ones need no higher one.
    """

    slots: int
    level_budget: tuple[int, int]
    level: int


@dataclass(frozen=True)
class Ring:
    """A checked CKKS ring: Z_Q[X]/(X^N + 1) with its chain of primes.

    Attributes
    ----------
    poly_modulus_degree : int
        N, a power of two.
    primes : tuple of int
        Data primes from the base prime upwards, then the special primes.
    n_special : int, default=1
        How many primes are special: for key switching alone.
    digit_primes : int, default=1
        How many data primes a digit of key switching has.
    refreshing : Refreshing or None
        Where levels come back; None where they are spent for good.

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
    n_special: int = 1
    digit_primes: int = 1
    refreshing: Refreshing | None = None

    def __post_init__(self):
        n, limits = self.poly_modulus_degree, MAX_MODULUS_BITS
        if self.refreshing is not None:
            limits = MAX_SPARSE_MODULUS_BITS
        if n not in limits:
            raise InfeasiblePlan(f"poly_modulus_degree must be one of {sorted(limits)}, got {n}.")
        if not 1 <= self.n_special < len(self.primes) or self.digit_primes < 1:
            raise InfeasiblePlan(
                "coeff_mod_bit_sizes must hold a base prime and a special prime at least, "
                f"got {len(self.primes)} prime(s)."
            )
        if self.total_bits > limits[n]:
            raise InfeasiblePlan(
                f"the coefficient modulus has {self.total_bits} bits, but 128-bit security "
                f"allows {limits[n]} at poly_modulus_degree={n} ({self.security}); "
                "use fewer or smaller primes, or a larger degree."
            )
        if self.refreshing is not None and not 1 <= self.refreshing.level < self.n_data:
            raise InfeasiblePlan("refreshed ciphertexts must have a level that the primes have.")

    @property
    def security(self) -> str:
        """The table that the modulus is checked against."""
        return SECURITY_TABLE if self.refreshing is None else SPARSE_SECURITY

    @property
    def n_data(self) -> int:
        """Number of data primes."""
        return len(self.primes) - self.n_special

    @property
    def total_bits(self) -> int:
        """Bits of the whole modulus, special prime included."""
        return math.prod(self.primes).bit_length()

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
        return self.n_data - 1 if self.refreshing is None else self.refreshing.level

    @property
    def special_modulus(self) -> int:
        """Product of the primes that only key switching uses."""
        return math.prod(self.primes[self.n_data :])

    def digits(self, level: int) -> list[int]:
        """Moduli of the digits that key switching takes a polynomial of a level apart into."""
        primes, size = self.primes[: level + 1], self.digit_primes
        return [math.prod(primes[i : i + size]) for i in range(0, len(primes), size)]

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
