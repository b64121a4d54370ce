"""A privacy budget that fits share, and never under-count."""

from __future__ import annotations

import math
import os
import uuid
from datetime import datetime, timezone
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

from ..exceptions import BudgetExceeded
from . import accounting
from .composition import Composition, Releases
from .ledger_store import LedgerEntry, LedgerStore, read, stored_budget, write

# mu may exceed what `accounting.calibrate` inverts to by this, relative: sums of floats differ in
# their last digits. Calibration stays clear of the exact bound by 1,000 times as much.
_ROUNDING = 1e-9


class Budget(NamedTuple):
    """A pair (epsilon, delta).

    Attributes
    ----------
    epsilon, delta : float
        Of a guarantee.
    """

    epsilon: float
    delta: float


class PrivacyLedger:
    """A privacy budget shared by fits, their clones, threads and processes.

    Every mechanism is debited before its first release, in one transaction that also checks that
    the budget pays; a crash at any moment can only over-count. All entries compose
    (`skfhe.privacy.composition`), whatever data-set name they carry: one person may be in several
    data sets.

    Parameters
    ----------
    path : path-like, default=None
        An SQLite file, made if it is not there; None keeps the ledger in this process's memory.
        A file system with working locks is needed (most network file systems have none).
    epsilon, delta : float
        The budget. It is set when the file is made; a file with another budget is refused.
        An infinite epsilon counts without limit.
    dataset : str, default=""
        Name of the data, written into every entry that is debited through this handle.

    Raises
    ------
    ValueError
        If a value is out of range, or the file is no ledger or has another budget.

    Notes
    -----
    Copies, pickles and `sklearn.base.clone` give handles to the same ledger. The pickle of a
    ledger in memory is a handle in the process it came from and refuses every debit elsewhere:
    searches with worker processes need a path. A copy of the file is another ledger with a budget
    of its own, and a restored backup has forgotten what came after it: neither is protected by
    what this class counts.

    Examples
    --------
    >>> from skfhe import PrivacyLedger
    >>> ledger = PrivacyLedger(epsilon=3.0, delta=1e-5)
    >>> ledger.remaining()
    Budget(epsilon=3.0, delta=1e-05)
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        epsilon: float,
        delta: float,
        dataset: str = "",
    ):
        if not epsilon > 0:
            raise ValueError(f"epsilon must be positive, got {epsilon!r}.")
        if not 0 < delta < 1:
            raise ValueError(f"delta must be between 0 and 1, both excluded, got {delta!r}.")
        self._budget = Budget(float(epsilon), float(delta))
        self.dataset = str(dataset)
        place = None if path is None else Path(path).absolute()
        self._store = LedgerStore(place, *self._budget)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, dataset: str = "") -> PrivacyLedger:
        """A ledger whose file is there, with the budget that was set when it was made.

        Parameters
        ----------
        path : path-like
            The file.
        dataset : str, default=""
            As for a new ledger.

        Returns
        -------
        ledger : PrivacyLedger
            A handle to the file's entries.

        Raises
        ------
        ValueError
            If there is no such file, or it is no ledger.
        """
        epsilon, delta = stored_budget(Path(path).absolute())
        return cls(path, epsilon=epsilon, delta=delta, dataset=dataset)

    def __repr__(self) -> str:
        path = None if self.path is None else str(self.path)
        return f"PrivacyLedger({path!r}, epsilon={self.epsilon:g}, delta={self.delta:g})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivacyLedger) and self._store.name == other._store.name

    def __hash__(self) -> int:
        return hash(self._store.name)

    def __copy__(self) -> PrivacyLedger:
        return self

    def __deepcopy__(self, memo: dict) -> PrivacyLedger:
        return self

    @property
    def epsilon(self) -> float:
        """The budget's epsilon."""
        return self._budget.epsilon

    @property
    def delta(self) -> float:
        """The budget's delta."""
        return self._budget.delta

    @property
    def path(self) -> Path | None:
        """The file; None for a ledger in memory."""
        return self._store.path

    def entries(self) -> list[LedgerEntry]:
        """All entries, oldest first.

        Returns
        -------
        entries : list of LedgerEntry
            A copy.
        """
        with self._store.transaction() as connection:
            return read(connection)

    def composition(self) -> Composition:
        """All entries composed.

        Returns
        -------
        composition : Composition
            What they cost together.
        """
        return Composition.of(self.entries())

    def spent(self) -> Budget:
        """Epsilon of all entries together, at the ledger's delta.

        Returns
        -------
        spent : Budget
            Its epsilon is infinite if noise of an entry was seeded, or more of delta is taken
            than ledgers allow for (docs/proofs/accounting.md, statement 8).
        """
        return Budget(composed_epsilon(self.composition(), self.delta), self.delta)

    def remaining(self) -> Budget:
        """The largest guarantee that one more fit at the ledger's delta can have.

        Returns
        -------
        left : Budget
            Its epsilon is zero if the budget is spent.
        """
        if math.isinf(self.epsilon):
            return Budget(math.inf, self.delta)
        composition = self.composition()
        squared = _largest_mu(self.epsilon, self.delta) ** 2 - composition.squared_mu
        if squared <= 0 or not _within(composition, self.epsilon, self.delta):
            return Budget(0.0, self.delta)
        # The whole budget is left: no rounding through noise and back.
        if not composition.squared_mu:
            return Budget(self.epsilon, self.delta)
        return Budget(composed_epsilon(Composition(squared), self.delta), self.delta)

    def admits(self, composition: Composition) -> bool:
        """Whether the budget pays for a composition beside all entries; nothing is debited.

        Parameters
        ----------
        composition : Composition
            What would be released.

        Returns
        -------
        admitted : bool
            Whether both limits hold (docs/proofs/accounting.md, statement 8).
        """
        return _within(self.composition() + composition, self.epsilon, self.delta)

    def debit(
        self,
        mechanism: str,
        releases: Releases,
        *,
        neighboring: str,
        digest: str = "",
        seeded: bool = False,
        token: str | None = None,
    ) -> str:
        """Pay for a mechanism before its first release.

        Parameters
        ----------
        mechanism : str
            Its name.
        releases : object with squared_mu, n_releases, error_probability, discreteness
            What it will release.
        neighboring : {"add_remove", "replace_one"}
            The relation that the noise refers to.
        digest : str, default=""
            The plan's.
        seeded : bool, default=False
            Whether the noise comes from a seed and protects nothing.
        token : str, optional
            A random name for the entry, for who may ask twice: the same mechanism is paid once.

        Returns
        -------
        token : str
            The entry's name, for `settle`.

        Raises
        ------
        BudgetExceeded
            If the budget does not pay, or the entry of that name was settled: its mechanism is
            over. Nothing is written then.
        ValueError
            If the ledger's entries are for another neighbouring relation, or `releases` has
            figures that none can have.
        """
        _require_possible(releases)
        with self._store.transaction() as connection:
            entries = read(connection)
            for entry in entries:
                if entry.neighboring != neighboring:
                    raise ValueError(
                        f"neighboring must be {entry.neighboring!r}, which this ledger's entries "
                        f"are for, got {neighboring!r}: guarantees for different relations do "
                        "not add up. Use a ledger of its own."
                    )
            entry = LedgerEntry(
                number=len(entries) + 1,
                token=token or uuid.uuid4().hex,
                time=datetime.now(timezone.utc),
                mechanism=mechanism,
                dataset=self.dataset,
                neighboring=neighboring,
                digest=digest,
                squared_mu=math.inf if seeded else float(releases.squared_mu),
                n_releases=int(releases.n_releases),
                error_probability=float(releases.error_probability),
                discreteness=float(releases.discreteness),
            )
            for paid in entries:
                if paid.token == entry.token:
                    _require_same(paid, entry)
                    return entry.token
            self._require(Composition.of(entries), Composition.of([*entries, entry]), mechanism)
            write(connection, entry)
            return entry.token

    def settle(self, token: str, n_releases: int, squared_mu: float) -> None:
        """Correct an entry whose mechanism has ended early to the releases that were made.

        For whoever knows that no further release can follow: the key is destroyed. The figures
        only ever decrease.

        Parameters
        ----------
        token : str
            The entry's name.
        n_releases : int
            How many were made.
        squared_mu : float
            Sum over these of one over the squared noise multiplier; infinite if noise was seeded.

        Raises
        ------
        ValueError
            If a figure is negative or not a number.
        """
        if not (n_releases >= 0 and squared_mu >= 0):
            raise ValueError(
                "an entry is settled to figures that are not negative, got "
                f"n_releases={n_releases!r} and squared_mu={squared_mu!r}."
            )
        with self._store.transaction() as connection:
            connection.execute(
                "UPDATE entries SET n_releases = min(n_releases, ?), "
                "squared_mu = min(squared_mu, ?) WHERE token = ?",
                (int(n_releases), float(squared_mu), token),
            )

    def _require(self, before: Composition, after: Composition, mechanism: str) -> None:
        if _within(after, self.epsilon, self.delta):
            return
        spent = composed_epsilon(before, self.delta)
        needed = composed_epsilon(after, self.delta)
        raise BudgetExceeded(
            f"{mechanism} would take this ledger from epsilon = {spent:.4g} to {needed:.4g} at "
            f"delta = {self.delta:g}, its budget is {self.epsilon:g}"
            + (", and seeded noise protects nothing" if math.isinf(after.squared_mu) else "")
            + ". Nothing was released or debited. remaining() tells what one more fit may take."
        )


@lru_cache(maxsize=64)
def _largest_mu(epsilon: float, delta: float) -> float:
    """The mu that (epsilon, delta) allows after delta's reserved share."""
    return 1 / accounting.calibrate(epsilon, (1 - accounting.DELTA_SHARE) * delta, 1)


def _require_possible(releases: Releases) -> None:
    """Refuse figures that would not count, or count backwards."""
    n, squared_mu = releases.n_releases, releases.squared_mu
    costs = (releases.error_probability, releases.discreteness)
    if not (
        isinstance(n, Integral)
        and n >= 1
        and squared_mu > 0
        and all(0 <= cost < math.inf for cost in costs)
    ):
        raise ValueError(
            "a mechanism must have at least one release, a positive squared_mu, and costs that "
            f"are finite and not negative, got n_releases={n!r}, squared_mu={squared_mu!r}, "
            f"error_probability={costs[0]!r}, discreteness={costs[1]!r}."
        )


def _require_same(paid: LedgerEntry, entry: LedgerEntry) -> None:
    """Whether an entry of the same name pays for a mechanism that is to be paid for again."""
    figures = [(one.digest, one.squared_mu, one.n_releases) for one in (paid, entry)]
    if figures[0] != figures[1]:
        raise BudgetExceeded(
            f"{paid.mechanism} was paid for under this name and is over, or was another one; "
            "start a new run."
        )


def _within(composition: Composition, epsilon: float, delta: float) -> bool:
    """The two limits of the filter (docs/proofs/accounting.md, statement 8)."""
    if math.isinf(epsilon):
        return True
    return (
        math.sqrt(composition.squared_mu) <= _largest_mu(epsilon, delta) * (1 + _ROUNDING)
        and composition.cost_in_delta <= accounting.DELTA_SHARE * delta
    )


def composed_epsilon(composition: Composition, delta: float) -> float:
    """Epsilon of a composition at delta, under the split of delta that ledgers use.

    Infinite if encryption errors and integer noise cost more than `accounting.DELTA_SHARE` of
    delta.
    """
    if composition.cost_in_delta > accounting.DELTA_SHARE * delta:
        return math.inf
    gaussian = Composition(composition.squared_mu)
    return gaussian.epsilon_at((1 - accounting.DELTA_SHARE) * delta)
