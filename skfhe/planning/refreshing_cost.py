"""What operations cost on one core in a ring that refreshes.

Coefficients are fits to OpenFHE 1.6.1 on one core of an AMD EPYC machine at N = 65536;
`make bench-bootstrapping` prints what whole runs take beside what their plans predict.
"""

from __future__ import annotations

from collections import Counter

from ..crypto.parameters import Ring
from ..plan import Prediction, Problem
from .traffic import Traffic

# Milliseconds per prime.
_LINEAR = {"multiply": 1.1, "multiply_plain": 1.6, "add": 1.5, "rescale": 5.0}
# A key switch of d digits on k of the data primes transforms d (k + special) polynomials.
_SWITCH, _SWITCH_START = 3.6, 20.0
# A refresh, in key switches at the top of the chain; rotations of a transform share a part.
_REFRESH_SWITCHES = 38.0
# Keys for a refresh; seconds to make one and to load it, and for the pair of the sparser secret.
_REFRESH_KEYS, _KEY_SECONDS, _PAIR_SECONDS = 45, 1.1, 25.0
_MESSAGE_MILLISECONDS = 100.0
# Python, OpenFHE, and the plaintexts of transforms.
_PROCESS_BYTES = 2_000_000_000


def milliseconds(ring: Ring, counts: Counter[tuple[str, int]]) -> float:
    """Milliseconds of traced operations."""
    return sum(_operation(ring, *key) * n for key, n in counts.items())


def _operation(ring: Ring, name: str, level: int) -> float:
    if name == "refresh":
        return _REFRESH_SWITCHES * _operation(ring, "key_switch", ring.n_data - 1)
    if name == "key_switch":
        transformed = len(ring.digits(level)) * (level + 1 + ring.n_special)
        return _SWITCH_START + _SWITCH * transformed
    return _LINEAR[name] * (level + 1)


def predict(
    ring: Ring, traffic: Traffic, counts: Counter[tuple[str, int]], problem: Problem
) -> Prediction:
    """Seconds and bytes of a run; "per step" is of all its operations.

    A key has a ciphertext over all primes for every digit. The evaluator has them once; who makes
    them makes one after another.
    """
    polynomial = 8 * ring.poly_modulus_degree
    ciphertext = 2 * polynomial * (ring.top_level + 1)
    keys = traffic.keys + _REFRESH_KEYS
    key_bytes = keys * 2 * polynomial * len(ring.digits(ring.n_data - 1)) * len(ring.primes)
    data_bytes = traffic.rows * ciphertext
    switches = {
        level: count for (name, level), count in sorted(counts.items()) if name == "key_switch"
    }
    return Prediction(
        seconds_per_step=milliseconds(ring, counts) / 1e3,
        key_seconds=_PAIR_SECONDS + keys * _KEY_SECONDS,
        encryption_seconds=traffic.rows * _MESSAGE_MILLISECONDS / 1e3,
        key_bytes=key_bytes,
        data_bytes=data_bytes,
        step_bytes=ciphertext,
        memory_bytes=_PROCESS_BYTES
        + key_bytes
        + 2 * data_bytes
        + 3 * 8 * problem.n_samples * problem.n_columns,
        key_switches=switches,
    )
