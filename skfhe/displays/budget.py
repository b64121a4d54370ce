"""What a privacy ledger has paid, and what it has left."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..privacy.composition import Composition
from ..privacy.ledger import Budget, PrivacyLedger
from ..privacy.ledger_store import LedgerEntry
from ._common import GRID, GUIDE, panels

_MOST_LABELS = 25
_LEAST_ROWS = 4
_UNLIMITED = {"facecolor": "none", "edgecolor": "C3", "hatch": "//"}


class PrivacyBudgetDisplay:
    """Epsilon after each entry of a ledger, epsilon against delta, and what is left.

    Parameters
    ----------
    entries : sequence of LedgerEntry
        Oldest first.
    budget, remaining : Budget
        What the ledger allows in all, and what one more fit may take.

    Attributes
    ----------
    epsilons : ndarray of shape (n_entries,)
        Epsilon of all entries up to each, at the budget's delta; infinite from the first seeded
        one on. The ledger also reserves a share of delta, so `spent` may tell a little more.
    axes_ : ndarray of shape (2,)
        Axes of the entries and of epsilon against delta.
    figure_ : Figure
        The figure.

    Examples
    --------
    >>> from skfhe import PrivacyBudgetDisplay, PrivacyLedger
    >>> ledger = PrivacyLedger(epsilon=3.0, delta=1e-5)
    >>> display = PrivacyBudgetDisplay.from_ledger(ledger)
    """

    def __init__(self, entries: Sequence[LedgerEntry], budget: Budget, remaining: Budget):
        self.entries = list(entries)
        self.budget = budget
        self.remaining = remaining
        self.epsilons = np.array(
            [
                _epsilon(Composition.of(self.entries[: i + 1]), budget.delta)
                for i in range(len(self.entries))
            ]
        )

    @classmethod
    def from_ledger(cls, ledger: PrivacyLedger, *, ax=None):
        """Draw a ledger as it is now.

        Parameters
        ----------
        ledger : PrivacyLedger
            The ledger.
        ax : sequence of 2 Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : PrivacyBudgetDisplay
            The display, drawn.
        """
        budget = Budget(ledger.epsilon, ledger.delta)
        return cls(ledger.entries(), budget, ledger.remaining()).plot(ax)

    def plot(self, ax=None):
        """Draw.

        Parameters
        ----------
        ax : sequence of 2 Axes, default=None
            Where to draw entries and epsilon against delta; None makes a figure.

        Returns
        -------
        display : PrivacyBudgetDisplay
            This display.
        """
        height = min(10.0, max(4.0, 1.8 + 0.42 * len(self.entries)))
        self.axes_ = panels(self, ax, (1, 2), (11.0, height), width_ratios=[3, 2])
        self.figure_ = self.axes_[0].figure
        self._entries(self.axes_[0])
        self._curve(self.axes_[1])
        for axes in self.axes_:
            axes.grid(**GRID)
            axes.set_axisbelow(True)
        return self

    @property
    def _largest(self) -> float:
        """The largest finite epsilon, of entries or budget."""
        values = np.array([*self.epsilons, self.budget.epsilon])
        return float(np.max(values[np.isfinite(values) & (values > 0)], initial=1e-3))

    def _entries(self, axes) -> None:
        """A bar for each entry: dark what it added, hatched if it has no limit."""
        count, limit = len(self.entries), 1.12 * self._largest
        before = np.minimum(np.concatenate([[0.0], self.epsilons[:-1]])[:count], limit)
        after = np.minimum(self.epsilons, limit)
        rows, unlimited = np.arange(count), np.isinf(self.epsilons)
        axes.barh(rows, before, color="C0", alpha=0.35)
        bars = axes.barh(rows, after - before, left=before, color="C0", label="added by the entry")
        for bar in np.array(bars, dtype=object)[unlimited]:
            bar.set(x=0, width=limit, **_UNLIMITED)
        if unlimited.any():
            axes.fill_between([], [], **_UNLIMITED, label="no limit: seeded noise")
        labels = [self._label(entry) for entry in self.entries]
        spent = float(after[-1]) if count else 0.0
        if math.isfinite(self.budget.epsilon):
            axes.axvline(self.budget.epsilon, label=f"budget {self.budget.epsilon:g}", **GUIDE)
            left = max(0.0, self.budget.epsilon - spent)
            axes.barh(count, left, left=spent, color="C2", alpha=0.6)
            labels.append(f"left for one more fit:\nepsilon {self.remaining.epsilon:.3g}")
        step = math.ceil(len(labels) / _MOST_LABELS)
        shown = range(len(labels) - 1, -1, -step)
        axes.set_yticks(list(shown), [labels[i] for i in shown], fontsize=9, parse_math=False)
        axes.set_ylim(max(len(labels), _LEAST_ROWS) - 0.4, -0.6)
        axes.set_xlim(0, limit)
        axes.set(xlabel=f"epsilon of all so far, at delta = {self.budget.delta:g}")
        axes.set_title("Entries, times in UTC")
        axes.legend(fontsize=9)

    @staticmethod
    def _label(entry: LedgerEntry) -> str:
        about = f"{entry.dataset}, " if entry.dataset else ""
        return f"{entry.mechanism}\n{about}{entry.time:%Y-%m-%d %H:%M}"

    def _curve(self, axes) -> None:
        composition = Composition.of(self.entries)
        deltas = np.geomspace(1e-3 * self.budget.delta, min(0.5, 1e3 * self.budget.delta), 61)
        curve = np.array([_epsilon(composition, delta) for delta in deltas])
        finite = np.isfinite(curve)
        if finite.any():
            axes.plot(deltas[finite], curve[finite], color="C0", label="spent")
        else:
            axes.plot([], [], color="C3", label="spent: no limit")
        if math.isfinite(self.budget.epsilon):
            point = ([self.budget.delta], [self.budget.epsilon])
            axes.plot(*point, "D", color="C2", clip_on=False, label="budget")
        axes.axvline(self.budget.delta, **GUIDE)
        axes.set_xscale("log")
        axes.set_xlim(deltas[0], deltas[-1])
        top = 1.12 * max(self._largest, np.max(curve[finite], initial=0.0))
        axes.set_ylim(-0.02 * top, top)
        axes.set(xlabel="delta", ylabel="epsilon", title="Epsilon against delta")
        axes.legend(loc="upper right", fontsize=9)


def _epsilon(composition: Composition, delta: float) -> float:
    """Epsilon at a delta; infinite where encryption errors may cost all of delta."""
    if composition.squared_mu and composition.cost_in_delta >= delta:
        return math.inf
    return composition.epsilon_at(delta)
