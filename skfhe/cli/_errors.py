"""Exit codes, and what of an error may be told."""

from __future__ import annotations

import traceback
from enum import IntEnum
from pathlib import Path

from ..exceptions import (
    BudgetExceeded,
    InfeasiblePlan,
    KeyBurned,
    StateError,
    WorkersLost,
)


class Code(IntEnum):
    """What the process ends with."""

    UNEXPECTED = 1
    USAGE = 2
    INFEASIBLE = 3
    INPUT = 4
    BUDGET = 5
    OVER = 6
    UNREACHABLE = 7
    MISSING = 8


class StillMissingError(Exception):
    """What another party has to give first is not there."""


# The first that fits. Messages of these are the package's own, or name files.
_CODES: dict[type[Exception], Code] = {
    InfeasiblePlan: Code.INFEASIBLE,
    BudgetExceeded: Code.BUDGET,
    KeyBurned: Code.OVER,
    StillMissingError: Code.MISSING,
    StateError: Code.INPUT,
    WorkersLost: Code.UNEXPECTED,
    ImportError: Code.UNEXPECTED,
    ConnectionError: Code.UNREACHABLE,
    FileNotFoundError: Code.INPUT,
    FileExistsError: Code.INPUT,
    IsADirectoryError: Code.INPUT,
    NotADirectoryError: Code.INPUT,
    PermissionError: Code.INPUT,
    OSError: Code.UNEXPECTED,
    ValueError: Code.INPUT,
}
_PACKAGE = Path(__file__).parents[1]


def explain(error: Exception) -> tuple[int, str]:
    """Exit code and one line.

    An error that this package has not raised itself is told by its class alone: its text may
    quote a row.
    """
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            if isinstance(error, ValueError) and not _is_ours(error):
                break
            return int(code), _line(error)
    if isinstance(error, RuntimeError) and _is_ours(error):
        return int(Code.UNEXPECTED), _line(error)
    return int(Code.UNEXPECTED), (
        f"unexpected {type(error).__name__}; set SKFHE_DEBUG=1 to see where (the traceback may "
        "quote rows)."
    )


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}."
    return " ".join(str(error).split()) or type(error).__name__


def _is_ours(error: Exception) -> bool:
    """Whether the package itself raised the error: its messages quote no row."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and _PACKAGE in Path(frames[-1].filename).parents
