"""The gallery's examples are on its list, use public names alone, say what they show, and run."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PATHS = sorted((ROOT / "examples").glob("plot_*.py"))
# Quantities that are never released, and what a printed key would be called.
FORBIDDEN = re.compile(r"\bloss(es)?\b|secret[ _]?key|private[ _]?key", re.IGNORECASE)

paths = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def gallery_order():
    spec = importlib.util.spec_from_file_location("order", DOCS / "_ext" / "gallery_order.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(path):
    """Each cell's text, as reStructuredText, and its code."""
    for cell in path.read_text().split("\n# %%\n")[1:]:
        lines = cell.split("\n")
        n = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
        yield "\n".join(line[2:] for line in lines[:n]), "\n".join(lines[n:])


def calls(path):
    """The calls in a file: the name called, and the names of the arguments."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            yield name, [keyword.arg for keyword in node.keywords]


def test_every_example_has_its_place_in_the_reading_order():
    order = gallery_order()
    assert len(PATHS) >= 9
    assert {path.name for path in PATHS} == set(order.ORDER)
    assert sorted(order.ORDER, key=order.reading_order) == list(order.ORDER)


@paths
def test_begins_with_a_title_and_what_one_learns(path):
    title, underline, blank, *text = ast.get_docstring(ast.parse(path.read_text())).split("\n")
    assert underline == "=" * len(title) and not blank
    assert len(re.findall(r"[.?](\s|$)", " ".join(text))) >= 2


@paths
def test_uses_public_names_alone(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not any(part.startswith("_") for part in node.module.split("."))
            assert not any(alias.name.startswith("_") for alias in node.names)
        elif isinstance(node, ast.Import):
            assert not any("._" in alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr == "__name__", node.attr


@paths
def test_seeds_no_noise(path):
    """Splits may be seeded, and what has no privacy; a private fit with a seed has none."""
    for name, arguments in calls(path):
        seeded = [one for one in arguments if one and one.endswith("random_state")]
        private = name.startswith(("Encrypted", "DP")) or name in ("set_params", "private_scorer")
        assert not (seeded and private), name


@paths
def test_has_figures_that_are_told_in_words(path):
    """Every cell that shows a figure begins with a text, which says what to look at."""
    found = [text for text, code in cells(path) if "plt.show()" in code]
    assert found and all(text.strip() for text in found)
    assert len(re.findall(r"\bLook\b|\blook\b", "\n".join(found))) >= 1


@paths
def test_says_which_fits_are_simulated(path):
    prose = " ".join(" ".join(text for text, _ in cells(path)).split())
    code = "\n".join(code for _, code in cells(path))
    simulated = '"simulated"' in code or "TradeoffDisplay" in code
    assert simulated == ("**simulated**" in prose)
    assert not simulated or "nothing is encrypted" in prose


@paths
def test_links_lead_to_pages(path):
    """The last cell points to the guide, and no link is broken."""
    text = path.read_text()
    links = re.findall(r":doc:`([^`]+)`", text)
    assert ":doc:`/" in text.split("\n# %%\n")[-1]
    for link in links:
        target = DOCS / link[1:] if link.startswith("/") else ROOT / "examples" / link
        assert target.with_suffix(".md").exists() or target.with_suffix(".py").exists(), link


@pytest.mark.slow
@paths
def test_runs_and_shows_no_more_than_it_may(path):
    """As a script, with nothing on stderr: a warning that a reader should see would be printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-W", "error::RuntimeWarning", path],
        env={**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout and not FORBIDDEN.search(done.stdout)
