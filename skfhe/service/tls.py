"""TLS on both sides: at least 1.2, and certificates are always verified."""

from __future__ import annotations

import ipaddress
import os
import ssl

FilePath = str | os.PathLike[str]


def is_loopback(host: str) -> bool:
    """Whether a host is this very machine: the only one that may be spoken to without TLS."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_context(
    certificate: FilePath, private_key: FilePath | None = None, client_ca: FilePath | None = None
) -> ssl.SSLContext:
    """The service's side.

    Parameters
    ----------
    certificate : path-like
        PEM file with the certificate and those between it and its CA.
    private_key : path-like, optional
        PEM file, not encrypted; by default it is in the certificate's file.
    client_ca : path-like, optional
        PEM file; callers must then have a certificate of this CA.

    Raises
    ------
    ValueError
        If a file is none of these.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    _load_certificate(context, certificate, private_key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_ca(context, client_ca)
    return context


def client_context(
    ca: FilePath | None = None, certificate: tuple[FilePath, FilePath] | None = None
) -> ssl.SSLContext:
    """The client's side.

    Parameters
    ----------
    ca : path-like, optional
        PEM file with the CA of the service's certificate; by default the system's.
    certificate : tuple of two path-likes, optional
        The client's own certificate and its private key.

    Raises
    ------
    ValueError
        If a file is none of these.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.load_default_certs()
    else:
        _load_ca(context, ca)
    if certificate is not None:
        _load_certificate(context, *certificate)
    return context


def _load_certificate(
    context: ssl.SSLContext, certificate: FilePath, key: FilePath | None
) -> None:
    try:
        # An empty password: without one, an encrypted key would ask on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError) as error:
        raise ValueError(
            f"{os.fspath(certificate)} and {os.fspath(key or certificate)} must be PEM files of a "
            f"certificate and of its private key, not encrypted, got {_reason(error)}."
        ) from None


def _load_ca(context: ssl.SSLContext, ca: FilePath) -> None:
    try:
        context.load_verify_locations(ca)
    except (ssl.SSLError, OSError) as error:
        raise ValueError(
            f"{os.fspath(ca)} must be a PEM file with certificates of a CA, got {_reason(error)}."
        ) from None


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or type(error).__name__
