r"""How rows are stored: centred, scaled, shortened to the unit ball, with the intercept's entry.

    v = (x - c) * m,    s = min(1, 1 / ||v||),    stored row (s v, s b) or (s v, b),

centre c and scale m being public, one value per column. The norm of s v is at most one whatever
the row is, which all sensitivities rest on.

With one output the intercept's entry is shortened along with the row. Then the margin of a stored
row is s times that of the row itself, of the same sign: the linear model that is released decides
on rows as they are given as it does on stored ones (entries within 1e150, and up to rounding).
With several outputs the entry stays b, so that every row starts at the same public prior
(`skfhe.plan.Problem.prior_margin`), on which the least sensitivity rests.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

# A shade below one: the norm stays within the bound when its computation rounds.
SHADE = 1 - 2.0**-40
# With rows and frames within these no product overflows; a row this long is shortened to a
# direction anyway.
_LARGEST = 1e150
LARGEST_FRAME = 1e120


@dataclass(frozen=True, eq=False)
class Frame:
    """Centre and scale of the stored rows. Public.

    Attributes
    ----------
    centre, scale : ndarray of shape (n_features,)
        c and m.
    intercept_column : float
        b, or zero for no intercept.
    shorten_intercept : bool
        Whether a row's intercept entry is shortened along with it.
    """

    centre: NDArray
    scale: NDArray
    intercept_column: float
    shorten_intercept: bool

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and all(
            np.array_equal(a, b) for a, b in zip(astuple(self), astuple(other), strict=True)
        )

    @np.errstate(all="ignore")  # nothing may be raised that depends on a row
    def rows(self, X: NDArray) -> NDArray:
        """Stored rows.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            Numbers. Secret, as is what comes out.

        Returns
        -------
        rows : ndarray of shape (n, n_columns)
            The first n_features columns have L2 norm at most one together.
        """
        rows = (bounded(X) - self.centre) * self.scale
        factors = SHADE / np.maximum(norms(rows), 1.0)
        rows *= factors
        if not self.intercept_column:
            return rows
        column = factors if self.shorten_intercept else np.ones_like(factors)
        return np.hstack([rows, self.intercept_column * column])

    def original(self, weights: NDArray) -> NDArray:
        """Weights for rows as they are given, from weights for stored rows.

        Parameters
        ----------
        weights : ndarray of shape (n_columns, n_outputs)
            For stored rows, the intercept's last.

        Returns
        -------
        weights : ndarray of shape (n_columns, n_outputs)
            The last row is the intercept itself, if there is one; without one the centre is zero.
        """
        n_features = len(self.centre)
        body = weights[:n_features] * self.scale[:, None]
        intercept = weights[n_features:] * self.intercept_column
        return np.vstack([body, intercept - self.centre @ body if len(intercept) else intercept])


def bounded(X: NDArray) -> NDArray[np.float64]:
    """A C-ordered copy within +-1e150, NaN as zero."""
    rows = np.array(X, dtype=np.float64, order="C")
    return np.clip(np.nan_to_num(rows, copy=False), -_LARGEST, _LARGEST, out=rows)


def norms(rows: NDArray) -> NDArray:
    """L2 norms of rows, of shape (n, 1), without overflow.

    Entries next to a row's largest are summed pairwise in C order, so the relative error is far
    below what `SHADE` leaves.
    """
    largest = np.maximum(np.max(np.abs(rows), axis=1, keepdims=True, initial=0.0), 1e-300)
    return largest * np.linalg.norm(rows / largest, axis=1, keepdims=True)
