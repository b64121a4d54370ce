"""What can be asked of a key holder over HTTP, and by whom. Shared by service and client."""

from __future__ import annotations

from dataclasses import dataclass

from ..exceptions import BudgetExceeded, KeyBurned, MessageError, PlanMismatch

EVALUATOR = "evaluator"
OWNER = "owner"
CERTIFICATE = "certificate"

BYTES = "application/octet-stream"
JSON = "application/json"

HEALTH = "/health"

# Errors whose texts are the package's own and public; a client raises the same.
PUBLIC_ERRORS: dict[type[Exception], int] = {
    MessageError: 400,
    BudgetExceeded: 402,
    PlanMismatch: 409,
    KeyBurned: 410,
}


@dataclass(frozen=True)
class Endpoint:
    """One call.

    Attributes
    ----------
    name : str
        The key holder's attribute that answers.
    method, path : str
        Of the request.
    roles : frozenset of str
        Who may ask; whoever is known by a client certificate alone may ask everything.
    media : str or None
        Type of the answer's body; None for an answer without one.
    """

    name: str
    method: str
    path: str
    roles: frozenset[str]
    media: str | None

    def allows(self, role: str) -> bool:
        """Whether a caller of this role may ask."""
        return role == CERTIFICATE or role in self.roles


_BOTH = frozenset({EVALUATOR, OWNER})
_EVALUATOR = frozenset({EVALUATOR})
_OWNER = frozenset({OWNER})

ENDPOINTS = {
    one.name: one
    for one in (
        Endpoint("status", "GET", "/v1/status", _BOTH, JSON),
        Endpoint("plan", "GET", "/v1/plan", _BOTH, JSON),
        Endpoint("outcome", "GET", "/v1/model", _BOTH, BYTES),
        Endpoint("public_key", "GET", "/v1/public-key", _OWNER, BYTES),
        Endpoint("frame", "GET", "/v1/frame", _OWNER, BYTES),
        Endpoint("evaluation_keys", "GET", "/v1/evaluation-keys", _EVALUATOR, BYTES),
        Endpoint("weights", "GET", "/v1/weights", _EVALUATOR, BYTES),
        Endpoint("prepare", "POST", "/v1/prepare", _EVALUATOR, None),
        Endpoint("release", "POST", "/v1/release", _EVALUATOR, None),
    )
}
