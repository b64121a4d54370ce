"""Benchmarks: public bounds, results that are kept and resumed, and the table made of them."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import bounds
import datasets
import utility
from cells import Cell, Cells, Key
from utility_table import MARK, OURS, markdown

SETS = list(bounds.all_rules())


def rules_of(name):
    """Column names, and one rule for each; None for the columns if one rule is for all."""
    rules = bounds.all_rules()[name]
    if "all" in rules:
        return None, [rules["all"]] * 5
    return list(rules["columns"]), list(rules["columns"].values())


def random_rows(name, n_rows=40, seed=0):
    """Rows within and beyond the bounds, with categories known and unknown."""
    rng = np.random.default_rng(seed)
    columns = []
    for rule in rules_of(name)[1]:
        if "order" in rule:
            columns.append(rng.choice(rule["order"], n_rows))
        elif "categories" in rule:
            columns.append(rng.choice([*rule["categories"], "unheard of"], n_rows))
        else:
            width = rule["high"] - rule["low"]
            columns.append(rng.uniform(max(rule["low"] - width, -0.5), 2 * rule["high"], n_rows))
    return np.array(columns, dtype=object).T


def intervals(name):
    """Least and largest value that the rules allow for every encoded column."""
    for rule in rules_of(name)[1]:
        if "categories" in rule:
            yield from [(0, 1)] * len(rule["categories"])
        else:
            yield rule.get("to", (-1, 1))  # an order's places are within [-1, 1] too


def check_within(name, X):
    low, high = np.array(list(intervals(name))).T
    if "all" in bounds.all_rules()[name]:
        low, high = low[0], high[0]
    assert np.min(X - low) >= -1e-12
    assert np.min(high - X) >= -1e-12


def test_every_set_has_rules():
    assert set(datasets.TABLES | datasets.VARIANTS) == set(SETS)


@pytest.mark.parametrize("name", SETS)
def test_rules_name_bounds_and_source(name):
    assert bounds.all_rules()[name]["source"]
    for rule in rules_of(name)[1]:
        assert rule["source"]
        named = rule.get("categories", rule.get("order"))
        if named:
            assert len(set(named)) == len(named)
        else:
            assert rule["low"] < rule["high"]
            assert not rule.get("log") or rule["low"] > -1


@pytest.mark.parametrize("name", SETS)
def test_encoded_values_are_within_their_intervals(name):
    check_within(name, bounds.encode(name, random_rows(name)))


@pytest.mark.parametrize("name", SETS)
def test_no_rule_depends_on_rows(name):
    """A row is encoded the same whatever the other rows are."""
    rows = random_rows(name)
    together = bounds.encode(name, rows)
    others = bounds.encode(name, np.vstack([rows[:3], random_rows(name, seed=1)]))
    alone = np.vstack([bounds.encode(name, row[None]) for row in rows])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[:3], others[:3])


@pytest.mark.parametrize("name", ["breast_cancer", "lbw", "pcs", "uis", "edin", "digits"])
def test_data_sets_are_within_their_intervals(name):
    try:
        first, again, other = (datasets.load(name, seed) for seed in (0, 0, 1))
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    for split in (first, other):
        check_within(name, np.vstack([split.X_train, split.X_test]))
    np.testing.assert_array_equal(first.X_train, again.X_train)
    assert not np.array_equal(first.X_train, other.X_train)


def cell(method=OURS, epsilon=1.0, neighboring="add_remove", seed=0, accuracy=0.5, stamp="now"):
    return Cell(Key("toy", method, epsilon, neighboring, seed), stamp, accuracy, 1.0, "one 1.0")


def test_cells_are_read_again(tmp_path):
    path = tmp_path / "results" / "cells.jsonl"
    for seed in range(3):
        Cells(path).add(cell(seed=seed))
    Cells(path).add(cell(seed=1, accuracy=0.7))
    kept = Cells(path)
    assert kept.all() == [cell(), cell(seed=1, accuracy=0.7), cell(seed=2)]
    assert kept.has(cell().key, "now")
    assert not kept.has(cell().key, "other rules")
    assert not kept.has(cell(seed=3).key, "now")


def test_half_a_line_is_left_out(tmp_path):
    """What a killed run leaves spoils neither the cells before nor those after."""
    path = tmp_path / "cells.jsonl"
    Cells(path).add(cell())
    Cells(path).add(cell(seed=1))
    path.write_text(path.read_text()[:-20])
    kept = Cells(path)
    assert kept.all() == [cell()]
    kept.add(cell(seed=2))
    assert Cells(path).all() == [cell(), cell(seed=2)]


def run_utility(folder, *more):
    utility.main(
        ["--sets", "breast_cancer", "--epsilons", "1", "--no-encrypted", "--results", str(folder)]
        + list(more)
    )
    return (folder / "utility.md").read_text()


def test_a_run_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(utility, "RELATIONS", ("add_remove",))
    page = run_utility(tmp_path, "--seeds", "1", "--peers")
    before = (tmp_path / "utility.jsonl").read_text()
    assert len(before.splitlines()) == 3  # floor, ceiling, ours
    fitted = []

    def fit(key, stamp):
        fitted.append(key.seed)
        return Cell(key, stamp, 0.5, 0.0, "made up")

    monkeypatch.setattr(utility, "run", fit)
    assert run_utility(tmp_path, "--seeds", "1", "--peers") == page
    assert (tmp_path / "utility.jsonl").read_text() == before
    assert fitted == []
    run_utility(tmp_path, "--seeds", "2", "--peers")
    assert fitted == [1] * 3
    monkeypatch.setattr(utility, "DELTA", 1e-6)  # another plan: ours is out of date
    utility.stamp.cache_clear()
    run_utility(tmp_path, "--seeds", "2", "--peers")
    assert fitted == [1] * 3 + [0, 1]
    utility.stamp.cache_clear()


def test_peers_that_are_not_installed_are_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(utility, "stamp", lambda *rest: "now")
    monkeypatch.setattr(utility, "run", lambda key, stamp: Cell(key, stamp, 0.5, 0.0, "made up"))
    monkeypatch.setattr(utility, "peer_python", lambda peer: tmp_path / "nowhere")
    page = run_utility(tmp_path, "--seeds", "1")
    assert "opacus: left out" in capsys.readouterr().out
    assert "opacus |" not in page


def test_the_table_marks_where_a_peer_is_better():
    """By more than the standard error of the difference, seed by seed."""
    ours = (0.80, 0.82, 0.84, 0.86)
    close = (0.83, 0.80, 0.86, 0.85)
    better = (0.83, 0.84, 0.87, 0.90)
    cells = []
    for seed in range(4):
        cells += [
            cell(seed=seed, accuracy=ours[seed]),
            cell(seed=seed, epsilon=2.0, accuracy=ours[seed]),
            cell("opacus", seed=seed, accuracy=close[seed]),
            cell("opacus", epsilon=2.0, seed=seed, accuracy=better[seed]),
            cell("diffprivlib", neighboring="replace_one", seed=seed, accuracy=0.7),
            cell("majority", None, None, seed=seed, accuracy=0.6),
        ]
    page = markdown(cells, {"toy": "8 + 2 × 3, 2"})
    assert f"| toy | skfhe | 4 | 83.0 ± 1.3 | 83.0 ± 1.3 {MARK} |" in page
    assert page.count("| toy | diffprivlib | 4 | 70.0 ± 0.0 | – |") == 2
    assert "| toy | 8 + 2 × 3, 2 | 60.0 ± 0.0 | – | – | – |" in page
    assert "## Exceptions: 1 of 3 comparisons" in page
    assert "- toy, ε = 2, add_remove: opacus is better by 3.0 ± 0.4 over 4 seeds" in page


def test_a_table_without_exceptions_says_so():
    page = markdown([cell(accuracy=0.9), cell("opacus", accuracy=0.8)])
    assert "## Exceptions: 0 of 1 comparisons\n\nNone." in page
