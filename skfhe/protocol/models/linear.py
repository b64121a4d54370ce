"""Logistic regression, as every party sees it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...circuits.arithmetic import Arithmetic
from ...circuits.logistic import EncryptedChunk, LogisticSums
from ...circuits.paired import RowProducts
from ...circuits.polynomial import FactoredPolynomial
from ...crypto.backend import Ciphertext
from ...packing import Layout
from ...plan import TrainingPlan
from ...privacy.frame import Frame
from ...privacy.sensitivity import contribution_bound, least_contributions, reach
from ..discriminant import Discriminant
from ..optimizer import ProjectedNesterov, make_optimizer
from .base import Certified, Plain, one_hot, require_shapes, single_forms


class LinearRows:
    """What linear models have in common: how rows are packed and weights are released.

    Parameters
    ----------
    plan : TrainingPlan
        The plan that all parties agreed on.
    """

    sections: tuple[tuple[float, int], ...]

    def __init__(self, plan: TrainingPlan):
        self._plan = plan
        self.layout = Layout.of(plan.problem, plan.encryption, plan.guarantee.n_owners)
        self.elements = self.layout.elements
        self.rows_per_chunk, self.chunks = self.layout.rows_per_chunk, self.layout.chunks

    def pack(self, rows: NDArray, targets: NDArray) -> list[Plain]:
        """The labels, then the rows; weighted ones a second time, for the products.

        The second copy is no longer than the first, so that the certificate holds: weights of
        classes are at most 1.
        """
        problem, layout, copies = self._plan.problem, self.layout, [rows]
        if problem.class_weight:
            copies.append(rows * np.array(problem.class_weight)[targets][:, None])
        packed = [layout.pack_labels(one_hot(problem, targets))]
        packed += [layout.pack_rows(copy, i) for copy in copies for i in range(layout.groups)]
        return [Plain(one, *form) for one, form in zip(packed, self.sections, strict=True)]

    def released(self, frame: Frame, weights: NDArray) -> NDArray:
        return frame.original(weights)

    def arrays(self, released: NDArray) -> list[NDArray]:
        return [released]

    def from_arrays(self, arrays: Sequence[NDArray]) -> NDArray:
        problem = self._plan.problem
        require_shapes(arrays, [(problem.n_columns, problem.n_outputs)])
        return arrays[0]

    def norm(self, weights: NDArray) -> float:
        return float(np.linalg.norm(weights))


class LinearModel(LinearRows):
    """One output for two classes, one-vs-rest outputs for more; see `Model`.

    Parameters
    ----------
    plan : TrainingPlan
        The plan that all parties agreed on.
    """

    def __init__(self, plan: TrainingPlan):
        super().__init__(plan)
        used, groups = plan.encryption, self.layout.groups
        self.sections = (
            (used.scale, used.label_level),
            *[(used.row_scale, used.top_level)] * groups,
            *[(used.row_scale, used.product_level)] * (groups if plan.problem.class_weight else 0),
        )
        self.n_weights = self.layout.groups
        self.tables = len(plan.certificate.polynomials), len(plan.certificate.contributions)
        self.noise, self.release = single_forms(plan, self.layout.output_norm)
        self._least = least_contributions(
            plan.certificate.polynomials, plan.problem.intercept_column
        )

    def chunk(self, backend, ciphertexts: Sequence[Ciphertext]) -> EncryptedChunk:
        labels, *copies = ciphertexts
        rows, low = copies[: self.layout.groups], copies[self.layout.groups :]
        level = self._plan.encryption.product_level
        return EncryptedChunk(rows, low or [backend.switch_to(row, level) for row in rows], labels)

    def running_sums(
        self,
        arithmetic: Arithmetic,
        indices: Sequence[int],
        weights: Sequence[Ciphertext],
        own: RowProducts | None = None,
    ) -> LogisticSums:
        return LogisticSums(arithmetic, self.layout, *self._factored(indices), weights, own)

    def certify(self, point: NDArray) -> Certified:
        certificate, column = self._plan.certificate, self._plan.problem.intercept_column
        needed = reach(point, column, certificate.margin_slack)
        radii = [p.radius for p in certificate.polynomials]
        polynomial = int(np.searchsorted(radii, needed))
        bound = contribution_bound(
            certificate.polynomials[polynomial], point, column, certificate.margin_slack
        )
        bound = min(max(bound, self._least[polynomial]), certificate.contributions[-1])
        contribution = int(np.searchsorted(certificate.contributions, bound))
        return Certified(
            (polynomial, contribution),
            radii[polynomial],
            certificate.contributions[contribution],
        )

    def weights(self, point: NDArray, certified: Certified) -> list[NDArray[np.complex128]]:
        factored, _ = self._factored(certified.indices)
        return self.layout.pack_weights(factored.alpha * point)

    def sums(self, coefficients: NDArray, certified: Certified) -> NDArray:
        return self.layout.unpack_sums(coefficients) * certified.contribution

    def optimizer(
        self, frame: Frame, curvature: NDArray | None
    ) -> Discriminant | ProjectedNesterov:
        return make_optimizer(self._plan, frame, curvature)

    def mean_norm(self, gradient: NDArray) -> float:
        return self.norm(gradient) / self._plan.problem.n_samples

    def _factored(self, indices: Sequence[int]) -> tuple[FactoredPolynomial, float]:
        """The polynomial over S, and S."""
        polynomial, contribution = indices
        divisor = self._plan.certificate.contributions[contribution]
        return FactoredPolynomial.of(
            self._plan.certificate.polynomials[polynomial], divisor
        ), divisor
