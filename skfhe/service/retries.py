"""Patience with a key holder that is out of reach: it may be starting again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

_FIRST = 0.1
_LONGEST = 10.0


class Unavailable(Exception):
    """A try that may go well later. The text is public.

    Attributes
    ----------
    seconds : float
        The least time to wait.
    """

    def __init__(self, reason: str, seconds: float = 0.0):
        super().__init__(reason)
        self.seconds = seconds


def retry(attempt: Callable[[], bytes], patience: float, who: str) -> bytes:
    """Try until it goes well, at growing intervals with jitter.

    Parameters
    ----------
    attempt : callable
        Raises `Unavailable` if it should be made again.
    patience : float
        Seconds after which no further attempt begins.
    who : str
        For the error.

    Raises
    ------
    ConnectionError
        If there was no success; it names the last reason.
    """
    end, pause = time.monotonic() + patience, _FIRST
    while True:
        try:
            return attempt()
        except Unavailable as error:
            seconds = max(pause * random.uniform(0.5, 1.0), error.seconds)
            if time.monotonic() + seconds > end:
                raise ConnectionError(
                    f"{who} could not be reached within {patience:g} s, last because of: {error}; "
                    "see that it runs, and ask again: nothing is lost."
                ) from None
        time.sleep(seconds)
        pause = min(2 * pause, _LONGEST)
