r"""The gradient of a network with one hidden layer on ciphertexts.

For a chunk of rows, with weights scaled so that polynomials are monic (see `activation` and
`polynomial`), C hidden units side by side in the slots (`skfhe.packing.network`):

1. u = alpha z_1, the margins of all units             one level, one relinearisation
2. A(u) and A'(u)/D                                    ceil(log2(D + 1)) levels
3. u_2, the window sum of the units' A times weights   one level
4. e = p(z_2) - y in unit 0, spread to all units       ceil(log2(degree + 1)) levels
5. delta = e times (weights times A'/D)                one level
6. X_g delta and e A/S, summed over chunks             one level

and then, once for all chunks, the sums over rows of 6 merged into one ciphertext. The weights of
5 are those of 3 in other units: a' over A'/D, and over kappa S, S bounding one row's contribution
and kappa being the split by which the blocks' noise differs. Sums are relinearised once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..approximation import ActivationPolynomial, PolynomialApproximation
from ..crypto.backend import Ciphertext
from ..packing import NetworkLayout
from .activation import FactoredActivation, activate
from .arithmetic import Arithmetic, merge_all
from .logistic import margins, residuals
from .polynomial import FactoredPolynomial, evaluate

# Window sums over units of two rows are at most so many times what the sigmoid's interval holds:
# the key holder chooses the interval so, as masking what they grow to leaves an error.
STRADDLING = 4.0
# A unit's weights for the hidden layer's gradient have at most this norm over all outputs, times
# the largest derivative, over kappa S; S is chosen so. It seldom has to be: for one output and
# times the unit's own derivative they have at most 2/X.
MOST_BACKWARD = 4.0


@dataclass(frozen=True)
class NetworkChunk:
    """One chunk of rows as the evaluator keeps it.

    Attributes
    ----------
    rows : list of Ciphertext
        X_g at the top level.
    low_rows : list of Ciphertext
        The same, switched once to the level of the last product.
    labels : list of Ciphertext
        1/2 - y in unit 0, per output.
    presence : Ciphertext
        The output bias's column in unit 0 of rows that are there.
    """

    rows: list[Ciphertext]
    low_rows: list[Ciphertext]
    labels: list[Ciphertext]
    presence: Ciphertext


@dataclass(frozen=True)
class NetworkWeights:
    """Encrypted weights of one step.

    Attributes
    ----------
    hidden : list of list of Ciphertext
        Per group of units and of columns, times alpha.
    output : list of list of Ciphertext
        Per output and group of units, for the margins.
    bias : list of Ciphertext
        Per output.
    backward : list of list of Ciphertext
        Per output and group of units, for the hidden layer's gradient.
    """

    hidden: list[list[Ciphertext]]
    output: list[list[Ciphertext]]
    bias: list[Ciphertext]
    backward: list[list[Ciphertext]]


@dataclass(frozen=True)
class NetworkFactors:
    """What a step computes with.

    Attributes
    ----------
    activation : FactoredActivation
        Of the hidden units.
    residual : FactoredPolynomial
        p - 1/2.
    divisor : float
        S, the bound of one row's contribution at these weights.
    error_bound : float
        Largest |p - y|.
    bias_column : float
        b: what the presence is in rows that are there.
    """

    activation: FactoredActivation
    residual: FactoredPolynomial
    divisor: float
    error_bound: float
    bias_column: float

    @classmethod
    def of(
        cls,
        activation: ActivationPolynomial,
        approximation: PolynomialApproximation,
        divisor: float,
        bias_column: float,
    ) -> NetworkFactors:
        """Factor a step's polynomials."""
        return cls(
            FactoredActivation.of(activation),
            FactoredPolynomial.of(approximation, 1.0),
            divisor,
            float(approximation.residual_bound()),
            bias_column,
        )


def spread(
    arithmetic: Arithmetic, layout: NetworkLayout, factors: NetworkFactors, error: Ciphertext
) -> Ciphertext:
    """p(z_2) - y in all units, from unit 0."""
    for element in layout.spread_elements:
        error = arithmetic.backend.add_image(error, element)
    return arithmetic.backend.claim(error, factors.error_bound)


def output_margin(
    arithmetic: Arithmetic,
    layout: NetworkLayout,
    weights: Sequence[Ciphertext],
    bias: Ciphertext,
    values: Sequence[Ciphertext],
    presence: Ciphertext,
) -> Ciphertext:
    """Window sums of the units' values times weights: the scaled margins in unit 0, settled."""
    backend = arithmetic.backend
    level, scale = backend.level(values[0]), backend.scale(values[0])
    here = arithmetic.land(presence, level, scale)
    low = [backend.switch_to(weight, level) for weight in (*weights, bias)]
    total = backend.dot(low, [*values, here])
    for element in layout.window_elements:
        total = backend.add_image(total, element)
    return arithmetic.settle(total)


def chunk_gradients(
    arithmetic: Arithmetic,
    layout: NetworkLayout,
    factors: NetworkFactors,
    chunk: NetworkChunk,
    weights: NetworkWeights,
) -> tuple[list[Ciphertext], list[Ciphertext], list[Ciphertext], list[Ciphertext]]:
    """What is summed over rows, but for the rows themselves.

    Returns
    -------
    values : list
        A(u) per group of units.
    errors, spread_errors : list
        p - y per output, in unit 0 alone and in all units.
    deltas : list
        Errors of the hidden units per group.
    """
    backend = arithmetic.backend
    units = [
        activate(
            arithmetic, factors.activation, margins(arithmetic, layout.rows, chunk.rows, group)
        )
        for group in weights.hidden
    ]
    values = [value for value, _ in units]
    errors = []
    for output, bias, labels in zip(weights.output, weights.bias, chunk.labels, strict=True):
        margin = output_margin(arithmetic, layout, output, bias, values, chunk.presence)
        core = evaluate(arithmetic, factors.residual, margin, layout.block, STRADDLING)
        error = residuals(arithmetic, core, labels, 1.0)
        errors.append(backend.claim(error, factors.error_bound))
    everywhere = [spread(arithmetic, layout, factors, error) for error in errors]
    deltas = hidden_errors(arithmetic, weights, [slope for _, slope in units], everywhere)
    return values, errors, everywhere, deltas


def hidden_errors(
    arithmetic: Arithmetic,
    weights: NetworkWeights,
    slopes: Sequence[Ciphertext],
    errors: Sequence[Ciphertext],
) -> list[Ciphertext]:
    """Delta per group of units, from A'/D per group and the errors per output."""
    backend = arithmetic.backend
    level = backend.level(errors[0])
    deltas = []
    for group, slope in enumerate(slopes):
        # One level above the errors is enough for the product to end with them.
        low = backend.switch_to(slope, min(backend.level(slope), level + 1))
        paths = [
            backend.switch_to(arithmetic.product(backward[group], low), level)
            for backward in weights.backward
        ]
        deltas.append(arithmetic.settle(backend.dot(paths, errors)))
    return deltas


def gradient(
    arithmetic: Arithmetic,
    layout: NetworkLayout,
    factors: NetworkFactors,
    chunks: Sequence[NetworkChunk],
    weights: NetworkWeights,
) -> Ciphertext:
    """Means over all slots of both blocks of the gradient over divisor, merged, at the base level.

    Parameters
    ----------
    arithmetic : Arithmetic
        Backend and rescaling rule.
    layout : NetworkLayout
        Where values sit.
    factors : NetworkFactors
        Polynomials and divisor.
    chunks : sequence of NetworkChunk
        The data set.
    weights : NetworkWeights
        Encrypted weights.
    """
    backend = arithmetic.backend
    level, bias = backend.level(chunks[0].low_rows[0]), factors.bias_column / factors.divisor
    # By group of units or output, then by chunk; only what the last products need is kept.
    deltas: list[list[Ciphertext]] = [[] for _ in weights.hidden]
    values: list[list[Ciphertext]] = [[] for _ in weights.hidden]
    errors: list[list[Ciphertext]] = [[] for _ in weights.output]
    present: list[list[Ciphertext]] = [[] for _ in weights.output]
    for chunk in chunks:
        found, alone, wrong, back = chunk_gradients(arithmetic, layout, factors, chunk, weights)
        scale = backend.scale(back[0]) * backend.scale(chunk.low_rows[0])
        for group, (value, delta) in enumerate(zip(found, back, strict=True)):
            deltas[group].append(backend.switch_to(delta, level))
            low = arithmetic.land(
                value, level, scale / backend.scale(wrong[0]), 1 / factors.divisor
            )
            values[group].append(low)
        for output, (error, in_unit_0) in enumerate(zip(wrong, alone, strict=True)):
            errors[output].append(backend.switch_to(error, level))
            # In all units it would be there C times, and count as often for the sensitivity.
            present[output].append(arithmetic.land(in_unit_0, level, scale, bias))
    items = []
    for delta in deltas:
        for group in range(layout.rows.groups):
            product = backend.dot([chunk.low_rows[group] for chunk in chunks], delta)
            items.append(product)
            for power in range(1, layout.rows.feature_blocks):
                items.append(backend.multiply_monomial(product, -power))
    items += [backend.dot(error, value) for error in errors for value in values]
    items += [_sum(backend, error) for error in present]
    merged = merge_all(backend, layout.rows, items)
    while backend.level(merged) > 0:
        merged = backend.rescale(merged)
    return merged


def _sum(backend, terms: Sequence[Ciphertext]) -> Ciphertext:
    total = terms[0]
    for term in terms[1:]:
        total = backend.add(total, term)
    return total
