"""What a schema makes of columns: class indices of labels, rows within their bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..schema import Schema

# Instead of a class index: a label that is none of the classes, or rows without labels.
UNKNOWN = -1


class ClassLabels:
    """Finds the class of a label: by its text, else by its number.

    So 1, 1.0, True, "1" and "1.0" all are the class 1, and "true" is the class True.

    Parameters
    ----------
    schema : Schema
        Names the classes.
    """

    def __init__(self, schema: Schema):
        self._by_text = {str(one): index for index, one in enumerate(schema.classes)}
        numbers = [_number(one) for one in schema.classes]
        # Classes such as "1" and "01" are told apart by their text alone.
        self._by_number = {
            one: index
            for index, one in enumerate(numbers)
            if one is not None and Counter(numbers)[one] == 1
        }

    def indices(self, labels: Iterable[Any]) -> NDArray[np.int64]:
        """Class index of every label, UNKNOWN for what is none."""
        return np.array([self._index(one) for one in labels], dtype=np.int64)

    def _index(self, label: Any) -> int:
        index = self._by_text.get(str(label))
        return self._by_number.get(_number(label), UNKNOWN) if index is None else index


def _number(label: Any) -> Any:
    """The number that a label is or reads as; None for none."""
    if isinstance(label, (Number, np.bool_)):
        return label
    if not isinstance(label, str) or "_" in label:  # Python alone reads 1_0 as a number
        return None
    if label.strip().lower() in ("true", "false"):
        return label.strip().lower() == "true"
    for kind in (int, float):
        try:
            return kind(label)
        except ValueError:
            continue
    return None


def require_known(indices: NDArray[np.int64], schema: Schema, place: str) -> None:
    """Refuse rows with a label that is none of the classes."""
    if (indices == UNKNOWN).any():
        raise ValueError(
            f"{place}: the column {schema.label!r} holds a label that is missing or not among "
            f"the schema's {len(schema.classes)} classes; correct the rows or the schema."
        )


def require_columns(found: Sequence[str], needed: Iterable[str], place: str) -> None:
    """Refuse columns that are not there, or there twice."""
    counts = Counter(found)
    missing = [name for name in needed if not counts[name]]
    repeated = [name for name in needed if counts[name] > 1]
    if missing or repeated:
        raise ValueError(
            f"{place}: every column of the schema must be there once; missing: {missing[:10]}, "
            f"repeated: {repeated[:10]}."
        )


def require_finite(
    rows: NDArray[np.float64] | sparse.csr_array, names: Sequence[object], place: str
) -> None:
    """Refuse rows with missing or infinite entries; the message names their columns."""
    if sparse.issparse(rows):
        columns = np.unique(rows.indices[~np.isfinite(rows.data)])
    else:
        columns = np.flatnonzero(~np.isfinite(rows).all(axis=0))
    if len(columns):
        raise ValueError(
            f"{place}: rows must be finite numbers, but values are missing, NaN or infinite in "
            f"the columns {[names[i] for i in columns[:10]]}; impute them first."
        )


def scaled(
    rows: NDArray[np.float64] | sparse.csr_array, schema: Schema | None
) -> NDArray[np.float64] | sparse.csr_array:
    """Rows clipped to the schema's bounds and scaled to [-1, 1], dense; or as they are.

    The same arithmetic as `skfhe.BoundsScaler`, so that a plan's rows do not depend on which of
    them scaled.
    """
    if schema is None or not schema.low:
        return rows
    low, high = np.array(schema.low), np.array(schema.high)
    dense = rows.toarray() if sparse.issparse(rows) else rows
    return -1.0 + 2.0 * ((np.clip(dense, low, high) - low) / (high - low))
