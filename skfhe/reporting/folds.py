"""Sizes of the folds of cross-validation, and whether labels decide who is in which."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    LeavePGroupsOut,
    LeavePOut,
    PredefinedSplit,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    TimeSeriesSplit,
    check_cv,
)

from .survey import Place, Survey

# These splitters look at the number of rows only. Subclasses may look at more.
_BLIND = (
    KFold, ShuffleSplit, RepeatedKFold, LeaveOneOut, LeavePOut, TimeSeriesSplit, PredefinedSplit,
)  # fmt: skip
_BY_GROUP = (GroupKFold, GroupShuffleSplit, LeaveOneGroupOut, LeavePGroupsOut)
_BY_LABEL = (
    StratifiedKFold, StratifiedShuffleSplit, StratifiedGroupKFold, RepeatedStratifiedKFold,
)  # fmt: skip


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
        Is told of folds that may depend on labels, and gives up on splitters that need more than
        this and on folds that have a row twice.
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
    whose = place.names(name)
    if hasattr(cv, "__next__"):
        survey.give_up(
            f"The splits of {whose} can be gone through only once, so they are not counted: give "
            "cv a list or a splitter."
        )
        return Counter()
    y = np.arange(place.rows) % survey.classes
    rows = np.broadcast_to(0.0, (place.rows, survey.n_features))
    splitter = check_cv(deepcopy(cv), y, classifier=classifier)
    blind = type(splitter) in _BLIND
    if not blind:
        survey.note(_source(splitter, whose, given=not hasattr(cv, "split")))
    try:
        splits = splitter.split(rows, y)
        if blind:
            return Counter((len(train), len(test)) for train, test in splits)
        sizes: Counter[tuple[int, int]] = Counter()
        for split in splits:
            train, test = (_members(part, place.rows) for part in split)
            if len(set(train)) < len(train) or len(set(test)) < len(test):
                survey.give_up(
                    f"A fold of {whose} has a row twice, which then counts twice in one fit or "
                    "score, and no guarantee here covers that: name every row once."
                )
                return Counter()
            sizes[len(train), len(test)] += 1
        return sizes
    except (ValueError, TypeError) as error:
        survey.give_up(f"The folds of {whose} cannot be counted: {error}")
        return Counter()


def _source(splitter: Any, whose: str, given: bool) -> str:
    """The sentence about a splitter that does not look at the number of rows only."""
    if isinstance(splitter, _BY_LABEL):
        return stratified(whose)
    if type(splitter) in _BY_GROUP:
        return (
            f"The folds of {whose} are drawn by group: the groups must be public, and not come "
            "from labels or rows."
        )
    if given:
        return (
            f"The folds of {whose} are given as lists of rows, which may have been made from "
            "labels: a splitter that looks at the number of rows only is KFold(shuffle=True)."
        )
    return (
        f"The folds of {whose} are made by {type(splitter).__name__}, which may look at rows and "
        "labels, and are counted as it makes them for zeros and balanced labels: use "
        "KFold(shuffle=True)."
    )


def _members(part: ArrayLike, n_samples: int) -> list[int]:
    """The rows that indices, which may be negative, or a mask select."""
    part = np.asarray(part)
    chosen = np.flatnonzero(part) if part.dtype == bool else part
    return np.where(chosen < 0, chosen + n_samples, chosen).tolist()
