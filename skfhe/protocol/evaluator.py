"""The evaluator: computes on ciphertexts, with evaluation keys only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..circuits.arithmetic import Arithmetic
from ..circuits.logistic import EncryptedChunk, gradient
from ..circuits.polynomial import FactoredPolynomial
from ..crypto.backend import Scheme
from ..exceptions import PlanMismatch
from ..packing import Layout
from ..plan import TrainingPlan
from . import messages
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
    """

    def __init__(self, plan: TrainingPlan, evaluation_keys: bytes, scheme: Scheme | None = None):
        self.plan = plan
        self._layout = Layout.of(plan.problem, plan.encryption, plan.guarantee.n_owners)
        header, (keys,) = messages.unpack(evaluation_keys, "evaluation keys", plan.digest)
        self._run = header["run"]
        self._backend = (scheme or plan_scheme(plan)).evaluator(keys)
        self._arithmetic = Arithmetic(self._backend, plan.encryption.waterline)
        self._chunks: list[EncryptedChunk] = []
        self._rows = 0
        self._next_step = 0

    def load(self, chunks: Iterable[bytes]) -> None:
        """Take in encrypted rows and make their low-level copies, once for all steps."""
        used, problem = self.plan.encryption, self.plan.problem
        for message in chunks:
            header, sections = messages.unpack(message, "rows", self.plan.digest)
            if (
                self._rows + header["n_samples"] > problem.n_samples
                or len(self._chunks) == self._layout.chunks
                or len(sections) != self._layout.groups + 1
            ):
                raise PlanMismatch(
                    f"the plan is for {problem.n_samples} rows in at most {self._layout.chunks} "
                    f"chunks of {self._layout.groups} ciphertexts; these are more."
                )
            *rows, labels = (self._backend.load(section) for section in sections)
            low = [self._backend.switch_to(row, used.product_level) for row in rows]
            self._chunks.append(EncryptedChunk(rows, low, labels))
            self._rows += header["n_samples"]

    def step(self, weights: bytes, noise: Sequence[bytes]) -> bytes:
        """One encrypted, noised gradient sum.

        Parameters
        ----------
        weights : bytes
            The key holder's message: encrypted weights and two indices into the plan's tables.
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
        plan, backend, digest = self.plan, self._backend, self.plan.digest
        if not self._chunks:
            raise PlanMismatch("there are no rows yet: load the encrypted data set first.")
        bound = {"run": self._run, "step": self._next_step}
        header, sections = messages.unpack(weights, "weights", digest, **bound)
        certificate = plan.certificate
        try:
            polynomial = certificate.polynomials[_index(header["polynomial"])]
            divisor = certificate.contributions[_index(header["contribution"])]
        except (IndexError, KeyError, TypeError):
            raise PlanMismatch("the weights name an entry that the plan's tables lack.") from None
        if len(sections) != self._layout.groups:
            raise PlanMismatch(
                f"weights must be {self._layout.groups} ciphertexts, got {len(sections)}."
            )
        shares = [
            messages.unpack(share, "noise", digest, owner=owner, **bound)[1][0]
            for owner, share in enumerate(noise)
        ]
        if len(shares) != plan.guarantee.n_owners:
            raise PlanMismatch(
                f"every one of the {plan.guarantee.n_owners} owners must send its noise, "
                f"got {len(shares)}."
            )
        total = gradient(
            self._arithmetic,
            self._layout,
            FactoredPolynomial.of(polynomial, divisor),
            divisor,
            self._chunks,
            [backend.load(section) for section in sections],
        )
        for share in shares:
            total = backend.add(total, backend.load(share))
        self._next_step += 1
        return messages.pack("gradient", digest, [backend.save(total)], **bound)


def _index(value: object) -> int:
    """A table index; negative ones would count from the end."""
    if not isinstance(value, int) or value < 0:
        raise IndexError(value)
    return value
