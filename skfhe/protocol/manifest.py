"""The folder that a data owner leaves for the evaluator, and its manifest.

A folder holds, from one owner,

``manifest.json``          what there is, written last: a folder without it is not complete
``rows-00000.skfhe`` ...   shards, each one message: a chunk of rows and their labels
``noise/0000.skfhe`` ...   this run's noise, one message per step
``noise/curvature.skfhe``  the noised second moments, if the plan has them
``noise/moments.skfhe``    the noised moments, before all else, and not in the manifest

The manifest is JSON: ``format`` and ``version``; ``plan``, the plan's digest; ``run`` and
``public_key``, what rows and noise were encrypted for (SHA-256 of the key's message, or null under
the secret key); ``owner``; ``n_samples``; and of every file its ``name``, ``bytes`` and
``sha256``, of shards ``n_samples`` too. Its last field, ``checksum``, is the SHA-256 of the rest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..exceptions import MessageError
from .places import LARGEST_FILE, Message, Place, StoredMessage

FORMAT, VERSION = "skfhe encrypted data set", 1
MANIFEST = "manifest.json"
_LARGEST_MANIFEST = 2**26
_HEX = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"(noise/)?[a-z0-9-]+\.skfhe")


@dataclass(frozen=True)
class Shard:
    """A chunk of encrypted rows, and what its message's header says.

    Attributes
    ----------
    owner, chunk : int
        Whose rows, and which of its chunks.
    n_samples : int
        Rows in it.
    message : bytes or StoredMessage
        The rows.
    """

    owner: int
    chunk: int
    n_samples: int
    message: Message


def rows_file(chunk: int) -> str:
    """Name of a shard's file."""
    return f"rows-{chunk:05}.skfhe"


def noise_file(step: int) -> str:
    """Name of the file of a step's noise."""
    return f"noise/{step:04}.skfhe"


def statistic_file(name: str) -> str:
    """Name of the file of a share of a statistic."""
    return f"noise/{name}.skfhe"


def write_manifest(
    place: Place,
    *,
    plan_digest: str,
    run: str,
    public_key: str | None,
    owner: int,
    shards: Sequence[Shard],
    noise: Sequence[StoredMessage],
    curvature: StoredMessage | None,
) -> None:
    """Complete an owner's folder."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "plan": plan_digest,
        "run": run,
        "public_key": public_key,
        "owner": owner,
        "n_samples": sum(shard.n_samples for shard in shards),
        "shards": [{**_file(s.message), "n_samples": s.n_samples} for s in shards],
        "noise": [_file(message) for message in noise],
        "curvature": curvature and _file(curvature),
    }
    content["checksum"] = _checksum(content)
    place.write(MANIFEST, json.dumps(content, indent=1).encode())


def read_manifest(place: Place) -> dict[str, Any]:
    """A folder's manifest, checked.

    Raises
    ------
    MessageError
        If it is missing, malformed, of another format version, or was altered.
    """
    data = place.read(MANIFEST, _LARGEST_MANIFEST)
    try:
        content = json.loads(data)
        known = content["format"] == FORMAT
    except (ValueError, KeyError, TypeError, RecursionError):
        known = False
    if not known:
        raise MessageError(f"{place.url} holds no encrypted data set of this package.")
    if content.get("version") != VERSION:
        raise MessageError(
            f"{place.url} is a data set of a format version that this package does not read: it "
            f"reads {VERSION}."
        )
    if content.pop("checksum", None) != _checksum(content) or not _is_sound(content):
        raise MessageError(f"the manifest of {place.url} is malformed or was altered.")
    return content


def _file(message: StoredMessage) -> dict[str, Any]:
    return {"name": message.name, "bytes": message.n_bytes, "sha256": message.sha256}


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _is_sound(content: dict[str, Any]) -> bool:
    """Whether every field is there and of its kind: a checksum can be forged."""

    def is_count(value: Any) -> bool:
        return type(value) is int and 0 <= value < 2**48

    def is_digest(value: Any) -> bool:
        return isinstance(value, str) and _HEX.fullmatch(value) is not None

    def is_file(value: Any, *more: str) -> bool:
        return (
            isinstance(value, dict)
            and value.keys() == {"name", "bytes", "sha256", *more}
            and isinstance(value["name"], str)
            and _NAME.fullmatch(value["name"]) is not None
            and is_digest(value["sha256"])
            and all(is_count(value[name]) for name in ("bytes", *more))
            and value["bytes"] <= LARGEST_FILE
        )

    fields = {"format", "version", "plan", "run", "public_key", "owner", "n_samples"}
    return (
        content.keys() == fields | {"shards", "noise", "curvature"}
        and is_digest(content["plan"])
        and isinstance(content["run"], str)
        and (content["public_key"] is None or is_digest(content["public_key"]))
        and is_count(content["owner"])
        and isinstance(content["shards"], list)
        and all(is_file(file, "n_samples") for file in content["shards"])
        and content["n_samples"] == sum(file["n_samples"] for file in content["shards"])
        and isinstance(content["noise"], list)
        and all(map(is_file, content["noise"]))
        and (content["curvature"] is None or is_file(content["curvature"]))
    )
