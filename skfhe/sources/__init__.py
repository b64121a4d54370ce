"""Where rows come from: streams that can be read again, never all rows in memory."""

from __future__ import annotations

import os
from typing import Any

from ..schema import Schema
from .arrays import ArraySource
from .base import RowSource

__all__ = ["ArraySource", "RowSource", "rows_of"]


def rows_of(X: Any, y: Any = None, schema: Schema | None = None) -> RowSource:
    """A source of rows, whatever holds them.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n, n_features), data frame, path(s), or RowSource
        Rows in memory (or in a memory map, which is read slice by slice); or CSV and Parquet
        files: a file, a folder, a pattern such as ``"rows/*.parquet"``, a URL that fsspec opens,
        or a list of these. A source is returned as it is.
    y : array-like of int of shape (n,), optional
        Class indices, for rows in memory. Without it labels are read from the schema's column
        of a data frame; of arrays, or without a schema, every index is then -1.
    schema : Schema, optional
        Which columns are read, and how they are scaled. Files need it.

    Returns
    -------
    source : RowSource
        Gives the same rows in every pass.

    Raises
    ------
    ValueError
        If there are no such rows or columns, or y is not what it must be.
    ImportError
        If files are to be read and the extra ``io`` is not installed.
    """
    if not hasattr(X, "shape") and isinstance(X, RowSource):
        _require_no_labels(y, "a source")
        return X
    if not _is_paths(X):
        return ArraySource(X, y, schema)
    _require_no_labels(y, "files")
    if schema is None:
        raise ValueError(
            "rows from files need a schema that names the columns and classes; give the plan one."
        )
    from .tables import TableSource

    return TableSource(X, schema)


def _is_paths(X: Any) -> bool:
    many = X if isinstance(X, (list, tuple)) and len(X) else [X]
    return all(isinstance(one, (str, os.PathLike)) for one in many)


def _require_no_labels(y: Any, what: str) -> None:
    if y is not None:
        raise ValueError(f"{what} have labels of their own: y must be None.")
