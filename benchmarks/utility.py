"""Accuracy at many epsilons, for both relations, beside other packages; defaults only.

    python benchmarks/utility.py                                  everything; hours
    python benchmarks/utility.py --sets lbw --epsilons 1 --seeds 5 --peers opacus

Everybody gets the same columns, scaled by public bounds (bounds.json), and rules that are fixed
beforehand: nothing is tuned on these sets.

- ours: `EncryptedDPLogisticRegression(epsilon, delta, neighboring=...)`, simulated; and one
  encrypted run per set at epsilon 1, to be compared with the simulated one of its seed;
- diffprivlib: objective perturbation, pure epsilon-DP (peer_diffprivlib.py), rows shortened to
  the public norm that ours has, one run for both relations;
- Opacus: DP-SGD (peer_opacus.py), with twice the noise for rows that are replaced;
- scikit-learn's `LogisticRegression` without privacy is the ceiling, the majority class of the
  training rows the floor.

Sets without a test split have the stratified 80/20 split of every seed, the same for all methods;
the seed is that of the noise too. Peers run in environments of their own (`make
peer-environments`) and are left out where those are missing. Every result is kept at once in a
file of JSON lines, and not computed again unless the rules or the training plan change; `--fresh`
starts anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import bounds
import datasets
import numpy as np
import sklearn
from cells import Cell, Cells, Key
from joblib import Parallel, delayed
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from utility_table import CEILING, ENCRYPTED, FLOOR, OURS, PEERS, RELATIONS, keys, markdown

import skfhe
from skfhe import EncryptedDPLogisticRegression, SeededNoiseWarning

HERE = Path(__file__).resolve().parent
EPSILONS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
DELTA = 1e-5


def estimator(key: Key):
    """What is fitted for a key that is not a peer's."""
    if key.method == CEILING:
        return LogisticRegression(max_iter=1000)
    if key.method == FLOOR:
        return DummyClassifier(strategy="most_frequent")
    return EncryptedDPLogisticRegression(
        key.epsilon,
        DELTA,
        neighboring=key.neighboring,
        backend="tenseal" if key.method == ENCRYPTED else "simulated",
        random_state=key.seed,
    )


@cache
def stamp(data: str, method: str, epsilon: float | None, neighboring: str | None) -> str:
    """A hash of what decides a result: bounds, and our plan or the peer's rules."""
    parts = [bounds.digest(data)]
    if method in PEERS:
        parts.append((HERE / f"peer_{method}.py").read_text())
    elif method in (OURS, ENCRYPTED):
        split = datasets.load(data)
        n_classes = len(np.unique(split.y_train))
        model = estimator(Key(data, method, epsilon, neighboring, 0))
        parts.append(model.plan(*split.X_train.shape, n_classes).digest)
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def run(key: Key, stamped: str) -> Cell:
    """Fit and score what is ours, or not private."""
    warnings.simplefilter("ignore", SeededNoiseWarning)
    split = datasets.load(key.data, key.seed)
    start = time.perf_counter()
    score = estimator(key).fit(split.X_train, split.y_train).score(split.X_test, split.y_test)
    package = sklearn if key.method in (CEILING, FLOOR) else skfhe
    version = f"{package.__name__} {package.__version__}"
    return Cell(key, stamped, float(score), time.perf_counter() - start, version)


def save_split(folder: Path, data: str, seed: int) -> str:
    """A split as a file for peers, one for all seeds if the set has its own."""
    seed = 0 if datasets.has_test_split(data) else seed
    path = folder / f"{data}-{seed}.npz"
    if not path.exists():
        np.savez(path, **datasets.load(data, seed)._asdict())
    return str(path)


def run_peer(python: Path, wanted: list[tuple[Key, str]], folder: Path) -> Iterator[Cell]:
    """Results of a peer, as it gives them.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    method = wanted[0][0].method
    tasks = [
        {**key._asdict(), "delta": DELTA, "file": save_split(folder, key.data, key.seed)}
        for key, _ in wanted
    ]
    listing = folder / f"{method}-{id(wanted)}.json"
    listing.write_text(json.dumps(tasks))
    command = [python, "-I", HERE / f"peer_{method}.py", listing]
    single = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=single) as process:
        for line in process.stdout:
            result = json.loads(line)
            key, stamped = wanted[result.pop("task")]
            yield Cell(key, stamped, **result)
    if process.returncode:
        raise RuntimeError(f"{method} stopped with {process.returncode}; see above.")


def peer_python(peer: str) -> Path:
    """The interpreter of a peer's environment."""
    return HERE.parent / f".venv-{peer}" / "bin" / "python"


def keep(cells: Cells, new: Iterable[Cell]) -> None:
    """Keep results as they come."""
    for cell in new:
        cells.add(cell)


def peer_results(cells: Cells, peer: str, wanted: list[tuple[Key, str]], n_jobs: int) -> None:
    """Run what is missing of a peer, if it is installed."""
    python = peer_python(peer)
    if not python.exists():
        print(f"  {peer}: left out, not installed; `make peer-environments` does", flush=True)
        return
    parts = [part for part in (wanted[i::n_jobs] for i in range(n_jobs)) if part]
    with TemporaryDirectory() as folder, ThreadPoolExecutor(n_jobs) as pool:
        for key, _ in wanted:
            save_split(Path(folder), key.data, key.seed)
        jobs = [pool.submit(keep, cells, run_peer(python, p, Path(folder))) for p in parts]
        for job in jobs:
            try:
                job.result()
            except RuntimeError as failure:
                print(f"  {failure}", flush=True)


def wanted_keys(data: str, options: argparse.Namespace) -> dict[str, list[Key]]:
    """Everything asked for of a set, by method; what is quick first."""
    epsilons, seeds = options.epsilons, range(options.seeds)
    splits = range(1) if datasets.has_test_split(data) else seeds
    wanted = {
        FLOOR: keys(data, FLOOR, [None], [None], splits),
        CEILING: keys(data, CEILING, [None], [None], splits),
        OURS: keys(data, OURS, epsilons, RELATIONS, seeds),
    }
    for peer in options.peers:
        relations = RELATIONS if peer == "opacus" else ["replace_one"]
        wanted[peer] = keys(data, peer, epsilons, relations, seeds)
    if options.encrypted:
        wanted[ENCRYPTED] = [Key(data, ENCRYPTED, 1.0, "add_remove", 0)]
        wanted[OURS] += [Key(data, OURS, 1.0, "add_remove", 0)]
    return wanted


def complete(cells: Cells, data: str, options: argparse.Namespace) -> None:
    """Run what is missing of a set."""
    for method, asked in wanted_keys(data, options).items():
        start = time.perf_counter()
        stamped = [(key, stamp(*key[:4])) for key in dict.fromkeys(asked)]
        missing = [pair for pair in stamped if not cells.has(*pair)]
        if not missing:
            continue
        if method in PEERS:
            peer_results(cells, method, missing, options.n_jobs)
        else:
            parallel = Parallel(options.n_jobs, return_as="generator")
            keep(cells, parallel(delayed(run)(*pair) for pair in missing))
        seconds = time.perf_counter() - start
        print(f"  {data}, {method}: {len(missing)} missing, {seconds:.0f} s", flush=True)


def current(cells: Cells, sets: Iterable[str]) -> list[Cell]:
    """Cells of these sets that are up to date, in the order of the sets."""
    order = {data: place for place, data in enumerate(sets)}
    chosen = [
        cell
        for cell in cells.all()
        if cell.key.data in order and cell.stamp == stamp(*cell.key[:4])
    ]
    return sorted(chosen, key=lambda cell: order[cell.key.data])


def shape(data: str) -> str:
    """Rows, columns and classes of a set."""
    split = datasets.load(data)
    rows, columns = split.X_train.shape
    n_classes = len(np.unique(split.y_train))
    return f"{rows:,} + {len(split.y_test):,} × {columns}, {n_classes}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=list(datasets.TABLES))
    parser.add_argument("--epsilons", nargs="+", type=float, default=list(EPSILONS))
    parser.add_argument("--seeds", type=int, default=20, help="runs of every method (20)")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--encrypted", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--n-jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder")
    options = parser.parse_args(arguments)
    start, cells, found = time.perf_counter(), Cells(options.results / "utility.jsonl"), {}
    if options.fresh:
        cells.clear()
    page = options.results / "utility.md"
    for data in options.sets or datasets.TABLES:
        try:
            found[data] = shape(data)
        except FileNotFoundError as missing:
            print(f"{data}: left out, {missing}")
            continue
        print(f"{data}: {found[data]}", flush=True)
        complete(cells, data, options)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(markdown(current(cells, found), found))
    print(f"{time.perf_counter() - start:.0f} s in all; {page}")


if __name__ == "__main__":
    main()
