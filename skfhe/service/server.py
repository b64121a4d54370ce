"""The service's process: sockets, TLS, signals."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from ..protocol.key_holder import KeyHolder
from .access import Access
from .app import make_app
from .connection import prompt_protocol
from .limits import Limits
from .logs import json_logs, log
from .tls import FilePath, is_loopback, server_context


def serve(
    key_holder: KeyHolder,
    access: Access,
    *,
    host: str = "127.0.0.1",
    port: int = 8443,
    certificate: FilePath | None = None,
    private_key: FilePath | None = None,
    client_ca: FilePath | None = None,
    limits: Limits | None = None,
    ready: Callable[[str, int], None] | None = None,
) -> None:
    """Serve a key holder until SIGTERM or SIGINT; a release that has begun is finished first.

    The key is not burned in the end: a key holder with its state in a folder goes on after a
    restart. Logs go to standard error (`skfhe.service.logs`); the event "listening" names the
    address.

    Parameters
    ----------
    key_holder : KeyHolder
        Made in this process. Its plan is the service's for good.
    access : Access
        Who may call what.
    host : str, default="127.0.0.1"
        Address to listen on. Only a loopback one may do without a certificate.
    port : int, default=8443
        0 takes a free one.
    certificate, private_key : path-like, optional
        PEM files of the service.
    client_ca : path-like, optional
        PEM file; callers must then have a certificate of this CA, in addition to a token.
    limits : Limits, optional
        On rate, time and connections.
    ready : callable, optional
        Called with host and port once connections are taken.

    Raises
    ------
    ValueError
        If others could listen in, nobody were asked who they are, or a file is no certificate.
    OSError
        If the address is not to be had.
    """
    server = make_server(
        key_holder,
        access,
        host=host,
        certificate=certificate,
        private_key=private_key,
        client_ca=client_ca,
        limits=limits,
    )
    with json_logs(), _bound(host, port) as listener, _signals_end_quietly():
        address, number = listener.getsockname()[:2]
        plan, run = key_holder.plan.digest, key_holder.run
        log(
            "listening", host=address, port=number, tls=certificate is not None, plan=plan, run=run
        )
        if ready is not None:
            ready(address, number)
        server.run(sockets=[listener])
        log("stopped")


def make_server(
    key_holder: KeyHolder,
    access: Access,
    *,
    host: str,
    certificate: FilePath | None = None,
    private_key: FilePath | None = None,
    client_ca: FilePath | None = None,
    limits: Limits | None = None,
) -> uvicorn.Server:
    """The server for `serve`, before it has a socket; parameters and errors as there."""
    limits = limits or Limits()
    _require_safe(host, access, certificate, private_key, client_ca)
    config = uvicorn.Config(
        make_app(key_holder, access, limits),
        http=prompt_protocol(limits.head_seconds),
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=max(1, round(limits.head_seconds)),
        timeout_graceful_shutdown=max(1, round(limits.stop_seconds)),
        h11_max_incomplete_event_size=limits.head_bytes,
    )
    config.load()
    # uvicorn's own context leaves the lowest version of TLS to the system.
    if certificate is not None:
        config.ssl = server_context(certificate, private_key, client_ca)
    return uvicorn.Server(config)


def _require_safe(
    host: str,
    access: Access,
    certificate: FilePath | None,
    private_key: FilePath | None,
    client_ca: FilePath | None,
) -> None:
    if certificate is None:
        if not is_loopback(host):
            raise ValueError(
                f"host must be a loopback address where there is no TLS, got {host!r}; give a "
                "certificate and its private key, or listen on 127.0.0.1."
            )
        if private_key is not None or client_ca is not None:
            raise ValueError(
                "a private key and a CA of clients belong to TLS; give a certificate as well."
            )
    if access.certificates and client_ca is None:
        raise ValueError(
            "callers must be known by tokens or by certificates of a client CA, got neither; "
            "give token files or a client CA."
        )


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket, closed in the end."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    with socket.create_server(address, family=family) as listener:
        yield listener


@contextmanager
def _signals_end_quietly() -> Iterator[None]:
    """uvicorn raises a signal again after it has stopped for it; here that is no more needed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
