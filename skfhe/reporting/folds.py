"""Sizes of the folds of cross-validation, and whether labels decide who is in which."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import Any

import numpy as np
from sklearn.model_selection import check_cv

from .survey import Place, Survey


def stratified(name: str) -> str:
    """The sentence about folds that are drawn by label."""
    return (
        f"The folds of {name} are stratified: one row's label decides on the folds of others, so "
        "a fit sees more than one row change. Use KFold(shuffle=True)."
    )


def fold_sizes(
    survey: Survey, cv: Any, place: Place, name: str, classifier: bool = True
) -> Counter[tuple[int, int]]:
    """How many folds there are of each size, from dummy rows with balanced labels.

    Parameters
    ----------
    survey : Survey
        Is told of stratified folds, and gives up on splitters that need more than this.
    cv : int, splitter, iterable of splits or None
        As the meta-estimator was given it.
    place : Place
        Of the meta-estimator.
    name : str
        Its name.
    classifier : bool
        Whether it stratifies where `cv` is a number.

    Returns
    -------
    sizes : Counter
        Number of folds by (training rows, held-out rows).
    """
    if hasattr(cv, "__next__"):
        survey.give_up(
            f"The splits of {place.names(name)} can be gone through only once, so they are not "
            "counted: give cv a list or a splitter."
        )
        return Counter()
    y = np.arange(place.rows) % survey.classes
    rows = np.broadcast_to(0.0, (place.rows, survey.n_features))
    splitter = check_cv(deepcopy(cv), y, classifier=classifier)
    if "Stratified" in type(splitter).__name__:
        survey.note(stratified(place.names(name)))
    try:
        return Counter((len(train), len(test)) for train, test in splitter.split(rows, y))
    except (ValueError, TypeError) as error:
        survey.give_up(f"The folds of {place.names(name)} cannot be counted: {error}")
        return Counter()
