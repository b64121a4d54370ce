"""Encrypted data sets: what a data owner leaves for the evaluator.

A folder holds, from one owner,

``manifest.json``          what there is, written last: a folder without it is not complete
``rows-00000.skfhe`` ...   shards, each one message: a chunk of rows and their labels
``noise/0000.skfhe`` ...   this run's noise, one message per step
``noise/curvature.skfhe``  the noised second moments, if the plan has them

The manifest is JSON: ``format`` and ``version``; ``plan``, the plan's digest; ``run`` and
``public_key``, what rows and noise were encrypted for (SHA-256 of the key's message, or null under
the secret key); ``owner``; ``n_samples``; and of every file its ``name``, ``bytes`` and
``sha256``, of shards ``n_samples`` too. Its last field, ``checksum``, is the SHA-256 of the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..exceptions import MessageError, PlanMismatch
from .places import Message, Place, StoredMessage, read

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


@dataclass(frozen=True)
class EncryptedDataset:
    """Encrypted rows and labels, with the noise of one run.

    Attributes
    ----------
    plan_digest : str
        The plan that the rows were encrypted for.
    n_samples : int
        Number of rows; public, as n is.
    shards : tuple of Shard
        One per chunk of rows: a ciphertext per group of columns, and the labels.
    noise : tuple of tuple of messages
        For every owner, its encrypted noise share of every step.
    curvature : tuple of messages
        For every owner, its noised share of the second moments; empty if the plan has none.
    """

    plan_digest: str
    n_samples: int
    shards: tuple[Shard, ...]
    noise: tuple[tuple[Message, ...], ...]
    curvature: tuple[Message, ...] = ()

    @property
    def n_bytes(self) -> int:
        """Size of the encrypted rows."""
        return sum(len(shard.message) for shard in self.shards)

    def noise_of(self, step: int) -> list[bytes]:
        """Every owner's noise share of one step."""
        return [read(shares[step]) for shares in self.noise]

    @classmethod
    def concat(cls, *parts: EncryptedDataset) -> EncryptedDataset:
        """One data set from the parts of several owners under one plan, owner 0 first."""
        digests = {part.plan_digest for part in parts}
        if len(digests) != 1:
            raise ValueError(
                f"parts must be encrypted for one plan, got {len(digests)} different plans."
            )
        shards = tuple(shard for part in parts for shard in part.shards)
        noise = tuple(shares for part in parts for shares in part.noise)
        curvature = tuple(share for part in parts for share in part.curvature)
        n_samples = sum(part.n_samples for part in parts)
        return cls(digests.pop(), n_samples, shards, noise, curvature)

    @classmethod
    def load(cls, *folders: str | os.PathLike[str], plan_digest: str | None = None):
        """The data set that owners have left in folders, owner 0 first; no row is read yet.

        Parameters
        ----------
        *folders : path-like
            Local folders, or URLs that fsspec opens.
        plan_digest : str, optional
            The plan that the rows must be for.

        Returns
        -------
        dataset : EncryptedDataset
            Its messages are read, and their checksums checked, when they are needed.

        Raises
        ------
        MessageError
            If a manifest is missing, malformed, of another format version or was altered.
        PlanMismatch
            If a data set is for another plan.
        """
        parts = [_part(Place(folder), plan_digest) for folder in folders]
        if not parts:
            raise ValueError("there must be a folder of every owner, got none.")
        return cls.concat(*parts)

    def __repr__(self) -> str:
        return (
            f"EncryptedDataset(plan={self.plan_digest[:12]}, n_samples={self.n_samples}, "
            f"shards={len(self.shards)}, bytes={self.n_bytes})"
        )


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


def _part(place: Place, plan_digest: str | None) -> EncryptedDataset:
    content = read_manifest(place)
    if plan_digest not in (None, content["plan"]):
        raise PlanMismatch(
            f"the data set in {place.url} was made for plan {content['plan'][:12]}, but "
            f"{plan_digest[:12]} is needed here."
        )

    def stored(file: dict[str, Any]) -> StoredMessage:
        return StoredMessage(place.url, file["name"], file["bytes"], file["sha256"])

    shards = tuple(
        Shard(content["owner"], chunk, file["n_samples"], stored(file))
        for chunk, file in enumerate(content["shards"])
    )
    curvature = (stored(content["curvature"]),) if content["curvature"] else ()
    noise = tuple(map(stored, content["noise"]))
    return EncryptedDataset(content["plan"], content["n_samples"], shards, (noise,), curvature)


def _file(message: StoredMessage) -> dict[str, Any]:
    fields = asdict(message)
    return {"name": fields["name"], "bytes": fields["n_bytes"], "sha256": fields["sha256"]}


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
