"""Encrypted, differentially private logistic regression."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted

from ._arguments import class_weights
from ._base import EncryptedDPClassifier, Interval, StrOptions, one_of
from .planning import Request


class EncryptedDPLogisticRegression(EncryptedDPClassifier):
    """Logistic regression trained on CKKS ciphertexts, released with differential privacy.

    `fit` encrypts the rows, computes every gradient on ciphertexts with a polynomial in the
    place of the sigmoid, and decrypts nothing but sums over rows that carry their noise.
    The bound on one row's influence is certified, so no gradient is clipped. Two classes have
    one output; more have one per class, with one release per step for all, or by default a
    linear discriminant of a single one.

    Parameters
    ----------
    epsilon, delta : float, default=1.0, 1e-5
        The privacy guarantee of the fitted model, all of its releases together
        (docs/proofs/accounting.md, statement 6); epsilon up to 100, beyond which it would
        promise nothing.
    degree : int or "auto", default="auto"
        Odd degree of the polynomial, 1 to 15. Higher ones follow the sigmoid better and take
        more levels. "auto" is 5 where every step is a visit to the key holder, and 1 where the
        evaluator takes several alone: more steps fit, and they get farther.
    C : float or "auto", default="auto"
        Inverse strength of the L2 penalty, as in scikit-learn; "auto" is none.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    standardize : bool or "auto", default="auto"
        Whether columns are centred and scaled by differentially private means and mean squares,
        which a tenth of the run's mu^2 pays for; two classes have a scale for every column, more
        have one for all. False stores rows divided by `data_norm`. "auto" standardises
        unless the protocol is noninteractive, where that would be a visit more.
    precondition : bool or "auto", default="auto"
        Whether steps are preconditioned by differentially private second moments, for another
        tenth; "auto" does so for up to 1,000 features.
    data_norm : float or "auto", default="auto"
        Public bound on the L2 norm of a row; longer rows are shortened to it, in the moments if
        they are standardised, and as they are stored if not. "auto" depends on the number of
        features alone and suits columns scaled to [-1, 1].
    weight_norm : float or "auto", default="auto"
        Bound on the norm of the weights for stored rows, whose norm is at most one.
    approximation : {"auto", "minimax", "least_squares", "monotone"}, default="auto"
        Kind of polynomial. "monotone" keeps the surrogate loss convex at twice the error.
    solver : {"auto", "steps", "discriminant"}, default="auto"
        "steps" takes preconditioned gradient steps. "discriminant", for several classes, makes
        Fisher's linear discriminant of a single gradient and the second moments, in the clear and
        free of further cost; the polynomial's degree is then 1. "auto" takes it for several
        classes unless C, class_weight, the intercept or a parameter of the steps is set, or the
        signal is very low.
    max_iter : int or "auto", default="auto"
        Steps, each of which is a release.
    learning_rate, momentum, averaging : float or "auto", default="auto"
        Of the optimiser (see `skfhe.plan.Optimizer`): post-processing, free of privacy cost.
    neighboring : {"add_remove", "replace_one"}, default="add_remove"
        What the guarantee hides: that a row was there (against a row that is zero, the number
        of rows being public), or what it was.
    protocol : {"interactive", "noninteractive"}, default="interactive"
        "noninteractive" lets the evaluator take all steps alone, on one message of ciphertexts
        from every owner: nothing but the final weights is ever decrypted. It takes far larger
        parameters, as many steps as the modulus allows, and two classes.
    steps_per_round : int, default=1
        Steps that the evaluator takes alone between two visits to the key holder, of an
        interactive run.
    bootstrapping : bool or "auto", default="auto"
        With ``protocol="noninteractive"``: whether the evaluator refreshes ciphertexts whose
        levels are spent, so that any number of steps (`max_iter`) fits; "auto" does with
        ``backend="openfhe"``, which alone can. Simulated it is with True.
    backend : {"tenseal", "simulated", "openfhe"}, default="tenseal"
        "simulated" computes the same on unencrypted slots.
    context : "auto", CKKSParameters or tenseal.Context, default="auto"
        Encryption parameters; a TenSEAL context gives its parameters, never its keys.
    classes : array-like of shape (n_classes,), default=None
        The public classes, as labels. None takes those that y has, which is for y whose classes
        everybody knows: on a part of the rows, a fold of a search say, a single label can decide
        which classes there are. Classes without rows are allowed.
    class_weight : dict {label: weight}, default=None
        Public weights of the classes; those left out have weight 1. "balanced" is refused: it
        would count the labels, which no guarantee covers. Give weights from public knowledge of
        how frequent the classes are.
    ledger : PrivacyLedger, default=None
        The budget that fits share, those of clones in a search included; every fit pays before
        its first release, and is refused if the ledger cannot.
    n_jobs : int, default=None
        Processes that every step is spread over, if it is a visit, as a joblib map over chunks;
        `joblib.parallel_config` chooses where they run. None means 1, or what that says.
    random_state : int, RandomState or None, default=None
        Seeds the noise for tests; the model then has no privacy guarantee. Encryption itself
        stays random: encrypted fits of one seed agree up to its errors.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Released weights.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Released intercepts.
    n_iter_ : int
        Steps taken.
    plan_ : TrainingPlan
        Everything public that the run was agreed on.
    privacy_ : PrivacyGuarantee
        The guarantee and what it rests on.
    history_ : dict
        Privacy-safe course of the run: a list with an entry per step of every figure of
        `skfhe.protocol.course.StepRecord`, ``step_seconds``, ``phase_seconds`` by phase, and
        ``bytes`` of keys, data and a step's messages.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has string column names.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from skfhe import EncryptedDPLogisticRegression
    >>> X, y = make_classification(200, 4, random_state=0)
    >>> model = EncryptedDPLogisticRegression(epsilon=2.0, data_norm=4.0, backend="simulated")
    >>> model.fit(X, y).privacy_.epsilon  # without backend="simulated", on ciphertexts
    2.0
    """

    _parameter_constraints: dict = {
        **EncryptedDPClassifier._parameter_constraints,
        "C": EncryptedDPClassifier._parameter_constraints["data_norm"],
        "degree": [*EncryptedDPClassifier._parameter_constraints["degree"], StrOptions({"auto"})],
        "standardize": ["boolean", StrOptions({"auto"})],
        "protocol": one_of("interactive", "noninteractive"),
        "steps_per_round": [Interval(Integral, 1, 1000, closed="both")],
        "bootstrapping": ["boolean", StrOptions({"auto"})],
        "solver": one_of("auto", "steps", "discriminant"),
    }

    def __init__(
        self,
        epsilon=1.0,
        delta=1e-5,
        *,
        degree="auto",
        C="auto",
        fit_intercept=True,
        standardize="auto",
        precondition="auto",
        data_norm="auto",
        weight_norm="auto",
        approximation="auto",
        solver="auto",
        max_iter="auto",
        learning_rate="auto",
        momentum="auto",
        averaging="auto",
        neighboring="add_remove",
        protocol="interactive",
        steps_per_round=1,
        bootstrapping="auto",
        backend="tenseal",
        context="auto",
        classes=None,
        class_weight=None,
        ledger=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.epsilon = epsilon
        self.delta = delta
        self.degree = degree
        self.C = C
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.precondition = precondition
        self.data_norm = data_norm
        self.weight_norm = weight_norm
        self.approximation = approximation
        self.solver = solver
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.averaging = averaging
        self.neighboring = neighboring
        self.protocol = protocol
        self.steps_per_round = steps_per_round
        self.bootstrapping = bootstrapping
        self.backend = backend
        self.context = context
        self.classes = classes
        self.class_weight = class_weight
        self.ledger = ledger
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _request(self, classes) -> Request:
        alone = 0 if self.protocol == "noninteractive" else int(self.steps_per_round)
        if alone == 0 and self.steps_per_round != 1:
            raise ValueError(
                "protocol='noninteractive' has a single round of all steps: leave steps_per_round "
                f"at 1, got {self.steps_per_round!r}; or use protocol='interactive'."
            )
        degree = (5 if alone == 1 else 1) if isinstance(self.degree, str) else int(self.degree)
        standardize = self.standardize
        if isinstance(standardize, str):
            standardize = alone != 0
        return Request(
            epsilon=float(self.epsilon),
            delta=float(self.delta),
            degree=degree,
            C=self.C,
            class_weight=class_weights(self.class_weight, classes),
            fit_intercept=bool(self.fit_intercept),
            standardize=bool(standardize),
            precondition=self.precondition,
            data_norm=self.data_norm,
            weight_norm=self.weight_norm,
            approximation=self.approximation,
            solver=self.solver,
            max_iter=self.max_iter,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            averaging=self.averaging,
            neighboring=self.neighboring,
            steps_per_round=alone,
            bootstrapping=self._bootstraps(),
        )

    def _bootstraps(self) -> bool:
        """Whether ciphertexts are bootstrapped: where the backend can, unless it is said."""
        able = self.backend == "openfhe"
        wanted = able if isinstance(self.bootstrapping, str) else bool(self.bootstrapping)
        if wanted and self.backend == "tenseal":
            raise ValueError(
                "bootstrapping=True takes backend='openfhe', or 'simulated' for a study; SEAL, "
                "which is behind backend='tenseal', has none."
            )
        if able and not wanted:
            raise ValueError("backend='openfhe' is for bootstrapping; leave bootstrapping='auto'.")
        if wanted and self.protocol != "noninteractive":
            raise ValueError(
                "bootstrapping takes protocol='noninteractive', got 'interactive': a key holder "
                "who is asked at every step refreshes weights by encrypting them anew, in a "
                "thousandth of the time; use backend='tenseal'."
            )
        return wanted

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        visits = self.protocol == "interactive" and self.steps_per_round == 1
        tags.classifier_tags.multi_class = visits
        return tags

    def _take(self, weights: NDArray) -> None:
        n_features = self.plan_.problem.n_features
        self.coef_ = weights[:n_features].T.copy()
        intercept = weights[n_features:].ravel()
        self.intercept_ = intercept if intercept.size else np.zeros(len(self.coef_))

    def decision_function(self, X):
        """Margins of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows, not shortened.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            One margin for two classes, one per class for more.
        """
        scores = self._rows(X) @ self.coef_.T + self.intercept_
        return scores.ravel() if scores.shape[1] == 1 else scores

    def to_sklearn(self) -> LogisticRegression:
        """Make a plain LogisticRegression with identical predictions.

        Returns
        -------
        model : LogisticRegression
            Fitted, without any trace of training.
        """
        check_is_fitted(self)
        model = LogisticRegression()
        for name in ("classes_", "coef_", "intercept_", "n_features_in_"):
            setattr(model, name, getattr(self, name))
        if hasattr(self, "feature_names_in_"):
            model.feature_names_in_ = self.feature_names_in_
        model.n_iter_ = np.full(len(self.coef_), self.n_iter_)
        return model
