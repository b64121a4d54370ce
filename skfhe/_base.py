"""What the estimators share: checks, plans, fitted facts. All private sklearn API is here."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from copy import copy
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ._arguments import count_classes, encoded, plan_labels, require_memory, resolve_context
from ._html import cards
from .crypto.parameters import CKKSParameters
from .exceptions import PlanMismatch, PrivacyLeakWarning
from .plan import TrainingPlan
from .plan_text import sections
from .planning import NetworkRequest, Request, make_plan
from .privacy.guarantee import PrivacyGuarantee
from .privacy.ledger import PrivacyLedger
from .privacy.noise import noise_source
from .protocol.dataset import EncryptedDataset
from .protocol.key_holder import KeyHolder
from .protocol.outcome import Released
from .protocol.rows import check_rows, finite_rows
from .protocol.schemes import plan_scheme
from .protocol.session import Costs, Holder, Outcome, run_session, train_encrypted


def one_of(*names: str) -> list:
    """The constraint that a parameter has one of some names."""
    return [StrOptions(set(names))]


AUTO_POSITIVE = [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})]


class EncryptedDPClassifier(ClassifierMixin, BaseEstimator):
    """Checks, planning and the session, for estimators that differ in their circuit."""

    _network = False  # whether plans have hidden units

    _parameter_constraints: dict = {
        "epsilon": [Interval(Real, 0, 100, closed="right")],
        "delta": [Interval(Real, 0, 1, closed="neither")],
        "degree": [Interval(Integral, 1, 15, closed="both")],
        "fit_intercept": ["boolean"],
        "standardize": ["boolean"],
        "precondition": ["boolean", StrOptions({"auto"})],
        "data_norm": AUTO_POSITIVE,
        "weight_norm": AUTO_POSITIVE,
        "approximation": one_of("auto", "minimax", "least_squares", "monotone"),
        "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "learning_rate": AUTO_POSITIVE,
        "momentum": [Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})],
        "averaging": [Interval(Real, 0, 1, closed="right"), StrOptions({"auto"})],
        "neighboring": one_of("add_remove", "replace_one"),
        "backend": one_of("tenseal", "simulated", "openfhe"),
        "context": "no_validation",
        "classes": ["array-like", None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "ledger": [PrivacyLedger, None],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    @abstractmethod
    def _request(self, classes) -> Request | NetworkRequest:
        """The parameters, as planning takes them."""

    @abstractmethod
    def _take(self, model: Any) -> None:
        """Set the fitted attributes that are the model, from what was released."""

    def plan(
        self, n_samples: int, n_features: int, classes=2, n_owners: int = 1, n_colluding: int = 0
    ) -> TrainingPlan:
        """Compute the training plan from public quantities; `fit` uses the same.

        Parameters
        ----------
        n_samples, n_features : int
            Shape of the data, rows of all owners together.
        classes : int or list of labels, default=2
            The public classes: a count (labels 0 to K - 1), or the labels.
        n_owners, n_colluding : int, default=1, 0
            Data owners, and how many of them may collude; one who holds the key counts.

        Returns
        -------
        plan : TrainingPlan
            What all parties agree on before any data is touched.

        Raises
        ------
        InfeasiblePlan
            If nothing meets the request; with needed, available and what to change.
        ValueError
            If a parameter is out of its range, or parameters do not go together.
        """
        self._validate_params()
        return make_plan(
            self._request(classes),
            n_samples,
            n_features,
            count_classes(classes),
            n_owners=n_owners,
            n_colluding=n_colluding,
            context=resolve_context(self.context),
        )

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, **fit_params):
        """Encrypt, train on ciphertexts and release a differentially private model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows, scaled by public bounds (see `BoundsScaler`); rows longer than `data_norm` are
            shortened to it.
        y : array-like of shape (n_samples,)
            Class labels. The set of classes is public: what `classes` says, or else what y has.
        **fit_params : object
            Nothing is taken. `sample_weight` is refused, because a weight above one would exceed
            the certified influence of its row, and smaller ones would be private data that the
            plan knows nothing of; leave rows out, or use `class_weight` with public weights where
            there is one.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        TypeError
            If there is anything beside X and y.
        ValueError
            For data that cannot be trained on, or a plan that is infeasible (`InfeasiblePlan`),
            before any ciphertext exists.
        BudgetExceeded
            If the ledger does not pay for the plan; nothing is encrypted then.

        Warns
        -----
        PrivacyLeakWarning
            If most rows are longer than `data_norm` allows for. It looked at the rows: do not
            pass it on.
        SeededNoiseWarning
            If `random_state` seeds the noise.
        """
        if fit_params:
            raise TypeError(
                f"{type(self).__name__}.fit takes X and y alone, got {sorted(fit_params)}: "
                "weights of rows would change the influence that is certified for each of them; "
                "leave rows out"
                + (", or use class_weight with public weights." if not self._network else ".")
            )
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64)
        X = finite_rows(X)
        check_classification_targets(y)
        classes, targets = encoded(y, self.classes, type(self).__name__)
        costs = Costs()
        with costs.phase("plan"):
            plan = self.plan(X.shape[0], X.shape[1], classes=classes)
        require_memory(plan)
        random_bytes = noise_source(self.random_state)
        with costs.phase("keys"):
            key_holder = KeyHolder(
                plan,
                plan_scheme(plan, self.backend),
                ledger=self.ledger,
                mechanism=type(self).__name__,
                seeded=random_bytes is not os.urandom,
            )
        outcome = run_session(
            key_holder,
            X,
            targets,
            costs,
            random_bytes=random_bytes,
            n_jobs=self.n_jobs,
            verbose=self.verbose,
        )
        # Last, since a warning may be turned into an error: rows must not decide how a run ends.
        self._release(plan, outcome, classes)
        self._warn_of_clipping(X, plan)
        return self

    def fit_encrypted(self, dataset: EncryptedDataset, key_holder: Holder, classes=None):
        """Train on rows that others have encrypted.

        Parameters
        ----------
        dataset : EncryptedDataset
            Rows of all owners and their noise, encrypted for the key holder's plan and run.
        key_holder : KeyHolder or RemoteKeyHolder
            Holds the plan, the key and the ledger. This estimator's own hyperparameters are not
            used: the plan decides. A ledger of this estimator must be the key holder's, too.
        classes : array-like of shape (n_classes,), default=None
            Labels in the order of the owners' class indices; if None this estimator's `classes`,
            the plan's schema's without these, and 0 to K - 1 without one.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        PlanMismatch
            If the plan is for another kind of model, or the rows for another plan or run.
        ValueError
            If classes are not as many as the plan's, or the ledger is not the key holder's.
        BudgetExceeded
            If the ledger does not pay for a release.
        """
        plan = key_holder.plan
        labels = self._labels(plan, classes)
        if self.ledger is not None and self.ledger != getattr(key_holder, "ledger", None):
            raise ValueError(
                "the key holder pays: give it this estimator's ledger, KeyHolder(plan, "
                "ledger=ledger), or set ledger=None here."
            )
        outcome = train_encrypted(
            dataset, key_holder, Costs(), n_jobs=self.n_jobs, verbose=self.verbose
        )
        self.n_features_in_ = plan.problem.n_features
        vars(self).pop("feature_names_in_", None)  # of an earlier fit
        return self._release(plan, outcome, labels)

    @classmethod
    def from_released(cls, plan: TrainingPlan, released: Released, classes=None):
        """Make the fitted estimator of a run that was trained elsewhere.

        Parameters
        ----------
        plan : TrainingPlan
            The run's. Public.
        released : Released
            What its key holder has published (`skfhe.protocol.outcome.unpack_outcome`). Public.
        classes : array-like of shape (n_classes,), default=None
            Labels in the order of class indices; if None the plan's schema's, and 0 to K - 1
            without one.

        Returns
        -------
        model : object
            With epsilon, delta and degree of the plan; it predicts, and is not fitted again.

        Raises
        ------
        PlanMismatch
            If the plan is for another kind of model.
        ValueError
            If classes are not as many as the plan's.
        """
        certificate, terms = plan.certificate, plan.guarantee
        degree = (certificate.activation or certificate.polynomials[0]).degree
        model = cls(terms.epsilon, terms.delta, degree=degree)
        labels = model._labels(plan, classes)
        model.n_features_in_ = plan.problem.n_features
        if plan.schema is not None:
            model.feature_names_in_ = np.array(plan.schema.features, dtype=object)
        return model._release(plan, Outcome(released, Costs()), labels)

    def _labels(self, plan: TrainingPlan, classes) -> NDArray:
        """The labels of a plan's classes; refused if the plan is for another kind of model."""
        if bool(plan.problem.hidden_units) != self._network:
            found = "network" if plan.problem.hidden_units else "linear model"
            raise PlanMismatch(
                f"the plan is for a {found}; use the estimator that made it, or a plan of this "
                f"{type(self).__name__}."
            )
        return plan_labels(plan, self.classes if classes is None else classes)

    def _release(self, plan: TrainingPlan, outcome: Outcome, classes: NDArray):
        """Set every fitted attribute from a finished run."""
        self.classes_ = classes
        self.plan_ = plan
        released = outcome.released
        self.privacy_ = PrivacyGuarantee.of(plan, plan.guarantee.n_releases, released.guaranteed)
        self.n_iter_ = plan.optimizer.max_iter
        self.history_ = outcome.history()
        self._take(released.model)
        return self

    def _html_repr(self) -> str:
        """scikit-learn's diagram; once fitted, with guarantee and plan beneath."""
        diagram = super()._html_repr()
        if not hasattr(self, "plan_"):
            return diagram
        return diagram + cards(self.privacy_.page(), sections(self.plan_))

    def predict(self, X):
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows, in the clear and on this machine.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Predicted labels.
        """
        scores = self.decision_function(X)
        index = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        return self.classes_[index]

    def predict_proba(self, X):
        """Class probabilities: the exact sigmoid, or the softmax of several margins.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows, in the clear and on this machine.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        scores = self.decision_function(X)
        if scores.ndim == 1:
            positive = expit(scores)
            return np.column_stack([1 - positive, positive])
        return softmax(scores, axis=1)

    def _rows(self, X):
        check_is_fitted(self)
        return validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)

    def _warn_of_clipping(self, X, plan: TrainingPlan) -> None:
        """Tell the owner, and nobody else, that shortening rows spoils the data.

        A given data_norm is meant to hold most rows. "auto" is meant to shorten rows, but only
        such as columns within [-1, 1] can make: none longer than sqrt(n_features).
        """
        automatic = isinstance(self.data_norm, str)
        limit = np.sqrt(X.shape[1]) if automatic else plan.problem.data_norm
        if check_rows(X, limit).clipped > 0.5:
            warnings.warn(
                f"most rows are longer than data_norm={plan.problem.data_norm:.4g} allows for "
                "and are shortened, which spoils the model: scale the columns with "
                "BoundsScaler(public bounds), or give a larger data_norm; DataOwner.check tells "
                "how many. This warning looked at the data: do not pass it on.",
                PrivacyLeakWarning,
                stacklevel=3,
            )

    def __sklearn_clone__(self):
        """A clone shares no key: a copy has a TenSEAL context's parameters in its place."""
        return super(EncryptedDPClassifier, copy(self)).__sklearn_clone__()

    def __getstate__(self):
        return self._shareable(super().__getstate__())

    @staticmethod
    def _shareable(attributes: dict) -> dict:
        """The attributes with the parameters of a TenSEAL context in its place."""
        context = attributes["context"]
        if isinstance(context, (str, CKKSParameters)):
            return attributes
        from .crypto.tenseal import context_parameters, is_context

        return (
            {**attributes, "context": context_parameters(context)}
            if is_context(context)
            else attributes
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.poor_score = False
        return tags
