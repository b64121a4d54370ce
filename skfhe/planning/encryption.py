"""Choosing ring, primes and packing: the cheapest that keep errors within their bounds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from ..approximation import PolynomialApproximation
from ..circuits.arithmetic import Arithmetic
from ..circuits.polynomial import FactoredPolynomial, evaluate
from ..crypto.parameters import MAX_MODULUS_BITS, SECURITY_TABLE, CKKSParameters, Ring
from ..crypto.tracing import TracingEvaluator
from ..exceptions import DepthExceeded, InfeasiblePlan
from ..packing import Layout
from ..plan import Encryption, Prediction
from . import cost
from .bounds import (
    PRODUCT_LEVEL,
    Bounds,
    Candidate,
    Requirement,
    error_bounds,
    label_level,
    sum_scale,
    trace_core,
    trace_step,
)

MAX_NOISE_UNITS = 2**44
_LEAST_UNITS = 2.0**22
_MIN_SCALE_BITS, _MAX_SCALE_BITS = 18, 44
_SCALES_TRIED = 4
_MIN_SPECIAL_BITS = 30
# One per cent less noise is worth so many per cent of a step's time.
_WORTH_OF_NOISE = 6
# Rows enter products linearly and carry the rounding of their encoding alone, so they need
# fewer bits than weights and labels; what they save goes to the scale of everything else.
_ROW_BITS_SAVED = 3


@dataclass(frozen=True)
class Choice:
    """Encryption parameters with the bounds that hold under them."""

    encryption: Encryption
    bounds: Bounds
    prediction: Prediction


def choose(requirement: Requirement, context: CKKSParameters | None) -> Choice:
    """The cheapest parameters that meet the requirement.

    Parameters
    ----------
    requirement : Requirement
        What encryption must serve.
    context : CKKSParameters or None
        A user's own parameters; only the packing is left to choose then.

    Raises
    ------
    InfeasiblePlan
        If none do; the message names needed, available and what to change.
    """
    closest: tuple[float, InfeasiblePlan] | None = None
    rings = _searched(requirement) if context is None else iter([_given(requirement, context)])
    for candidates in rings:
        for candidate, counts in _by_cost(requirement, candidates):
            bounds = error_bounds(requirement, candidate, range(len(requirement.polynomials)))
            try:
                _require_precise(requirement, bounds)
                return _chosen(requirement, candidate, bounds, counts)
            except InfeasiblePlan as reason:
                if closest is None or bounds.error < closest[0]:
                    closest = (bounds.error, reason)
    raise closest[1] if closest else DepthExceeded(_no_depth(requirement, context))


def _by_cost(
    requirement: Requirement, candidates: list[Candidate]
) -> list[tuple[Candidate, Counter[tuple[str, int]]]]:
    """Candidates with the operations of a step, those first that serve best.

    Errors enlarge the sensitivity and so the noise, which more time is worth to avoid.
    """
    counted = [(candidate, trace_step(requirement, candidate).counts) for candidate in candidates]

    def price(item: tuple[Candidate, Counter[tuple[str, int]]]) -> float:
        candidate, counts = item
        bounds = error_bounds(requirement, candidate, (0, -1))
        excess = bounds.row_slack + bounds.error / requirement.relation_factor
        milliseconds = cost.step_milliseconds(candidate.ring, candidate.layout, counts)
        return milliseconds * (1 + excess) ** _WORTH_OF_NOISE

    return sorted(counted, key=price)


def _require_precise(requirement: Requirement, bounds: Bounds) -> None:
    if not bounds.meet(requirement):
        raise InfeasiblePlan(
            f"encryption errors must stay within 2E = {requirement.max_error:g} of the "
            f"sensitivity, move margins by {requirement.max_margin_slack:.2g} at most and tell "
            f"{requirement.max_flooding:.2g} nats about the key, but these parameters give 2E = "
            f"{bounds.error / requirement.relation_factor:.2g}, {bounds.margin_slack:.2g} and "
            f"{bounds.flooding:.2g} nats; use a lower degree, a smaller weight_norm or a context "
            "with a larger scale."
        )


def _no_depth(requirement: Requirement, context: CKKSParameters | None) -> str:
    degree, rows = requirement.polynomials[0].degree, requirement.problem.n_samples
    depth = requirement.polynomials[0].depth + (2 if degree > 1 else 1)
    if context is None:
        largest = max(MAX_MODULUS_BITS)
        return (
            f"a step of degree {degree} on {rows} rows takes {depth} levels, and no 128-bit "
            f"parameters up to poly_modulus_degree={largest} ({MAX_MODULUS_BITS[largest]} bits) "
            "hold it with the precision needed; use a lower degree."
        )
    sizes = list(context.coeff_mod_bit_sizes)
    return (
        f"a step of degree {degree} on {rows} rows takes {depth} levels of "
        f"scale_bits={context.scale_bits}, but the given context has the data primes "
        f"{sizes[:-1]} ({sum(sizes[:-1])} bits); give it more or larger primes, a lower degree "
        "or scale, or leave context='auto'."
    )


def _layouts(requirement: Requirement, degree: int) -> Iterator[Layout]:
    """Every number of feature blocks that a ring dimension has room for."""
    problem, blocks = requirement.problem, 1
    while blocks == 1 or blocks < problem.n_columns:
        layout = Layout(
            degree,
            problem.n_samples,
            problem.n_columns,
            problem.n_outputs,
            blocks,
            requirement.n_owners,
        )
        if layout.rows_per_chunk >= 1 and layout.groups * blocks <= layout.class_span:
            yield layout
        blocks *= 2


def _searched(requirement: Requirement) -> Iterator[list[Candidate]]:
    """For each ring dimension, from the smallest, what fits and looks precise enough."""
    for degree in sorted(MAX_MODULUS_BITS):
        fitting = []
        for layout in _layouts(requirement, degree):
            for n_small in range(requirement.polynomials[0].depth + 2):
                best = _best_scale(requirement, layout, n_small)
                if best is not None and best[0].meet(requirement):
                    ring = _ring(degree, best[1].ring.prime_bits)
                    fitting.append(replace(best[1], ring=ring))
        yield fitting


def _best_scale(
    requirement: Requirement, layout: Layout, n_small: int
) -> tuple[Bounds, Candidate] | None:
    """The most precise of the largest scales that fit: a larger one shrinks the special prime."""
    best, tried = None, 0
    for scale_bits in range(_MAX_SCALE_BITS, _MIN_SCALE_BITS - 1, -1):
        bits = _bit_sizes(requirement, layout, n_small, scale_bits)
        if bits is None:
            continue
        ring = _ideal_ring(layout.poly_modulus_degree, bits)
        candidate = _fitting(requirement, ring, layout, scale_bits, scale_bits - _ROW_BITS_SAVED)
        if candidate is None:
            continue
        bounds = error_bounds(requirement, candidate, (0, -1))
        if best is None or bounds.error < best[0].error:
            best = (bounds, candidate)
        tried += 1
        if tried == _SCALES_TRIED:
            break
    return best


def _given(requirement: Requirement, context: CKKSParameters) -> list[Candidate]:
    """Every layout that a user's parameters have room for."""
    degree, bits = context.poly_modulus_degree, tuple(context.coeff_mod_bit_sizes)
    if degree not in MAX_MODULUS_BITS:
        raise InfeasiblePlan(
            f"poly_modulus_degree must be one of {sorted(MAX_MODULUS_BITS)}, got {degree}."
        )
    ring, scale = _ring(degree, bits), context.scale_bits
    found = (
        _fitting(requirement, ring, layout, scale, scale)
        for layout in _layouts(requirement, degree)
    )
    return [candidate for candidate in found if candidate is not None]


def _bit_sizes(
    requirement: Requirement, layout: Layout, n_small: int, scale_bits: int
) -> tuple[int, ...] | None:
    """Primes for `n_small` early rescales and one large pair for all later products.

    The first rescale removes the scale of rows and the factor 2m that projecting the margins
    puts on it. The products after the small primes are spent share the pair (q_0, q_1): q_1 is
    what the last rescale removes and q_0 holds the release. The special prime takes what is
    left. None if that is too little.
    """
    exponent = _last_exponent(requirement.polynomials[0].degree, n_small)
    if exponent is None:
        return None
    first = scale_bits - _ROW_BITS_SAVED + (2 * layout.feature_blocks).bit_length() - 1
    small = [scale_bits] * (n_small - 1) + [first] if n_small else []
    unspent = 0 if n_small else first * exponent
    product = exponent * scale_bits + unspent + scale_bits - _ROW_BITS_SAVED
    units = product + math.log2(layout.class_span / layout.output_norm)
    excess = math.sqrt(requirement.n_owners / (requirement.n_owners - requirement.n_colluding))
    spread = 16 * requirement.noise_multiplier * requirement.relation_factor * excess
    release = math.log2(2.3 * requirement.problem.n_samples + 1.6 * spread) + 1
    # Splitting the pair evenly keeps its digits, and so key-switching errors, small; q_1 must
    # leave the noise room to be encoded exactly and the release enough units to be precise.
    exact = math.ceil(units + math.log2(spread) - 3 - math.log2(MAX_NOISE_UNITS))
    precise = math.floor(units - math.log2(_LEAST_UNITS))
    last = min(max(math.ceil((units + release) / 2), exact, scale_bits), precise, 60)
    if last < max(exact, scale_bits):
        return None
    base = math.ceil(units - last + release)
    room = MAX_MODULUS_BITS[layout.poly_modulus_degree] - base - last - sum(small)
    if max(base, *small, 0) > 60 or base < 20 or room < _MIN_SPECIAL_BITS:
        return None
    return (base, last, *small, min(60, room))


@lru_cache(maxsize=64)
def _last_exponent(degree: int, n_small: int) -> int | None:
    """The scale of the polynomial's value as a power of that of its argument.

    After `n_small` rescales, of which the first is the margins'. Read off a trace with
    idealised primes; None if the pair of large primes would be needed before.
    """
    bits = 26
    ring = Ring(32768, (1 << 60, 1 << 60, *[1 << bits] * n_small, 1 << 60))
    tracer = TracingEvaluator(ring)
    arithmetic = Arithmetic(tracer, 2.0 ** (bits - 1))
    u = tracer.fresh(ring.top_level, 2.0 ** (2 * bits if n_small else bits), 1.0)
    factored = FactoredPolynomial.of(PolynomialApproximation.fit(degree, 8.0), 1.0)
    try:
        core = evaluate(arithmetic, factored, arithmetic.settle(u))
    except DepthExceeded:
        return None
    return round(math.log2(core.scale) / bits) if core.level == 1 else None


def _ring(degree: int, bits: tuple[int, ...]) -> Ring:
    """The ring with the primes that SEAL chooses."""
    from ..crypto.tenseal import coefficient_modulus

    return Ring(degree, coefficient_modulus(degree, bits))


def _ideal_ring(degree: int, bits: tuple[int, ...]) -> Ring:
    """A ring to compare candidates in: SEAL's primes lie just below the powers of two, and
    finding them for every candidate would take longer than all the rest."""
    return Ring(degree, tuple((1 << b) - 1 for b in bits))


def _fitting(
    requirement: Requirement, ring: Ring, layout: Layout, scale_bits: int, row_scale_bits: int
) -> Candidate | None:
    """A candidate, if one step fits its levels."""
    candidate = Candidate(ring, layout, scale_bits, row_scale_bits)
    try:
        core = trace_core(requirement, candidate, -1).core
        if core.level < PRODUCT_LEVEL or label_level(candidate, core) > ring.top_level:
            return None
        error_bounds(requirement, candidate, (-1,))
    except DepthExceeded:
        return None
    return candidate


def _chosen(
    requirement: Requirement,
    candidate: Candidate,
    bounds: Bounds,
    counts: Counter[tuple[str, int]],
) -> Choice:
    """The plan's encryption part, with noise for a sensitivity that includes all slack."""
    ring, layout = candidate.ring, candidate.layout
    core = trace_core(requirement, candidate, -1).core
    scale = sum_scale(candidate, core) / ring.primes[PRODUCT_LEVEL]
    sensitivity = requirement.relation_factor * (1 + bounds.row_slack) + bounds.error
    unit = scale / layout.output_norm
    # Discreteness takes a little off the spread (`skfhe.privacy.accounting.discreteness`).
    honest = requirement.n_owners - requirement.n_colluding
    exact = requirement.noise_multiplier * sensitivity * unit
    noise = math.ceil(math.sqrt(exact**2 + 32.0 * honest)) + 1
    if noise > MAX_NOISE_UNITS:
        raise InfeasiblePlan(
            f"the noise must be below 2^44 integer units to be encoded exactly, got "
            f"2^{math.log2(noise):.1f}; give the context a smaller scale or a larger second prime."
        )
    # Every row contributes at most one S; a dozen deviations hold the noise of all owners.
    excess = math.sqrt(requirement.n_owners / honest)
    needed = math.log2(2 * (1.1 * requirement.problem.n_samples * unit + 12 * noise * excess))
    if needed > ring.modulus_bits(0):
        raise DepthExceeded(
            f"a release needs a base prime of {math.ceil(needed)} bits, got "
            f"{ring.modulus_bits(0):.0f}; make the first of coeff_mod_bit_sizes larger."
        )
    encryption = Encryption(
        poly_modulus_degree=ring.poly_modulus_degree,
        primes=ring.primes,
        security=SECURITY_TABLE,
        feature_blocks=layout.feature_blocks,
        scale=candidate.scale,
        row_scale=candidate.row_scale,
        waterline=candidate.waterline,
        label_level=label_level(candidate, core),
        product_level=PRODUCT_LEVEL,
        output_scale=scale,
        noise_units=noise,
        symmetric=requirement.symmetric,
    )
    weighted = bool(requirement.problem.class_weight)
    prediction = cost.predict(ring, layout, counts, PRODUCT_LEVEL, requirement.symmetric, weighted)
    return Choice(encryption, bounds, prediction)
