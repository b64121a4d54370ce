"""Structured logs: one JSON object a line, without headers, tokens, bodies or query strings."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, TextIO

LOGGER = "skfhe.service"
# The server's own loggers: only the first line of what they say, and no traceback.
_FOREIGN = {"uvicorn.error": logging.WARNING, "asyncio": logging.WARNING}
_LONGEST = 200


def log(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Write an event.

    Parameters
    ----------
    event : str
        What happened.
    level : int
        Of the logging module.
    **fields
        What JSON can hold, and anybody who reads the logs may know.
    """
    logging.getLogger(LOGGER).log(level, event, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, timezone.utc)
        line = {"time": when.isoformat(timespec="milliseconds"), "level": record.levelname.lower()}
        if record.name == LOGGER:
            line |= {"event": record.getMessage(), **getattr(record, "fields", {})}
        else:
            text = record.getMessage().partition("\n")[0][:_LONGEST]
            line |= {"event": "server", "logger": record.name, "message": text}
        if record.exc_info and record.exc_info[0]:
            # An exception's text may quote what it was about; its class does not.
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line)


@contextmanager
def json_logs(stream: TextIO | None = None) -> Iterator[None]:
    """Send the service's events, and what the server beneath it has to say, to a stream.

    Parameters
    ----------
    stream : file, optional
        By default standard error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    before = []
    for name, level in {LOGGER: logging.INFO, **_FOREIGN}.items():
        logger = logging.getLogger(name)
        before.append((logger, logger.level, logger.propagate))
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, level, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
