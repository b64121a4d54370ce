"""Accuracy of the network beside the linear model and other packages; defaults only.

    python benchmarks/network_utility.py                              everything; an hour
    python benchmarks/network_utility.py --sets digits --seeds 5

Everybody gets the same columns, scaled by public bounds, and one rule for all sets, fixed
beforehand. Constants behind our defaults were chosen by study.py, on sets most of which are here
too; Opacus' recipe was chosen on others. Rows are added or removed, delta is 1e-5.

- the network: `EncryptedDPMLPClassifier(epsilon, delta)`, 16 hidden units, simulated; the seed is
  that of the noise, of the split and of the initial weights;
- the linear model: `EncryptedDPLogisticRegression(epsilon, delta)`, simulated, same seed;
- Opacus: DP-SGD on a network of 16 hidden units (peer_opacus_network.py), same seed;
- scikit-learn's `MLPClassifier((16,))` and `LogisticRegression` without privacy are the ceilings,
  the majority class of the training rows the floor.

Sets without a test split have the stratified 80/20 split of every seed, the same for all methods.
Two made-up sets are there because no plane tells their classes apart: a circle within a circle
(and two columns of noise), and a Gaussian cut at a radius. Opacus runs in the environment of
`make peer-environments`. Every result is kept at once in a file of JSON lines, and not computed
again unless the rows, the rules or the training plan change; `--fresh` starts anew.
"""

from __future__ import annotations

import argparse
import hashlib
import time
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import bounds
import datasets
import numpy as np
import sklearn
import utility
from cells import Cell, Cells, Key
from joblib import Parallel, delayed
from sklearn.datasets import make_circles, make_gaussian_quantiles
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from utility_table import CEILING, FLOOR, Runs, _table, by_seed, keys, shown, standard_error

import skfhe
from skfhe import EncryptedDPLogisticRegression, EncryptedDPMLPClassifier, SeededNoiseWarning

NETWORK, LINEAR, PEER = "skfhe network", "skfhe linear", "opacus_network"
NETWORK_CEILING = "scikit-learn network"
PRIVATE = (NETWORK, LINEAR, PEER)
AHEAD, BEHIND = "↑", "↓"
# Of MLPClassifier, whose initial weights matter little where the test rows stay the same.
CEILING_SEEDS = 5
EPSILONS = {
    "breast_cancer": (1.0, 2.0, 5.0),
    "digits": (5.0, 10.0),
    "mnist38": (3.0, 1.0, 10.0),
    "circles": (3.0,),
    "quantiles": (3.0,),
    "pcs": (2.0,),
    "edin": (2.0,),
    "nhanes3": (3.0,),
    "credit": (3.0,),
    "adult": (3.0,),
}


def _circles() -> datasets.Table:
    """Columns that the classes depend on have the radius 1 and noise of 0.1: 1.5 bounds them."""
    X, y = make_circles(5000, noise=0.1, factor=0.5, random_state=0)
    noise = np.random.default_rng(0).normal(scale=0.5, size=(len(X), 2))
    return datasets.Table(bounds.scale(np.hstack([X, noise]), {"low": -1.5, "high": 1.5}), y, None)


def _quantiles() -> datasets.Table:
    """Standard normal columns: 3 bounds nearly all."""
    X, y = make_gaussian_quantiles(n_samples=8000, n_features=5, n_classes=2, random_state=0)
    return datasets.Table(bounds.scale(X, {"low": -3.0, "high": 3.0}), y, None)


MADE = {"circles": _circles, "quantiles": _quantiles}


def made_known():
    """Within, the made-up sets are among those of datasets.py."""
    return patch.dict(datasets.TABLES, MADE)


def load(name: str, seed: int = 0) -> datasets.Split:
    """Rows of a set."""
    with made_known():
        return datasets.load(name, seed)


def estimator(key: Key):
    """What is fitted for a key that is not Opacus'."""
    if key.method == FLOOR:
        return DummyClassifier(strategy="most_frequent")
    if key.method == CEILING:
        return LogisticRegression(max_iter=1000)
    if key.method == NETWORK_CEILING:
        return MLPClassifier((16,), max_iter=500, random_state=key.seed)
    options = {"backend": "simulated", "random_state": key.seed}
    if key.method == NETWORK:
        return EncryptedDPMLPClassifier(
            key.epsilon, utility.DELTA, initial_seed=key.seed, **options
        )
    return EncryptedDPLogisticRegression(key.epsilon, utility.DELTA, **options)


@cache
def stamp(data: str, method: str, epsilon: float | None) -> str:
    """A hash of what decides a result: rows, and our plan or Opacus' rules."""
    split = load(data)
    parts = [np.ascontiguousarray(split.X_train).tobytes(), split.y_train.tobytes()]
    if method == PEER:
        parts += [
            (utility.HERE / f"{peer}.py").read_bytes()
            for peer in ("peer_opacus", "peer_opacus_network")
        ]
    elif method in PRIVATE:
        n_classes = len(np.unique(split.y_train))
        plan = estimator(Key(data, method, epsilon, None, 0)).plan(*split.X_train.shape, n_classes)
        parts.append(plan.digest.encode())
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def run(key: Key, stamped: str) -> Cell:
    """Fit and score what is not Opacus'."""
    warnings.simplefilter("ignore", SeededNoiseWarning)
    warnings.simplefilter("ignore", ConvergenceWarning)
    split = load(key.data, key.seed)
    start = time.perf_counter()
    score = estimator(key).fit(split.X_train, split.y_train).score(split.X_test, split.y_test)
    package = skfhe if key.method in PRIVATE else sklearn
    version = f"{package.__name__} {package.__version__}"
    return Cell(key, stamped, float(score), time.perf_counter() - start, version)


def run_peer(cells: Cells, wanted: list[tuple[Key, str]]) -> None:
    """Run what is missing of Opacus, if it is installed."""
    python = utility.peer_python("opacus")
    if not python.exists():
        print("  opacus: left out, it is not installed; `make peer-environments` does", flush=True)
        return
    with TemporaryDirectory() as folder, made_known():
        utility.keep(cells, utility.run_peer(python, wanted, Path(folder)))


def wanted_keys(data: str, seeds: int, peer_seeds: int) -> dict[str, list[Key]]:
    """Everything asked for of a set, by method."""
    with made_known():
        same_rows = datasets.has_test_split(data)
    once = range(1 if same_rows else seeds)
    few = range(min(seeds, CEILING_SEEDS) if same_rows else seeds)
    open_to_all = {FLOOR: once, CEILING: once, NETWORK_CEILING: few}
    wanted = {name: keys(data, name, [None], [None], those) for name, those in open_to_all.items()}
    for name, count in {NETWORK: seeds, LINEAR: seeds, PEER: peer_seeds}.items():
        wanted[name] = keys(data, name, EPSILONS[data], ["add_remove"], range(count))
    return wanted


def complete(cells: Cells, data: str, options: argparse.Namespace) -> None:
    """Run what is missing of a set."""
    for method, asked in wanted_keys(
        data, options.seeds, options.peer_seeds or options.seeds
    ).items():
        start = time.perf_counter()
        stamped = [(key, stamp(*key[:3])) for key in asked]
        missing = [pair for pair in stamped if not cells.has(*pair)]
        if not missing:
            continue
        if method == PEER:
            run_peer(cells, missing)
        else:
            parallel = Parallel(options.n_jobs, return_as="generator")
            utility.keep(cells, parallel(delayed(run)(*pair) for pair in missing))
        seconds = time.perf_counter() - start
        print(f"  {data}, {method}: {len(missing)} missing, {seconds:.0f} s", flush=True)


def difference(runs: Runs, data: str, epsilon: float, other: str) -> tuple[str, str | None]:
    """The network's accuracy less another's, over seeds that both have, and its mark.

    There is none where fewer than two seeds leave the standard error unknown.
    """
    ours, theirs = (runs.get((data, name, epsilon, "add_remove"), {}) for name in (NETWORK, other))
    common = sorted(ours.keys() & theirs.keys())
    if len(common) < 2:
        return "–", None
    differences = 100 * np.array([ours[seed] - theirs[seed] for seed in common])
    mean, error = differences.mean(), standard_error(differences)
    mark = AHEAD if mean > error else BEHIND if mean < -error else ""
    return f"{round(mean, 2) + 0.0:+.2f} ± {error:.2f} {mark}".rstrip(), mark


def _row(runs: Runs, data: str, epsilon: float) -> list[str]:
    private = [runs.get((data, name, epsilon, "add_remove"), {}) for name in PRIVATE]
    seeds = [len(values) for values in private]
    references = [
        shown(runs.get((data, name, None, None), {})) for name in (NETWORK_CEILING, CEILING, FLOOR)
    ]
    network, linear, peer = map(shown, private)
    if 0 < seeds[2] != seeds[0]:
        peer += f" ({seeds[2]} seeds)"
    to_linear, to_peer = (difference(runs, data, epsilon, name)[0] for name in (LINEAR, PEER))
    shared = [data, f"{epsilon:g}", f"{seeds[0]}"]
    return [*shared, network, linear, to_linear, peer, to_peer, *references]


def markdown(cells: Iterable[Cell], shapes: dict[str, str]) -> str:
    """The whole page: the table, and where the network is ahead of others and where behind."""
    cells = list(cells)
    runs = by_seed(cells)
    places = [
        (data, epsilon)
        for data in EPSILONS
        for epsilon in sorted(EPSILONS[data])
        if (data, NETWORK, epsilon, "add_remove") in runs
    ]
    header = ["set", "ε", "seeds", "network", "linear model", "network − linear"]
    header += ["Opacus network", "network − Opacus"]
    header += ["plain network", "plain linear model", "majority"]
    parts = [
        "# Accuracy of a network under differential privacy",
        "Test accuracy in percent, mean ± standard error over seeds; rows added or removed, "
        f"δ = {utility.DELTA:g}. {AHEAD}, {BEHIND}: the network is more, or less, accurate by "
        "more than the standard error of the mean difference by seed. "
        f"{', '.join(sorted({cell.version for cell in cells}))}.",
        _table(["set", "rows + test rows × columns, classes"], [[*one] for one in shapes.items()]),
        _table(header, [_row(runs, *place) for place in places]),
    ]
    for name, label in ((LINEAR, "the linear model"), (PEER, "Opacus")):
        marks = {place: difference(runs, *place, name)[1] for place in places}
        for wanted, word in ((AHEAD, "ahead of"), ("", "level with"), (BEHIND, "behind")):
            found = [f"{data} at {e:g}" for (data, e), mark in marks.items() if mark == wanted]
            parts.append(f"The network is {word} {label}: {', '.join(found) or 'nowhere'}.")
    seconds = {}
    for cell in cells:
        seconds[cell.key.method] = seconds.get(cell.key.method, 0.0) + cell.seconds
    spent = ", ".join(f"{method} {total:.0f}" for method, total in seconds.items())
    parts.append(f"Seconds of all cells together, by method: {spent}.")
    return "\n\n".join(parts) + "\n"


def shape(data: str) -> str:
    """Rows, columns and classes of a set."""
    with made_known():
        return utility.shape(data)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=list(EPSILONS))
    parser.add_argument("--seeds", type=int, default=20, help="runs of every method (20)")
    parser.add_argument("--peer-seeds", type=int, help="runs of Opacus, the slowest (as --seeds)")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--n-jobs", type=int, default=1, help="processes, Opacus apart (1)")
    parser.add_argument("--results", type=Path, default=utility.HERE / "results", help="folder")
    options = parser.parse_args(arguments)
    cells, found, page = Cells(options.results / "network_utility.jsonl"), {}, ""
    if options.fresh:
        cells.clear()
    for data in options.sets or EPSILONS:
        try:
            found[data] = shape(data)
        except FileNotFoundError as missing:
            print(f"{data}: left out, {missing}")
            continue
        print(f"{data}: {found[data]}", flush=True)
        complete(cells, data, options)
        current = [
            cell
            for cell in cells.all()
            if cell.key.data in found and cell.stamp == stamp(*cell.key[:3])
        ]
        page = markdown(current, found)
        options.results.mkdir(parents=True, exist_ok=True)
        (options.results / "network_utility.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
