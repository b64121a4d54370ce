"""How an owner fills its folder, so that it may be interrupted anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from ..exceptions import PlanMismatch
from ..plan import TrainingPlan
from ..sources import RowSource
from . import messages
from .manifest import MANIFEST, Shard, noise_file, statistic_file, write_manifest
from .places import Place, StoredMessage


class Owner(Protocol):
    """What a folder needs of an owner; see `DataOwner`."""

    plan: TrainingPlan
    run: str
    index: int
    public_key: str | None

    def statistic(self, name: str, X: Any) -> bytes: ...

    def shards(self, X: Any, *, folder: str | os.PathLike[str]) -> Iterator[Shard]: ...

    def noise(self, step: int) -> bytes: ...


class OwnerFolder:
    """One owner's folder.

    Parameters
    ----------
    owner : DataOwner
        Who fills it.
    folder : path-like
        A local folder, or a URL that fsspec opens.
    """

    def __init__(self, owner: Owner, folder: str | os.PathLike[str]):
        self._owner = owner
        self._place = Place(folder)

    def statistic(self, name: str, X: Any) -> StoredMessage:
        """The owner's share of a statistic."""
        make = partial(self._owner.statistic, name, X)
        return self._noised(statistic_file(name), "statistic", make)

    def fill(self, source: RowSource) -> None:
        """Rows, noise for every step, and the manifest."""
        owner, place = self._owner, self._place
        if place.exists(MANIFEST):
            raise PlanMismatch(f"{place.url} holds a data set already; choose another folder.")
        prepared = owner.plan.preparation
        curvature = self.statistic("curvature", source) if prepared.curvature else None
        shards = [*owner.shards(source, folder=place.url)]
        noise = [
            self._noised(noise_file(step), "noise", partial(owner.noise, step))
            for step in range(owner.plan.visits)
        ]
        write_manifest(
            place,
            plan_digest=owner.plan.digest,
            run=owner.run,
            public_key=owner.public_key,
            owner=owner.index,
            shards=shards,
            noise=noise,
            curvature=curvature,
        )

    def _noised(self, name: str, kind: str, make: Callable[[], bytes]) -> StoredMessage:
        """A message with noise: the one that is there, which may have been used, or a new one."""
        owner, place = self._owner, self._place
        if not place.exists(name):
            return StoredMessage.of(place, name, make())
        data = place.read(name)
        messages.unpack(data, kind, owner.plan.digest, run=owner.run, owner=owner.index)
        return StoredMessage.known(place, name, data)
