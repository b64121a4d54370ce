r"""A hidden unit's activation and its derivative, from one encrypted argument.

With u = alpha z, alpha = |c_D|^(1/D) (with c_D's sign if D is odd), an activation polynomial
a(z) = sum_k c_k z^k of degree D and its derivative are

    a = sigma A(u),    a' = sigma D alpha A'(u)/D,    A and A'/D monic, sigma = +-1,

so that constants go into the encrypted weights before and after, and the circuit needs squares,
products and added constants alone (`skfhe.circuits.polynomial`). An odd a has A = u Q(v) and A' a
polynomial in v = u^2; the others here have a linear term and even ones, A = Q(v) + tilt u, and A'
is u times a polynomial in v plus a constant. The derivative is no deeper than the value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..approximation import ActivationPolynomial
from ..crypto.backend import Ciphertext
from .arithmetic import Arithmetic
from .polynomial import Factors, multiply_out


@dataclass(frozen=True)
class FactoredActivation:
    """An activation polynomial and its derivative in factors.

    Attributes
    ----------
    odd : bool
        Whether A is odd.
    alpha : float
        What the encrypted argument is scaled by.
    reach : float
        Largest |u|.
    sign : float
        sigma: the circuit's values times this are a.
    slope : float
        The circuit's derivatives times this are a'.
    value, derivative : Factors
        Of the even parts of A and of A'/D.
    tilt, constant : float
        Of u in A, and of A'/D, where A is not odd.
    """

    odd: bool
    alpha: float
    reach: float
    sign: float
    slope: float
    value: Factors
    derivative: Factors
    tilt: float
    constant: float

    @classmethod
    def of(cls, activation: ActivationPolynomial) -> FactoredActivation:
        """Factor an activation of degree two or more."""
        coefficients, degree = np.asarray(activation.coefficients), activation.degree
        leading = float(coefficients[-1])
        sign = 1.0 if activation.odd else math.copysign(1.0, leading)
        alpha = sign * math.copysign(abs(leading) ** (1 / degree), leading)
        powers = np.arange(degree + 1)
        monic = sign * coefficients / alpha**powers
        slopes = (powers * monic)[1:] / degree
        first = 1 if activation.odd else 0
        return cls(
            activation.odd,
            alpha,
            abs(alpha) * activation.radius,
            sign,
            sign * degree * alpha,
            Factors.of(monic[first::2]),
            Factors.of(slopes[1 - first :: 2]),
            0.0 if activation.odd else float(monic[1]),
            0.0 if activation.odd else float(slopes[0]),
        )


def activate(
    arithmetic: Arithmetic, factored: FactoredActivation, u: Ciphertext
) -> tuple[Ciphertext, Ciphertext]:
    """A(u) and A'(u)/D of an encrypted u = alpha z.

    Parameters
    ----------
    arithmetic : Arithmetic
        Backend and rescaling rule.
    factored : FactoredActivation
        The factors.
    u : Ciphertext
        Encrypted alpha z with |z| at most the activation's radius.
    """
    backend = arithmetic.backend
    u = backend.claim(u, factored.reach)
    v = arithmetic.square(u)
    if factored.odd:
        return (
            multiply_out(arithmetic, factored.value, v, (0, u)),
            multiply_out(arithmetic, factored.derivative, v),
        )
    value = multiply_out(arithmetic, factored.value, v)
    if factored.tilt:
        level, scale = backend.level(value), backend.scale(value)
        value = backend.add(value, arithmetic.land(u, level, scale, factored.tilt))
    derivative = multiply_out(arithmetic, factored.derivative, v, (0, u))
    return value, backend.add_constant(derivative, factored.constant)
