r"""What CKKS errors can do to a release of a network's gradient.

As for the linear model (`skfhe.planning.logistic_bounds`, whose terms and tail bounds are used
here): between neighbours a release differs by one row's contribution as the circuit computes it,
and by roundings that fall out anew. With the errors of delta, of the products e A and of the bias
terms traced through the whole chunk, sigma_d, sigma_p, sigma_b in a slot and units of S, n' rows
of a chunk, H units and K outputs, padding included, the roundings' root mean square is at most

    X sqrt(n' H) sigma_d + sqrt(n' G) rho_x + sqrt(n' H K) sigma_p + sqrt(n' C K) sigma_b

by Minkowski, in quadrature with what is made after the sums. A row's own contribution errs by

    X sqrt(H) sigma_d + sqrt(H K) sigma_p + sqrt(C K) sigma_b + 2 ||r|| / X,

times what a single slot can exceed a deviation by. But for r this counts f + 4 times, f being the
relation's factor: a mask leaves an error in proportion to what it removes, and window sums that
straddle two rows are removed beside every row (`skfhe.circuits.network.STRADDLING` bounds them),
so a row's change reaches the rows before and after it as well, whose contributions are there on
both sides (docs/proofs/network.md, statement 4b).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import astuple, dataclass, fields, replace

import numpy as np
from scipy.special import ndtri

from ..approximation import ActivationPolynomial
from ..circuits.activation import activate
from ..circuits.arithmetic import Arithmetic
from ..circuits.logistic import margins, residuals
from ..circuits.network import (
    MOST_BACKWARD,
    STRADDLING,
    NetworkChunk,
    NetworkFactors,
    NetworkSums,
    NetworkWeights,
    hidden_errors,
    output_margin,
    spread,
)
from ..circuits.paired import RowProducts
from ..circuits.polynomial import Factors, evaluate, multiply_out
from ..crypto import errors
from ..crypto.tracing import Traced, TracingEvaluator
from ..exceptions import DepthExceeded
from ..packing import NetworkLayout
from .requirement import PRODUCT_LEVEL, Bounds, Candidate, Requirement, counted_step


@dataclass(frozen=True)
class NetworkRequirement(Requirement):
    """What encryption must serve in training a network.

    Attributes
    ----------
    activation : ActivationPolynomial
        The hidden units' activation.
    least_contribution, largest_contribution : float
        Ends of the table of S.
    hidden_norm, output_norm : float
        Largest norm of a hidden unit's weights, and of an output's, its prior included.
    """

    activation: ActivationPolynomial
    least_contribution: float
    largest_contribution: float
    hidden_norm: float
    output_norm: float


@dataclass(frozen=True)
class TracedChunk:
    """One chunk's way through the circuit, and what is summed over chunks."""

    factors: NetworkFactors
    margin: Traced
    output: Traced
    value: Traced
    error: Traced
    delta: Traced
    product: Traced
    present: Traced


def trace_chunk(
    requirement: NetworkRequirement,
    candidate: Candidate,
    polynomial: int,
    divisor: float,
) -> TracedChunk:
    """Follow one chunk, for entries of the tables and an S.

    Rows and hidden weights enter as for the linear model; every weight of an output is taken to
    be as large as all of them together may be.
    """
    tracer = TracingEvaluator(candidate.ring)
    arithmetic = candidate.arithmetic(tracer)
    layout = candidate.layout
    factors, chunk, weights = _operands(requirement, candidate, tracer, polynomial, divisor)
    margin = margins(arithmetic, layout.rows, chunk.rows, weights.hidden[0])
    value, slope = activate(arithmetic, factors.activation, margin)
    output = output_margin(
        arithmetic,
        layout,
        weights.output[0],
        weights.bias[0],
        [value] * layout.unit_groups,
        chunk.presence,
    )
    core = _masked_core(arithmetic, layout, factors, output)
    alone = tracer.claim(residuals(arithmetic, core, chunk.labels[0], 1.0), factors.error_bound)
    error = spread(arithmetic, layout, factors, alone)
    # A unit's weights for all outputs have one norm together, and so have residuals: one path with
    # both norms has their errors in quadrature, and those of the slope, which all share, whole.
    together = tracer.claim(error, factors.error_bound * math.sqrt(layout.n_outputs))
    one = replace(weights, backward=weights.backward[:1])
    (delta, *_) = hidden_errors(arithmetic, one, [slope], [together])
    scale = delta.scale * candidate.row_scale
    if delta.level < PRODUCT_LEVEL:
        raise DepthExceeded("the polynomials leave no level for the last product.")
    low = arithmetic.land(value, PRODUCT_LEVEL, scale / error.scale, 1 / divisor)
    product = tracer.dot([tracer.switch_to(error, PRODUCT_LEVEL)], [low])
    present = arithmetic.land(alone, PRODUCT_LEVEL, scale, factors.bias_column / divisor)
    return TracedChunk(factors, margin, output, value, error, delta, product, present)


def _masked_core(
    arithmetic: Arithmetic, layout: NetworkLayout, factors: NetworkFactors, output: Traced
) -> Traced:
    """p - 1/2 in unit 0; its error is that of the worse of unit 0 and what was masked.

    Where the window straddles two rows the masked factor is an error alone, but meets the values
    that the other factors have there.
    """
    residual = factors.residual
    core = evaluate(arithmetic, residual, output, layout.block, STRADDLING)
    if layout.block == 1:
        return core
    wide = arithmetic.backend.claim(output, STRADDLING * residual.reach)
    nothing = replace(arithmetic.masked(wide, layout.block), message=np.zeros(()))
    square = arithmetic.square(wide) if residual.factors != Factors(None, ()) else None
    beside = multiply_out(arithmetic, residual.factors, square, (1, nothing))
    return arithmetic.backend.worse(core, beside)


def _operands(
    requirement: NetworkRequirement,
    candidate: Candidate,
    tracer: TracingEvaluator,
    polynomial: int,
    divisor: float,
) -> tuple[NetworkFactors, NetworkChunk, NetworkWeights]:
    """Polynomials, a chunk and weights, as large as they can be."""
    problem, layout = requirement.problem, candidate.layout
    b, top, public = problem.intercept_column, candidate.ring.top_level, not requirement.symmetric
    rows, groups = layout.rows, layout.unit_groups
    factors = NetworkFactors.of(
        requirement.activation, requirement.polynomials[polynomial], divisor, b
    )
    share = math.sqrt(rows.feature_blocks / rows.groups)

    def weight(bound: float) -> Traced:
        return tracer.fresh(top, candidate.scale, abs(bound))

    def data(bound: float, scale: float) -> Traced:
        return tracer.fresh(top, scale, bound, public=public, dither=True)

    alpha, largest = factors.residual.alpha, requirement.output_norm
    hidden = weight(factors.activation.alpha * requirement.hidden_norm * share)
    output, bias = weight(alpha * largest), weight(alpha * largest)
    back = weight(factors.activation.slope * MOST_BACKWARD / requirement.activation.max_slope)
    row = data(requirement.row_norm * share, candidate.row_scale)
    label = data(0.5, candidate.scale)
    k = layout.n_outputs
    return (
        factors,
        NetworkChunk(
            [row] * rows.groups,
            [tracer.switch_to(row, PRODUCT_LEVEL)] * rows.groups,
            [label] * k,
            data(b, candidate.scale),
        ),
        NetworkWeights(
            [[hidden] * rows.groups] * groups,
            [[output] * groups] * k,
            [bias] * k,
            [[back] * groups] * k,
        ),
    )


def count_step(requirement: NetworkRequirement, candidate: Candidate) -> Counter[tuple[str, int]]:
    """Operations of one whole step."""
    tracer = TracingEvaluator(candidate.ring, follow_errors=False)
    arithmetic = candidate.arithmetic(tracer)
    factors, chunk, weights = _operands(
        requirement, candidate, tracer, -1, requirement.largest_contribution
    )
    # Room for the release is seen to elsewhere, with the noise.
    factors = replace(factors, error_bound=2.0**-20)

    def sums(own: RowProducts | None) -> NetworkSums:
        return NetworkSums(arithmetic, candidate.layout, factors, weights, own)

    chunks = candidate.layout.rows.chunks
    return counted_step(tracer, sums, chunk, chunks, requirement.n_releases)


def sum_scale(candidate: Candidate, traced: TracedChunk) -> float:
    """Scale of the merged means, before the last rescale."""
    return traced.delta.scale * candidate.row_scale * candidate.layout.rows.class_span


def error_bounds(requirement: NetworkRequirement, candidate: Candidate, whole: bool) -> Bounds:
    """The worst bounds over the tables' ends, or over all their entries; S at either end."""
    # Each step may fail in sums, in what a row contributes, in margins of either layer, or over
    # the key, in either of two neighbours; rows and the key once for all steps.
    beta = requirement.failure / (16 * requirement.n_releases)
    polynomials = len(requirement.polynomials)
    worst = (0.0,) * len(fields(Bounds))
    for index in range(polynomials) if whole else {0, polynomials - 1}:
        for divisor in (requirement.least_contribution, requirement.largest_contribution):
            traced = trace_chunk(requirement, candidate, index, divisor)
            bounds = astuple(_bounds(requirement, candidate, traced, beta))
            worst = tuple(max(a, b) for a, b in zip(worst, bounds, strict=True))
    return Bounds(*worst)


def _bounds(
    requirement: NetworkRequirement, candidate: Candidate, traced: TracedChunk, beta: float
) -> Bounds:
    ring, layout, public = candidate.ring, candidate.layout, not requirement.symmetric
    rows, n, norm = layout.rows, ring.poly_modulus_degree, requirement.row_norm
    units, outputs = layout.unit_groups * layout.block, layout.n_outputs
    sums = sum_scale(candidate, traced) / rows.output_norm
    unit = sums / ring.primes[PRODUCT_LEVEL]
    merging, merging_whole = candidate.merging_error(sums, rows.class_span)
    noise_error = errors.fresh_error(ring, 0, public) * math.sqrt(requirement.n_owners) / unit

    def contribution(delta: float, product: float, present: float) -> float:
        """L2 error of a row's contribution, for errors in the slots."""
        output = math.sqrt(units) * product + math.sqrt(layout.block) * present
        output *= math.sqrt(outputs)
        return norm * math.sqrt(units) * delta + output

    def rms(n_chunks: int, row: float, row_error: float, released: float) -> float:
        count = n_chunks * rows.rows_per_chunk
        summed = math.sqrt(count) * (row + math.sqrt(rows.groups) * row_error)
        return math.hypot(summed, math.sqrt(n) * released)

    found = traced.delta, traced.product, traced.present
    rounding = contribution(*(one.rounding_error for one in found))
    either = contribution(*(one.rounding_error + one.fixed_error for one in found))
    slot = math.sqrt(n) / candidate.row_scale
    encoded = errors.encoding_error(ring, dither=True) * slot
    sent = encoded + errors.fresh_error(ring, ring.top_level, public) * slot
    quantile = -float(ndtri(beta / 2))
    # Of margins, errors and products per group of units and output: more than there are.
    n_kinds = (layout.unit_groups + 1) * (outputs + 2)
    all_slots = n_kinds * rows.chunks * rows.slots
    secret = -math.log(beta / n)
    single = math.sqrt(-2 * math.log(beta / all_slots) * secret)
    row_error = sent * (math.sqrt(rows.n_columns) + math.sqrt(-2 * math.log(beta / all_slots)))
    if public:
        row_error *= math.sqrt(secret)
    told = quantile * rms(rows.chunks, either, sent, merging_whole + noise_error)
    factor = requirement.relation_factor
    noise = requirement.noise_multiplier * factor
    margin, output = (
        one.fixed_error + one.rounding_error for one in (traced.margin, traced.output)
    )
    return Bounds(
        error=2 * quantile * rms(1, rounding, encoded, merging),
        row_slack=(1 + 4 / factor) * single * either + 2 * row_error / norm,
        margin_slack=single * output / abs(traced.factors.residual.alpha),
        flooding=requirement.n_releases / 2 * (told / noise) ** 2,
        hidden_slack=single * margin / abs(traced.factors.activation.alpha),
    )
