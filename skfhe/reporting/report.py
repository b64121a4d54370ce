"""The page that `privacy_report` hands out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from textwrap import fill
from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from ..privacy.composition import Composition
from ..privacy.ledger import Budget, PrivacyLedger, composed_epsilon
from .survey import Fit, Survey

_COLUMNS = ("fits", "rows", "epsilon", "delta", "relation", "what")


@dataclass(frozen=True)
class BudgetState:
    """A ledger that the fits pay from.

    Attributes
    ----------
    ledger : PrivacyLedger
        The ledger.
    left : Budget
        What one more fit at the ledger's delta may have.
    pays : bool
        Whether it would pay for all that fitting the model with its parameters as they are now
        debits to it, whatever has been fitted before.
    """

    ledger: PrivacyLedger
    left: Budget
    pays: bool


@dataclass(frozen=True)
class PrivacyReport:
    """What fitting a model releases.

    Attributes
    ----------
    model : str
        Name of the model's class.
    n_samples, n_features : int
        Shape of the data.
    fitted : bool
        Whether the model was fitted.
    fits : tuple of Fit
        Every fit and every private score, equal ones counted together.
    epsilon, delta : float
        All of `fits` composed, each of which may depend on all before. Delta is the ledger's if
        there is exactly one, otherwise the largest of the fits'. Epsilon is infinite if noise is
        seeded, if something could not be counted, and if neighbouring relations differ. It says
        nothing about what `not_covered` names.
    not_covered : tuple of str
        What touches the rows without being part of `fits`, each with what to do.
    budgets : tuple of BudgetState
        The ledgers of the fits.
    """

    model: str
    n_samples: int
    n_features: int
    fitted: bool
    fits: tuple[Fit, ...]
    epsilon: float
    delta: float
    not_covered: tuple[str, ...]
    budgets: tuple[BudgetState, ...]

    @property
    def total(self) -> str:
        """The total in words."""
        count = sum(fit.count for fit in self.fits)
        noun = "fit or score" if count == 1 else "fits and scores"
        if math.isinf(self.epsilon):
            return f"no finite guarantee ({count} {noun} counted)"
        if not count:
            return "no differentially private fit"
        return f"epsilon = {self.epsilon:.4g} at delta = {self.delta:.3g} for {count} {noun}"

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                str(fit.count),
                "-".join(f"{size}" for size in sorted(set(fit.rows))),
                f"{fit.epsilon:g}",
                f"{fit.delta:g}",
                fit.neighboring,
                fit.what,
            )
            for fit in self.fits
        ]

    def _budget_lines(self) -> list[str]:
        which = "another such fit" if self.fitted else "this fit"
        return [
            f"{state.ledger!r} has epsilon = {state.left.epsilon:.4g} left and "
            f"{'pays' if state.pays else 'does not pay'} for {which}."
            for state in self.budgets
        ]

    def __str__(self) -> str:
        lines = [
            f"Privacy of {self.model} on {self.n_samples} rows of {self.n_features} features",
            f"  {self.total}",
        ]
        if self.fits:
            table = [_COLUMNS, *self._rows()]
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            lines.append("")
            for row in table:
                cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                lines.append("  " + "  ".join(cells).rstrip())
        for title, sentences in (
            ("Budget", self._budget_lines()),
            ("Not covered by these figures", self.not_covered),
        ):
            if sentences:
                lines += ["", title, *map(_item, sentences)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._rows()
        )
        sentences = [*self._budget_lines(), *self.not_covered]
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
        return (
            f"<p>{escape(self.model)}: {escape(self.total)}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<ul>{items}</ul>"
        )


def _item(sentence: str) -> str:
    return fill(sentence, 99, initial_indent="  - ", subsequent_indent="    ")


def compose(model: Any, survey: Survey, anew: Survey) -> PrivacyReport:
    """Turn what surveys have found into a report.

    Parameters
    ----------
    model : estimator
        What was gone through.
    survey : Survey
        Of what was fitted, and of what is to be fitted.
    anew : Survey
        Of a fit of everything with its parameters, which ledgers would have to pay for.

    Returns
    -------
    report : PrivacyReport
        The report.
    """
    fits, notes = survey.fits, survey.notes
    relations = sorted({fit.neighboring for fit in fits})
    if len(relations) > 1:
        notes.append(
            f"Fits are for different neighbouring relations, {' and '.join(relations)}, which do "
            "not add up: use one for all."
        )
    ledgers = list(dict.fromkeys(fit.ledger for fit in fits if fit.ledger is not None))
    delta = max((fit.delta for fit in fits), default=0.0)
    if len(ledgers) == 1:
        delta = ledgers[0].delta
    ledgers += dict.fromkeys(
        fit.ledger for fit in anew.fits if fit.ledger is not None and fit.ledger not in ledgers
    )
    epsilon = math.inf
    if survey.bounded and len(relations) < 2:
        epsilon = composed_epsilon(survey.cost, delta) if fits else 0.0
    return PrivacyReport(
        model=type(model).__name__,
        n_samples=survey.n_samples,
        n_features=survey.n_features,
        fitted=_is_fitted(model),
        fits=tuple(fits),
        epsilon=epsilon,
        delta=delta,
        not_covered=tuple(notes),
        budgets=tuple(_state(ledger, anew) for ledger in ledgers),
    )


def _state(ledger: PrivacyLedger, anew: Survey) -> BudgetState:
    mine = [fit for fit in anew.fits if fit.ledger == ledger]
    relations = {fit.neighboring for fit in mine} | {e.neighboring for e in ledger.entries()}
    cost = sum((fit.cost * fit.count for fit in mine), Composition())
    pays = anew.bounded and len(relations) <= 1 and ledger.admits(cost)
    return BudgetState(ledger, ledger.remaining(), pays)


def _is_fitted(model: Any) -> bool:
    try:
        check_is_fitted(model)
    except (NotFittedError, TypeError):
        return False
    return True
