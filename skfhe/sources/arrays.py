"""Rows that are in memory, or mapped into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..schema import Schema
from .base import Batch, CountedSource
from .columns import UNKNOWN, ClassLabels, require_columns, require_finite, require_known, scaled


class ArraySource(CountedSource):
    """Rows of an array, a memory map, a sparse matrix or a data frame.

    Rows are taken slice by slice, so a memory map is never copied whole.

    Parameters
    ----------
    X : array-like, sparse matrix, or data frame of pandas or polars, of shape (n, n_features)
        Rows. A data frame may have more columns, if a schema names those to take.
    y : array-like of int of shape (n,), optional
        Class indices from 0. Without it labels are read from the schema's column of a data
        frame; of arrays, or without a schema, every index is then -1.
    schema : Schema, optional
        Columns of a data frame by name, and bounds that rows are scaled by.

    Attributes
    ----------
    n_features : int
        Columns of the rows.

    Raises
    ------
    ValueError
        If X is not two-dimensional or does not fit the schema, or y does not fit X.
    """

    def __init__(self, X: Any, y: Any = None, schema: Schema | None = None):
        self._schema = schema
        self._frame = hasattr(X, "columns") and hasattr(X, "to_numpy")
        if sparse.issparse(X):
            X = sparse.csr_array(X)
        elif not hasattr(X, "shape"):
            X = np.asarray(X)
        if len(X.shape) != 2:
            raise ValueError(f"X must have rows and columns, got an array of shape {X.shape}.")
        self._X = X
        self._names, self._positions = self._columns()
        self.n_features = len(self._names)
        labels = schema if y is None and self._frame else None
        self._labels = None if labels is None else ClassLabels(labels)
        self._y = None if y is None else _class_indices(y, X.shape[0], schema)

    def _columns(self) -> tuple[Sequence[Any], Sequence[int]]:
        """Names and positions of the columns to take; positions are the names of an array's."""
        positions = range(self._X.shape[1])
        names = list(self._X.columns) if self._frame else positions
        if self._schema is None:
            return names, positions
        features = self._schema.features
        if self._frame:
            require_columns(names, features, "X")
            return features, [names.index(name) for name in features]
        if len(names) != len(features):
            raise ValueError(
                f"X must have the schema's {len(features)} features, got {len(names)} columns."
            )
        return features, positions

    def _pieces(self, size: int) -> Iterator[Batch]:
        for start in range(0, self._X.shape[0], size):
            part = slice(start, start + size)
            piece = _sliced(self._X, part)
            rows = self._rows(piece)
            require_finite(rows, self._names, "X")
            yield scaled(rows, self._schema), self._indices(piece, part)

    @np.errstate(all="ignore")  # nothing may be raised that depends on a row
    def _rows(self, piece: Any) -> NDArray[np.float64] | sparse.csr_array:
        """A slice of X as float64; what is given stays as it is."""
        if sparse.issparse(piece):
            rows = sparse.csr_array(piece, dtype=np.float64)
            if not rows.has_canonical_format:
                rows = rows.copy()
                rows.sum_duplicates()
            return rows
        if not self._frame:
            return _floats(piece, "X")
        rows = np.empty((piece.shape[0], self.n_features))
        for index, (name, position) in enumerate(zip(self._names, self._positions, strict=True)):
            column = _sliced(piece, (slice(None), position))
            rows[:, index] = _floats(column, f"the column {name!r} of X")
        return rows

    def _indices(self, piece: Any, part: slice) -> NDArray[np.int64]:
        if self._y is not None:
            return self._y[part]
        if self._labels is None:
            return np.full(piece.shape[0], UNKNOWN)
        require_columns(list(piece.columns), [self._schema.label], "X")
        indices = self._labels.indices(piece[self._schema.label].to_list())
        require_known(indices, self._schema, "X")
        return indices


def _sliced(X: Any, part: Any) -> Any:
    """By position, also in frames of pandas."""
    return X.iloc[part] if hasattr(X, "iloc") else X[part]


def _floats(values: Any, what: str) -> NDArray[np.float64]:
    """float64, NaN where missing; an array of it already is not copied."""
    try:
        values = values.to_numpy(na_value=np.nan) if hasattr(values, "iloc") else values
        values = np.asarray(values)
        if values.dtype.kind not in "cmM":
            return values.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError):
        pass  # it quotes an entry, so it must not be the new error's context either
    raise ValueError(f"{what} must hold real numbers.")


def _class_indices(y: Any, n_samples: int, schema: Schema | None) -> NDArray[np.int64]:
    y = np.asarray(y)
    largest = np.inf if schema is None else len(schema.classes) - 1
    if not (
        y.shape == (n_samples,)
        and y.dtype.kind in "buif"
        and ((y >= 0) & (y <= largest) & (y == np.floor(y))).all()
    ):
        raise ValueError(
            f"y must be class indices, whole numbers from 0, one for each of {n_samples} rows, "
            f"got an array of {y.dtype} and shape {y.shape}; labels can be a column of X that "
            "the schema names."
        )
    return y.astype(np.int64)
