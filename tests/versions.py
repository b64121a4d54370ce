"""Run the tests with the oldest and the newest supported versions, where Pythons are found.

`make test-versions` calls it. Every pair gets a virtual environment of its own, `.venv-NAME`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAIRS = {
    "oldest": ("3.10", ["tenseal==0.3.16", "scikit-learn==1.7.*", "numpy==1.26.*"]),
    "newest": ("3.13", ["tenseal", "scikit-learn", "numpy"]),
}


def find(version: str) -> str | None:
    """An interpreter of a version that runs: on the path, or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for python in filter(None, found):
        if subprocess.run([python, "-c", "import venv"], capture_output=True).returncode == 0:
            return str(python)
    return None


def main() -> int:
    failures = []
    for name, (version, requirements) in PAIRS.items():
        python = find(version)
        if python is None:
            print(f"{name}: no Python {version} here, left out")
            continue
        folder = ROOT / f".venv-{name}"
        inside = str(folder / "bin" / "python")
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        install = [inside, "-m", "pip", "install", "--quiet", "--editable", ".[test]"]
        subprocess.run([*install, *requirements], check=True, cwd=ROOT)
        result = subprocess.run(
            [inside, "-m", "pytest", "-q", "-m", "not slow", "-n", "2"], cwd=ROOT
        )
        print(f"{name}: Python {version}, {' '.join(requirements)}: exit code {result.returncode}")
        failures += [name] * (result.returncode != 0)
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
