"""Accuracy, seconds, memory and precision of training on real data, on one core.

    python benchmarks/training.py                       all settings below
    python benchmarks/training.py mnist38 --seeds 2     one of them

Noise is seeded, so that the simulated and the encrypted run of a seed can be compared; the
models are for measuring only.
"""

from __future__ import annotations

import argparse
import warnings
from typing import NamedTuple

import datasets
import numpy as np
from machine import apart, peak_memory, pin_to_one_core
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfhe import EncryptedDPLogisticRegression, SeededNoiseWarning


class Setting(NamedTuple):
    """One row of the table."""

    data: str
    degree: int
    epsilon: float
    neighboring: str
    max_iter: int | str = "auto"


SETTINGS = [
    Setting("breast_cancer", 3, 1.0, "add_remove"),
    Setting("breast_cancer", 3, 1.0, "add_remove", max_iter=15),
    Setting("breast_cancer", 7, 1.0, "add_remove"),
    Setting("mnist38", 5, 1.0, "replace_one"),
    Setting("digits", 5, 1.0, "add_remove"),
    Setting("digits", 5, 5.0, "add_remove"),
]


class Run(NamedTuple):
    """One fit."""

    accuracy: float
    weights: np.ndarray
    step_seconds: float
    phases: dict
    memory: int
    error_share: float
    chosen: str


def run(setting: Setting, backend: str, seed: int) -> Run:
    """Fit once and measure."""
    pin_to_one_core()
    warnings.simplefilter("ignore", SeededNoiseWarning)
    split = getattr(datasets, setting.data)()
    model = EncryptedDPLogisticRegression(
        setting.epsilon,
        degree=setting.degree,
        neighboring=setting.neighboring,
        max_iter=setting.max_iter,
        backend=backend,
        random_state=seed,
    ).fit(split.X_train, split.y_train)
    used, certificate = model.plan_.encryption, model.plan_.certificate
    bits = [prime.bit_length() for prime in used.primes]
    return Run(
        model.score(split.X_test, split.y_test),
        np.r_[model.coef_.ravel(), model.intercept_],
        float(np.median(model.history_["step_seconds"])),
        model.history_["phase_seconds"],
        peak_memory(),
        certificate.error / certificate.sensitivity,
        f"{model.n_iter_} steps, N = {used.poly_modulus_degree}, primes {bits}",
    )


def report(setting: Setting, seeds: int) -> None:
    """Print one setting: `seeds` simulated runs, the first one encrypted too."""
    split = getattr(datasets, setting.data)()
    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    ceiling = plain.fit(split.X_train, split.y_train).score(split.X_test, split.y_test)
    encrypted = apart(run, setting, "tenseal", 0)
    simulated = [apart(run, setting, "simulated", seed) for seed in range(seeds)]
    accuracies = [one.accuracy for one in simulated]
    apart_by = np.linalg.norm(encrypted.weights - simulated[0].weights)
    phases = ", ".join(f"{name} {value:.2f}" for name, value in encrypted.phases.items())
    print(
        f"{setting.data}: degree {setting.degree}, epsilon {setting.epsilon:g}, "
        f"{setting.neighboring}\n"
        f"  {encrypted.chosen}\n"
        f"  seconds per step       {encrypted.step_seconds:.3f} encrypted, "
        f"{simulated[0].step_seconds:.4f} simulated (medians)\n"
        f"  seconds by phase       {phases}; {sum(encrypted.phases.values()):.2f} in all\n"
        f"  peak memory            {encrypted.memory / 1e9:.2f} GB encrypted\n"
        f"  accuracy, encrypted    {encrypted.accuracy:.4f}\n"
        f"  accuracy, simulated    {np.mean(accuracies):.4f} +- {np.std(accuracies):.4f} "
        f"over {seeds} seeds\n"
        f"  accuracy, plain        {ceiling:.4f}\n"
        f"  weights differ by      {apart_by / np.linalg.norm(simulated[0].weights):.1e} "
        f"(relative, encrypted against simulated, same noise)\n"
        f"  2E / Delta             {encrypted.error_share:.4f}\n",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", help="data sets (default: all)")
    parser.add_argument("--seeds", type=int, default=5, help="simulated runs per setting (5)")
    options = parser.parse_args()
    for setting in SETTINGS:
        if not options.data or setting.data in options.data:
            try:
                report(setting, options.seeds)
            except FileNotFoundError as missing:
                print(f"{setting.data}: left out, {missing}\n")


if __name__ == "__main__":
    main()
