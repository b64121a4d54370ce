"""The key holder as an ASGI application."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..protocol.key_holder import KeyHolder
from ..protocol.outcome import pack_status
from .access import Access
from .answers import MessageResponse, Refusal, error_response, json_response
from .desk import Desk
from .endpoints import BYTES, ENDPOINTS, HEALTH, Endpoint
from .limits import Limits, Rate, largest_request
from .logs import log

_PATHS = {HEALTH, *(one.path for one in ENDPOINTS.values())}
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# What the log has where a client was gone before its answer; nobody is sent it.
_GONE = 499


def make_app(key_holder: KeyHolder, access: Access, limits: Limits | None = None) -> ASGIApp:
    """The service of one key holder, for an ASGI server of a single process.

    Parameters
    ----------
    key_holder : KeyHolder
        Made in this process. Its plan is the service's for good.
    access : Access
        Who may call what.
    limits : Limits, optional
        On rate and time; limits on size follow from the plan.

    Returns
    -------
    app : ASGI application
        It must be served over TLS wherever others can listen (`skfhe.service.serve` sees to it).
    """
    limits, desk = limits or Limits(), Desk(key_holder)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(desk.close)

    routes = [Route(HEALTH, _Health(desk))]
    for endpoint in ENDPOINTS.values():
        routes.append(Route(endpoint.path, _Handler(endpoint, desk, key_holder, limits)))
    router = Router(routes, redirect_slashes=False, lifespan=lifespan)
    return _Gate(router, access, Rate(limits))


class _Health:
    """One word for whoever asks."""

    def __init__(self, desk: Desk):
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _require_method(scope, "GET", "HEAD")
        response = json_response(json.dumps({"status": self._desk.health}))
        await response(scope, receive, send)


class _Gate:
    """Lets known callers in, at their rate, and writes the log; sees every error."""

    def __init__(self, app: ASGIApp, access: Access, rate: Rate):
        self._app = app
        self._access = access
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, seen = time.perf_counter(), {"status": _GONE, "bytes_in": 0, "bytes_out": 0}
        role = None

        async def receive_counted() -> Message:
            message = await receive()
            seen["bytes_in"] += len(message.get("body", b""))
            return message

        async def send_counted(message: Message) -> None:
            seen["status"] = message.get("status", seen["status"])
            seen["bytes_out"] += len(message.get("body", b""))
            await send(message)

        try:
            if scope["path"] != HEALTH:
                role = self._access.role(Request(scope).headers.get("authorization"))
                self._admit(role)
                if scope["path"] not in _PATHS:
                    raise Refusal(404, "NotFound", "there is nothing at this path.")
            scope.setdefault("state", {})["role"] = role
            await self._app(scope, receive_counted, send_counted)
        except ClientDisconnect:
            pass
        except Exception as error:
            response = error_response(error)
            if seen["status"] != _GONE:
                raise  # an answer has begun; the server breaks it off
            await response(scope, receive_counted, send_counted)
        finally:
            log(
                "request",
                method=scope["method"] if scope["method"] in _METHODS else None,
                path=scope["path"] if scope["path"] in _PATHS else None,
                role=role,
                seconds=round(time.perf_counter() - start, 4),
                **seen,
            )

    def _admit(self, role: str | None) -> None:
        seconds = math.ceil(self._rate.wait(role))
        if seconds:
            text = f"too many requests; ask again in {seconds} s."
            raise Refusal(429, "TooManyRequests", text, retry_after=str(seconds))
        if role is None:
            text = "a valid bearer token is needed in the Authorization header."
            raise Refusal(401, "Unauthorized", text, www_authenticate="Bearer")


class _Handler:
    """One endpoint."""

    def __init__(self, endpoint: Endpoint, desk: Desk, key_holder: KeyHolder, limits: Limits):
        self._endpoint = endpoint
        self._desk = desk
        self._plan = key_holder.plan.to_json()
        self._largest = largest_request(key_holder.plan, endpoint.name)
        self._seconds = limits.body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _require_method(scope, self._endpoint.method)
        request = Request(scope, receive)
        if not self._endpoint.allows(request.state.role):
            roles = " or ".join(sorted(self._endpoint.roles))
            raise Refusal(403, "Forbidden", f"this is for the role {roles} only.")
        body = await self._body(request)
        response = await self._answer(body)
        await response(scope, receive, send)

    async def _answer(self, body: bytes) -> Response:
        name = self._endpoint.name
        if name == "plan":
            return json_response(self._plan)
        arguments = (body,) if self._endpoint.method == "POST" else ()
        answer = await self._desk.ask(name, *arguments)
        if answer is None:
            return Response(status_code=204)
        if isinstance(answer, bytes):
            return MessageResponse(answer)
        return json_response(json.dumps(pack_status(answer)))

    async def _body(self, request: Request) -> bytes:
        self._require_modest(request)
        if self._endpoint.method == "GET":
            return b""
        if request.headers.get("content-type") != BYTES:
            raise Refusal(415, "UnsupportedMediaType", f"the body must be of type {BYTES}.")
        body = bytearray()
        try:
            with anyio.fail_after(self._seconds):
                async for part in request.stream():
                    body += part
                    if len(body) > self._largest:
                        raise self._too_large()
        except TimeoutError:
            text = f"the body must arrive within {self._seconds:g} s."
            raise Refusal(408, "RequestTimeout", text) from None
        return bytes(body)

    def _require_modest(self, request: Request) -> None:
        """Refuse a body that says beforehand that it is too large."""
        length = request.headers.get("content-length", "0")
        # More digits than any size has are not even read as a number.
        if not length.isdecimal() or len(length) > 18 or int(length) > self._largest:
            raise self._too_large()
        if self._largest == 0 and "transfer-encoding" in request.headers:
            raise self._too_large()

    def _too_large(self) -> Refusal:
        text = f"the body must be at most {self._largest} bytes, as the plan says."
        return Refusal(413, "TooLarge", text)


def _require_method(scope: Scope, *methods: str) -> None:
    if scope["method"] not in methods:
        text = f"the method must be {methods[0]} here."
        raise Refusal(405, "MethodNotAllowed", text, allow=", ".join(methods))
