r"""Polynomials at the least depth, without a single plaintext product.

An odd polynomial of degree D = 2q + 1 is z Q(z^2) with Q real of degree q, so over the reals

    sum_k c_k z^k = u prod_i ((v + beta_i)^2 + gamma_i) [v - rho],    v = u^2,

for u = alpha z with alpha = (c_D)^(1/D), a real root as D is odd (it also takes c_D's sign). The
leading coefficient vanishes into the encrypted weights, which the key holder scales by alpha,
and all that is left are squares, products and added constants. Real roots of Q pair up to
quadratics as conjugate ones do; an odd q leaves one linear factor. Multiplying the two
shallowest factors first gives depth ceil(log2(D + 1)).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..approximation import PolynomialApproximation
from ..crypto.backend import Ciphertext
from .arithmetic import Arithmetic


@dataclass(frozen=True)
class Factors:
    """A monic real polynomial in v, as factors that need no plaintext products.

    Attributes
    ----------
    linear : float or None
        rho of the factor v - rho, if the degree is odd.
    quadratics : tuple of (float, float)
        (beta, gamma) of the factors (v + beta)^2 + gamma.
    """

    linear: float | None
    quadratics: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, coefficients: NDArray) -> Factors:
        """Factor a monic polynomial, its coefficients from the constant upwards."""
        roots = np.roots(coefficients[::-1])
        real = sorted(float(r.real) for r in roots if r.imag == 0)
        complex_roots = [r for r in roots if r.imag > 0]
        quadratics = [(-float(r.real), float(r.imag) ** 2) for r in complex_roots]
        linear = real.pop() if len(real) % 2 else None
        for low, high in zip(real[0::2], real[1::2], strict=True):
            quadratics.append((-(low + high) / 2, -(((high - low) / 2) ** 2)))
        return cls(linear, tuple(quadratics))


@dataclass(frozen=True)
class FactoredPolynomial:
    """(p(z) - 1/2)/divisor as a product of factors in u = alpha z.

    Attributes
    ----------
    alpha : float
        What the encrypted argument is scaled by.
    reach : float
        Largest |u|: alpha times the polynomial's radius.
    factors : Factors
        Of the polynomial in v that u is multiplied by.
    """

    alpha: float
    reach: float
    factors: Factors

    @classmethod
    def of(cls, approximation: PolynomialApproximation, divisor: float) -> FactoredPolynomial:
        """Factor (p - 1/2)/divisor."""
        coefficients = np.asarray(approximation.odd_coefficients) / divisor
        degree = approximation.degree
        leading = float(coefficients[-1])
        alpha = math.copysign(abs(leading) ** (1 / degree), leading)
        # In v = alpha^2 z^2: Q(v) = sum_i c_{2i+1} / alpha^{2i+1} v^i is monic.
        monic = coefficients / alpha ** np.arange(1, degree + 1, 2)
        return cls(alpha, abs(alpha) * approximation.radius, Factors.of(monic))


def evaluate(
    arithmetic: Arithmetic,
    factored: FactoredPolynomial,
    u: Ciphertext,
    mask_period: int = 1,
    straddling: float = 1.0,
) -> Ciphertext:
    """(p(z) - 1/2)/divisor of an encrypted u = alpha z.

    Parameters
    ----------
    arithmetic : Arithmetic
        Backend and rescaling rule.
    factored : FactoredPolynomial
        The factors.
    u : Ciphertext
        Encrypted alpha z with |z| at most the polynomial's radius.
    mask_period : int, default=1
        Slots of the result that are no multiple of it become zero. From degree 3 on this costs
        no level: the factor u is masked while the others are squared.
    straddling : float, default=1
        What is masked may be larger than alpha times the radius by so much.
    """
    backend, reach, factors = arithmetic.backend, factored.reach, factored.factors
    extra = (0, u := backend.claim(u, reach))
    if mask_period > 1:
        masked = arithmetic.masked(backend.claim(u, straddling * reach), mask_period)
        extra = (1, backend.claim(masked, reach))
    v = arithmetic.square(u) if factors.linear is not None or factors.quadratics else None
    return multiply_out(arithmetic, factors, v, extra)


def multiply_out(
    arithmetic: Arithmetic,
    factors: Factors,
    v: Ciphertext | None,
    extra: tuple[int, Ciphertext] | None = None,
) -> Ciphertext:
    """The product of all factors in v, and of an extra one of a given depth.

    Parameters
    ----------
    arithmetic : Arithmetic
        Backend and rescaling rule.
    factors : Factors
        The factors, not none of them unless there is an extra one.
    v : Ciphertext or None
        Their argument, of depth one.
    extra : (int, Ciphertext), optional
        Another factor, and how many products deep it is.
    """
    backend = arithmetic.backend
    # A heap of (depth, tie-break, ciphertext): the two shallowest meet first.
    heap: list[tuple[int, int, Ciphertext]] = [] if extra is None else [(extra[0], 0, extra[1])]
    if factors.linear is not None:
        heap.append((1, 1, backend.add_constant(v, -factors.linear)))
    for index, (beta, gamma) in enumerate(factors.quadratics, start=2):
        squared = arithmetic.square(backend.add_constant(v, beta))
        heap.append((2, index, backend.add_constant(squared, gamma)))
    heapq.heapify(heap)
    while len(heap) > 1:
        shallow, index, a = heapq.heappop(heap)
        deep, _, b = heapq.heappop(heap)
        heapq.heappush(heap, (max(shallow, deep) + 1, index, arithmetic.product(a, b)))
    return heap[0][2]
