"""Where requests meet the key holder: one at a time, and each to its end."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..protocol.key_holder import KeyHolder
from ..protocol.outcome import RunStatus


class Desk:
    """Runs a key holder's calls in one thread of its own.

    One thread serves one call at a time. It knows nothing of requests: a release that has begun
    runs to its end and is stored, whether its client is still there or not, and the client asks
    again.

    Parameters
    ----------
    key_holder : KeyHolder
        Of this process.

    Attributes
    ----------
    health : str
        "ok", "done" after the last step, or "burned" if the run ended before it; as of the last
        call, so that asking for it waits for nothing.
    """

    def __init__(self, key_holder: KeyHolder):
        self._key_holder = key_holder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="key-holder")
        self._evaluation_keys: bytes | None = None
        self.health = _health(key_holder.status())

    async def ask(self, name: str, *arguments: bytes) -> Any:
        """The answer of one of the key holder's methods, or what it raises."""
        call = self._thread.submit(self._call, name, *arguments)
        return await asyncio.wrap_future(call)

    def close(self) -> None:
        """Wait for what has begun."""
        self._thread.shutdown()

    def _call(self, name: str, *arguments: bytes) -> Any:
        try:
            if name == "evaluation_keys":
                return self._shared_evaluation_keys()
            return getattr(self._key_holder, name)(*arguments)
        finally:
            self.health = _health(self._key_holder.status())

    def _shared_evaluation_keys(self) -> bytes:
        """The same object for all requests: these are hundreds of megabytes."""
        if self._evaluation_keys is None:
            self._evaluation_keys = self._key_holder.evaluation_keys()
        return self._evaluation_keys


def _health(status: RunStatus) -> str:
    if status.done:
        return "done"
    return "burned" if status.burned else "ok"
