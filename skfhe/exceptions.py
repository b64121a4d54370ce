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
    """No plan meets the request; the message names needed, available and the remedy."""


class DepthExceeded(InfeasiblePlan):
    """The encryption parameters have too few levels for the circuit."""


class PlanMismatch(ValueError):
    """A file, a key or a message was made for another plan, run or step."""


class MessageError(ValueError):
    """Bytes that are no message of this package: foreign, truncated or altered."""


class BudgetExceeded(RuntimeError):
    """A release was refused because the ledger has no budget left for it."""


class KeyBurned(RuntimeError):
    """The key holder has destroyed its key, because the run ended or was refused."""


class StateError(RuntimeError):
    """A party's state on disk is missing, damaged, in use elsewhere or cannot be written."""


class WorkersLost(RuntimeError):
    """Worker processes ended again and again in the middle of a step."""


class PrivacyLeakWarning(UserWarning):
    """Something about the data leaves, or may leave, outside the stated guarantee."""


class SeededNoiseWarning(PrivacyLeakWarning):
    """The noise came from a seed, so the released model carries no privacy guarantee."""
