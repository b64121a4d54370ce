"""Fits that pipelines, ensembles and wrappers of scikit-learn make."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from .folds import fold_sizes, stratified
from .survey import Place, Survey, fresh, in_the_clear, rule


@rule("Pipeline")
def _pipeline(survey: Survey, model: Any, place: Place) -> None:
    for _, step in model.steps:
        survey.visit(step, place)


@rule("FeatureUnion")
def _union(survey: Survey, model: Any, place: Place) -> None:
    for _, part in model.transformer_list:
        survey.visit(part, place)


@rule("ColumnTransformer")
def _columns(survey: Survey, model: Any, place: Place) -> None:
    done = place.past(model, "transformers_")
    templates = [*(part for _, part, _ in model.transformers), model.remainder]
    parts = map(fresh, templates) if done is None else (part for _, part, _ in done)
    for part in parts:
        survey.visit(part, place)


@rule("FrozenEstimator")
def _frozen(survey: Survey, model: Any, place: Place) -> None:
    """Fitting does nothing."""


@rule("VotingClassifier")
def _voting(survey: Survey, model: Any, place: Place) -> None:
    _encodes(survey, "VotingClassifier", place)
    for part in _parts(model, place):
        survey.visit(part, place.inside("VotingClassifier"))


@rule("StackingClassifier")
def _stacking(survey: Survey, model: Any, place: Place) -> None:
    name = "StackingClassifier"
    _encodes(survey, name, place)
    if not _prefit(model):
        parts = _parts(model, place)
        for part in parts:
            survey.visit(part, place.inside(name))
        for (train, _), times in fold_sizes(survey, model.cv, place, name).items():
            for part in parts:
                survey.visit(fresh(part), place.inside(name, train, times))
    if model.final_estimator is None:
        survey.note(
            f"The final LogisticRegression of {place.names(name)} is fitted without noise: give "
            "it a private final_estimator."
        )
        return
    survey.visit(_fitted(model, "final_estimator", place), place.inside(name))


@rule("CalibratedClassifierCV")
def _calibrated(survey: Survey, model: Any, place: Place) -> None:
    name = "CalibratedClassifierCV"
    frozen = type(model.estimator).__name__ == "FrozenEstimator"
    together = not frozen if model.ensemble == "auto" else model.ensemble
    survey.note(
        f"The {model.method} calibrator of {place.names(name)} is fitted on scores and labels "
        "without noise: calibrate on public rows."
    )
    folds = {} if frozen else fold_sizes(survey, model.cv, place, name)
    done = [pair.estimator for pair in place.past(model, "calibrated_classifiers_") or []]
    if model.estimator is None:
        survey.note(in_the_clear(place.inside(name).names("LinearSVC")))
    elif together and done:
        sizes = [train for (train, _), times in folds.items() for _ in range(times)]
        # Where cv was changed since then, there may be other folds than models.
        sizes += [place.rows] * (len(done) - len(sizes))
        for part, train in zip(done, sizes, strict=False):
            survey.visit(part, place.inside(name, train))
    else:
        part = done[0] if done else fresh(model.estimator)
        if not together:
            survey.visit(part, place.inside(name))
        for (train, _), times in folds.items():
            survey.visit(fresh(part), place.inside(name, train, times))


@rule("BaggingClassifier")
def _bagging(survey: Survey, model: Any, place: Place) -> None:
    """Bagging gives every part a seed of its own, so their noise is seeded."""
    name, share = "BaggingClassifier", model.max_samples
    rows = place.rows if share is None else share
    if not isinstance(rows, Integral):
        rows = max(int(share * place.rows), 1)
    survey.note(
        f"{place.names(name)} sets random_state in the estimators that it fits, so their noise is "
        "seeded: combine estimators with VotingClassifier, which does not."
    )
    if model.oob_score:
        survey.note(f"oob_score_ of {place.names(name)} is computed without noise.")
    if model.bootstrap:
        survey.give_up(
            f"{place.names(name)} draws rows with replacement: a row that is drawn twice counts "
            "twice in one fit, which no guarantee here covers. Use bootstrap=False."
        )
    _encodes(survey, name, place)
    done = place.past(model, "estimators_")
    if model.estimator is None:
        survey.note(in_the_clear(place.inside(name).names("DecisionTreeClassifier")))
    elif done is not None:
        for part in done:
            survey.visit(part, place.inside(name, rows))
    else:
        part = _seeded(fresh(model.estimator))
        survey.visit(part, place.inside(name, rows, model.n_estimators))


@rule("OneVsRestClassifier")
def _one_vs_rest(survey: Survey, model: Any, place: Place) -> None:
    """One fit for two classes, but two for a table of two labels, which nothing here tells."""
    name = "OneVsRestClassifier"
    _encodes(survey, name, place)
    done = place.past(model, "estimators_")
    for part in done or []:
        survey.visit(part, place.inside(name))
    if done is None:
        survey.note(
            f"{place.names(name)} counts as {survey.classes} fits, one for each of the classes; "
            "where y is a table of labels, there is one for each column, and classes must be "
            "their number."
        )
        survey.visit(fresh(model.estimator), place.inside(name, times=survey.classes))


@rule("FixedThresholdClassifier", "SelectFromModel")
def _wrapper(survey: Survey, model: Any, place: Place) -> None:
    if not getattr(model, "prefit", False):
        survey.visit(_fitted(model, "estimator", place), place.inside(type(model).__name__))


@rule("TunedThresholdClassifierCV")
def _tuned(survey: Survey, model: Any, place: Place) -> None:
    name = "TunedThresholdClassifierCV"
    survey.note(
        f"The threshold of {place.names(name)} is chosen by held-out scores without noise."
    )
    if _prefit(model):
        return
    if isinstance(model.cv, Real) and 0 < model.cv < 1:
        # One split, stratified, of which a model without refit is the training part, again.
        train = place.rows - -int(-model.cv * place.rows // 1)
        folds = {(train, place.rows - train): 1}
        survey.note(stratified(place.names(name)))
    else:
        folds = fold_sizes(survey, model.cv, place, name)
        train = max((size for size, _ in folds), default=place.rows)
    rows = place.rows if model.refit else train
    part = _fitted(model, "estimator", place)
    survey.visit(part, place.inside(name, rows))
    for (size, _), times in folds.items():
        survey.visit(fresh(part), place.inside(name, size, times))


def _fitted(model: Any, name: str, place: Place) -> Any:
    """What a parameter's copy has become, or a copy that is not fitted yet."""
    done = place.past(model, f"{name}_")
    return fresh(getattr(model, name)) if done is None else done


def _parts(model: Any, place: Place) -> list[Any]:
    """What the copies of named estimators have become, or copies that are not fitted yet."""
    done = place.past(model, "estimators_")
    return [fresh(part) for _, part in model.estimators] if done is None else list(done)


def _prefit(model: Any) -> bool:
    return isinstance(model.cv, str) and model.cv == "prefit"


def _encodes(survey: Survey, name: str, place: Place) -> None:
    """Name what reads the classes off a part of the labels, before its estimators see them."""
    if place.rows < survey.n_samples:
        survey.note(
            f"{place.names(name)} takes its classes from the labels of a part of the rows, so one "
            "row's label can decide which there are: put the search or the folds inside of it."
        )


def _seeded(part: Any) -> Any:
    """The copy with every random_state set, as ensembles do it."""
    names = part.get_params() if hasattr(part, "get_params") else {}
    seeds = {n: 0 for n in names if n == "random_state" or n.endswith("__random_state")}
    return part.set_params(**seeds) if seeds else part
