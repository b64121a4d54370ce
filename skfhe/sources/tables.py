"""Rows of CSV and Parquet files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..schema import Schema
from .arrow import compute, pyarrow
from .base import Batch, CountedSource
from .columns import UNKNOWN, ClassLabels, require_finite, require_known, scaled
from .files import table_files
from .readers import record_batches

_types = pyarrow.types
_NUMBERS = (_types.is_integer, _types.is_floating, _types.is_boolean, _types.is_decimal)
_TEXT = (_types.is_string, _types.is_large_string)


class TableSource(CountedSource):
    """Rows of CSV and Parquet files, streamed.

    Memory holds a batch and a block of one file. Text that stands for missing values in CSV (an
    empty cell, NA, NaN, null) is refused as missing.

    Parameters
    ----------
    paths : path or iterable of paths
        As `skfhe.sources.files.table_files` takes them.
    schema : Schema
        Which columns are features and label, the classes, and bounds to scale by.

    Raises
    ------
    ValueError
        If there are no such files.
    """

    def __init__(self, paths: str | os.PathLike | Iterable[str | os.PathLike], schema: Schema):
        self.n_features = len(schema.features)
        self._schema = schema
        self._labels = ClassLabels(schema)
        self._files = table_files(paths)

    def _pieces(self, size: int) -> Iterator[Batch]:
        for file in self._files:
            for batch in record_batches(file, self._schema, size):
                yield self._piece(batch, file.name)

    def _piece(self, batch: pyarrow.RecordBatch, place: str) -> Batch:
        features = self._schema.features
        rows = np.empty((batch.num_rows, self.n_features))
        for index, name in enumerate(features):
            rows[:, index] = _numbers(batch.column(name), name, place)
        require_finite(rows, features, place)
        indices = self._indices(batch.column(self._schema.label), place)
        return scaled(rows, self._schema), indices

    def _indices(self, column: pyarrow.Array, place: str) -> NDArray[np.int64]:
        """Class indices; every distinct label is looked up once."""
        _require_type(column, _NUMBERS + _TEXT, "numbers or text", self._schema.label, place)
        if not _types.is_dictionary(column.type):
            column = compute.dictionary_encode(column)
        # A dictionary may hold labels that no row has. Missing ones point past its end.
        found = np.append(self._labels.indices(column.dictionary.to_pylist()), UNKNOWN)
        indices = found[column.indices.fill_null(len(found) - 1).to_numpy(zero_copy_only=False)]
        require_known(indices, self._schema, place)
        return indices


def _numbers(column: pyarrow.Array, name: str, place: str) -> NDArray[np.float64]:
    """float64, NaN where missing."""
    _require_type(column, _NUMBERS, "numbers", name, place)
    if _types.is_dictionary(column.type):
        column = column.dictionary_decode()
    # Integers past 2^53 are rounded, as NumPy does.
    return column.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)


def _require_type(
    column: pyarrow.Array, kinds: tuple[Callable, ...], words: str, name: str, place: str
) -> None:
    kind = column.type.value_type if _types.is_dictionary(column.type) else column.type
    if not any(is_one(kind) for is_one in kinds):
        raise ValueError(f"{place}: the column {name!r} must hold {words}, got {column.type}.")
