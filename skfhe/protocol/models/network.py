"""A network with one hidden layer, as every party sees it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...circuits.arithmetic import Arithmetic
from ...circuits.network import (
    MOST_BACKWARD,
    STRADDLING,
    NetworkChunk,
    NetworkFactors,
    NetworkSums,
    NetworkWeights,
)
from ...circuits.paired import RowProducts
from ...crypto.backend import Ciphertext
from ...packing import NetworkLayout
from ...plan import TrainingPlan
from ...privacy.frame import Frame
from ...privacy.network_sensitivity import best_split, output_reach
from ..network_adam import NetworkAdam
from ..network_optimizer import (
    NetworkDiscriminant,
    NetworkGradient,
    NetworkPoint,
    NetworkSteps,
)
from .base import Certified, Plain, one_hot, require_shapes, single_forms


@dataclass(frozen=True)
class ReleasedNetwork:
    """A network with how its rows are stored; public.

    Attributes
    ----------
    frame : Frame
        How rows are stored: ``centre`` and ``scale``, ndarray of shape (n_features,), and the
        intercept's column.
    weights : NetworkPoint
        For stored rows: ``hidden``, ndarray of shape (n_columns, n_units), and ``output``, ndarray
        of shape (n_units + 1, n_outputs), the biases last.
    """

    frame: Frame
    weights: NetworkPoint


class NetworkModel:
    """One hidden layer, with one output for two classes and one per class for more; see `Model`.

    Parameters
    ----------
    plan : TrainingPlan
        The plan that all parties agreed on.
    """

    def __init__(self, plan: TrainingPlan):
        self._plan = plan
        self.layout = NetworkLayout.of(plan.problem, plan.encryption, plan.guarantee.n_owners)
        rows = self.layout.rows
        self.elements = self.layout.elements
        self.rows_per_chunk, self.chunks = rows.rows_per_chunk, rows.chunks
        used = plan.encryption
        self.sections = (
            *[(used.scale, used.label_level)] * plan.problem.n_outputs,
            (used.scale, used.presence_level),
            *[(used.row_scale, used.top_level)] * rows.groups,
        )
        self.n_weights = self.layout.n_weights
        self.tables = len(plan.certificate.polynomials), len(plan.certificate.contributions)
        self.noise, self.release = single_forms(plan, rows.output_norm)

    def pack(self, rows: NDArray, targets: NDArray) -> list[Plain]:
        """Labels per output, then the presence, then the rows."""
        problem, layout = self._plan.problem, self.layout
        packed = [
            *layout.pack_labels(one_hot(problem, targets)),
            layout.pack_presence(len(rows), problem.intercept_column),
            *(layout.rows.pack_rows(rows, group) for group in range(layout.rows.groups)),
        ]
        return [Plain(one, *form) for one, form in zip(packed, self.sections, strict=True)]

    def chunk(self, backend, ciphertexts: Sequence[Ciphertext]) -> NetworkChunk:
        n_outputs = self._plan.problem.n_outputs
        labels, presence = ciphertexts[:n_outputs], ciphertexts[n_outputs]
        rows, level = list(ciphertexts[n_outputs + 1 :]), self._plan.encryption.product_level
        low = [backend.switch_to(row, level) for row in rows]
        return NetworkChunk(rows, low, list(labels), presence)

    def running_sums(
        self,
        arithmetic: Arithmetic,
        indices: Sequence[int],
        weights: Sequence[Ciphertext],
        own: RowProducts | None = None,
    ) -> NetworkSums:
        groups, units = self.layout.rows.groups, self.layout.unit_groups
        found = iter(weights)

        def taken(n_lists: int, n_each: int) -> list[list[Ciphertext]]:
            return [[next(found) for _ in range(n_each)] for _ in range(n_lists)]

        outputs = self._plan.problem.n_outputs
        encrypted = NetworkWeights(
            hidden=taken(units, groups),
            output=taken(outputs, units),
            backward=taken(outputs, units),
            bias=taken(1, outputs)[0],
        )
        return NetworkSums(arithmetic, self.layout, self._factors(indices), encrypted, own)

    def certify(self, point: NetworkPoint) -> Certified:
        """The sigmoid's interval, the best split and its S.

        The interval also holds a `STRADDLING`-th of the window sums over two rows, which are as
        large as the units' values can be without cancelling: what the errors were traced for.
        """
        certificate, b = self._plan.certificate, self._plan.problem.intercept_column
        slacks = certificate.hidden_slack, certificate.margin_slack
        activation = certificate.activation
        reach = output_reach(activation, point.hidden, point.output, b, *slacks)
        windows = activation.max_abs * np.abs(point.output[:-1]).sum(axis=0)
        windows += b * np.abs(point.output[-1]) + certificate.margin_slack
        reach = max(reach, float(np.max(windows)) / STRADDLING)
        radii = [p.radius for p in certificate.polynomials]
        interval = int(np.searchsorted(radii, reach))
        polynomial = certificate.polynomials[interval]
        weights = point.hidden, point.output, b
        # What is sent for the hidden layer's gradient stays within what errors were traced for.
        longest = float(np.max(np.linalg.norm(point.output[:-1], axis=1)))
        floors = longest * activation.max_slope / (MOST_BACKWARD * np.array(certificate.splits))
        floors = np.maximum(floors, certificate.contributions[0])
        split, bound = best_split(
            activation, polynomial, *weights, certificate.splits, *slacks, floors
        )
        contribution = int(np.searchsorted(certificate.contributions, bound))
        return Certified(
            (interval, contribution),
            radii[interval],
            certificate.contributions[contribution],
            certificate.splits[split],
        )

    def weights(self, point: NetworkPoint, certified: Certified) -> list[NDArray[np.complex128]]:
        layout, factors = self.layout, self._factors(certified.indices)
        activation, alpha = factors.activation, factors.residual.alpha
        body, bias = point.output[:-1].T, point.output[-1]
        forward = activation.sign * alpha
        backward = activation.slope / (certified.split * certified.contribution)
        return [
            *layout.pack_hidden(activation.alpha * point.hidden),
            *(slots for row in body for slots in layout.pack_output(forward * row)),
            *(slots for row in body for slots in layout.pack_output(backward * row)),
            *(layout.pack_constant(alpha * value) for value in bias),
        ]

    def sums(self, coefficients: NDArray, certified: Certified) -> NetworkGradient:
        hidden, output = self.layout.unpack_sums(coefficients)
        output[:-1] *= self._factors(certified.indices).activation.sign
        certificate, guarantee = self._plan.certificate, self._plan.guarantee
        noise = guarantee.noise_multiplier * guarantee.noise_excess * certificate.sensitivity
        outer, inner = certified.contribution, certified.contribution * certified.split
        return NetworkGradient(hidden * inner, output * outer, noise * inner, noise * outer)

    def optimizer(
        self, frame: Frame, curvature: NDArray | None
    ) -> NetworkSteps | NetworkAdam | NetworkDiscriminant:
        if self._plan.optimizer.solver == "discriminant":
            return NetworkDiscriminant(self._plan, curvature)
        steps = NetworkAdam if self._plan.optimizer.solver == "adam" else NetworkSteps
        return steps(self._plan, frame, curvature)

    def released(self, frame: Frame, weights: NetworkPoint) -> ReleasedNetwork:
        return ReleasedNetwork(frame, weights)

    def arrays(self, released: ReleasedNetwork) -> list[NDArray]:
        frame, weights = released.frame, released.weights
        return [frame.centre, frame.scale, weights.hidden, weights.output]

    def from_arrays(self, arrays: Sequence[NDArray]) -> ReleasedNetwork:
        problem = self._plan.problem
        d, units = problem.n_features, problem.hidden_units
        layers = [(problem.n_columns, units), (units + 1, problem.n_outputs)]
        require_shapes(arrays, [(d,), (d,), *layers])
        centre, scale, hidden, output = arrays
        frame = Frame(centre, scale, problem.intercept_column, problem.shorten_intercept)
        return ReleasedNetwork(frame, NetworkPoint(hidden, output))

    def mean_norm(self, gradient: NetworkGradient) -> float:
        return self.norm(gradient) / self._plan.problem.n_samples

    def norm(self, weights: NetworkPoint) -> float:
        return math.hypot(np.linalg.norm(weights.hidden), np.linalg.norm(weights.output))

    def _factors(self, indices: Sequence[int]) -> NetworkFactors:
        polynomial, contribution = indices
        certificate = self._plan.certificate
        return NetworkFactors.of(
            certificate.activation,
            certificate.polynomials[polynomial],
            certificate.contributions[contribution],
            self._plan.problem.intercept_column,
        )
