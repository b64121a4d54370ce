"""Scaling of the benchmarks' columns by the public bounds in bounds.json.

A rule is `{"low", "high", "source"}`, optionally with `"log": true` (the logarithm of one plus the
value, of the bounds too) and `"to"`, the interval that low and high are mapped to, [-1, 1] unless
it says otherwise: counts and indicators, whose zero means that nothing is there, have [0, 1]. A
rule `{"categories", "source"}` makes one indicator per documented category, `{"order", "source"}`
one number in [-1, 1], the category's place in a public order. A set has one rule
for `"all"` of its columns, or `"columns"` by name; a column without a rule is left out.

No rule comes from the rows: bounds are what the field, the questionnaire or the file format says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PATH = Path(__file__).with_name("bounds.json")


@cache
def all_rules() -> dict:
    """Rules of all sets."""
    return json.loads(PATH.read_text())


def digest(name: str) -> str:
    """A hash of what decides the scaled columns of a set."""
    return hashlib.sha256(json.dumps(all_rules()[name]).encode()).hexdigest()


def scale(values: NDArray, rule: Mapping) -> NDArray:
    """Columns clipped to the bounds of one rule, and mapped to its interval."""
    low, high = rule["low"], rule["high"]
    values = np.clip(np.asarray(values, dtype=float), low, high)
    if rule.get("log", False):
        values, low, high = np.log1p(values), np.log1p(low), np.log1p(high)
    start, end = rule.get("to", (-1, 1))
    return start + (end - start) * (values - low) / (high - low)


def encode(name: str, X: NDArray, columns: list[str] | None = None) -> NDArray:
    """The rows of a set as numbers within public bounds.

    Parameters
    ----------
    name : str
        The set.
    X : ndarray of shape (n_samples, n_columns)
        Numbers, or text for columns with categories.
    columns : list of str, default=None
        Names of the columns of X; None takes those of the rules, in their order.
    """
    rules = all_rules()[name]
    if "all" in rules:
        return scale(X, rules["all"])
    named = dict(zip(columns or rules["columns"], X.T, strict=True))
    parts = []
    for column, rule in rules["columns"].items():
        if "order" in rule:
            places = {value: place for place, value in enumerate(rule["order"])}
            place = np.array([places[value] for value in named[column]], dtype=float)
            parts.append(place[:, None] * 2 / (len(places) - 1) - 1)
        elif "categories" in rule:
            parts.append((named[column][:, None] == np.array(rule["categories"])).astype(float))
        else:
            parts.append(scale(named[column], rule)[:, None])
    return np.hstack(parts)
