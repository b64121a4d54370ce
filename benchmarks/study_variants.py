"""What the study changes: one constant or one option of the defaults at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skfhe.planning import defaults


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes
    ----------
    name : str
        What it is called.
    parameters : mapping
        Of the estimator; of the comparator if that is one.
    constants : mapping
        Of `skfhe.planning.defaults`, replaced around planning and fitting.
    kind : {"estimator", "several", "objective", "network"}
        Whether objective perturbation takes the estimator's place, for two classes, or the
        variant is for several classes only, or a network, whose constants are those of
        `skfhe.planning.network_defaults`.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "estimator"

    def applies(self, n_classes: int) -> bool:
        """Whether it is made for so many classes."""
        return {"objective": n_classes == 2, "several": n_classes > 2}.get(self.kind, True)


def _times(name: str, factor: float) -> Variant:
    """A constant, or both of a pair, times a factor."""
    value = np.multiply(getattr(defaults, name), factor)
    value = float(value) if value.ndim == 0 else tuple(map(float, value))
    return Variant(f"{name} x {factor:g}", constants={name: value})


def _is(name: str, value: Any) -> Variant:
    return Variant(f"{name} {value}", constants={name: value})


def _share(name: str, factor: float) -> Variant:
    """For two classes and for more."""
    changed = {
        constant: {**getattr(defaults, constant), name: factor * getattr(defaults, constant)[name]}
        for constant in ("SHARES", "DISCRIMINANT_SHARES")
    }
    return Variant(f"share of {name} x {factor:g}", constants=changed)


def _radius(factor: float) -> Variant:
    names = ("RADIUS", "LEAST_RADIUS", "MOST_RADIUS")
    changed = {name: factor * getattr(defaults, name) for name in names}
    return Variant(f"RADIUS x {factor:g}", constants=changed)


def _steps(factor: float) -> Variant:
    names = ("STEPS", "LEAST_STEPS", "MOST_STEPS")
    changed = {name: factor * getattr(defaults, name) for name in names}
    return Variant(f"STEPS x {factor:g}", constants=changed)


DEFAULTS = Variant("defaults")
VARIANTS = [
    DEFAULTS,
    Variant("not standardised", {"standardize": False}),
    Variant("no preconditioner", {"precondition": False}),
    Variant("neither", {"standardize": False, "precondition": False}),
    _is("SCALE_COLUMNS", (False, False)),
    _is("SCALE_COLUMNS", (True, True)),
    *(_share(name, share) for name in ("moments", "curvature") for share in (0.5, 2.0)),
    *(_radius(factor) for factor in (0.7, 1.4)),
    *(_times("DAMPING", factor) for factor in (0.6, 1.25, 2.5)),
    *(_times("DISCRIMINANT_DAMPING", factor) for factor in (0.5, 2.0)),
    _steps(0.5),
    _steps(2.0),
    _is("LEARNING_RATE", 1.5),
    *(_is("MOMENTUM", value) for value in ((0.0, 0.0), (0.7, 0.4))),
    *(_is("AVERAGING", value) for value in (1.0, 0.25)),
    _times("INTERCEPT", 0.5),
    _times("INTERCEPT", 2.0),
    *(Variant(f"weight_norm {value}", {"weight_norm": value}) for value in (5, 10, 40)),
    *(Variant(f"degree {value}", {"degree": value}) for value in (1, 3, 7, 15)),
    Variant("least_squares", {"approximation": "least_squares"}),
    Variant("monotone", {"approximation": "monotone"}),
    Variant("one release", {"max_iter": 1, "degree": 1}),
    Variant("steps", {"solver": "steps"}, kind="several"),
    Variant("discriminant", {"solver": "discriminant"}, kind="several"),
    Variant("objective perturbation", kind="objective"),
    Variant("the same, not standardised", {"standardize": False}, kind="objective"),
]
