"""Where a ledger's entries are: an SQLite file, or this process's memory."""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from ..exceptions import BudgetExceeded

try:
    import fcntl
except ImportError:  # Windows, where SQLite's locks are not POSIX's
    fcntl = None

# SQLite's own application id field marks the file as one of ours: "skfh".
_APPLICATION_ID = 0x736B6668
_SCHEMA = (
    "CREATE TABLE budget (name TEXT NOT NULL, epsilon REAL NOT NULL, delta REAL NOT NULL)",
    "CREATE TABLE entries (number INTEGER PRIMARY KEY, token TEXT NOT NULL, time TEXT NOT NULL, "
    "mechanism TEXT NOT NULL, dataset TEXT NOT NULL, neighboring TEXT NOT NULL, "
    "digest TEXT NOT NULL, squared_mu REAL NOT NULL, n_releases INTEGER NOT NULL, "
    "error_probability REAL NOT NULL, discreteness REAL NOT NULL)",
)
_BUSY_SECONDS = 60.0


@dataclass(frozen=True)
class LedgerEntry:
    """One mechanism that was paid for.

    Attributes
    ----------
    number : int
        Counts up from 1.
    token : str
        Random name, which no other entry of any ledger has.
    time : datetime
        When it was debited, UTC.
    mechanism : str
        What was run, usually the name of an estimator.
    dataset : str
        The ledger handle's name for the data.
    neighboring : {"add_remove", "replace_one"}
        The relation that the noise refers to.
    digest : str
        The training plan's, empty where there is none.
    squared_mu : float
        Sum over its releases of one over the squared noise multiplier; infinite if the noise was
        seeded.
    n_releases : int
        Gaussian releases.
    error_probability, discreteness : float
        What encryption errors and integer noise cost of delta.
    """

    number: int
    token: str
    time: datetime
    mechanism: str
    dataset: str
    neighboring: str
    digest: str
    squared_mu: float
    n_releases: int
    error_probability: float
    discreteness: float


class LedgerStore:
    """Entries that many handles share, with one writer at a time.

    Parameters
    ----------
    path : Path or None
        The file; None for memory.
    epsilon, delta : float
        The budget, written when the store is made and checked when it is opened.
    """

    def __init__(self, path: Path | None, epsilon: float, delta: float):
        self.path = path
        self._memory = _Memory() if path is None else None
        self.name = self._create(epsilon, delta)
        if self._memory:
            _IN_MEMORY[self.name] = self._memory

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._memory = _IN_MEMORY.get(self.name)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Serialised, durable when it ends, undone if it fails.

        Raises
        ------
        BudgetExceeded
            For a store in memory, outside the process that made it.
        ValueError
            If the file is gone, replaced or damaged.
        """
        with self._open("rw") as connection, _committed(connection):
            if _identity(connection, self.path)[0] != self.name:
                raise ValueError(f"{self.path} is not the ledger that it was; restore it.")
            yield connection

    def _create(self, epsilon: float, delta: float) -> str:
        """Make the store where there is none, and return its name."""
        with self._open("rwc") as connection, _committed(connection):
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                values = (uuid.uuid4().hex, epsilon, delta)
                connection.execute("INSERT INTO budget VALUES (?, ?, ?)", values)
            name, *budget = _identity(connection, self.path)
            if budget != [epsilon, delta]:
                raise ValueError(
                    f"the budget of {self.path} was set to epsilon={budget[0]:g}, "
                    f"delta={budget[1]:g} and must stay, got epsilon={epsilon:g}, "
                    f"delta={delta:g}."
                )
            return name

    @contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        """A connection: to a file anew each time, so that handles survive forks and threads."""
        if self.path is None:
            if self._memory is None or self._memory.process != os.getpid():
                raise BudgetExceeded(
                    "a ledger in memory counts in the process that made it, and this is another "
                    "one; give PrivacyLedger a path to share it with worker processes."
                )
            with self._memory.lock:
                yield self._memory.connection
            return
        with _file(self.path, mode) as connection:
            yield connection


class _Memory:
    """The database of a ledger without a file, which counts in one process only."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(
            ":memory:", check_same_thread=False, isolation_level=None
        )
        self.lock = threading.Lock()
        self.process = os.getpid()


# Where a handle that comes back from a pickle finds its memory again.
_IN_MEMORY: weakref.WeakValueDictionary[str, _Memory] = weakref.WeakValueDictionary()


def read(connection: sqlite3.Connection) -> list[LedgerEntry]:
    """All entries, oldest first."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM entries ORDER BY number")
    return [
        LedgerEntry(number, token, datetime.fromisoformat(time), *rest)
        for number, token, time, *rest in rows
    ]


def write(connection: sqlite3.Connection, entry: LedgerEntry) -> None:
    """Add an entry."""
    number, token, time, *rest = astuple(entry)
    marks = ", ".join("?" * len(fields(LedgerEntry)))
    connection.execute(
        f"INSERT INTO entries ({_COLUMNS}) VALUES ({marks})",
        (number, token, time.isoformat(), *rest),
    )


_COLUMNS = ", ".join(field.name for field in fields(LedgerEntry))


@contextmanager
def _file(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """A connection to a ledger's file, with no other one meanwhile."""
    with _exclusive(path):
        yield from _connected(path, mode)


def _connected(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    try:
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
        )
    except sqlite3.OperationalError as error:
        raise ValueError(f"the ledger {path} cannot be opened: {error}.") from None
    try:
        # EXTRA also syncs the folder: a committed debit survives a power failure.
        connection.execute("PRAGMA synchronous = EXTRA")
        yield connection
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path} is no usable privacy ledger: {error}.") from None
    finally:
        connection.close()


def stored_budget(path: Path) -> tuple[float, float]:
    """Epsilon and delta of a ledger's file, which must be there.

    Raises
    ------
    ValueError
        If it is not, or is no ledger.
    """
    if not path.is_file():
        raise ValueError(f"there is no ledger {path}; make one with a budget first.")
    with _file(path, "rw") as connection:
        _, epsilon, delta = _identity(connection, path)
        return epsilon, delta


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file beside the ledger.

    SQLite's own locks are POSIX's: any other code of this process that opens and closes the
    ledger's file, a backup say, drops them in the middle of a transaction. This one stays.
    """
    if fcntl is None:
        yield
        return
    try:
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise ValueError(f"the ledger {path} cannot be locked: {error.strerror}.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        # For all copies of the descriptor, a forked child's included; closing is for this one.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


@contextmanager
def _committed(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Take the write lock first: nothing that is read can change before the commit."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _identity(connection: sqlite3.Connection, path: Path | None) -> tuple[str, float, float]:
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise ValueError(f"{path} is no privacy ledger.")
    return connection.execute("SELECT name, epsilon, delta FROM budget").fetchone()
