"""The evaluator: computes on ciphertexts, with evaluation keys only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from ..circuits.running import RunningSums
from ..crypto.backend import Ciphertext, Scheme
from ..exceptions import MessageError, PlanMismatch
from ..plan import TrainingPlan
from . import messages
from .checkpoint import Checkpoint
from .manifest import Shard
from .mapping import Step, added, mapped_sums, n_workers, parts
from .models import model_of
from .places import StoredMessage
from .round_course import Progress, RoundCourse
from .schemes import plan_scheme
from .worker import Worker

# What a process keeps of stored shards between steps, unless told otherwise.
CACHE_BYTES = 2e9


class Evaluator:
    """The untrusted server: computes on ciphertexts, and can decrypt nothing.

    It sees the plan, ciphertexts and how many rows each owner has.

    Parameters
    ----------
    plan : TrainingPlan
        The plan that all parties agreed on.
    evaluation_keys : bytes or iterable of bytes
        The key holder's message with relinearisation and automorphism keys; or several that
        have them in order, each of which is loaded before the next is asked for.
    scheme : Scheme, optional
        The backend; by default the encrypted one.
    checkpoint : Checkpoint, optional
        Keeps answers; a `FolderCheckpoint` outlives the process. By default all ends with it.
    step : int, default=0
        The step that the run has come to.
    n_jobs : int, default=None
        Processes that steps over stored shards are spread over, by joblib and as
        `joblib.parallel_config` says; None for one, or what that says.
    cache_bytes : float, default=2e9
        What each process keeps of stored shards between steps, in bytes of loaded ciphertexts.

    Attributes
    ----------
    noise_seeded : bool
        Whether an owner has said that its noise came from a seed.

    Raises
    ------
    MessageError
        If there are no evaluation keys in the messages, or an answer of the checkpoint is none.
    PlanMismatch
        If a message is for another plan or run.

    Examples
    --------
    >>> from skfhe import EncryptedDPLogisticRegression, Evaluator, KeyHolder
    >>> from skfhe.protocol.schemes import plan_scheme
    >>> model = EncryptedDPLogisticRegression(degree=1)
    >>> plan = model.plan(n_samples=200, n_features=4, n_owners=2)
    >>> scheme = plan_scheme(plan, "simulated")
    >>> with KeyHolder(plan, scheme) as key_holder:
    ...     evaluator = Evaluator(plan, key_holder.evaluation_keys(), scheme)
    >>> evaluator.noise_seeded
    False
    """

    def __init__(
        self,
        plan: TrainingPlan,
        evaluation_keys: bytes | Iterable[bytes],
        scheme: Scheme | None = None,
        *,
        checkpoint: Checkpoint | None = None,
        step: int = 0,
        n_jobs: int | None = None,
        cache_bytes: float = CACHE_BYTES,
    ):
        self.plan = plan
        self._model = model_of(plan)
        whole = isinstance(evaluation_keys, bytes)
        parts = iter((evaluation_keys,) if whole else evaluation_keys)
        first = next(parts, b"")
        header, _ = messages.unpack(first, "evaluation keys", plan.digest)
        self._run = messages.run_of(header)
        self._scheme = scheme or plan_scheme(plan)
        self._backend = self._scheme.evaluator(self._each_key(chain((first,), parts)))
        self._checkpoint = checkpoint or Checkpoint()
        self._keys = self._checkpoint.keep_keys(evaluation_keys) if whole else b""
        self._n_jobs = n_jobs
        self._cache_bytes = cache_bytes
        self._worker = Worker(plan, self._backend, self._run, cache_bytes)
        self._shards: list[Shard] = []
        self._homes: dict[str, int] = {}
        self._admitted: set[tuple[int, int]] = set()
        self._rows = 0
        self.noise_seeded = False
        kept = self._kept("step", "gradient")
        self._next_step = max(step, kept[1]["step"] + 1) if kept else step

    def __reduce__(self):
        raise TypeError("an evaluator does not pickle; build one from the evaluation keys.")

    def _each_key(self, parts: Iterable[bytes]) -> Iterator[memoryview]:
        """The keys in messages of the evaluator's run."""
        for part in parts:
            _, keys = messages.unpack(part, "evaluation keys", self.plan.digest, run=self._run)
            yield from keys

    def load(self, rows: Iterable[bytes | Shard]) -> None:
        """Take in encrypted rows, once for all steps.

        Messages are loaded now; shards in files when they are needed.

        Parameters
        ----------
        rows : iterable of bytes or Shard
            What `DataOwner.encrypt` gives, or the shards of an `EncryptedDataset`.

        Raises
        ------
        MessageError, PlanMismatch
            If a message is malformed, belongs to another plan or run, comes twice or holds more
            rows than the plan.
        """
        for item in rows:
            shard = item if isinstance(item, Shard) else self._shard(item)
            self._require_admissible(shard)
            if isinstance(shard.message, bytes):
                self._worker.chunk(shard)
                shard = replace(shard, message=b"")  # the worker has it
            self._admitted.add((shard.owner, shard.chunk))
            self._rows += shard.n_samples
            self._shards.append(shard)

    def _shard(self, message: bytes) -> Shard:
        """A shard from the header of its message."""
        n_sections = len(self._model.sections)
        header, _ = messages.unpack(message, "rows", self.plan.digest, n_sections)
        return Shard(*(header.get(name) for name in ("owner", "chunk", "n_samples")), message)

    def _require_admissible(self, shard: Shard) -> None:
        """Take every chunk once: a row that is counted twice would count for two."""
        problem, model, owners = self.plan.problem, self._model, self.plan.guarantee.n_owners
        owner, chunk, rows = shard.owner, shard.chunk, shard.n_samples
        if not (
            all(type(value) is int for value in (owner, chunk, rows))
            and 0 <= owner < owners
            and 0 <= chunk < model.chunks
            and 0 < rows <= model.rows_per_chunk
        ):
            raise PlanMismatch("a chunk of rows names an owner, place or size outside the plan.")
        if (owner, chunk) in self._admitted:
            raise PlanMismatch(f"chunk {chunk} of owner {owner} has been loaded before.")
        if self._rows + rows > problem.n_samples or len(self._admitted) == model.chunks:
            raise PlanMismatch(
                f"the plan is for {problem.n_samples} rows in at most {model.chunks} chunks; "
                "these are more."
            )

    def aggregate(self, name: str, shares: Sequence[bytes]) -> bytes:
        """Add up the owners' encrypted, noised shares of a statistic.

        Parameters
        ----------
        name : {"moments", "curvature"}
            One of the plan's.
        shares : sequence of bytes
            One message of every owner, for this very run.

        Returns
        -------
        reply : bytes
            For `KeyHolder.prepare`.

        Raises
        ------
        MessageError, PlanMismatch
            If a share is malformed, of another plan, run or owner, or missing; or other shares
            were added up before.
        """
        statistic = self.plan.preparation.statistics.get(name)
        if statistic is None:
            raise PlanMismatch(f"the plan has no statistic {name!r}.")
        request, kept = _digest(shares), self._kept(name, "statistics")
        if kept is not None:
            reply, header = kept
            if header["request"] != request:
                raise PlanMismatch(f"{name} was added up before, from other shares.")
            return reply
        n_sections = statistic.n_ciphertexts(self.plan.encryption.poly_modulus_degree)
        level, total = self.plan.encryption.product_level, []
        for sections in self._shares("statistic", shares, n_sections, name=name):
            loaded = [self._backend.load_fresh(section, 1.0, level) for section in sections]
            total = [*map(self._backend.add, total, loaded)] if total else loaded
        reply = messages.pack(
            "statistics",
            self.plan.digest,
            [self._backend.save(part) for part in total],
            run=self._run,
            name=name,
            seeded=self.noise_seeded,
            request=request,
        )
        self._checkpoint.keep(name, reply)
        return reply

    def _shares(
        self, kind: str, shares: Sequence[bytes], n_sections: int, **bound: Any
    ) -> list[list[memoryview]]:
        """The sections of every owner's message, for this run; notes whether noise was seeded."""
        opened = [
            messages.unpack(
                share, kind, self.plan.digest, n_sections, run=self._run, owner=owner, **bound
            )
            for owner, share in enumerate(shares)
        ]
        if len(opened) != self.plan.guarantee.n_owners:
            raise PlanMismatch(
                f"every one of the {self.plan.guarantee.n_owners} owners must send its noise, "
                f"got {len(opened)}."
            )
        self.noise_seeded |= any(header.get("seeded") is not False for header, _ in opened)
        return [sections for _, sections in opened]

    def step(
        self, weights: bytes, noise: Sequence[bytes], progress: Progress | None = None
    ) -> bytes:
        """The encrypted, noised gradient sum of one step; the same if asked again.

        A round whose ciphertexts are refreshed goes on from the last refresh that the checkpoint
        has, if it is asked for with the same messages.

        Parameters
        ----------
        weights : bytes
            The message of `KeyHolder.weights`.
        noise : sequence of bytes
            One message of every owner, for this very run and step.
        progress : callable, optional
            Told the number of steps and refreshes of a round that have been done since.

        Returns
        -------
        reply : bytes
            For `KeyHolder.release`.

        Raises
        ------
        MessageError, PlanMismatch
            If a message is malformed or belongs to another plan, run or step.
        WorkersLost
            If processes that the step was spread over were lost in every attempt.
        """
        request, kept = _digest([weights, *noise]), self._kept("step", "gradient")
        if kept is not None and kept[1]["request"] == request:
            return kept[0]
        digest = self.plan.digest
        if not self._shards:
            raise PlanMismatch("there are no rows yet: load the encrypted data set first.")
        bound = {"run": self._run, "step": self._next_step}
        header, sections = messages.unpack(
            weights, "weights", digest, self._model.n_weights, **bound
        )
        indices, sizes = header.get("indices"), self._model.tables
        if not (
            isinstance(indices, list)
            and len(indices) == len(sizes)
            and all(type(i) is int and 0 <= i < n for i, n in zip(indices, sizes, strict=True))
        ):
            raise PlanMismatch("the weights name an entry that the plan's tables lack.")
        noises = self._noises(noise)
        if self.plan.rounds:
            course = RoundCourse(
                self._backend,
                self._checkpoint,
                digest,
                request,
                {**bound, "rows": _digest([repr(shard).encode() for shard in self._shards])},
                len(self.plan.rounds.refreshes),
                progress,
            )
            total = self._worker.round(self._shards, sections, noises, course)
        else:
            total = self._sums(tuple(indices), tuple(map(bytes, sections))).merged()
            total = self._backend.add(total, *noises)
        reply = messages.pack(
            "gradient",
            digest,
            [self._backend.save(total)],
            seeded=self.noise_seeded,
            request=request,
            **bound,
        )
        self._checkpoint.keep("step", reply)
        self._next_step += 1
        return reply

    def _noises(self, noise: Sequence[bytes]) -> list[Ciphertext]:
        """All owners' noise for the next step, added up vector by vector."""
        forms = self._model.noise
        totals: list[Ciphertext] = []
        for sections in self._shares("noise", noise, len(forms), step=self._next_step):
            loaded = [
                self._backend.load_fresh(section, form.scale, form.level)
                for section, form in zip(sections, forms, strict=True)
            ]
            totals = [*map(self._backend.add, totals, loaded)] if totals else loaded
        return totals

    def _kept(self, name: str, kind: str) -> tuple[bytes, dict[str, Any]] | None:
        """The last answer of a name, with its header, so that no noise is used twice."""
        kept = self._checkpoint.answer(name)
        if kept is None:
            return None
        header, _ = messages.unpack(kept, kind, self.plan.digest, run=self._run)
        is_step = kind == "gradient"
        if not isinstance(header.get("request"), str) or (
            is_step and type(header.get("step")) is not int
        ):
            raise MessageError(f"the checkpoint's last {kind} message is malformed.")
        return kept, header

    def _sums(self, indices: tuple[int, ...], weights: tuple[bytes, ...]) -> RunningSums:
        """The step's sums, by this process or by several."""
        stored = all(isinstance(shard.message, StoredMessage) for shard in self._shards)
        workers = n_workers(self._n_jobs) if stored else 1
        if workers == 1:
            return self._worker.sums(self._shards, indices, weights)
        step = Step(
            plan=self.plan.to_json(),
            keys=self._keys,
            identity=self._run,
            backend=self._scheme.name,
            cache_bytes=self._cache_bytes,
            indices=indices,
            weights=weights,
            parts=tuple(parts(self._shards, workers)),
            homes=self._homes,
        )
        shares = mapped_sums(step, self._n_jobs)
        self._homes = {one.worker: one.part for one in shares}
        return added(self._worker.empty(indices, weights), [one.totals for one in shares])


def _digest(request: Sequence[bytes]) -> str:
    """What tells a repeated request from another."""
    digests = [hashlib.sha256(message).digest() for message in request]
    return hashlib.sha256(b"".join(digests)).hexdigest()
