"""How much, how often and how long: what the service takes, and what the client does.

Sizes follow from the plan. A ciphertext at level l holds two polynomials of N coefficients modulo
l + 1 primes, eight bytes each; keys hold them modulo all primes. Compression can only add a
little to random bytes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..plan import TrainingPlan
from ..protocol.models import model_of

# A message's header and checksum, and the figures of a record of one step as text.
_HEADER = 64 * 1024
_RECORD = 1024
# What is read before there is a plan, and of an answer that tells an error.
LARGEST_STATUS = 64 * 1024
LARGEST_PLAN = 4 * 1024**2
LARGEST_ERROR = 16 * 1024


@dataclass(frozen=True)
class Limits:
    """What the service allows.

    Attributes
    ----------
    requests_per_minute : float
        Of every role, on average over a minute; what exceeds it gets status 429.
    burst : int
        Requests of a role that may come at once.
    head_seconds : float
        A connection must have sent a request's head within so many seconds, or it is closed.
    body_seconds : float
        A request's body must have arrived within so many seconds, or it gets status 408.
    head_bytes : int
        Size of a request's head, in bytes.
    connections : int
        Connections at a time; further ones get status 503.
    stop_seconds : float
        How many seconds a graceful stop waits for answers that are being sent. A release that has
        begun is always waited for.
    """

    requests_per_minute: float = 600.0
    burst: int = 60
    head_seconds: float = 20.0
    body_seconds: float = 60.0
    head_bytes: int = 16 * 1024
    connections: int = 64
    stop_seconds: float = 30.0


class Rate:
    """A token bucket for every role.

    Parameters
    ----------
    limits : Limits
        The rate and the burst.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self._per_second = limits.requests_per_minute / 60
        self._burst = limits.burst
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str | None, tuple[float, float]] = {}

    def wait(self, role: str | None) -> float:
        """Seconds until a request of this role may come; it counts if they are zero."""
        with self._lock:
            now = self._clock()
            left, since = self._buckets.get(role, (float(self._burst), now))
            left = min(left + (now - since) * self._per_second, self._burst)
            admitted = left >= 1
            self._buckets[role] = (left - admitted, now)
        return 0.0 if admitted else (1 - left) / self._per_second


def largest_request(plan: TrainingPlan, name: str) -> int:
    """Bytes that a request's body may have, by the endpoint's name; zero where it has none."""
    encryption = plan.encryption
    if name == "release":
        return _message(1, _ciphertext(plan, 0))
    if name == "prepare":
        counts = (
            statistic.n_ciphertexts(encryption.poly_modulus_degree)
            for statistic in plan.preparation.statistics.values()
        )
        return _message(max(counts, default=0), _ciphertext(plan, encryption.product_level))
    return 0


def largest_answer(plan: TrainingPlan, name: str) -> int:
    """Bytes that an answer's body may have, by the endpoint's name."""
    problem, primes, model = plan.problem, len(plan.encryption.primes), model_of(plan)
    if name == "public_key":
        return _message(1, _ciphertext(plan, primes - 1))
    if name == "evaluation_keys":
        # One key for relinearisation and one for every automorphism, an encryption for every data
        # prime each; and every one an index with a place for every odd element.
        size = (primes - 1) * _ciphertext(plan, primes - 1)
        index = 16 * plan.encryption.poly_modulus_degree
        return _message(1 + len(model.elements), size + index)
    if name == "weights":
        return _message(model.n_weights, _ciphertext(plan, primes - 2))
    if name == "frame":
        return _message(2, 8 * problem.n_features)
    if name == "outcome":
        inputs, units, outputs = problem.n_columns, problem.hidden_units, problem.n_outputs
        weights = inputs * (units or outputs) + (units + 1) * outputs
        return _message(4, 32 * weights) + _RECORD * plan.visits
    return LARGEST_PLAN if name == "plan" else LARGEST_STATUS


def _ciphertext(plan: TrainingPlan, level: int) -> int:
    return 2 * (level + 1) * plan.encryption.poly_modulus_degree * 8


def _message(sections: int, size: int) -> int:
    return _HEADER + sections * (size + size // 64 + 4096)
