"""The evaluator: computes on ciphertexts, with evaluation keys only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..circuits.arithmetic import Arithmetic
from ..crypto.backend import Scheme
from ..exceptions import PlanMismatch
from ..plan import TrainingPlan
from . import messages
from .models import model_of
from .schemes import plan_scheme


class Evaluator:
    """The untrusted server. Sees ciphertexts and the plan, and can decrypt nothing.

    Parameters
    ----------
    plan : TrainingPlan
        The plan that all parties agreed on.
    evaluation_keys : bytes
        The key holder's message with relinearisation and automorphism keys.
    scheme : Scheme, optional
        The backend; by default the encrypted one.

    Attributes
    ----------
    noise_seeded : bool
        Whether an owner has said that its noise came from a seed.
    """

    def __init__(self, plan: TrainingPlan, evaluation_keys: bytes, scheme: Scheme | None = None):
        self.plan = plan
        self._model = model_of(plan)
        header, (keys,) = messages.unpack(
            evaluation_keys, "evaluation keys", plan.digest, n_sections=1
        )
        self._run = header["run"]
        self._backend = (scheme or plan_scheme(plan)).evaluator(keys)
        self._arithmetic = Arithmetic(self._backend, plan.encryption.waterline)
        self._chunks: list[Any] = []
        self._admitted: set[tuple[int, int]] = set()
        self._rows = 0
        self._next_step = 0
        self.noise_seeded = False

    def __reduce__(self):
        raise TypeError("an evaluator does not pickle; build one from the evaluation keys.")

    def load(self, chunks: Iterable[bytes]) -> None:
        """Take in encrypted rows and make their low-level copies, once for all steps.

        Raises
        ------
        MessageError, PlanMismatch
            If a message is malformed, belongs to another plan, comes twice or holds more rows
            than the plan.
        """
        model, digest = self._model, self.plan.digest
        for message in chunks:
            header, sections = messages.unpack(message, "rows", digest, model.n_sections)
            self._require_admissible(header)
            ciphertexts = [self._backend.load(section) for section in sections]
            self._admitted.add((header["owner"], header["chunk"]))
            self._rows += header["n_samples"]
            self._chunks.append(model.chunk(self._backend, ciphertexts))

    def _require_admissible(self, header: dict[str, Any]) -> None:
        """Take every chunk once: a row that is counted twice would count for two."""
        problem, model, owners = self.plan.problem, self._model, self.plan.guarantee.n_owners
        owner, chunk, rows = (header.get(name) for name in ("owner", "chunk", "n_samples"))
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
            For the key holder's `prepare`.
        """
        statistic = self.plan.preparation.statistics.get(name)
        if statistic is None:
            raise PlanMismatch(f"the plan has no statistic {name!r}.")
        n_sections = statistic.n_ciphertexts(self.plan.encryption.poly_modulus_degree)
        total: list[Any] = []
        for sections in self._shares("statistic", shares, n_sections, name=name):
            loaded = [self._backend.load(section) for section in sections]
            total = [*map(self._backend.add, total, loaded)] if total else loaded
        return messages.pack(
            "statistics",
            self.plan.digest,
            [self._backend.save(part) for part in total],
            run=self._run,
            name=name,
            seeded=self.noise_seeded,
        )

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

    def step(self, weights: bytes, noise: Sequence[bytes]) -> bytes:
        """One encrypted, noised gradient sum.

        Parameters
        ----------
        weights : bytes
            The key holder's message: encrypted weights and indices into the plan's tables.
        noise : sequence of bytes
            One message of every owner, for this very run and step.

        Returns
        -------
        reply : bytes
            For the key holder's `release`.

        Raises
        ------
        PlanMismatch
            If a message belongs to another plan, run or step.
        """
        backend, digest = self._backend, self.plan.digest
        if not self._chunks:
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
        shares = self._shares("noise", noise, 1, step=self._next_step)
        loaded = [backend.load(section) for section in sections]
        total = self._model.running_sums(self._arithmetic, indices, loaded).gradient(self._chunks)
        for (share,) in shares:
            total = backend.add(total, backend.load(share))
        self._next_step += 1
        return messages.pack(
            "gradient", digest, [backend.save(total)], seeded=self.noise_seeded, **bound
        )
