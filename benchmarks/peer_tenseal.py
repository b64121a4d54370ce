"""Encrypted logistic regression in the way of TenSEAL's first tutorial, for peers.py.

    .venv/bin/python benchmarks/peer_tenseal.py rows.npz

One ciphertext per row and one per label. An epoch goes through the rows one by one: the dot
product with the encrypted weights, a polynomial of degree 3 in the place of the sigmoid, and the
row times the difference to the label, added up. Then the weights move by the mean and decay by
0.05, and the key holder decrypts them and encrypts them anew. There is no noise and no bound on
what a row does: the model is not private. Written from the tutorial's description, with its
parameters; the weights start at random, as those of a linear layer do.

TenSEAL takes the scale for unchanged by a rescaling, and the primes of 21 bits are smaller than
it: a product comes out a sixth too large at the first level and three quarters at the last. So the
encrypted accuracy is that of these parameters, and can differ from run to run.

One epoch is measured, on the first 455 rows if there are more, and the pass is then extrapolated.
The accuracy of five epochs comes from what is meant, computed in the clear.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import tenseal as ts
from peer_figures import Figures, linear_accuracy, start, stopwatch, versions

RING, PRIMES, SCALE = 8192, [40, 21, 21, 21, 21, 21, 21, 40], 2.0**21
SIGMOID, DECAY = [0.5, 0.197, 0.0, -0.004], 0.05
SAMPLE, EPOCHS = 455, 5


def make_context() -> ts.Context:
    """Keys, those for rotations included."""
    context = ts.context(ts.SCHEME_TYPE.CKKS, RING, coeff_mod_bit_sizes=PRIMES)
    context.global_scale = SCALE
    context.generate_galois_keys()
    return context


def epoch(X: list, y: list, weights: ts.CKKSVector, bias: ts.CKKSVector):
    """Weights and bias after one visit of all rows."""
    weights_sum = bias_sum = 0
    for row, label in zip(X, y, strict=True):
        difference = (row.dot(weights) + bias).polyval(SIGMOID) - label
        weights_sum = row * difference + weights_sum
        bias_sum = difference + bias_sum
    return (
        weights - (weights_sum * (1 / len(X)) + weights * DECAY),
        bias - (bias_sum * (1 / len(X)) + bias * DECAY),
    )


def in_the_clear(rows: SimpleNamespace, both: np.ndarray) -> float:
    """Accuracy of EPOCHS epochs on all rows, from the same weights and bias."""
    X = np.c_[rows.X_train, np.ones(len(rows.y_train))]
    for _ in range(EPOCHS):
        difference = np.polynomial.polynomial.polyval(X @ both, SIGMOID) - rows.y_train
        both = both - (X.T @ difference / len(X) + DECAY * both)
    return linear_accuracy(rows, both[:-1], both[-1])


def main() -> None:
    rows = start()
    (n_rows, n_features), sampled = rows.X_train.shape, min(SAMPLE, len(rows.y_train))
    start_at = np.random.default_rng(0).uniform(-1, 1, n_features + 1) / np.sqrt(n_features)
    with stopwatch() as keys:
        context = make_context()
    with stopwatch() as encryption:
        X = [ts.ckks_vector(context, row) for row in rows.X_train[:sampled]]
        y = [ts.ckks_vector(context, [float(label)]) for label in rows.y_train[:sampled]]
    with stopwatch() as training:
        weights = ts.ckks_vector(context, start_at[:-1])
        bias = ts.ckks_vector(context, start_at[-1:])
        weights, bias = epoch(X, y, weights, bias)
        weights, bias = np.array(weights.decrypt()), bias.decrypt()[0]
    public = context.serialize(save_secret_key=False, save_galois_keys=True, save_relin_keys=True)
    Figures(
        versions=versions("tenseal"),
        parameters=f"N = {RING}, primes {PRIMES}, degree 3, one ciphertext per row",
        pass_seconds=training.seconds * n_rows / sampled,
        extrapolated=sampled < n_rows,
        rows_per_step=n_rows,
        train_seconds=keys.seconds + encryption.seconds + training.seconds,
        accuracy=linear_accuracy(rows, weights, bias),
        trained=f"1 epoch of {sampled:,} rows",
        simulated_accuracy=in_the_clear(rows, start_at),
        simulated=f"{EPOCHS} epochs",
        key_seconds=keys.seconds,
        encrypt_seconds=encryption.seconds * n_rows / sampled,
        key_bytes=len(public),
        data_bytes=n_rows * (len(X[0].serialize()) + len(y[0].serialize())),
    ).show()


if __name__ == "__main__":
    main()
