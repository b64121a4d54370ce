"""Real data sets behind the figures, scaled by public bounds.

Files are found through the environment variable SKFHE_BENCHMARK_DATA, or in ../shared/data
beside the project; they are never copied into it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split

# Public bounds of the breast cancer columns: clinical ranges rounded outwards, mean, error and
# worst of radius, texture, perimeter, area, smoothness, compactness, concavity, concave points,
# symmetry, fractal dimension.
BREAST_CANCER_BOUNDS = (
    np.array(
        [6, 9, 40, 140, 0.05, 0.01, 0, 0, 0.1, 0.04]
        + [0.1, 0.3, 0.7, 6, 0.001, 0.002, 0, 0, 0.007, 0.0008]
        + [7, 12, 50, 180, 0.07, 0.02, 0, 0, 0.15, 0.05],
        dtype=float,
    ),
    np.array(
        [29, 40, 190, 2600, 0.17, 0.35, 0.43, 0.21, 0.31, 0.1]
        + [2.9, 4.9, 22, 550, 0.032, 0.14, 0.4, 0.053, 0.08, 0.03]
        + [37, 50, 260, 4300, 0.23, 1.1, 1.3, 0.3, 0.67, 0.21],
        dtype=float,
    ),
)


class Split(NamedTuple):
    """Training and test rows."""

    X_train: NDArray
    X_test: NDArray
    y_train: NDArray
    y_test: NDArray


def data_folder() -> Path:
    """Where the files are.

    Raises
    ------
    FileNotFoundError
        If neither place has them.
    """
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SKFHE_BENCHMARK_DATA", beside))
    if not folder.is_dir():
        raise FileNotFoundError(
            f"benchmark data must be in {folder}; set SKFHE_BENCHMARK_DATA to its folder."
        )
    return folder


def breast_cancer(random_state: int = 0) -> Split:
    """455 + 114 rows of 30 columns, scaled to [-1, 1] by public bounds."""
    X, y = load_breast_cancer(return_X_y=True)
    low, high = BREAST_CANCER_BOUNDS
    X = 2 * (np.clip(X, low, high) - low) / (high - low) - 1
    return Split(*train_test_split(X, y, test_size=0.2, random_state=random_state, stratify=y))


def digits(random_state: int = 0) -> Split:
    """1,437 + 360 rows of 64 pixels in [0, 1], ten classes."""
    X, y = load_digits(return_X_y=True)
    return Split(
        *train_test_split(X / 16, y, test_size=0.2, random_state=random_state, stratify=y)
    )


def mnist38() -> Split:
    """11,982 + 1,984 rows of 196 pixels in [0, 1], digits 3 and 8."""
    parts = []
    for name in ("train", "test"):
        path = data_folder() / "mnist38" / f"mnist38_{name}_sum4.csv.gz"
        table = np.loadtxt(path, delimiter=",", skiprows=1)
        parts.append((table[:, 1:] / 1020, table[:, 0].astype(int)))
    (X_train, y_train), (X_test, y_test) = parts
    return Split(X_train, X_test, y_train, y_test)
