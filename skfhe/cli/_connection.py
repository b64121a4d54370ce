"""How commands reach a key holder's service."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..plan import TrainingPlan
from ._common import FILE, read_secret_file

if TYPE_CHECKING:
    from ..service import RemoteKeyHolder


@dataclass(frozen=True)
class Connection:
    """A key holder's address, and how to be let in; the token itself is not here."""

    url: str
    token_file: Path | None
    ca: Path | None
    certificate: tuple[Path, Path] | None
    patience: float

    def open(self, plan: TrainingPlan | None) -> RemoteKeyHolder:
        """Connect; see `skfhe.service.RemoteKeyHolder` for errors."""
        from ..service import RemoteKeyHolder

        return RemoteKeyHolder(
            self.url,
            plan,
            token=read_secret_file(self.token_file),
            ca=self.ca,
            certificate=self.certificate,
            patience=self.patience,
        )


_OPTIONS = (
    click.option("--key-holder", metavar="URL", help="The service, https://host:port."),
    click.option(
        "--token-file", type=FILE, help="File with the bearer token; for its owner's eyes only."
    ),
    click.option("--ca", type=FILE, help="CA of the service (PEM); by default the system's."),
    click.option("--client-certificate", type=FILE, help="Certificate of this client (PEM)."),
    click.option("--client-key", type=FILE, help="Its private key (PEM)."),
    click.option(
        "--patience",
        type=click.FloatRange(min=0),
        default=300.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to go on asking a key holder that does not answer.",
    ),
)


def connection_options(command: Callable) -> Callable:
    """Options of the connection, which the command gets as ``connection``; None without a URL."""

    @functools.wraps(command)
    def with_connection(
        *,
        key_holder: str | None,
        token_file: Path | None,
        ca: Path | None,
        client_certificate: Path | None,
        client_key: Path | None,
        patience: float,
        **others,
    ):
        if (client_certificate is None) != (client_key is None):
            raise click.UsageError("--client-certificate and --client-key go together.")
        if key_holder is None and (token_file or ca or client_certificate):
            raise click.UsageError(
                "--token-file, --ca and --client-certificate need --key-holder."
            )
        certificate = (client_certificate, client_key) if client_certificate else None
        connection = key_holder and Connection(key_holder, token_file, ca, certificate, patience)
        return command(connection=connection, **others)

    for option in reversed(_OPTIONS):
        with_connection = option(with_connection)
    return with_connection


def require_one(**given: object) -> None:
    """Refuse none, or several, of options that stand in for each other."""
    names = [f"--{name.replace('_', '-')}" for name in given]
    if sum(value is not None for value in given.values()) != 1:
        raise click.UsageError(f"give one of {', '.join(names)}.")
