"""Results one by one: a file of JSON lines that a benchmark resumes from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import NamedTuple


class Key(NamedTuple):
    """What a cell is the result of; no epsilon and relation for what is not private."""

    data: str
    method: str
    epsilon: float | None
    neighboring: str | None
    seed: int


@dataclass(frozen=True)
class Cell:
    """One result.

    Attributes
    ----------
    key : Key
        What was run.
    stamp : str
        Hash of the rules it was run under; a cell with another stamp is out of date.
    accuracy : float
        On the test rows.
    seconds : float
        Training and scoring.
    version : str
        Of the method.
    """

    key: Key
    stamp: str
    accuracy: float
    seconds: float
    version: str


class Cells:
    """Cells on disk, one a line; what a killed run wrote last may be half a line.

    Parameters
    ----------
    path : Path
        The file; made with its folder when the first cell is added.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._lock = Lock()
        self._cells: dict[Key, Cell] = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            return
        key = Key(*(record.pop(field) for field in Key._fields))
        self._cells[key] = Cell(key, **record)

    def add(self, cell: Cell) -> None:
        """Keep a cell, in place of an older one."""
        record = asdict(cell)
        line = json.dumps({**record.pop("key")._asdict(), **record})
        with self._lock:
            self._cells[cell.key] = cell
            self.path.parent.mkdir(parents=True, exist_ok=True)
            ragged = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
            with self.path.open("a") as file:
                file.write("\n" * ragged + line + "\n")

    def clear(self) -> None:
        """Forget all cells."""
        self._cells.clear()
        self.path.unlink(missing_ok=True)

    def has(self, key: Key, stamp: str) -> bool:
        """Whether there is a cell of these rules."""
        return key in self._cells and self._cells[key].stamp == stamp

    def all(self) -> list[Cell]:
        """The newest cell of every key."""
        return list(self._cells.values())
