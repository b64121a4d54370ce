"""What parties ask of a kind of model. Holds no key, row, noise or weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...circuits.arithmetic import Arithmetic
from ...circuits.paired import RowProducts
from ...circuits.running import RunningSums
from ...crypto.backend import Ciphertext
from ...plan import Problem, TrainingPlan
from ...privacy.frame import Frame

Weights = Any
"""A kind of model's weights or gradient; parties pass it on."""


class Plain(NamedTuple):
    """What is to be encrypted, and how.

    Attributes
    ----------
    slots : ndarray of complex128
        Secret, if it is an owner's.
    scale : float
        Of the plaintext.
    level : int
        Of the ciphertext.
    """

    slots: NDArray[np.complex128]
    scale: float
    level: int


class NoiseForm(NamedTuple):
    """The noise that a visit needs for one vector.

    Attributes
    ----------
    units : int
        sigma of all owners' noise, in integer units of a coefficient.
    scale, level : float, int
        Of its ciphertext.
    positions : ndarray of int, or None
        The coefficients that carry it; None for all of them.
    """

    units: int
    scale: float
    level: int
    positions: NDArray | None = None


class ReleaseForm(NamedTuple):
    """What the key holder decrypts of a visit.

    Attributes
    ----------
    scale : float
        Of the ciphertext, at the base level.
    most : float
        The largest coefficient that data can give, in integer units.
    noise_units : float
        sigma of the noise on it.
    """

    scale: float
    most: float
    noise_units: float


@dataclass(frozen=True)
class Certified:
    """The plan's entries that released weights call for; a declared release.

    Attributes
    ----------
    indices : tuple of int
        Into the plan's tables, in the model's order; what the evaluator is told.
    interval : float
        Radius of the interval of the sigmoid's approximation.
    contribution : float
        S: the bound on one row's contribution.
    split : float
        What the hidden layer's gradient is divided by in addition; 1 where there is none.
    """

    indices: tuple[int, ...]
    interval: float
    contribution: float
    split: float = 1.0

    @classmethod
    def of(cls, fields: Sequence[Any] | None) -> Certified | None:
        """From the fields, as JSON has them; None from none."""
        return fields and cls(tuple(fields[0]), *fields[1:])


class Optimizer(Protocol):
    """What the key holder makes of releases: post-processing.

    Attributes
    ----------
    point : Weights
        Where the next gradient is taken.
    """

    point: Weights

    def update(self, gradient_sum: Weights) -> None:
        """Take one step with a noised gradient sum."""

    def result(self) -> Weights:
        """The weights to release, for stored rows."""


class Model(Protocol):
    """One plan's model, as every party sees it.

    Attributes
    ----------
    elements : tuple of int
        Galois elements that the evaluator needs keys for.
    rows_per_chunk, chunks : int
        Rows that share ciphertexts, and the most chunks of the whole data set.
    sections : tuple of (float, int)
        Scale and level of every ciphertext in a message of rows.
    n_weights : int
        Ciphertexts in a message of weights.
    tables : tuple of int
        Entries of the plan's tables that `Certified.indices` are of.
    noise : tuple of NoiseForm
        What owners add to a visit's vectors.
    release : ReleaseForm
        What is decrypted of it.
    """

    elements: tuple[int, ...]
    rows_per_chunk: int
    chunks: int
    sections: tuple[tuple[float, int], ...]
    n_weights: int
    tables: tuple[int, ...]
    noise: tuple[NoiseForm, ...]
    release: ReleaseForm

    def pack(self, rows: NDArray, targets: NDArray) -> list[Plain]:
        """One chunk of stored rows and class indices, as an owner encrypts it."""

    def chunk(self, backend: Any, ciphertexts: Sequence[Ciphertext]) -> Any:
        """The same, as the evaluator keeps it."""

    def running_sums(
        self,
        arithmetic: Arithmetic,
        indices: Sequence[int],
        weights: Sequence[Ciphertext],
        own: RowProducts | None = None,
    ) -> RunningSums:
        """What adds up the encrypted gradient over S, chunk by chunk.

        Own products are of the chunks that will be added; see `skfhe.circuits.paired`.
        """

    def certify(self, point: Weights) -> Certified:
        """What the plan has for public weights."""

    def weights(self, point: Weights, certified: Certified) -> list[NDArray[np.complex128]]:
        """Slots of the weights, as the key holder encrypts them."""

    def sums(self, coefficients: NDArray, certified: Certified) -> Weights:
        """The noised gradient sum, from released coefficients over their scale."""

    def optimizer(self, frame: Frame, curvature: NDArray | None) -> Optimizer:
        """What makes steps of gradients."""

    def released(self, frame: Frame, weights: Weights) -> Any:
        """The model to release, from weights for stored rows."""

    def arrays(self, released: Any) -> list[NDArray]:
        """A released model as arrays."""

    def from_arrays(self, arrays: Sequence[NDArray]) -> Any:
        """A released model from its arrays; a ValueError if they are not of its shapes."""

    def norm(self, weights: Weights) -> float:
        """L2 norm over all weights."""

    def mean_norm(self, gradient: Weights) -> float:
        """L2 norm of the mean of what `sums` gives."""


def single_forms(plan: TrainingPlan, output_norm: float) -> tuple[tuple[NoiseForm], ReleaseForm]:
    """Noise and release of a model that releases every step's gradient sum over S."""
    used = plan.encryption
    most = plan.problem.n_samples * used.output_scale / output_norm
    noise = (NoiseForm(used.noise_units, used.output_scale, 0),)
    return noise, ReleaseForm(used.output_scale, most, used.noise_units)


def require_shapes(arrays: Sequence[NDArray], shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse arrays of other shapes."""
    found = [array.shape for array in arrays]
    if found != [*shapes]:
        raise ValueError(f"the model's arrays must have the shapes {[*shapes]}, got {found}.")


def one_hot(problem: Problem, targets: NDArray) -> NDArray[np.float64]:
    """Targets 0 or 1 per output, of shape (n, n_outputs), from class indices."""
    first = 1 if problem.n_outputs == 1 else 0
    return (targets[:, None] == first + np.arange(problem.n_outputs)).astype(float)
