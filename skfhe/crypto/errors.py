"""How large CKKS errors are: standard deviations per operation, shared by all backends.

All figures are standard deviations of one plaintext *coefficient*, in units of the integer
grid; a slot, being a sum of N coefficients times roots of unity, has sqrt(N) times as much.
The model is the usual average-case one (Cheon, Kim, Kim and Song 2017, eprint 2016/421;
Costache, Curtis, Hales, Murphy, Ogilvie and Player 2022, eprint 2022/162): roundings are
independent and uniform, encryption errors follow SEAL's centred binomial distribution.
`tests/test_errors.py` measures SEAL against it.
"""

from __future__ import annotations

import math

from .parameters import SECRET_WEIGHT, Ring

# SEAL draws errors as the difference of two sums of 21 bits: variance 21/2.
ERROR_VARIANCE = 10.5


def _rounding_variance(ring: Ring) -> float:
    """Rounding both halves of a ciphertext: r_0 + r_1 s, each r uniform on [-1/2, 1/2]."""
    return (1 + secret_norm(ring)) / 12


def secret_norm(ring: Ring) -> float:
    """Bound of ||s||^2: of a sparse secret, or of a uniform ternary one.

    N coefficients that are +-1 with probability 2/3: mean 2N/3, variance 2N/9; eight standard
    deviations are exceeded with probability below 1e-15.
    """
    if ring.refreshing is not None:
        return SECRET_WEIGHT
    n = ring.poly_modulus_degree
    return 2 * n / 3 + 8 * math.sqrt(2 * n / 9)


def encoding_error(ring: Ring, dither: bool) -> float:
    """Rounding a plaintext to integers.

    With a secret dither u, round(c + u) - c is 0 or 1 away from rounding c down, with variance
    f (1 - f) <= 1/4 for the fractional part f: of mean zero and independent of c's neighbours
    whatever the data is, so a data set cannot align the roundings of its coefficients.
    """
    return 0.5 if dither else math.sqrt(1 / 12)


def fresh_error(ring: Ring, level: int, public: bool) -> float:
    """A fresh ciphertext.

    Under the secret key it has its error polynomial alone. Under the public key it is
    u e + e_0 + e_1 s. SEAL encrypts zero one prime higher and divides by that prime: what stays is
    its share and the rounding. OpenFHE, whose rings have several special primes, does not.
    """
    if not public:
        return math.sqrt(ERROR_VARIANCE)
    n = ring.poly_modulus_degree
    above = ERROR_VARIANCE * (1 + 2 * n / 3 + secret_norm(ring))
    if ring.n_special > 1:
        return math.sqrt(above)
    above /= float(ring.primes[level + 1]) ** 2
    return math.sqrt(above + _rounding_variance(ring))


def rescale_error(ring: Ring) -> float:
    """Dividing a size-two ciphertext by a prime."""
    return math.sqrt(_rounding_variance(ring))


def key_switch_error(ring: Ring, level: int) -> float:
    """What varies in relinearising or applying an automorphism at a level.

    Each digit, uniform on [0, q), multiplies a key's error polynomial; the sum is divided by the
    special modulus and rounded. This is the part about the digits' mean, see `key_switch_offset`.
    """
    n = ring.poly_modulus_degree
    divided = _rounding_variance(ring)
    if ring.n_special > 1:
        # Dividing by several primes is off by up to one for each, times the secret.
        divided += ring.n_special * secret_norm(ring) / 12
    return math.sqrt(_digits(ring, level) / 12 * n * ERROR_VARIANCE + divided)


def _digits(ring: Ring, level: int) -> float:
    """Sum of squared digits' lengths over the special modulus.

    A digit of k > 1 primes is raised to the other primes by a fast base conversion, which leaves
    a multiple of its modulus below k times it (Halevi, Polyakov and Shoup 2018, eprint 2018/117).
    """
    longest = (ring.digit_primes * (q / ring.special_modulus) for q in ring.digits(level))
    return math.fsum(one**2 for one in longest)


def key_switch_offset(ring: Ring, level: int) -> float:
    """What a key switch adds to every ciphertext alike: a slot's standard deviation at its peak.

    The digits' mean, q/2 sum_k X^k = q/(1 - X), times the key's error: a property of the key,
    the same for all data. It is largest where 1 - zeta is smallest, |1 - zeta| >= 3/N. Unlike the
    other figures this is of a slot, in units of the integer grid.
    """
    n = ring.poly_modulus_degree
    return math.sqrt(_digits(ring, level) * n * ERROR_VARIANCE + _division_mean(ring)) * n / 3


def _division_mean(ring: Ring) -> float:
    """Twice the mean of dividing by several special primes, squared: half of one for each."""
    return ring.n_special**2 * secret_norm(ring) if ring.n_special > 1 else 0.0


def key_switch_mean(ring: Ring, level: int) -> float:
    """The same of a coefficient: as likely on either side of zero over the choice of the key."""
    n = ring.poly_modulus_degree
    return math.sqrt(_digits(ring, level) / 4 * n * ERROR_VARIANCE + _division_mean(ring) / 4)


# log2 of what a refresh errs by over the base prime, and of what it leaves of coefficients that it
# removes: measured, and held by tests/test_openfhe.py.
_REFRESH_BITS, _REMAINS_BITS = -32.0, -46.5


def refresh_error(ring: Ring) -> float:
    """What varies in refreshing a ciphertext: roundings at every level of its circuit.

    They are of the raised ciphertext, whose message has the multiples of q_0 that raising adds;
    so they go with q_0 and not with the message. A part is the error of the polynomial that
    stands for the sine, which is bounded.
    """
    return 2.0**_REFRESH_BITS * ring.primes[0]


def refresh_remains(ring: Ring) -> float:
    """The same of coefficients that a refresh does not keep."""
    return 2.0**_REMAINS_BITS * ring.primes[0]


def refresh_distortion(share: float) -> float:
    """Relative excess of a message over its sine: (2 pi share)^2 / 6 for |m| <= share q_0."""
    return (2 * math.pi * share) ** 2 / 6
