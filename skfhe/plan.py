"""The training plan: everything public that the parties agree on before any data is touched.

A plan is a frozen value. It is computed once (`skfhe.planning`), written into every message and
checked by every party through its digest; no party recomputes it. It alone determines the
guarantee.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .approximation import PolynomialApproximation

FORMAT_VERSION = 1


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
        Rows longer than this are shortened to it by their owner; then divided by it.
    intercept_column : float
        b, the value of the intercept's column after that division; zero for none.
    class_weight : tuple of float
        Weight of each class's rows, the largest being 1; empty where all are equal.
    """

    n_samples: int
    n_features: int
    n_classes: int
    data_norm: float
    intercept_column: float
    class_weight: tuple[float, ...] = ()

    @property
    def n_columns(self) -> int:
        """Columns with the intercept's."""
        return self.n_features + (self.intercept_column != 0)

    @property
    def n_outputs(self) -> int:
        """One for two classes, K one-vs-rest outputs for K > 2."""
        return 1 if self.n_classes == 2 else self.n_classes

    @property
    def prior_margin(self) -> float:
        """Margin that every output starts from: the logit of 1/K, through the intercept."""
        if self.n_classes == 2 or not self.intercept_column:
            return 0.0
        return -math.log(self.n_classes - 1)


@dataclass(frozen=True)
class Optimizer:
    """What the key holder does with a release: free post-processing.

    Attributes
    ----------
    max_iter : int
        Number of steps, and so of releases.
    learning_rate : float
        Step size on the mean gradient.
    momentum : float
        Nesterov momentum, in [0, 1).
    averaging : float
        Share of the last iterates that is averaged into the result.
    regularization : float
        lambda of the penalty lambda/2 ||w||^2 on the mean loss; the intercept is exempt.
    weight_norm : float
        W: every output's weights (for rows of norm one, counted from the prior that they start
        at) are projected onto this ball.
    """

    max_iter: int
    learning_rate: float
    momentum: float
    averaging: float
    regularization: float
    weight_norm: float


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
        Standard deviation of the noise over the sensitivity.
    n_releases : int
        Gaussian releases, one per step.
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


@dataclass(frozen=True)
class Encryption:
    """CKKS parameters, packing and the fixed points of the circuit.

    Attributes
    ----------
    poly_modulus_degree : int
        N.
    primes : tuple of int
        Data primes from the base upwards, the special prime last.
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
    output_scale : float
        Scale of a release.
    noise_units : int
        sigma of the noise on every plaintext coefficient, in integer units.
    symmetric : bool
        Whether rows are encrypted under the secret key (one owner who is the key holder).
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
    output_scale: float
    noise_units: int
    symmetric: bool


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
    """

    seconds_per_step: float
    key_seconds: float
    encryption_seconds: float
    key_bytes: int
    data_bytes: int
    step_bytes: int
    memory_bytes: int
    key_switches: dict[int, int] = field(hash=False)


@dataclass(frozen=True)
class TrainingPlan:
    """Everything public about a training run.

    Attributes
    ----------
    problem, optimizer, certificate, guarantee, encryption, prediction
        The parts; see their classes.
    """

    problem: Problem
    optimizer: Optimizer
    certificate: Certificate
    guarantee: Guarantee
    encryption: Encryption
    prediction: Prediction

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything but the prediction, in hexadecimal."""
        content = _plain(self)
        del content["prediction"]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self, indent: int | None = None) -> str:
        """The plan as JSON; floats survive exactly."""
        return json.dumps({**_plain(self), "digest": self.digest}, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> TrainingPlan:
        """Read a plan back.

        Raises
        ------
        ValueError
            If the text is no plan of this format version, or was altered.
        """
        try:
            content = json.loads(text)
            version, digest = content.pop("format_version"), content.pop("digest")
            if version != FORMAT_VERSION:
                raise ValueError(f"format version {version}, this package reads {FORMAT_VERSION}")
            plan = cls(
                **{part: _build(kind, content.pop(part)) for part, kind in _PARTS.items()},
            )
            if content:
                raise ValueError(f"unknown parts {sorted(content)}")
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"this is no training plan: {error}.") from None
        if plan.digest != digest:
            raise ValueError("this training plan was altered: its digest does not match.")
        return plan

    def __str__(self) -> str:
        from .plan_text import describe

        return describe(self)

    def _repr_html_(self) -> str:
        from ._html import cards
        from .plan_text import sections

        return cards(sections(self))


_PARTS: dict[str, type] = {
    "problem": Problem,
    "optimizer": Optimizer,
    "certificate": Certificate,
    "guarantee": Guarantee,
    "encryption": Encryption,
    "prediction": Prediction,
}


def _plain(plan: TrainingPlan) -> dict[str, Any]:
    content: dict[str, Any] = {"format_version": FORMAT_VERSION}
    for part in _PARTS:
        value = getattr(plan, part)
        content[part] = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    content["certificate"]["polynomials"] = [p.to_dict() for p in plan.certificate.polynomials]
    return content


def _build(kind: type, fields: dict[str, Any]) -> Any:
    missing = {f.name for f in dataclasses.fields(kind)} - set(fields)
    if missing:
        raise ValueError(f"fields {sorted(missing)} are missing")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    if kind is Certificate:
        values["polynomials"] = tuple(
            PolynomialApproximation.from_dict(p) for p in values["polynomials"]
        )
    if kind is Prediction:
        values["key_switches"] = {int(k): v for k, v in values["key_switches"].items()}
    return kind(**values)
