"""The data owner: holds rows and its own noise, and encrypts both."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..crypto.backend import Encryptor, Scheme
from ..exceptions import PlanMismatch
from ..plan import TrainingPlan
from ..planning import check_plan
from ..privacy.frame import Frame
from ..privacy.noise import RandomBytes, discrete_gaussian
from ..privacy.statistics import integer_sums
from ..sources import rows_of
from . import messages
from .chunks import Chunks
from .manifest import Shard, rows_file
from .models import model_of
from .owner_folder import Leaving
from .places import Place, StoredMessage
from .preparation import plain_frame, unpack_frame
from .rows import RowCheck, check_rows
from .schemes import plan_scheme
from .vault import owner_key


class DataOwner(Leaving):
    """Encrypts rows, labels and noise for one plan. What it sends is encrypted, all else secret.

    Parameters
    ----------
    plan : TrainingPlan
        The plan that all parties agreed on.
    encryptor : Encryptor
        `KeyHolder.encryptor` gives it for a single owner who holds the key, at half the size; the
        others use `with_public_key`.
    run : str
        The key holder's run, which noise is bound to.
    owner : int, default=0
        Index of this owner among the plan's.
    random_bytes : callable, default=os.urandom
        Source of the noise's randomness. Anything but the operating system's voids the
        guarantee, and the noise's messages say so.
    public_key : str, optional
        SHA-256 of the message of the public key; None for the secret key.

    Attributes
    ----------
    plan : TrainingPlan
        As given.
    run : str
        As given.
    index : int
        The owner's index.

    Raises
    ------
    PlanMismatch
        If the plan is unsound, has no such owner, or is for encryption under another key.

    Examples
    --------
    >>> from skfhe import DataOwner, EncryptedDPLogisticRegression, KeyHolder
    >>> model = EncryptedDPLogisticRegression(degree=1)
    >>> plan = model.plan(n_samples=200, n_features=4, n_owners=2)
    >>> with KeyHolder(plan) as key_holder:
    ...     owner = DataOwner.with_public_key(plan, key_holder.public_key(), owner=1)
    >>> owner.index, owner.run == key_holder.run
    (1, True)
    """

    def __init__(
        self,
        plan: TrainingPlan,
        encryptor: Encryptor,
        run: str,
        owner: int = 0,
        random_bytes: RandomBytes = os.urandom,
        public_key: str | None = None,
    ):
        if not 0 <= owner < plan.guarantee.n_owners:
            raise PlanMismatch(
                f"owner must be below the plan's n_owners={plan.guarantee.n_owners}, got {owner}."
            )
        check_plan(plan)
        if encryptor.symmetric != plan.encryption.symmetric:
            key = "secret key" if plan.encryption.symmetric else "public key"
            raise PlanMismatch(f"the plan bounds errors for encryption under the {key}; use it.")
        self.plan = plan
        self._model = model_of(plan)
        self._encryptor = encryptor
        self.run = run
        self.index = owner
        self._random_bytes = random_bytes
        self.public_key = public_key
        self._chunks = Chunks(plan, run, owner, encryptor, self._model)
        self._noised: set[str | int] = set()
        self._lock = threading.Lock()
        self._frame = None if plan.preparation.moments else plain_frame(plan)

    def __reduce__(self):
        raise TypeError("a data owner does not pickle: two copies would use noise twice.")

    @classmethod
    def with_public_key(
        cls,
        plan: TrainingPlan,
        public_key: bytes,
        owner: int = 0,
        scheme: Scheme | None = None,
    ) -> DataOwner:
        """An owner who has the key holder's public key and nothing else of it.

        Parameters
        ----------
        plan : TrainingPlan
            The plan that all parties agreed on.
        public_key : bytes
            The message of `KeyHolder.public_key`.
        owner : int, default=0
            Index of this owner among the plan's.
        scheme : Scheme, optional
            The backend; by default the encrypted one.

        Returns
        -------
        owner : DataOwner
            For the key's run.

        Raises
        ------
        PlanMismatch
            If the plan has a single owner: its errors are bounded for encryption under the
            secret key, and those of a public key are larger.
        MessageError
            If it is no public key.
        """
        if plan.encryption.symmetric:
            raise PlanMismatch(
                "the plan's single owner encrypts under the secret key: use with_secret_key, or "
                "a plan with n_owners=2 for an owner who is not the key holder."
            )
        header, (key,) = messages.unpack(public_key, "public key", plan.digest, n_sections=1)
        encryptor = (scheme or plan_scheme(plan)).encryptor(key)
        digest = hashlib.sha256(public_key).hexdigest()
        return cls(plan, encryptor, messages.run_of(header), owner, public_key=digest)

    @classmethod
    def with_secret_key(
        cls, folder: str | os.PathLike[str], passphrase: bytes | None = None
    ) -> DataOwner:
        """The single owner who is the key holder too, in a process of its own.

        Ciphertexts have half the size of those under the public key.

        Parameters
        ----------
        folder : path-like
            The key holder's (`FolderState`), whose key is read and not changed.
        passphrase : bytes, optional
            What the key is sealed by. Secret.

        Returns
        -------
        owner : DataOwner
            For the folder's run.

        Raises
        ------
        PlanMismatch
            If the plan has several owners.
        StateError
            If there is no key, or it does not open.
        """
        plan, run, secret = owner_key(Path(folder), passphrase)
        if not plan.encryption.symmetric:
            raise PlanMismatch(
                f"the plan has {plan.guarantee.n_owners} owners, who encrypt under the public key."
            )
        return cls(plan, plan_scheme(plan).restore((), secret).encryptor(), run)

    def check(self, X) -> RowCheck:
        """Say what the row bound would do to these rows; nothing is stored or sent.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            This owner's rows. Secret.

        Returns
        -------
        check : RowCheck
            For this owner's eyes only: no guarantee covers it.
        """
        return check_rows(X, self.plan.problem.data_norm)

    def statistic(self, name: str, X) -> bytes:
        """This owner's share of a statistic that prepares the training; each only once.

        The sum over its rows and its noise, added up before they are encrypted.

        Parameters
        ----------
        name : {"moments", "curvature"}
            One of the plan's. The curvature is that of the stored rows, so it needs `adopt` first
            where the plan has moments.
        X : ndarray or sparse matrix of shape (n, n_features), or RowSource
            All rows of this owner. Secret.

        Returns
        -------
        share : bytes
            Encrypted, for `Evaluator.aggregate`.

        Raises
        ------
        PlanMismatch
            If the plan has no such statistic, it was made before, or rows do not fit the plan.
        ValueError
            If rows cannot be read; nothing has been made then.
        """
        statistics = self.plan.preparation.statistics
        if name not in statistics:
            raise PlanMismatch(f"the plan's statistics are {[*statistics]}, got {name!r}.")
        statistic = statistics[name]
        frame = plain_frame(self.plan) if name == "moments" else self._adopted()
        values = np.zeros(statistic.length, dtype=np.int64)
        for rows, _ in self._chunks.batches(rows_of(X)):
            values += integer_sums(name, self.plan, frame, rows)
        self._use(name)
        sigma = self.plan.guarantee.share(statistic.noise_units)
        values += discrete_gaussian(sigma, len(values), self._random_bytes)
        size = self.plan.encryption.poly_modulus_degree
        padded = np.zeros(statistic.n_ciphertexts(size) * size, dtype=np.int64)
        padded[: len(values)] = values
        level = self.plan.encryption.product_level
        sections = [
            self._encryptor.encrypt_integers(part, 1.0, level) for part in padded.reshape(-1, size)
        ]
        return self._noise_message("statistic", sections, name=name)

    def adopt(self, frame: bytes) -> None:
        """Take the key holder's frame, made from the moments: how rows are to be stored.

        Parameters
        ----------
        frame : bytes
            The message of `KeyHolder.frame`.

        Raises
        ------
        MessageError, PlanMismatch
            If it is malformed, made for another plan or run, or not the frame adopted before.
        """
        taken = unpack_frame(frame, self.plan, self.run)
        if self._frame is not None and taken != self._frame:
            raise PlanMismatch("rows are stored in one frame for the whole run; this is another.")
        self._frame = taken

    def encrypt(self, X, targets: NDArray | None = None) -> Iterator[bytes]:
        """Encrypt rows chunk by chunk, centred, scaled and shortened as the frame says.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n, n_features), or RowSource
            Rows. Sparse ones become dense one chunk at a time. Secret.
        targets : ndarray of shape (n,), optional
            Index of each row's class, 0 to K - 1; a source has its own. Secret.

        Yields
        ------
        chunk : bytes
            One message for `Evaluator.load`.

        Raises
        ------
        PlanMismatch
            If rows do not fit the plan, or its frame is not adopted.
        ValueError
            If rows cannot be read, or a target is no class index.
        """
        for shard in self.shards(X, targets):
            yield shard.message

    def shards(
        self, X, targets: NDArray | None = None, folder: str | os.PathLike[str] | None = None
    ) -> Iterator[Shard]:
        """The same as shards, whose messages are in a folder if one is given.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n, n_features), or RowSource
            Rows. Secret.
        targets : ndarray of shape (n,), optional
            Index of each row's class, as `encrypt` takes it. Secret.
        folder : path-like, optional
            A local folder, or a URL that fsspec opens.

        Yields
        ------
        shard : Shard
            A chunk of rows.

        Raises
        ------
        PlanMismatch, ValueError
            As `encrypt`.
        """
        place = None if folder is None else Place(folder)
        source, frame = rows_of(X, targets), self._adopted()
        for chunk, n_samples, message in self._chunks.encrypted(source, frame):
            if place is not None:
                message = StoredMessage.of(place, rows_file(chunk), message)
            yield Shard(self.index, chunk, n_samples, message)

    def noise(self, step: int) -> bytes:
        """This owner's share of the noise of one visit, encrypted; each only once.

        Discrete Gaussian noise of variance sigma^2/(M - c) (docs/proofs/accounting.md,
        statement 9) on every plaintext coefficient that is released, whether it carries an output
        or not; where a round has several steps, one vector for each.

        Parameters
        ----------
        step : int
            The visit, from 0.

        Returns
        -------
        noise : bytes
            Encrypted, for `Evaluator.step`.

        Raises
        ------
        PlanMismatch
            If noise for this step was made before: the same run and step never get two.
        """
        visits, size = self.plan.visits, self.plan.encryption.poly_modulus_degree
        if not 0 <= step < visits:
            raise PlanMismatch(f"the plan has steps 0 to {visits - 1}, got {step}.")
        self._use(step)
        sections = []
        for form in self._model.noise:
            values, sigma = np.zeros(size, dtype=np.int64), self.plan.guarantee.share(form.units)
            places = np.arange(size) if form.positions is None else form.positions
            values[places] = discrete_gaussian(sigma, len(places), self._random_bytes)
            sections.append(self._encryptor.encrypt_integers(values, form.scale, form.level))
        return self._noise_message("noise", sections, step=step)

    def _noise_message(self, kind: str, sections: list[bytes], **fields: Any) -> bytes:
        return messages.pack(
            kind,
            self.plan.digest,
            sections,
            run=self.run,
            owner=self.index,
            seeded=self._random_bytes is not os.urandom,
            **fields,
        )

    def _adopted(self) -> Frame:
        if self._frame is None:
            raise PlanMismatch(
                "the plan centres and scales rows: send statistic('moments', X), and adopt the "
                "key holder's frame, before rows are encrypted."
            )
        return self._frame

    def _use(self, release: str | int) -> None:
        """Reserve the one noise of a release, before it is drawn."""
        with self._lock:
            if release in self._noised:
                raise PlanMismatch(f"noise is made once: that of {release!r} was made, not again.")
            self._noised.add(release)
