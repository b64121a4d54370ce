"""Fits and scores that searches over parameters make."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from sklearn.base import is_classifier
from sklearn.model_selection import ParameterGrid, ParameterSampler

from ..model_selection import PrivateScorer
from .folds import fold_sizes
from .survey import Fit, Place, Survey, fresh, rule

Parameters = dict[str, Any]
# The largest grid that is gone through for the costliest candidates a search may draw.
_LARGEST_GRID = 5000


@rule("GridSearchCV")
def _grid(survey: Survey, search: Any, place: Place) -> None:
    done = place.past(search, "cv_results_")
    _run(survey, search, place, done["params"] if done else list(ParameterGrid(search.param_grid)))


@rule("RandomizedSearchCV")
def _randomized(survey: Survey, search: Any, place: Place) -> None:
    done = place.past(search, "cv_results_")
    drawn = done["params"] if done else _drawn(survey, search, place, search.n_iter)
    _run(survey, search, place, drawn)


@rule("HalvingGridSearchCV", "HalvingRandomSearchCV")
def _halving(survey: Survey, search: Any, place: Place) -> None:
    folds = _folds(survey, search, place)
    if not folds:
        return
    results = place.past(search, "cv_results_")
    if results:
        last = max(results["iter"])
        rounds = list(zip(results["params"], results["n_resources"], strict=True))
        final = [p for p, i in zip(results["params"], results["iter"], strict=True) if i == last]
    else:
        schedule = _schedule(survey, search, place, sum(folds.values()))
        rounds = [(one, size) for size, kept in schedule for one in kept]
        final = schedule[-1][1] if schedule else []
    for parameters, resources in rounds:
        # Rows are drawn from every fold in the share of the resources.
        share = resources / place.rows if search.resource == "n_samples" else 1.0
        for (train, test), times in folds.items():
            sizes = (int(share * train), int(share * test))
            _evaluate(survey, search, place, parameters, sizes, times)
    _finish(survey, search, place, final)


def _run(survey: Survey, search: Any, place: Place, candidates: list[Parameters]) -> None:
    """Every candidate on every fold, then the refit."""
    folds = _folds(survey, search, place)
    for parameters in candidates:
        for sizes, times in folds.items():
            _evaluate(survey, search, place, parameters, sizes, times)
    _finish(survey, search, place, candidates)


def _folds(survey: Survey, search: Any, place: Place) -> Counter[tuple[int, int]]:
    """Sizes of the folds, of which there are as many as a fitted search has gone through."""
    name = type(search).__name__
    folds = fold_sizes(survey, search.cv, place, name, is_classifier(search.estimator))
    made = place.past(search, "n_splits_")
    if not folds or made in (None, sum(folds.values())):
        return folds
    survey.note(
        f"{place.names(name)} was fitted on {made} folds, which cv does not give now; their sizes "
        "are not known."
    )
    return Counter({(place.rows, place.rows): made})


def _evaluate(
    survey: Survey,
    search: Any,
    place: Place,
    parameters: Parameters,
    sizes: tuple[int, int],
    times: int,
) -> None:
    """Folds of one size: a fit, and a score of the held-out rows and perhaps of the others."""
    name, (train, test) = type(search).__name__, sizes
    survey.visit(_candidate(search, parameters), place.inside(name, train, times).again())
    for scorer in _scorers(search):
        if isinstance(scorer, PrivateScorer):
            for rows in (test, train) if search.return_train_score else (test,):
                survey.count_score(scorer, place.inside(name, rows, times))


def _finish(survey: Survey, search: Any, place: Place, candidates: list[Parameters]) -> None:
    """The refit, of the costliest candidate if it is still to be chosen, and the choice itself."""
    name = type(search).__name__
    if not all(isinstance(scorer, PrivateScorer) for scorer in _scorers(search)):
        survey.note(
            f"Held-out scores of {place.names(name)} are kept, and select the model, without "
            "noise: use scoring=private_scorer(...), or public rows for validation."
        )
    at = place.inside(f"the refit of {name}")
    best = place.past(search, "best_estimator_")
    if best is not None:
        now = _candidate(search, search.best_params_)
        if _fits(survey, now, place) != _fits(survey, best, place):
            survey.give_up(
                f"The estimator of {place.names(name)} was given other parameters after the "
                "search, so what the search cost is not known here: a PrivacyLedger has it."
            )
        survey.visit_again(best, at)
    elif search.refit and candidates:
        dearest = max(candidates, key=lambda one: _cost(survey, search, one, place))
        survey.visit_again(_candidate(search, dearest), at.again())


def _candidate(search: Any, parameters: Parameters) -> Any:
    """The copy of the estimator that a search fits, with copies of the parameters."""
    return fresh(search.estimator).set_params(**fresh(parameters))


def _scorers(search: Any) -> list[Any]:
    scoring = search.scoring
    if isinstance(scoring, dict):
        return list(scoring.values())
    return list(scoring) if isinstance(scoring, (list, tuple, set)) else [scoring]


def _cost(survey: Survey, search: Any, parameters: Parameters, place: Place) -> float:
    trial = survey.trial(_candidate(search, parameters), Place(place.rows, anew=True))
    return trial.cost.squared_mu if trial.bounded else math.inf


def _fits(survey: Survey, model: Any, place: Place) -> list[Fit]:
    return survey.trial(model, Place(place.rows, anew=True)).fits


def _drawn(survey: Survey, search: Any, place: Place, count: int) -> list[Parameters]:
    """What a search by chance will draw if its seed tells, otherwise the costliest it may draw.

    Draws from lists are made without replacement (`ParameterSampler`).
    """
    distributions, seed = search.param_distributions, search.random_state
    if isinstance(seed, Integral):
        return list(ParameterSampler(distributions, count, random_state=seed))
    name = type(search).__name__
    grids = [distributions] if isinstance(distributions, Mapping) else distributions
    listed = not any(hasattr(values, "rvs") for grid in grids for values in grid.values())
    if not listed or len(ParameterGrid(distributions)) > _LARGEST_GRID:
        survey.give_up(
            f"What {place.names(name)} costs depends on what it draws: give it an integer as "
            "random_state, or report it when it is fitted."
        )
        return list(ParameterSampler(distributions, 1, random_state=0))
    candidates = list(ParameterGrid(distributions))
    candidates.sort(key=lambda one: _cost(survey, search, one, place), reverse=True)
    kinds = set()
    for one in candidates:
        model = _candidate(search, one)
        # One row less than all stands for every fold: what its gaps are does not depend on more.
        survey.look(model, place.inside(name, max(place.rows - 1, 1)).again())
        fits = _fits(survey, model, place)
        kinds.add(frozenset((fit.neighboring, fit.delta, fit.ledger) for fit in fits))
    if len(kinds) > 1:
        survey.give_up(
            f"{place.names(name)} may draw candidates of different relations, deltas or ledgers: "
            "give it an integer as random_state, or report it when it is fitted."
        )
    return candidates[:count]


def _schedule(
    survey: Survey, search: Any, place: Place, n_splits: int
) -> list[tuple[int, list[Parameters]]]:
    """Resources and candidates of every round, the costliest candidates surviving.

    The rule is the one in scikit-learn's user guide, "Searching for optimal parameters with
    successive halving": each round keeps the best 1/factor of the candidates, rounded up, and
    multiplies the resources by factor. "smallest" starts from 2 rows per fold and class;
    "exhaust" starts so that the last round uses as much as there is.
    """
    by_rows = search.resource == "n_samples"
    least, most, factor = search.min_resources, search.max_resources, search.factor
    exhaust = least == "exhaust"
    if isinstance(least, str):
        classes = survey.classes if is_classifier(search.estimator) else 1
        least = 2 * n_splits * classes if by_rows else 1
    most = place.rows if most == "auto" else most
    if least > most:
        survey.give_up(
            f"{place.names(type(search).__name__)} needs min_resources={least} at least, and has "
            f"{most}: it will not run."
        )
        return []
    if hasattr(search, "param_grid"):
        kept = list(ParameterGrid(search.param_grid))
    else:
        count = most // least if search.n_candidates == "exhaust" else search.n_candidates
        kept = _drawn(survey, search, place, count)
    needed = 1 + math.floor(math.log(len(kept), factor))
    if exhaust:
        least = max(least, most // factor ** (needed - 1))
    possible = 1 + math.floor(math.log(most // least, factor))
    rounds = needed if search.aggressive_elimination else min(needed, possible)
    kept.sort(key=lambda one: _cost(survey, search, one, place), reverse=True)
    schedule = []
    for i in range(rounds):
        power = max(0, i - needed + possible) if search.aggressive_elimination else i
        size = min(int(factor**power * least), most)
        more = {} if by_rows else {search.resource: size}
        schedule.append((size, [{**one, **more} for one in kept]))
        kept = kept[: math.ceil(len(kept) / factor)]
    return schedule
