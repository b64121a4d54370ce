"""Training on one message of every owner: accuracy, seconds, memory, and what was compared.

    python benchmarks/noninteractive.py                 every setting below; about half an hour
    python benchmarks/noninteractive.py mnist38         one of them
    python benchmarks/noninteractive.py --small         five small sets, cross-validated
    python benchmarks/noninteractive.py --compare       certificates and degrees, simulated

Noise is seeded, so that the simulated and the encrypted run of a seed can be compared; the
models are for measuring only.
"""

from __future__ import annotations

import argparse
import math
import warnings
from typing import Any, NamedTuple

import datasets
import numpy as np
from machine import apart, peak_memory, pin_to_one_core
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from skfhe import EncryptedDPLogisticRegression, InfeasiblePlan, SeededNoiseWarning

ALONE = {"protocol": "noninteractive"}
PAPER = {**ALONE, "epsilon": 1.0, "neighboring": "replace_one"}
# Name: data set, parameters, whether one run is encrypted.
SETTINGS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "breast_cancer": (
        "breast_cancer",
        {**ALONE, "epsilon": 2.0, "degree": 3, "max_iter": 6},
        True,
    ),
    "breast_cancer, line": ("breast_cancer", {**ALONE, "epsilon": 2.0}, True),
    "mnist38": ("mnist38", PAPER, True),
    "mnist38, five rounds of six": (
        "mnist38",
        {
            "epsilon": 1.0,
            "neighboring": "replace_one",
            "steps_per_round": 6,
            "max_iter": 30,
        },
        True,
    ),
    "adult13": ("adult13", PAPER, True),
    "adult": ("adult", PAPER, False),
    "credit": ("credit", PAPER, True),
    "mnist38, a visit more": ("mnist38", {**PAPER, "standardize": True}, True),
    "adult13, a visit more": ("adult13", {**PAPER, "standardize": True}, False),
}
SMALL = ("edin", "lbw", "nhanes3", "pcs", "uis")
# What "without noise" is approximated by: no plan has more.
NOISELESS = 100.0


class Run(NamedTuple):
    """One fit."""

    accuracy: float
    auc: float
    weights: np.ndarray
    phases: dict[str, float]
    memory: int
    plan: str
    error_share: float


def run(data: str, parameters: dict[str, Any], backend: str, seed: int) -> Run:
    """Fit once and measure."""
    split = datasets.load(data)
    return measured(split, parameters, backend, seed)


def measured(split: Any, parameters: dict[str, Any], backend: str, seed: int) -> Run:
    """Fit on given rows."""
    pin_to_one_core()
    warnings.simplefilter("ignore", SeededNoiseWarning)
    model = EncryptedDPLogisticRegression(backend=backend, random_state=seed, **parameters)
    model.fit(split.X_train, split.y_train)
    plan, scores = model.plan_, model.decision_function(split.X_test)
    primes = plan.encryption.primes
    steps = plan.rounds.steps
    told = (
        f"{plan.visits} x {steps} steps, {plan.rounds.certificate}, margins within "
        f"{plan.rounds.reaches[-2]:.1f}, S up to {plan.certificate.contributions[0]:.2f}, "
        f"N = {plan.encryption.poly_modulus_degree}, {math.prod(primes).bit_length()} bits in "
        f"{len(primes)} primes"
    )
    return Run(
        model.score(split.X_test, split.y_test),
        float(roc_auc_score(split.y_test, scores)),
        np.r_[model.coef_.ravel(), model.intercept_],
        model.history_["phase_seconds"],
        peak_memory(),
        told,
        plan.certificate.error / plan.certificate.sensitivity,
    )


def report(
    name: str,
    setting: tuple[str, dict[str, Any], bool],
    seeds: int,
    backend: str = "tenseal",
) -> None:
    """Print one setting: `seeds` simulated runs, the first one encrypted too."""
    data, parameters, encrypt = setting
    simulated = [apart(run, data, parameters, "simulated", seed) for seed in range(seeds)]
    print(f"{name}\n  {simulated[0].plan}")
    accuracies, areas = ([one[i] for one in simulated] for i in (0, 1))
    print(f"  simulated   {figures(accuracies, areas)} over {seeds} seeds")
    if encrypt:
        one = apart(run, data, parameters, backend, 0)
        phases = ", ".join(f"{phase} {value:.1f}" for phase, value in one.phases.items())
        away = np.linalg.norm(one.weights - simulated[0].weights)
        print(
            f"  encrypted   accuracy {one.accuracy:.4f}, AUC {one.auc:.4f}, weights differ by "
            f"{away / np.linalg.norm(one.weights):.1e}\n"
            f"  seconds     {sum(one.phases.values()):.0f}: {phases}\n"
            f"  peak memory {one.memory / 1e9:.1f} GB, 2E / Delta {one.error_share:.4f}"
        )
    print(flush=True)


def figures(accuracies: list[float], areas: list[float]) -> str:
    """Means with standard deviations."""
    return (
        f"accuracy {np.mean(accuracies):.4f} +- {np.std(accuracies):.4f}, "
        f"AUC {np.mean(areas):.4f} +- {np.std(areas):.4f}"
    )


def small() -> None:
    """Five-fold cross-validation of the small sets: the first fold encrypted, all simulated."""
    for data in SMALL:
        X, y, _ = datasets.TABLES[data]()
        folds = [*StratifiedKFold(5, shuffle=True, random_state=0).split(X, y)]
        splits = [datasets.Split(X[train], X[test], y[train], y[test]) for train, test in folds]
        for epsilon in (10.0, NOISELESS):
            parameters = {**ALONE, "epsilon": epsilon}
            found = [
                apart(measured, split, parameters, "simulated", seed)
                for seed, split in enumerate(splits)
            ]
            accuracies, areas = ([one[i] for one in found] for i in (0, 1))
            print(f"{data}, epsilon {epsilon:g}: {figures(accuracies, areas)}\n  {found[0].plan}")
            one = apart(measured, splits[0], parameters, "tenseal", 0)
            away = np.linalg.norm(one.weights - found[0].weights) / np.linalg.norm(one.weights)
            print(
                f"  first fold encrypted: {sum(one.phases.values()):.1f} s, accuracy "
                f"{one.accuracy:.4f} for {found[0].accuracy:.4f} simulated, weights differ by "
                f"{away:.1e}",
                flush=True,
            )


def compare(seeds: int) -> None:
    """Degrees and certificates on two sets, simulated."""
    tried: dict[str, dict[str, Any]] = {
        "degree 1, Chebyshev": {},
        "degree 1, plain steps": {"learning_rate": 4.0},
        "degree 1, momentum .6": {"learning_rate": 4.0, "momentum": 0.6},
        "degree 1, standardised": {"standardize": True},
        "degree 3, accelerated": {"degree": 3},
        "degree 3, plain steps of 4": {"degree": 3, "learning_rate": 4.0, "max_iter": 6},
        "degree 3, plain steps of 10": {"degree": 3, "learning_rate": 10.0, "max_iter": 6},
        "degree 5, accelerated": {"degree": 5},
    }
    for data in ("mnist38", "adult13"):
        for name, parameters in tried.items():
            try:
                found = [run(data, PAPER | parameters, "simulated", seed) for seed in range(seeds)]
            except InfeasiblePlan as reason:
                print(f"{data}, {name}: {reason}", flush=True)
                continue
            accuracies, areas = ([one[i] for one in found] for i in (0, 1))
            print(f"{data}, {name}: {figures(accuracies, areas)}\n  {found[0].plan}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", help=f"of {[*SETTINGS]} (default: all)")
    parser.add_argument("--seeds", type=int, default=5, help="simulated runs per setting (5)")
    parser.add_argument("--small", action="store_true", help="five small sets instead")
    parser.add_argument("--compare", action="store_true", help="certificates and degrees instead")
    options = parser.parse_args()
    if options.small:
        small()
    elif options.compare:
        compare(options.seeds)
    else:
        for name in options.settings or SETTINGS:
            report(name, SETTINGS[name], options.seeds)


if __name__ == "__main__":
    main()
