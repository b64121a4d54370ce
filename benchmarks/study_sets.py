"""Training and test rows for the study of the defaults: real sets, capped, and synthetic ones."""

from __future__ import annotations

from functools import lru_cache

import datasets
import numpy as np
from sklearn.datasets import (
    load_iris,
    load_wine,
    make_circles,
    make_classification,
    make_gaussian_quantiles,
)
from sklearn.model_selection import train_test_split

MOST_ROWS = 4000
# Public bounds: a flower's centimetres, and the usual ranges of a wine's analysis.
_IRIS = (np.zeros(4), np.array([10.0, 6.0, 10.0, 5.0]))
_WINE = (
    np.array([10, 0, 1, 8, 60, 0, 0, 0, 0, 0, 0, 1, 200.0]),
    np.array([16, 7, 4, 35, 180, 5, 6, 1, 5, 15, 2, 5, 2000.0]),
)
# Rows, columns, informative ones, classes.
_SYNTHETIC = {
    "made_600x8": (600, 8, 5, 2),
    "made_5000x50": (5000, 50, 10, 2),
    "made_3000x20x5": (3000, 20, 10, 5),
}
REAL = [
    *("breast_cancer", "lbw", "pcs", "uis", "edin", "digits"),
    *("nhanes3", "credit", "adult", "a9a", "mnist38"),
]
SMALL = ["wine", "iris"]
# No linear model can tell these classes apart.
CURVED = ["circles", "quantiles"]
LINEAR_STUDY = [*REAL, *_SYNTHETIC, *SMALL]
NETWORK_STUDY = [
    *("breast_cancer", "pcs", "uis", "edin", "digits", "nhanes3", "credit", "adult", "mnist38"),
    *("made_5000x50", "made_3000x20x5", *CURVED),
]
NAMES = [*LINEAR_STUDY, *CURVED]


def load(name: str, seed: int) -> datasets.Split:
    """A stratified 80/20 split, or a sample of training rows where the set has a test split.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    seed : int
        Of the split and of the sample.

    Returns
    -------
    split : Split
        At most `MOST_ROWS` rows for training, and for testing; columns within [-1, 1].
    """
    if name in REAL:
        split = datasets.load(name, seed)
    else:
        X, y = _made(name)
        split = datasets.Split(
            *train_test_split(X, y, test_size=0.2, random_state=seed, stratify=y)
        )
    split = split._replace(X_test=split.X_test[:MOST_ROWS], y_test=split.y_test[:MOST_ROWS])
    if len(split.y_train) <= MOST_ROWS:
        return split
    chosen, _ = train_test_split(
        np.arange(len(split.y_train)),
        train_size=MOST_ROWS,
        random_state=seed,
        stratify=split.y_train,
    )
    return split._replace(X_train=split.X_train[chosen], y_train=split.y_train[chosen])


@lru_cache(maxsize=2)
def _made(name: str) -> tuple[np.ndarray, np.ndarray]:
    if name in _SYNTHETIC:
        rows, columns, informative, classes = _SYNTHETIC[name]
        X, y = make_classification(
            rows,
            columns,
            n_informative=informative,
            n_classes=classes,
            class_sep=1.5,
            flip_y=0.02,
            random_state=0,
        )
        return np.clip(X / 6, -1, 1), y
    if name in CURVED:
        return _curved(name)
    X, y = (load_iris if name == "iris" else load_wine)(return_X_y=True)
    low, high = _IRIS if name == "iris" else _WINE
    return np.clip(2 * (X - low) / (high - low) - 1, -1, 1), y


def _curved(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A ring in two of four columns; shells of a normal distribution in five."""
    if name == "circles":
        X, y = make_circles(5000, noise=0.1, factor=0.5, random_state=0)
        X = np.hstack([X, np.random.default_rng(0).normal(0, 0.5, size=X.shape)])
        return np.clip(X / 2, -1, 1), y
    X, y = make_gaussian_quantiles(n_samples=5000, n_features=5, n_classes=2, random_state=0)
    return np.clip(X / 4, -1, 1), y
