"""Transformers that learn nothing from the data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data


class BoundsScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Scale columns to [-1, 1] by public bounds, and clip to them.

    `fit` looks at the shape and the column names only, so scaling costs no privacy, as long as
    the bounds come from the field's knowledge (a sensor's range, a questionnaire's scale) and
    not from the rows.

    Parameters
    ----------
    bounds : pair (low, high) of scalars or arrays of shape (n_features,), or mapping
        Public bounds of every column; a mapping gives (low, high) by column name.
    feature_range : pair of float, default=(-1, 1)
        What the bounds are mapped to. Columns that count or light up pixels may prefer (0, 1).

    Attributes
    ----------
    low_, high_ : ndarray of shape (n_features_in_,)
        The bounds in the order of the columns.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has string column names.

    Examples
    --------
    >>> import numpy as np
    >>> from skfhe import BoundsScaler
    >>> BoundsScaler(bounds=([0, 0], [10, 120])).fit_transform(np.array([[5.0, 150.0]]))
    array([[0., 1.]])
    """

    _parameter_constraints: dict = {
        "bounds": ["array-like", Mapping],
        "feature_range": ["array-like"],
    }

    def __init__(self, bounds=(-1.0, 1.0), feature_range=(-1.0, 1.0)):
        self.bounds = bounds
        self.feature_range = feature_range

    def fit(self, X, y=None):
        """Put the bounds into the order of the columns; no value of X is used.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If bounds are missing, not finite or out of order.
        """
        self._validate_params()
        if len(self.feature_range) != 2 or not self.feature_range[0] < self.feature_range[1]:
            raise ValueError(
                f"feature_range must be a pair (first, last) with first < last, got "
                f"{self.feature_range}."
            )
        if not isinstance(self.bounds, Mapping) and len(self.bounds) != 2:
            raise ValueError(
                f"bounds must be a pair (low, high), each a number or one per column, got "
                f"{len(self.bounds)} items."
            )
        X = validate_data(self, X, dtype=np.float64)
        low, high = self._by_name() if isinstance(self.bounds, Mapping) else self.bounds
        shape = (X.shape[1],)
        try:
            self.low_ = np.broadcast_to(np.asarray(low, dtype=float), shape).copy()
            self.high_ = np.broadcast_to(np.asarray(high, dtype=float), shape).copy()
        except ValueError:
            raise ValueError(
                f"bounds must be two scalars or two arrays of {shape[0]} numbers, one per column "
                f"of X, got shapes {np.shape(low)} and {np.shape(high)}."
            ) from None
        ordered = np.isfinite(self.low_) & np.isfinite(self.high_) & (self.low_ < self.high_)
        if not ordered.all():
            column = int(np.argmin(ordered))
            raise ValueError(
                f"bounds must be finite with low < high, got [{self.low_[column]}, "
                f"{self.high_[column]}] for column {column}; a constant column can be dropped."
            )
        return self

    def transform(self, X):
        """Clip to the bounds and scale.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scaled : ndarray of shape (n_samples, n_features)
            Rows within `feature_range`.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        first, last = self.feature_range
        share = (np.clip(X, self.low_, self.high_) - self.low_) / (self.high_ - self.low_)
        return first + (last - first) * share

    def _by_name(self) -> tuple[list[float], list[float]]:
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            raise ValueError(
                "bounds by name need X with column names (a data frame); give a pair of arrays "
                "for unnamed columns."
            )
        missing = [name for name in names if name not in self.bounds]
        if missing:
            raise ValueError(f"bounds are missing for the columns {missing}; add them.")
        pairs = [self.bounds[name] for name in names]
        return [low for low, _ in pairs], [high for _, high in pairs]
