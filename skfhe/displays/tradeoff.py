"""What privacy costs in accuracy, on data that needs none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import StratifiedShuffleSplit, check_cv, cross_val_score

from .._base import EncryptedDPClassifier
from ..preprocessing import DPStandardScaler
from ._common import GRID, GUIDE, panels, pyplot

EPSILONS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


class TradeoffDisplay:
    """Accuracy against epsilon, with its spread over fits.

    **Public or synthetic data only.** Every fit is simulated, and the scores are exact functions
    of the rows and labels: nothing here protects them, and no ledger is charged. To choose
    epsilon for private data, use public data that resembles it.

    Parameters
    ----------
    epsilons : array-like of shape (n_epsilons,)
        Guarantees.
    scores : array-like of shape (n_epsilons, n_fits)
        Scores of every fit.
    score_name : str, default="accuracy"
        What is scored.
    baseline_scores : array-like of shape (n_fits,), default=None
        Scores of a model without privacy.

    Attributes
    ----------
    ax_ : Axes
        The axes.
    figure_ : Figure
        The figure.
    errorbar_ : ErrorbarContainer
        Mean and standard deviation over fits.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from skfhe import EncryptedDPLogisticRegression, TradeoffDisplay
    >>> X, y = make_classification(200, 4, random_state=0)
    >>> model = EncryptedDPLogisticRegression(degree=1, data_norm=4.0)
    >>> display = TradeoffDisplay.from_estimator(model, X, y, epsilons=(1, 4), n_repeats=2)
    >>> display.scores.shape
    (2, 2)
    """

    def __init__(
        self,
        epsilons: ArrayLike,
        scores: ArrayLike,
        *,
        score_name: str = "accuracy",
        baseline_scores: ArrayLike | None = None,
    ):
        self.epsilons = np.asarray(epsilons, dtype=float)
        self.scores = np.asarray(scores, dtype=float)
        self.score_name = score_name
        self.baseline_scores = None if baseline_scores is None else np.asarray(baseline_scores)

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X,
        y,
        *,
        epsilons: Sequence[float] = EPSILONS,
        cv=None,
        n_repeats: int = 5,
        scoring=None,
        baseline: BaseEstimator | None = None,
        n_jobs: int | None = None,
        ax=None,
    ):
        """Fit clones on public data, simulated and with fresh noise, and draw their scores.

        Parameters
        ----------
        estimator : EncryptedDPLogisticRegression or Pipeline
            Its clones get each epsilon and backend="simulated". They have no ledger anywhere, and
            their private parts, scalers too, no random_state. The estimator itself stays as it
            is, and so does the epsilon of a scaler.
        X : array-like of shape (n_samples, n_features)
            Rows that are public or synthetic: they are not protected.
        y : array-like of shape (n_samples,)
            Their labels, public too.
        epsilons : sequence of float, default=(0.25, 0.5, 1, 2, 4, 8)
            Guarantees to compare.
        cv : int, splitter or iterable, default=None
            How to split, as in scikit-learn. None holds out another random quarter in each repeat.
        n_repeats : int, default=5
            Fits for each epsilon and, where cv is given, for each split.
        scoring : str or callable, default=None
            As in scikit-learn; None is the estimator's own score, accuracy.
        baseline : estimator, default=None
            A model without privacy, such as LogisticRegression, scored on the same splits.
        n_jobs : int, default=None
            Fits at a time, as in scikit-learn.
        ax : Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : TradeoffDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has no classifier of this package.
        """
        pyplot(cls)
        if cv is None:
            cv, repeats = StratifiedShuffleSplit(n_repeats, test_size=0.25), 1
        else:
            cv, repeats = check_cv(cv, y, classifier=True), n_repeats
        splits = list(cv.split(X, y)) * repeats
        how = {"scoring": scoring, "n_jobs": n_jobs, "error_score": "raise"}
        candidates = [_simulated(estimator, epsilon) for epsilon in epsilons]
        return cls(
            epsilons,
            [cross_val_score(model, X, y, cv=splits, **how) for model in candidates],
            score_name=_name(scoring),
            baseline_scores=None
            if baseline is None
            else cross_val_score(baseline, X, y, cv=splits, **how),
        ).plot(ax)

    def plot(self, ax=None, **errorbar_kw):
        """Draw.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw; None makes a figure.
        **errorbar_kw : object
            More for `matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        display : TradeoffDisplay
            This display.
        """
        (self.ax_,) = panels(self, ax, (1, 1), (6.4, 4.4))
        self.figure_ = self.ax_.figure
        style = {"fmt": "o-", "capsize": 3, "markersize": 5, "label": "private (simulated)"}
        self.errorbar_ = self.ax_.errorbar(
            self.epsilons, self.scores.mean(axis=1), self.scores.std(axis=1), **style | errorbar_kw
        )
        if self.baseline_scores is not None:
            self.ax_.axhline(np.mean(self.baseline_scores), label="without privacy", **GUIDE)
        self.ax_.set_xscale("log", base=2)
        self.ax_.set_xticks(self.epsilons, [f"{epsilon:g}" for epsilon in self.epsilons])
        self.ax_.set_xticks([], minor=True)
        self.ax_.set(xlabel="epsilon", ylabel=self.score_name)
        self.ax_.set_title(
            f"Mean and standard deviation of {self.scores.shape[1]} fits on public data",
            fontsize=10,
        )
        self.ax_.grid(**GRID)
        self.ax_.legend()
        return self


def _simulated(estimator: BaseEstimator, epsilon: float) -> BaseEstimator:
    """A clone for one epsilon whose private classifiers, however nested, are simulated."""
    model = clone(estimator)
    names = model.get_params()
    wanted = {"epsilon": epsilon, "backend": "simulated"}
    owners = [n.removesuffix("backend") for n in names if n.split("__")[-1] == "backend"]
    settings = {o + k: v for o in owners for k, v in wanted.items() if o + k in names}
    settings |= {n: None for n in names if n.split("__")[-1] == "ledger"}
    parts = {"": model, **{f"{n}__": value for n, value in names.items()}}
    private = (EncryptedDPClassifier, DPStandardScaler)
    settings |= {f"{p}random_state": None for p, one in parts.items() if isinstance(one, private)}
    if not owners:
        raise TypeError(
            "estimator must be a classifier of skfhe or contain one, got "
            f"{type(estimator).__name__} without a parameter 'backend'."
        )
    return model.set_params(**settings)


def _name(scoring) -> str:
    if scoring is None:
        return "accuracy"
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score")
    return name.replace("_", " ")
