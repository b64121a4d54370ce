"""What a run sends and keeps, in numbers of ciphertexts and keys."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Traffic:
    """How many keys and ciphertexts a layout needs.

    Attributes
    ----------
    keys : int
        Evaluation keys: one per Galois element, and one to relinearise with.
    weights : int
        Ciphertexts of one step's weights.
    rows : int
        Ciphertexts of all rows.
    own : int, default=0
        Chunks of rows whose own products are kept (`skfhe.circuits.paired`).
    """

    keys: int
    weights: int
    rows: int
    own: int = 0
