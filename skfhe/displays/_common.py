"""What displays share: axes to draw on, and the classifier inside a pipeline."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._base import EncryptedDPClassifier

GUIDE = {"color": "gray", "linewidth": 1, "linestyle": "--"}
GRID = {"color": "gray", "alpha": 0.25, "linewidth": 0.8}


def pyplot(display: type) -> ModuleType:
    """matplotlib.pyplot, or an error that names the extra."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{display.__name__} needs matplotlib: pip install skfhe[viz]."
        ) from error
    return plt


def panels(
    display: object, ax: Any, shape: tuple[int, int], size: tuple[float, float], **layout
) -> NDArray:
    """The axes of a display's panels, row by row: those given, or those of a new figure.

    Parameters
    ----------
    display : object
        Named in errors.
    ax : Axes, sequence of Axes or None
        What the caller of `plot` gave.
    shape : tuple of int
        Rows and columns of panels.
    size : tuple of float
        Inches of a new figure.
    **layout
        More for `matplotlib.pyplot.subplots`.
    """
    plt = pyplot(type(display))
    if ax is None:
        _, ax = plt.subplots(*shape, figsize=size, layout="constrained", **layout)
    axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if len(axes) != shape[0] * shape[1]:
        raise ValueError(
            f"{type(display).__name__} draws {shape[0] * shape[1]} panels: ax must be as many "
            f"matplotlib Axes, got {len(axes)}; leave ax=None for a new figure."
        )
    return axes


def fitted_classifier(estimator: Any) -> EncryptedDPClassifier:
    """The fitted classifier, out of a pipeline too."""
    if isinstance(estimator, Pipeline):
        estimator = estimator[-1]
    if not isinstance(estimator, EncryptedDPClassifier):
        raise TypeError(
            "estimator must be a fitted classifier of skfhe or a pipeline that ends with one, "
            f"got {type(estimator).__name__}."
        )
    check_is_fitted(estimator)
    return estimator
