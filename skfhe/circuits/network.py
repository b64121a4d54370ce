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
from .arithmetic import Arithmetic
from .logistic import residuals
from .paired import RowProducts
from .polynomial import FactoredPolynomial, evaluate
from .running import RunningSums

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
    hidden: Sequence[Ciphertext],
    weights: NetworkWeights,
) -> tuple[list[Ciphertext], list[Ciphertext], list[Ciphertext], list[Ciphertext]]:
    """What is summed over rows, but for the rows themselves.

    Parameters
    ----------
    arithmetic, layout, factors, chunk, weights
        See `NetworkSums`.
    hidden : sequence of Ciphertext
        The chunk's margins of hidden units, per group.

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
    units = [activate(arithmetic, factors.activation, margin) for margin in hidden]
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


class NetworkSums(RunningSums):
    """Means over all slots of both blocks of the gradient over divisor.

    Parameters
    ----------
    arithmetic : Arithmetic
        Backend and rescaling rule.
    layout : NetworkLayout
        Where values sit.
    factors : NetworkFactors
        Polynomials and divisor.
    weights : NetworkWeights
        Encrypted weights.
    own : RowProducts, optional
        See `RunningSums`.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        layout: NetworkLayout,
        factors: NetworkFactors,
        weights: NetworkWeights,
        own: RowProducts | None = None,
    ):
        super().__init__(arithmetic, layout.rows, weights.hidden, own)
        self._network = layout
        self._factors = factors
        self._weights = weights

    def add(self, chunk: NetworkChunk, kept: bool = True) -> None:
        """Totals are the hidden layer's, then the outputs' per group of units, then the biases'.

        Only the last need no relinearisation.
        """
        arithmetic, backend, factors = self.arithmetic, self.arithmetic.backend, self._factors
        hidden = self._margins(chunk, kept)
        values, alone, errors, deltas = chunk_gradients(
            arithmetic, self._network, factors, chunk, hidden, self._weights
        )
        level = backend.level(chunk.low_rows[0])
        scale = backend.scale(deltas[0]) * backend.scale(chunk.low_rows[0])
        deltas = [backend.switch_to(delta, level) for delta in deltas]
        value_scale = scale / backend.scale(errors[0])
        low = [arithmetic.land(v, level, value_scale, 1 / factors.divisor) for v in values]
        errors = [backend.switch_to(error, level) for error in errors]
        self._sums.add(chunk.low_rows, deltas)
        # In all units the bias would be there C times, and count as often for the sensitivity.
        bias = factors.bias_column / factors.divisor
        terms = [backend.multiply(error, value) for error in errors for value in low]
        terms += [arithmetic.land(error, level, scale, bias) for error in alone]
        self._others = [*map(backend.add, self._others, terms)] if self._others else terms

    def items(self) -> list[Ciphertext]:
        rows, lowered = self._network.rows, self.arithmetic.lowered
        hidden = len(self._weights.hidden) * rows.groups
        outputs = len(self.totals) - len(self._weights.output)
        return [
            *(item for total in self.totals[:hidden] for item in self._powers(total)),
            *map(self._item, self.totals[hidden:outputs]),
            *(lowered(total, self.arithmetic.merge_level) for total in self.totals[outputs:]),
        ]
