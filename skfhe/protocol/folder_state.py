"""A key holder's state in a folder, which survives the process at any moment.

``plan.json``      the plan
``journal``        SQLite: the run's name, every release before and after its decryption
``secret.key``     the secret key (`skfhe.protocol.vault`), until the run is burned
``*.skfhe``        public messages: public key, evaluation keys, the step's weights
``lock``           held by the process that uses the folder

A copy of the folder, or one restored from a backup, has forgotten what came after it was taken:
then a step could be released twice. Copy nothing while a run is not over.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..exceptions import StateError
from ..plan import TrainingPlan
from .state import Release, RunState, require_same_request
from .vault import SECRET_FILE, erase, read_secret, write_private, write_secret

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_APPLICATION_ID = 0x736B6672  # "skfr"
_SCHEMA = (
    "CREATE TABLE run (name TEXT NOT NULL, token TEXT NOT NULL, plan TEXT NOT NULL, "
    "burned INTEGER NOT NULL)",
    "CREATE TABLE releases (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, "
    "request TEXT NOT NULL, seeded INTEGER NOT NULL, certified TEXT NOT NULL, [values] BLOB)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
)


class FolderState(RunState):
    """The state of one run in a folder. Secret, as it has the key.

    From the same folder a run goes on where it stopped, and pays nothing again. A copy of the
    folder has forgotten what came after it was taken: copy nothing while a run is not over.

    Parameters
    ----------
    folder : path-like
        Made by `create`.
    passphrase : bytes, optional
        Seals the secret key at rest. Secret.

    Attributes
    ----------
    plan : TrainingPlan
        The run's plan.
    run, token : str
        Random names of the run, and of its entry in a privacy ledger.
    burned : bool
        Whether the key was destroyed.
    lasting : bool
        True: it outlives the process.
    folder : Path
        The absolute path.

    Raises
    ------
    StateError
        If the folder is none of a key holder's, damaged, or in use by another process.
    """

    lasting = True

    def __init__(self, folder: str | os.PathLike[str], passphrase: bytes | None = None):
        super().__init__()
        self.folder = Path(folder).absolute()
        self._passphrase = passphrase
        if not (self.folder / "journal").is_file():
            raise StateError(f"{self.folder} is no key holder's folder; make one with create().")
        self._journal: sqlite3.Connection | None = None
        self._lock: int | None = _locked(self.folder)
        try:
            self.plan = TrainingPlan.from_json((self.folder / "plan.json").read_bytes())
            self._journal = _connected(self.folder / "journal")
            with self._transaction() as journal:
                row = journal.execute("SELECT name, token, plan, burned FROM run").fetchone()
            self.run, self.token, digest, burned = row
            if digest != self.plan.digest:
                raise StateError(f"the plan in {self.folder} is not the one of its journal.")
            self.burned = bool(burned)
            if self.burned:
                self.burn()  # it may have been interrupted
        except (ValueError, TypeError, OSError, sqlite3.Error) as error:
            self.close()
            raise StateError(
                f"the key holder's folder {self.folder} is damaged: {error}"
            ) from None
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        plan: TrainingPlan,
        passphrase: bytes | None = None,
    ) -> FolderState:
        """Make the folder of a new run, readable by its owner alone.

        Parameters
        ----------
        folder : path-like
            Made if it is not there.
        plan : TrainingPlan
            The run's.
        passphrase : bytes, optional
            Seals the secret key at rest. Secret.

        Returns
        -------
        state : FolderState
            For `skfhe.KeyHolder`.

        Raises
        ------
        StateError
            If there is a run in it already.
        """
        place = Path(folder).absolute()
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.chmod(0o700)
        lock = _locked(place)
        try:
            _make(place, plan)
        finally:
            os.close(lock)
        return cls(place, passphrase)

    def __reduce__(self):
        raise TypeError("a key holder's state does not pickle: it leads to a secret key.")

    def close(self) -> None:
        """Leave the folder to another process."""
        if self._journal is not None:
            self._journal.close()
        if self._lock is not None:
            os.close(self._lock)
        self._journal = self._lock = None

    def secret(self) -> bytes | None:
        path = self.folder / SECRET_FILE
        if not path.exists():
            return None
        return read_secret(path, self.plan.digest, self.run, self._passphrase)

    def keep_secret(self, secret: Callable[[], bytes]) -> None:
        path = self.folder / SECRET_FILE
        write_secret(path, secret(), self.plan.digest, self.run, self._passphrase)

    def burn(self) -> None:
        try:
            with self._transaction() as journal:
                journal.execute("UPDATE run SET burned = 1")
        finally:  # without a key nothing can follow, whatever the journal says
            super().burn()
            erase(self.folder / SECRET_FILE)
            erase(self.folder / f"{SECRET_FILE}.new")

    def kept(self, name: str) -> bytes | None:
        path = self.folder / message_file(name)
        return path.read_bytes() if path.exists() else None

    def keep(self, name: str, data: Callable[[], bytes]) -> None:
        try:
            write_private(self.folder / message_file(name), data())
        except OSError as error:
            raise _unwritable(error) from None

    def begin(self, release: Release) -> None:
        row = (
            json.dumps(release.name),
            release.request,
            release.seeded,
            json.dumps(release.certified),
        )
        with self._transaction() as journal:
            journal.execute(
                "INSERT INTO releases (name, request, seeded, certified) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO NOTHING",
                row,
            )
            query = "SELECT request FROM releases WHERE name = ?"
            require_same_request(*journal.execute(query, row[:1]).fetchone(), release)

    def finish(self, name: str | int, values: NDArray) -> None:
        data = np.asarray(values, dtype="<f8").tobytes()
        with self._transaction() as journal:
            journal.execute(
                "UPDATE releases SET [values] = ? WHERE name = ?", (data, json.dumps(name))
            )

    def releases(self) -> list[Release]:
        with self._transaction() as journal:
            return read_releases(journal)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """On disk when it ends, undone if it fails, even at the end."""
        try:
            self._journal.execute("BEGIN IMMEDIATE")
            yield self._journal
            self._journal.execute("COMMIT")
        except sqlite3.Error as error:
            raise _unwritable(error) from None
        finally:
            if self._journal.in_transaction:
                self._journal.execute("ROLLBACK")


def _make(place: Path, plan: TrainingPlan) -> None:
    """Plan and journal of a new run; the journal last, and whole."""
    if (place / "journal").exists():
        raise StateError(f"{place} holds a run already; choose another folder.")
    fresh = RunState()
    write_private(place / "plan.json", plan.to_json(indent=1).encode())
    beside = place / "journal.new"
    beside.unlink(missing_ok=True)
    os.close(os.open(beside, os.O_CREAT | os.O_EXCL, 0o600))
    journal = _connected(beside)
    for statement in _SCHEMA:
        journal.execute(statement)
    values = (fresh.run, fresh.token, plan.digest, 0)
    journal.execute("INSERT INTO run VALUES (?, ?, ?, ?)", values)
    journal.close()
    os.replace(beside, place / "journal")


def message_file(name: str) -> str:
    """Where a message of this kind is kept."""
    return f"{name.replace(' ', '-')}.skfhe"


def read_releases(journal: sqlite3.Connection) -> list[Release]:
    """All releases of a journal, in order."""
    rows = journal.execute(
        "SELECT name, request, seeded, certified, [values] FROM releases ORDER BY number"
    )
    return [_release(*row) for row in rows.fetchall()]


def _release(
    name: str, request: str, seeded: int, certified: str, values: bytes | None
) -> Release:
    found = None if values is None else np.frombuffer(values, dtype="<f8")
    return Release(json.loads(name), request, bool(seeded), json.loads(certified), found)


def _unwritable(error: Exception) -> StateError:
    return StateError(
        f"the key holder's state cannot be used: {error}. Nothing was lost: mend the storage and "
        "send the same request again."
    )


def _connected(path: Path) -> sqlite3.Connection:
    journal = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    # EXTRA also syncs the folder: a committed release survives a power failure.
    journal.execute("PRAGMA synchronous = EXTRA")
    return journal


def _locked(folder: Path) -> int:
    """A descriptor that keeps other processes out of the folder while it is open."""
    if fcntl is None:
        raise StateError("a key holder's folder needs a system with POSIX file locks.")
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise StateError(
            f"another process uses the key holder's folder {folder}; stop it first."
        ) from None
    return lock
