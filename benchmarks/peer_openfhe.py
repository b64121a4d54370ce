"""Logistic regression with OpenFHE's CKKS bootstrapping, for peers.py.

    .venv-openfhe/bin/python benchmarks/peer_openfhe.py rows.npz

Nobody decrypts between steps: weights stay encrypted and are bootstrapped after every step, at
128-bit security. Rows times their label (-1 or 1), with a column of ones, lie one behind the
other in the slots, as wide as the next power of two, so that the weights repeat with that period
and a bootstrap of so few slots refreshes them. A step is

    margins      rows times weights, summed over columns by rotations; a mask keeps the first
                 slot of a row, and rotations spread it
    influence    a polynomial of degree 3 in the place of the sigmoid of the negative margin
    gradient     times the rows, summed over rows by rotations, which repeat the sum by themselves

There is no noise and no bound on what a row does: the model is not private. Parameters had the
least seconds and memory of those tried with a ring of 2^16, the smallest that a bootstrap fits in:
a sparse secret that is encapsulated, which OpenFHE recommends, primes of 59 bits, three large
digits, and two levels for each of the linear transforms of a bootstrap.

Four steps are measured. If the rows take more ciphertexts than SAMPLE, steps take these alone, and
a pass is extrapolated. The accuracy of twenty steps comes from the same arithmetic in the clear.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import openfhe
from peer_figures import Figures, linear_accuracy, start, stopwatch, versions

BUDGET, PRIME_BITS, FIRST_BITS, DIGITS = [2, 2], 59, 60, 3
SECRET = openfhe.SecretKeyDist.SPARSE_ENCAPSULATED
# Product, mask, two of the polynomial, product, and one that the bootstrap starts from.
LEVELS = 6
# Of the negative margin: constant, linear and cubic.
SIGMOID = np.array([0.5, -0.197, 0.004])
STEPS, SAMPLE, LONGER = 4, 4, 20
# Steps get shorter as rows with more columns get longer.
RATE_TIMES_COLUMNS = 30.0
# Weights are encrypted as a part of this, to stay within what a bootstrap refreshes well.
REACH = 8.0


class Step:
    """A gradient step and what it needs: keys, mask, packing.

    Parameters
    ----------
    n_rows, n_columns : int
        Of the training rows, a column of ones included.
    """

    def __init__(self, n_rows: int, n_columns: int):
        self.n_columns = n_columns
        self.width = 1 << (n_columns - 1).bit_length()
        depth = LEVELS + openfhe.CryptoContext.GetBootstrapDepth(BUDGET, SECRET)
        self.context = _context(depth)
        most = self.context.GetRingDimension() // 2 // self.width
        self.rows_each = min(most, 1 << (n_rows - 1).bit_length())
        self.slots = self.rows_each * self.width
        self.n_taken = min(n_rows, SAMPLE * self.rows_each)
        self.keys = self._make_keys()
        mask = np.zeros(self.slots)
        mask[:: self.width] = 1.0
        self.level = depth - LEVELS
        self.mask = self._encode(mask, self.level + 1)

    def _make_keys(self) -> openfhe.KeyPair:
        self.context.EvalBootstrapSetup(BUDGET, [0, 0], self.width)
        keys = self.context.KeyGen()
        self.context.EvalMultKeyGen(keys.secretKey)
        self.context.EvalBootstrapKeyGen(keys.secretKey, self.width)
        across = _powers(1, self.width)
        down = _powers(self.width, self.slots)
        self.context.EvalRotateKeyGen(keys.secretKey, [*across, *(-r for r in across), *down])
        return keys

    def _encode(self, values: np.ndarray, level: int) -> openfhe.Plaintext:
        return self.context.MakeCKKSPackedPlaintext(values, 1, level, None, len(values))

    def encrypt(self, rows: np.ndarray) -> openfhe.Ciphertext:
        """Signed rows of one ciphertext, or a single one, the weights."""
        n = self.rows_each if len(rows) > 1 else 1
        slots = np.zeros((n, self.width))
        slots[: len(rows), : rows.shape[1]] = rows
        return self.context.Encrypt(self.keys.publicKey, self._encode(slots.ravel(), self.level))

    def gradient(self, rows: openfhe.Ciphertext, weights: openfhe.Ciphertext):
        """What the rows of one ciphertext add to the weights."""
        across = _powers(1, self.width)
        margins = self._rotated_sum(self.context.EvalMult(rows, weights), across)
        margins = self.context.EvalMult(margins, self.mask)
        margins = self._rotated_sum(margins, [-rotation for rotation in across])
        sums = self.context.EvalMult(self._influence(margins), rows)
        return self._rotated_sum(sums, _powers(self.width, self.slots))

    def _influence(self, margins: openfhe.Ciphertext) -> openfhe.Ciphertext:
        """The polynomial, times the learning rate, in two levels where EvalPoly takes three."""
        rate = RATE_TIMES_COLUMNS / self.n_columns / self.n_taken
        constant, linear, cubic = rate * SIGMOID * REACH ** np.array([-1, 0, 2])
        square = self.context.EvalMult(margins, margins)
        odd = self.context.EvalMult(square, self.context.EvalMult(margins, float(cubic)))
        odd = self.context.EvalAdd(odd, self.context.EvalMult(margins, float(linear)))
        return self.context.EvalAdd(odd, float(constant))

    def _rotated_sum(self, item: openfhe.Ciphertext, rotations: list[int]):
        for rotation in rotations:
            item = self.context.EvalAdd(item, self.context.EvalRotate(item, rotation))
        return item

    def refresh(self, weights: openfhe.Ciphertext) -> openfhe.Ciphertext:
        """The same weights with all levels."""
        weights.SetSlots(self.width)
        return self.context.EvalBootstrap(weights)

    def decrypt(self, weights: openfhe.Ciphertext) -> np.ndarray:
        """Weights of the columns."""
        slots = self.context.Decrypt(self.keys.secretKey, weights).GetRealPackedValue()
        return REACH * np.array(slots[: self.n_columns])

    def key_bytes(self) -> int:
        """Of rotations and products: one of each is measured, the rest are as large."""
        tag = self.keys.secretKey.GetKeyTag()
        products = self.context.GetEvalMultKeyVector(tag)
        rotations = self.context.GetExistingEvalAutomorphismKeyIndices(tag)
        return (len(products) + len(rotations)) * len(_serialised(products[0]))


def _context(depth: int) -> openfhe.CryptoContext:
    parameters = openfhe.CCParamsCKKSRNS()
    parameters.SetSecurityLevel(openfhe.SecurityLevel.HEStd_128_classic)
    parameters.SetSecretKeyDist(SECRET)
    parameters.SetScalingTechnique(openfhe.ScalingTechnique.FLEXIBLEAUTO)
    parameters.SetScalingModSize(PRIME_BITS)
    parameters.SetFirstModSize(FIRST_BITS)
    parameters.SetNumLargeDigits(DIGITS)
    parameters.SetMultiplicativeDepth(depth)
    context = openfhe.GenCryptoContext(parameters)
    for feature in ("PKE", "KEYSWITCH", "LEVELEDSHE", "ADVANCEDSHE", "FHE"):
        context.Enable(getattr(openfhe.PKESchemeFeature, feature))
    return context


def _powers(start: int, stop: int) -> list[int]:
    """start, 2 start, 4 start and so on, below stop."""
    return [start << k for k in range((stop // start - 1).bit_length())]


def _serialised(item) -> bytes:
    return openfhe.Serialize(item, openfhe.BINARY)


def train(step: Step, data: list) -> SimpleNamespace:
    """Take steps on these ciphertexts, with medians of what gradients and refreshing took."""
    weights = step.encrypt(np.zeros((1, step.n_columns)))
    gradients, refreshes = [], []
    for _ in range(STEPS):
        with stopwatch() as gradient:
            moved = weights
            for rows in data:
                moved = step.context.EvalAdd(step.gradient(rows, weights), moved)
        with stopwatch() as refresh:
            weights = step.refresh(moved)
        gradients.append(gradient.seconds)
        refreshes.append(refresh.seconds)
    return SimpleNamespace(
        weights=step.decrypt(weights),
        gradient=float(np.median(gradients)),
        refresh=float(np.median(refreshes)),
    )


def in_the_clear(signed: np.ndarray, steps: int) -> np.ndarray:
    """Weights after so many steps on all rows."""
    weights = np.zeros(signed.shape[1])
    for _ in range(steps):
        margins = signed @ weights
        influence = SIGMOID @ np.array([np.ones_like(margins), margins, margins**3])
        weights += RATE_TIMES_COLUMNS / signed.shape[1] * (influence @ signed) / len(signed)
    return weights


def main() -> None:
    rows = start()
    signed = (2 * rows.y_train[:, None] - 1) * np.c_[rows.X_train, np.ones(len(rows.y_train))]
    (n_rows, n_columns) = signed.shape
    with stopwatch() as keys:
        step = Step(n_rows, n_columns)
    parts = range(0, n_rows, step.rows_each)
    taken = parts[:SAMPLE]
    with stopwatch() as encryption:
        data = [step.encrypt(signed[i : i + step.rows_each]) for i in taken]
    with stopwatch() as training:
        found = train(step, data)
    share = len(parts) / len(taken)
    ring = step.context.GetRingDimension()
    longer = in_the_clear(signed, LONGER)
    Figures(
        versions=versions("openfhe"),
        parameters=f"N = {ring}, primes of {PRIME_BITS} bits, degree 3, one bootstrap per step",
        pass_seconds=found.gradient * share + found.refresh,
        extrapolated=share > 1,
        rows_per_step=n_rows,
        train_seconds=keys.seconds + encryption.seconds + training.seconds,
        accuracy=linear_accuracy(rows, found.weights[:-1], found.weights[-1]),
        trained=f"{STEPS} steps of {step.n_taken:,} rows",
        simulated_accuracy=linear_accuracy(rows, longer[:-1], longer[-1]),
        simulated=f"{LONGER} steps",
        key_seconds=keys.seconds,
        encrypt_seconds=encryption.seconds * share,
        data_bytes=len(parts) * len(_serialised(data[0])),
        key_bytes=step.key_bytes(),
    ).show()


if __name__ == "__main__":
    main()
