"""Methods of one object that threads call in turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any


def one_at_a_time(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method under its object's lock ``_turn``: who asks again meanwhile finds it answered."""

    @wraps(method)
    def in_turn(self: Any, *arguments: Any) -> Any:
        with self._turn:
            return method(self, *arguments)

    return in_turn
