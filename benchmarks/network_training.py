"""Seconds, memory and precision of training a network on ciphertexts, on one core.

    python benchmarks/network_training.py                   all settings below; five minutes, 8 GB
    python benchmarks/network_training.py breast_cancer     one of them

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

from skfhe import EncryptedDPMLPClassifier, SeededNoiseWarning


class Setting(NamedTuple):
    """One row of the table."""

    data: str
    degree: int
    epsilon: float


SETTINGS = [Setting("breast_cancer", 3, 2.0), Setting("mnist38", 3, 3.0)]


class Run(NamedTuple):
    """One fit.

    Attributes
    ----------
    layers : list of ndarray
        Weights of the hidden and of the output layer, biases among them.
    """

    accuracy: float
    layers: list[np.ndarray]
    step_seconds: float
    phases: dict
    memory: int
    error_share: float
    chosen: str


def run(setting: Setting, backend: str, seed: int) -> Run:
    """Fit once and measure."""
    pin_to_one_core()
    warnings.simplefilter("ignore", SeededNoiseWarning)
    split = datasets.load(setting.data)
    model = EncryptedDPMLPClassifier(
        setting.epsilon,
        degree=setting.degree,
        backend=backend,
        random_state=seed,
        initial_seed=seed,
    ).fit(split.X_train, split.y_train)
    used, certificate = model.plan_.encryption, model.plan_.certificate
    bits = [prime.bit_length() for prime in used.primes]
    units = [model.n_features_in_, *model.intercepts_[0].shape, model.n_outputs_]
    return Run(
        model.score(split.X_test, split.y_test),
        [np.vstack(layer) for layer in zip(model.coefs_, model.intercepts_, strict=True)],
        float(np.median(model.history_["step_seconds"])),
        model.history_["phase_seconds"],
        peak_memory(),
        certificate.error / certificate.sensitivity,
        f"{'-'.join(map(str, units))}, {model.n_iter_} steps, N = {used.poly_modulus_degree}, "
        f"primes {bits}",
    )


def report(setting: Setting, seeds: int) -> None:
    """Print one setting: `seeds` simulated runs, the first one encrypted too."""
    encrypted = apart(run, setting, "tenseal", 0)
    simulated = [apart(run, setting, "simulated", seed) for seed in range(seeds)]
    accuracies = [one.accuracy for one in simulated]
    differences = [
        np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        for ours, theirs in zip(encrypted.layers, simulated[0].layers, strict=True)
    ]
    phases = ", ".join(f"{name} {value:.2f}" for name, value in encrypted.phases.items())
    print(
        f"{setting.data}: degree {setting.degree}, epsilon {setting.epsilon:g}, add_remove\n"
        f"  {encrypted.chosen}\n"
        f"  seconds per step       {encrypted.step_seconds:.3f} encrypted, "
        f"{simulated[0].step_seconds:.4f} simulated (medians)\n"
        f"  seconds by phase       {phases}\n"
        f"  peak memory            {encrypted.memory / 1e9:.2f} GB encrypted\n"
        f"  accuracy, encrypted    {encrypted.accuracy:.4f}\n"
        f"  accuracy, simulated    {simulated[0].accuracy:.4f} under the same noise; "
        f"{np.mean(accuracies):.4f} +- {np.std(accuracies):.4f} over {seeds} seeds\n"
        f"  weights differ by      {differences[0]:.1e} in the hidden layer, "
        f"{differences[1]:.1e} in the output layer\n"
        f"                         (relative, encrypted against simulated, same noise)\n"
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
