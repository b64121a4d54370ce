"""How large CKKS errors are: standard deviations per operation, shared by all backends.

All figures are standard deviations of one plaintext *coefficient*, in units of the integer
grid; a slot, being a sum of N coefficients times roots of unity, has sqrt(N) times as much.
The model is the usual average-case one (Cheon, Kim, Kim and Song 2017, eprint 2016/421;
Costache, Curtis, Hales, Murphy, Ogilvie and Player 2022, eprint 2022/162): roundings are
independent and uniform, the ternary secret has squared norm 2N/3, encryption errors follow
SEAL's centred binomial distribution. `tests/test_errors.py` measures SEAL against it.
"""

from __future__ import annotations

import math

from .parameters import Ring

# SEAL draws errors as the difference of two sums of 21 bits: variance 21/2.
ERROR_VARIANCE = 10.5


def _rounding_variance(ring: Ring) -> float:
    """Rounding both halves of a ciphertext: r_0 + r_1 s, each r uniform on [-1/2, 1/2]."""
    return (1 + 2 * ring.poly_modulus_degree / 3) / 12


def encoding_error(ring: Ring) -> float:
    """Rounding a plaintext to integers."""
    return math.sqrt(1 / 12)


def fresh_error(ring: Ring, level: int, public: bool) -> float:
    """A fresh ciphertext.

    Under the secret key it has its error polynomial alone. Under the public key SEAL encrypts
    zero one prime higher, where the error is u e + e_0 + e_1 s, and divides by that prime: what
    stays is its share and the rounding.
    """
    if not public:
        return math.sqrt(ERROR_VARIANCE)
    n = ring.poly_modulus_degree
    above = ERROR_VARIANCE * (1 + 4 * n / 3) / float(ring.primes[level + 1]) ** 2
    return math.sqrt(above + _rounding_variance(ring))


def rescale_error(ring: Ring) -> float:
    """Dividing a size-two ciphertext by a prime."""
    return math.sqrt(_rounding_variance(ring))


def key_switch_error(ring: Ring, level: int) -> float:
    """Relinearising or applying an automorphism at a level.

    Each digit, uniform modulo its prime, multiplies a key's error polynomial; the sum is
    divided by the special prime and rounded.
    """
    n = ring.poly_modulus_degree
    digits = sum(float(q) ** 2 for q in ring.primes[: level + 1]) / 12
    return math.sqrt(
        digits * n * ERROR_VARIANCE / float(ring.special_prime) ** 2 + _rounding_variance(ring)
    )
