"""Standardising by means and variances that are released with differential privacy."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from numbers import Real

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ..privacy.guarantee import PrivacyGuarantee
from ..privacy.ledger import PrivacyLedger
from ..privacy.mechanism import GaussianMechanism
from ..privacy.noise import noise_source
from ..privacy.sensitivity import RELATION_FACTOR
from .bounds import column_bounds

# Values between -1 and 1 are cut to this many binary digits before they are summed.
_BITS = 20


class DPStandardScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    r"""Standardise columns by their differentially private means and variances.

    Values are clipped to public bounds; the sums over clipped values of all columns are released
    once, with Gaussian noise. `BoundsScaler` costs nothing and is enough where the bounds are
    close to the data; this pays a small budget for columns that fill little of their bounds.

    Parameters
    ----------
    epsilon, delta : float, default=0.1, 1e-6
        The guarantee of all means and variances together, epsilon from 1e-6 to 100.
    bounds : pair (low, high) of scalars or arrays of shape (n_features,), or mapping
        Public bounds of every column; a mapping gives (low, high) by column name.
    ledger : PrivacyLedger, default=None
        The budget that fits share; every fit pays before its release.
    neighboring : {"add_remove", "replace_one"}, default="add_remove"
        What the guarantee hides: that a row was there (the number of rows being public), or what
        it was.
    random_state : int, RandomState or None, default=None
        Seeds the noise for tests; there is no privacy guarantee then.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features_in_,)
        Released means of the clipped values, within the bounds.
    var_ : ndarray of shape (n_features_in_,)
        Released variances, not below the noise in them (see Notes).
    scale_ : ndarray of shape (n_features_in_,)
        Their square roots, never zero.
    low_, high_ : ndarray of shape (n_features_in_,)
        The bounds in the order of the columns.
    privacy_ : PrivacyGuarantee
        The guarantee and what it rests on.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has string column names.

    Notes
    -----
    **Sensitivity** (proved here; the releases are accounted for by docs/proofs/accounting.md,
    statement 6). Let a be a value clipped to its bounds, mapped to [-1, 1] and cut towards
    zero to 20 binary digits. A row adds, for each of its d columns, a to one sum and s to
    another, s being ``1 - a^2`` cut down to 20 digits. Since ``0 <= s <= 1 - a^2``,

    .. math:: a^2 + s^2 \le a^2 + (1 - a^2)^2 = 1 - a^2 (1 - a^2) \le 1,

    so a row adds a vector of norm :math:`\sqrt d` at most, and rows with all a in
    :math:`\{-1, 0, 1\}` add one of just this norm. *Add/remove*: the removed row adds nothing to
    any sum and n is public, so the sensitivity is :math:`\sqrt d`. *Replace-one*: twice that;
    a row of -1 in the place of a row of 1 attains it. What a row adds is computed from that row
    alone, all terms are multiples of :math:`2^{-20}`, and sums of up to :math:`2^{32}` rows are
    exact, so this holds in floating point.

    **From sums to moments**, which is post-processing: the mean of a is its sum over n, the mean
    of :math:`a^2` is one minus the sum of s over n, both cut to where they can be; the variance
    is their difference as usual, at least the spread of the noise in a mean and at most 1. A
    column whose variance drowns in noise is so scaled as its bounds allow at worst.

    Examples
    --------
    >>> import numpy as np
    >>> from skfhe import DPStandardScaler
    >>> X = np.random.default_rng(0).normal(50, 5, size=(10_000, 2))
    >>> scaler = DPStandardScaler(epsilon=1.0, bounds=(0, 100)).fit(X)
    >>> bool(np.all(np.abs(scaler.mean_ - 50) < 2))
    True
    """

    _parameter_constraints: dict = {
        "epsilon": [Real],
        "delta": [Real],
        "bounds": ["array-like", Mapping],
        "ledger": [PrivacyLedger, None],
        "neighboring": [str],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        epsilon=0.1,
        delta=1e-6,
        *,
        bounds=(-1.0, 1.0),
        ledger=None,
        neighboring="add_remove",
        random_state=None,
    ):
        self.epsilon = epsilon
        self.delta = delta
        self.bounds = bounds
        self.ledger = ledger
        self.neighboring = neighboring
        self.random_state = random_state

    def fit(self, X, y=None):
        """Release means and variances.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, dense.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If a parameter is out of range, bounds are missing, not finite or out of order, or X
            has NaN or infinite values. The ledger is not debited then.
        TypeError
            If X is sparse: centred columns would not be.
        BudgetExceeded
            If the ledger does not pay; nothing is released then.
        """
        self._validate_params()
        if self.neighboring not in RELATION_FACTOR:
            raise ValueError(
                f"neighboring must be one of {sorted(RELATION_FACTOR)}, got {self.neighboring!r}."
            )
        X = validate_data(self, X, dtype=np.float64)
        n_samples, n_features = X.shape
        names = getattr(self, "feature_names_in_", None)
        low, high = column_bounds(self.bounds, n_features, names)
        mechanism = GaussianMechanism.calibrate(
            2 * n_features,
            RELATION_FACTOR[self.neighboring] * math.sqrt(n_features),
            self.epsilon,
            self.delta,
        )
        random_bytes = noise_source(self.random_state, "scaler")
        centre, half = low / 2 + high / 2, high / 2 - low / 2
        released = mechanism.release(
            moment_sums((np.clip(X, low, high) - centre) / half),
            mechanism=type(self).__name__,
            neighboring=self.neighboring,
            ledger=self.ledger,
            random_bytes=random_bytes,
        )
        first, second = released[:n_features] / n_samples, released[n_features:] / n_samples
        mean = np.clip(first, -1, 1)
        floor = min(1.0, mechanism.spread / n_samples)
        variance = np.clip(np.clip(1 - second, 0, 1) - mean**2, floor, 1)
        self.low_, self.high_ = low, high
        self.mean_ = centre + half * mean
        self.scale_ = half * np.sqrt(variance)
        self.var_ = self.scale_**2
        guaranteed = random_bytes is os.urandom
        self.privacy_ = PrivacyGuarantee(
            epsilon=float(self.epsilon) if guaranteed else math.inf,
            delta=float(self.delta),
            nominal_epsilon=float(self.epsilon),
            noise_multiplier=mechanism.noise_multiplier,
            squared_mu=mechanism.squared_mu,
            sensitivity=mechanism.sensitivity,
            n_releases=mechanism.n_releases,
            neighboring=self.neighboring,
            guaranteed=guaranteed,
            error_probability=mechanism.error_probability,
            discreteness=mechanism.discreteness,
        )
        return self

    def transform(self, X):
        """Clip to the bounds, subtract the mean and divide by the scale.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, dense.

        Returns
        -------
        scaled : ndarray of shape (n_samples, n_features)
            Columns of mean about 0 and variance about 1.
        """
        check_is_fitted(self, "mean_")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return (np.clip(X, self.low_, self.high_) - self.mean_) / self.scale_


def moment_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum a and 1 - a^2 over rows, exactly; their sensitivity is in `DPStandardScaler`'s notes.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_features)
        Between -1 and 1 up to rounding.

    Returns
    -------
    sums : ndarray of shape (2 * n_features,)
        First the sums of a, then those of 1 - a^2. Secret.
    """
    unit = 2.0**-_BITS
    a = np.trunc(np.clip(values, -1, 1) / unit) * unit
    s = np.floor((1 - a**2) / unit) * unit
    return np.concatenate([a.sum(axis=0), s.sum(axis=0)])
