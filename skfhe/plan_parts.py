"""The parts of a training plan: frozen values, all of them public."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .approximation import ActivationPolynomial, PolynomialApproximation
from .plan_rounds import LATER


@dataclass(frozen=True)
class Problem:
    """The shape of the data, which is public.

    Attributes
    ----------
    n_samples : int
        n, the number of rows of all owners together.
    n_features : int
        d, without the intercept.
    n_classes : int
        Two or more.
    data_norm : float
        Bound on the norm of a row as it is given. Without prepared scales, rows are divided by it
        and longer ones shortened to it; with them, it bounds a row's part in the moments.
    intercept_column : float
        b, the intercept's entry in a stored row of norm at most one; zero for none.
    class_weight : tuple of float
        Weight of each class's rows, the largest being 1; empty where all are equal.
    hidden_units : int
        h, the units of a network's hidden layer; zero for the linear model.
    """

    n_samples: int
    n_features: int
    n_classes: int
    data_norm: float
    intercept_column: float
    class_weight: tuple[float, ...] = ()
    hidden_units: int = 0

    @property
    def n_columns(self) -> int:
        """Columns with the intercept's."""
        return self.n_features + (self.intercept_column != 0)

    @property
    def n_outputs(self) -> int:
        """One for two classes, K one-vs-rest outputs for K > 2."""
        return 1 if self.n_classes == 2 else self.n_classes

    @property
    def shorten_intercept(self) -> bool:
        """Whether the intercept's entry is shortened with a row (`skfhe.privacy.frame`)."""
        return self.n_outputs == 1 and not self.hidden_units

    @property
    def prior_margin(self) -> float:
        """Margin that every output starts from: the logit of 1/K, through the intercept."""
        if self.n_classes == 2 or not self.intercept_column:
            return 0.0
        return -math.log(self.n_classes - 1)


@dataclass(frozen=True)
class Statistic:
    """A sum over rows that owners compute in the clear, released once before the first step.

    Attributes
    ----------
    length : int
        Coordinates, all of them integers.
    grid_bits : int
        Values enter as multiples of ``2**-grid_bits``, rounded towards zero.
    sensitivity : float
        Delta, for the plan's relation, in integer units.
    noise_units : int
        sigma of the noise on every coordinate, in integer units.
    noise_multiplier : float
        sigma over Delta, as the accountant may take it.
    """

    length: int
    grid_bits: int
    sensitivity: float
    noise_units: int
    noise_multiplier: float

    def n_ciphertexts(self, poly_modulus_degree: int) -> int:
        """How many hold it, one coordinate per plaintext coefficient."""
        return -(-self.length // poly_modulus_degree)


@dataclass(frozen=True)
class Preparation:
    """What is released of the rows before they are encrypted, and what is made of it.

    Attributes
    ----------
    moments : Statistic or None
        Sums and sums of squares of the columns, for centre and scale (`skfhe.privacy.frame`);
        None stores rows divided by the row bound.
    curvature : Statistic or None
        Second moments of the stored rows, for the optimiser's preconditioner; None for none.
    box : float
        Columns are clipped to [-box, box] for their moments.
    radius : float
        Rows farther from the centre than so many root mean square distances are shortened.
    scale_columns : bool
        Whether every column gets a scale of its own, or all the same.
    damping : float
        Of the preconditioner, in units of the spectral norm of the curvature's noise.
    floor : float
        Of the preconditioner, added to all curvatures.
    """

    moments: Statistic | None
    curvature: Statistic | None
    box: float
    radius: float
    scale_columns: bool
    damping: float
    floor: float

    @property
    def statistics(self) -> dict[str, Statistic]:
        """Those that are released, by name and in order."""
        found = {"moments": self.moments, "curvature": self.curvature}
        return {name: one for name, one in found.items() if one is not None}


@dataclass(frozen=True)
class Optimizer:
    """What the key holder does with a release: free post-processing.

    Attributes
    ----------
    solver : str
        "steps", "adam" (networks alone), or "discriminant" (`skfhe.protocol.discriminant`): one
        gradient at the prior, for which the figures below but the first are of no consequence.
    max_iter : int
        Number of steps, and so of gradient releases.
    learning_rate : float
        Step size on the mean gradient, times the preconditioner if there is one.
    momentum : float
        Nesterov momentum, in [0, 1).
    averaging : float
        Share of the last iterates that is averaged into the result.
    regularization : float
        lambda of the penalty lambda/2 ||w||^2 on the mean loss, for the weights of rows as they
        are given; the intercept is exempt.
    weight_norm : float
        W: every output's weights (for rows of norm one, counted from the prior that they start
        at) are projected onto this ball.
    """

    solver: str
    max_iter: int
    learning_rate: float
    momentum: float
    averaging: float
    regularization: float
    weight_norm: float


@dataclass(frozen=True)
class Network:
    """What a network's training starts from and stays within; public.

    Attributes
    ----------
    hidden_reach : float
        Every hidden unit's weights are shortened until its margin is at most this for any row.
    output_rate : float
        Step size of the outputs' weights, over that of the hidden ones.
    start_norm : float
        Operator norm of the outputs' weights at the start.
    start_spread : float
        Deviation of hidden margins at the start.
    start_bias : float
        Size of the hidden units' biases at the start, in margins.
    seed : int
        Of the weights at the start.
    """

    hidden_reach: float
    output_rate: float
    start_norm: float
    start_spread: float
    start_bias: float
    seed: int


@dataclass(frozen=True)
class Certificate:
    """What bounds one row's influence on a release.

    Attributes
    ----------
    polynomials : tuple of PolynomialApproximation
        The approximation for each declared interval, shortest first.
    contributions : tuple of float
        The declared values of S, ascending; a release is of the gradient sum divided by one.
    neighboring : str
        "add_remove" (zero-out) or "replace_one".
    row_slack : float
        Relative excess of one row's encrypted contribution over its exact one.
    margin_slack : float
        How far encryption errors may move a margin.
    error : float
        2E: how far, in L2 over all coefficients, roundings may differ between neighbours.
    sensitivity : float
        Delta of a release, in units of S: the relation's factor times 1 + row_slack, plus 2E.
    error_probability : float
        beta: the probability that an error of the run exceeds its bound; comes out of delta.
    discreteness : float
        What integer noise costs of delta over continuous noise.
    activation : ActivationPolynomial or None
        A network's activation.
    splits : tuple of float
        kappa: what the hidden layer's gradient may be divided by beside S; else empty.
    hidden_slack : float
        How far encryption errors may move a hidden unit's margin.
    """

    polynomials: tuple[PolynomialApproximation, ...]
    contributions: tuple[float, ...]
    neighboring: str
    row_slack: float
    margin_slack: float
    error: float
    sensitivity: float
    error_probability: float
    discreteness: float
    activation: ActivationPolynomial | None = None
    splits: tuple[float, ...] = ()
    hidden_slack: float = 0.0

    @property
    def cost_in_delta(self) -> float:
        """What errors and discreteness take out of delta."""
        return self.error_probability + self.discreteness


@dataclass(frozen=True)
class Guarantee:
    """The differential privacy of the released model.

    Attributes
    ----------
    epsilon, delta : float
        The guarantee, for the plan's neighbouring relation.
    noise_multiplier : float
        Standard deviation of the noise over the sensitivity, of a gradient release.
    n_releases : int
        Gaussian releases: one per step, and those of the preparation.
    n_owners, n_colluding : int
        M owners of whom at most c collude; each adds a share of variance sigma^2/(M - c).
    flooding : float
        Nats that all released values together tell about the errors of decryption (and so of
        the key): sum of (error/sigma)^2 / 2 over releases and coordinates.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    n_releases: int
    n_owners: int
    n_colluding: int
    flooding: float

    @property
    def noise_excess(self) -> float:
        """Spread of the sum of all owners' noise over that of the honest ones."""
        return math.sqrt(self.n_owners / (self.n_owners - self.n_colluding))

    def share(self, noise_units: int) -> int:
        """sigma of one owner's noise: the least integer with sigma^2 (M - c) >= noise_units^2."""
        honest = self.n_owners - self.n_colluding
        return math.isqrt(-(-(noise_units**2) // honest) - 1) + 1


@dataclass(frozen=True)
class Encryption:
    """CKKS parameters, packing and the fixed points of the circuit.

    Attributes
    ----------
    poly_modulus_degree : int
        N.
    primes : tuple of int
        Data primes from the base upwards, the special primes last.
    security : str
        The table that the modulus was checked against.
    feature_blocks : int
        m: features per part of a ciphertext (see `skfhe.packing`).
    scale, row_scale : float
        Scale of fresh weights and labels, and of fresh rows.
    waterline : float
        Smallest scale that the circuit rescales to.
    label_level, product_level : int
        Level of the labels; level of the last product and of the sums.
    merge_level : int
        Level that sums are merged at.
    output_scale : float
        Scale of a release.
    noise_units : int
        sigma of the noise on every plaintext coefficient, in integer units.
    symmetric : bool
        Whether rows are encrypted under the secret key (one owner who is the key holder).
    unit_block, presence_level : int
        C: a network's hidden units per ciphertext; level of the bias's column. Else zero.
    n_special, digit_primes : int
        Special primes; data primes to a digit of key switching.
    refresh_slots, refresh_level : int
        Slots of the sparse ciphertexts that are refreshed, and the level that they get, which
        fresh ones have too. Zero where nothing is.
    refresh_budget : tuple of int
        Levels of a refresh's linear transforms.
    """

    poly_modulus_degree: int
    primes: tuple[int, ...]
    security: str
    feature_blocks: int
    scale: float
    row_scale: float
    waterline: float
    label_level: int
    product_level: int
    merge_level: int
    output_scale: float
    noise_units: int
    symmetric: bool
    unit_block: int = 0
    presence_level: int = 0
    n_special: int = field(default=1, metadata=LATER)
    digit_primes: int = field(default=1, metadata=LATER)
    refresh_slots: int = field(default=0, metadata=LATER)
    refresh_level: int = field(default=0, metadata=LATER)
    refresh_budget: tuple[int, ...] = field(default=(), metadata=LATER)

    @property
    def top_level(self) -> int:
        """Level of a fresh ciphertext."""
        return self.refresh_level or len(self.primes) - self.n_special - 1


@dataclass(frozen=True)
class Prediction:
    """What the run will cost; not part of the digest.

    Attributes
    ----------
    seconds_per_step, key_seconds, encryption_seconds : float
        Predicted seconds on one core.
    key_bytes, data_bytes, step_bytes, memory_bytes : int
        Sizes of the evaluation keys, the encrypted data, one step's messages; peak memory.
    key_switches : dict of int to int
        Key switches per step, by level.
    visited_seconds : float
        Where ciphertexts are refreshed: all steps with a visit to the key holder each instead.
    """

    seconds_per_step: float
    key_seconds: float
    encryption_seconds: float
    key_bytes: int
    data_bytes: int
    step_bytes: int
    memory_bytes: int
    key_switches: dict[int, int] = field(hash=False)
    visited_seconds: float = field(default=0.0, metadata=LATER)
