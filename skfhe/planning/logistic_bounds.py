r"""What CKKS errors can do to a release, for a given ring, layout and scale.

Condition on all keys and all encryption randomness. Between neighbours a release then differs by
(a) one row's contribution, as the circuit really computes it, and (b) roundings that fall out
anew because some ciphertext differs: those of the changed row's chunk and of what is computed
from it, as all other chunks are the same on both sides.

For (a), let d and d' be the errors of the row's residuals and r the error of the row, which
encryption randomness fixes, so that it is the same on both sides and stays when x' is zero. In
units of S, where ||e||, ||e'|| <= 1/X,

    ||(e + d)(x + r) - (e' + d')(x' + r)|| <= ||e x - e' x'|| + ||d x|| + ||d' x'|| + 2 ||r|| / X

up to products of errors: the relation's factor times at most 1 + ||d|| X + 2 ||r|| / X, whose
excess is the `row_slack`. For (b), let E bound the L2 norm, over all plaintext coefficients, of
what roundings add to a release, for any data set; two data sets then differ by at most 2E.

**Root mean square.** The tracer (`skfhe.crypto.tracing`) gives the standard deviation delta_e
that roundings cause in a slot of the residuals, in units of S. A sum over rows,
sum_i delta_i x_i, has expected squared norm sum_i delta_e^2 ||x_i||^2 <= n' X^2 delta_e^2 with
n' the rows of a chunk, padding included: each of the m copies of a row in the slots
(`skfhe.packing`) carries an error of its own, which cancels what the other features of its
ciphertext add. With C outputs, those that only pad to a power of two included, G ciphertexts per
chunk, rho_x the rounding of encoded rows, and kappa, r the coefficient errors of a key switch and
of the last rescale in units of the sums,

    rms^2 = (sqrt(n' C) X delta_e + sqrt(n' G) rho_x)^2 + N (2 kappa + r)^2,

the first two added as norms, because a row's rounding is in both (Minkowski), 2 kappa because
the scale doubles at every merge, 1 + 1/2 + 1/4 + ... < 2, and N because it is all coefficients
that the key holder sees, outputs or not.

Roundings of ciphertexts fall on residues that encryption makes uniform. Encoding is another
matter: it is deterministic, and a data set could choose its roundings; so owners add a secret
dither to rows and labels before they round (`skfhe.crypto.errors.encoding_error`).

**Tail.** The error vector is a sum of many independent roundings, taken as Gaussian. Among
Gaussian vectors of one root mean square norm, P(norm > t rms) is largest, for t^2 > 1.54, where
all of it lies in one direction (Szekely and Bakirov 2003, Probab. Theory Relat. Fields 126), so
the normal quantile holds for every covariance, and so for every data set.

**Single slots.** A slot sees r_1(zeta_j) s(zeta_j) for a rounding r_1 and the secret s. Sums over
slots see the mean of |s(zeta_j)|^2, which is ||s||^2; one slot can see ln(N/beta) times as much,
with probability beta over the key.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

from scipy.special import ndtri

from ..circuits.logistic import EncryptedChunk, LogisticSums, margins, residuals
from ..circuits.paired import RowProducts
from ..circuits.polynomial import FactoredPolynomial, evaluate
from ..crypto import errors
from ..crypto.tracing import Traced, TracingEvaluator
from .requirement import PRODUCT_LEVEL, Bounds, Candidate, Requirement, counted_step


@dataclass(frozen=True)
class LogisticRequirement(Requirement):
    """What encryption must serve in training a linear model.

    Attributes
    ----------
    contributions : tuple of float
        The least S that each approximation is used with: where errors weigh most.
    largest_contribution : float
        The largest S, for which margins are scaled down most.
    weight_norm : float
        Largest norm of an output's weights, the prior and the intercept's included.
    """

    contributions: tuple[float, ...]
    largest_contribution: float
    weight_norm: float


@dataclass(frozen=True)
class TracedCore:
    """The part of a step that errors matter in, for one polynomial at its least S."""

    tracer: TracingEvaluator
    factored: FactoredPolynomial
    divisor: float
    degree: int
    margin: Traced
    core: Traced


def trace_core(requirement: LogisticRequirement, candidate: Candidate, index: int) -> TracedCore:
    """Follow margins and polynomial of one chunk.

    |X_g| and |W_g| in a slot enter as shares whose squares add up to m X^2 and m alpha^2 ||w||^2
    (Cauchy-Schwarz over a ciphertext's m powers of X). A reach R = |b w_b| + ||w'|| bounds
    ||w|| by R / min(1, b), which is more than R / X where b is small.
    """
    ring, layout = candidate.ring, candidate.layout
    tracer = TracingEvaluator(ring)
    arithmetic = candidate.arithmetic(tracer)
    divisor = requirement.contributions[index]
    factored = FactoredPolynomial.of(requirement.polynomials[index], divisor)
    share = math.sqrt(layout.feature_blocks / layout.groups)
    level, norm = ring.top_level, requirement.row_norm
    column = requirement.problem.intercept_column or 1.0
    longest = min(
        requirement.polynomials[index].radius / min(1.0, column), requirement.weight_norm
    )
    row = tracer.fresh(
        level, candidate.row_scale, norm * share, public=not requirement.symmetric, dither=True
    )
    weight = tracer.fresh(level, candidate.scale, abs(factored.alpha) * longest * share)
    margin = margins(arithmetic, layout, [row] * layout.groups, [weight] * layout.groups)
    core = evaluate(arithmetic, factored, margin)
    return TracedCore(
        tracer, factored, divisor, requirement.polynomials[index].degree, margin, core
    )


def label_level(candidate: Candidate, core: Traced) -> int:
    """Where labels enter: with the core, or a level above it if there its scale is too small
    for the constant that lands them on it to be precise."""
    return core.level + (core.scale < 2.0**20 * candidate.scale)


def count_step(requirement: LogisticRequirement, candidate: Candidate) -> Counter[tuple[str, int]]:
    """Operations of one whole step."""
    ring, layout = candidate.ring, candidate.layout
    core = trace_core(requirement, candidate, -1)
    tracer = TracingEvaluator(ring, follow_errors=False)

    def fresh(level: int, scale: float) -> Traced:
        return tracer.fresh(level, scale, 2.0**-20)

    chunk = EncryptedChunk(
        [fresh(ring.top_level, candidate.row_scale)] * layout.groups,
        [fresh(PRODUCT_LEVEL, candidate.row_scale)] * layout.groups,
        fresh(label_level(candidate, core.core), candidate.scale),
    )
    weights = [fresh(ring.top_level, candidate.scale)] * layout.groups
    arithmetic = candidate.arithmetic(tracer)

    def sums(own: RowProducts | None) -> LogisticSums:
        return LogisticSums(arithmetic, layout, core.factored, core.divisor, weights, own)

    return counted_step(tracer, sums, chunk, layout.chunks, requirement.n_releases)


def sum_scale(candidate: Candidate, core: Traced) -> float:
    """Scale of the projected mean of all products, before the last rescale."""
    return core.scale * candidate.row_scale * candidate.layout.class_span


def error_bounds(
    requirement: LogisticRequirement, candidate: Candidate, indices: Iterable[int]
) -> Bounds:
    """The worst bounds over the polynomials of the given indices."""
    # Each step may fail in the sums, in a residual, in a margin or over the key, in either of two
    # neighbours; rows and the key once for all steps.
    beta = requirement.failure / (8 * requirement.n_releases)
    worst = (0.0,) * len(fields(Bounds))
    for index in indices:
        bounds = _bounds(requirement, candidate, trace_core(requirement, candidate, index), beta)
        worst = tuple(max(a, b) for a, b in zip(worst, astuple(bounds), strict=True))
    return Bounds(*worst)


def _bounds(
    requirement: LogisticRequirement, candidate: Candidate, traced: TracedCore, beta: float
) -> Bounds:
    ring, layout, public = candidate.ring, candidate.layout, not requirement.symmetric
    n, norm, outputs = ring.poly_modulus_degree, requirement.row_norm, layout.class_blocks
    labels = traced.tracer.fresh(
        label_level(candidate, traced.core), candidate.scale, 0.5, public=public, dither=True
    )
    arithmetic = candidate.arithmetic(traced.tracer)
    residual = residuals(arithmetic, traced.core, labels, traced.divisor)
    sums = sum_scale(candidate, traced.core) / layout.output_norm
    unit = sums / ring.primes[PRODUCT_LEVEL]
    merging, merging_whole = candidate.merging_error(sums, layout.class_span)
    noise_error = errors.fresh_error(ring, 0, public) * math.sqrt(requirement.n_owners) / unit

    def rms(n_chunks: int, residual_error: float, row_error: float, released: float) -> float:
        rows = n_chunks * layout.rows_per_chunk
        residuals_and_rows = norm * residual_error * math.sqrt(rows * outputs)
        residuals_and_rows += row_error * math.sqrt(rows * layout.groups)
        return math.sqrt(residuals_and_rows**2 + n * released**2)

    slot = math.sqrt(n) / candidate.row_scale
    encoded = errors.encoding_error(ring, dither=True) * slot
    row_level = PRODUCT_LEVEL if requirement.problem.class_weight else ring.top_level
    sent = encoded + errors.fresh_error(ring, row_level, public) * slot
    either = residual.rounding_error + residual.fixed_error
    quantile = -float(ndtri(beta / 2))
    all_slots = layout.chunks * layout.slots
    secret = -math.log(beta / n)
    single = math.sqrt(-2 * math.log(beta / all_slots) * secret)
    # The norm of a row's own error is a chi variable; only a public key brings the secret in.
    row_error = sent * (math.sqrt(layout.n_columns) + math.sqrt(-2 * math.log(beta / all_slots)))
    if public:
        row_error *= math.sqrt(secret)
    # alpha is proportional to S^(-1/degree), but what rounding adds to u is not.
    larger = (requirement.largest_contribution / traced.divisor) ** (1 / traced.degree)
    margin_error = traced.margin.fixed_error + traced.margin.rounding_error
    told = quantile * rms(layout.chunks, either, sent, merging_whole + noise_error)
    noise = requirement.noise_multiplier * requirement.relation_factor
    return Bounds(
        error=2 * quantile * rms(1, residual.rounding_error, encoded, merging),
        row_slack=single * math.sqrt(outputs) * either * norm + 2 * row_error / norm,
        margin_slack=single * margin_error * larger / abs(traced.factored.alpha),
        flooding=requirement.n_releases / 2 * (told / noise) ** 2,
    )
