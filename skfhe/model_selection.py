"""Scores of held-out rows that are released with differential privacy."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .privacy.ledger import PrivacyLedger
from .privacy.mechanism import GaussianMechanism
from .privacy.noise import noise_source
from .privacy.sensitivity import RELATION_FACTOR


@dataclass(frozen=True)
class PrivateScorer:
    """A scorer as scikit-learn calls it; made by `skfhe.private_scorer`.

    Attributes
    ----------
    epsilon, delta : float
        The guarantee of a single score.
    ledger : PrivacyLedger
        What every score is paid from.
    neighboring : {"add_remove", "replace_one"}, default="add_remove"
        The relation of the guarantee.
    random_state : int, RandomState or None, default=None
        Seed of the noise, for tests.
    """

    epsilon: float
    delta: float
    ledger: PrivacyLedger
    neighboring: str = "add_remove"
    random_state: int | np.random.RandomState | None = None
    _mechanism: GaussianMechanism = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        mechanism = GaussianMechanism.calibrate(1, 1.0, self.epsilon, self.delta)
        object.__setattr__(self, "_mechanism", mechanism)

    def __call__(self, estimator, X, y) -> float:
        """Release the accuracy of a fitted classifier.

        Parameters
        ----------
        estimator : classifier
            Fitted, and private: what it predicts for a row must tell no more of the rows that it
            was trained on than has been paid for.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Held-out rows. Secret.
        y : array-like of shape (n_samples,)
            Their labels. Secret.

        Returns
        -------
        accuracy : float
            The noised count of correct predictions over n_samples, cut to [0, 1]. Public.

        Raises
        ------
        ValueError
            If there is not one prediction and one label per row. Nothing is debited then.
        BudgetExceeded
            If the ledger does not pay.
        """
        predicted, y = np.asarray(estimator.predict(X)), np.asarray(y)
        if y.ndim != 1 or predicted.shape != y.shape or not y.size:
            raise ValueError(
                "y must be one label per row and the estimator must predict one, got shapes "
                f"{y.shape} and {predicted.shape}."
            )
        (count,) = self._mechanism.release(
            [np.count_nonzero(predicted == y)],
            mechanism="private_scorer",
            neighboring=self.neighboring,
            ledger=self.ledger,
            random_bytes=noise_source(self.random_state, "score"),
        )
        return float(np.clip(count / y.size, 0.0, 1.0))


def private_scorer(
    epsilon: float,
    ledger: PrivacyLedger,
    delta: float | None = None,
    *,
    neighboring: str = "add_remove",
    random_state=None,
) -> PrivateScorer:
    """Make a scorer whose scores are differentially private accuracies.

    For ``scoring=`` of searches and of `cross_val_score`. Held-out rows are private rows too: a
    score without noise, and a choice made by it, tell of them whatever the models protect. A
    search over k candidates with f folds pays for k f scores (twice as many with
    ``return_train_score=True``, which successive halving has by default).

    Parameters
    ----------
    epsilon : float
        Of every single score, from 1e-6 to 100. The noise in an accuracy is about
        ``4 / (epsilon n_samples)`` at delta = 1e-5 and epsilon about 1.
    ledger : PrivacyLedger
        Debited by every score; on file where the search has worker processes.
    delta : float, default=None
        Of every single score; the ledger's if None.
    neighboring : {"add_remove", "replace_one"}, default="add_remove"
        The relation of the guarantee, the same as the estimators'.
    random_state : int, RandomState or None, default=None
        Seeds the noise for tests; there is no privacy guarantee then.

    Returns
    -------
    scorer : PrivateScorer
        ``scorer(estimator, X, y)`` releases an accuracy. It pickles.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If `ledger` is none.

    Notes
    -----
    **Sensitivity.** The models are functions of earlier releases, so given these a prediction
    depends on its own row alone, and each row adds 0 or 1 to the count of correct predictions. A
    row that is removed adds nothing, one that is replaced adds 0 or 1: the count changes by 1 at
    most under either relation. Rows of other folds do not enter. Clipping and division by the
    public n_samples are post-processing.

    **Domain.** Rows that the model accepts: finite, and without values that make a step of its
    pipeline raise an error. An error is told to whoever calls, and a score of NaN that a search
    makes of it is kept: either is a score that nobody has paid for, and one row decides on it.
    Settle this before, by the public domain of the columns.

    **Failures in a search.** scikit-learn turns an error of a scorer into a score of NaN and goes
    on; ``error_score="raise"`` ends the search when the budget does.

    Examples
    --------
    >>> from skfhe import PrivacyLedger, private_scorer
    >>> ledger = PrivacyLedger(epsilon=2.0, delta=1e-5)
    >>> scorer = private_scorer(0.1, ledger)
    """
    if not isinstance(ledger, PrivacyLedger):
        raise TypeError(
            f"ledger must be a PrivacyLedger, got {type(ledger).__name__}: a score that nobody "
            "counts is not private."
        )
    if neighboring not in RELATION_FACTOR:
        raise ValueError(
            f"neighboring must be one of {sorted(RELATION_FACTOR)}, got {neighboring!r}."
        )
    delta = ledger.delta if delta is None else delta
    return PrivateScorer(epsilon, delta, ledger, neighboring, random_state)
