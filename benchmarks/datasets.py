"""Real data sets behind the figures, scaled by public bounds (bounds.json).

Files are found through the environment variable SKFHE_BENCHMARK_DATA, or in ../shared/data
beside the project; they are never copied into it.
"""

from __future__ import annotations

import csv
import gzip
import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import bounds
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_svmlight_file
from sklearn.model_selection import train_test_split

ADULT_COLUMNS = [
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
]


class Split(NamedTuple):
    """Training and test rows."""

    X_train: NDArray
    X_test: NDArray
    y_train: NDArray
    y_test: NDArray


class Table(NamedTuple):
    """All rows of a set, those of the test split, if it has one, from `n_train` on."""

    X: NDArray
    y: NDArray
    n_train: int | None


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


def _breast_cancer() -> Table:
    X, y = load_breast_cancer(return_X_y=True)
    return Table(bounds.encode("breast_cancer", X), y, None)


def _digits() -> Table:
    X, y = load_digits(return_X_y=True)
    return Table(bounds.encode("digits", X), y, None)


def _text(name: str) -> Table:
    """A file of numbers without names, the label last."""
    (path,) = (data_folder() / name).glob(f"{name}.txt*")
    table = np.loadtxt(path)
    return Table(bounds.encode(name, table[:, :-1]), table[:, -1].astype(int), None)


def _mnist38() -> Table:
    folder = data_folder() / "mnist38"
    parts = [
        np.loadtxt(folder / f"mnist38_{part}_sum4.csv.gz", delimiter=",", skiprows=1)
        for part in ("train", "test")
    ]
    table = np.vstack(parts)
    return Table(bounds.encode("mnist38", table[:, 1:]), table[:, 0].astype(int), len(parts[0]))


def _csv(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        return [[cell.strip() for cell in row] for row in csv.reader(file) if row]


def _credit() -> Table:
    folder = data_folder() / "credit"
    (names, *train), (_, *test) = (
        _csv(folder / f"Credit_{part}.csv.gz") for part in ("train", "test")
    )
    table = np.array(train + test, dtype=float)
    X = bounds.encode("credit", table[:, :-1], names[:-1])
    return Table(X, table[:, -1].astype(int), len(train))


def _adult(rules: str = "adult") -> Table:
    folder = data_folder() / "adult"
    train, (_, *test) = _csv(folder / "adult.data.gz"), _csv(folder / "adult.test.csv.gz")
    table = np.array(train + test, dtype=object)
    positive = np.array([label.startswith(">50K") for label in table[:, -1]])
    X = bounds.encode(rules, table[:, :-1], ADULT_COLUMNS)
    return Table(X, positive.astype(int), len(train))


def _a9a() -> Table:
    folder = data_folder() / "a9a"
    parts = [load_svmlight_file(folder / name, n_features=123) for name in ("a9a.gz", "a9a.t.gz")]
    X = np.vstack([rows.toarray() for rows, _ in parts])
    y = np.concatenate([labels for _, labels in parts])
    return Table(bounds.encode("a9a", X), (y > 0).astype(int), parts[0][0].shape[0])


# Every set: how it is read, small ones first.
TABLES = {
    "breast_cancer": _breast_cancer,
    "lbw": lambda: _text("lbw"),
    "pcs": lambda: _text("pcs"),
    "uis": lambda: _text("uis"),
    "edin": lambda: _text("edin"),
    "digits": _digits,
    "nhanes3": lambda: _text("nhanes3"),
    "credit": _credit,
    "mnist38": _mnist38,
    "adult": _adult,
    "a9a": _a9a,
}


# The same rows in other columns, for comparison with figures of others.
VARIANTS = {"adult13": lambda: _adult("adult13")}


@lru_cache(maxsize=2)
def _table(name: str) -> Table:
    return (TABLES | VARIANTS)[name]()


def has_test_split(name: str) -> bool:
    """Whether a set has a test split of its own, the same for all seeds."""
    return _table(name).n_train is not None


def load(name: str, seed: int = 0) -> Split:
    """Rows of a set: its own test split, or else the stratified 80/20 split of a seed."""
    X, y, n_train = _table(name)
    if n_train is not None:
        return Split(X[:n_train], X[n_train:], y[:n_train], y[n_train:])
    return Split(*train_test_split(X, y, test_size=0.2, random_state=seed, stratify=y))


def breast_cancer(random_state: int = 0) -> Split:
    """455 + 114 rows of 30 columns, scaled to [-1, 1] by public bounds."""
    return load("breast_cancer", random_state)


def digits(random_state: int = 0) -> Split:
    """1,437 + 360 rows of 64 pixels in [0, 1], ten classes."""
    return load("digits", random_state)


def mnist38() -> Split:
    """11,982 + 1,984 rows of 196 pixels in [0, 1], digits 3 and 8."""
    return load("mnist38")
