"""What encryption must serve, candidates for it, and what errors can do under one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ..approximation import PolynomialApproximation
from ..circuits.arithmetic import Arithmetic
from ..circuits.paired import RowProducts, pays
from ..circuits.running import RunningSums
from ..crypto import errors
from ..crypto.parameters import Ring
from ..crypto.tracing import TracingEvaluator
from ..plan import Problem
from .traffic import Traffic

PRODUCT_LEVEL = 1


@dataclass(frozen=True)
class Requirement:
    """What encryption must serve, whatever the circuit; all of it public.

    Attributes
    ----------
    problem : Problem
        The shape of the data.
    polynomials : tuple of PolynomialApproximation
        The declared approximations of the sigmoid.
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
        Largest 2E allowed, relative to the sensitivity.
    max_margin_slack, max_hidden_slack : float
        How far errors may move a margin, and a hidden unit's: the room that the longest
        interval leaves.
    max_flooding : float
        Largest number of nats that releases may tell about decryption errors.
    n_owners, n_colluding : int
        Owners, of whom some may collude; a single one holds the key and encrypts symmetrically.
    """

    problem: Problem
    polynomials: tuple[PolynomialApproximation, ...]
    row_norm: float
    noise_multiplier: float
    relation_factor: float
    n_releases: int
    failure: float
    max_error: float
    max_margin_slack: float
    max_hidden_slack: float
    max_flooding: float
    n_owners: int
    n_colluding: int

    @property
    def symmetric(self) -> bool:
        """Whether rows are encrypted under the secret key."""
        return self.n_owners == 1


@dataclass(frozen=True)
class Candidate:
    """A ring, a layout and scales: all that the circuit needs to be traced.

    Attributes
    ----------
    ring : Ring
        The ring.
    layout : Layout or NetworkLayout
        Where values sit.
    scale_bits, row_scale_bits : int
        log2 of the scale of weights and labels, and of rows.
    waterline_bits : int
        log2 of the smallest scale to rescale to.
    merge_level : int, default=1
        Level that sums are merged at.
    """

    ring: Ring
    layout: Any
    scale_bits: int
    row_scale_bits: int
    waterline_bits: int
    merge_level: int = PRODUCT_LEVEL

    @property
    def scale(self) -> float:
        """Scale of weights and labels."""
        return 2.0**self.scale_bits

    @property
    def row_scale(self) -> float:
        """Scale of rows."""
        return 2.0**self.row_scale_bits

    def arithmetic(self, tracer: TracingEvaluator) -> Arithmetic:
        """What the circuit is traced with."""
        return Arithmetic(tracer, 2.0**self.waterline_bits, self.merge_level)

    def merging_error(self, sums: float, span: int) -> tuple[float, float]:
        """What relinearising, merging and rescaling sums does to a coefficient, in their units.

        Merging doubles scale and errors log2(span) times, those of its own key switches fewer
        times: 1/2 + 1/4 + ... < 1 of span in all.

        Parameters
        ----------
        sums : float
            The merged sums' scale over their output norm, before the last rescale.
        span : int
            N/2C.

        Returns
        -------
        rounding, whole : float
            Deviation of what falls out anew when a row changes, and of all errors.
        """
        ring, unit = self.ring, sums / self.ring.primes[PRODUCT_LEVEL]
        merges = span / (unit if self.merge_level < PRODUCT_LEVEL else sums)

        def switches(error: Callable[[Ring, int], float]) -> float:
            relinearised = error(ring, PRODUCT_LEVEL) * span / sums
            return relinearised + error(ring, self.merge_level) * merges

        rescaled = merges if self.merge_level < PRODUCT_LEVEL else 1 / unit
        rounding = switches(errors.key_switch_error) + errors.rescale_error(ring) * rescaled
        return rounding, rounding + switches(errors.key_switch_mean)


@dataclass(frozen=True)
class Bounds:
    """What errors can do, in units of S.

    Attributes
    ----------
    error : float
        2E.
    row_slack : float
        Relative excess of one row's contribution.
    margin_slack : float
        How far a margin may be moved.
    flooding : float
        Nats that all releases tell about decryption errors.
    hidden_slack : float
        How far a hidden unit's margin may be moved; zero without hidden units.
    """

    error: float
    row_slack: float
    margin_slack: float
    flooding: float
    hidden_slack: float = 0.0

    def excess(self, requirement: Requirement) -> float:
        """Relative excess of the sensitivity over that of exact arithmetic."""
        return self.row_slack + self.error / requirement.relation_factor

    def meet(self, requirement: Requirement) -> bool:
        """Whether errors are small enough."""
        return (
            self.error <= requirement.max_error * requirement.relation_factor
            and self.margin_slack <= requirement.max_margin_slack
            and self.hidden_slack <= requirement.max_hidden_slack
            and self.flooding <= requirement.max_flooding
        )


@dataclass(frozen=True)
class Circuit:
    """What a plan's encryption part takes from a candidate's circuit.

    Attributes
    ----------
    sum_scale, output_norm : float
        Scale of the merged sums before the last rescale; L2 norm of sums over that of
        coefficients.
    feature_blocks, unit_block : int
        The layout's.
    label_level, presence_level : int
        Where labels and the bias's column enter.
    traffic : Traffic
        Keys and ciphertexts.
    """

    sum_scale: float
    output_norm: float
    feature_blocks: int
    unit_block: int
    label_level: int
    presence_level: int
    traffic: Traffic


def counted_step(
    tracer: TracingEvaluator,
    sums_over: Callable[[RowProducts | None], RunningSums],
    chunk: Any,
    n_chunks: int,
    n_steps: int,
) -> Counter[tuple[str, int]]:
    """Operations of one step over chunks that are alike, once own products of rows are known.

    From some chunks on every pair adds the same, so few are traced.

    Parameters
    ----------
    tracer : TracingEvaluator
        What the sums are traced by.
    sums_over : callable
        Makes the sums, from own products.
    chunk : EncryptedChunk or NetworkChunk
        Every chunk.
    n_chunks, n_steps : int
        How many.
    """
    paired, groups = pays(n_chunks, n_steps), len(chunk.rows)

    def added(n: int) -> tuple[RunningSums, Counter[tuple[str, int]]]:
        margins = dict.fromkeys(range(n)) if groups > 1 else {}
        sums = sums_over(RowProducts(margins, [None] * groups, True) if paired else None)
        tracer.counts.clear()
        for _ in range(n):
            sums.add(chunk)
        sums.close()
        return sums, Counter(tracer.counts)

    few = min(n_chunks, 4 + n_chunks % 2)
    sums, total = added(few)
    tracer.counts.clear()
    sums.merged()
    merging = Counter(tracer.counts)
    if n_chunks > few:
        _, fewer = added(few - 2)
        pairs = (n_chunks - few) // 2
        total = Counter({name: n + pairs * (n - fewer[name]) for name, n in total.items()})
    return total + merging


class Sizing(Protocol):
    """What the search for parameters asks of a kind of model.

    Attributes
    ----------
    requirement : Requirement
        What encryption must serve.
    max_scale_bits : int
        log2 of the largest scale to compute at that is worth trying.
    """

    requirement: Requirement
    max_scale_bits: int

    def layouts(self, degree: int) -> Iterator[Any]:
        """Every layout that a ring dimension has room for."""

    def variants(self) -> Iterable[Any]:
        """Ways to share primes among the circuit's rescales."""

    def candidate(self, layout: Any, variant: Any, scale_bits: int) -> Candidate | None:
        """Primes, idealised, and scales for a scale to compute at; None if there is no room."""

    def bounds(self, candidate: Candidate, whole: bool) -> Bounds:
        """What errors can do: over all entries of the plan's tables, or at their ends.

        Raises
        ------
        DepthExceeded
            If a step does not fit the candidate's levels.
        """

    def counts(self, candidate: Candidate) -> Counter[tuple[str, int]]:
        """Operations of one whole step."""

    def circuit(self, candidate: Candidate) -> Circuit:
        """What the plan takes from a fitting candidate."""

    def needs(self) -> str:
        """Degree, rows and levels of a step, in words."""
