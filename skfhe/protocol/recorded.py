"""What a key holder's folder has on record, for those who only look.

It needs no lock and enters nothing, so it works beside the process that uses the folder. All that
it may write is SQLite's own: the end of a transaction in which a process was killed.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

from ..exceptions import StateError
from ..plan import TrainingPlan
from .folder_state import message_file, read_releases
from .key_holder import KeyHolder
from .outcome import RunStatus
from .state import RunState
from .vault import has_key


class RecordedRun(RunState):
    """A key holder's folder without its key.

    Parameters
    ----------
    folder : path-like
        Made by `skfhe.protocol.folder_state.FolderState`.

    Attributes
    ----------
    plan : TrainingPlan
        The run's plan.
    holder : KeyHolder
        Tells what is public: status, frame, model, and messages of keys that were made. It has no
        key and takes no step.
    has_key : bool
        Whether a secret key lies in the folder.

    Raises
    ------
    StateError
        If the folder is none of a key holder's, or damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        super().__init__()
        self.folder = Path(folder).absolute()
        journal = self.folder / "journal"
        if not journal.is_file():
            raise StateError(f"{self.folder} is no key holder's folder.")
        try:
            self.plan = TrainingPlan.from_json((self.folder / "plan.json").read_bytes())
            try:
                self._read(journal, "ro")
            except sqlite3.OperationalError:
                # What a killed process left half written is rolled back by who may write.
                self._read(journal, "rw")
            self.has_key = has_key(self.folder)
            self.burned = True  # to the key holder made of this, whatever the journal says
            self.holder = KeyHolder(self.plan, state=self)
        except (ValueError, TypeError, OSError, sqlite3.Error) as error:
            raise StateError(
                f"the key holder's folder {self.folder} is damaged: {error}"
            ) from None

    def _read(self, journal: Path, mode: str) -> None:
        connection = sqlite3.connect(f"{journal.as_uri()}?mode={mode}", uri=True)
        try:
            connection.execute("BEGIN")  # both of one moment
            query = "SELECT name, plan, burned FROM run"
            self.run, digest, ended = connection.execute(query).fetchone()
            releases = read_releases(connection)
        finally:
            connection.close()
        if digest != self.plan.digest:
            raise ValueError("its plan is not the one of its journal")
        self._ended = bool(ended)
        for release in releases:
            self.begin(release)

    def kept(self, name: str) -> bytes | None:
        path = self.folder / message_file(name)
        return path.read_bytes() if path.exists() else None

    def status(self) -> RunStatus:
        """Where the run stands; public."""
        return replace(self.holder.status(), burned=self._ended)
