"""Shortening rows to a public bound."""

from __future__ import annotations

from numbers import Real

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.extmath import row_norms
from sklearn.utils.validation import validate_data


class RowNormClipper(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Shorten rows that are longer than a public bound, and leave the others as they are.

    Each row is treated by itself and nothing is learned, so this costs no privacy. The
    estimators do the same with `data_norm`; as a step of a pipeline it also applies where a
    fitted model predicts.

    Parameters
    ----------
    max_norm : float, default=1.0
        Public bound on the L2 norm of a row, positive and finite.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has string column names.

    Examples
    --------
    >>> import numpy as np
    >>> from skfhe import RowNormClipper
    >>> RowNormClipper(max_norm=1.0).transform(np.array([[3.0, 4.0], [0.1, 0.2]]))
    array([[0.6, 0.8],
           [0.1, 0.2]])
    """

    _parameter_constraints: dict = {"max_norm": [Real]}

    def __init__(self, max_norm=1.0):
        self.max_norm = max_norm

    def fit(self, X, y=None):
        """Check the parameter and the columns; no value of X is used.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The transformer.

        Raises
        ------
        ValueError
            If `max_norm` is not positive and finite, or X has NaN or infinite values.
        """
        self._validate_params()
        self._bound()
        validate_data(self, X, accept_sparse="csr", dtype=np.float64)
        return self

    def transform(self, X):
        """Shorten long rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        shortened : {ndarray, sparse matrix} of shape (n_samples, n_features)
            Rows of norm `max_norm` at most, up to rounding; sparse if X is.

        Raises
        ------
        ValueError
            If `max_norm` is not positive and finite, or X has NaN or infinite values.
        """
        bound = self._bound()
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        # A norm that overflows is infinite, and its row becomes zero.
        with np.errstate(over="ignore"):
            factors = bound / np.maximum(row_norms(X), bound)
        return sparse.diags(factors) @ X if sparse.issparse(X) else X * factors[:, None]

    def _bound(self) -> float:
        if not 0 < self.max_norm < np.inf:
            raise ValueError(f"max_norm must be positive and finite, got {self.max_norm!r}.")
        return float(self.max_norm)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.requires_fit = False
        return tags
