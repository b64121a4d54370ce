"""Run the tests with the oldest and the newest supported versions, where Pythons are found.

`make test-versions` calls it. Every pair gets a virtual environment of its own, `.venv-NAME`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAIRS = {
    "oldest": ("3.10", ["tenseal==0.3.16", "scikit-learn==1.7.*", "numpy==1.26.*"]),
    "newest": ("3.13", ["tenseal", "scikit-learn", "numpy"]),
}
TESTS = ["tests/test_linear_model.py", "tests/test_protocol.py", "tests/test_backends.py"]


def works(python: str) -> bool:
    """Whether a command is there and runs (a version manager's shim may do neither)."""
    return (
        shutil.which(python) is not None
        and subprocess.run([python, "-c", "import venv"], capture_output=True).returncode == 0
    )


def main() -> int:
    failures = []
    for name, (version, requirements) in PAIRS.items():
        python = f"python{version}"
        if not works(python):
            print(f"{name}: no {python} here, left out")
            continue
        folder = ROOT / f".venv-{name}"
        inside = str(folder / "bin" / "python")
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        install = [inside, "-m", "pip", "install", "--quiet", "--editable", ".[test]"]
        subprocess.run([*install, *requirements], check=True, cwd=ROOT)
        result = subprocess.run(
            [inside, "-m", "pytest", "-q", "-m", "not slow", "-n", "2", *TESTS], cwd=ROOT
        )
        print(f"{name}: {python}, {' '.join(requirements)}: exit code {result.returncode}")
        failures += [name] * (result.returncode != 0)
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
