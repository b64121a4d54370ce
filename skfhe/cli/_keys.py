"""A key holder's folder in the hands of a command, and the ledger that pays for its run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ..exceptions import StateError
from ..privacy.ledger import PrivacyLedger
from ..protocol.folder_state import FolderState
from ..protocol.key_holder import KeyHolder
from ..protocol.vault import has_key, write_private
from ._common import NEW_FILE

# Which ledger pays, so that no later command forgets it.
_LEDGER_FILE = "ledger.json"

ledger_option = click.option(
    "--ledger",
    "ledger_path",
    type=NEW_FILE,
    help="The ledger that pays for the run, if it is not where keygen was given it.",
)


def keep_ledger(folder: Path, ledger: PrivacyLedger | None) -> None:
    """Write down which ledger pays."""
    if ledger is not None:
        write_private(folder / _LEDGER_FILE, json.dumps({"path": str(ledger.path)}).encode())


def ledger_of(folder: Path, path: Path | None) -> PrivacyLedger | None:
    """The ledger that pays for a folder's run: the one given, else the one written down."""
    kept = folder / _LEDGER_FILE
    if path is None and kept.exists():
        try:
            path = Path(json.loads(kept.read_bytes())["path"])
        except (ValueError, KeyError, TypeError):
            raise StateError(f"{kept} is damaged; name the ledger with --ledger.") from None
    return None if path is None else PrivacyLedger.open(path)


@contextmanager
def opened(
    folder: Path, ledger_path: Path | None, passphrase: bytes | None
) -> Iterator[KeyHolder]:
    """The key holder of a folder. In the end the folder is left, and the key is not burned."""
    state = FolderState(folder, passphrase)
    try:
        if not (state.burned or has_key(folder)):
            raise StateError(f"{folder} has no key: finish making it with `skfhe keygen`.")
        yield KeyHolder(state.plan, ledger=ledger_of(folder, ledger_path), state=state)
    finally:
        state.close()
