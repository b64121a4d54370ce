"""Ours, for peers.py: `EncryptedDPLogisticRegression(epsilon=1, degree=3)`, defaults otherwise.

    .venv/bin/python benchmarks/peer_skfhe.py rows.npz

A pass over the rows is a step, decryption and noise included; the median of its steps is shown.
"""

from __future__ import annotations

import numpy as np
from peer_figures import Figures, start, stopwatch, versions

from skfhe import EncryptedDPLogisticRegression


def main() -> None:
    rows = start()
    with stopwatch() as training:
        model = EncryptedDPLogisticRegression(epsilon=1.0, degree=3)
        model.fit(rows.X_train, rows.y_train)
    history, used = model.history_, model.plan_.encryption
    bits = [prime.bit_length() for prime in used.primes]
    Figures(
        versions=versions("skfhe", "tenseal"),
        parameters=f"N = {used.poly_modulus_degree}, primes {bits}, degree 3",
        pass_seconds=float(np.median(history["step_seconds"])),
        extrapolated=False,
        rows_per_step=len(rows.y_train),
        train_seconds=training.seconds,
        accuracy=float(model.score(rows.X_test, rows.y_test)),
        trained=f"all {model.n_iter_} steps",
        key_seconds=history["phase_seconds"]["keys"],
        encrypt_seconds=history["phase_seconds"]["encrypt"],
        key_bytes=history["bytes"]["keys"],
        data_bytes=history["bytes"]["data"],
    ).show()


if __name__ == "__main__":
    main()
