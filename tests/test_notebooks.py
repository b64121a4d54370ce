"""The notebooks of examples/ are stored clean, run, and show no more than they may."""

import re
import sys

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

from notebooks import NOTEBOOKS, ROOT, execute  # noqa: E402

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# Quantities that are never released, and what a printed key would be called.
FORBIDDEN = re.compile(r"\bloss(es)?\b|secret[ _]?key|private[ _]?key", re.IGNORECASE)


def paths(test):
    return pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)(test)


def texts(cell):
    """What a cell's outputs say, in every text format, with the name of the stream."""
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            yield output.name, output.text
        for kind, content in output.get("data", {}).items():
            if not kind.startswith("image/"):
                yield kind, str(content)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 3


@paths
def test_is_stored_clean(path):
    """No outputs, no counts, no metadata of an editor; written as nbformat writes."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata == METADATA
    for cell in notebook.cells:
        assert not cell.metadata and not cell.get("outputs") and not cell.get("attachments")
        assert cell.get("execution_count") is None
        assert cell.source == cell.source.strip()
    assert path.read_text() == nbformat.writes(notebook) + "\n"


@paths
def test_is_linked(path):
    for page in ("README.md", "examples/README.rst"):
        assert f"examples/{path.name}" in (ROOT / page).read_text(), page


@pytest.mark.slow
def test_the_kernel_is_this_interpreter():
    cell = nbformat.v4.new_code_cell("import sys\nprint(sys.executable)")
    (cell,) = execute(nbformat.v4.new_notebook(cells=[cell])).cells
    assert [text.strip() for _, text in texts(cell)] == [sys.executable]


@pytest.mark.slow
@paths
def test_runs_and_shows_no_more_than_it_may(path):
    """Nothing on stderr but progress: a warning that a reader should see is caught and printed."""
    notebook = execute(nbformat.read(path, as_version=4))
    shown = [item for cell in notebook.cells for item in texts(cell)]
    assert shown
    for kind, text in shown:
        assert not FORBIDDEN.search(text), text
        assert kind != "stderr" or re.fullmatch(r"\s*steps: 100%.*\s*", text), text
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
