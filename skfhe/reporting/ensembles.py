"""Fits that pipelines, ensembles and wrappers of scikit-learn make."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from .folds import fold_sizes, stratified
from .survey import Place, Survey, fresh, rule


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
    fitted = hasattr(model, "transformers_")
    parts = [part for _, part, _ in (model.transformers_ if fitted else model.transformers)]
    for part in parts if fitted else map(fresh, [*parts, model.remainder]):
        survey.visit(part, place)


@rule("FrozenEstimator")
def _frozen(survey: Survey, model: Any, place: Place) -> None:
    """Fitting does nothing."""


@rule("VotingClassifier")
def _voting(survey: Survey, model: Any, place: Place) -> None:
    templates = [fresh(part) for _, part in model.estimators]
    for part in getattr(model, "estimators_", templates):
        survey.visit(part, place.inside("VotingClassifier"))


@rule("StackingClassifier")
def _stacking(survey: Survey, model: Any, place: Place) -> None:
    name = "StackingClassifier"
    if model.cv != "prefit":
        templates = [fresh(part) for _, part in model.estimators]
        for part in getattr(model, "estimators_", templates):
            survey.visit(part, place.inside(name))
        for (train, _), times in fold_sizes(survey, model.cv, place, name).items():
            for part in templates:
                survey.visit(part, place.inside(name, train, times))
    if model.final_estimator is None:
        survey.note(
            f"The final LogisticRegression of {place.names(name)} is fitted without noise: give "
            "it a private final_estimator."
        )
        return
    survey.visit(_fitted(model, "final_estimator"), place.inside(name))


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
    done = [pair.estimator for pair in getattr(model, "calibrated_classifiers_", [])]
    if not together:
        for part in done or [fresh(model.estimator)]:
            survey.visit(part, place.inside(name))
    if together and done:
        sizes = [train for (train, _), times in folds.items() for _ in range(times)]
        for part, train in zip(done, sizes, strict=False):
            survey.visit(part, place.inside(name, train))
        return
    for (train, _), times in folds.items():
        survey.visit(fresh(model.estimator), place.inside(name, train, times))


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
    if hasattr(model, "estimators_"):
        for part in model.estimators_:
            survey.visit(part, place.inside(name, rows))
    else:
        part = _seeded(fresh(model.estimator))
        survey.visit(part, place.inside(name, rows, model.n_estimators))


@rule("OneVsRestClassifier")
def _one_vs_rest(survey: Survey, model: Any, place: Place) -> None:
    if hasattr(model, "estimators_"):
        for part in model.estimators_:
            survey.visit(part, place.inside("OneVsRestClassifier"))
    else:
        count = survey.classes if survey.classes > 2 else 1
        inside = place.inside("OneVsRestClassifier", place.rows, count)
        survey.visit(fresh(model.estimator), inside)


@rule("FixedThresholdClassifier", "SelectFromModel")
def _wrapper(survey: Survey, model: Any, place: Place) -> None:
    if not getattr(model, "prefit", False):
        survey.visit(_fitted(model, "estimator"), place.inside(type(model).__name__))


@rule("TunedThresholdClassifierCV")
def _tuned(survey: Survey, model: Any, place: Place) -> None:
    name = "TunedThresholdClassifierCV"
    survey.note(
        f"The threshold of {place.names(name)} is chosen by held-out scores without noise."
    )
    if model.cv == "prefit":
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
    survey.visit(_fitted(model, "estimator"), place.inside(name, rows))
    for (size, _), times in folds.items():
        survey.visit(fresh(model.estimator), place.inside(name, size, times))


def _fitted(model: Any, name: str) -> Any:
    """What a parameter's copy has become, or a copy that is not fitted yet."""
    done = f"{name}_"
    return getattr(model, done) if hasattr(model, done) else fresh(getattr(model, name))


def _seeded(part: Any) -> Any:
    """The copy with every random_state set, as ensembles do it."""
    names = part.get_params() if hasattr(part, "get_params") else {}
    seeds = {n: 0 for n in names if n == "random_state" or n.endswith("__random_state")}
    return part.set_params(**seeds) if seeds else part
