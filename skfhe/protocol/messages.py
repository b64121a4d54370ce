"""What passes between parties: bytes with a header, a checksum and the plan's digest.

Layout: ``SKFHE`` and a version byte; the header's length (4 bytes, little endian); the header,
JSON with ``kind``, ``plan``, further fields and the lengths of the sections; the sections; and
the SHA-256 of everything before. The checksum finds accidents, not forgers: parties authenticate
their connections. No pickle anywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from ..exceptions import MessageError, PlanMismatch

_MAGIC = b"SKFHE\x01"
_CHECKSUM = 32
_LARGEST_HEADER = 2**20


def pack(kind: str, plan_digest: str, sections: Sequence[bytes], **fields: Any) -> bytes:
    """Put a message together.

    Parameters
    ----------
    kind : str
        What the message is.
    plan_digest : str
        The plan it belongs to.
    sections : sequence of bytes
        Its payload.
    **fields
        Further public fields that JSON can hold.
    """
    header = {"kind": kind, "plan": plan_digest, "sections": [len(s) for s in sections], **fields}
    text = json.dumps(header, sort_keys=True).encode()
    parts = [_MAGIC, len(text).to_bytes(4, "little"), text, *sections]
    checksum = hashlib.sha256()
    for part in parts:
        checksum.update(part)
    return b"".join([*parts, checksum.digest()])


def unpack(
    data: bytes, kind: str, plan_digest: str, n_sections: int | None = None, **expected: Any
) -> tuple[dict[str, Any], list[memoryview]]:
    """Take a message apart and check that it is the one expected.

    Parameters
    ----------
    data : bytes
        The message.
    kind, plan_digest : str
        What it must be, and for which plan.
    n_sections : int, optional
        How many sections it must have.
    **expected
        What its further fields must be.

    Returns
    -------
    header : dict
        The header's fields.
    sections : list of memoryview
        The payload, not copied.

    Raises
    ------
    MessageError
        If the bytes are no message, are truncated or altered, or are of another kind.
    PlanMismatch
        If the message belongs to another plan, or a field differs from what is expected.
    """
    header, offset = _header(data)
    if header["kind"] != kind:
        raise MessageError(
            f"a message of kind {kind!r} is needed here, got {_short(header['kind'])}."
        )
    for name, value in {"plan": plan_digest, **expected}.items():
        if header.get(name) != value:
            raise PlanMismatch(
                f"this {kind} message was made for {name} {_short(header.get(name))}, but "
                f"{_short(value)} is needed here."
            )
    if n_sections not in (None, len(header["sections"])):
        raise MessageError(
            f"a {kind} message must have {n_sections} sections, got {len(header['sections'])}."
        )
    sections, view = [], memoryview(data)
    for length in header["sections"]:
        sections.append(view[offset : offset + length])
        offset += length
    return header, sections


def run_of(header: dict[str, Any]) -> str:
    """The run that a message of keys is for.

    Raises
    ------
    MessageError
        If it names none.
    """
    run = header.get("run")
    if not isinstance(run, str):
        raise MessageError(f"a message of kind {header['kind']!r} must name its run.")
    return run


def describe(data: bytes) -> dict[str, Any]:
    """Tell what a message says of itself, for who knows neither its kind nor its plan.

    Parameters
    ----------
    data : bytes
        The message.

    Returns
    -------
    header : dict
        ``kind``, ``sections`` (their lengths in bytes), usually ``plan``, and further fields;
        public. Nothing but form and checksum has been checked: a forger can write anything here.

    Raises
    ------
    MessageError
        If the bytes are no message, are truncated or altered.
    """
    return _header(data)[0]


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The checked header and where the sections begin."""
    start = len(_MAGIC) + 4
    if data[: len(_MAGIC)] != _MAGIC:
        raise MessageError("these bytes are no message of this package and format version.")
    body, checksum = memoryview(data)[:-_CHECKSUM], data[-_CHECKSUM:]
    if len(data) < start + _CHECKSUM or hashlib.sha256(body).digest() != checksum:
        raise MessageError(
            "this message is truncated or was altered: its checksum does not match."
        )
    end = start + int.from_bytes(data[len(_MAGIC) : start], "little")
    if end - start > _LARGEST_HEADER:
        raise MessageError("this message's header is malformed: it is too long.")
    try:
        header = json.loads(data[start:end])
        lengths = header["sections"]
        complete = (
            isinstance(header["kind"], str)
            and isinstance(lengths, list)
            and all(type(length) is int and length >= 0 for length in lengths)
            and end + sum(lengths) == len(body)
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        complete = False
    if not complete:
        raise MessageError("this message's header is malformed.")
    return header, end


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 20 else text[:14] + "...'"
