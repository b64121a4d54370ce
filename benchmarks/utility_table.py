"""The cells of utility.py as Markdown: accuracies in percent, mean ± standard error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from cells import Cell, Key

OURS, ENCRYPTED, CEILING, FLOOR = "skfhe", "skfhe encrypted", "scikit-learn", "majority"
PEERS = ("diffprivlib", "opacus")
RELATIONS = ("add_remove", "replace_one")
MARK = "↓"

# Accuracies by seed, by everything else in a key.
Runs = Mapping[tuple, Mapping[int, float]]


class Exceeded(NamedTuple):
    """A peer that is more accurate than ours by more than the standard error."""

    data: str
    epsilon: float
    neighboring: str
    peer: str
    difference: float
    error: float
    seeds: int


def by_seed(cells: Iterable[Cell]) -> Runs:
    """Accuracies by seed; what covers both relations is there under both."""
    runs: dict = defaultdict(dict)
    for cell in cells:
        key = cell.key
        both = key.method == "diffprivlib"
        for relation in RELATIONS if both else (key.neighboring,):
            runs[key.data, key.method, key.epsilon, relation][key.seed] = cell.accuracy
    return runs


def standard_error(values: np.ndarray) -> float:
    """Of a mean; zero for a single value, which tells nothing of it."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def shown(values: Mapping[int, float]) -> str:
    """Mean ± standard error in percent."""
    if not values:
        return "–"
    percent = 100 * np.array(list(values.values()))
    spread = f" ± {standard_error(percent):.1f}" if len(percent) > 1 else ""
    return f"{percent.mean():.1f}{spread}"


def exceeded(runs: Runs, data: str, epsilon: float, relation: str) -> list[Exceeded]:
    """Peers that ours is not within one standard error of, over seeds that both have.

    The standard error is that of the mean difference by seed: sets without a test split have the
    same rows for the same seed.
    """
    ours, found = runs.get((data, OURS, epsilon, relation), {}), []
    for peer in PEERS:
        theirs = runs.get((data, peer, epsilon, relation), {})
        if common := sorted(ours.keys() & theirs.keys()):
            differences = np.array([ours[seed] - theirs[seed] for seed in common])
            error = standard_error(differences)
            if differences.mean() < -error:
                found.append(
                    Exceeded(data, epsilon, relation, peer, differences.mean(), error, len(common))
                )
    return found


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _sets(runs: Runs, sets: list[str], shapes: Mapping[str, str]) -> str:
    rows = []
    for data in sets:
        encrypted = runs.get((data, ENCRYPTED, 1.0, "add_remove"), {})
        simulated = runs.get((data, OURS, 1.0, "add_remove"), {})
        rows.append(
            [
                data,
                shapes.get(data, ""),
                shown(runs.get((data, FLOOR, None, None), {})),
                shown(runs.get((data, CEILING, None, None), {})),
                shown(encrypted),
                shown({seed: simulated[seed] for seed in encrypted if seed in simulated}),
            ]
        )
    header = ["set", "rows + test rows × columns, classes", "majority", "scikit-learn"]
    return _table([*header, "encrypted", "simulated, same seed"], rows)


def _relation(runs: Runs, sets: list[str], epsilons: list[float], relation: str) -> str:
    rows = []
    for data in sets:
        for method in (OURS, *PEERS):
            cells = []
            for epsilon in epsilons:
                values = runs.get((data, method, epsilon, relation), {})
                worse = method == OURS and exceeded(runs, data, epsilon, relation)
                cells.append(shown(values) + (f" {MARK}" if worse else ""))
            seeds = {len(runs.get((data, method, e, relation), {})) for e in epsilons} - {0}
            if seeds:
                count = "–".join(str(n) for n in sorted({min(seeds), max(seeds)}))
                rows.append([data, method, count, *cells])
    return _table(["set", "method", "seeds", *(f"ε = {e:g}" for e in epsilons)], rows)


def markdown(cells: Iterable[Cell], shapes: Mapping[str, str] | None = None) -> str:
    """The whole page.

    Parameters
    ----------
    cells : iterable of Cell
        Results.
    shapes : dict of str to str, default=None
        Rows and columns of sets, for the first table.
    """
    cells = list(cells)
    runs = by_seed(cells)
    sets = list(dict.fromkeys(cell.key.data for cell in cells))
    epsilons = sorted({cell.key.epsilon for cell in cells} - {None})
    versions = sorted({cell.version for cell in cells})
    spent = defaultdict(float)
    for cell in cells:
        spent[cell.key.method] += cell.seconds
    found = [
        one
        for relation in RELATIONS
        for data in sets
        for epsilon in epsilons
        for one in exceeded(runs, data, epsilon, relation)
    ]
    exceptions = [
        f"- {one.data}, ε = {one.epsilon:g}, {one.neighboring}: {one.peer} is better by "
        f"{-100 * one.difference:.1f} ± {100 * one.error:.1f} over {one.seeds} seeds"
        for one in found
    ]
    compared = sum(
        bool(runs.get((*place[:1], OURS, *place[2:]), {}).keys() & values.keys())
        for place, values in runs.items()
        if place[1] in PEERS
    )
    parts = ["# Accuracy under differential privacy"]
    parts.append(
        "Test accuracy in percent, mean ± standard error over seeds; δ = 1e-5. "
        f"{MARK}: a peer is more accurate by more than the standard error of the difference. "
        f"{', '.join(versions)}."
    )
    parts += ["## Sets: floor, ceiling, and one encrypted run at ε = 1"]
    parts += [_sets(runs, sets, shapes or {})]
    for relation in RELATIONS:
        parts += [f"## {relation}", _relation(runs, sets, epsilons, relation)]
    parts.append(f"## Exceptions: {len(exceptions)} of {compared} comparisons")
    parts.append("\n".join(exceptions) or "None.")
    seconds = ", ".join(f"{method} {total:.0f}" for method, total in spent.items())
    parts.append(f"Seconds of all cells together, by method: {seconds}.")
    return "\n\n".join(parts) + "\n"


def keys(data: str, method: str, epsilons, relations, seeds) -> list[Key]:
    """Every key of a method on a set."""
    return [Key(data, method, e, r, s) for e in epsilons for r in relations for s in seeds]
