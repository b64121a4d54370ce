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
``make_case``
    ``make_case(degree, n_rows, n_columns, n_classes)``: a `Case`, the logistic gradient of a
    degree at real 128-bit parameters, and what is predicted of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from skfhe.approximation import PolynomialApproximation
from skfhe.circuits.arithmetic import Arithmetic
from skfhe.circuits.logistic import EncryptedChunk, LogisticSums, margins
from skfhe.circuits.polynomial import FactoredPolynomial, evaluate
from skfhe.crypto.embedding import coefficients_to_slots, slots_to_coefficients
from skfhe.crypto.parameters import Ring
from skfhe.crypto.simulated import SimulatedCiphertext, SimulatedScheme
from skfhe.crypto.tenseal import TensealScheme, coefficient_modulus
from skfhe.packing import Layout
from skfhe.plan import Problem
from skfhe.planning.logistic_bounds import LogisticRequirement, label_level, trace_core
from skfhe.planning.requirement import PRODUCT_LEVEL, Candidate

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

    def encrypt(self, slots, scale, level=None, dither=False):
        """A loaded ciphertext, at the top level unless told."""
        level = self.ring.top_level if level is None else level
        return self.evaluator.load(self.encryptor.encrypt(slots, scale, level, dither))

    def coefficients(self, a):
        """Plaintext coefficients in integer units; simulated ones before they are rounded."""
        e = self.evaluator
        if isinstance(a, SimulatedCiphertext):
            return slots_to_coefficients(self.ring, a.slots) * a.scale
        return self.keys.decrypt(e.save(a), e.level(a), e.scale(a))

    def slots(self, a):
        """Message slots."""
        return coefficients_to_slots(self.ring, self.coefficients(a)) / self.evaluator.scale(a)


@dataclass(frozen=True)
class Case:
    """The logistic gradient at one set of parameters, on any backend.

    Rows have norm at most one and weights norm at most `RADIUS`, so that margins stay within
    the polynomial's interval. ``bench`` says on which backend.
    """

    requirement: LogisticRequirement
    candidate: Candidate

    RADIUS = 8.0
    # The divisor S, the norm that one row's contribution has at most.
    DIVISOR = 1.25

    @property
    def layout(self) -> Layout:
        return self.candidate.layout

    @property
    def polynomial(self) -> PolynomialApproximation:
        return self.requirement.polynomials[0]

    @property
    def factored(self) -> FactoredPolynomial:
        return FactoredPolynomial.of(self.polynomial, self.DIVISOR)

    def bench(self, scheme) -> Bench:
        """Fresh keys for ``scheme(ring)``, TensealScheme or SimulatedScheme."""
        return Bench.of(scheme(self.candidate.ring), self.layout.elements)

    def arithmetic(self, evaluator) -> Arithmetic:
        return self.candidate.arithmetic(evaluator)

    def data(self, seed):
        """Random rows, targets 0 or 1, and weights."""
        random, layout = np.random.default_rng(seed), self.layout
        rows = random.normal(size=(layout.n_rows, layout.n_columns))
        rows /= np.maximum(1, np.linalg.norm(rows, axis=1, keepdims=True))
        weights = random.normal(size=(layout.n_columns, layout.n_outputs))
        weights *= self.RADIUS / np.linalg.norm(weights, axis=0)
        targets = (random.random((layout.n_rows, layout.n_outputs)) < 0.5).astype(float)
        return rows, targets, weights

    def weights(self, bench, weights):
        packed = self.layout.pack_weights(self.factored.alpha * weights)
        return [bench.encrypt(slots, self.candidate.scale) for slots in packed]

    def chunks(self, bench, rows, targets):
        """Rows and labels as an owner sends them and the evaluator keeps them."""
        layout, size = self.layout, self.layout.rows_per_chunk
        level = label_level(self.candidate, trace_core(self.requirement, self.candidate, 0).core)
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            slots = [layout.pack_rows(part, group) for group in range(layout.groups)]
            high = [bench.encrypt(s, self.candidate.row_scale, dither=True) for s in slots]
            low = [bench.evaluator.switch_to(c, PRODUCT_LEVEL) for c in high]
            labels = layout.pack_labels(targets[start : start + size])
            yield EncryptedChunk(
                high, low, bench.encrypt(labels, self.candidate.scale, level, dither=True)
            )

    def margins(self, bench, chunk, weights):
        return margins(self.arithmetic(bench.evaluator), self.layout, chunk.rows, weights)

    def core(self, bench, margin):
        return evaluate(self.arithmetic(bench.evaluator), self.factored, margin)

    def gradient(self, bench, chunks, weights):
        arithmetic = self.arithmetic(bench.evaluator)
        sums = LogisticSums(arithmetic, self.layout, self.factored, self.DIVISOR, weights)
        return sums.gradient(chunks)


# Much as a plan chooses for a few hundred rows: bits of the primes, log2 of the scale and of the
# row scale, feature blocks.
PARAMETERS = {
    1: ((50, 40, 30, 60), 28, 26, 8),
    3: ((51, 57, 32, 33, 41), 32, 29, 8),
    7: ((48, 48, 28, 28, 29, 33), 28, 25, 8),
}


def logistic_case(degree, n_rows, n_columns, n_classes=2) -> Case:
    """A `Case` of degree 1, 3 or 7 at N = 8192."""
    bits, scale_bits, row_scale_bits, blocks = PARAMETERS[degree]
    problem = Problem(n_rows, n_columns, n_classes, 1.0, 0.0)
    requirement = LogisticRequirement(
        problem,
        polynomials=(PolynomialApproximation.fit(degree, Case.RADIUS),),
        contributions=(Case.DIVISOR,),
        largest_contribution=Case.DIVISOR,
        weight_norm=Case.RADIUS,
        row_norm=1.0,
        noise_multiplier=10.0,
        relation_factor=1.0,
        n_releases=1,
        failure=1e-6,
        max_error=0.05,
        max_margin_slack=1.0,
        max_hidden_slack=0.0,
        max_flooding=1.0,
        n_owners=1,
        n_colluding=0,
    )
    layout = Layout(DEGREE, n_rows, n_columns, problem.n_outputs, blocks)
    ring = tenseal_ring(DEGREE, *bits)
    return Case(requirement, Candidate(ring, layout, scale_bits, row_scale_bits, scale_bits - 1))


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
def make_case():
    return logistic_case


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
