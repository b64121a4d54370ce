r"""Choosing ring, primes and packing, and bounding what CKKS errors can do.

**Errors.** Condition on all keys and all encryption randomness. Between neighbours, a release
then differs by (a) one row's contribution, as the circuit really computes it, and (b) roundings
that fall out anew because some ciphertext differs. For (a), the row's own errors enlarge its
norm by the relative `row_slack`. For (b), let E bound the L2 norm, over all coefficients, of the
part of the error that roundings cause, for any data set; two data sets then differ by at most
2E. The tracer (`skfhe.crypto.tracing`) follows the standard deviation of both kinds per slot.
With delta_e that of the residuals (in units of S), n' the rows with padding, rho_x that of
encoding the rows, kappa that of a key switch and r that of the last rescale, per coefficient,

    E_rms^2 = n' K X^2 delta_e^2            residuals times rows: sum_i ||x_i||^2 delta_e^2
            + n' G rho_x^2                  rows' roundings times residuals of norm at most 1
            + N (2 kappa' + r')^2           tail, on every coefficient, in units of the sums,

the tail taking 2 kappa because the scale doubles at every merge: 1 + 1/2 + 1/4 + ... < 2. The
error vector being a sum of many independent roundings, its norm has a Gaussian's tail,
P(norm > rms (1 + t)) <= exp(-t^2/2), whatever its covariance (the norm of a Gaussian vector is
Lipschitz with constant at most its rms), which gives E for the failure probability allowed.

A slot's error is that of its coefficients times roots, plus r_1(zeta_j) s(zeta_j) for a rounding
r_1 and the secret s; sums over slots see the mean of |s(zeta_j)|^2, which is ||s||^2; a single
slot can see ln(N/beta) times as much, with probability beta over the key.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache

from ..approximation import PolynomialApproximation
from ..circuits.arithmetic import Arithmetic
from ..circuits.logistic import EncryptedChunk, gradient, margins, residuals
from ..circuits.polynomial import FactoredPolynomial, evaluate
from ..crypto import errors
from ..crypto.parameters import MAX_MODULUS_BITS, SECURITY_TABLE, CKKSParameters, Ring
from ..crypto.tracing import Traced, TracingEvaluator
from ..exceptions import DepthExceeded, InfeasiblePlan
from ..packing import Layout
from ..plan import Encryption, Prediction, Problem
from . import cost

MAX_NOISE_UNITS = 2**44
PRODUCT_LEVEL = 1
_LEAST_UNITS = 2.0**22
_LABEL_ROOM = 2.0**20
_SCALES_TRIED = 4
_MAX_SCALE_BITS = 32
_MIN_SCALE_BITS = 18
_MIN_SPECIAL_BITS = 30


@dataclass(frozen=True)
class Requirement:
    """What encryption must serve; all of it public.

    Attributes
    ----------
    problem : Problem
        The shape of the data.
    polynomials : sequence of PolynomialApproximation
        The declared approximations.
    contributions : sequence of float
        The least S that each approximation is used with.
    row_norm : float
        X.
    noise_multiplier : float
        Of the noise, before encryption errors enlarge the sensitivity.
    relation_factor : float
        1 or 2: sensitivity in units of S.
    n_releases : int
        Steps.
    failure : float
        Probability that any error of the run may exceed its bound.
    max_error : float
        Largest 2E allowed, in units of the sensitivity.
    max_flooding : float
        Largest number of nats that releases may tell about decryption errors.
    n_owners : int
        Owners; a single one holds the key and encrypts symmetrically.
    """

    problem: Problem
    polynomials: Sequence[PolynomialApproximation]
    contributions: Sequence[float]
    row_norm: float
    noise_multiplier: float
    relation_factor: float
    n_releases: int
    failure: float
    max_error: float
    max_flooding: float
    n_owners: int

    @property
    def symmetric(self) -> bool:
        """Whether rows are encrypted under the secret key."""
        return self.n_owners == 1


@dataclass(frozen=True)
class Choice:
    """Encryption parameters with the bounds that hold under them."""

    encryption: Encryption
    error: float
    row_slack: float
    margin_slack: float
    flooding: float
    prediction: Prediction


@dataclass(frozen=True)
class _Candidate:
    """A ring, a layout and a scale, and the plan's fixed points of the circuit for them."""

    ring: Ring
    layout: Layout
    scale_bits: int
    label_level: int


@dataclass(frozen=True)
class _Bounds:
    """What errors can do at given polynomials, in units of S (see the module's docstring)."""

    error: float
    row_slack: float
    margin_slack: float
    flooding: float

    def within(self, requirement: Requirement) -> bool:
        return (
            self.error <= requirement.max_error * requirement.relation_factor
            and self.flooding <= requirement.max_flooding
        )


def choose(requirement: Requirement, context: CKKSParameters | None) -> Choice:
    """The cheapest parameters that meet the requirement.

    Raises
    ------
    InfeasiblePlan
        If none do; the message names needed, available and what to change.
    """
    candidates = _searched(requirement) if context is None else _given(requirement, context)
    if not candidates:
        raise DepthExceeded(_no_depth(requirement, context))
    priced = []
    for candidate in candidates:
        counts = _trace_step(requirement, candidate).counts
        milliseconds = cost.step_milliseconds(candidate.ring, candidate.layout, counts)
        priced.append((milliseconds, candidate, counts))
    priced.sort(key=lambda item: item[0])
    for _, candidate, counts in priced:
        bounds = _bounds(requirement, candidate, range(len(requirement.polynomials)))
        if bounds.within(requirement):
            return _chosen(requirement, candidate, bounds, counts)
    raise InfeasiblePlan(
        f"encryption errors must stay within 2E = {requirement.max_error:g} of the sensitivity "
        f"and {requirement.max_flooding:.2g} nats about the key, but the best parameters give "
        f"2E = {bounds.error / requirement.relation_factor:.2g} and {bounds.flooding:.2g} nats; "
        "use a lower degree, a smaller weight_norm or a context with a larger scale."
    )


def _no_depth(requirement: Requirement, context: CKKSParameters | None) -> str:
    degree, rows = requirement.polynomials[0].degree, requirement.problem.n_samples
    depth = requirement.polynomials[0].depth + 2
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


def _searched(requirement: Requirement) -> list[_Candidate]:
    """Everything that fits the smallest ring in which anything meets the requirement."""
    fitting: list[_Candidate] = []
    for degree in sorted(MAX_MODULUS_BITS):
        good = False
        for layout in _layouts(requirement, degree):
            for n_small in range(requirement.polynomials[0].depth + 2):
                best = _best_scale(requirement, layout, n_small)
                if best is not None:
                    good = good or best[0].within(requirement)
                    fitting.append(best[1])
        if good:
            return fitting
    return fitting


def _best_scale(
    requirement: Requirement,
    layout: Layout,
    n_small: int,
) -> tuple[_Bounds, _Candidate] | None:
    """The most precise of the largest scales that fit: a larger one shrinks the special prime."""
    best, tried = None, 0
    for scale_bits in range(_MAX_SCALE_BITS, _MIN_SCALE_BITS - 1, -1):
        bits = _bit_sizes(requirement, layout, n_small, scale_bits)
        if bits is None:
            continue
        degree = layout.poly_modulus_degree
        candidate = _candidate(requirement, degree, bits, layout, scale_bits)
        if candidate is None:
            continue
        bounds = _bounds(requirement, candidate, (0, -1))
        if best is None or bounds.error < best[0].error:
            best = (bounds, candidate)
        tried += 1
        if tried == _SCALES_TRIED:
            break
    return best


def _given(requirement: Requirement, context: CKKSParameters) -> list[_Candidate]:
    """Every layout that a user's parameters have room for."""
    degree, bits = context.poly_modulus_degree, tuple(context.coeff_mod_bit_sizes)
    if degree not in MAX_MODULUS_BITS:
        raise InfeasiblePlan(
            f"poly_modulus_degree must be one of {sorted(MAX_MODULUS_BITS)}, got {degree}."
        )
    found = (
        _candidate(requirement, degree, bits, layout, context.scale_bits)
        for layout in _layouts(requirement, degree)
    )
    return [candidate for candidate in found if candidate is not None]


def _bit_sizes(
    requirement: Requirement, layout: Layout, n_small: int, scale_bits: int
) -> tuple[int, ...] | None:
    """Primes for `n_small` early rescales and one large pair for all later products.

    The first rescale also removes the factor 2m that projecting the margins puts on the scale.
    The products after the small primes are spent share the pair (q_0, q_1): q_1 is what the
    last rescale removes and q_0 holds the release. The special prime takes what is left. None if that is too little.
    """
    exponent = _final_exponent(requirement.polynomials[0].degree, n_small)
    if exponent is None:
        return None
    projected = (2 * layout.feature_blocks).bit_length() - 1
    product = exponent * scale_bits + (0 if n_small else projected * (exponent - 1))
    units = product + math.log2(layout.class_span / layout.output_norm)
    spread = 16 * requirement.noise_multiplier * requirement.relation_factor
    release = math.log2(requirement.problem.n_samples + spread) + 2.5
    # Splitting the pair evenly keeps its digits, and so key-switching errors, small; q_1 must
    # leave the noise room to be encoded exactly and the release enough units to be precise.
    exact = math.ceil(units + math.log2(spread) - 3 - math.log2(MAX_NOISE_UNITS))
    precise = math.floor(units - math.log2(_LEAST_UNITS))
    last = min(max(math.ceil((units + release) / 2), exact, scale_bits), precise, 60)
    if last < max(exact, scale_bits):
        return None
    base = math.ceil(units - last + release)
    small = [scale_bits] * n_small
    if n_small:
        small[-1] += projected
    room = MAX_MODULUS_BITS[layout.poly_modulus_degree] - base - last - sum(small)
    if max(base, *small, 0) > 60 or base < 20 or room < _MIN_SPECIAL_BITS:
        return None
    return (base, last, *small, min(60, room))


@lru_cache(maxsize=64)
def _final_exponent(degree: int, n_small: int) -> int | None:
    """The scale of the last product as a power of the fresh one, after `n_small` rescales.

    Read off a trace with idealised primes; None if the pair of large primes would be needed
    before.
    """
    bits = 26
    ring = Ring(32768, (1 << 60, 1 << 60, *[1 << bits] * n_small, 1 << 60))
    tracer = TracingEvaluator(ring)
    arithmetic = Arithmetic(tracer, waterline(bits))
    u = tracer.fresh(ring.top_level, 2.0 ** (2 * bits), 1.0, False)
    factored = FactoredPolynomial.of(PolynomialApproximation.fit(degree, 8.0), 1.0)
    try:
        core = evaluate(arithmetic, factored, arithmetic.settle(u))
    except DepthExceeded:
        return None
    if core.level != 1:
        return None
    return round(math.log2(core.scale) / bits) + 1


def _candidate(
    requirement: Requirement,
    degree: int,
    bits: tuple[int, ...],
    layout: Layout,
    scale_bits: int,
) -> _Candidate | None:
    """A candidate with its label level, if one step fits."""
    from ..crypto.tenseal import coefficient_modulus

    try:
        ring = Ring(degree, coefficient_modulus(degree, bits))
        core = _trace_core(requirement, ring, layout, scale_bits, -1)[2]
        level = core.level + (core.scale < _LABEL_ROOM * 2.0**scale_bits)
        candidate = _Candidate(ring, layout, scale_bits, level)
        if level > ring.top_level or core.level < 1:
            return None
        _bounds(requirement, candidate, (-1,))
    except InfeasiblePlan:
        return None
    return candidate


def waterline(scale_bits: int) -> float:
    """The smallest scale to rescale to: primes lie just below a power of two."""
    return 2.0 ** (scale_bits - 1)


def _trace_core(
    requirement: Requirement,
    ring: Ring,
    layout: Layout,
    scale_bits: int,
    index: int,
) -> tuple[TracingEvaluator, Traced, Traced]:
    """Margins and core of one chunk, at the least S, where relative errors are largest.

    |X_g| and |W_g| in a slot enter as shares whose squares add up to m X^2 and m (alpha W)^2
    (Cauchy-Schwarz over a ciphertext's m powers of X).
    """
    tracer = TracingEvaluator(ring)
    arithmetic = Arithmetic(tracer, waterline(scale_bits))
    factored = FactoredPolynomial.of(
        requirement.polynomials[index], requirement.contributions[index]
    )
    share = math.sqrt(layout.feature_blocks / layout.groups)
    scale, level = 2.0**scale_bits, ring.top_level
    row = tracer.fresh(level, scale, requirement.row_norm * share, not requirement.symmetric)
    weight = tracer.fresh(level, scale, factored.reach / requirement.row_norm * share, False)
    u = margins(arithmetic, layout, [row] * layout.groups, [weight] * layout.groups)
    return tracer, u, evaluate(arithmetic, factored, u)


def _trace_step(requirement: Requirement, candidate: _Candidate) -> TracingEvaluator:
    """Count one whole step: all chunks and the merge."""
    ring, layout = candidate.ring, candidate.layout
    tracer = TracingEvaluator(ring, follow_errors=False)
    arithmetic = Arithmetic(tracer, waterline(candidate.scale_bits))
    divisor = requirement.contributions[-1]
    factored = FactoredPolynomial.of(requirement.polynomials[-1], divisor)
    scale = 2.0**candidate.scale_bits

    def fresh(level: int) -> Traced:
        return tracer.fresh(level, scale, 2.0**-20, False)

    chunk = EncryptedChunk(
        [fresh(ring.top_level)] * layout.groups,
        [fresh(PRODUCT_LEVEL)] * layout.groups,
        fresh(candidate.label_level),
    )
    weights = [fresh(ring.top_level)] * layout.groups
    gradient(arithmetic, layout, factored, divisor, [chunk] * layout.chunks, weights)
    return tracer


def _bounds(
    requirement: Requirement,
    candidate: _Candidate,
    indices: Iterable[int],
) -> _Bounds:
    """The worst bounds over the polynomials of the given indices (formulas in the module's docstring)."""
    ring, layout = candidate.ring, candidate.layout
    problem, norm = requirement.problem, requirement.row_norm
    scale = 2.0**candidate.scale_bits
    n, outputs = ring.poly_modulus_degree, problem.n_outputs
    slot = math.sqrt(n)
    # Two steps' worth of failure per step (two neighbours), over vectors and single slots.
    tail = math.log(4 * requirement.n_releases / requirement.failure)
    whole = 1 + math.sqrt(2 * tail)
    all_slots = layout.chunks * layout.slots
    single = math.sqrt((math.log(n) + tail) * 2 * (math.log(2 * all_slots) + tail))
    padded = layout.chunks * layout.rows_per_chunk
    fresh = errors.symmetric_error(ring) if requirement.symmetric else errors.public_error(
        ring, ring.top_level
    )
    encoded = errors.encoding_error(ring)
    worst = _Bounds(0.0, 0.0, 0.0, 0.0)
    for index in indices:
        tracer, u, core = _trace_core(requirement, ring, layout, candidate.scale_bits, index)
        divisor = requirement.contributions[index]
        labels = tracer.fresh(candidate.label_level, scale, 0.5, not requirement.symmetric)
        arithmetic = Arithmetic(tracer, waterline(candidate.scale_bits))
        e = residuals(arithmetic, core, labels, divisor)
        alpha = FactoredPolynomial.of(requirement.polynomials[index], divisor).alpha
        sums = _sum_scale(candidate, e.scale)
        per_unit = layout.output_norm / (sums * layout.class_span)
        tail_error = 2 * errors.key_switch_error(ring, PRODUCT_LEVEL) * layout.output_norm / sums
        tail_error += (
            sum(
                math.prod(map(float, ring.primes[1 : level + 1]))
                for level in range(1, PRODUCT_LEVEL + 1)
            )
            * errors.rescale_error(ring)
            * per_unit
        )

        def rms(residual: float, row: float, tail_error: float = tail_error) -> float:
            return math.sqrt(
                padded * outputs * (norm * residual) ** 2
                + padded * layout.groups * (row * slot / scale) ** 2
                + n * tail_error**2
            )

        changing = rms(e.rounding_error, encoded)
        everything = rms(e.rounding_error + e.fixed_error, encoded + fresh)
        noise = requirement.noise_multiplier * requirement.relation_factor
        row_error = math.sqrt(problem.n_columns) * (fresh + encoded) * slot / scale
        bounds = _Bounds(
            error=2 * whole * changing,
            row_slack=single
            * (math.sqrt(outputs) * (e.fixed_error + e.rounding_error) * norm + row_error / norm),
            margin_slack=single * (u.fixed_error + u.rounding_error) / abs(alpha),
            flooding=requirement.n_releases / 2 * (whole * everything / noise) ** 2,
        )
        worst = _Bounds(
            *(max(a, b) for a, b in zip(astuple(worst), astuple(bounds), strict=True))
        )
    return worst


def _sum_scale(candidate: _Candidate, residual_scale: float) -> float:
    """Scale of the products that are summed."""
    return residual_scale * 2.0**candidate.scale_bits


def _chosen(
    requirement: Requirement,
    candidate: _Candidate,
    bounds: _Bounds,
    counts: Counter[tuple[str, int]],
) -> Choice:
    """The plan's encryption part, its noise for a sensitivity that includes all slack."""
    ring, layout, scale_bits = candidate.ring, candidate.layout, candidate.scale_bits
    core = _trace_core(requirement, ring, layout, scale_bits, -1)[2]
    scale = _sum_scale(candidate, core.scale) * layout.class_span
    for prime in reversed(ring.primes[1 : PRODUCT_LEVEL + 1]):
        scale /= prime
    sensitivity = requirement.relation_factor * (1 + bounds.row_slack) + bounds.error
    units = math.ceil(requirement.noise_multiplier * sensitivity * scale / layout.output_norm)
    if units > MAX_NOISE_UNITS:
        raise InfeasiblePlan(
            f"the noise must be below 2^44 integer units to be encoded exactly, got "
            f"2^{math.log2(units):.1f}; give the context a smaller scale or a larger second prime."
        )
    needed = math.log2(
        2 * (problem_reach(requirement) * scale / layout.output_norm + 12 * units)
    )
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
        scale=2.0**scale_bits,
        waterline=waterline(scale_bits),
        label_level=candidate.label_level,
        product_level=PRODUCT_LEVEL,
        output_scale=scale,
        noise_units=units,
        symmetric=requirement.symmetric,
    )
    prediction = cost.predict(ring, layout, counts, PRODUCT_LEVEL, requirement.symmetric)
    return Choice(
        encryption, bounds.error, bounds.row_slack, bounds.margin_slack, bounds.flooding,
        prediction,
    )


def problem_reach(requirement: Requirement) -> float:
    """Largest norm of a gradient sum in units of S: one for every row, and the errors."""
    return 1.1 * requirement.problem.n_samples
