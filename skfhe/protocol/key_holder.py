"""The key holder: the one party that decrypts, and only what carries its noise."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..crypto.backend import Encryptor, Scheme
from ..exceptions import KeyBurned, PlanMismatch
from ..plan import TrainingPlan
from ..planning import check_plan
from ..privacy.guarantee import PrivacyGuarantee
from ..privacy.ledger import PrivacyLedger
from ..privacy.releases import ReleaseLedger
from ..privacy.statistics import largest
from . import messages
from .models import Certified, model_of
from .models.base import Optimizer, Weights
from .preparation import fitted_frame, pack_frame, plain_frame
from .schemes import plan_scheme


@dataclass(frozen=True)
class StepRecord:
    """What a step may tell: functions of released values and of the plan alone.

    Attributes
    ----------
    gradient_norm : float
        Norm of the noised mean gradient.
    weight_norm : float
        Norm of the weights (for rows of norm one) after the step.
    interval : float
        Radius of the approximation used.
    contribution : float
        S: the bound on one row's contribution that was used.
    split : float
        What the hidden layer's gradient was divided by in addition; 1 for the linear model.
    """

    gradient_norm: float
    weight_norm: float
    interval: float
    contribution: float
    split: float


class KeyHolder:
    """Holds the secret key and the ledger of one run.

    Every release is paid for before it is decrypted, and nothing is decrypted twice. Whatever
    goes wrong after that, a ciphertext that does not decrypt or a vector outside what the plan
    makes possible, ends the run and destroys the key: it is the sign of a dishonest evaluator,
    and a refusal that could be repeated would be an oracle. That a ciphertext carries its noise
    is what an evaluator who follows the protocol sees to; the key holder cannot tell.

    Parameters
    ----------
    plan : TrainingPlan
        The plan that all parties agreed on.
    scheme : Scheme, optional
        The backend; by default the encrypted one.
    ledger : PrivacyLedger, optional
        The budget that the run is paid from: all of it when the key holder is made, before there
        is a key; what was not released is given back when the key is destroyed.
    mechanism : str, default="KeyHolder"
        What the ledger calls the run.
    seeded : bool, default=False
        Whether the noise will come from a seed: the ledger is then charged without limit.

    Attributes
    ----------
    plan, scheme, ledger
        As given.
    run : str
        Random name of this run, which noise and messages are bound to.
    releases : ReleaseLedger
        Which of the plan's releases have been paid for.
    records : list of StepRecord
        One per step.
    noise_seeded : bool
        Whether an owner has said that noise of this run came from a seed.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        scheme: Scheme | None = None,
        *,
        ledger: PrivacyLedger | None = None,
        mechanism: str = "KeyHolder",
        seeded: bool = False,
    ):
        check_plan(plan)
        self.plan = plan
        self.ledger = ledger
        self._seeded = seeded
        self._process = os.getpid()
        self.scheme = scheme or plan_scheme(plan)
        self.run = os.urandom(16).hex()
        self.releases = ReleaseLedger(plan.guarantee.n_releases)
        self.records: list[StepRecord] = []
        self.noise_seeded = False
        self._model = model_of(plan)
        self._frame = None if plan.preparation.moments else plain_frame(plan)
        self._unprepared = [*plan.preparation.statistics]
        self._optimizer: Optimizer | None = None
        if not self._unprepared:
            self._optimizer = self._model.optimizer(self._frame, None)
        self._entry = ledger and ledger.debit(
            mechanism,
            PrivacyGuarantee.of(plan, plan.guarantee.n_releases, guaranteed=not seeded),
            neighboring=plan.certificate.neighboring,
            digest=plan.digest,
            seeded=seeded,
        )
        try:
            self._keys = self.scheme.generate(self._model.elements)
            self._encryptor: Encryptor | None = self._keys.encryptor()
        except BaseException:
            # Nothing can be released without a key, and nobody could settle this later.
            if self._entry is not None:
                ledger.settle(self._entry, 0, 0.0)
            raise
        self._step = 0
        self._weights: bytes | None = None
        self._certified: Certified | None = None
        self._answered: str | None = None

    def __enter__(self) -> KeyHolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.burn()

    def __repr__(self) -> str:
        return f"KeyHolder(plan={self.plan.digest[:12]}, step={self._step})"

    def __reduce__(self):
        raise TypeError("a key holder does not pickle: it holds a secret key.")

    def evaluation_keys(self) -> bytes:
        """Relinearisation and automorphism keys, for the evaluator."""
        keys = self._keys.evaluation_keys()
        return messages.pack("evaluation keys", self.plan.digest, [keys], run=self.run)

    def public_key(self) -> bytes:
        """The encryption key, for data owners."""
        key = self._keys.public_key()
        return messages.pack("public key", self.plan.digest, [key], run=self.run)

    def encryptor(self) -> Encryptor:
        """Symmetric encryption, for the single owner who is the key holder too."""
        if not self.plan.encryption.symmetric:
            raise PlanMismatch(
                f"the plan has {self.plan.guarantee.n_owners} owners, who encrypt under the "
                "public key; send them public_key()."
            )
        return self._alive()

    def prepare(self, reply: bytes) -> None:
        """Decrypt a noised statistic, the plan's next, and make a frame or preconditioner of it.

        The same reply again changes nothing.

        Raises
        ------
        As `release`.
        """
        if not self._new(reply):
            return
        if not self._unprepared:
            raise PlanMismatch("the plan has no statistic that is still to be released.")
        name = self._unprepared[0]
        statistic = self.plan.preparation.statistics[name]
        n_sections = statistic.n_ciphertexts(self.plan.encryption.poly_modulus_degree)
        sections = self._unpack(reply, "statistics", n_sections, name=name)
        unit = largest(name, self.plan.problem, statistic.grid_bits)
        level, noise = self.plan.encryption.product_level, statistic.noise_units
        with self._burning_on_failure():
            sums = self._decrypt(name, sections, level, 1.0, unit, noise)[: statistic.length]
            self._unprepared.pop(0)
            if name == "moments":
                self._frame = fitted_frame(self.plan, sums)
            if not self._unprepared:
                curvature = sums if name == "curvature" else None
                self._optimizer = self._model.optimizer(self._frame, curvature)
        self._answered = hashlib.sha256(reply).hexdigest()

    def frame(self) -> bytes:
        """How rows are to be stored, for the owners' `adopt`; public."""
        if self._frame is None:
            raise PlanMismatch("the frame is made from the moments: release these first.")
        return pack_frame(self._frame, self.plan, self.run)

    @property
    def done(self) -> bool:
        """Whether every step has been taken."""
        return self._step == self.plan.optimizer.max_iter

    def weights(self) -> bytes:
        """Encrypted weights for the next step; the same message if asked again."""
        encryptor = self._alive()
        if self.done:
            raise PlanMismatch(f"all {self._step} steps of the plan are done; use result().")
        if self._optimizer is None:
            raise PlanMismatch(f"the plan releases {self._unprepared} first: use prepare().")
        if self._weights is None:
            with self._burning_on_failure():
                self._weights = self._encrypted(encryptor, self._optimizer.point)
        return self._weights

    def _encrypted(self, encryptor: Encryptor, point: Weights) -> bytes:
        """The message of the weights at a point, which is certified first."""
        used = self.plan.encryption
        self._certified = self._model.certify(point)
        packed, top = self._model.weights(point, self._certified), len(used.primes) - 2
        return messages.pack(
            "weights",
            self.plan.digest,
            [encryptor.encrypt(slots, used.scale, top) for slots in packed],
            run=self.run,
            step=self._step,
            indices=self._certified.indices,
        )

    def release(self, reply: bytes) -> None:
        """Decrypt one noised gradient sum and take a step with it.

        The same reply again changes nothing.

        Raises
        ------
        PlanMismatch, MessageError
            If the reply's envelope is malformed or belongs to another plan, run or step, another
            reply to an answered step included, or holds seeded noise under a ledger: nothing is
            paid or decrypted then, and the run goes on. MessageError also if the ciphertext
            within does not decrypt: the step is paid for and the key destroyed.
        BudgetExceeded
            If the ledger does not pay.
        KeyBurned
            If the decrypted vector is impossible under the plan; the step is paid for and the
            key destroyed.
        """
        if not self._new(reply):
            return
        sections = self._unpack(reply, "gradient", 1, step=self._step)
        if self._weights is None:
            raise PlanMismatch(f"step {self._step} has not begun: send weights() first.")
        scale, noise = self.plan.encryption.output_scale, self.plan.encryption.noise_units
        unit = scale / self._model.output_norm
        with self._burning_on_failure():
            coefficients = self._decrypt(self._step, sections, 0, scale, unit, noise)
            self._take(self._model.sums(coefficients / scale, self._certified))
        self._answered = hashlib.sha256(reply).hexdigest()
        if self.done:
            self.burn()

    def _take(self, gradient_sum: Weights) -> None:
        """One optimiser step with released sums."""
        self._optimizer.update(gradient_sum)
        self.records.append(
            StepRecord(
                gradient_norm=self._model.norm(gradient_sum) / self.plan.problem.n_samples,
                weight_norm=self._model.norm(self._optimizer.point),
                interval=self._certified.interval,
                contribution=self._certified.contribution,
                split=self._certified.split,
            )
        )
        self._step += 1
        self._weights = None

    def result(self) -> Any:
        """The released model.

        The linear one is its weights for rows as they are given, of shape (n_columns, n_outputs),
        the intercept last if there is one; a network is a `ReleasedNetwork`.
        """
        if not self.done:
            raise PlanMismatch(
                f"the model is released after all {self.plan.optimizer.max_iter} steps, "
                f"{self._step} are done."
            )
        return self._model.released(self._frame, self._optimizer.result())

    def burn(self) -> None:
        """Destroy the secret key, in the encryptor that was given out too; the run is over.

        The ledger gets back what was not released: without a key nothing can follow. A fork
        of this process has a copy of the key, but refuses to use it.
        """
        self._keys.destroy()
        if self._encryptor is not None:
            self._encryptor.destroy()
        self._encryptor = None
        if self._entry is not None and not self.done and self._process == os.getpid():
            spent = self.releases.spent
            seeded = self._seeded and spent
            squared_mu = math.inf if seeded else self.plan.squared_mu_of(spent)
            self.ledger.settle(self._entry, len(spent), squared_mu)
            self._entry = None

    @contextmanager
    def _burning_on_failure(self) -> Iterator[None]:
        """Whatever goes wrong once a reply is to be decrypted ends the run."""
        try:
            yield
        except BaseException:
            self.burn()
            raise

    def _alive(self) -> Encryptor:
        if self._process != os.getpid():
            raise KeyBurned(
                "a key holder works in the process that made it, where its releases are counted; "
                "make one here, with a run of its own."
            )
        if self._encryptor is None:
            raise KeyBurned("this run is over and its secret key destroyed; start a new run.")
        return self._encryptor

    def _decrypt(
        self,
        release: str | int,
        ciphertexts: list[memoryview],
        level: int,
        scale: float,
        unit: float,
        noise_units: float,
    ) -> NDArray:
        """Pay for a release, then decrypt it: coefficients of all its ciphertexts.

        Every row contributes at most a unit, and noise stays within a dozen deviations; whatever
        exceeds them both is refused.
        """
        self.releases.spend(release)
        values = np.concatenate([self._keys.decrypt(one, level, scale) for one in ciphertexts])
        noise = noise_units * self.plan.guarantee.noise_excess
        if np.max(np.abs(values)) > 1.1 * self.plan.problem.n_samples * unit + 12 * noise:
            name = release if isinstance(release, str) else f"step {release}"
            raise KeyBurned(
                f"{name} decrypted to something that no data within the plan's row bound can "
                "give; the run has ended and its key is destroyed."
            )
        return values

    def _new(self, reply: bytes) -> bool:
        """Whether a reply is not the one that was answered last; refused once the key is gone."""
        if hashlib.sha256(reply).hexdigest() == self._answered:
            return False
        self._alive()
        return True

    def _unpack(
        self, reply: bytes, kind: str, n_sections: int, **expected: Any
    ) -> list[memoryview]:
        """The ciphertexts of a reply to this run, whose noise the ledger was charged for."""
        header, sections = messages.unpack(
            reply, kind, self.plan.digest, n_sections, run=self.run, **expected
        )
        seeded = header.get("seeded") is not False
        if self.ledger is not None and seeded and not self._seeded:
            raise PlanMismatch(
                "an owner's noise came from a seed, which the ledger was not charged for; make "
                "the key holder with seeded=True, or the noise with the operating system's bytes."
            )
        self.noise_seeded |= seeded
        return sections
