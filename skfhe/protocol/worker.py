"""The part of a step that any process can do: sums over some of the shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..circuits.arithmetic import Arithmetic
from ..circuits.running import RunningSums
from ..crypto.backend import Ciphertext, Loader
from ..plan import TrainingPlan
from . import messages
from .manifest import Shard
from .models import model_of
from .places import StoredMessage, read


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
        self._arithmetic = Arithmetic(backend, plan.encryption.waterline)
        self._model = model_of(plan)
        # Scale and level of the weights.
        self._fresh = plan.encryption.scale, len(plan.encryption.primes) - 2
        self._kept: dict[Shard | tuple[int, int], Any] = {}
        self._room = cache_bytes // _loaded_bytes(plan, self._model)

    def chunk(self, shard: Shard) -> Any:
        """A shard's ciphertexts, as the circuit takes them.

        What is in no file is kept in any case.

        Raises
        ------
        MessageError, PlanMismatch
            If the message is malformed, of another plan or run, or not what the shard says.
        """
        # By its content, where it has a file: an owner may have encrypted other rows in its place.
        stored = isinstance(shard.message, StoredMessage)
        place = shard if stored else (shard.owner, shard.chunk)
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
        if not stored or len(self._kept) < self._room:
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
        sums = self._model.running_sums(self._arithmetic, indices, loaded)
        for shard in shards:
            sums.add(self.chunk(shard))
        return sums

    def round(
        self, shards: Sequence[Shard], weights: Sequence[bytes], noises: Sequence[Ciphertext]
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
        """
        loaded = [self._backend.load_fresh(section, *self._fresh) for section in weights]
        chunks = map(self.chunk, shards)
        return self._model.round(self._arithmetic, chunks, loaded, noises)

    def empty(self, indices: Sequence[int], weights: Sequence[bytes]) -> RunningSums:
        """Sums over nothing yet, for the totals of others."""
        return self.sums([], indices, weights)


def _loaded_bytes(plan: TrainingPlan, model: Any) -> int:
    """At most what a chunk takes: each ciphertext has two polynomials, at the top and low."""
    used = plan.encryption
    primes = len(used.primes) - 1 + used.product_level + 1
    return len(model.sections) * 2 * 8 * used.poly_modulus_degree * primes
