"""What the kind of model decides at each party."""

from __future__ import annotations

from ...plan import TrainingPlan
from .base import Certified, Model, Plain
from .levelled import LevelledModel
from .linear import LinearModel
from .network import NetworkModel, ReleasedNetwork

__all__ = [
    "Certified",
    "LevelledModel",
    "LinearModel",
    "Model",
    "NetworkModel",
    "Plain",
    "ReleasedNetwork",
    "model_of",
]


def model_of(plan: TrainingPlan) -> Model:
    """The model that a plan trains."""
    if plan.rounds:
        return LevelledModel(plan)
    return NetworkModel(plan) if plan.problem.hidden_units else LinearModel(plan)
