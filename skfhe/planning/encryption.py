"""Choosing ring, primes and packing: the cheapest that keep errors within their bounds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from ..crypto.parameters import MAX_MODULUS_BITS, SECURITY_TABLE, CKKSParameters, Ring
from ..exceptions import DepthExceeded, InfeasiblePlan
from ..plan import Encryption, Prediction
from . import cost
from .preparation import MAX_FLOODING, whole_units
from .requirement import PRODUCT_LEVEL, Bounds, Candidate, Requirement, Sizing

MAX_NOISE_UNITS = 2**44
LARGEST_PRIME_BITS = 60
_LEAST_UNITS = 2.0**22
_MIN_SCALE_BITS = 18
_SCALES_TRIED = 4
# From so many ciphertexts of rows on it is worth while to look at a larger ring too.
_MANY_CIPHERTEXTS = 500
# Rows are sent with no more bits than keep the sensitivity's excess below this, and what is told
# about the key so far below its limit: primes differ a little from powers of two.
_NEGLIGIBLE_EXCESS = 1e-3
_FLOODING_KEPT = 0.5
# Merging at the base level saves some per cent of a step's time, and may cost so much noise.
_MERGING_EXCESS = 0.005
# One per cent less noise is worth so many per cent of a step's time.
_WORTH_OF_NOISE = 6
# Rows enter products linearly and carry the rounding of their encoding alone, so they need
# fewer bits than weights and labels; what they save goes to the scale of everything else.
ROW_BITS_SAVED = 3


@dataclass(frozen=True)
class Choice:
    """Encryption parameters, the bounds that hold under them, and what they cost.

    Attributes
    ----------
    encryption, prediction
        Parts of the plan.
    bounds : Bounds
        What errors can do.
    price : float
        Milliseconds of a step, and what noise is worth.
    row_ciphertexts : int
        How many hold all rows.
    """

    encryption: Encryption
    bounds: Bounds
    prediction: Prediction
    price: float
    row_ciphertexts: int


def choose(sizing: Sizing, context: CKKSParameters | None) -> Choice:
    """The cheapest parameters that meet the requirement.

    Parameters
    ----------
    sizing : Sizing
        The circuit, with what encryption must serve.
    context : CKKSParameters or None
        A user's own parameters; only the packing is left to choose then.

    Raises
    ------
    InfeasiblePlan
        If none do; the message names needed, available and what to change.
    """
    rings = _searched(sizing) if context is None else iter([_given(sizing, context)])
    failures: list[tuple[float, InfeasiblePlan]] = []
    found = [*islice(_choices(sizing, rings, failures), 1)]
    if found and found[0].row_ciphertexts > _MANY_CIPHERTEXTS:
        # In the next ring half as many ciphertexts may hold more rows than they cost.
        found += [*islice(_choices(sizing, rings, failures), 1)]
    if not found:
        closest = min(failures, key=lambda failure: failure[0], default=None)
        raise closest[1] if closest else DepthExceeded(_no_depth(sizing, context))
    return min(found, key=lambda choice: choice.price)


def _choices(
    sizing: Sizing,
    rings: Iterator[list[Candidate]],
    failures: list[tuple[float, InfeasiblePlan]],
) -> Iterator[Choice]:
    """The best of every ring that has one; what keeps others out is noted with their error."""
    for candidates in rings:
        for price, candidate, counts in _by_cost(sizing, candidates):
            bounds = sizing.bounds(candidate, whole=True)
            try:
                _require_precise(sizing.requirement, bounds)
                yield _chosen(sizing, candidate, bounds, counts, price)
                break
            except InfeasiblePlan as reason:
                failures.append((bounds.error, reason))


def _by_cost(
    sizing: Sizing, candidates: list[Candidate]
) -> list[tuple[float, Candidate, Counter[tuple[str, int]]]]:
    """Candidates with their price and the operations of a step, those first that serve best.

    Errors enlarge the sensitivity and so the noise, which more time is worth to avoid. Candidates
    whose sums have a scale that the levels do not hold are left out.
    """

    def priced(candidate: Candidate) -> tuple[float, Candidate, Counter[tuple[str, int]]] | None:
        try:
            counts, traffic = sizing.counts(candidate), sizing.circuit(candidate).traffic
        except DepthExceeded:
            return None
        excess = sizing.bounds(candidate, whole=False).excess(sizing.requirement)
        milliseconds = cost.step_milliseconds(candidate.ring, traffic, counts)
        return milliseconds * (1 + excess) ** _WORTH_OF_NOISE, candidate, counts

    found = [item for item in map(priced, candidates) if item is not None]
    return sorted(found, key=lambda item: item[0])


def _require_precise(requirement: Requirement, bounds: Bounds) -> None:
    if not bounds.meet(requirement):
        raise InfeasiblePlan(
            f"encryption errors must stay within 2E = {requirement.max_error:g} of the "
            f"sensitivity, move margins by {requirement.max_margin_slack:.2g} at most and tell "
            f"{requirement.max_flooding:.2g} nats about the key, but these parameters give 2E = "
            f"{bounds.error / requirement.relation_factor:.2g}, {bounds.margin_slack:.2g} and "
            f"{bounds.flooding:.2g} nats; use a lower degree, a smaller weight_norm, fewer hidden "
            "units if there are any, or a context with a larger scale."
        )


def _no_depth(sizing: Sizing, context: CKKSParameters | None) -> str:
    if context is None:
        largest = max(MAX_MODULUS_BITS)
        return (
            f"a step {sizing.needs()}, and no 128-bit parameters up to "
            f"poly_modulus_degree={largest} ({MAX_MODULUS_BITS[largest]} bits) hold it with the "
            "precision needed; use a lower degree, or fewer hidden units if there are any."
        )
    sizes = list(context.coeff_mod_bit_sizes)
    return (
        f"a step {sizing.needs()} of scale_bits={context.scale_bits}, but the given context has "
        f"the data primes {sizes[:-1]} ({sum(sizes[:-1])} bits); give it more or larger primes, "
        "a lower degree or scale, or leave context='auto'."
    )


def _searched(sizing: Sizing) -> Iterator[list[Candidate]]:
    """For each ring dimension, from the smallest, what fits and looks precise enough."""
    for degree in sorted(MAX_MODULUS_BITS):
        fitting = []
        for layout in sizing.layouts(degree):
            for variant in sizing.variants():
                best = _best_scale(sizing, layout, variant)
                if best is not None and _serves(sizing, *best):
                    ring = chosen_ring(degree, best[1].ring.prime_bits)
                    fitting += _mergings(sizing, replace(best[1], ring=ring))
        yield fitting


def _serves(sizing: Sizing, bounds: Bounds, candidate: Candidate) -> bool:
    """Whether errors are small enough.

    Merging at the base level is for speed alone, and no reason to tell more about a key than
    parties that are apart may, even where one process plays them all.
    """
    little = bounds.flooding <= _FLOODING_KEPT * MAX_FLOODING
    fine = candidate.merge_level == PRODUCT_LEVEL or little
    return fine and bounds.meet(sizing.requirement)


def _mergings(sizing: Sizing, candidate: Candidate) -> list[Candidate]:
    """A candidate, and the same with sums merged at the base level if errors hardly grow."""
    if candidate.merge_level == 0:
        return [candidate]
    low = replace(candidate, merge_level=0)
    here, there = _fitting(sizing, candidate), _fitting(sizing, low)
    if here is None or there is None or not _serves(sizing, there, low):
        return [candidate]
    more = there.excess(sizing.requirement) - here.excess(sizing.requirement)
    return [candidate, low] if more <= _MERGING_EXCESS else [candidate]


def _best_scale(sizing: Sizing, layout, variant) -> tuple[Bounds, Candidate] | None:
    """The most precise of the largest scales that fit: a larger one shrinks the special prime.

    Where the modulus has room to spare, the smallest scale that is precise enough: every bit is
    stored and sent with every value.
    """
    best, tried, requirement = None, 0, sizing.requirement
    for scale_bits in range(sizing.max_scale_bits, _MIN_SCALE_BITS - 1, -1):
        candidate = sizing.candidate(layout, variant, scale_bits)
        bounds = candidate and _fitting(sizing, candidate)
        if candidate is None or bounds is None:
            continue
        largest = candidate.ring.prime_bits[-1] == LARGEST_PRIME_BITS
        lean = largest and _is_lean(requirement, bounds)
        if best is None or lean or _rank(sizing, bounds, candidate) < _rank(sizing, *best):
            best = (bounds, candidate)
        tried += 1
        if tried >= _SCALES_TRIED and not lean:
            break
    return best


def _rank(sizing: Sizing, bounds: Bounds, candidate: Candidate) -> tuple[bool, float]:
    """What is small for a scale that serves well."""
    return not _serves(sizing, bounds, candidate), bounds.excess(sizing.requirement)


def _is_lean(requirement: Requirement, bounds: Bounds) -> bool:
    """Whether errors are of no consequence though rows are sent with fewer bits."""
    return (
        bounds.meet(requirement)
        and bounds.excess(requirement) <= _NEGLIGIBLE_EXCESS
        and bounds.flooding <= _FLOODING_KEPT * requirement.max_flooding
        and bounds.margin_slack <= requirement.max_margin_slack / 2
    )


def _given(sizing: Sizing, context: CKKSParameters) -> list[Candidate]:
    """Every layout that a user's parameters have room for."""
    degree, bits = context.poly_modulus_degree, tuple(context.coeff_mod_bit_sizes)
    if degree not in MAX_MODULUS_BITS:
        raise InfeasiblePlan(
            f"poly_modulus_degree must be one of {sorted(MAX_MODULUS_BITS)}, got {degree}."
        )
    ring, scale = chosen_ring(degree, bits), context.scale_bits
    found = (Candidate(ring, layout, scale, scale, scale - 1) for layout in sizing.layouts(degree))
    fitting = [candidate for candidate in found if _fitting(sizing, candidate)]
    return [one for candidate in fitting for one in _mergings(sizing, candidate)]


def _fitting(sizing: Sizing, candidate: Candidate) -> Bounds | None:
    """Bounds at the ends of the tables, if one step fits the levels."""
    try:
        return sizing.bounds(candidate, whole=False)
    except DepthExceeded:
        return None


def last_primes(requirement: Requirement, units: float, scale_bits: int) -> tuple[int, int] | None:
    """Bits of q_1, which the last rescale removes, and of q_0 below it, which holds the release.

    Parameters
    ----------
    requirement : Requirement
        Rows and noise.
    units : float
        log2 of the merged sums' scale over their output norm, before the last rescale.
    scale_bits : int
        log2 of the scale, which q_1 must not be below.

    Returns
    -------
    bits : (int, int) or None
        Of q_0 and q_1; None if nothing fits.
    """
    excess = math.sqrt(requirement.n_owners / (requirement.n_owners - requirement.n_colluding))
    spread = 16 * requirement.noise_multiplier * requirement.relation_factor * excess
    release = math.log2(2.3 * requirement.problem.n_samples + 1.6 * spread) + 1
    # Splitting the pair evenly keeps its digits, and so key-switching errors, small; q_1 must
    # leave the noise room to be encoded exactly and the release enough units to be precise.
    exact = math.ceil(units + math.log2(spread) - 3 - math.log2(MAX_NOISE_UNITS))
    precise = math.floor(units - math.log2(_LEAST_UNITS))
    last = max(math.ceil((units + release) / 2), exact, scale_bits)
    last = min(last, precise, LARGEST_PRIME_BITS)
    base = math.ceil(units - last + release)
    if last < max(exact, scale_bits) or base < 20:
        return None
    return base, last


def chosen_ring(degree: int, bits: tuple[int, ...]) -> Ring:
    """The ring with the primes that SEAL chooses."""
    from ..crypto.tenseal import coefficient_modulus

    return Ring(degree, coefficient_modulus(degree, bits))


def ideal_ring(degree: int, bits: tuple[int, ...]) -> Ring:
    """A ring to compare candidates in: SEAL's primes lie just below the powers of two, and
    finding them for every candidate would take longer than all the rest."""
    return Ring(degree, tuple((1 << b) - 1 for b in bits))


def _chosen(
    sizing: Sizing,
    candidate: Candidate,
    bounds: Bounds,
    counts: Counter[tuple[str, int]],
    price: float,
) -> Choice:
    """The plan's encryption part, with noise for a sensitivity that includes all slack."""
    requirement, circuit, ring = sizing.requirement, sizing.circuit(candidate), candidate.ring
    scale = circuit.sum_scale / ring.primes[PRODUCT_LEVEL]
    sensitivity = requirement.relation_factor * (1 + bounds.row_slack) + bounds.error
    unit = scale / circuit.output_norm
    honest = requirement.n_owners - requirement.n_colluding
    exact = requirement.noise_multiplier * sensitivity * unit
    noise = whole_units(exact, honest)
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
        feature_blocks=circuit.feature_blocks,
        scale=candidate.scale,
        row_scale=candidate.row_scale,
        waterline=2.0**candidate.waterline_bits,
        label_level=circuit.label_level,
        product_level=PRODUCT_LEVEL,
        merge_level=candidate.merge_level,
        output_scale=scale,
        noise_units=noise,
        symmetric=requirement.symmetric,
        unit_block=circuit.unit_block,
        presence_level=circuit.presence_level,
    )
    prediction = cost.predict(
        ring,
        circuit.traffic,
        counts,
        PRODUCT_LEVEL,
        requirement.problem,
        requirement.symmetric,
    )
    return Choice(encryption, bounds, prediction, price, circuit.traffic.rows)
