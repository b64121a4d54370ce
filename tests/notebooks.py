"""Execute the notebooks of examples/ with this interpreter; `make notebooks` calls it.

What is executed is written to docs/_build/notebooks, as notebooks and as pages to read. The files
in examples/ stay as they are, without outputs.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
BUILT = ROOT / "docs" / "_build" / "notebooks"


class ThisInterpreter(KernelSpecManager):
    """One kernel under every name, whatever else is installed: the interpreter that runs."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Fill in the outputs, in the folder of the examples; an error in a cell is raised."""
    with TemporaryDirectory() as folder:  # of the sockets between kernel and client
        client = NotebookClient(
            notebook,
            timeout=600,
            coalesce_streams=True,
            resources={"metadata": {"path": str(ROOT / "examples")}},
            km=AsyncKernelManager(
                kernel_spec_manager=ThisInterpreter(), transport="ipc", ip=f"{folder}/kernel"
            ),
        )
        return client.execute(cleanup_kc=True)  # ends the kernel


def main() -> None:
    from nbconvert import HTMLExporter

    BUILT.mkdir(parents=True, exist_ok=True)
    for path in NOTEBOOKS:
        start = time.perf_counter()
        notebook = execute(nbformat.read(path, as_version=4))
        seconds = time.perf_counter() - start
        target = BUILT / path.name
        nbformat.write(notebook, target)
        page, _ = HTMLExporter().from_notebook_node(
            notebook, resources={"metadata": {"name": path.stem}}
        )
        target.with_suffix(".html").write_text(page)
        print(f"{target.with_suffix('.html').relative_to(ROOT)}: {seconds:.1f} s")


if __name__ == "__main__":
    main()
