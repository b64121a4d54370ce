"""One request to a key holder's service, and what its answer may be."""

from __future__ import annotations

import json
import ssl

import httpx

from ..exceptions import MessageError
from .endpoints import BYTES, PUBLIC_ERRORS, Endpoint
from .limits import LARGEST_ERROR
from .retries import Unavailable

_TRANSIENT = {408, 429, 502, 503, 504}
_LONGEST_TEXT = 1000
_LONGEST_WAIT = 60.0


def exchange(client: httpx.Client, endpoint: Endpoint, body: bytes | None, largest: int) -> bytes:
    """Ask once.

    Parameters
    ----------
    client : httpx.Client
        With address, credentials and time limits.
    endpoint : Endpoint
        What is asked.
    body : bytes or None
        The request's.
    largest : int
        Bytes that the answer may have; no more of it is read.

    Raises
    ------
    Unavailable
        If the same request may go well later.
    MessageError, PlanMismatch, KeyBurned, BudgetExceeded
        What the key holder raised; or MessageError if the answer is none of a key holder's.
    PermissionError
        If the service does not let this client in.
    ConnectionError
        If TLS fails in a way that does not pass.
    RuntimeError
        If the key holder failed.
    """
    try:
        headers = None if body is None else {"content-type": BYTES}
        with client.stream(
            endpoint.method, endpoint.path, content=body, headers=headers
        ) as response:
            if response.is_success:
                _require_type(response, endpoint.media)
                return _read(response, largest)
            _raise(response)
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError):
        raise
    except httpx.TransportError as error:
        # The error itself holds the request, and with it the token: only its text goes on.
        if _is_refusal(error):
            raise ConnectionError(
                f"the TLS connection failed: {_printable(str(error))}; check the CA, and the "
                "client's certificate if the service asks for one."
            ) from None
        raise Unavailable(f"{type(error).__name__}: {_printable(str(error))}") from None


def _read(response: httpx.Response, largest: int) -> bytes:
    """The body, if it is not too large; never decompressed."""
    declared = response.headers.get("content-length", "0")
    if not declared.isdecimal() or len(declared) > 18 or int(declared) > largest:
        raise _foreign(f"a body beyond {largest} bytes")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _foreign("a compressed body")
    body = bytearray()
    for part in response.iter_raw():
        body += part
        if len(body) > largest:
            raise _foreign(f"a body beyond {largest} bytes")
    return bytes(body)


def _require_type(response: httpx.Response, media: str | None) -> None:
    found = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if (response.status_code, found) != ((204, "") if media is None else (200, media)):
        raise _foreign(f"status {response.status_code} with {_printable(found) or 'no content'}")


def _raise(response: httpx.Response) -> None:
    """What an answer that tells an error stands for."""
    status = response.status_code
    if status in _TRANSIENT:
        raise Unavailable(f"status {status}", _retry_after(response))
    name, text = _error(response)
    for kind, code in PUBLIC_ERRORS.items():
        if status == code and name == kind.__name__:
            raise kind(text)
    if status in (401, 403):
        raise PermissionError(f"the key holder's service refused this client: {text}")
    if status >= 500:
        raise RuntimeError(f"the key holder's service failed with status {status}: {text}")
    if 300 <= status < 400:
        raise _foreign("a redirect, which is not followed; give its target as the url")
    raise _foreign(f"status {status}: {text}")


def _error(response: httpx.Response) -> tuple[str, str]:
    try:
        content = json.loads(_read(response, LARGEST_ERROR))
        name, text = content["error"], content["message"]
        if not (isinstance(name, str) and isinstance(text, str)):
            raise TypeError
    except (MessageError, ValueError, KeyError, TypeError, RecursionError):
        return "", "it gave no reason."
    return name, _printable(text)


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return min(float(value), _LONGEST_WAIT) if value.isdecimal() else 0.0


def _foreign(what: str) -> MessageError:
    return MessageError(f"this is no answer of a key holder's service: got {what}.")


def _printable(text: str) -> str:
    """Text that does nothing to a terminal."""
    return "".join(c if c.isprintable() else " " for c in text[:_LONGEST_TEXT])


def _is_refusal(error: BaseException | None) -> bool:
    """Whether one side turned down the other's certificate or version: waiting does not help."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        if isinstance(error, ssl.SSLError):
            return any(word in (error.reason or "") for word in ("ALERT", "VERSION", "PROTOCOL"))
        error = error.__cause__ or error.__context__
    return False
