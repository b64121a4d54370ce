"""What the study changes in the network's defaults: one constant or one option at a time."""

from __future__ import annotations

from typing import Any

from study_variants import Variant

from skfhe.planning import network_defaults


def _network(name: str, parameters: dict[str, Any] | None = None, **constants: Any) -> Variant:
    return Variant(name, parameters or {}, constants, kind="network")


def _times(name: str, factor: float) -> Variant:
    value = factor * getattr(network_defaults, name)
    return _network(f"{name} x {factor:g}", **{name: value})


def _share(name: str, factor: float) -> Variant:
    constants = ("SHARES", "DISCRIMINANT_SHARES")
    usual = {constant: getattr(network_defaults, constant) for constant in constants}
    changed = {c: {**shares, name: factor * shares[name]} for c, shares in usual.items()}
    return _network(f"share of {name} x {factor:g}", **changed)


NETWORK_VARIANTS = [
    _network("defaults"),
    _network("outputs fixed", OUTPUT_RATE=0.0),
    _network("Adam", {"solver": "adam"}),
    _network("as linear as possible", SPREAD=0.0, BIAS=0.0),
    _network("steps for several classes", {"solver": "steps"}),
    _network("8 units", {"hidden_layer_sizes": 8}),
    _network("32 units", {"hidden_layer_sizes": 32}),
    *(_times(name, factor) for name in ("OUTPUT_RATE", "HIDDEN_REACH") for factor in (0.5, 2.0)),
    *(_times(name, factor) for name in ("SPREAD", "BIAS", "CURVED") for factor in (0.5, 2.0)),
    *(_times(name, factor) for name in ("LEARNING_RATE", "MOST_RADIUS") for factor in (0.7, 1.4)),
    _network("degree 5", {"degree": 5}),
    _network("relu", {"activation": "relu", "degree": 2}),
    _network("softplus", {"activation": "softplus", "degree": 2}),
    _network("square, 32 units", {"activation": "square", "degree": 2, "hidden_layer_sizes": 32}),
    _network("logistic", {"activation": "logistic"}),
    _network("no momentum", MOMENTUM=0.0),
    _network("intercept 0.25", INTERCEPT=(0.25, 0.2)),
    *(_share(name, factor) for name in ("moments", "curvature") for factor in (0.5, 2.0)),
]
