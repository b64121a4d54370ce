"""Grid and noise of the statistics that prepare the training."""

from __future__ import annotations

import math

from scipy.special import ndtri

from ..crypto import errors
from ..crypto.parameters import Ring
from ..exceptions import InfeasiblePlan
from ..plan import Encryption, Problem, Statistic
from ..privacy import accounting, statistics

# Integers up to here are encoded exactly, and their sums are exact in floating point.
_MAX_BITS = 44
# Below, integer noise is no longer negligible beside continuous noise.
_LEAST_NOISE = 2.0**10


def choose(
    name: str,
    problem: Problem,
    box: float,
    neighboring: str,
    used: Encryption,
    multiplier: float,
    n_owners: int,
    n_colluding: int,
) -> Statistic:
    """The finest grid that a ciphertext has room for, and the noise on it.

    Parameters
    ----------
    name : {"moments", "curvature"}
        The statistic.
    problem, used
        Parts of the plan.
    box : float
        Of the moments.
    neighboring : {"add_remove", "replace_one"}
        The relation.
    multiplier : float
        The noise multiplier that is wanted.
    n_owners, n_colluding : int
        Owners, and how many of them may collude.

    Raises
    ------
    InfeasiblePlan
        If the noise is too large for any grid.
    """
    room = min(_MAX_BITS, Ring(used.poly_modulus_degree, used.primes).modulus_bits(1) - 2)
    excess = math.sqrt(n_owners / (n_owners - n_colluding))
    for bits in range(40, 3, -1):
        unit = statistics.largest(name, problem, bits)
        bound = statistics.sensitivity(name, problem, box, bits, neighboring)
        honest = n_owners - n_colluding
        noise = math.ceil(math.sqrt((multiplier * bound) ** 2 + 32.0 * honest)) + 1
        if math.log2(1.1 * problem.n_samples * unit + 12 * noise * excess) > room:
            continue
        if noise < _LEAST_NOISE:
            break
        statistic = Statistic(statistics.length(name, problem), bits, bound, noise, 0.0)
        return Statistic(
            statistic.length,
            bits,
            bound,
            noise,
            effective_multiplier(statistic, n_owners, n_colluding),
        )
    raise InfeasiblePlan(
        f"the noise on {name} of {problem.n_samples} rows does not fit 2^{room:.0f}; use a larger "
        "epsilon or delta, or switch standardize or precondition off."
    )


def effective_multiplier(statistic: Statistic, n_owners: int, n_colluding: int) -> float:
    """Noise over sensitivity, as the accountant may take it."""
    share = statistic.noise_units / math.sqrt(2 * (n_owners - n_colluding))
    shrink = accounting.discreteness(share, statistic.length, n_owners)[0]
    return statistic.noise_units / statistic.sensitivity * shrink


def flooding(
    statistic: Statistic, used: Encryption, n_owners: int, n_colluding: int, failure: float
) -> float:
    """Nats that a noised statistic tells about the errors of its decryption."""
    ring = Ring(used.poly_modulus_degree, used.primes)
    error = errors.fresh_error(ring, 1, not used.symmetric) * math.sqrt(n_owners)
    told = -float(ndtri(failure / (2 * statistic.length))) * error / statistic.noise_units
    return statistic.length / 2 * told**2
