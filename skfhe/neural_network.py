"""An encrypted, differentially private network with one hidden layer."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._base import EncryptedDPClassifier, one_of
from .exceptions import InfeasiblePlan
from .planning import NetworkRequest
from .privacy.frame import Frame
from .privacy.statistics import dense_blocks
from .protocol.models import ReleasedNetwork


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
        The privacy guarantee of the fitted model, all of its releases together
        (docs/proofs/accounting.md, statement 6); epsilon up to 100, beyond which it would
        promise nothing.
    hidden_layer_sizes : int or sequence of one int, default=(16,)
        Units of the hidden layer. There is one: no influence is certified for deeper networks.
    activation : {"tanh", "logistic", "relu", "softplus", "square"}, default="tanh"
        Of the hidden units.
    degree : int, default=3
        Degree of the polynomials for activation and sigmoid: odd from 3 for tanh and logistic,
        even for relu, softplus and square (2), whose sigmoid has one degree more.
    alpha : float or "auto", default="auto"
        L2 penalty on the weights, as in scikit-learn; "auto" is none, as 0 is.
    data_norm : float or "auto", default="auto"
        Public bound on the L2 norm of a row in its moments; longer rows are shortened to it.
        "auto" depends on the number of features alone and suits columns scaled to [-1, 1].
    hidden_reach : float or "auto", default="auto"
        Bound on the margin of a hidden unit, for any row: the interval of the activation's
        polynomial; "auto" is 3.
    weight_norm : float or "auto", default="auto"
        Bound on the norm of an output's weights.
    approximation : {"auto", "minimax", "least_squares", "monotone"}, default="auto"
        Kind of polynomial for the sigmoid.
    solver : {"auto", "steps", "adam", "discriminant"}, default="auto"
        "steps" takes preconditioned gradient steps on both layers. "adam" takes more and smaller
        ones, of Adam corrected for the variance of the noise. "discriminant", for several
        classes, is the linear discriminant of a single gradient, which a low signal allows no
        more than: "auto" takes it then, unless a parameter of the steps is set.
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
    classes : array-like of shape (n_classes,), default=None
        The public classes, as labels. None takes those that y has, which is for y whose classes
        everybody knows. Classes without rows are allowed.
    ledger : PrivacyLedger, default=None
        The budget that fits share; every fit pays before its first release, and is refused if
        the ledger cannot.
    initial_seed : int, default=0
        Of the hidden weights that training starts from. Public, and no secret of the noise.
    n_jobs : int, default=None
        Processes that every step is spread over, as a joblib map over chunks of rows;
        `joblib.parallel_config` chooses where they run. None means 1, or what that says.
    random_state : int, RandomState or None, default=None
        Seeds the noise for tests; the model then has no privacy guarantee.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    centre_, scale_ : ndarray of shape (n_features,)
        Released: a row x is stored as ``(x - centre_) * scale_``, shortened to norm one if longer.
    coefs_ : list of two ndarray, of shapes (n_features, n_units) and (n_units, n_outputs)
        Released weights of both layers, for stored rows; one output for two classes.
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
        Privacy-safe course of the run: a list with an entry per step of every figure of
        `skfhe.protocol.course.StepRecord`, ``step_seconds``, ``phase_seconds`` by phase, and
        ``bytes`` of keys, data and a step's messages.
    n_features_in_ : int
        Number of features seen during fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has string column names.

    Notes
    -----
    Predictions treat rows as training does: centred, scaled and shortened, with the polynomial in
    the place of the activation. So no row leaves the interval of the polynomial.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from skfhe import EncryptedDPMLPClassifier
    >>> X, y = make_classification(200, 4, random_state=0)
    >>> model = EncryptedDPMLPClassifier(
    ...     epsilon=5.0, hidden_layer_sizes=4, data_norm=4.0, max_iter=5, backend="simulated"
    ... )
    >>> model.fit(X, y).privacy_.epsilon  # without backend="simulated", on ciphertexts
    5.0
    """

    _network = True
    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in EncryptedDPClassifier._parameter_constraints.items()
            if name not in ("fit_intercept", "standardize", "precondition", "class_weight")
        },
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": one_of("tanh", "logistic", "relu", "softplus", "square"),
        "degree": [Interval(Integral, 2, 15, closed="both")],
        "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "hidden_reach": EncryptedDPClassifier._parameter_constraints["data_norm"],
        "solver": one_of("auto", "steps", "adam", "discriminant"),
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
        hidden_reach="auto",
        weight_norm="auto",
        approximation="auto",
        solver="auto",
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
        n_jobs=None,
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
        self.hidden_reach = hidden_reach
        self.weight_norm = weight_norm
        self.approximation = approximation
        self.solver = solver
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
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _request(self, classes) -> NetworkRequest:
        _require_parity(self.activation, self.degree)
        return NetworkRequest(
            epsilon=float(self.epsilon),
            delta=float(self.delta),
            hidden_units=_one_layer(self.hidden_layer_sizes),
            activation=self.activation,
            degree=int(self.degree),
            alpha=self.alpha,
            data_norm=self.data_norm,
            hidden_reach=self.hidden_reach,
            weight_norm=self.weight_norm,
            approximation=self.approximation,
            solver=self.solver,
            max_iter=self.max_iter,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            averaging=self.averaging,
            neighboring=self.neighboring,
            initial_seed=int(self.initial_seed),
        )

    def _take(self, model: ReleasedNetwork) -> None:
        b = self.plan_.problem.intercept_column
        hidden, output = model.weights.hidden, model.weights.output
        self.centre_, self.scale_ = model.frame.centre.copy(), model.frame.scale.copy()
        self.coefs_ = [hidden[:-1].copy(), output[:-1].copy()]
        self.intercepts_ = [b * hidden[-1], b * output[-1]]
        self.n_layers_, self.n_outputs_ = 3, output.shape[1]

    def decision_function(self, X):
        """Margins of rows: what the outputs' sigmoids are taken of.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows; they are centred, scaled and shortened as for training.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            One margin for two classes, one per class for more.
        """
        X = self._rows(X)
        frame = Frame(self.centre_, self.scale_, 0.0, False)
        activation = self.plan_.certificate.activation
        blocks = [
            activation(frame.rows(rows) @ self.coefs_[0] + self.intercepts_[0]) @ self.coefs_[1]
            for rows in dense_blocks(X)
        ]
        scores = np.concatenate(blocks) + self.intercepts_[1]
        return scores.ravel() if scores.shape[1] == 1 else scores

    def to_numpy(self) -> dict[str, NDArray]:
        """Give the model as arrays, for predictions without this package.

        scikit-learn's MLPClassifier could not make them: its activations are no polynomials.

        Returns
        -------
        arrays : dict of str to ndarray
            ``centre``, ``scale`` (n_features,), ``hidden_coef`` (n_features, n_units),
            ``hidden_intercept`` (n_units,), ``activation`` (degree + 1,), ``output_coef``
            (n_units, n_outputs), ``output_intercept`` (n_outputs,) and ``classes`` (n_classes,).

        Notes
        -----
        A row x has v = (x - centre) * scale, divided by its norm if that is above one; units
        z = v @ hidden_coef + hidden_intercept and a = sum_k activation[k] z^k; and margins
        a @ output_coef + output_intercept. The predicted class is the second of two where the
        margin is positive, or that of the largest margin.
        """
        check_is_fitted(self)
        return {
            "centre": self.centre_,
            "scale": self.scale_,
            "hidden_coef": self.coefs_[0],
            "hidden_intercept": self.intercepts_[0],
            "activation": self.plan_.certificate.activation.coefficients,
            "output_coef": self.coefs_[1],
            "output_intercept": self.intercepts_[1],
            "classes": self.classes_,
        }


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


def _require_parity(activation: str, degree: int) -> None:
    """Refuse a degree that the activation's polynomial does not have, before any is fitted.

    Raises
    ------
    ValueError
        With the degrees to use.
    """
    odd = activation in ("tanh", "logistic")
    if activation == "square":
        fits, wanted, use = degree == 2, "2", "2"
    else:
        fits, wanted = degree % 2 == odd, "odd, from 3," if odd else "even, from 2 to 14,"
        nearest = [d for d in (degree - 1, degree + 1) if (3 if odd else 2) <= d <= 15 - (not odd)]
        use = " or ".join(map(str, nearest))
    if not fits:
        raise ValueError(
            f"degree must be {wanted} for activation={activation!r}, got {degree}; use {use}."
        )
