"""Slot layouts: of rows and classes, and of a network's hidden units."""

from ..plan import Encryption, Problem
from .network import NetworkLayout
from .rows import Layout

__all__ = ["Layout", "NetworkLayout", "output_norm"]


def output_norm(problem: Problem, encryption: Encryption, n_owners: int) -> float:
    """L2 norm of a plan's sums over that of their scaled coefficients."""
    if problem.hidden_units:
        return NetworkLayout.of(problem, encryption, n_owners).rows.output_norm
    return Layout.of(problem, encryption, n_owners).output_norm
