"""Grid and noise of the statistics that prepare the training."""

from __future__ import annotations

import math
from dataclasses import replace

from scipy.special import ndtri

from ..crypto import errors
from ..exceptions import InfeasiblePlan
from ..plan import Encryption, Preparation, Problem, Statistic
from ..privacy import accounting, statistics
from .defaults import Recipe
from .rings import ring_of

# Nats that releases may tell about the key where parties are apart.
MAX_FLOODING = 2.0**-20
MIN_GRID_BITS, MAX_GRID_BITS = 4, 40
# Integers up to here are encoded exactly, and their sums are exact in floating point.
_MAX_BITS = 47
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
    honest = n_owners - n_colluding
    for bits in range(MAX_GRID_BITS, MIN_GRID_BITS - 1, -1):
        bound = statistics.sensitivity(name, problem, box, bits, neighboring)
        noise = whole_units(multiplier * bound, honest)
        statistic = Statistic(statistics.length(name, problem), bits, bound, noise, 0.0)
        if fits(name, statistic, problem, used, n_owners, n_colluding):
            noised = effective_multiplier(statistic, n_owners, n_colluding)
            return replace(statistic, noise_multiplier=noised)
    raise InfeasiblePlan(
        f"the {name} of {problem.n_samples} rows and their noise do not fit a ciphertext's "
        "coefficients; use a larger epsilon or delta, or switch standardize or precondition off."
    )


def fits(
    name: str,
    statistic: Statistic,
    problem: Problem,
    used: Encryption,
    n_owners: int,
    n_colluding: int,
) -> bool:
    """Whether sums are exact, whatever the rows, and their noise is wide enough.

    All rows and a dozen deviations of all owners' noise stay below what floating point adds
    exactly, what the encoder encodes exactly and what the modulus holds.
    """
    room = min(_MAX_BITS, ring_of(used).modulus_bits(1) - 2)
    unit = statistics.largest(name, problem, statistic.grid_bits)
    excess = math.sqrt(n_owners / (n_owners - n_colluding))
    total = 1.1 * problem.n_samples * unit + 12 * statistic.noise_units * excess
    return statistic.noise_units >= _LEAST_NOISE and total <= 2.0**room


def whole_units(spread: float, honest: int) -> int:
    """sigma in integer units, for a spread that is needed of so many honest owners' noise.

    Discreteness takes a little off (`skfhe.privacy.accounting.discreteness`).
    """
    return math.ceil(math.sqrt(spread**2 + 32.0 * honest)) + 1


def effective_multiplier(statistic: Statistic, n_owners: int, n_colluding: int) -> float:
    """Noise over sensitivity, as the accountant may take it."""
    shrink = honest_discreteness(statistic.noise_units, statistic.length, n_owners, n_colluding)[0]
    return statistic.noise_units / statistic.sensitivity * shrink


def honest_discreteness(
    noise_units: int, n_values: int, n_owners: int, n_colluding: int
) -> tuple[float, float]:
    """Shrink and slack of the honest owners' discrete noise on so many values.

    Every owner's share is a release's worth of discrete noise of its own
    (docs/proofs/accounting.md, statement 9), so shares count as releases; a share's spread is what
    smoothing needs.
    """
    share = noise_units / math.sqrt(2 * (n_owners - n_colluding))
    return accounting.discreteness(share, n_values, n_owners)


def flooding(
    statistic: Statistic, used: Encryption, n_owners: int, n_colluding: int, failure: float
) -> float:
    """Nats that a noised statistic tells about the errors of its decryption."""
    ring = ring_of(used)
    error = errors.fresh_error(ring, 1, not used.symmetric) * math.sqrt(n_owners)
    told = -float(ndtri(failure / (2 * statistic.length))) * error / statistic.noise_units
    return statistic.length / 2 * told**2


def prepared_statistics(
    recipe: Recipe,
    problem: Problem,
    neighboring: str,
    used: Encryption,
    single: float,
    owners: tuple[int, int],
) -> Preparation:
    """The statistics of a recipe, with their grids and noise.

    Parameters
    ----------
    recipe : Recipe
        Shares of the run's mu^2, and the rest of the preparation.
    problem, neighboring, used
        Parts of the plan.
    single : float
        The noise multiplier of a single release that spends everything.
    owners : (int, int)
        Owners, and how many of them may collude.
    """
    chosen = {
        name: choose(
            name,
            problem,
            recipe.preparation.box,
            neighboring,
            used,
            single / math.sqrt(share),
            *owners,
        )
        for name, share in recipe.shares.items()
    }
    return replace(recipe.preparation, **chosen)
