"""Polynomials in the place of the sigmoid and of activations: fits, and facts about each."""

from .activation import ActivationPolynomial
from .polynomial import PolynomialApproximation

__all__ = ["ActivationPolynomial", "PolynomialApproximation"]
