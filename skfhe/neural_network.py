"""An encrypted, differentially private network with one hidden layer."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from ._base import EncryptedDPClassifier, count_classes, one_of, resolve_context
from .exceptions import InfeasiblePlan
from .plan import TrainingPlan
from .planning import NetworkRequest, make_plan
from .protocol.network_optimizer import NetworkPoint

# scikit-learn's names of activations that it has, exactly.
_IN_SKLEARN = {"tanh": "tanh", "logistic": "logistic", "relu": "relu"}


class EncryptedDPMLPClassifier(EncryptedDPClassifier):
    """A multilayer perceptron trained on CKKS ciphertexts, with differential privacy.

    `fit` encrypts the rows, computes the gradients of both layers on ciphertexts, with polynomials
    in the place of the activation and of the sigmoid, and decrypts nothing but sums over rows that
    carry their noise. The bound on one row's influence is certified for the weights of every step,
    so no gradient is clipped. More than two classes have one sigmoid output each.

    It has more to learn than the linear model from the same noised sums: see the user guide for
    when it is worth it.

    Parameters
    ----------
    epsilon, delta : float, default=1.0, 1e-5
        The privacy guarantee of the fitted model; epsilon up to 100, beyond which it would
        promise nothing.
    hidden_layer_sizes : int or sequence of one int, default=(16,)
        Units of the hidden layer. There is one: no influence is certified for deeper networks.
    activation : {"tanh", "logistic", "relu", "softplus", "square"}, default="tanh"
        Of the hidden units.
    degree : int, default=3
        Degree of the polynomials for activation and sigmoid: odd from 3 for tanh and logistic,
        even for relu, softplus and square (2), whose sigmoid has one degree more.
    alpha : float or "auto", default="auto"
        L2 penalty on the weights, as in scikit-learn; "auto" is none.
    data_norm : float or "auto", default="auto"
        Public bound on the L2 norm of a row in its moments; longer rows are shortened to it.
        "auto" depends on the number of features alone and suits columns scaled to [-1, 1].
    hidden_norm, weight_norm : float or "auto", default="auto"
        Bounds on the norm of a hidden unit's weights (for stored rows, whose norm is at most one)
        and of an output's.
    approximation : {"auto", "minimax", "least_squares", "monotone"}, default="auto"
        Kind of polynomial for the sigmoid.
    max_iter : int or "auto", default="auto"
        Steps, each of which is a release.
    learning_rate, momentum, averaging : float or "auto", default="auto"
        Of the optimiser (see `skfhe.plan.Optimizer`): post-processing, free of privacy cost.
    neighboring : {"add_remove", "replace_one"}, default="add_remove"
        What the guarantee hides: that a row was there (against a row that is zero, the number
        of rows being public), or what it was.
    backend : {"tenseal", "simulated"}, default="tenseal"
        "simulated" computes the same on unencrypted slots.
    context : "auto", CKKSParameters or tenseal.Context, default="auto"
        Encryption parameters; a TenSEAL context gives its parameters, never its keys.
    classes : array-like of labels, default=None
        The public classes. None takes those that y has, which is for y whose classes everybody
        knows. Classes without rows are allowed.
    ledger : PrivacyLedger, default=None
        The budget that fits share; every fit pays before its first release, and is refused if
        the ledger cannot.
    initial_seed : int, default=0
        Of the hidden weights that training starts from. Public, and no secret of the noise.
    random_state : int, RandomState or None, default=None
        Seeds the noise for tests; the model then has no privacy guarantee.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    coefs_ : list of two ndarray, of shapes (n_features, n_units) and (n_units, n_outputs)
        Released weights of both layers; one output for two classes.
    intercepts_ : list of two ndarray, of shapes (n_units,) and (n_outputs,)
        Released biases.
    n_layers_, n_outputs_ : int
        Layers, the input among them, and outputs.
    n_iter_ : int
        Steps taken.
    plan_ : TrainingPlan
        Everything public that the run was agreed on.
    privacy_ : PrivacyGuarantee
        The guarantee and what it rests on.
    history_ : dict
        Privacy-safe course of the run.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has string column names.

    Notes
    -----
    Predictions use the activation itself, f(z) - f(0), and not its polynomial: rows as they are
    given may be longer than those trained on, and a polynomial diverges outside its interval.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from skfhe import EncryptedDPMLPClassifier
    >>> X, y = make_classification(200, 4, random_state=0)
    >>> model = EncryptedDPMLPClassifier(epsilon=5.0, hidden_layer_sizes=4, data_norm=4.0)
    >>> model.fit(X, y).privacy_.epsilon
    5.0
    """

    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in EncryptedDPClassifier._parameter_constraints.items()
            if name not in ("fit_intercept", "standardize", "precondition", "class_weight")
        },
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": one_of("tanh", "logistic", "relu", "softplus", "square"),
        "degree": [Interval(Integral, 2, 15, closed="both")],
        "alpha": EncryptedDPClassifier._parameter_constraints["data_norm"],
        "hidden_norm": EncryptedDPClassifier._parameter_constraints["data_norm"],
        "initial_seed": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        epsilon=1.0,
        delta=1e-5,
        *,
        hidden_layer_sizes=(16,),
        activation="tanh",
        degree=3,
        alpha="auto",
        data_norm="auto",
        hidden_norm="auto",
        weight_norm="auto",
        approximation="auto",
        max_iter="auto",
        learning_rate="auto",
        momentum="auto",
        averaging="auto",
        neighboring="add_remove",
        backend="tenseal",
        context="auto",
        classes=None,
        ledger=None,
        initial_seed=0,
        random_state=None,
        verbose=0,
    ):
        self.epsilon = epsilon
        self.delta = delta
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.degree = degree
        self.alpha = alpha
        self.data_norm = data_norm
        self.hidden_norm = hidden_norm
        self.weight_norm = weight_norm
        self.approximation = approximation
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.averaging = averaging
        self.neighboring = neighboring
        self.backend = backend
        self.context = context
        self.classes = classes
        self.ledger = ledger
        self.initial_seed = initial_seed
        self.random_state = random_state
        self.verbose = verbose

    def plan(
        self, n_samples: int, n_features: int, classes=2, n_owners: int = 1, n_colluding: int = 0
    ) -> TrainingPlan:
        """Compute the training plan from public quantities; `fit` uses the same.

        Parameters
        ----------
        n_samples, n_features : int
            Shape of the data.
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
        """
        self._validate_params()
        request = NetworkRequest(
            epsilon=float(self.epsilon),
            delta=float(self.delta),
            hidden_units=_one_layer(self.hidden_layer_sizes),
            activation=self.activation,
            degree=int(self.degree),
            alpha=self.alpha,
            data_norm=self.data_norm,
            hidden_norm=self.hidden_norm,
            weight_norm=self.weight_norm,
            approximation=self.approximation,
            max_iter=self.max_iter,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            averaging=self.averaging,
            neighboring=self.neighboring,
            initial_seed=int(self.initial_seed),
        )
        return make_plan(
            request,
            n_samples,
            n_features,
            count_classes(classes),
            n_owners=n_owners,
            n_colluding=n_colluding,
            context=resolve_context(self.context),
        )

    def _take(self, weights: NetworkPoint) -> None:
        hidden, output = weights.hidden, weights.output
        self.coefs_ = [hidden[:-1].copy(), output[:-1].copy()]
        self.intercepts_ = [hidden[-1].copy(), output[-1].copy()]
        self.n_layers_, self.n_outputs_ = 3, output.shape[1]

    def decision_function(self, X):
        """Margins of rows: what the outputs' sigmoids are taken of.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows, not shortened.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            One margin for two classes, one per class for more.
        """
        margins = self._rows(X) @ self.coefs_[0] + self.intercepts_[0]
        hidden = self.plan_.certificate.activations[0].exact(margins)
        scores = hidden @ self.coefs_[1] + self.intercepts_[1]
        return scores.ravel() if scores.shape[1] == 1 else scores

    def predict_proba(self, X):
        """Class probabilities: the sigmoid, or the softmax of several margins.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

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

    def to_numpy(self) -> dict[str, NDArray]:
        """The model as arrays, for predictions without this package.

        Returns
        -------
        arrays : dict of str to ndarray
            ``hidden_coef`` (n_features, n_units), ``hidden_intercept`` (n_units,), ``output_coef``
            (n_units, n_outputs), ``output_intercept`` (n_outputs,), ``classes`` (n_classes,) and
            ``activation``, a name. With f the activation less its value at zero (tanh z,
            1/(1 + e^-z) - 1/2, max(z, 0), log((1 + e^z)/2), z^2), margins are
            ``f(X @ hidden_coef + hidden_intercept) @ output_coef + output_intercept``; the
            predicted class is the second of two where the margin is positive, or that of the
            largest margin.
        """
        check_is_fitted(self)
        return {
            "hidden_coef": self.coefs_[0],
            "hidden_intercept": self.intercepts_[0],
            "output_coef": self.coefs_[1],
            "output_intercept": self.intercepts_[1],
            "classes": self.classes_,
            "activation": np.array(self.plan_.certificate.activations[0].name),
        }

    def to_sklearn(self) -> MLPClassifier:
        """A plain MLPClassifier with identical predictions.

        Returns
        -------
        model : MLPClassifier
            Fitted, without any trace of training. Probabilities are the same too, up to rounding.

        Raises
        ------
        ValueError
            If scikit-learn has no such activation; use `to_numpy` then.
        """
        check_is_fitted(self)
        name = self.plan_.certificate.activations[0].name
        if name not in _IN_SKLEARN:
            raise ValueError(
                f"scikit-learn's MLPClassifier has no activation {name!r}, only "
                f"{sorted(_IN_SKLEARN)}; use to_numpy()."
            )
        units = self.coefs_[0].shape[1]
        model = MLPClassifier(hidden_layer_sizes=(units,), activation=_IN_SKLEARN[name])
        model.coefs_ = [coef.copy() for coef in self.coefs_]
        model.intercepts_ = [intercept.copy() for intercept in self.intercepts_]
        if name == "logistic":
            # scikit-learn's units are 1/2 more than these, whose value at zero is zero.
            model.intercepts_[1] -= 0.5 * self.coefs_[1].sum(axis=0)
        for attribute in ("classes_", "n_features_in_", "n_layers_", "n_outputs_", "n_iter_"):
            setattr(model, attribute, getattr(self, attribute))
        if hasattr(self, "feature_names_in_"):
            model.feature_names_in_ = self.feature_names_in_
        model.out_activation_ = "logistic" if self.n_outputs_ == 1 else "softmax"
        model._label_binarizer = LabelBinarizer().fit(self.classes_)
        return model


def _one_layer(hidden_layer_sizes) -> int:
    """The units of the one hidden layer.

    Raises
    ------
    InfeasiblePlan
        If there are more layers, or none.
    """
    sizes = np.atleast_1d(np.asarray(hidden_layer_sizes))
    if sizes.shape != (1,) or sizes.dtype.kind not in "iu" or sizes[0] < 1:
        raise InfeasiblePlan(
            "hidden_layer_sizes must name one hidden layer of at least one unit, such as (16,), "
            f"got {hidden_layer_sizes!r}: a row's influence is certified for one hidden layer."
        )
    return int(sizes[0])
