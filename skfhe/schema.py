"""What the columns of a table are called, and which labels are the classes."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Label = str | int | float | bool
_KINDS: dict[type, str] = {str: "text", bool: "booleans", int: "numbers", float: "numbers"}


@dataclass(frozen=True)
class Schema:
    """Columns of a table and labels of the classes; all of it public.

    Bounds and classes come from the field's knowledge, never from looking at rows.

    Attributes
    ----------
    features : tuple of str
        Names of the columns that are features, in their order.
    label : str
        Name of the column that holds the labels.
    classes : tuple of str, int, float or bool
        The labels in the order of class indices, two or more: all text, all numbers or all
        booleans.
    low, high : tuple of float
        Public bounds of every feature. Rows are clipped to them and scaled to [-1, 1], as
        `skfhe.BoundsScaler` does. Both empty where rows are taken as they are.

    Raises
    ------
    ValueError
        If a name or a class repeats, or bounds are not finite, out of order or not one per
        feature.

    Examples
    --------
    >>> from skfhe import Schema
    >>> schema = Schema.read('''{
    ...     "features": ["age", "weight"], "label": "sick", "classes": ["no", "yes"],
    ...     "bounds": {"age": [0, 120], "weight": [0, 200]}
    ... }''')
    >>> schema.features, schema.high
    (('age', 'weight'), (120.0, 200.0))
    """

    features: tuple[str, ...]
    label: str
    classes: tuple[Label, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self):
        for name in ("features", "classes", "low", "high"):
            if not isinstance(getattr(self, name), tuple):
                raise ValueError(f"a schema's {name} must be a tuple; Schema.read makes it one.")
        _check_names(self.features, self.label)
        _check_classes(self.classes)
        _check_bounds(self.features, self.low, self.high)

    @classmethod
    def read(cls, text: str | bytes) -> Schema:
        """Read a schema that a person wrote.

        Parameters
        ----------
        text : str or bytes
            JSON: ``{"features": ["age", ...], "label": "sick", "classes": ["no", "yes"],
            "bounds": {"age": [0, 120], ...}}``. Bounds are left out where rows are scaled
            already; else every feature has them.

        Returns
        -------
        schema : Schema
            What it says.

        Raises
        ------
        ValueError
            If the text is no such JSON, has unknown or repeated keys, or says what no schema can.
        """
        try:
            content = json.loads(text, object_pairs_hook=_without_repeats)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"a schema must be JSON: {error}") from None
        _check_keys(content)
        features, bounds = content["features"], content.get("bounds")
        for name in ("features", "classes"):
            if not isinstance(content[name], list):
                raise ValueError(f"a schema's {name} must be a list, got {content[name]!r}.")
        _check_names(tuple(features), content["label"])
        pairs = [] if bounds is None else _pairs(features, bounds)
        return cls(
            features=tuple(features),
            label=content["label"],
            classes=tuple(content["classes"]),
            low=tuple(low for low, _ in pairs),
            high=tuple(high for _, high in pairs),
        )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, which would silently take the last of two values for one key."""
    _refuse_repeats("a schema's keys", (key for key, _ in pairs))
    return dict(pairs)


def _refuse_repeats(what: str, names: Iterable[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{what} must differ from each other, got {repeated[:5]} repeatedly.")


def _check_keys(content: Any) -> None:
    required = ["features", "label", "classes"]
    if not isinstance(content, dict):
        raise ValueError(f"a schema must be a JSON object with the keys {required}.")
    missing = [key for key in required if key not in content]
    unknown = [key for key in content if key not in (*required, "bounds")]
    if missing or unknown:
        raise ValueError(
            f"a schema has the keys {required} and, optionally, 'bounds'; missing: {missing}, "
            f"unknown: {unknown}."
        )


def _check_names(features: tuple, label: Any) -> None:
    names = (*features, label)
    if not features or not all(isinstance(name, str) and name for name in names):
        raise ValueError(
            "a schema's features must be one name of a column or more, and its label a name too."
        )
    _refuse_repeats("a schema's features and label", names)


def _check_classes(classes: tuple) -> None:
    kinds = {_KINDS.get(type(one)) for one in classes}
    finite = all(math.isfinite(one) for one in classes if type(one) is float)
    if len(classes) < 2 or len(kinds) > 1 or None in kinds or not finite:
        raise ValueError(
            "a schema's classes must be two labels or more: all text, all finite numbers or all "
            f"booleans, got {classes!r}."
        )
    _refuse_repeats("a schema's classes", classes)


def _check_bounds(features: tuple[str, ...], low: tuple, high: tuple) -> None:
    if not low and not high:
        return
    if not len(low) == len(high) == len(features):
        raise ValueError(
            f"a schema's bounds must be one low and one high for each of {len(features)} "
            f"features, or none at all, got {len(low)} and {len(high)}."
        )
    for name, first, last in zip(features, low, high, strict=True):
        if not (isinstance(first, float) and isinstance(last, float) and _ordered(first, last)):
            raise ValueError(
                "a schema's bounds must be finite floats with low < high, got "
                f"[{first!r}, {last!r}] for {name!r}; a constant column can be left out."
            )


def _ordered(low: float, high: float) -> bool:
    """Whether columns can be scaled by these: a width that overflows is infinite."""
    return low < high and math.isfinite(high - low)


def _pairs(features: list[str], bounds: Any) -> list[tuple[float, float]]:
    """Bounds in the order of the features."""
    if not isinstance(bounds, dict):
        raise ValueError("a schema's bounds must be an object: {name: [low, high], ...}.")
    missing = [name for name in features if name not in bounds]
    unknown = [name for name in bounds if name not in features]
    if missing or unknown:
        raise ValueError(
            "a schema's bounds must be those of its features, or left out; missing: "
            f"{missing}, no features: {unknown}."
        )
    return [_pair(name, bounds[name]) for name in features]


def _pair(name: str, pair: Any) -> tuple[float, float]:
    numbers = isinstance(pair, list) and [one for one in pair if type(one) in (int, float)]
    if not numbers or not len(numbers) == len(pair) == 2:
        raise ValueError(
            f"a schema's bounds must be [low, high], two numbers, got {pair!r} for {name!r}."
        )
    try:
        return float(numbers[0]), float(numbers[1])
    except OverflowError:
        raise ValueError(f"a schema's bounds must be finite, those of {name!r} are not.") from None
