"""Going through a model: which fits it makes, and what they do not cover."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sklearn.base import clone

from .._base import EncryptedDPClassifier
from ..model_selection import PrivateScorer
from ..planning.planner import FAILURE_SHARE
from ..preprocessing import DPStandardScaler
from ..privacy import accounting
from ..privacy.composition import Composition
from ..privacy.guarantee import PrivacyGuarantee
from ..privacy.ledger import PrivacyLedger
from .steps import learns_nothing, may_fail

PRIVATE = (EncryptedDPClassifier, DPStandardScaler)


@dataclass(frozen=True)
class Fit:
    """Fits that cost the same, or private scores.

    Attributes
    ----------
    what : str
        The estimator and what it is in.
    count : int
        How many of them.
    rows : tuple of int
        Smallest and largest number of rows per fit.
    epsilon, delta : float
        Of one fit; epsilon is infinite if the noise is seeded.
    neighboring : str
        The relation of the guarantee.
    guaranteed : bool
        Whether the noise comes from the operating system.
    cost : Composition
        Of one fit.
    ledger : PrivacyLedger or None
        Who pays.
    """

    what: str
    count: int
    rows: tuple[int, int]
    epsilon: float
    delta: float
    neighboring: str
    guaranteed: bool
    cost: Composition
    ledger: PrivacyLedger | None


@dataclass(frozen=True)
class Place:
    """Where in a model an estimator is.

    Attributes
    ----------
    rows : int
        How many rows it is fitted on.
    times : int
        How often.
    path : tuple of str
        What is around it, from the outside.
    anew : bool
        Whether it is fitted again with its parameters, whatever it was fitted with before.
    """

    rows: int
    times: int = 1
    path: tuple[str, ...] = ()
    anew: bool = False

    def inside(self, name: str, rows: int | None = None, times: int = 1) -> Place:
        """A place one deeper, fitted `times` as often."""
        rows = self.rows if rows is None else rows
        return replace(self, rows=rows, times=self.times * times, path=(*self.path, name))

    def again(self) -> Place:
        """The same place, where only parameters count."""
        return replace(self, anew=True)

    def past(self, model: Any, attribute: str) -> Any:
        """A fitted attribute; None if there is none, and where only parameters count."""
        return None if self.anew else getattr(model, attribute, None)

    def names(self, what: str) -> str:
        """The estimator's name with what it is in, from the inside."""
        return " in ".join([what, *reversed(self.path)])


class Survey:
    """What has been found in a model so far.

    Parameters
    ----------
    n_samples, n_features, classes : int
        Public facts of the data.

    Attributes
    ----------
    fits : list of Fit
        In the order they were found, equal ones merged.
    notes : list of str
        What is not covered, each sentence once.
    bounded : bool
        False once something was met whose fits cannot be counted.
    """

    def __init__(self, n_samples: int, n_features: int, classes: int):
        self.n_samples = n_samples
        self.n_features = n_features
        self.classes = classes
        self.bounded = True
        self._fits: dict[tuple, tuple[int, int, int]] = {}
        self._notes: dict[str, None] = {}

    @property
    def fits(self) -> list[Fit]:
        return [
            Fit(what, count, (low, high), *rest)
            for (what, *rest), (count, low, high) in self._fits.items()
        ]

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

    @property
    def cost(self) -> Composition:
        """All fits composed."""
        return sum((fit.cost * fit.count for fit in self.fits), Composition())

    def note(self, sentence: str) -> None:
        """Name something that the fits do not cover."""
        self._notes[sentence] = None

    def give_up(self, sentence: str) -> None:
        """Name something whose fits cannot be counted."""
        self.note(sentence)
        self.bounded = False

    def visit(self, model: Any, place: Place) -> None:
        """Count what fitting a model at a place does.

        Anything that is neither known nor free of private estimators ends the count.
        """
        name = type(model).__name__
        if model is None or isinstance(model, str):  # "drop", "passthrough"
            return
        if isinstance(model, PRIVATE):
            self._count_model(model, place)
        elif (rule := _rule_of(model)) is not None:
            rule(self, model, place)
        elif any(True for _ in private_parts(model)):
            self.give_up(
                f"{place.names(name)} is not known here, so the fits inside cannot be counted and "
                "there is no total; a PrivacyLedger counts them as they happen."
            )
        elif (way := may_fail(model)) is not None:
            self.note(
                f"{place.names(name)} fails if a row has a value that it does not know, so one "
                f"row decides whether there is a fit: use {way}."
            )
        elif not learns_nothing(model):
            self.note(_plain(model, place.names(name)))

    def visit_again(self, model: Any, place: Place) -> None:
        """Count another fit of what was visited before, without naming its gaps twice."""
        notes, bounded = dict(self._notes), self.bounded
        self.visit(model, place)
        if self.bounded == bounded:
            self._notes = notes

    def look(self, model: Any, place: Place) -> None:
        """Name the gaps of what may or may not be fitted."""
        trial = self.trial(model, place)
        self._notes |= trial._notes
        self.bounded &= trial.bounded

    def count_score(self, scorer: PrivateScorer, place: Place) -> None:
        """Count private scores."""
        guaranteed = scorer.random_state is None
        self._count(
            place,
            "private_scorer",
            (
                scorer.epsilon if guaranteed else math.inf,
                scorer.delta,
                scorer.neighboring,
                guaranteed,
                _stated(scorer.epsilon, scorer.delta, guaranteed, 0.0),
                scorer.ledger,
            ),
        )

    def trial(self, model: Any, place: Place) -> Survey:
        """A survey of this model alone."""
        survey = Survey(self.n_samples, self.n_features, self.classes)
        survey.visit(model, place)
        return survey

    def _count_model(self, model: Any, place: Place) -> None:
        name, classifies = type(model).__name__, isinstance(model, EncryptedDPClassifier)
        what, guaranteed = place.names(name), model.random_state is None
        failure = FAILURE_SHARE if classifies else 0.0
        facts = (
            float(model.epsilon) if guaranteed else math.inf,
            float(model.delta),
            model.neighboring,
            guaranteed,
            _stated(model.epsilon, model.delta, guaranteed, failure),
        )
        done = place.past(model, "privacy_")
        if done is not None:
            facts = self._agreed(what, _done(done), facts)
        if classifies and place.rows < self.n_samples and getattr(model, "classes", None) is None:
            self.note(
                f"{what} takes its classes from the labels of a part of the rows, so one row's "
                "label can decide which there are: give it the public classes, classes=[...]."
            )
        self._count(place, name, (*facts, model.ledger))

    def _agreed(self, what: str, done: tuple, now: tuple) -> tuple:
        """What a fit did if its parameters are still the same, otherwise the costlier."""
        if done[:4] == now[:4]:
            return done
        if done[2] != now[2]:
            self.give_up(
                f"{what} was fitted for {done[2]} and now has neighboring={now[2]!r}, which "
                "cannot be compared: fit it again, or report a clone."
            )
        else:
            self.note(
                f"{what} was fitted with other parameters of its guarantee than it has now; the "
                "costlier are counted."
            )
        return max(done, now, key=lambda facts: facts[4].squared_mu)

    def _count(self, place: Place, name: str, facts: tuple) -> None:
        what, guaranteed = place.names(name), facts[3]
        if not guaranteed:
            self.note(f"{what} has seeded noise, which protects nothing: leave random_state=None.")
        key = (what, *facts)
        count, low, high = self._fits.get(key, (0, place.rows, place.rows))
        self._fits[key] = count + place.times, min(low, place.rows), max(high, place.rows)


Rule = Callable[[Survey, Any, Place], None]
_RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Declare what fitting scikit-learn's meta-estimators of these names does.

    By name, so that nothing is imported that the model has not imported; subclasses may do
    something else, so they are not meant.
    """

    def declare(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names, function))
        return function

    return declare


def _rule_of(model: Any) -> Rule | None:
    ours = type(model).__module__.split(".")[0] == "sklearn"
    return _RULES.get(type(model).__name__) if ours else None


def fresh(template: Any) -> Any:
    """The unfitted copy that a meta-estimator fits, of an estimator or of parameters."""
    return clone(template, safe=False)


def private_parts(value: Any) -> Iterator[Any]:
    """Private estimators and scorers anywhere in the parameters of an estimator."""
    if isinstance(value, (*PRIVATE, PrivateScorer)):
        yield value
    elif hasattr(value, "get_params") and not isinstance(value, type):
        yield from private_parts(value.get_params(deep=False))
    elif isinstance(value, dict):
        yield from private_parts(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from private_parts(one)


def in_the_clear(name: str) -> str:
    """The sentence about a model without noise."""
    return f"{name} is fitted on the rows in the clear: nothing bounds what it tells."


def _done(privacy: PrivacyGuarantee) -> tuple:
    cost = Composition.of([privacy]) if privacy.guaranteed else Composition(math.inf)
    return privacy.epsilon, privacy.delta, privacy.neighboring, privacy.guaranteed, cost


def _plain(model: Any, name: str) -> str:
    if hasattr(model, "transform") and not hasattr(model, "predict"):
        return (
            f"{name} learns from the rows without noise: use BoundsScaler, DPStandardScaler or "
            "parameters that do not come from the rows."
        )
    return in_the_clear(name)


def _stated(epsilon: float, delta: float, guaranteed: bool, failure: float) -> Composition:
    """The Gaussian mechanism that (epsilon, delta) stands for."""
    if not guaranteed:
        return Composition(math.inf)
    return Composition(_squared_mu(float(epsilon), float(delta)), failure * delta)


@lru_cache(maxsize=256)
def _squared_mu(epsilon: float, delta: float) -> float:
    return accounting.calibrate(epsilon, (1 - accounting.DELTA_SHARE) * delta, 1) ** -2
