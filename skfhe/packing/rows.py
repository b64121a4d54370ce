r"""How rows, labels, weights and gradients sit in plaintexts.

Everything is built on one tower of rings. Let zeta be a primitive 2N-th root of unity and
R = Z[X]/(X^N + 1). For a power of two m, the subring S' = Z[X^m] is what the automorphisms
X -> X^a, a = 1 mod 2N/m, leave alone; its slots repeat with period N/(2m). Within it, the slots
of the class ring S = Z[X^(N/2C)] repeat with period C (for C = 1, up to conjugation).

- *Rows and classes* live in the slots of S': slot (row, class) of a chunk is C row + class.
- *Features* ride on the powers of X: a ciphertext holds 2m of them,

      X_g = sum_{t < m} X^t (a_t + I a'_t),    I = X^(N/2),    a_t, a'_t real-slotted in S',

  so m is the number of *feature blocks* and the factor two is the imaginary part (I is i or -i
  in every slot).
- *Weights* are constant over the rows, one value per class, with the powers inverted,

      W_g = sum_{t < m} X^(-t) (w_t - I w'_t),    w_t, w'_t real-slotted in S.

Then the real part of the S' part of sum_g X_g W_g is the margin sum_f x_f w_f, because
X^(t-u) with 0 < |t-u| < m has no S' part and I no real one; and the S part of X^(-t) X_g e is
the mean over all rows of (a_t + I a'_t) e. Both parts are taken by projections (averages over
automorphisms), so nothing of other rows or features is left in any slot and no mask is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..crypto.parameters import slot_exponents
from ..plan import Encryption, Problem


@dataclass(frozen=True)
class Layout:
    """Where values sit, for one ring dimension.

    Parameters
    ----------
    poly_modulus_degree : int
        N.
    n_rows : int
        Rows of the whole data set.
    n_columns : int
        Columns, the intercept's included.
    n_outputs : int
        Outputs: one for two classes, K for K > 2.
    feature_blocks : int
        m, a power of two: features per real and per imaginary part of a ciphertext.
    n_owners : int, default=1
        Owners, each of whom fills chunks of its own.
    """

    poly_modulus_degree: int
    n_rows: int
    n_columns: int
    n_outputs: int
    feature_blocks: int
    n_owners: int = 1

    @classmethod
    def of(cls, problem: Problem, encryption: Encryption, n_owners: int) -> Layout:
        """The layout that a plan fixes."""
        return cls(
            encryption.poly_modulus_degree,
            problem.n_samples,
            problem.n_columns,
            problem.n_outputs,
            encryption.feature_blocks,
            n_owners,
        )

    @property
    def slots(self) -> int:
        """Complex slots of a ciphertext."""
        return self.poly_modulus_degree // 2

    @property
    def class_blocks(self) -> int:
        """C: outputs rounded up to a power of two."""
        return 1 << (self.n_outputs - 1).bit_length()

    @property
    def groups(self) -> int:
        """Ciphertexts that hold all columns of a chunk of rows."""
        return -(-self.n_columns // (2 * self.feature_blocks))

    @property
    def rows_per_chunk(self) -> int:
        """Rows that share a ciphertext; the last chunk is padded with zero rows."""
        return self.slots // (self.feature_blocks * self.class_blocks)

    @property
    def chunks(self) -> int:
        """The most ciphertexts that the rows of one group of columns can take.

        Every owner may leave its last chunk partly empty.
        """
        return -(-self.n_rows // self.rows_per_chunk) + self.n_owners - 1

    @property
    def class_span(self) -> int:
        """N/2C, the distance between coefficients of the class ring S."""
        return self.slots // self.class_blocks

    @property
    def margin_elements(self) -> tuple[int, ...]:
        """Galois elements of the projections onto S' and then onto real slots."""
        n = self.poly_modulus_degree
        steps = self.feature_blocks.bit_length() - 1
        return tuple(n // 2**i + 1 for i in range(steps)) + (2 * n - 1,)

    @property
    def sum_elements(self) -> tuple[int, ...]:
        """Galois elements of the projection onto S, coarsest first.

        The i-th, 4C 2^i + 1, negates X^s for odd multiples s of N/2C / 2^(i+1) and leaves the
        even ones: what `merge` needs.
        """
        steps = self.class_span.bit_length() - 1
        return tuple(4 * self.class_blocks * 2**i + 1 for i in range(steps))

    @property
    def elements(self) -> tuple[int, ...]:
        """Every Galois element that the evaluator needs a key for."""
        return tuple(sorted({*self.margin_elements, *self.sum_elements}))

    @cached_property
    def _roots(self) -> NDArray[np.complex128]:
        """zeta^(3^j), the value of X in slot j."""
        exponents = slot_exponents(self.poly_modulus_degree)
        return np.exp(1j * np.pi / self.poly_modulus_degree * exponents)

    @cached_property
    def _imaginary(self) -> NDArray[np.complex128]:
        """The value of I = X^(N/2) in slot j: i for even j, -i for odd, as 3^j mod 4 is 1, 3."""
        return 1j * (1 - 2 * (np.arange(self.slots) % 2))

    @cached_property
    def _units(self) -> NDArray[np.complex128]:
        """Slots of I^part X^power, shape (2, m, slots): what a group's columns ride on."""
        powers = self._roots ** np.arange(self.feature_blocks)[:, None]
        return np.stack([powers, self._imaginary * powers])

    def _columns(self, group: int) -> list[tuple[int, int, int]]:
        """(column, power, part) of every column in a group; part 1 is the imaginary one."""
        m = self.feature_blocks
        first = 2 * m * group
        return [
            (first + part * m + power, power, part)
            for part in (0, 1)
            for power in range(m)
            if first + part * m + power < self.n_columns
        ]

    def pack_rows(self, rows: NDArray, group: int) -> NDArray[np.complex128]:
        """Slots of X_g for one chunk.

        Parameters
        ----------
        rows : ndarray of shape (at most rows_per_chunk, n_columns)
            Rows of one chunk, zero rows being appended.
        group : int
            Which ciphertext of the chunk.
        """
        slots = np.zeros(self.slots, dtype=np.complex128)
        for column, power, part in self._columns(group):
            values = np.zeros(self.rows_per_chunk)
            values[: len(rows)] = rows[:, column]
            repeated = np.tile(np.repeat(values, self.class_blocks), self.feature_blocks)
            slots += repeated * self._units[part, power]
        return slots

    def pack_labels(self, targets: NDArray) -> NDArray[np.complex128]:
        """Slots of 1/2 - y for one chunk; zero in padding rows and padding classes.

        Parameters
        ----------
        targets : ndarray of shape (at most rows_per_chunk, n_outputs)
            Targets 0 or 1 per output.
        """
        values = np.zeros((self.rows_per_chunk, self.class_blocks))
        values[: len(targets), : self.n_outputs] = 0.5 - targets
        return np.tile(values.ravel(), self.feature_blocks).astype(np.complex128)

    def pack_weights(self, weights: NDArray) -> list[NDArray[np.complex128]]:
        """Slots of every W_g: weights ride on the conjugates, that is inverses, of the units.

        Parameters
        ----------
        weights : ndarray of shape (n_columns, n_outputs)
            Weights per column and output.
        """
        padded = np.zeros((self.groups * 2 * self.feature_blocks, self.class_blocks))
        padded[: self.n_columns, : self.n_outputs] = weights
        per_class = padded.reshape(self.groups, 2 * self.feature_blocks, self.class_blocks)
        units = np.conj(self._units).reshape(
            -1, self.slots // self.class_blocks, self.class_blocks
        )
        return [np.einsum("uc,urc->rc", group, units).ravel() for group in per_class]

    def unpack_sums(self, coefficients: NDArray) -> NDArray[np.float64]:
        """Sums over rows from the coefficients of the merged result.

        Parameters
        ----------
        coefficients : ndarray of shape (N,)
            Plaintext coefficients divided by the scale: for item q = (group, power) of the
            merge, its S part sits at the offsets of `merge_offsets` plus multiples of N/2C.

        Returns
        -------
        sums : ndarray of shape (n_columns, n_outputs)
            Sum over all rows of the projected product, per column and output.
        """
        return self.column_sums(self.item_sums(coefficients, self.merge_offsets))

    def column_sums(self, items: NDArray[np.complex128]) -> NDArray[np.float64]:
        """Real and imaginary parts of the items (group, power) as sums per column.

        Parameters
        ----------
        items : ndarray of shape (class_blocks, groups * feature_blocks)
            What `item_sums` gives.
        """
        sums = np.empty((self.n_columns, self.class_blocks))
        for group in range(self.groups):
            for column, power, part in self._columns(group):
                item = items[:, group * self.feature_blocks + power]
                unit = np.conj(self._imaginary[: self.class_blocks]) if part else 1.0
                sums[column] = (item * unit).real
        return sums[:, : self.n_outputs]

    def item_sums(self, coefficients: NDArray, offsets: NDArray) -> NDArray[np.complex128]:
        """Sums over rows of merged items, one column each, per class slot."""
        span, classes = self.class_span, self.class_blocks
        parts = coefficients.reshape(2 * classes, span)[:, offsets]
        powers = np.arange(2 * classes) * span
        return (self._roots[:classes, None] ** powers) @ parts * self.rows_per_chunk

    @cached_property
    def merge_offsets(self) -> NDArray[np.int64]:
        """Offsets of the items (group, power) after `merge_all`."""
        return self.offsets(self.groups * self.feature_blocks)

    def offsets(self, n_items: int) -> NDArray[np.int64]:
        """Offset of every item after `merge_all`: bit i of its index adds N/2C / 2^(i+1)."""
        items = np.arange(n_items)
        offsets = np.zeros_like(items)
        for i in range(len(self.sum_elements)):
            offsets += (items >> i & 1) * (self.class_span >> (i + 1))
        return offsets

    @cached_property
    def item_positions(self) -> NDArray[np.int64]:
        """The coefficients that items are read from, item after item within each power of S."""
        powers = np.arange(2 * self.class_blocks) * self.class_span
        return (powers[:, None] + self.merge_offsets).ravel()

    @property
    def output_norm(self) -> float:
        """L2 norm of the sums over that of the scaled coefficients: rows_per_chunk sqrt(C).

        S has C slots and 2C coefficients, and the map between them is sqrt(C) times an
        orthogonal one; so isotropic noise on coefficients is isotropic noise on the sums.
        """
        return self.rows_per_chunk * float(np.sqrt(self.class_blocks))
