r"""Sums over rows that prepare the training: moments of columns, second moments of stored rows.

Owners compute them in the clear, as exact integer sums; noise and aggregation are as for
gradients. A row that is not there adds zero. With g = ``2**grid_bits`` and rounding towards zero,
which never lengthens a vector, a row adds

- **moments**: with u the row shortened to `data_norm`, divided by `box` and clipped to [-1, 1],

      (g u, g (u^2 - 1/2)),  norm^2 <= g^2 (sum u^2 + sum (u^2 - 1/2)^2)
                                     = g^2 (sum u^4 + d/4) <= g^2 (R^2 + d/4),

  R = min(data_norm / box, sqrt(d)), since u^4 <= u^2. Subtracting 1/2 centres u^2: the norm
  would be up to sqrt(R^2 + d) otherwise. Two rows differ by at most twice that.
- **curvature**: with a the stored row (`skfhe.privacy.frame`) times g, rounded towards zero, its
  norm at most g X,

      (5 a_i^2 for all i,  7 a_i a_j for all i < j),
      norm^2 = 25 sum a_i^4 + 49 sum_{i<j} a_i^2 a_j^2
             = 24.5 (sum a_i^2)^2 + 0.5 sum a_i^4 <= 25 (g X)^4.

  7/5 is just below sqrt(2), so this is all but the Frobenius norm of a a^T and the noise all but
  isotropic on symmetric matrices. Two rows a, b have an inner product of
  25 sum a_i^2 b_i^2 + 49 sum_{i<j} a_i b_i a_j b_j = 24.5 <a, b>^2 + 0.5 sum a_i^2 b_i^2 >= 0,
  so they differ by at most sqrt(2) times the bound.

Sums of these integers are exact in floating point, whose 2^53 the plan stays below.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..plan import Problem, TrainingPlan
from .frame import SHADE, Frame, bounded, norms
from .sensitivity import RELATION_FACTOR, row_norm

_DIAGONAL, _OFF_DIAGONAL = 5, 7
_ROWS_AT_ONCE = 4096


def length(name: str, problem: Problem) -> int:
    """Coordinates of a statistic."""
    if name == "moments":
        return 2 * problem.n_features
    return problem.n_columns * (problem.n_columns + 1) // 2


def sensitivity(
    name: str, problem: Problem, box: float, grid_bits: int, neighboring: str
) -> float:
    """Delta of a statistic in integer units; see the module for the proof.

    Parameters
    ----------
    name : {"moments", "curvature"}
        The statistic.
    problem : Problem
        Shape and row bound.
    box : float
        Columns are clipped to [-box, box].
    grid_bits : int
        log2 of g.
    neighboring : {"add_remove", "replace_one"}
        The relation.
    """
    if name == "moments":
        longest = min(problem.data_norm / box, math.sqrt(problem.n_features))
        squared = longest**2 + problem.n_features / 4
        return RELATION_FACTOR[neighboring] * math.ldexp(math.sqrt(squared), grid_bits)
    factor = math.sqrt(RELATION_FACTOR[neighboring])
    squared = row_norm(problem.intercept_column) ** 2
    return factor * math.ldexp(_DIAGONAL * squared, 2 * grid_bits)


def largest(name: str, problem: Problem, grid_bits: int) -> float:
    """The largest size of one row's coordinate, in integer units."""
    if name == "moments":
        return math.ldexp(1.0, grid_bits)
    return math.ldexp(_DIAGONAL * row_norm(problem.intercept_column) ** 2, 2 * grid_bits)


@np.errstate(all="ignore")  # nothing may be raised that depends on a row
def integer_sums(name: str, plan: TrainingPlan, frame: Frame, X) -> NDArray[np.int64]:
    """A statistic of rows, without noise. Secret.

    Parameters
    ----------
    name : {"moments", "curvature"}
        The statistic.
    plan : TrainingPlan
        Grid, box and row bound.
    frame : Frame
        Of the stored rows; moments do not use it.
    X : ndarray or sparse matrix of shape (n, n_features)
        Rows as they are given.

    Returns
    -------
    sums : ndarray of shape (length,)
    """
    bits = plan.preparation.statistics[name].grid_bits
    if name == "moments":
        sums = np.zeros(2 * X.shape[1])
        for rows in dense_blocks(X):
            values = _boxed(rows, plan.problem.data_norm, plan.preparation.box)
            parts = (values, values**2 - 0.5)
            sums += np.concatenate([_truncated(part, bits).sum(axis=0) for part in parts])
        return sums.astype(np.int64)
    n_columns = plan.problem.n_columns
    total = np.zeros((n_columns, n_columns))
    for rows in dense_blocks(X):
        integers = _truncated(frame.rows(rows), bits)
        total += integers.T @ integers
    above = np.triu_indices(n_columns, 1)
    return np.concatenate([_DIAGONAL * total.diagonal(), _OFF_DIAGONAL * total[above]]).astype(
        np.int64
    )


def moments(values: NDArray, plan: TrainingPlan) -> tuple[NDArray, NDArray]:
    """Means and mean squares of the columns over `box`, from noised sums."""
    grid = plan.preparation.statistics["moments"].grid_bits
    means = np.ldexp(values, -grid) / plan.problem.n_samples
    return means[: plan.problem.n_features], means[plan.problem.n_features :] + 0.5


def second_moments(values: NDArray, plan: TrainingPlan) -> NDArray:
    """The mean of a a^T over stored rows, from noised sums."""
    grid, n_columns = plan.preparation.statistics["curvature"].grid_bits, plan.problem.n_columns
    means = np.ldexp(values, -2 * grid) / plan.problem.n_samples
    matrix = np.diag(means[:n_columns] / _DIAGONAL)
    above = np.triu_indices(n_columns, 1)
    matrix[above] = means[n_columns:] / _OFF_DIAGONAL
    return matrix + np.triu(matrix, 1).T


def deviation(name: str, plan: TrainingPlan) -> float:
    """Standard deviation of the noise on a mean over rows; on a diagonal one, of the curvature."""
    statistic = plan.preparation.statistics[name]
    units = statistic.noise_units * plan.guarantee.noise_excess / plan.problem.n_samples
    if name == "moments":
        return math.ldexp(units, -statistic.grid_bits)
    return math.ldexp(units / _DIAGONAL, -2 * statistic.grid_bits)


def dense_blocks(X) -> Iterator[NDArray]:
    """Some rows at a time, dense and bounded."""
    for start in range(0, X.shape[0], _ROWS_AT_ONCE):
        block = X[start : start + _ROWS_AT_ONCE]
        yield bounded(block if isinstance(block, np.ndarray) else block.toarray())


def _boxed(rows: NDArray, data_norm: float, box: float) -> NDArray:
    """u: rows shortened to the row bound, over the box, clipped to it."""
    rows = rows * (data_norm * SHADE / np.maximum(norms(rows), data_norm))
    return np.clip(rows / box, -1.0, 1.0)


def _truncated(values: NDArray, bits: int) -> NDArray:
    """Integers, rounded towards zero."""
    return np.trunc(np.ldexp(values, bits))
