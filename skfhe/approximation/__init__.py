"""Polynomials in the place of the sigmoid: fits, and facts proved about each."""

from .polynomial import PolynomialApproximation

__all__ = ["PolynomialApproximation"]
