"""Logistic regression on rows that are not encrypted, for peers.py.

    .venv/bin/python benchmarks/peer_clear.py rows.npz scikit-learn
    .venv-diffprivlib/bin/python benchmarks/peer_clear.py rows.npz diffprivlib
    .venv-opacus/bin/python benchmarks/peer_clear.py rows.npz opacus

scikit-learn is not private; the others have epsilon 1, and delta 1e-5 for Opacus, as utility.py
sets them. A pass is an iteration of the solver, which may visit the rows more than once, or an
epoch of DP-SGD. Imports are not timed.
"""

from __future__ import annotations

import math
import sys
import warnings
from types import SimpleNamespace

from peer_figures import Figures, start, stopwatch, versions

EPSILON, DELTA = 1.0, 1e-5


def fit_solver(rows: SimpleNamespace, model) -> dict:
    """What a fit by L-BFGS cost."""
    with stopwatch() as training:
        model.fit(rows.X_train, rows.y_train)
    iterations = int(model.n_iter_.max())
    return {
        "pass_seconds": training.seconds / iterations,
        "rows_per_step": len(rows.y_train),
        "train_seconds": training.seconds,
        "accuracy": float(model.score(rows.X_test, rows.y_test)),
        "trained": f"all {iterations} iterations",
    }


def scikit_learn(rows: SimpleNamespace) -> dict:
    """Without privacy."""
    from sklearn.linear_model import LogisticRegression

    figures = fit_solver(rows, LogisticRegression(max_iter=1000))
    return figures | {"versions": versions("scikit-learn"), "parameters": "L-BFGS"}


def diffprivlib(rows: SimpleNamespace) -> dict:
    """Objective perturbation."""
    from diffprivlib.models import LogisticRegression

    data_norm = 2 * math.sqrt(rows.X_train.shape[1]) / 3
    model = LogisticRegression(epsilon=EPSILON, data_norm=data_norm, n_jobs=1, random_state=0)
    return fit_solver(rows, model) | {
        "versions": versions("diffprivlib", "scikit-learn"),
        "parameters": "objective perturbation, L-BFGS",
    }


def opacus(rows: SimpleNamespace) -> dict:
    """DP-SGD; finding the noise is timed as part of training, not of a pass."""
    import torch
    from peer_opacus import BATCH, EPOCHS, accuracy, fit, noise_multiplier

    torch.set_num_threads(1)
    task = {"epsilon": EPSILON, "delta": DELTA, "seed": 0, "neighboring": "add_remove"}
    batches = math.ceil(len(rows.y_train) / BATCH)
    with stopwatch() as calibration:
        noise_multiplier(EPSILON, DELTA, 1 / batches, EPOCHS * batches)
    with stopwatch() as training:
        model = fit(rows.X_train, rows.y_train, 2, task)
    return {
        "versions": versions("opacus", "torch"),
        "parameters": "DP-SGD, one linear layer",
        "pass_seconds": training.seconds / EPOCHS,
        "rows_per_step": math.ceil(len(rows.y_train) / batches),
        "train_seconds": calibration.seconds + training.seconds,
        "accuracy": accuracy(model, rows.X_test, rows.y_test),
        "trained": f"all {EPOCHS} epochs",
    }


METHODS = {"scikit-learn": scikit_learn, "diffprivlib": diffprivlib, "opacus": opacus}


def main() -> None:
    warnings.simplefilter("ignore")
    Figures(extrapolated=False, **METHODS[sys.argv[2]](start())).show()


if __name__ == "__main__":
    main()
