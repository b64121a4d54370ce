"""``skfhe keyholder``: serve a run, look at it, end it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..protocol.folder_state import FolderState
from ..protocol.key_holder import KeyHolder
from ..protocol.outcome import RunStatus, pack_status
from ..protocol.recorded import RecordedRun
from ._common import (
    FILE,
    KEYS,
    NEW_FILE,
    emit,
    force_option,
    json_option,
    passphrase_of,
    passphrase_option,
    read_plan,
    require_new,
    rows,
    wait_for,
    wait_option,
    write_file,
)
from ._connection import Connection, connection_options, require_one
from ._keys import ledger_of, ledger_option, opened


@click.group()
def keyholder() -> None:
    """Serve a run's keys and releases, look at where it stands, or end it.

    For the key holder; everybody may ask a service for its status.
    """


@keyholder.command("serve")
@click.argument("keys", type=KEYS)
@ledger_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8443, show_default=True, help="0: a free one."
)
@click.option("--tls-certificate", type=FILE, help="Certificate of the service (PEM).")
@click.option("--tls-key", type=FILE, help="Its private key (PEM).")
@click.option("--client-ca", type=FILE, help="Callers need a certificate of this CA (PEM).")
@click.option("--evaluator-tokens", type=FILE, help="Tokens of the evaluator, one a line.")
@click.option("--owner-tokens", type=FILE, help="Tokens of owners, one a line.")
@passphrase_option
@json_option
def serve_keys(
    keys: Path,
    ledger_path: Path | None,
    host: str,
    port: int,
    tls_certificate: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
    evaluator_tokens: Path | None,
    owner_tokens: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Serve the run in KEYS over HTTPS until SIGTERM or SIGINT.

    For the key holder. Callers need a token or a certificate; without TLS it listens on this very
    machine only. The same command on the same folder goes on after a stop or a crash, with
    nothing lost and nothing released twice. The address is written to standard output once it
    listens; the log, one JSON object a line, goes to standard error.

    \b
    skfhe keyholder serve keys --host 0.0.0.0 --tls-certificate server.pem \\
        --tls-key server.key --evaluator-tokens evaluator.tokens \\
        --owner-tokens owner.tokens
    """
    from ..service import Access, serve

    if evaluator_tokens or owner_tokens:
        access = Access.from_files(evaluator_tokens, owner_tokens)
    elif client_ca:
        access = Access.by_certificate()
    else:
        raise click.UsageError("give --evaluator-tokens and --owner-tokens, or --client-ca.")

    def ready(address: str, number: int) -> None:
        shown = f"[{address}]" if ":" in address else address
        url = f"http{'s' if tls_certificate else ''}://{shown}:{number}"
        content = {"url": url, "host": address, "port": number}
        emit(as_json, {**content, "plan": holder.plan.digest, "run": holder.run}, url)

    with opened(keys, ledger_path, passphrase_of(passphrase_file)) as holder:
        serve(
            holder,
            access,
            host=host,
            port=port,
            certificate=tls_certificate,
            private_key=tls_key,
            client_ca=client_ca,
            ready=ready,
        )


@keyholder.command()
@click.argument("keys", type=KEYS, required=False)
@click.option("--plan", "plan_path", type=FILE, help="Plan that the service must have.")
@connection_options
@json_option
def status(
    keys: Path | None, plan_path: Path | None, connection: Connection | None, as_json: bool
) -> None:
    """Tell where a run stands: of the folder KEYS, or of a service.

    For everybody who has a token, and for the key holder. All of it is public. A folder may be
    looked at while it is served.

    \b
    skfhe keyholder status keys
    skfhe keyholder status --key-holder https://keys.example.org:8443 \\
        --token-file token --json
    """
    require_one(keys=keys, key_holder=connection)
    if connection is None:
        found = RecordedRun(keys).status()
    else:
        with connection.open(plan_path and read_plan(plan_path)) as holder:
            found = holder.status()
    emit(as_json, pack_status(found), rows("Run", status_rows(found)))


def status_rows(found: RunStatus) -> list[tuple[str, Any]]:
    """A status as names with values."""
    if found.done:
        state = "done, the key is destroyed"
    else:
        state = "ended early, the key is burned" if found.burned else "going on"
    return [
        ("plan", found.plan[:12]),
        ("run", found.run),
        ("state", state),
        ("statistics", found.prepared),
        ("steps", f"{found.step} of {found.n_steps}"),
    ]


@keyholder.command()
@click.argument("keys", type=KEYS)
@click.argument("out", type=NEW_FILE)
@wait_option(0, "the moments to be released")
@force_option
@json_option
def frame(keys: Path, out: Path, wait: float, force: bool, as_json: bool) -> None:
    """Write the frame of the run in KEYS to OUT, for owners who cannot ask the service.

    For the key holder. The frame says how rows are to be centred and scaled. It is made from the
    noised moments of all owners and public. `skfhe encrypt --frame OUT` takes it.

    \b
    skfhe keyholder frame keys frame.skfhe --wait 600
    """
    require_new(out, force)
    data = wait_for(lambda: recorded_frame(keys), wait, "the release of the moments")
    write_file(out, data)
    emit(as_json, {"file": out, "bytes": len(data)}, f"{out}: {len(data)} bytes, public")


def recorded_frame(keys: Path) -> bytes | None:
    """The frame's message out of a folder, if its moments have been released."""
    run = RecordedRun(keys)
    moments = run.plan.preparation.moments
    return run.holder.frame() if not moments or "moments" in run.status().prepared else None


@keyholder.command()
@click.argument("keys", type=KEYS)
@ledger_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def burn(keys: Path, ledger_path: Path | None, yes: bool, as_json: bool) -> None:
    """End the run in KEYS and destroy its secret key, for good.

    For the key holder. Nobody can decrypt anything of the run afterwards; rows have to be
    encrypted anew for another one. The ledger gets back what was not released. No passphrase is
    needed. Stop the service first.

    \b
    skfhe keyholder burn keys --yes
    """
    before = RecordedRun(keys).status()
    if not (before.burned or yes):
        click.confirm(
            f"Destroy the key of run {before.run}, at step {before.step} of {before.n_steps}?",
            abort=True,
            err=True,
        )
    state = FolderState(keys)
    try:
        # Burned first, whatever the ledger is like; the key holder then settles.
        state.burn()
        KeyHolder(state.plan, ledger=ledger_of(keys, ledger_path), state=state)
    finally:
        state.close()
    after = RecordedRun(keys).status()
    emit(as_json, pack_status(after), rows("Run", status_rows(after)))
