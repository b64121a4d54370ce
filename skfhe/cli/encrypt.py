"""``skfhe encrypt``: an owner's whole part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..exceptions import PlanMismatch
from ..plan import TrainingPlan
from ..protocol.data_owner import DataOwner
from ..protocol.dataset import is_complete
from ..protocol.manifest import read_manifest
from ..protocol.places import Place
from ..protocol.recorded import RecordedRun
from ..protocol.rows import RowCheck
from ..sources import RowSource, rows_of
from ._common import (
    FILE,
    KEYS,
    NEW_FILE,
    emit,
    json_option,
    passphrase_of,
    passphrase_option,
    read_plan,
    require_going_on,
    require_same,
    rows,
    say,
    wait_for,
    wait_option,
)
from ._connection import Connection, connection_options, require_one
from .keyholder import recorded_frame

_CHECKED_ROWS = 4096


@click.command()
@click.argument("plan_path", type=FILE, metavar="PLAN")
@click.argument("out")
@click.argument("data", nargs=-1, required=True)
@click.option("--owner", type=click.IntRange(min=0), help="Number of this owner, from 0.")
@connection_options
@click.option("--public-key", type=FILE, help="The key holder's, where there is no service.")
@click.option("--frame", "frame_path", type=NEW_FILE, help="The key holder's; may come later.")
@click.option("--keys", type=KEYS, help="Folder of the single owner who is the key holder too.")
@passphrase_option
@wait_option(3600, "the frame, which is made from the moments of all owners")
@click.option("--check", is_flag=True, help="Show what the row bound does; your eyes only.")
@json_option
def encrypt(
    plan_path: Path,
    out: str,
    data: tuple[str, ...],
    owner: int | None,
    connection: Connection | None,
    public_key: Path | None,
    frame_path: Path | None,
    keys: Path | None,
    passphrase_file: Path | None,
    wait: float,
    check: bool,
    as_json: bool,
) -> None:
    """Encrypt the rows of DATA, and this owner's noise, into the folder OUT.

    For a data owner. DATA are CSV or Parquet files, folders, patterns or URLs with the columns of
    the plan's schema; they are read in pieces. OUT is a folder or a URL that the evaluator reads,
    and the key holder must not.

    First the owner's noised, encrypted moments are written. From those of all owners the key
    holder makes the frame, which says how rows are centred and scaled. Then rows and noise for
    every step are encrypted. The manifest, which comes last, completes the folder. Called again,
    it goes on: noise that is there is never made anew.

    \b
    skfhe encrypt plan.json /shared/ward0 rows.csv --owner 0 \\
        --key-holder https://keys.example.org:8443 --token-file token --ca ca.pem
    skfhe encrypt plan.json ward1 'rows/*.parquet' --owner 1 \\
        --public-key public-key.skfhe --frame frame.skfhe
    skfhe encrypt plan.json mine rows.csv --keys keys --wait 0
    """
    require_one(key_holder=connection, public_key=public_key, keys=keys)
    if frame_path and connection:
        raise click.UsageError("the key holder's service has the frame: leave out --frame.")
    plan = read_plan(plan_path)
    if plan.encryption.symmetric and keys is None:
        raise PlanMismatch(
            "a plan of one owner is for one who holds the key: its error bounds are those of "
            "encryption under the secret key. Give --keys."
        )
    n_owners = plan.guarantee.n_owners
    if owner is None:
        if n_owners > 1:
            raise click.UsageError(f"--owner is needed: the plan has {n_owners} owners.")
        owner = 0
    if owner >= n_owners:
        raise PlanMismatch(f"--owner must be below the plan's {n_owners}, got {owner}.")
    source = rows_of([*data], schema=plan.schema)
    given = (connection, public_key, frame_path, keys, passphrase_file)
    with _party(plan, owner, *given) as (party, frame):
        if is_complete(out):
            say(f"{out} is complete: nothing is left to do.")
        else:
            _fill(party, out, source, frame, wait, check)
        content = _content(out, plan, party)
    page = [(name, one) for name, one in content.items() if name != "folder"]
    emit(as_json, content, rows(f"Encrypted data set in {out}", page))


@contextmanager
def _party(
    plan: TrainingPlan,
    owner: int,
    connection: Connection | None,
    public_key: Path | None,
    frame_path: Path | None,
    keys: Path | None,
    passphrase_file: Path | None,
) -> Iterator[tuple[DataOwner, Callable[[], bytes | None] | None]]:
    """The owner, and where the frame will come from."""
    in_file = frame_path and (lambda: frame_path.read_bytes() if frame_path.exists() else None)
    if connection is not None:
        with connection.open(plan) as holder:

            def frame() -> bytes | None:
                status = holder.status()
                require_going_on(status)
                return holder.frame() if "moments" in status.prepared else None

            yield DataOwner.with_public_key(plan, holder.public_key(), owner), frame
    elif public_key is not None:
        yield DataOwner.with_public_key(plan, public_key.read_bytes(), owner), in_file
    else:
        run = RecordedRun(keys)
        require_same(plan, run.plan, f"the run in {keys}")
        require_going_on(run.status())
        party = DataOwner.with_secret_key(keys, passphrase_of(passphrase_file))
        yield party, in_file or (lambda: recorded_frame(keys))


def _fill(
    party: DataOwner,
    out: str,
    source: RowSource,
    frame: Callable[[], bytes | None] | None,
    wait: float,
    check: bool,
) -> None:
    if check:
        say(f"for your eyes only: {_checked(source, party.plan)}")
    if party.plan.preparation.moments:
        party.save_moments(out, source)
        say(f"the moments are in {out}")
        if frame is None:
            frame, wait = lambda: None, 0.0
        what = "the key holder's frame, made from the moments of all owners"
        party.adopt(wait_for(frame, wait, what))
    party.save(out, source)


def _checked(source: RowSource, plan: TrainingPlan) -> RowCheck:
    """What the row bound does to the rows of a source, as `DataOwner.check` has it."""
    norms = np.concatenate(
        [np.linalg.norm(batch, axis=1) for batch, _ in source.batches(_CHECKED_ROWS)]
    )
    bound = plan.problem.data_norm
    return RowCheck(
        n_samples=len(norms),
        clipped=float(np.mean(norms > bound * (1 + 1e-12))),
        largest_norm=float(norms.max()),
        median_norm=float(np.median(norms)),
        data_norm=bound,
    )


def _content(out: str, plan: TrainingPlan, party: DataOwner) -> dict[str, Any]:
    """What the folder has, which must be this owner's part of this run."""
    manifest = read_manifest(Place(out))
    for name, needed in (("plan", plan.digest), ("run", party.run), ("owner", party.index)):
        if manifest[name] != needed:
            raise PlanMismatch(
                f"{out} holds a data set of {name} {manifest[name]!r}, needed is {needed!r}; "
                "choose another folder."
            )
    return {
        "folder": out,
        "plan": plan.digest,
        "run": party.run,
        "owner": party.index,
        "samples": manifest["n_samples"],
        "shards": len(manifest["shards"]),
        "bytes": sum(file["bytes"] for file in manifest["shards"]),
        "noise_bytes": sum(file["bytes"] for file in manifest["noise"]),
    }
