"""What fitting a model costs in privacy, with everything around it that touches the rows."""

from __future__ import annotations

from .._arguments import count_classes
from . import ensembles, searches  # noqa: F401  (they tell the survey their rules)
from .report import BudgetState, Fit, PrivacyReport, compose
from .survey import Place, Survey

__all__ = ["BudgetState", "Fit", "PrivacyReport", "privacy_report"]


def privacy_report(model, n_samples: int, n_features: int, classes=2) -> PrivacyReport:
    """Tell what fitting a model releases, before or after the fit; no data is looked at.

    An estimator knows its own releases only. This goes through the pipelines, searches and
    ensembles around it, counts every fit of an estimator of this package and every private
    score, composes them, and names what learns from the rows beside them.

    Parameters
    ----------
    model : estimator
        Fitted or not; it stays as it is. Fitted parts count with what they did, or with the
        parameters of their guarantee if these were changed since then and cost more; the others
        count with their parameters. Where a choice depends on the data (which candidate is
        refitted, which ones survive a round of successive halving), the costliest is counted.
    n_samples, n_features : int
        Shape of the data that it is fitted on, public.
    classes : int or list of labels, default=2
        The public classes; for `OneVsRestClassifier` on a table of labels, its columns.

    Returns
    -------
    report : PrivacyReport
        Prints as a page.

    Raises
    ------
    ValueError
        If a count is not positive.
    TypeError
        If `model` is no estimator.

    Notes
    -----
    Steps that are taken to treat every row by itself are those whose scikit-learn tags say that
    they need no fit (`RowNormClipper`, `FunctionTransformer`, `Normalizer`, ...), `BoundsScaler`,
    and some of scikit-learn's whose parameters leave nothing to learn and nothing to fail at
    (`OneHotEncoder` with given categories that ignores others, `PolynomialFeatures`, ...). A
    `FunctionTransformer` is believed, and so is it that folds given by `PredefinedSplit` are
    public.

    Calls of `score` or `cross_val_score` after or around the fit are not part of the model and
    not seen; a `PrivacyLedger` counts those that are private.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV, KFold
    >>> from skfhe import EncryptedDPLogisticRegression, privacy_report
    >>> folds = KFold(3, shuffle=True, random_state=0)
    >>> model = EncryptedDPLogisticRegression(0.5, classes=[0, 1])
    >>> search = GridSearchCV(model, {"degree": [3, 5]}, cv=folds)
    >>> report = privacy_report(search, n_samples=300, n_features=4)
    >>> sum(fit.count for fit in report.fits)
    7
    >>> len(report.not_covered)
    1
    """
    if isinstance(model, type) or not hasattr(model, "fit"):
        raise TypeError(f"model must be an estimator, got {model!r}.")
    for name, value in (("n_samples", n_samples), ("n_features", n_features)):
        if not value >= 1:
            raise ValueError(f"{name} must be at least 1, got {value!r}.")
    place = Place(int(n_samples))
    survey, anew = (Survey(place.rows, int(n_features), count_classes(classes)) for _ in range(2))
    survey.visit(model, place)
    anew.visit(model, place.again())
    return compose(model, survey, anew)
