"""What the scripts of peers.py share: rows from a file, and one line of JSON with what they cost.

Scripts run in environments of their own, so this needs nothing but NumPy.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
from machine import peak_memory, pin_to_one_core


@dataclass
class Figures:
    """What training cost; what does not apply is None.

    Attributes
    ----------
    versions : dict of str to str
        Of the packages behind it.
    parameters : str
        What was run, in a few words.
    pass_seconds : float
        One visit of every training row.
    extrapolated : bool
        Whether that is a multiple of what was measured.
    rows_per_step : int
        Rows between two changes of the weights.
    key_seconds, encrypt_seconds : float
        Making all keys, what is compiled for them included; encrypting all rows and labels.
    key_bytes, data_bytes : int
        All keys that the computing side needs; all rows and labels, encrypted.
    memory : int
        Largest resident set of the process, in bytes.
    train_seconds : float
        Everything from plain rows to a model, as far as it was run.
    accuracy : float
        On the test rows.
    trained : str
        What has that accuracy.
    simulated_accuracy : float
        The same for longer training, the same arithmetic in the clear.
    simulated : str
        What has that accuracy.
    """

    versions: dict[str, str]
    parameters: str
    pass_seconds: float
    extrapolated: bool
    rows_per_step: int
    train_seconds: float
    accuracy: float
    trained: str
    key_seconds: float | None = None
    encrypt_seconds: float | None = None
    key_bytes: int | None = None
    data_bytes: int | None = None
    simulated_accuracy: float | None = None
    simulated: str | None = None
    memory: int = field(default_factory=peak_memory)

    def show(self) -> None:
        """Print them as a line of JSON."""
        print(json.dumps({**asdict(self), "python": platform.python_version()}), flush=True)


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of packages."""
    return {package: version(package) for package in packages}


def start() -> SimpleNamespace:
    """Pin this process to a core and read the rows; labels are 0 and 1."""
    pin_to_one_core()
    with np.load(sys.argv[1]) as split:
        return SimpleNamespace(**{name: split[name] for name in split.files})


@contextmanager
def stopwatch():
    """Seconds spent in a block, as its `seconds` afterwards."""
    clock = SimpleNamespace(seconds=float("nan"))
    begin = time.perf_counter()
    yield clock
    clock.seconds = time.perf_counter() - begin


def linear_accuracy(rows: SimpleNamespace, weights: np.ndarray, bias: float) -> float:
    """Share of test rows on the right side of a plane."""
    return float(np.mean((rows.X_test @ weights + bias > 0) == rows.y_test))
