"""``skfhe fit``: the evaluator's part."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from ..protocol.dataset import EncryptedDataset, is_complete, shares_of
from ..protocol.evaluator import CACHE_BYTES, Evaluator
from ..protocol.outcome import RunStatus
from ..protocol.session import Costs, Holder, make_evaluator, prepare, train_dataset
from ._common import (
    FILE,
    KEYS,
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
from ._keys import ledger_option, opened


@click.command()
@click.argument("plan_path", type=FILE, metavar="PLAN")
@click.argument("data", nargs=-1, required=True)
@connection_options
@click.option("--keys", type=KEYS, help="Folder of a key holder in this very process.")
@ledger_option
@passphrase_option
@click.option("--checkpoint", required=True, help="Folder or URL for keys and answers.")
@click.option("--jobs", type=int, help="Processes that steps are spread over; -1: all cores.")
@click.option(
    "--cache-gb",
    type=click.FloatRange(min=0),
    default=CACHE_BYTES / 1e9,
    show_default=True,
    help="What each process keeps of ciphertexts between steps.",
)
@click.option("--dask", metavar="ADDRESS", help="Scheduler of a dask cluster to compute on.")
@wait_option(3600, "the folders of all owners")
@json_option
def fit(
    plan_path: Path,
    data: tuple[str, ...],
    connection: Connection | None,
    keys: Path | None,
    ledger_path: Path | None,
    passphrase_file: Path | None,
    checkpoint: str,
    jobs: int | None,
    cache_gb: float,
    dask: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Train on the encrypted folders DATA, those of all owners, owner 0 first.

    For the evaluator, who computes on ciphertexts and has no key that decrypts. It waits for the
    owners' moments, then for their complete folders, and takes the plan's steps together with the
    key holder. The model stays with the key holder: `skfhe release` gets it.

    Everything is kept in CHECKPOINT before it is sent. Killed at any moment, the same command
    goes on; a key holder that starts again is waited for (--patience). With --jobs or --dask,
    workers read DATA and CHECKPOINT themselves: they must see them under the same names.

    With --keys, key holder and evaluator are one process: for a single owner on one machine.

    \b
    skfhe fit plan.json /shared/ward0 /shared/ward1 /shared/ward2 \\
        --key-holder https://keys.example.org:8443 --token-file token --ca ca.pem \\
        --checkpoint checkpoint --jobs 4
    """
    require_one(key_holder=connection, keys=keys)
    plan = read_plan(plan_path)
    if len(data) != plan.guarantee.n_owners:
        raise click.UsageError(
            f"DATA must be a folder of each of the plan's {plan.guarantee.n_owners} owners, got "
            f"{len(data)}."
        )
    # Workers may have other working directories.
    data, checkpoint = tuple(map(_absolute, data)), _absolute(checkpoint)
    with ExitStack() as stack:
        if connection is not None:
            holder: Any = stack.enter_context(connection.open(plan))
        else:
            passphrase = passphrase_of(passphrase_file)
            holder = stack.enter_context(opened(keys, ledger_path, passphrase))
            require_same(plan, holder.plan, f"the run in {keys}")
        costs, status = Costs(), holder.status()
        if status.done:
            say("all steps are done: nothing is left to do.")
        else:
            require_going_on(status)
            stack.enter_context(_cluster(dask, jobs))
            evaluator = make_evaluator(
                holder, costs, folder=checkpoint, n_jobs=jobs, cache_bytes=cache_gb * 1e9
            )
            _train(evaluator, holder, data, costs, wait)
        content = _content(holder.status(), costs)
    page = [(name, one) for name, one in content.items() if name not in ("plan", "run")]
    emit(as_json, content, rows(f"Run {content['run']} of plan {plan.digest[:12]}", page))


def _absolute(place: str) -> str:
    """A local path from the root; a URL as it is."""
    return place if "://" in place else str(Path(place).absolute())


def _train(
    evaluator: Evaluator, holder: Holder, folders: Sequence[str], costs: Costs, wait: float
) -> None:
    plan = holder.plan

    def shares() -> list[bytes]:
        return wait_for(
            lambda: shares_of("moments", folders), wait, "the moments in the owners' folders"
        )

    prepare(evaluator, holder, "moments", shares, costs)
    if plan.preparation.moments:
        say("the moments are released: owners can encrypt their rows.")
    wait_for(lambda: all(map(is_complete, folders)) or None, wait, "the owners' complete folders")
    dataset = EncryptedDataset.load(*folders, plan_digest=plan.digest)
    say(f"training on {dataset.n_samples} rows from step {holder.status().step}")
    train_dataset(evaluator, dataset, holder, costs, verbose=int(sys.stderr.isatty()))


@contextmanager
def _cluster(address: str | None, jobs: int | None) -> Iterator[None]:
    """Steps are computed on a dask cluster, if there is one."""
    if address is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise ImportError(
            "a dask cluster needs the extra `distributed`: pip install 'skfhe[distributed]'"
        ) from None
    from joblib import parallel_config

    with Client(address), parallel_config(backend="dask", n_jobs=-1 if jobs is None else jobs):
        yield


def _content(status: RunStatus, costs: Costs) -> dict[str, Any]:
    return {
        "plan": status.plan,
        "run": status.run,
        "done": status.done,
        "steps": status.step,
        "step_seconds": [round(one, 3) for one in costs.step_seconds],
        "seconds": {name: round(one, 3) for name, one in costs.seconds.items()},
        "bytes": {
            "keys": costs.key_bytes,
            "data": costs.data_bytes,
            "step": costs.step_bytes,
        },
    }
