"""What commands share: plans and files, output, waiting."""

from __future__ import annotations

import json
import math
import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from ..exceptions import KeyBurned, PlanMismatch
from ..parties import Party
from ..plan import TrainingPlan
from ..planning import check_plan
from ..protocol.outcome import RunStatus
from ..protocol.places import Place
from ._errors import StillMissingError

_T = TypeVar("_T")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
KEYS = click.Path(exists=True, file_okay=False, path_type=Path)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Write one JSON object to standard output."
)
force_option = click.option("--force", is_flag=True, help="Overwrite what is there.")
passphrase_option = click.option(
    "--passphrase-file",
    type=FILE,
    help="File with the passphrase that seals the secret key; for its owner's eyes only.",
)


def wait_option(default: float, what: str) -> Callable:
    """How long to wait, in seconds."""
    return click.option(
        "--wait",
        type=click.FloatRange(min=0),
        default=default,
        show_default=True,
        metavar="SECONDS",
        help=f"How long to wait for {what}. 0 looks once.",
    )


def debugging() -> bool:
    """Whether the user wants tracebacks."""
    return os.environ.get("SKFHE_DEBUG", "") not in ("", "0")


def say(text: str) -> None:
    """A message, on standard error."""
    click.echo(text, err=True)


def emit(as_json: bool, content: dict[str, Any], text: str) -> None:
    """The result, on standard output."""
    click.echo(json.dumps(plain(content), allow_nan=False) if as_json else text)


def plain(value: Any) -> Any:
    """The same for JSON, which has no infinity: null stands for what has no bound."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rows(title: str, pairs: Iterable[tuple[str, Any]]) -> str:
    """A title, and names with values below it; a list of objects has a line for each."""
    lines = [title]
    for name, value in pairs:
        value = plain(value)
        many = isinstance(value, list) and value and isinstance(value[0], dict)
        for one in value if many else [value]:
            lines.append(f"  {_shown(name):<24}{_shown(one)}")
            name = ""
    return "\n".join(lines)


def _shown(value: Any) -> str:
    """A value of JSON as text that does nothing to a terminal: a forger may have written it."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else "?" for c in value)
    if isinstance(value, dict):
        return ", ".join(f"{_shown(name)} {_shown(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    return "none" if value is None else json.dumps(value)


def party_list(parties: Iterable[Party]) -> list[dict[str, Any]]:
    """The table of parties for JSON."""
    return [
        {
            "party": one.party,
            "sees": one.sees,
            "protected_by": one.protected_by,
            "epsilon": one.epsilon,
            "delta": one.delta,
            "promised": one.promised,
            "guarantee": one.guarantee,
        }
        for one in parties
    ]


def read_plan(path: Path) -> TrainingPlan:
    """A plan whose guarantee follows from its figures."""
    plan = TrainingPlan.from_json(path.read_bytes())
    check_plan(plan)
    return plan


def require_same(plan: TrainingPlan, other: TrainingPlan, whose: str) -> None:
    """Refuse a party that has another plan."""
    if plan.digest != other.digest:
        raise PlanMismatch(
            f"{whose} must have plan {plan.digest[:12]}, got {other.digest[:12]}; see that all "
            "parties were given the same."
        )


def require_going_on(status: RunStatus) -> None:
    """Refuse a run that needs nothing more, or can have nothing more."""
    if status.done:
        raise KeyBurned("this run is done; get its model with `skfhe release`.")
    if status.burned:
        raise KeyBurned("this run was ended and its key burned; start a new one.")


def require_new(path: Path, force: bool) -> None:
    """Refuse to write over a file."""
    if path.exists() and not force:
        raise click.UsageError(f"{path} is there already; --force overwrites it.")


def write_file(path: Path, data: bytes) -> None:
    """Write a file, all of it or nothing."""
    Place(path.parent).write(path.name, data)


def read_secret_file(path: Path | None) -> str | None:
    """The one line of a file with a token or a passphrase; None for no file."""
    if path is None:
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o027:
            raise ValueError(
                f"{path} must be for its owner's eyes only, got mode {mode:04o}; use chmod 600."
            )
        lines = [line for line in file.read().splitlines() if line.strip()]
    if len(lines) != 1:
        raise ValueError(f"{path} must hold one line, got {len(lines)}.")
    return lines[0]


def passphrase_of(path: Path | None) -> bytes | None:
    """The passphrase in a file."""
    text = read_secret_file(path)
    return None if text is None else text.encode()


def wait_for(find: Callable[[], _T | None], seconds: float, what: str) -> _T:
    """What `find` gives, once it gives something.

    Raises
    ------
    StillMissingError
        If it did not in time.
    """
    end, pause, found = time.monotonic() + seconds, 0.2, find()
    if found is None and seconds:
        say(f"waiting for {what}, at most {seconds:g} s")
    while found is None:
        left = end - time.monotonic()
        if left <= 0:
            waited = f" after {seconds:g} s" if seconds else ""
            raise StillMissingError(
                f"still missing{waited}: {what}. Call again later: what is done stays."
            )
        time.sleep(min(pause, left))
        pause, found = min(1.5 * pause, 5.0), find()
    return found
