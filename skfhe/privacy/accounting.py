"""What T noised releases cost in (epsilon, delta), and how much noise a target needs.

Everything here concerns T Gaussian releases, each of which may depend on all earlier ones, with
one noise multiplier m = sigma / Delta. Delta is the L2 sensitivity *under the neighbouring
relation in use*, so the relation is already inside m and the accountant is always told
"add or remove one": telling it "replace one" as well would be wrong in both directions, as it
doubles Delta a second time in dp_accounting's PLD and is ignored by its RDP accountant
(google/differential-privacy, issue 378).

Such releases are together exactly as private as one Gaussian release with
mu = sqrt(T) / m (J. Dong, A. Roth, W. Su, "Gaussian differential privacy", arXiv 1905.02383,
Corollary 3.3; its composition is adaptive). All quantities are public.
"""

from __future__ import annotations

import math
from numbers import Integral
from typing import TYPE_CHECKING, Any

from scipy.special import log_ndtr

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

# Width of the cells in which the privacy loss is counted, in units of its standard deviation mu.
# The loss against the closed form is of second order in it: below 1e-4 of delta, 1e-5 of epsilon.
_CELL = 1e-3

# The first step above the closed form's multiplier that `calibrate` tries, relative.
_STEP = 1e-6

# eta of `discreteness`, in integer units.
_SMOOTHING = 4.0

# Share of delta that noise is never calibrated for: plans and ledgers alike keep it for encryption
# errors beyond their bounds and for the discreteness of noise.
DELTA_SHARE = 1e-2


def gaussian_delta(epsilon: float, mu: float) -> float:
    """Return the exact delta of a Gaussian release at epsilon.

    ``delta(epsilon) = Phi(-epsilon/mu + mu/2) - e^epsilon Phi(-epsilon/mu - mu/2)``
    (B. Balle, Y.-X. Wang, "Improving the Gaussian mechanism for differential privacy", ICML 2018,
    Theorem 8; Dong, Roth, Su, arXiv 1905.02383, Corollary 2.13).

    Parameters
    ----------
    epsilon : float
        Of the guarantee, positive and finite.
    mu : float
        Sensitivity over noise spread, positive and finite; ``sqrt(T) / m`` for T releases with
        noise multiplier m.

    Returns
    -------
    delta : float
        Of the guarantee at that epsilon, in [0, 1].

    Raises
    ------
    ValueError
        If `epsilon` or `mu` is not positive and finite.

    Notes
    -----
    The difference is formed between logarithms, ``e^a - e^b = e^a (1 - e^(b - a))``, so neither
    e^epsilon overflows nor a tiny Phi underflows before it is multiplied.
    """
    _check(epsilon=epsilon)
    _require(0 < mu < math.inf, "mu", "positive and finite", mu)
    first = float(log_ndtr(-epsilon / mu + mu / 2))
    second = epsilon + float(log_ndtr(-epsilon / mu - mu / 2))
    return math.exp(first) * max(0.0, -math.expm1(second - first))


def delta_at(epsilon: float, noise_multiplier: float, n_releases: int) -> float:
    """Return the delta that the releases have at epsilon.

    Parameters
    ----------
    epsilon : float
        Of the guarantee, positive and finite.
    noise_multiplier : float
        Noise spread over sensitivity of each release, not negative and finite.
    n_releases : int
        Number of Gaussian releases, at least 1.

    Returns
    -------
    delta : float
        Of the guarantee, an upper bound from the privacy loss distribution: never below
        `gaussian_delta`, and less than 1e-4 relative above it where epsilon is .01 to 100 and
        delta 1e-12 to .1 (tested). Far outside it stays an upper bound and gets looser. 1 if there
        is no noise.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    _check(epsilon=epsilon, noise_multiplier=noise_multiplier, n_releases=n_releases)
    if noise_multiplier == 0:
        return 1.0
    mu = math.sqrt(n_releases) / noise_multiplier
    return max(float(_pld(mu).get_delta_for_epsilon(epsilon)), gaussian_delta(epsilon, mu))


def epsilon_at(delta: float, noise_multiplier: float, n_releases: int) -> float:
    """Return the epsilon that the releases have at delta.

    Parameters
    ----------
    delta : float
        Of the guarantee, between 0 and 1, both excluded.
    noise_multiplier : float
        Noise spread over sensitivity of each release, not negative and finite.
    n_releases : int
        Number of Gaussian releases, at least 1.

    Returns
    -------
    epsilon : float
        Of the guarantee, an upper bound from the privacy loss distribution; infinity if there is
        no noise.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    _check(delta=delta, noise_multiplier=noise_multiplier, n_releases=n_releases)
    if noise_multiplier == 0:
        return math.inf
    return float(_pld(math.sqrt(n_releases) / noise_multiplier).get_epsilon_for_delta(delta))


def calibrate(epsilon: float, delta: float, n_releases: int) -> float:
    """Return the smallest noise multiplier that keeps the releases (epsilon, delta)-private.

    Parameters
    ----------
    epsilon : float
        The target, positive. Infinity asks for no noise.
    delta : float
        The target, between 0 and 1, both excluded.
    n_releases : int
        Number of Gaussian releases, at least 1.

    Returns
    -------
    noise_multiplier : float
        Noise spread over sensitivity of each release, with
        ``epsilon_at(delta, noise_multiplier, n_releases) <= epsilon``; above the smallest such
        number by a few 1e-6 of itself at most. 0 if `epsilon` is infinite.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    The closed form's root is a lower bound of the answer, since the accountant is never better.
    Trying numbers above it at doubling distances overshoots the excess of the accountant, which
    is below 1e-6, by a factor of two at most.
    """
    _check(delta=delta, n_releases=n_releases)
    if epsilon == math.inf:
        return 0.0
    _check(epsilon=epsilon)
    lower = math.sqrt(n_releases) / _closed_form_mu(epsilon, delta)
    step = _STEP
    while epsilon_at(delta, lower * (1 + step), n_releases) > epsilon:
        step *= 2
    return lower * (1 + step)


def last_iterate_mu(contraction: float, n_steps: int, noise_multiplier: float) -> float:
    """Return the mu of the last point of noisy, strictly contractive gradient steps.

    ``mu = sqrt((1 - c^t)/(1 + c^t) (1 + c)/(1 - c)) / m`` (J. Bok, W. Su, J. Altschuler, "Shifted
    interpolation for differential privacy", ICML 2024, arXiv 2403.00278, the theorem for strongly
    convex losses). It holds for the last iterate alone of full-batch steps of one fixed size, for
    losses that are strongly convex and smooth everywhere; never with momentum, averages, or steps
    of changing size.

    Parameters
    ----------
    contraction : float
        The factor c = max(|1 - eta m|, |1 - eta M|), at least 0 and below 1.
    n_steps : int
        The number of steps t, at least 1.
    noise_multiplier : float
        Noise spread over sensitivity of every step, positive and finite.

    Returns
    -------
    mu : float
        At most ``sqrt(n_steps) / noise_multiplier``, that of composition.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    _require(0 <= contraction < 1, "contraction", "at least 0 and below 1", contraction)
    _check(n_releases=n_steps)
    ok = 0 < noise_multiplier < math.inf
    _require(ok, "noise_multiplier", "positive and finite", noise_multiplier)
    # (1 - c^t)/(1 - c) is summed, as both vanish where c is close to one.
    power = float(contraction) ** int(n_steps)
    powers = math.fsum(float(contraction) ** i for i in range(int(n_steps)))
    return math.sqrt(powers * (1 + contraction) / (1 + power)) / noise_multiplier


def discreteness(sigma_units: float, n_coordinates: int, n_releases: int) -> tuple[float, float]:
    """Bound what integer noise costs over the continuous noise that the accountant knows.

    If each release is an integer vector plus independent discrete Gaussian noise of spread
    ``sigma_units``, with multiplier m = sigma_units / Delta (Delta in the same units), then all of
    them together are (epsilon, delta + slack)-private for every (epsilon, delta) that continuous
    Gaussian releases with multiplier ``m * shrink`` satisfy.

    Parameters
    ----------
    sigma_units : float
        Spread of the discrete Gaussian in integer units, more than 4.
    n_coordinates : int
        Coordinates of each released vector, at least 1.
    n_releases : int
        Number of releases, at least 1.

    Returns
    -------
    shrink : float
        To be multiplied onto the noise multiplier before accounting, ``sqrt(1 - 16 / s^2)``.
    slack : float
        To be added to delta, below 1e-125 for 2^15 coordinates and 5,000 releases.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Write s for `sigma_units`, eta = 4, rho_r(x) = exp(-x^2 / (2 r^2)), tau^2 = s^2 - eta^2, P for
    the discrete Gaussian ``P(v) = rho_s(v) / sum_u rho_s(u)``, and P' for the law of "draw x from
    the continuous N(0, tau^2), then round it to the integer v with probability
    ``rho_eta(v - x) / sum_u rho_eta(u - x)``" (C. Peikert, "An efficient and parallel Gaussian
    sampler for lattices", CRYPTO 2010, Theorem 3.1, in one dimension).

    *1. P and P' nearly agree.* By Poisson summation, for every real x and spread r,

        sum_u rho_r(u - x) = r sqrt(2 pi) (1 + 2 sum_{k >= 1} q_r^(k^2) cos(2 pi k x)),
        q_r = exp(-2 pi^2 r^2),

    which is within r sqrt(2 pi) (1 +- e) with e = 2 q_eta / (1 - q_eta) for r = eta, and for
    r = s > eta all the more. The product of two Gaussian densities in x integrates to

        int N(x; 0, tau^2) rho_eta(v - x) dx = (eta / s) rho_s(v).

    So P'(v) is within [1 / (1 + e), 1 / (1 - e)] times rho_s(v) / (s sqrt(2 pi)), P(v) within the
    same factors of the same number, and |ln(P(v) / P'(v))| <= lambda = ln((1 + e) / (1 - e)).

    *2. P' is post-processing.* The rounding commutes with integer shifts: rounding q + x has the
    law of q plus the rounding of x. So "q plus noise from P'" is a rounding, free of the data, of
    "q plus N(0, tau^2)", coordinate by coordinate: whatever (epsilon, delta') holds for continuous
    releases with multiplier tau / Delta = m sqrt(1 - eta^2 / s^2) holds for it, also when each
    q depends on the earlier outputs.

    *3. From P' to P.* Given a data set and all outputs, the q's are known, and the probability of
    those outputs is a product of n T values of P or P'. So for the two mechanisms M and M' every
    probability agrees within exp(+-kappa), kappa = n T lambda. For neighbours D, D' let S be the
    event where M(D) is more than e^epsilon times as likely as M(D'), the worst one. Then
    e^epsilon M(D')(S) <= M(D)(S) <= 1 and

        M(D)(S) <= e^kappa M'(D)(S) <= e^kappa (e^epsilon M'(D')(S) + delta')
                <= e^(2 kappa) e^epsilon M(D')(S) + e^kappa delta',
        M(D)(S) - e^epsilon M(D')(S) <= (e^(2 kappa) - 1) + e^kappa delta'
                <= delta' + (e^kappa - 1) + (e^(2 kappa) - 1),

    since delta' <= 1: the slack, whatever epsilon is.
    """
    _require(
        _SMOOTHING < sigma_units < math.inf,
        "sigma_units",
        f"more than {_SMOOTHING:g} and finite (raise the scale of the integers)",
        sigma_units,
    )
    _require_count("n_coordinates", n_coordinates)
    _check(n_releases=n_releases)
    # 3 q instead of 2 q / (1 - q), as q <= 1/3: half as much again pays for all roundings below.
    e = 3 * math.exp(-2 * (math.pi * _SMOOTHING) ** 2)
    kappa = int(n_coordinates) * int(n_releases) * 2 * math.atanh(e)
    shrink = math.sqrt(1 - (_SMOOTHING / sigma_units) ** 2)
    return shrink, math.expm1(kappa) + math.expm1(2 * kappa)


def _pld(mu: float) -> PrivacyLossDistribution:
    """Build the pessimistic privacy loss distribution of one Gaussian release.

    This is what dp_accounting's `PLDAccountant` builds for a self-composed Gaussian event, taken
    before the accountant convolves it with its empty ledger: the rounding of that FFT, about
    1e-16 absolute, may go either way and is up to 5e-4 of delta where delta is 1e-12.
    """
    from dp_accounting.pld import privacy_loss_distribution

    return privacy_loss_distribution.from_gaussian_mechanism(
        1 / mu, value_discretization_interval=_CELL * mu
    )


def _closed_form_mu(epsilon: float, delta: float) -> float:
    """Solve ``gaussian_delta(epsilon, mu) = delta``, which increases with mu."""
    from scipy.optimize import brentq

    log_mu = brentq(lambda t: gaussian_delta(epsilon, math.exp(t)) - delta, -20, 20, xtol=1e-14)
    return math.exp(log_mu)


def _check(**arguments: Any) -> None:
    """Refuse arguments outside their ranges; NaN is outside of all."""
    for name, value in arguments.items():
        if name == "epsilon":
            _require(0 < value < math.inf, name, "positive and finite", value)
        elif name == "delta":
            _require(0 < value < 1, name, "between 0 and 1, both excluded", value)
        elif name == "noise_multiplier":
            _require(0 <= value < math.inf, name, "finite and not negative", value)
        else:
            _require_count(name, value)


def _require_count(name: str, value: Any) -> None:
    ok = isinstance(value, Integral) and value >= 1
    _require(ok, name, "an integer that is at least 1", value)


def _require(condition: bool, name: str, must: str, got: Any) -> None:
    if not condition:
        raise ValueError(f"{name} must be {must}. Got {got!r} instead.")
