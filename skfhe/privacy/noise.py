"""Exact discrete Gaussian noise.

The method is the discrete algorithm of C. F. F. Karney, "Sampling exactly from the normal
distribution", ACM Transactions on Mathematical Software 42(1), 2016, specialised to an integer
spread and centre zero and vectorised with NumPy.

Every random decision in it has the form "is a uniform real U below exp(-gamma)?" with a rational
gamma. Floating point only ever *proposes* the answer; `_below_exp` accepts the proposal where an
error bound proves it and otherwise looks at more bits of the same U. So the samples have exactly
the stated law as long as the random bytes are uniform.
"""

from __future__ import annotations

import decimal
import os
import warnings
from collections.abc import Callable
from fractions import Fraction
from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from ..exceptions import SeededNoiseWarning

RandomBytes = Callable[[int], bytes]

MAX_SIGMA = 2**46

# Bits of U drawn at first. A 53-bit integer and its multiple of 2^-53 are float64 exactly.
_BITS = 53

# Half-width of the zone around U = exp(-gamma) in which float64 does not decide. With g, p the
# float64 values of gamma and exp(-g), u the first 53 bits of U, and eps = 2^-53:
#
#   U - u / 2^53        lies in [0, eps)                                    (the bits not drawn)
#   |exp(-g) - exp(-gamma)|  <= |g - gamma| exp(-min(g, gamma)) < 2 eps     (*)
#   |p - exp(-g)|       <= rho, rho the error of np.exp relative to its value, which is <= 1
#   u / 2^53 - p        is rounded by at most eps / 2, being at most 1 in size
#
# so the sign of the computed u / 2^53 - p is that of U - exp(-gamma) wherever its size exceeds
# rho + 3.5 eps. NumPy's own kernels and the usual C libraries have rho <= 2 eps; the width below
# allows rho = 2^-41, that is 4,096 eps. One decision in 2^39 falls into the zone.
#
# (*) gamma = (k (k - 1) + x (2 k + x)) / 2 with x = j / sigma: j, sigma, k (k - 1) and 2 k are
# float64 exactly, no term is negative, and the roundings add up to x: 1, 2 k + x: 2, the product:
# 1 + 2 + 1 = 4, the sum: 5. So |g - gamma| <= 5.01 eps gamma, and gamma exp(-gamma) <= 1/e.
# For gamma = 1/2, the other use, there is no error.
_BAND = 2.0**-40


def discrete_gaussian(
    sigma: int,
    size: int,
    random_bytes: RandomBytes = os.urandom,
    *,
    _band: float = _BAND,
) -> NDArray[np.int64]:
    """Draw exact samples of the discrete Gaussian on the integers.

    Each sample is an integer v with probability proportional to ``exp(-v^2 / (2 sigma^2))``,
    independent of the others (Karney 2016, see the module; docs/proofs/errors.md, statement 5a,
    for what it costs in delta that the noise is discrete).

    Parameters
    ----------
    sigma : int
        The spread in integer units, from 1 to 2**46. Public.
    size : int
        How many samples to draw. Public.
    random_bytes : callable, default=os.urandom
        Returns the number of uniform random bytes it is asked for. Anything but a
        cryptographically secure source voids the privacy that the noise is drawn for.

    Returns
    -------
    noise : ndarray of int64 of shape (size,)
        The samples, in integer units. Secret.

    Raises
    ------
    ValueError
        If `sigma` is not an integer from 1 to 2**46, or `size` not an integer from 0 on.

    Notes
    -----
    Propose k >= 0 with probability ``(1 - e^(-1/2)) e^(-k/2)``, j uniform on
    ``{0, ..., sigma - 1}`` and a sign; start again at k = j = 0 with a minus, since zero would be
    counted twice; with x = j / sigma, accept with probability
    ``exp(-(k (k - 1) + x (2 k + x)) / 2)`` and return ``sign * (k sigma + j)``. An accepted value
    has weight ``exp(-k/2 - k (k - 1)/2 - k x - x^2/2) = exp(-(k + x)^2 / 2)``, as it must, and
    about ``sqrt(pi / 2) (1 - e^(-1/2)) = .49`` of the proposals are accepted.

    Why an own sampler: OpenDP has the vetted one, but it is 265 MB installed, takes 90 ms for
    8,192 samples, and its integer vectors saturate at 2^31, while the spreads needed here reach
    2^45. This one is short enough to be proved line by line.

    The running time depends on the values drawn. Timing side channels are out of scope: whoever
    can time the process that draws the noise is assumed to be trusted with it.
    """
    if not isinstance(sigma, Integral) or not 1 <= sigma <= MAX_SIGMA:
        raise ValueError(f"sigma must be an integer from 1 to 2**46. Got {sigma!r} instead.")
    if not isinstance(size, Integral) or size < 0:
        raise ValueError(f"size must be an integer that is not negative. Got {size!r} instead.")
    sigma = int(sigma)
    mask = (1 << (sigma - 1).bit_length()) - 1
    rate = 0.48 * sigma / (mask + 1)
    parts, missing = [np.empty(0, np.int64)], int(size)
    # How often this runs depends on how many proposals were accepted, never on their values, so
    # dropping the surplus at the end leaves the law as it is.
    while missing > 0:
        words = _words(int(missing / rate) + 16, random_bytes)
        parts.append(_accepted(words, sigma, mask, random_bytes, _band))
        missing -= parts[-1].size
    return np.concatenate(parts)[:size]


def seeded_bytes(seed: int) -> RandomBytes:
    """Return a reproducible `random_bytes` for `discrete_gaussian`.

    **This voids privacy**: whoever knows or guesses the seed can subtract the noise, and the
    generator behind it (PCG64) can be predicted from its output even without. It is for
    reproducible tests only.

    Parameters
    ----------
    seed : int
        Seed of the generator, not negative.

    Returns
    -------
    random_bytes : callable
        Returns the next bytes of the generator's stream.
    """
    return np.random.Generator(np.random.PCG64(seed)).bytes


def noise_source(random_state, released: str = "model") -> RandomBytes:
    """Return what a scikit-learn `random_state` stands for.

    Parameters
    ----------
    random_state : int, RandomState or None
        None is the operating system; anything else seeds the noise, with a warning.
    released : str, default="model"
        What the warning says that the noise is for.

    Returns
    -------
    random_bytes : callable
        ``os.urandom`` itself if and only if the noise is unpredictable.

    Warns
    -----
    SeededNoiseWarning
        If the noise is seeded.
    """
    if random_state is None:
        return os.urandom
    warnings.warn(
        f"random_state seeds the noise, so this {released} has no privacy guarantee: use it for "
        "tests only and leave random_state=None otherwise.",
        SeededNoiseWarning,
        stacklevel=3,
    )
    return seeded_bytes(int(check_random_state(random_state).randint(np.iinfo(np.int32).max)))


def _words(count: int, random_bytes: RandomBytes) -> NDArray[np.uint64]:
    """Draw uniform 64-bit words."""
    return np.frombuffer(random_bytes(8 * count), dtype="<u8", count=count)


def _accepted(
    words: NDArray[np.uint64], sigma: int, mask: int, random_bytes: RandomBytes, band: float
) -> NDArray[np.int64]:
    """Turn each word (low bits j, top bit the sign) into a proposal; return those accepted."""
    j = (words & np.uint64(mask)).astype(np.int64)
    negative = words >> np.uint64(63) == 1
    valid = j < sigma
    j, negative = j[valid], negative[valid]

    # Everything below fits its type while k < 2^16; that fails with probability e^(-2^15).
    k = _geometric(j.size, random_bytes, band)
    once = (k > 0) | (j > 0) | ~negative
    k, j, negative = k[once], j[once], negative[once]

    x = j / sigma
    gamma = 0.5 * (k * (k - 1) + x * (2 * k + x))

    def exact_gamma(i: int) -> Fraction:
        ki, ji = int(k[i]), int(j[i])
        return Fraction(ki * (ki - 1) * sigma**2 + ji * (2 * ki * sigma + ji), 2 * sigma**2)

    accept = _below_exp(gamma, exact_gamma, random_bytes, band)
    value = k[accept] * sigma + j[accept]
    return np.where(negative[accept], -value, value)


def _geometric(size: int, random_bytes: RandomBytes, band: float) -> NDArray[np.int64]:
    """Count, `size` times over, how often in a row U < exp(-1/2)."""
    k = np.zeros(size, np.int64)
    running = np.arange(size)
    while running.size:
        half = np.full(running.size, 0.5)
        running = running[_below_exp(half, lambda _: Fraction(1, 2), random_bytes, band)]
        k[running] += 1
    return k


def _below_exp(
    gamma: NDArray[np.float64],
    exact_gamma: Callable[[int], Fraction],
    random_bytes: RandomBytes,
    band: float,
) -> NDArray[np.bool_]:
    """Decide exactly, for a fresh uniform real U in [0, 1) each, whether U < exp(-gamma).

    `exact_gamma(i)` is the rational number of which `gamma[i]` is the float64 value; it is asked
    only where the first bits of U leave the answer open.
    """
    first_bits = _words(gamma.size, random_bytes) >> np.uint64(64 - _BITS)
    gap = first_bits * 2.0**-_BITS - np.exp(-gamma)
    below = gap < 0
    for i in np.flatnonzero(np.abs(gap) <= band):
        below[i] = _below_exp_exactly(int(first_bits[i]), exact_gamma(i), random_bytes)
    return below


def _below_exp_exactly(first_bits: int, gamma: Fraction, random_bytes: RandomBytes) -> bool:
    """Decide whether U < exp(-gamma) for the U that starts with these 53 bits.

    Both numbers are enclosed in intervals of rationals, which shrink until they are disjoint.
    `Decimal.exp` is correctly rounded, so its neighbours on both sides enclose it.
    """
    known, bits, digits = first_bits, _BITS, 24
    while True:
        down, up = (
            decimal.Context(prec=digits, rounding=mode)
            for mode in (decimal.ROUND_FLOOR, decimal.ROUND_CEILING)
        )
        low = down.next_minus(down.divide(-gamma.numerator, gamma.denominator).exp(down))
        high = up.next_plus(up.divide(-gamma.numerator, gamma.denominator).exp(up))
        if Fraction(known + 1, 2**bits) <= Fraction(low):
            return True
        if Fraction(known, 2**bits) >= Fraction(high):
            return False
        known = known << 64 | int.from_bytes(random_bytes(8), "little")
        bits, digits = bits + 64, digits + 20
