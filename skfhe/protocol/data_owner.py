"""The data owner: holds rows and its own noise, and encrypts both."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..crypto.backend import Encryptor, Scheme
from ..exceptions import PlanMismatch
from ..plan import TrainingPlan
from ..planning import check_plan
from ..privacy.frame import Frame
from ..privacy.noise import RandomBytes, discrete_gaussian
from ..privacy.statistics import integer_sums
from . import messages
from .dataset import EncryptedDataset, Shard
from .models import model_of
from .preparation import plain_frame, unpack_frame
from .schemes import plan_scheme


@dataclass(frozen=True)
class RowCheck:
    """What the row bound would do to an owner's rows. For the owner's eyes only.

    Attributes
    ----------
    n_samples : int
        Rows looked at.
    clipped : float
        Share of rows that are longer than ``data_norm`` and would be shortened.
    largest_norm, median_norm : float
        Of the rows' norms.
    data_norm : float
        The plan's bound.
    """

    n_samples: int
    clipped: float
    largest_norm: float
    median_norm: float
    data_norm: float

    def __str__(self) -> str:
        return (
            f"{self.clipped:.1%} of {self.n_samples} rows are longer than data_norm="
            f"{self.data_norm:.4g} and would be shortened to it (median norm "
            f"{self.median_norm:.4g}, largest {self.largest_norm:.4g})."
        )


class DataOwner:
    """Encrypts rows, labels and noise for one plan.

    Parameters
    ----------
    plan : TrainingPlan
        The plan that all parties agreed on.
    encryptor : Encryptor
        ``KeyHolder.encryptor()`` for a single owner who holds the key, at half the size; the
        others use `with_public_key`.
    run : str
        The key holder's run, which noise is bound to.
    owner : int, default=0
        Index of this owner among the plan's.
    random_bytes : callable, default=os.urandom
        Source of the noise's randomness. Anything but the operating system's voids the
        guarantee, and the noise's messages say so.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        encryptor: Encryptor,
        run: str,
        owner: int = 0,
        random_bytes: RandomBytes = os.urandom,
    ):
        if not 0 <= owner < plan.guarantee.n_owners:
            raise PlanMismatch(
                f"owner must be below the plan's n_owners={plan.guarantee.n_owners}, got {owner}."
            )
        check_plan(plan)
        self.plan = plan
        self._model = model_of(plan)
        self._encryptor = encryptor
        self._run = run
        self._owner = owner
        self._random_bytes = random_bytes
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
            The key holder's message.
        owner : int, default=0
            Index of this owner among the plan's.
        scheme : Scheme, optional
            The backend; by default the encrypted one.
        """
        header, (key,) = messages.unpack(public_key, "public key", plan.digest, n_sections=1)
        encryptor = (scheme or plan_scheme(plan)).encryptor(key)
        return cls(plan, encryptor, header["run"], owner)

    def check(self, X) -> RowCheck:
        """Say what the row bound would do to these rows; nothing is stored or sent.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            This owner's rows.
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
        X : ndarray or sparse matrix of shape (n, n_features)
            All rows of this owner.

        Raises
        ------
        PlanMismatch
            If the plan has no such statistic, it was made before, or rows do not fit the plan.
        """
        statistics = self.plan.preparation.statistics
        if name not in statistics:
            raise PlanMismatch(f"the plan's statistics are {[*statistics]}, got {name!r}.")
        X, statistic = self._checked(X), statistics[name]
        frame = plain_frame(self.plan) if name == "moments" else self._adopted()
        self._use(name)
        values = integer_sums(name, self.plan, frame, X)
        sigma = self._share(statistic.noise_units)
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

        Raises
        ------
        MessageError, PlanMismatch
            If it is malformed, made for another plan or run, or not the frame adopted before.
        """
        taken = unpack_frame(frame, self.plan, self._run)
        if self._frame is not None and taken != self._frame:
            raise PlanMismatch("rows are stored in one frame for the whole run; this is another.")
        self._frame = taken

    def encrypt(self, X, targets: NDArray) -> Iterator[bytes]:
        """Encrypt rows chunk by chunk, centred, scaled and shortened as the frame says.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n, n_features)
            Rows. Sparse ones become dense one chunk at a time.
        targets : ndarray of shape (n,)
            Index of each row's class, 0 to K - 1.

        Yields
        ------
        chunk : bytes
            One message for the evaluator.
        """
        problem, length = self.plan.problem, self._model.rows_per_chunk
        X, frame = self._checked(X), self._adopted()
        targets = np.asarray(targets)
        if len(targets) != X.shape[0] or not np.isin(targets, np.arange(problem.n_classes)).all():
            raise ValueError(
                f"targets must be {X.shape[0]} class indices from 0 to {problem.n_classes - 1}, "
                f"got {len(targets)} of {np.unique(targets)[:5]}."
            )
        for index, start in enumerate(range(0, X.shape[0], length)):
            part = slice(start, start + length)
            rows = X[part].toarray() if sparse.issparse(X) else X[part]
            yield self._encrypt_chunk(index, frame.rows(rows), targets[part])

    @np.errstate(all="ignore")  # nothing may be raised that depends on a row
    def _encrypt_chunk(self, index: int, rows: NDArray, targets: NDArray) -> bytes:
        sections = [
            self._encryptor.encrypt(plain.slots, plain.scale, plain.level, dither=True)
            for plain in self._model.pack(rows, targets)
        ]
        return messages.pack(
            "rows",
            self.plan.digest,
            sections,
            run=self._run,
            owner=self._owner,
            chunk=index,
            n_samples=len(rows),
        )

    def dataset(self, X, targets: NDArray) -> EncryptedDataset:
        """This owner's part of a data set: all rows, and noise for every step.

        With the curvature, if the plan has it; a plan with moments needs `adopt` first.
        """
        curvature = ()
        if self.plan.preparation.curvature:
            curvature = (self.statistic("curvature", X),)
        length, n_samples = self._model.rows_per_chunk, X.shape[0]
        shards = tuple(
            Shard(self._owner, i, min(length, n_samples - i * length), message)
            for i, message in enumerate(self.encrypt(X, targets))
        )
        noise = tuple(self.noise(step) for step in range(self.plan.optimizer.max_iter))
        return EncryptedDataset(self.plan.digest, n_samples, shards, (noise,), curvature)

    def noise(self, step: int) -> bytes:
        """This owner's share of the noise of one step, encrypted; each step only once.

        Discrete Gaussian noise of variance sigma^2/(M - c) on every plaintext coefficient,
        whether it carries an output or not.

        Raises
        ------
        PlanMismatch
            If noise for this step was made before: the same run and step never get two.
        """
        used, max_iter = self.plan.encryption, self.plan.optimizer.max_iter
        if not 0 <= step < max_iter:
            raise PlanMismatch(f"the plan has steps 0 to {max_iter - 1}, got {step}.")
        self._use(step)
        sigma = self._share(used.noise_units)
        values = discrete_gaussian(sigma, used.poly_modulus_degree, self._random_bytes)
        ciphertext = self._encryptor.encrypt_integers(values, used.output_scale, 0)
        return self._noise_message("noise", [ciphertext], step=step)

    def _share(self, noise_units: int) -> int:
        """sigma of this owner's noise: the least integer with sigma^2 (M - c) >= noise_units^2."""
        honest = self.plan.guarantee.n_owners - self.plan.guarantee.n_colluding
        return math.isqrt(-(-(noise_units**2) // honest) - 1) + 1

    def _noise_message(self, kind: str, sections: list[bytes], **fields: Any) -> bytes:
        return messages.pack(
            kind,
            self.plan.digest,
            sections,
            run=self._run,
            owner=self._owner,
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
        """Reserve the one noise of a release, before anything is computed for it."""
        with self._lock:
            if release in self._noised:
                raise PlanMismatch(f"noise is made once: that of {release!r} was made, not again.")
            self._noised.add(release)

    def _checked(self, X):
        """Rows as `finite_rows` has them; refused if of the wrong shape."""
        X, problem = finite_rows(X), self.plan.problem
        if X.shape[1] != problem.n_features or X.shape[0] > problem.n_samples:
            raise PlanMismatch(
                f"rows must be at most {problem.n_samples} of {problem.n_features} features, "
                f"as the plan says, got {X.shape[0]} of {X.shape[1]}."
            )
        return X


def finite_rows(X):
    """Rows as float64, dense or CSR without duplicate entries; what is given stays as it is.

    Raises
    ------
    ValueError
        If an entry is NaN or infinite, duplicates of sparse rows added up.
    """
    if sparse.issparse(X):
        X = sparse.csr_array(X, dtype=np.float64)
        if not X.has_canonical_format:
            X = X.copy()
            with np.errstate(all="ignore"):
                X.sum_duplicates()
    else:
        X = np.asarray(X, dtype=np.float64)
    if not np.isfinite(X.data if sparse.issparse(X) else X).all():
        raise ValueError("rows must be finite numbers, got NaN or infinity; impute them first.")
    return X


def check_rows(X, data_norm: float) -> RowCheck:
    """The statistics behind `DataOwner.check`."""
    norms = sparse.linalg.norm(X, axis=1) if sparse.issparse(X) else np.linalg.norm(X, axis=1)
    return RowCheck(
        n_samples=int(norms.size),
        clipped=float(np.mean(norms > data_norm * (1 + 1e-12))),
        largest_norm=float(np.max(norms)),
        median_norm=float(np.median(norms)),
        data_norm=data_norm,
    )
