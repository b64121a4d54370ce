"""Connections that must say what they want in time, and end when they are told to."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Seconds that a connection lives on after its last answer. For a peer that is still sending what
# was refused: were it cut off at once, it would not read why. And for a TLS peer's farewell, which
# an idle client does not send; asyncio would wait for it for half a minute.
_LINGER = 1.0


def prompt_protocol(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1, which closes a connection that does not send a request's head in time.

    uvicorn itself waits for ever for the first request, and for the rest of one that has begun.
    """

    class PromptProtocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._wait_for_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is h11.IDLE:
                self._wait_for_head()
            else:
                self._stop_waiting()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def shutdown(self) -> None:
            super().shutdown()
            self._end_soon()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._end_soon()

        def _end_soon(self) -> None:
            if self.transport.is_closing():
                self.loop.call_later(_LINGER, self.transport.abort)
            elif self.conn.their_state is h11.SEND_BODY:
                self.loop.call_later(_LINGER, self._cut_off)

        def _cut_off(self) -> None:
            if self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY:
                self.transport.abort()

        def _wait_for_head(self) -> None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(seconds, self._give_up)

        def _stop_waiting(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _give_up(self) -> None:
            if self.conn.their_state is h11.IDLE:
                self.transport.close()

    return PromptProtocol
