"""Train a private model on encrypted breast cancer data and show what it costs.

Run it with `make demo`. The rows are scikit-learn's; the bounds of the columns are clinical
ranges, not read off the data.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfhe import BoundsScaler, EncryptedDPLogisticRegression

# Mean, error and worst of radius, texture, perimeter, area, smoothness, compactness, concavity,
# concave points, symmetry and fractal dimension.
LOW = (
    [6, 9, 40, 140, 0.05, 0.01, 0, 0, 0.1, 0.04]
    + [0.1, 0.3, 0.7, 6, 0.001, 0.002, 0, 0, 0.007, 0.0008]
    + [7, 12, 50, 180, 0.07, 0.02, 0, 0, 0.15, 0.05]
)
HIGH = (
    [29, 40, 190, 2600, 0.17, 0.35, 0.43, 0.21, 0.31, 0.1]
    + [2.9, 4.9, 22, 550, 0.032, 0.14, 0.4, 0.053, 0.08, 0.03]
    + [37, 50, 260, 4300, 0.23, 1.1, 1.3, 0.3, 0.67, 0.21]
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epsilon", type=float, default=2.0, help="privacy budget (2.0)")
    parser.add_argument("--degree", type=int, default=7, help="degree of the polynomial (7)")
    options = parser.parse_args()

    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.2, random_state=0, stratify=y
    )
    plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(X_train, y_train)

    private = make_pipeline(
        BoundsScaler((LOW, HIGH)),
        EncryptedDPLogisticRegression(options.epsilon, degree=options.degree, verbose=1),
    )
    start = time.perf_counter()
    private.fit(X_train, y_train)
    total = time.perf_counter() - start
    model = private[-1]

    print(f"\n{model.plan_}\n")
    print("Seconds by phase")
    for phase, seconds in model.history_["phase_seconds"].items():
        print(f"  {phase:<22}{seconds:.2f}")
    print(f"  {'one step':<22}{np.median(model.history_['step_seconds']):.3f} (median)")
    print("Megabytes")
    for name, size in model.history_["bytes"].items():
        print(f"  {name:<22}{size / 1e6:.2f}")
    print("Test accuracy")
    print(f"  {'plain, in the clear':<22}{plain.score(X_test, y_test):.3f}")
    print(f"  {'encrypted and private':<22}{private.score(X_test, y_test):.3f}")
    print(f"  {'majority class':<22}{max(np.mean(y_test), 1 - np.mean(y_test)):.3f}")
    print(f"Privacy\n  {model.privacy_}")
    print(f"Trained on {len(X_train)} encrypted rows in {total:.1f} s.")


if __name__ == "__main__":
    main()
