"""Shared fixtures: two rings of 128-bit security and a bench that runs a scheme as one party.

``ring``
    N = 8192, data primes of 45, 40, 30 and 30 bits, special prime of 60 bits (205 of the 214 bits
    that 128-bit security allows): three levels, and key switches that err no more than a rescale.
``small_ring``
    N = 4096, primes of 36, 36 and 34 bits: one level, for tests of layouts.
``make_bench``
    ``make_bench(scheme, elements)``: a `Bench` with fresh keys.
``simulated``, ``encrypted``
    Benches of both backends over ``ring``, with keys for `ELEMENTS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from skfhe.crypto.embedding import coefficients_to_slots
from skfhe.crypto.parameters import Ring
from skfhe.crypto.simulated import SimulatedScheme
from skfhe.crypto.tenseal import TensealScheme, coefficient_modulus

DEGREE = 8192
# A rotation, the two that negate X and X^2, and conjugation.
ELEMENTS = (3, DEGREE + 1, DEGREE // 2 + 1, 2 * DEGREE - 1)


@dataclass(frozen=True)
class Bench:
    """A scheme in the hands of one party: encrypts, evaluates and reads the result back."""

    scheme: Any
    keys: Any
    encryptor: Any
    evaluator: Any

    @classmethod
    def of(cls, scheme, elements=()):
        """Fresh keys, symmetric encryption and an evaluator."""
        keys = scheme.generate(elements)
        return cls(scheme, keys, keys.encryptor(), scheme.evaluator(keys.evaluation_keys()))

    @property
    def ring(self) -> Ring:
        return self.scheme.ring

    def encrypt(self, slots, scale, level=None):
        """A loaded ciphertext, at the top level unless told."""
        level = self.ring.top_level if level is None else level
        return self.evaluator.load(self.encryptor.encrypt(slots, scale, level))

    def coefficients(self, a):
        """Plaintext coefficients in integer units."""
        e = self.evaluator
        return self.keys.decrypt(e.save(a), e.level(a), e.scale(a))

    def slots(self, a):
        """Message slots."""
        return coefficients_to_slots(self.ring, self.coefficients(a)) / self.evaluator.scale(a)


def tenseal_ring(degree: int, *bits: int) -> Ring:
    """The ring that SEAL's own primes of the given sizes make."""
    return Ring(degree, coefficient_modulus(degree, bits))


@pytest.fixture(scope="session")
def make_ring():
    return tenseal_ring


@pytest.fixture(scope="session")
def make_bench():
    return Bench.of


@pytest.fixture(scope="session")
def ring() -> Ring:
    return tenseal_ring(DEGREE, 45, 40, 30, 30, 60)


@pytest.fixture(scope="session")
def small_ring() -> Ring:
    return tenseal_ring(4096, 36, 36, 34)


@pytest.fixture(scope="session")
def simulated(ring) -> Bench:
    return Bench.of(SimulatedScheme(ring), ELEMENTS)


@pytest.fixture(scope="session")
def encrypted(ring) -> Bench:
    return Bench.of(TensealScheme(ring), ELEMENTS)
