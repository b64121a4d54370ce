"""Logistic regression whose evaluator takes several steps alone, as every party sees it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...circuits.arithmetic import Arithmetic
from ...circuits.levelled import Course, LevelledChunk, LevelledSteps
from ...circuits.polynomial import FactoredPolynomial
from ...circuits.segments import point_factors, segments
from ...crypto.backend import Ciphertext
from ...exceptions import PlanMismatch
from ...plan import TrainingPlan
from ...privacy.frame import Frame
from ...privacy.sensitivity import row_norm
from .base import Certified, NoiseForm, ReleaseForm
from .linear import LinearRows


class LevelledModel(LinearRows):
    """Two classes; see `Model`. A gradient here is what a round has moved the weights by.

    Parameters
    ----------
    plan : TrainingPlan
        With rounds.
    """

    def __init__(self, plan: TrainingPlan):
        super().__init__(plan)
        used, rounds, copies = plan.encryption, plan.rounds, 1 + bool(plan.problem.class_weight)
        top = used.top_level
        self.sections = (
            (used.scale, top),
            *[(used.row_scale, top)] * (self.layout.groups * copies),
        )
        self.n_weights = self.layout.groups if plan.visits > 1 else 0
        self.tables = 1, 1
        (approximation,) = plan.certificate.polynomials
        self._factored = FactoredPolynomial.of(approximation, 1.0)
        n_samples = plan.problem.n_samples
        factors = point_factors(rounds.points, approximation, n_samples, self.layout)
        try:
            self._segments = segments(factors, rounds.refreshes)
        except ValueError as error:
            raise PlanMismatch(f"this plan's steps cannot be refreshed: {error}") from None
        # The last gradient's noise is on all coefficients, since all are decrypted.
        *before, last = zip(
            rounds.noise_units, rounds.noise_scales, rounds.noise_levels, strict=True
        )
        positions = self.layout.item_positions
        self.noise = (*(NoiseForm(*one, positions) for one in before), NoiseForm(*last))
        scale = used.output_scale / abs(self._segments[-1].points[-1][-1])
        reach = rounds.reaches[-1] / row_norm(plan.problem.intercept_column)
        start = plan.optimizer.weight_norm if plan.visits > 1 else 0.0
        self.release = ReleaseForm(scale, 2 * (reach + start) * scale, used.noise_units)

    def chunk(self, backend, ciphertexts: Sequence[Ciphertext]) -> LevelledChunk:
        labels, *copies = ciphertexts
        rows, weighted = copies[: self.layout.groups], copies[self.layout.groups :]
        return LevelledChunk(rows, weighted or rows, labels)

    def round(
        self,
        arithmetic: Arithmetic,
        chunks: Iterable[LevelledChunk],
        weights: Sequence[Ciphertext],
        noises: Sequence[Ciphertext],
        course: Course | None = None,
    ) -> Ciphertext:
        """What a round moves the weights by, noised."""
        rounds = self._plan.rounds
        steps = LevelledSteps(
            arithmetic,
            self.layout,
            self._factored,
            self._segments,
            rounds.noise_levels,
            rounds.lift_triples,
        )
        moved = steps.run([*chunks], weights, noises, course)
        # Levels that are left are of no use to the key holder.
        return arithmetic.backend.switch_to(moved, 0)

    def certify(self, point: NDArray) -> Certified:
        certificate = self._plan.certificate
        return Certified((0, 0), certificate.polynomials[0].radius, certificate.contributions[0])

    def weights(self, point: NDArray, certified: Certified) -> list[NDArray[np.complex128]]:
        if not self.n_weights:
            return []
        return self.layout.pack_weights(self._factored.alpha * point)

    def sums(self, coefficients: NDArray, certified: Certified) -> NDArray:
        return self.layout.unpack_sums(coefficients) / self.layout.rows_per_chunk

    def optimizer(self, frame: Frame, curvature: NDArray | None) -> LevelledOptimizer:
        return LevelledOptimizer(self._plan)

    def mean_norm(self, gradient: NDArray) -> float:
        return self.norm(gradient)


class LevelledOptimizer:
    """Adds up what rounds have moved the weights by; between rounds they stay on a ball.

    Parameters
    ----------
    plan : TrainingPlan
        With the ball's radius.

    Attributes
    ----------
    point : ndarray of shape (n_columns, 1)
        Where the next round starts.
    """

    def __init__(self, plan: TrainingPlan):
        self._largest = plan.optimizer.weight_norm if plan.visits > 1 else math.inf
        self._weights = np.zeros((plan.problem.n_columns, 1))
        self.point = self._weights

    def update(self, gradient_sum: NDArray) -> None:
        """Take a round's move."""
        self._weights = self.point + gradient_sum
        norm = float(np.linalg.norm(self._weights))
        self.point = self._weights * (self._largest / norm if norm > self._largest else 1.0)

    def result(self) -> NDArray:
        """Where the last round has ended."""
        return self._weights
