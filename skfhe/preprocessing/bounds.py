"""Public bounds of columns, in the order of the columns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def column_bounds(
    bounds, n_features: int, names: NDArray | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Put bounds into the order of the columns.

    Parameters
    ----------
    bounds : pair (low, high) of scalars or arrays of shape (n_features,), or mapping
        Public bounds of every column; a mapping gives (low, high) by column name.
    n_features : int
        Number of columns.
    names : ndarray of shape (n_features,) or None
        Their names, where there are any.

    Returns
    -------
    low, high : ndarray of shape (n_features,)
        Finite, and low below high.

    Raises
    ------
    ValueError
        If bounds are missing, not finite or out of order.
    """
    if isinstance(bounds, Mapping):
        low, high = _by_name(bounds, names)
    elif len(bounds) == 2:
        low, high = bounds
    else:
        raise ValueError(
            "bounds must be a pair (low, high), each a number or one per column, got "
            f"{len(bounds)} items."
        )
    shape = (n_features,)
    try:
        lows = np.broadcast_to(np.asarray(low, dtype=float), shape).copy()
        highs = np.broadcast_to(np.asarray(high, dtype=float), shape).copy()
    except ValueError:
        raise ValueError(
            f"bounds must be two scalars or two arrays of {n_features} numbers, one per column "
            f"of X, got shapes {np.shape(low)} and {np.shape(high)}."
        ) from None
    ordered = np.isfinite(lows) & np.isfinite(highs) & (highs / 2 - lows / 2 > 0)
    if not ordered.all():
        column = int(np.argmin(ordered))
        raise ValueError(
            f"bounds must be finite with low < high, got [{lows[column]}, {highs[column]}] for "
            f"column {column}; a constant column can be dropped."
        )
    return lows, highs


def _by_name(bounds: Mapping, names: NDArray | None) -> tuple[list[float], list[float]]:
    if names is None:
        raise ValueError(
            "bounds by name need X with column names (a data frame); give a pair of arrays "
            "for unnamed columns."
        )
    missing = [name for name in names if name not in bounds]
    if missing:
        raise ValueError(f"bounds are missing for the columns {missing}; add them.")
    pairs = [bounds[name] for name in names]
    return [low for low, _ in pairs], [high for _, high in pairs]
