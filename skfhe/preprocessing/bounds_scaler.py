"""Scaling by public bounds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from .bounds import column_bounds


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
        X = validate_data(self, X, dtype=np.float64)
        names = getattr(self, "feature_names_in_", None)
        self.low_, self.high_ = column_bounds(self.bounds, X.shape[1], names)
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
