"""Answers of the service: bytes in pieces, and errors that tell no more than they may."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ..exceptions import StateError
from .endpoints import BYTES, JSON, PUBLIC_ERRORS
from .logs import log

_PIECE = 1024**2
_HEADERS = {"cache-control": "no-store"}


class Refusal(Exception):
    """A request that does not reach the key holder, or not whole.

    Parameters
    ----------
    status : int
        Of the answer.
    name, message : str
        What its body says.
    **headers : str
        Of the answer, underscores for hyphens.
    """

    def __init__(self, status: int, name: str, message: str, **headers: str):
        super().__init__(message)
        self.status = status
        self.name = name
        self.headers = {key.replace("_", "-"): value for key, value in headers.items()}


class MessageResponse(Response):
    """A message in pieces, so that no second copy of it waits for a slow reader."""

    media_type = BYTES

    def __init__(self, message: bytes):
        super().__init__(message, headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        for begin in range(0, len(self.body), _PIECE):
            piece = self.body[begin : begin + _PIECE]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def json_response(text: str) -> Response:
    """JSON that is written already."""
    return Response(text, media_type=JSON, headers=_HEADERS)


def error_response(error: Exception) -> Response:
    """What a client gets to see of an error."""
    if isinstance(error, Refusal):
        return _error(error.status, error.name, str(error), {**_HEADERS, **error.headers})
    for kind, status in PUBLIC_ERRORS.items():
        if isinstance(error, kind):
            return _error(status, kind.__name__, str(error), _HEADERS)
    _log_failure(error)
    if isinstance(error, StateError):
        text = "the key holder's state cannot be used now; send the same request again later."
        return _error(503, "Unavailable", text, _HEADERS)
    text = "the request failed within the key holder; its log says where."
    return _error(500, "InternalError", text, _HEADERS)


def _error(status: int, name: str, message: str, headers: dict[str, str]) -> Response:
    return JSONResponse({"error": name, "message": message}, status, headers=headers)


def _log_failure(error: Exception) -> None:
    """The error's class and place; its text may quote what it was about."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else None
    log("error", logging.ERROR, error=type(error).__name__, where=where)
