r"""Odd polynomials at the least depth, without a single plaintext product.

An odd polynomial of degree D = 2q + 1 is z Q(z^2) with Q real of degree q, so over the reals

    lambda^D sum_k c_k z^k = u prod_i ((v + beta_i)^2 + gamma_i) [v - rho],    v = u^2,

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

from ..approximation import PolynomialApproximation
from ..crypto.backend import Ciphertext
from .arithmetic import Arithmetic


@dataclass(frozen=True)
class FactoredPolynomial:
    """(p(z) - 1/2)/divisor as a product of factors in u = alpha z.

    Attributes
    ----------
    alpha : float
        What the encrypted argument is scaled by.
    reach : float
        Largest |u|: alpha times the polynomial's radius.
    linear : float or None
        rho of the factor v - rho, for degrees 3, 7, 11, 15.
    quadratics : tuple of (float, float)
        (beta, gamma) of the factors (v + beta)^2 + gamma.
    """

    alpha: float
    reach: float
    linear: float | None
    quadratics: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, approximation: PolynomialApproximation, divisor: float) -> FactoredPolynomial:
        """Factor (p - 1/2)/divisor."""
        coefficients = np.asarray(approximation.odd_coefficients) / divisor
        degree = approximation.degree
        leading = float(coefficients[-1])
        alpha = math.copysign(abs(leading) ** (1 / degree), leading)
        # In v = alpha^2 z^2: Q(v) = sum_i c_{2i+1} / alpha^{2i+1} v^i is monic.
        monic = coefficients / alpha ** np.arange(1, degree + 1, 2)
        roots = np.roots(monic[::-1])
        real = sorted(float(r.real) for r in roots if r.imag == 0)
        complex_roots = [r for r in roots if r.imag > 0]
        quadratics = [(-float(r.real), float(r.imag) ** 2) for r in complex_roots]
        linear = real.pop() if len(real) % 2 else None
        for low, high in zip(real[0::2], real[1::2], strict=True):
            quadratics.append((-(low + high) / 2, -(((high - low) / 2) ** 2)))
        reach = abs(alpha) * approximation.radius
        return cls(alpha, reach, linear, tuple(quadratics))


def evaluate(arithmetic: Arithmetic, factored: FactoredPolynomial, u: Ciphertext) -> Ciphertext:
    """(p(z) - 1/2)/divisor of an encrypted u = alpha z.

    Parameters
    ----------
    arithmetic : Arithmetic
        Backend and rescaling rule.
    factored : FactoredPolynomial
        The factors.
    u : Ciphertext
        Encrypted alpha z with |z| at most the polynomial's radius.
    """
    backend = arithmetic.backend
    u = backend.claim(u, factored.reach)
    if factored.linear is None and not factored.quadratics:
        return u
    v = arithmetic.square(u)
    # A heap of (depth, tie-break, ciphertext): the two shallowest meet first.
    heap: list[tuple[int, int, Ciphertext]] = [(0, 0, u)]
    if factored.linear is not None:
        heap = [(2, 0, arithmetic.product(u, backend.add_constant(v, -factored.linear)))]
    for index, (beta, gamma) in enumerate(factored.quadratics, start=1):
        squared = arithmetic.square(backend.add_constant(v, beta))
        heap.append((2, index, backend.add_constant(squared, gamma)))
    heapq.heapify(heap)
    while len(heap) > 1:
        shallow, index, a = heapq.heappop(heap)
        deep, _, b = heapq.heappop(heap)
        heapq.heappush(heap, (max(shallow, deep) + 1, index, arithmetic.product(a, b)))
    return heap[0][2]
