"""Errors and warnings of the package, on one page."""

__all__ = [
    "BudgetExceeded",
    "DepthExceeded",
    "InfeasiblePlan",
    "KeyBurned",
    "MessageError",
    "PlanMismatch",
    "PrivacyLeakWarning",
    "SeededNoiseWarning",
    "StateError",
    "WorkersLost",
]


class InfeasiblePlan(ValueError):
    """No plan meets the request; the message names needed, available and the remedy.

    It is raised before any ciphertext exists, and depends on public quantities alone.

    Examples
    --------
    >>> from skfhe import EncryptedDPMLPClassifier, InfeasiblePlan
    >>> model = EncryptedDPMLPClassifier(hidden_layer_sizes=(16, 8))
    >>> try:
    ...     model.plan(n_samples=1000, n_features=10)
    ... except InfeasiblePlan as error:
    ...     print(str(error).split(" of ")[0])
    hidden_layer_sizes must name one hidden layer
    """


class DepthExceeded(InfeasiblePlan):
    """The encryption parameters have too few levels for the circuit.

    Lower the degree, or give parameters with more primes.

    Examples
    --------
    >>> from skfhe import CKKSParameters, DepthExceeded, EncryptedDPLogisticRegression
    >>> shallow = CKKSParameters(8192, (50, 40, 50))
    >>> model = EncryptedDPLogisticRegression(degree=7, context=shallow)
    >>> try:
    ...     model.plan(n_samples=1000, n_features=10)
    ... except DepthExceeded:
    ...     print("too few levels")
    too few levels
    """


class PlanMismatch(ValueError):
    """A file, a key or a message was made for another plan, run or step.

    Nothing has been computed with it: see that all parties have the same plan, and send what
    belongs to this run.

    Examples
    --------
    >>> from skfhe import DataOwner, EncryptedDPLogisticRegression, KeyHolder, PlanMismatch
    >>> model = EncryptedDPLogisticRegression(degree=1)
    >>> plan, other = (model.plan(n_samples=n, n_features=4, n_owners=2) for n in (100, 200))
    >>> with KeyHolder(plan) as key_holder:
    ...     try:
    ...         DataOwner.with_public_key(other, key_holder.public_key())
    ...     except PlanMismatch:
    ...         print("the key is for another plan")
    the key is for another plan
    """


class MessageError(ValueError):
    """Bytes that are no message of this package: foreign, truncated or altered.

    Have them sent again. Nothing has been computed with them, and nothing is paid, unless it says
    that a ciphertext did not decrypt (see `skfhe.KeyHolder.release`).
    """


class BudgetExceeded(RuntimeError):
    """A release was refused because the ledger has no budget left for it.

    Nothing was released or debited. `skfhe.PrivacyLedger.remaining` tells what a fit may take.

    Examples
    --------
    >>> import numpy as np
    >>> from skfhe import BudgetExceeded, DPStandardScaler, PrivacyLedger
    >>> ledger = PrivacyLedger(epsilon=1.0, delta=1e-5)
    >>> try:
    ...     DPStandardScaler(epsilon=2.0, delta=1e-5, ledger=ledger).fit(np.zeros((100, 2)))
    ... except BudgetExceeded:
    ...     print(ledger.spent().epsilon)
    0.0
    """


class KeyBurned(RuntimeError):
    """The key holder has destroyed its key, because the run ended or was refused.

    No release follows; what was not released has gone back to the ledger. Start a new run. A fork
    of the key holder's process is refused in the same way.
    """


class StateError(RuntimeError):
    """A party's state on disk is missing, damaged, in use elsewhere or cannot be written.

    Nothing is released that the state does not know of: mend the storage and send the same
    request again.
    """


class WorkersLost(RuntimeError):
    """Worker processes ended again and again in the middle of a step.

    Probably memory ran out: use fewer processes, or a smaller cache. The step can be asked for
    again.
    """


class PrivacyLeakWarning(UserWarning):
    """Something about the data leaves, or may leave, outside the stated guarantee.

    Do not pass the warning on: its text may depend on the rows.

    Examples
    --------
    >>> import warnings
    >>> from skfhe import PrivacyLeakWarning
    >>> with warnings.catch_warnings():  # where nobody but the owner reads the log
    ...     warnings.simplefilter("ignore", PrivacyLeakWarning)
    """


class SeededNoiseWarning(PrivacyLeakWarning):
    """The noise came from a seed, so the released model carries no privacy guarantee.

    Leave ``random_state=None`` outside tests.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from skfhe import DPStandardScaler, SeededNoiseWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", SeededNoiseWarning)
    ...     scaler = DPStandardScaler(random_state=0).fit(np.zeros((100, 2)))
    >>> scaler.privacy_.epsilon
    inf
    """
