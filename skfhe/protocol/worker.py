"""The part of a step that any process can do: sums over some of the shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..circuits.arithmetic import Arithmetic
from ..circuits.levelled import Course
from ..circuits.paired import RowProducts, pays
from ..circuits.running import RunningSums
from ..crypto.backend import Ciphertext, Loader
from ..plan import TrainingPlan
from . import messages
from .manifest import Shard
from .models import model_of
from .places import StoredMessage, read

_Place = Shard | tuple[int, int]


class Worker:
    """Adds up the encrypted gradient over shards, and keeps some of them loaded.

    Every step goes through all shards in the same order, so what is kept is what came first and
    fits: an older shard that makes room for a newer one would be missed in the next step.

    Parameters
    ----------
    plan : TrainingPlan
        The plan that all parties agreed on.
    backend : Loader
        An evaluator with the run's keys.
    run : str
        The run that rows must be encrypted for.
    cache_bytes : float
        How many bytes of loaded shards are kept between steps.
    """

    def __init__(self, plan: TrainingPlan, backend: Loader, run: str, cache_bytes: float):
        self._digest = plan.digest
        self._run = run
        self._backend = backend
        used = plan.encryption
        self._arithmetic = Arithmetic(backend, used.waterline, used.merge_level)
        self._model = model_of(plan)
        # Scale and level of the weights.
        self._fresh = used.scale, used.top_level
        self._kept: dict[_Place, Any] = {}
        self._room = cache_bytes // _loaded_bytes(plan, self._model)
        self._steps = plan.optimizer.max_iter
        # The own products of the rows that the last step went through.
        self._own: tuple[list[_Place], RowProducts] = [], RowProducts()

    def chunk(self, shard: Shard) -> Any:
        """A shard's ciphertexts, as the circuit takes them.

        What is in no file is kept in any case.

        Raises
        ------
        MessageError, PlanMismatch
            If the message is malformed, of another plan or run, or not what the shard says.
        """
        place = _place(shard)
        if place in self._kept:
            return self._kept[place]
        said = {"owner": shard.owner, "chunk": shard.chunk, "n_samples": shard.n_samples}
        _, sections = messages.unpack(
            read(shard.message),
            "rows",
            self._digest,
            len(self._model.sections),
            run=self._run,
            **said,
        )
        loaded = [
            self._backend.load_fresh(section, *form)
            for section, form in zip(sections, self._model.sections, strict=True)
        ]
        chunk = self._model.chunk(self._backend, loaded)
        if place is not shard or len(self._kept) < self._room:
            self._kept[place] = chunk
        return chunk

    def sums(
        self, shards: Sequence[Shard], indices: Sequence[int], weights: Sequence[bytes]
    ) -> RunningSums:
        """The sums over shards, not merged; only one shard more than is kept is in memory.

        Parameters
        ----------
        shards : sequence of Shard
            Which.
        indices : sequence of int
            Into the plan's tables.
        weights : sequence of bytes
            The step's encrypted weights.
        """
        loaded = [self._backend.load_fresh(section, *self._fresh) for section in weights]
        own = self._own_products(shards)
        sums = self._model.running_sums(self._arithmetic, indices, loaded, own)
        for shard in shards:
            sums.add(self.chunk(shard), _place(shard) in self._kept)
        sums.close()
        return sums

    def _own_products(self, shards: Sequence[Shard]) -> RowProducts | None:
        """Those of the same rows in the same order, if they are known."""
        if not pays(len(shards), self._steps):
            return None
        places = [_place(shard) for shard in shards]
        if self._own[0] != places or not self._own[1].known:
            self._own = places, RowProducts()
        return self._own[1]

    def round(
        self,
        shards: Sequence[Shard],
        weights: Sequence[bytes],
        noises: Sequence[Ciphertext],
        course: Course,
    ) -> Ciphertext:
        """A whole round of steps over all shards.

        Parameters
        ----------
        shards : sequence of Shard
            All of them.
        weights : sequence of bytes
            The encrypted weights that it starts from; none for zeros.
        noises : sequence of Ciphertext
            All owners' noise, for every step.
        course : Course
            What is told of the way.
        """
        loaded = [self._backend.load_fresh(section, *self._fresh) for section in weights]
        chunks = map(self.chunk, shards)
        return self._model.round(self._arithmetic, chunks, loaded, noises, course)

    def empty(self, indices: Sequence[int], weights: Sequence[bytes]) -> RunningSums:
        """Sums over nothing yet, for the totals of others."""
        return self.sums([], indices, weights)


def _place(shard: Shard) -> _Place:
    """What a shard's rows are kept by.

    By its content, where it has a file: an owner may have encrypted other rows in its place.
    """
    return shard if isinstance(shard.message, StoredMessage) else (shard.owner, shard.chunk)


def _loaded_bytes(plan: TrainingPlan, model: Any) -> int:
    """At most what a chunk takes: each ciphertext has two polynomials, at the top and low.

    Its own products for the margins have three, at the top.
    """
    used = plan.encryption
    top, low = len(used.primes) - 1, used.product_level + 1
    polynomials = len(model.sections) * 2 * (top + low) + 3 * top
    return polynomials * 8 * used.poly_modulus_degree
