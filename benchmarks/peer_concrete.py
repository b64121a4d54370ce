"""Concrete ML's `SGDClassifier(fit_encrypted=True)`, for peers.py.

    .venv-concrete/bin/python benchmarks/peer_concrete.py rows.npz

TFHE: weights stay encrypted and nobody decrypts between steps. A step takes eight rows, which the
package fixes, and has no noise: the model is not private. One step is measured after compiling
and making keys, and a pass is extrapolated from it; the accuracy of a whole pass, a mean over
seeds, comes from the package's own simulation.
"""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
from concrete.ml.sklearn import SGDClassifier
from peer_figures import Figures, start, stopwatch, versions

SEEDS = 5


def classifier(steps: int, seed: int = 0) -> SGDClassifier:
    """Its defaults, and the range of weights that its documentation uses."""
    return SGDClassifier(
        fit_encrypted=True, parameters_range=(-1, 1), max_iter=steps, random_state=seed
    )


def simulated_accuracy(rows: SimpleNamespace, steps: int) -> float:
    """What so many steps reach, seeds of weights and batches apart."""
    fits = [
        classifier(steps, seed).fit(rows.X_train, rows.y_train, fhe="simulate")
        for seed in range(SEEDS)
    ]
    return float(np.mean([fit.score(rows.X_test, rows.y_test) for fit in fits]))


def main() -> None:
    warnings.simplefilter("ignore")
    rows = start()
    X, y = rows.X_train, rows.y_train
    model = classifier(1)
    with stopwatch() as compilation:
        model.fit(X, y, fhe="disable")
    module = model.training_quantized_module
    circuit, n_batch = module.fhe_circuit, model.batch_size
    with stopwatch() as keys:
        circuit.keygen()
    batch = (
        X[:n_batch].reshape(1, n_batch, -1),
        y[:n_batch].reshape(1, n_batch, 1).astype(float),
    )
    with stopwatch() as encryption:
        quantised = module.quantize_input(*batch, None, None)
        encrypted = circuit.encrypt(*quantised)[:2]
    with stopwatch() as step:
        model.partial_fit(X, y, fhe="execute")
    batches = len(y) / n_batch
    steps = round(batches)
    figures = Figures(
        versions=versions("concrete-ml", "concrete-python", "scikit-learn"),
        parameters=f"{model.n_bits_training} bits, {n_batch} rows a step",
        pass_seconds=step.seconds * batches,
        extrapolated=True,
        rows_per_step=n_batch,
        train_seconds=compilation.seconds + keys.seconds + step.seconds,
        accuracy=float(model.score(rows.X_test, rows.y_test)),
        trained="1 step",
        key_seconds=compilation.seconds + keys.seconds,
        encrypt_seconds=encryption.seconds * batches,
        key_bytes=circuit.size_of_bootstrap_keys + circuit.size_of_keyswitch_keys,
        data_bytes=round(sum(len(value.serialize()) for value in encrypted) * batches),
        simulated=f"{steps} steps, mean of {SEEDS} seeds",
    )
    # Not before the peak of memory has been read.
    figures.simulated_accuracy = simulated_accuracy(rows, steps)
    figures.show()


if __name__ == "__main__":
    main()
