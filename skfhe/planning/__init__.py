"""Computes training plans from public quantities. May see privacy and crypto; sees no data."""

from .checks import check_plan
from .defaults import Request
from .network_defaults import NetworkRequest
from .planner import make_plan

__all__ = ["NetworkRequest", "Request", "check_plan", "make_plan"]
