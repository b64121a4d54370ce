"""Training without an end to its steps: accuracy, seconds, memory with bootstrapping.

    .venv-openfhe310/bin/python benchmarks/bootstrapping.py              every setting
    .venv-openfhe310/bin/python benchmarks/bootstrapping.py mnist38      one of them
    python benchmarks/bootstrapping.py --seeds 20                        simulated where OpenFHE
                                                                         cannot be imported

Simulated bootstraps err as real ones do. Noise is seeded, so that the simulated and the encrypted
run of a seed can be compared; the models are for measuring only.
"""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

from noninteractive import ALONE, PAPER, report

REFRESHED = {"bootstrapping": True}
# Name: data set, parameters, whether one run is encrypted.
SETTINGS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "breast_cancer": (
        "breast_cancer",
        {**ALONE, **REFRESHED, "epsilon": 2.0, "degree": 3, "max_iter": 15},
        True,
    ),
    "mnist38": ("mnist38", {**PAPER, **REFRESHED, "standardize": True, "max_iter": 20}, True),
    "mnist38, rows as they are": ("mnist38", {**PAPER, **REFRESHED, "max_iter": 20}, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", help=f"of {[*SETTINGS]} (default: all)")
    parser.add_argument("--seeds", type=int, default=5, help="simulated runs per setting (5)")
    options = parser.parse_args()
    able = importlib.util.find_spec("openfhe") is not None
    if not able:
        print("simulated alone: OpenFHE cannot be imported here (pip install 'skfhe[openfhe]')")
    for name in options.settings or SETTINGS:
        data, parameters, encrypt = SETTINGS[name]
        report(name, (data, parameters, encrypt and able), options.seeds, "openfhe")


if __name__ == "__main__":
    main()
