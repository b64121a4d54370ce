"""What an owner may know of its rows before they are encrypted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class RowCheck:
    """What the row bound would do to an owner's rows. For the owner's eyes only.

    Attributes
    ----------
    n_samples : int
        Rows looked at.
    clipped : float
        Share of rows that are longer than ``data_norm`` and would be shortened.
    largest_norm, median_norm : float
        Of the rows' norms.
    data_norm : float
        The plan's bound.
    """

    n_samples: int
    clipped: float
    largest_norm: float
    median_norm: float
    data_norm: float

    def __str__(self) -> str:
        return (
            f"{self.clipped:.1%} of {self.n_samples} rows are longer than data_norm="
            f"{self.data_norm:.4g} and would be shortened to it (median norm "
            f"{self.median_norm:.4g}, largest {self.largest_norm:.4g})."
        )


def finite_rows(X):
    """Rows as float64, dense or CSR without duplicate entries; what is given stays as it is.

    Raises
    ------
    ValueError
        If an entry is NaN or infinite, duplicates of sparse rows added up.
    """
    if sparse.issparse(X):
        X = sparse.csr_array(X, dtype=np.float64)
        if not X.has_canonical_format:
            X = X.copy()
            with np.errstate(all="ignore"):
                X.sum_duplicates()
    else:
        X = np.asarray(X, dtype=np.float64)
    if not np.isfinite(X.data if sparse.issparse(X) else X).all():
        raise ValueError("rows must be finite numbers, got NaN or infinity; impute them first.")
    return X


def check_rows(X, data_norm: float) -> RowCheck:
    """The statistics behind `DataOwner.check`."""
    norms = sparse.linalg.norm(X, axis=1) if sparse.issparse(X) else np.linalg.norm(X, axis=1)
    return RowCheck(
        n_samples=int(norms.size),
        clipped=float(np.mean(norms > data_norm * (1 + 1e-12))),
        largest_norm=float(np.max(norms)),
        median_norm=float(np.median(norms)),
        data_norm=data_norm,
    )
