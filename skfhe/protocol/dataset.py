"""Encrypted data sets: what data owners leave for the evaluator."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..exceptions import PlanMismatch
from .manifest import MANIFEST, Shard, read_manifest, statistic_file
from .places import Message, Place, StoredMessage, read


@dataclass(frozen=True)
class EncryptedDataset:
    """Encrypted rows and labels, with the noise of one run.

    `DataOwner.dataset` makes one of each owner's rows, `concat` one of all.

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

    Examples
    --------
    >>> import numpy as np
    >>> from skfhe import DataOwner, EncryptedDataset, EncryptedDPLogisticRegression, KeyHolder
    >>> model = EncryptedDPLogisticRegression(
    ...     degree=1, standardize=False, precondition=False, max_iter=2
    ... )
    >>> plan = model.plan(n_samples=20, n_features=3, n_owners=2)
    >>> X, targets = np.zeros((10, 3)), np.zeros(10, dtype=int)
    >>> with KeyHolder(plan) as key_holder:
    ...     key = key_holder.public_key()
    ...     owners = [DataOwner.with_public_key(plan, key, owner) for owner in range(2)]
    ...     dataset = EncryptedDataset.concat(*(owner.dataset(X, targets) for owner in owners))
    >>> dataset.n_samples, len(dataset.noise)
    (20, 2)
    """

    plan_digest: str
    n_samples: int
    shards: tuple[Shard, ...]
    noise: tuple[tuple[Message, ...], ...]
    curvature: tuple[Message, ...] = ()

    @property
    def n_bytes(self) -> int:
        """Size of the encrypted rows in bytes."""
        return sum(len(shard.message) for shard in self.shards)

    def noise_of(self, step: int) -> list[bytes]:
        """Every owner's noise share of one step.

        Parameters
        ----------
        step : int
            The visit, from 0.

        Returns
        -------
        noise : list of bytes
            One encrypted message of every owner, for `Evaluator.step`.

        Raises
        ------
        PlanMismatch
            If an owner has left none.
        """
        if any(step >= len(shares) for shares in self.noise):
            raise PlanMismatch(f"every owner must have left its noise for step {step}.")
        return [read(shares[step]) for shares in self.noise]

    @classmethod
    def concat(cls, *parts: EncryptedDataset) -> EncryptedDataset:
        """One data set from the parts of several owners under one plan.

        Parameters
        ----------
        *parts : EncryptedDataset
            One of every owner, owner 0 first.

        Returns
        -------
        dataset : EncryptedDataset
            All rows, and the noise of all owners.

        Raises
        ------
        ValueError
            If the parts are for different plans, or there is none.
        """
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
        ValueError
            If there is no folder, or the data sets are for different plans.
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


def shares_of(name: str, folders: Sequence[str | os.PathLike[str]]) -> list[bytes] | None:
    """Every owner's share of a statistic from its folder; None while one is missing.

    Parameters
    ----------
    name : {"moments", "curvature"}
        The statistic.
    folders : sequence of path-like
        Of all owners, owner 0 first.

    Returns
    -------
    shares : list of bytes or None
        Encrypted messages, for `Evaluator.aggregate`.
    """
    places, file = [Place(folder) for folder in folders], statistic_file(name)
    if not all(place.exists(file) for place in places):
        return None
    return [place.read(file) for place in places]


def is_complete(folder: str | os.PathLike[str]) -> bool:
    """Whether an owner's folder has its manifest, which comes last.

    Parameters
    ----------
    folder : path-like
        The owner's: a local folder, or a URL that fsspec opens.

    Returns
    -------
    complete : bool
        Whether `EncryptedDataset.load` would find it complete.
    """
    return Place(folder).exists(MANIFEST)


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
