"""Passes over rows in batches of one size, whatever pieces the rows come in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

# Rows of shape (k, n_features) and their class indices of shape (k,).
Batch: TypeAlias = "tuple[NDArray[np.float64] | sparse.csr_array, NDArray[np.int64]]"


@runtime_checkable
class RowSource(Protocol):
    """Rows and class indices that can be read again and again.

    Attributes
    ----------
    n_features : int
        Columns of the rows.
    """

    n_features: int

    def batches(self, size: int) -> Iterator[Batch]:
        """Read all rows from the beginning.

        Parameters
        ----------
        size : int
            Rows per batch; only the last batch may have fewer.

        Yields
        ------
        rows : ndarray or csr_array of shape (k, n_features)
            Finite float64; may be a view of what the source reads, so not to be written to.
        indices : ndarray of int64 of shape (k,)
            Class of every row, or -1 where the source has no labels.

        Raises
        ------
        ValueError
            If rows cannot be read, or are more or fewer than in the first whole pass. No message
            quotes a row.
        """
        ...


class CountedSource(ABC):
    """A source whose passes have the same number of rows, read in pieces of any length.

    Attributes
    ----------
    n_features : int
        Columns of the rows.
    """

    n_features: int
    _n_samples: int | None = None  # of the first whole pass

    @abstractmethod
    def _pieces(self, size: int) -> Iterator[Batch]:
        """All rows from the beginning, in pieces of any length; `size` is a good one."""

    def batches(self, size: int) -> Iterator[Batch]:
        """Read all rows from the beginning.

        Parameters
        ----------
        size : int
            Rows per batch; only the last batch may have fewer.

        Returns
        -------
        batches : iterator of pairs
            Rows of shape (k, n_features) and class indices of shape (k,), as `RowSource` says.

        Raises
        ------
        ValueError
            If size is not positive, and in passing if rows cannot be read, or are more or fewer
            than in the first whole pass. No message quotes a row.
        """
        if size < 1:
            raise ValueError(f"size must be one row or more, got {size}.")
        return self._batches(size)

    def _batches(self, size: int) -> Iterator[Batch]:
        count = 0
        for rows, indices in rechunked(self._pieces(size), size):
            count += len(indices)
            self._require(self._n_samples is None or count <= self._n_samples)
            yield rows, indices
        self._require(self._n_samples in (None, count))
        self._n_samples = count

    def _require(self, same: bool) -> None:
        if not same:
            raise ValueError(
                "every pass must give the same rows, but their number changed since the first "
                "pass; start again with rows that nobody writes to."
            )


def rechunked(pieces: Iterable[Batch], size: int) -> Iterator[Batch]:
    """The same rows in batches of `size`, the last one shorter; holds one batch and one piece."""
    held: list[Batch] = []
    count = 0
    for rows, indices in pieces:
        start = 0
        while start < len(indices):
            part = slice(start, start + size - count)
            held.append((rows[part], indices[part]))
            count += len(held[-1][1])
            start = part.stop
            if count == size:
                yield _joined(held)
                held, count = [], 0
    if held:
        yield _joined(held)


def _joined(parts: list[Batch]) -> Batch:
    if len(parts) == 1:
        return parts[0]
    rows, indices = zip(*parts, strict=True)
    stack = sparse.vstack if sparse.issparse(rows[0]) else np.concatenate
    return stack(rows), np.concatenate(indices)
