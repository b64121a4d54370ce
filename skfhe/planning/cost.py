"""What operations cost on one core, to compare layouts and to predict a run.

Coefficients are fits to SEAL 4.1 through TenSEAL 0.3.18 on one core of an AMD EPYC machine at
N = 8192; `make bench-operations` prints a machine's own beside them. Other degrees scale by
N log N. Only ratios matter for the choice of a layout.
"""

from __future__ import annotations

import math
from collections import Counter

from ..crypto.parameters import Ring
from ..plan import Prediction, Problem
from . import refreshing_cost
from .traffic import Traffic

# Python with scikit-learn, SEAL and its memory pool, before any row is read.
_PROCESS_BYTES = 300_000_000
_LINEAR = {"multiply": 0.09, "multiply_plain": 0.043, "add": 0.018, "rescale": 0.14}


def operation_milliseconds(name: str, level: int) -> float:
    """Milliseconds of one operation on k = level + 1 primes at N = 8192.

    A key switch transforms k digits for each of k + 1 primes; everything else is linear in k.
    """
    k = level + 1
    if name == "key_switch":
        return 0.063 * k**2 + 0.36 * k
    return _LINEAR[name] * k


def message_milliseconds(ring: Ring, level: int) -> float:
    """Milliseconds to encode, encrypt, serialise and load one ciphertext."""
    return (1.3 + 0.85 * (level + 1)) * _relative(ring)


def evaluation_milliseconds(ring: Ring, counts: Counter[tuple[str, int]]) -> float:
    """Milliseconds of traced operations."""
    if ring.refreshing is not None:
        return refreshing_cost.milliseconds(ring, counts)
    total = sum(operation_milliseconds(name, level) * n for (name, level), n in counts.items())
    return total * _relative(ring)


def step_milliseconds(ring: Ring, traffic: Traffic, counts: Counter[tuple[str, int]]) -> float:
    """Milliseconds of one step: weights, circuit, noise, release."""
    weights = traffic.weights * message_milliseconds(ring, ring.top_level)
    noise_and_release = 8.0 * _relative(ring)
    return weights + evaluation_milliseconds(ring, counts) + noise_and_release


def predict(
    ring: Ring,
    traffic: Traffic,
    counts: Counter[tuple[str, int]],
    low_level: int,
    problem: Problem,
    symmetric: bool,
) -> Prediction:
    """Seconds and bytes of a run.

    A polynomial takes 8 N bytes per prime; a ciphertext has two of them, of which a seeded one
    (symmetric encryption) sends only one; a key-switching key has one ciphertext over all primes
    for every data prime. Bytes are counted before compression. Weighted rows are sent a second
    time, at the low level.
    """
    if ring.refreshing is not None:
        return refreshing_cost.predict(ring, traffic, counts, problem)
    polynomial = 8 * ring.poly_modulus_degree
    data_primes = ring.top_level + 1
    sent_primes = data_primes + (low_level + 1 if problem.class_weight else 0)
    sent = (1 if symmetric else 2) * polynomial * sent_primes
    key = polynomial * data_primes * (data_primes + 1)
    loaded = traffic.rows * 2 * polynomial * (data_primes + low_level + 1)
    loaded += traffic.weights * 2 * polynomial * data_primes
    loaded += traffic.own * 3 * polynomial * data_primes
    switches = {
        level: count for (name, level), count in sorted(counts.items()) if name == "key_switch"
    }
    return Prediction(
        seconds_per_step=step_milliseconds(ring, traffic, counts) / 1e3,
        key_seconds=traffic.keys * 8e-3 * data_primes * _relative(ring),
        encryption_seconds=traffic.rows
        * (sent_primes / data_primes)
        * message_milliseconds(ring, ring.top_level)
        / 1e3,
        key_bytes=traffic.keys * key,
        data_bytes=traffic.rows * sent,
        step_bytes=traffic.weights * polynomial * data_primes + 4 * polynomial,
        memory_bytes=_PROCESS_BYTES
        + 3 * 8 * problem.n_samples * problem.n_columns
        + loaded
        + 4 * traffic.keys * key,
        key_switches=switches,
    )


def _relative(ring: Ring) -> float:
    n = ring.poly_modulus_degree
    return n * math.log2(n) / (8192 * 13)
