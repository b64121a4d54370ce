"""Computes training plans from public quantities. May see privacy and crypto; sees no data."""

from .defaults import Request
from .planner import make_plan

__all__ = ["Request", "make_plan"]
