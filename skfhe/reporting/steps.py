"""Which transformers learn nothing from the rows."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

from sklearn.utils import get_tags


def _given_categories(encoder: Any) -> bool:
    limits = (getattr(encoder, "min_frequency", None), getattr(encoder, "max_categories", None))
    return not isinstance(encoder.categories, str) and limits == (None, None)


def _given_size(projection: Any) -> bool:
    return isinstance(projection.n_components, Integral)


def _given_value(imputer: Any) -> bool:
    constant = imputer.strategy == "constant" and imputer.fill_value is not None
    return constant and imputer.keep_empty_features and not imputer.add_indicator


def _given_knots(splines: Any) -> bool:
    return not isinstance(splines.knots, str)


# Transformers that raise an error at values they were not told of, unless a parameter is set.
_RAISING: dict[str, tuple[str, str]] = {
    "sklearn.OneHotEncoder": ("handle_unknown", "handle_unknown='ignore'"),
    "sklearn.OrdinalEncoder": ("handle_unknown", "handle_unknown='use_encoded_value'"),
    "sklearn.SplineTransformer": ("extrapolation", "extrapolation='constant'"),
}

# Transformers that are fitted, and when their parameters leave nothing to learn but the shape.
_FREE: dict[str, Callable[[Any], bool]] = {
    "skfhe.BoundsScaler": lambda _: True,
    "sklearn.PolynomialFeatures": lambda _: True,
    "sklearn.OneHotEncoder": _given_categories,
    "sklearn.OrdinalEncoder": _given_categories,
    "sklearn.SplineTransformer": _given_knots,
    "sklearn.GaussianRandomProjection": _given_size,
    "sklearn.SparseRandomProjection": _given_size,
    "sklearn.SimpleImputer": _given_value,
}


def learns_nothing(step: Any) -> bool:
    """Whether fitting a step uses no more than the shape and the column names of the rows."""
    free = _FREE.get(_kind(step))
    if free is not None:
        return free(step)
    tagged = hasattr(step, "transform") and hasattr(step, "__sklearn_tags__")
    return tagged and not get_tags(step).requires_fit


def may_fail(step: Any) -> str | None:
    """How to set a step that would learn nothing, but fails at values it was not told of."""
    parameter, remedy = _RAISING.get(_kind(step), ("", ""))
    raises = parameter and getattr(step, parameter) == "error"
    return remedy if raises and _FREE[_kind(step)](step) else None


def _kind(step: Any) -> str:
    return f"{type(step).__module__.split('.')[0]}.{type(step).__name__}"
