"""``skfhe keygen``: keys of one run."""

from __future__ import annotations

from pathlib import Path

import click

from ..exceptions import BudgetExceeded
from ..privacy.ledger import PrivacyLedger
from ..protocol.folder_state import FolderState
from ..protocol.key_holder import KeyHolder
from ._common import (
    FILE,
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
)
from ._keys import keep_ledger, ledger_of


@click.command()
@click.argument("plan_path", type=FILE, metavar="PLAN")
@click.argument("keys", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--ledger",
    "ledger_path",
    type=NEW_FILE,
    help="Privacy ledger that pays for the run; made if it is not there.",
)
@click.option("--ledger-epsilon", type=float, help="Budget of a ledger that is to be made.")
@click.option("--ledger-delta", type=float, help="Budget of a ledger that is to be made.")
@passphrase_option
@json_option
def keygen(
    plan_path: Path,
    keys: Path,
    ledger_path: Path | None,
    ledger_epsilon: float | None,
    ledger_delta: float | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Make the keys of one run in the folder KEYS.

    For the key holder. The whole run is paid from the ledger before there is a key. The folder
    holds the secret key (sealed, if there is a passphrase) and the record of every release: it
    is for the key holder alone, and must not be copied while the run goes on.

    It also holds two public files: public-key.skfhe for the owners and evaluation-keys.skfhe for
    the evaluator. `skfhe keyholder serve` hands them out; whoever carries them by hand must see
    that they are not exchanged on the way.

    Interrupted, it is called again and goes on.

    \b
    skfhe keygen plan.json keys --ledger study.ledger --ledger-epsilon 3 \\
        --ledger-delta 1e-5 --passphrase-file passphrase
    """
    plan, passphrase = read_plan(plan_path), passphrase_of(passphrase_file)
    ledger = _ledger(ledger_path, ledger_epsilon, ledger_delta)
    begun = (keys / "journal").exists()
    # Before there is a run: nobody may find one that has forgotten what pays for it.
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    keep_ledger(keys, ledger)
    state = FolderState(keys, passphrase) if begun else FolderState.create(keys, plan, passphrase)
    try:
        require_same(plan, state.plan, f"the run in {keys}")
        ledger = ledger_of(keys, None)
        holder = KeyHolder(plan, ledger=ledger, state=state)
        require_going_on(holder.status())
        sizes = {
            "public-key.skfhe": len(holder.public_key()),
            "evaluation-keys.skfhe": len(holder.evaluation_keys()),
        }
    except BudgetExceeded:
        say(f"note: {keys} has no key yet; keygen with a ledger that pays goes on there.")
        raise
    finally:
        state.close()
    if not (begun or passphrase):
        say("note: without a passphrase the secret key is only as safe as its folder.")
    if begun:
        say(f"{keys} has this plan's run already; it stays as it is.")
    if ledger is None:
        say("note: no ledger counts this run beside others on the same rows.")
    remaining = ledger and ledger.remaining()
    content = {
        "folder": keys,
        "plan": plan.digest,
        "run": holder.run,
        "ledger": ledger and ledger.path,
        "remaining": remaining and remaining._asdict(),
        "bytes": sizes,
    }
    page = [
        ("plan", plan.digest[:12]),
        ("run", holder.run),
        *((name, f"{size} bytes, public") for name, size in sizes.items()),
    ]
    if remaining:
        page.append(("budget left", f"epsilon {remaining.epsilon:.4g} at {remaining.delta:g}"))
    emit(as_json, content, rows(f"Keys in {keys}", page))


def _ledger(path: Path | None, epsilon: float | None, delta: float | None) -> PrivacyLedger | None:
    if path is None:
        if epsilon is not None or delta is not None:
            raise click.UsageError("--ledger-epsilon and --ledger-delta need --ledger.")
        return None
    if epsilon is None and delta is None and path.exists():
        return PrivacyLedger.open(path)
    if epsilon is None or delta is None:
        raise click.UsageError(
            "a new ledger needs its budget: --ledger-epsilon and --ledger-delta."
        )
    return PrivacyLedger(path, epsilon=epsilon, delta=delta)
