"""Slot layouts: of rows and classes, and of a network's hidden units."""

from collections.abc import Iterator

from ..plan import Encryption, Problem
from .network import NetworkLayout
from .rows import Layout

__all__ = ["Layout", "NetworkLayout", "fits", "layouts", "output_norm"]


def fits(problem: Problem, encryption: Encryption, n_owners: int) -> bool:
    """Whether a plan's layout is one: powers of two, room for a row and for all that is merged."""
    blocks, units, slots = (
        encryption.feature_blocks,
        encryption.unit_block,
        encryption.poly_modulus_degree // 2,
    )
    network = problem.hidden_units > 0
    if blocks & (blocks - 1) or units & (units - 1) or (units > 0) != network:
        return False
    if network:
        layout = NetworkLayout.of(problem, encryption, n_owners)
        rows, n_items = layout.rows, layout.n_items
    else:
        rows = Layout.of(problem, encryption, n_owners)
        n_items = rows.groups * rows.feature_blocks
    return blocks * rows.class_blocks <= slots and n_items <= rows.class_span


def layouts(degree: int, problem: Problem, n_owners: int) -> Iterator[Layout]:
    """A linear model's layouts: every number of feature blocks that a ring has room for."""
    shape, blocks = (problem.n_samples, problem.n_columns, problem.n_outputs), 1
    while blocks == 1 or blocks < problem.n_columns:
        layout = Layout(degree, *shape, blocks, n_owners)
        if layout.rows_per_chunk >= 1 and layout.groups * blocks <= layout.class_span:
            yield layout
        blocks *= 2


def output_norm(problem: Problem, encryption: Encryption, n_owners: int) -> float:
    """L2 norm of a plan's sums over that of their scaled coefficients."""
    if problem.hidden_units:
        return NetworkLayout.of(problem, encryption, n_owners).rows.output_norm
    return Layout.of(problem, encryption, n_owners).output_norm
