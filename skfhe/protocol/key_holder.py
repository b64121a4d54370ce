"""The key holder: the one party that decrypts, and only what carries its noise."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..crypto.backend import Encryptor, KeyPair, Scheme
from ..exceptions import BudgetExceeded, KeyBurned, PlanMismatch, StateError
from ..plan import TrainingPlan
from ..planning import check_plan
from ..privacy.ledger import PrivacyLedger
from ..privacy.releases import ReleaseLedger
from ..privacy.statistics import largest
from . import messages
from .account import Account
from .course import Course
from .models import Certified
from .published import Published
from .schemes import plan_scheme
from .state import Release, RunState
from .turns import one_at_a_time


class KeyHolder(Published):
    """Holds the secret key and the ledger of one run.

    Every release is paid for and written down before it is decrypted, and no second ciphertext is
    ever decrypted for it. A ciphertext that does not decrypt or a vector outside what the plan
    makes possible ends the run and destroys the key: it is the sign of a dishonest evaluator, and
    a refusal that could be repeated would be an oracle. That a ciphertext carries its noise is
    what an evaluator who follows the protocol sees to; the key holder cannot tell.

    Parameters
    ----------
    plan : TrainingPlan
        The plan that all parties agreed on.
    scheme : Scheme, optional
        The backend (`skfhe.protocol.schemes.plan_scheme`); by default the encrypted one.
    ledger : PrivacyLedger, optional
        The budget that the run is paid from: all of it when the key holder is made, before there
        is a key; what was not released is given back when the key is destroyed.
    mechanism : str, default="KeyHolder"
        What the ledger calls the run.
    seeded : bool, default=False
        Whether the noise will come from a seed: the ledger is then charged without limit.
    state : RunState, optional
        Where key and releases are kept. A `FolderState` outlives the process: from the same
        folder a run goes on where it stopped, and pays nothing again.

    Attributes
    ----------
    plan : TrainingPlan
        As given.
    scheme : Scheme
        As given, or the plan's.
    ledger : PrivacyLedger or None
        As given.
    run : str
        Random name of this run, which noise and messages are bound to.
    releases : ReleaseLedger
        Which of the plan's releases have been paid for.
    noise_seeded : bool
        Whether an owner has said that noise of this run came from a seed.

    Raises
    ------
    PlanMismatch
        If the plan is unsound, or not the state's.
    BudgetExceeded
        If the ledger does not pay; there is no key then.
    ValueError
        If the ledger's entries are for another neighbouring relation.
    StateError
        If another key holder has the state, or it has lost the key of a run that has begun.

    Examples
    --------
    >>> from skfhe import EncryptedDPLogisticRegression, KeyHolder
    >>> model = EncryptedDPLogisticRegression(degree=1)
    >>> plan = model.plan(n_samples=200, n_features=4, n_owners=2)
    >>> with KeyHolder(plan) as key_holder:
    ...     for_owners, for_evaluator = key_holder.public_key(), key_holder.evaluation_keys()
    >>> key_holder.status().burned
    True
    """

    def __init__(
        self,
        plan: TrainingPlan,
        scheme: Scheme | None = None,
        *,
        ledger: PrivacyLedger | None = None,
        mechanism: str = "KeyHolder",
        seeded: bool = False,
        state: RunState | None = None,
    ):
        check_plan(plan)
        self.plan = plan
        self.ledger = ledger
        self._seeded = seeded
        self._process = os.getpid()
        self.scheme = scheme or plan_scheme(plan)
        self._state = RunState() if state is None else state
        self._state.take(plan)
        self._turn = threading.RLock()
        self.run = self._state.run
        self.releases = ReleaseLedger(plan.visits + len(plan.preparation.statistics))
        self.noise_seeded = False
        self._course = Course(plan)
        self._answered: set[str] = set()
        self._certified: Certified | None = None
        self._weights: bytes | None = None
        self._keys: KeyPair | None = None
        self._encryptor: Encryptor | None = None
        self._account = Account(plan, ledger, self._state.token, mechanism, seeded)
        self._resume()
        if self._state.burned or self.done:
            self.burn()
        else:
            self._account.pay()
            self._open()

    def _resume(self) -> None:
        """Take the course of the releases that the state has, with the values that it has."""
        for release in self._state.releases():
            self.noise_seeded |= release.seeded
            self.releases.spend(release.name, release.request)
            if release.values is not None:
                self._take(release, release.values, Certified.of(release.certified))
        if (kept := self._state.kept("weights")) is not None:
            header, (weights,) = messages.unpack(kept, "sent weights", self.plan.digest, 1)
            if header["step"] == self._course.step:
                self._weights, self._certified = bytes(weights), Certified.of(header["certified"])

    def _open(self) -> None:
        """The state's key, or a fresh one for a run that has not begun."""
        try:
            secret, elements = self._state.secret(), self._course.model.elements
            if secret is not None:
                self._keys = self.scheme.restore(elements, secret)
            elif self.releases.spent:
                raise StateError("the run has begun, but its secret key is gone; start a new run.")
            else:
                self._keys = self.scheme.generate(elements)
                self._state.keep_secret(self._keys.secret_key)
            self._encryptor = self._keys.encryptor()
        except BaseException:
            if not self._state.lasting:
                self.burn()  # nobody could settle this later
            raise

    def __enter__(self) -> KeyHolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.burn()

    def __repr__(self) -> str:
        return f"KeyHolder(plan={self.plan.digest[:12]}, step={self._course.step})"

    def __reduce__(self):
        raise TypeError("a key holder does not pickle: it holds a secret key.")

    def encryptor(self) -> Encryptor:
        """Symmetric encryption, for the single owner who is the key holder too.

        Returns
        -------
        encryptor : Encryptor
            For `DataOwner`. Secret: it holds the key.

        Raises
        ------
        PlanMismatch
            If the plan has several owners.
        KeyBurned
            If the key is destroyed.
        """
        if not self.plan.encryption.symmetric:
            raise PlanMismatch(
                f"the plan has {self.plan.guarantee.n_owners} owners, who encrypt under the "
                "public key; send them public_key()."
            )
        return self._alive()

    @one_at_a_time
    def prepare(self, reply: bytes) -> None:
        """Decrypt a noised statistic, the plan's next, and make a frame or preconditioner of it.

        The same reply again changes nothing.

        Parameters
        ----------
        reply : bytes
            The message of `Evaluator.aggregate`.

        Raises
        ------
        PlanMismatch, MessageError, BudgetExceeded, KeyBurned, StateError
            As `release`; PlanMismatch also if no statistic is left.
        """
        if not self._new(reply):
            return
        if not self._course.unprepared:
            raise PlanMismatch("the plan has no statistic that is still to be released.")
        name = self._course.unprepared[0]
        statistic = self.plan.preparation.statistics[name]
        n_sections = statistic.n_ciphertexts(self.plan.encryption.poly_modulus_degree)
        sections, release = self._unpack(reply, "statistics", n_sections, name, name=name)
        most = self.plan.problem.n_samples * largest(name, self.plan.problem, statistic.grid_bits)
        level, noise = self.plan.encryption.product_level, statistic.noise_units
        with self._burning_on_failure():
            values = self._decrypt(release, sections, level, 1.0, most, noise)
            self._take(release, values, None)

    @one_at_a_time
    def weights(self) -> bytes:
        """Encrypted weights for the next step; the same message if asked again.

        Returns
        -------
        weights : bytes
            For `Evaluator.step`.

        Raises
        ------
        PlanMismatch
            If all steps are done, or statistics are to be released first.
        KeyBurned
            If the key is destroyed.
        """
        encryptor, course = self._alive(), self._course
        if self.done:
            raise PlanMismatch(f"all {course.step} steps of the plan are done; use result().")
        if course.optimizer is None:
            raise PlanMismatch(f"the plan releases {course.unprepared} first: use prepare().")
        if self._weights is None:
            with self._burning_on_failure():
                self._weights = self._encrypted_weights(encryptor)
        return self._weights

    def _encrypted_weights(self, encryptor: Encryptor) -> bytes:
        """The message of the weights at the next point, which is certified first."""
        used, model, point = self.plan.encryption, self._course.model, self._course.optimizer.point
        digest, step, certified = self.plan.digest, self._course.step, model.certify(point)
        packed, top = model.weights(point, certified), used.top_level
        sections = [encryptor.encrypt(slots, used.scale, top) for slots in packed]
        bound = {"run": self.run, "step": step, "indices": certified.indices}
        data = messages.pack("weights", digest, sections, **bound)
        own = {"step": step, "certified": astuple(certified)}
        self._state.keep("weights", lambda: messages.pack("sent weights", digest, [data], **own))
        self._certified = certified
        return data

    @one_at_a_time
    def release(self, reply: bytes) -> None:
        """Decrypt one noised gradient sum and take a step with it.

        The same reply again changes nothing.

        Parameters
        ----------
        reply : bytes
            The message of `Evaluator.step`.

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
        StateError
            If the state could not be written; the same reply may be sent again.
        """
        if not self._new(reply):
            return
        step = self._course.step
        sections, release = self._unpack(reply, "gradient", 1, step, step=step)
        if self._certified is None:
            raise PlanMismatch(f"step {step} has not begun: send weights() first.")
        with self._burning_on_failure():
            values = self._decrypt(release, sections, 0, *self._course.model.release)
            self._take(release, values, self._certified)
        if self.done:
            self.burn()

    def _take(self, release: Release, values: NDArray, certified: Certified | None) -> None:
        """Go on with a release that has happened."""
        self._course.take(release.name, values, certified)
        self.releases.settle()
        self._answered.add(release.request)
        self._certified = self._weights = None

    @one_at_a_time
    def burn(self) -> None:
        """Destroy the secret key, in the encryptor that was given out too; the run is over.

        The ledger gets back what was not released: without a key nothing can follow. A fork
        of this process has a copy of the key, but refuses to use it.
        """
        if self._keys is not None:
            self._keys.destroy()
        if self._encryptor is not None:
            self._encryptor.destroy()
        self._encryptor = None
        if self._process != os.getpid():
            return
        self._state.burn()
        if not self.done:
            self._account.settle([release.name for release in self._state.releases()])

    @contextmanager
    def _burning_on_failure(self) -> Iterator[None]:
        """Whatever goes wrong once a reply is to be decrypted ends the run.

        But for what is not paid, and a state that cannot be written: the same reply gets the
        same values later.
        """
        try:
            yield
        except (BudgetExceeded, StateError):
            raise
        except BaseException:
            self.burn()
            raise

    def _decrypt(
        self,
        release: Release,
        ciphertexts: list[memoryview],
        level: int,
        scale: float,
        most: float,
        noise_units: float,
    ) -> NDArray:
        """Pay for a release, then decrypt it: coefficients of all its ciphertexts.

        Data give at most so much, and noise stays within a dozen deviations; whatever exceeds
        them both is refused.
        """
        self.releases.spend(release.name, release.request)
        self._state.begin(release)
        values = np.concatenate([self._keys.decrypt(one, level, scale) for one in ciphertexts])
        noise = noise_units * self.plan.guarantee.noise_excess
        if not np.max(np.abs(values)) <= 1.1 * most + 12 * noise:  # not a number, too
            name = release.name if isinstance(release.name, str) else f"step {release.name}"
            raise KeyBurned(
                f"{name} decrypted to something that no data within the plan's row bound can "
                "give; the run has ended and its key is destroyed."
            )
        self._state.finish(release.name, values)
        return values

    def _new(self, reply: bytes) -> bool:
        """Whether a reply has not been answered; refused once the key is gone."""
        if hashlib.sha256(reply).hexdigest() in self._answered:
            return False
        self._alive()
        return True

    def _unpack(
        self, reply: bytes, kind: str, n_sections: int, release: str | int, **expected: Any
    ) -> tuple[list[memoryview], Release]:
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
        certified = self._certified and astuple(self._certified)
        return sections, Release(release, hashlib.sha256(reply).hexdigest(), seeded, certified)
