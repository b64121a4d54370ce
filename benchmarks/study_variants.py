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
    kind : {"estimator", "objective", "discriminant"}
        Whether something takes the estimator's place (`objective`), or the optimiser's
        (`discriminant`).
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "estimator"

    def applies(self, n_classes: int) -> bool:
        """Whether it is made for so many classes."""
        if self.kind == "objective":
            return n_classes == 2
        return self.kind == "estimator" or n_classes > 2


def _times(name: str, factor: float) -> Variant:
    """A constant, or both of a pair, times a factor."""
    value = np.multiply(getattr(defaults, name), factor)
    value = float(value) if value.ndim == 0 else tuple(map(float, value))
    return Variant(f"{name} x {factor:g}", constants={name: value})


def _is(name: str, value: Any) -> Variant:
    return Variant(f"{name} {value}", constants={name: value})


def _share(name: str, share: float) -> Variant:
    shares = {**defaults.SHARES, name: share}
    return Variant(f"share of {name} {share}", constants={"SHARES": shares})


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
    *(_share(name, share) for name in ("moments", "curvature") for share in (0.05, 0.2)),
    _times("RADIUS", 0.7),
    _times("RADIUS", 1.4),
    *(_is("DAMPING", value) for value in (0.5, 1.0, 2.0)),
    _steps(0.5),
    _steps(2.0),
    _is("LEARNING_RATE", 1.5),
    *(_is("MOMENTUM", value) for value in (0.0, 0.7)),
    *(_is("AVERAGING", value) for value in (1.0, 0.25)),
    _times("INTERCEPT", 0.5),
    _times("INTERCEPT", 2.0),
    *(Variant(f"weight_norm {value}", {"weight_norm": value}) for value in (5, 10, 40)),
    *(Variant(f"degree {value}", {"degree": value}) for value in (1, 3, 7, 15)),
    Variant("least_squares", {"approximation": "least_squares"}),
    Variant("monotone", {"approximation": "monotone"}),
    Variant("one release", {"max_iter": 1, "degree": 1}),
    Variant(
        "discriminant",
        {"max_iter": 1, "degree": 1},
        {"SHARES": {"moments": 0.1, "curvature": 0.3}},
        kind="discriminant",
    ),
    Variant("objective perturbation", kind="objective"),
    Variant("the same, not standardised", {"standardize": False}, kind="objective"),
]
