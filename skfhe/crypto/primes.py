"""The primes of rings that refresh ciphertexts, found without the library that computes in them.

All data primes but the base are next to one power of two, alternately below and above it, so that
dividing by one of them hardly changes a scale (Cheon, Han, Kim, Kim and Song 2018, eprint
2018/931). OpenFHE chooses the same ones; `skfhe.crypto.openfhe` refuses to compute in others.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

# For numbers below 3.3e24 these bases leave no composite (Sorenson and Webster 2015).
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)


def is_prime(number: int) -> bool:
    """Miller and Rabin's test, without error below 2^64."""
    if number < 2 or any(number % p == 0 for p in _WITNESSES):
        return number in _WITNESSES
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in _WITNESSES:
        value = pow(base, odd, number)
        if value in (1, number - 1):
            continue
        if not any((value := value * value % number) == number - 1 for _ in range(twos - 1)):
            return False
    return True


def _from(start: int, step: int) -> Iterator[int]:
    """Primes from a number on, upwards or downwards, in steps."""
    number = start
    while True:
        if is_prime(number):
            yield number
        number += step


@lru_cache(maxsize=64)
def scaling_primes(
    poly_modulus_degree: int, n_data: int, bits: int, base_bits: int, n_special: int
) -> tuple[int, ...]:
    """A base prime, primes around 2^bits, and special primes of `base_bits` bits.

    Parameters
    ----------
    poly_modulus_degree : int
        N; all primes are 1 modulo 2N.
    n_data : int
        Data primes, the base prime included.
    bits, base_bits : int
        log2 of the scaling primes; bits of the base prime, which are more, and the special ones.
    n_special : int
        Special primes.
    """
    order = 2 * poly_modulus_degree
    above, below = _from((1 << bits) + 1, order), _from((1 << bits) + 1 - order, -order)
    # From the top of the chain downwards.
    chain = [next(above)]
    chain += [next(above) if i % 2 else next(below) for i in range(n_data - 2)]
    largest = _from((1 << base_bits) + 1 - order, -order)
    base, *special = (next(largest) for _ in range(1 + n_special))
    return (base, *reversed(chain), *special)
