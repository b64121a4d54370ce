"""Slot layouts: of rows and classes, and of a network's hidden units."""

from .network import NetworkLayout
from .rows import Layout

__all__ = ["Layout", "NetworkLayout"]
