"""How a network with one hidden layer sits in plaintexts.

Hidden units take the place that classes have in `skfhe.packing.rows`: slot (row, unit) of a chunk
is C row + unit, so that one product with the encrypted rows gives C units their margins, and one
evaluation of the activation serves them all. More than C units take several ciphertexts, which
share the rows.

What belongs to a row and an output sits in the row's slot of unit 0. A row's sum over its units
is a *window sum*: rotations by 1, 2, 4, ... leave it there, and in all other slots sums that
straddle two rows; these are masked before anything else is made of them. The way back, from unit
0 to all units, is the same rotations the other way round, and exact, as all other slots are zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..plan import Encryption, Problem
from .rows import Layout

Slots = NDArray[np.complex128]


@dataclass(frozen=True)
class NetworkLayout:
    """Where values sit.

    Parameters
    ----------
    rows : Layout
        Of the rows and their columns, with C units of a ciphertext in the place of outputs.
    n_units : int
        h, the hidden units.
    n_outputs : int
        K: one for two classes, one per class for more.
    """

    rows: Layout
    n_units: int
    n_outputs: int

    @classmethod
    def of(cls, problem: Problem, encryption: Encryption, n_owners: int) -> NetworkLayout:
        """The layout that a plan fixes."""
        rows = Layout(
            encryption.poly_modulus_degree,
            problem.n_samples,
            problem.n_columns,
            encryption.unit_block,
            encryption.feature_blocks,
            n_owners,
        )
        return cls(rows, problem.hidden_units, problem.n_outputs)

    @property
    def block(self) -> int:
        """C: units of a ciphertext, a power of two."""
        return self.rows.class_blocks

    @property
    def unit_groups(self) -> int:
        """Ciphertexts that hold one value of all units of a chunk of rows."""
        return -(-self.n_units // self.block)

    @property
    def n_items(self) -> int:
        """What a step merges: per group of units the columns, then outputs, then biases."""
        columns = self.rows.groups * self.rows.feature_blocks
        return self.unit_groups * columns + self.n_outputs * (self.unit_groups + 1)

    @property
    def n_weights(self) -> int:
        """Ciphertexts of all weights: the hidden ones, outputs' there and back, biases."""
        outputs = self.n_outputs * (2 * self.unit_groups + 1)
        return self.unit_groups * self.rows.groups + outputs

    @property
    def window_elements(self) -> tuple[int, ...]:
        """Galois elements of the rotations whose sums gather a row's units in unit 0."""
        order = 2 * self.rows.poly_modulus_degree
        return tuple(pow(3, 2**i, order) for i in range(self.block.bit_length() - 1))

    @property
    def spread_elements(self) -> tuple[int, ...]:
        """Of those that spread unit 0 over all units: the inverses."""
        order = 2 * self.rows.poly_modulus_degree
        return tuple(pow(element, -1, order) for element in self.window_elements)

    @property
    def elements(self) -> tuple[int, ...]:
        """Every Galois element that the evaluator needs a key for."""
        return tuple(sorted({*self.rows.elements, *self.window_elements, *self.spread_elements}))

    def pack_labels(self, targets: NDArray) -> list[Slots]:
        """Slots of 1/2 - y for one chunk and every output, in unit 0; zero elsewhere.

        Parameters
        ----------
        targets : ndarray of shape (at most rows_per_chunk, n_outputs)
            Targets 0 or 1 per output.
        """
        return [self._in_unit_0(0.5 - column) for column in targets.T]

    def pack_presence(self, n_rows: int, value: float) -> Slots:
        """Slots of a value in unit 0 of the first rows: what the output's bias multiplies."""
        return self._in_unit_0(np.full(n_rows, value))

    def pack_hidden(self, weights: NDArray) -> list[Slots]:
        """Slots of the hidden weights: per group of units, one ciphertext per group of columns.

        Parameters
        ----------
        weights : ndarray of shape (n_columns, n_units)
        """
        padded = np.zeros((len(weights), self.unit_groups * self.block))
        padded[:, : self.n_units] = weights
        parts = np.split(padded, self.unit_groups, axis=1)
        return [slots for part in parts for slots in self.rows.pack_weights(part)]

    def pack_output(self, weights: NDArray) -> list[Slots]:
        """Slots of one output's weights: each in its unit, the same for all rows.

        Parameters
        ----------
        weights : ndarray of shape (n_units,)
        """
        padded = np.zeros((self.unit_groups, self.block), dtype=np.complex128)
        padded.ravel()[: self.n_units] = weights
        return [np.tile(part, self.rows.slots // self.block) for part in padded]

    def pack_constant(self, value: float) -> Slots:
        """Slots that all hold the same value."""
        return np.full(self.rows.slots, value, dtype=np.complex128)

    def unpack_sums(self, coefficients: NDArray) -> tuple[NDArray, NDArray]:
        """Both blocks of the gradient from the coefficients of the merged result.

        Parameters
        ----------
        coefficients : ndarray of shape (N,)
            Plaintext coefficients divided by the scale.

        Returns
        -------
        hidden : ndarray of shape (n_columns, n_units)
        output : ndarray of shape (n_units + 1, n_outputs)
            The last row belongs to the bias.
        """
        items = self.rows.item_sums(coefficients, self._offsets)
        groups, outputs = self.unit_groups, self.n_outputs
        columns = self.rows.groups * self.rows.feature_blocks
        hidden = [
            self.rows.column_sums(items[:, u * columns : (u + 1) * columns]) for u in range(groups)
        ]
        rest = items[:, groups * columns :].real
        # Items (output, group of units) become rows (group, unit): one per unit.
        output = rest[:, : outputs * groups].reshape(self.block, outputs, groups)
        output = output.transpose(2, 0, 1).reshape(groups * self.block, outputs)
        bias = rest[:1, outputs * groups :]
        return np.hstack(hidden)[:, : self.n_units], np.vstack([output[: self.n_units], bias])

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return self.rows.offsets(self.n_items)

    def _in_unit_0(self, values: NDArray) -> Slots:
        slots = np.zeros((self.rows.rows_per_chunk, self.block))
        slots[: len(values), 0] = values
        return np.tile(slots.ravel(), self.rows.feature_blocks).astype(np.complex128)
