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
        The number n of rows of all owners together.
    n_features : int
        The number d of columns, without the intercept.
    n_classes : int
        The number K of classes, two or more.
    data_norm : float
        Bound on the norm of a row as it is given. Without prepared scales, rows are divided by it
        and longer ones shortened to it; with them, it bounds a row's part in the moments.
    intercept_column : float
        The intercept's entry b in a stored row of norm at most one; zero for none.
    class_weight : tuple of float
        Weight of each class's rows, the largest being 1; empty where all are equal.
    hidden_units : int
        The number h of units of a network's hidden layer; zero for the linear model.
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
        L2 norm Delta, in integer units (docs/proofs/sensitivity.md, statements 2b and 2c).
    noise_units : int
        Spread sigma of the noise on every coordinate, in integer units.
    noise_multiplier : float
        Noise spread over sensitivity, as the accountant may take it.
    """

    length: int
    grid_bits: int
    sensitivity: float
    noise_units: int
    noise_multiplier: float

    def n_ciphertexts(self, poly_modulus_degree: int) -> int:
        """How many hold it, one coordinate per plaintext coefficient.

        Parameters
        ----------
        poly_modulus_degree : int
            Ring dimension N.

        Returns
        -------
        n_ciphertexts : int
            As many as N goes into its length, rounded up.
        """
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
    solver : {"steps", "adam", "discriminant"}
        "adam" is for networks alone; "discriminant" (`skfhe.protocol.discriminant`) is made of one
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
        Of the penalty regularization/2 ||w||^2 on the mean loss, for the weights of rows as they
        are given; the intercept is exempt.
    weight_norm : float
        Radius W of the ball that every output's weights are projected onto (for rows of norm one,
        counted from the prior that they start at; docs/proofs/sensitivity.md, statement 3).
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
    """What bounds one row's influence on a release; public.

    Attributes
    ----------
    polynomials : tuple of PolynomialApproximation
        The approximation for each declared interval, shortest first.
    contributions : tuple of float
        The declared values of S, ascending; a release is of the gradient sum divided by one.
    neighboring : {"add_remove", "replace_one"}
        What is hidden: that a row was there (against a zero row), or what it was.
    row_slack : float
        Relative excess of one row's encrypted contribution over its exact one.
    margin_slack : float
        How far encryption errors may move a margin.
    error : float
        Bound 2E on how far, in L2 over all coefficients, roundings may differ between neighbours
        (docs/proofs/errors.md, statement 4).
    sensitivity : float
        L2 sensitivity Delta of a release, in units of S: the relation's factor times
        1 + row_slack, plus 2E (docs/proofs/sensitivity.md, statement 2).
    error_probability : float
        Probability beta that an error of the run exceeds its bound; comes out of delta.
    discreteness : float
        What integer noise costs of delta over continuous noise.
    activation : ActivationPolynomial or None
        A network's activation.
    splits : tuple of float
        Values kappa that a hidden layer's gradient may be divided by beside S; else empty.
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
    """The differential privacy of the released model, and who it holds against; public.

    Attributes
    ----------
    epsilon, delta : float
        The guarantee, for the plan's relation (docs/proofs/accounting.md, statement 6).
    noise_multiplier : float
        Standard deviation of the noise over the sensitivity, of a gradient release.
    n_releases : int
        Gaussian releases: one per step, and those of the preparation.
    n_owners, n_colluding : int
        Number M of owners, of whom at most c collude; each adds a share of variance
        sigma^2/(M - c) (docs/proofs/accounting.md, statement 9).
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
        """Spread of one owner's noise, rounded up (docs/proofs/accounting.md, statement 9).

        Parameters
        ----------
        noise_units : int
            Spread of the noise that honest owners must add together, in integer units.

        Returns
        -------
        sigma : int
            The least integer with sigma^2 (M - c) >= noise_units^2, in the same units.
        """
        honest = self.n_owners - self.n_colluding
        return math.isqrt(-(-(noise_units**2) // honest) - 1) + 1


@dataclass(frozen=True)
class Encryption:
    """CKKS parameters, packing and the fixed points of the circuit; public.

    Attributes
    ----------
    poly_modulus_degree : int
        Ring dimension N.
    primes : tuple of int
        Data primes from the base upwards, the special primes last.
    security : str
        The table that the modulus was checked against.
    feature_blocks : int
        Number m of features per part of a ciphertext (see `skfhe.packing`).
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
        Spread sigma of the noise on every plaintext coefficient, in integer units.
    symmetric : bool
        Whether rows are encrypted under the secret key (one owner who is the key holder).
    unit_block, presence_level : int
        A network's hidden units per ciphertext, C; level of the bias's column. Else zero.
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
    """What the run will cost, as predicted; not part of the digest.

    Attributes
    ----------
    seconds_per_step, key_seconds, encryption_seconds : float
        Predicted seconds on one core.
    key_bytes, data_bytes, step_bytes, memory_bytes : int
        Bytes of the evaluation keys, of the encrypted data, of one step's messages; peak memory.
    key_switches : dict of int to int
        Key switches per step, by level.
    visited_seconds : float
        Where ciphertexts are refreshed: seconds of all steps with a visit to the key holder each
        instead.
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
