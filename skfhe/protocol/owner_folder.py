"""What an owner leaves for the evaluator, in memory or in a folder that it fills."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from numpy.typing import NDArray

from ..exceptions import PlanMismatch
from ..plan import TrainingPlan
from ..sources import RowSource, rows_of
from . import messages
from .dataset import EncryptedDataset
from .manifest import MANIFEST, Shard, noise_file, statistic_file, write_manifest
from .places import Place, StoredMessage


class Owner(Protocol):
    """What a folder needs of an owner; see `DataOwner`."""

    plan: TrainingPlan
    run: str
    index: int
    public_key: str | None

    def statistic(self, name: str, X: Any) -> bytes: ...

    def shards(
        self,
        X: Any,
        targets: NDArray | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> Iterator[Shard]: ...

    def noise(self, step: int) -> bytes: ...


class Leaving:
    """The half of a data owner that leaves everything at once; `DataOwner` makes it."""

    def dataset(self, X, targets: NDArray | None = None) -> EncryptedDataset:
        """This owner's part of a data set: all rows, and noise for every step.

        With the curvature, if the plan has it; a plan with moments needs `adopt` first.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n, n_features), or RowSource
            Rows. Secret.
        targets : ndarray of shape (n,), optional
            Index of each row's class, as `encrypt` takes it. Secret.

        Returns
        -------
        dataset : EncryptedDataset
            For `EncryptedDataset.concat` and the evaluator.

        Raises
        ------
        PlanMismatch, ValueError
            As `encrypt`; PlanMismatch also if noise was made before.
        """
        curvature = ()
        if self.plan.preparation.curvature:
            curvature = (self.statistic("curvature", X),)
        shards = tuple(self.shards(X, targets))
        noise = tuple(self.noise(step) for step in range(self.plan.visits))
        n_samples = sum(shard.n_samples for shard in shards)
        return EncryptedDataset(self.plan.digest, n_samples, shards, (noise,), curvature)

    def save_moments(self, folder: str | os.PathLike[str], X) -> None:
        """This owner's share of the moments in a folder; what is there already stays.

        Parameters
        ----------
        folder : path-like
            The one that `save` will fill.
        X : ndarray or sparse matrix of shape (n, n_features), or RowSource
            All rows of this owner, as `statistic` takes them. Secret.
        """
        OwnerFolder(self, folder).statistic("moments", X)

    def save(self, folder: str | os.PathLike[str], X, targets: NDArray | None = None) -> None:
        """What `dataset` makes, in a folder, for `EncryptedDataset.load`; rows are streamed.

        Interrupted, an owner made anew goes on: noise that is there already is kept, rows are
        encrypted again, and the manifest that completes the folder comes last.

        Parameters
        ----------
        folder : path-like
            A local folder, or a URL that fsspec opens.
        X : ndarray or sparse matrix of shape (n, n_features), or RowSource
            Rows. Secret.
        targets : ndarray of shape (n,), optional
            Index of each row's class, as `encrypt` takes it. Secret.

        Raises
        ------
        PlanMismatch
            If the folder holds a complete data set, or noise of another run.
        """
        OwnerFolder(self, folder).fill(rows_of(X, targets))


class OwnerFolder:
    """One owner's folder, filled so that it may be interrupted anywhere.

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
