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
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .approximation import ActivationPolynomial, PolynomialApproximation
from .plan_parts import (
    Certificate,
    Encryption,
    Guarantee,
    Network,
    Optimizer,
    Prediction,
    Preparation,
    Problem,
    Statistic,
)
from .plan_rounds import Rounds
from .schema import Schema

if TYPE_CHECKING:
    from .convergence import Convergence
    from .parties import Party

__all__ = [
    "Certificate",
    "Encryption",
    "Guarantee",
    "Network",
    "Optimizer",
    "Prediction",
    "Preparation",
    "Problem",
    "Rounds",
    "Schema",
    "Statistic",
    "TrainingPlan",
]

FORMAT_VERSION = 1
# What reading JSON of another shape may raise.
_MALFORMED = LookupError, ArithmeticError, TypeError, ValueError, AttributeError, RecursionError


@dataclass(frozen=True)
class TrainingPlan:
    """Everything public about a training run.

    Estimators and ``skfhe plan`` make one. It prints as a page.

    Attributes
    ----------
    problem : Problem
        The shape of the data.
    preparation : Preparation
        What is released before rows are encrypted.
    optimizer : Optimizer
        What is made of releases.
    network : Network or None
        What a network starts from; None without hidden units.
    certificate : Certificate
        What bounds one row's influence.
    guarantee : Guarantee
        The differential privacy of the run.
    encryption : Encryption
        Parameters of the encryption.
    prediction : Prediction
        What the run will cost.
    schema : Schema or None
        Names of columns and labels of classes, where rows come from tables.
    rounds : Rounds or None
        What the evaluator does alone; None where every step is a release.

    Examples
    --------
    >>> from skfhe import EncryptedDPLogisticRegression, TrainingPlan
    >>> model = EncryptedDPLogisticRegression(epsilon=2.0, degree=3)
    >>> plan = model.plan(n_samples=1000, n_features=10, n_owners=2)
    >>> plan.guarantee.epsilon, plan.guarantee.n_owners
    (2.0, 2)
    >>> TrainingPlan.from_json(plan.to_json()) == plan
    True
    """

    problem: Problem
    preparation: Preparation
    optimizer: Optimizer
    network: Network | None
    certificate: Certificate
    guarantee: Guarantee
    encryption: Encryption
    prediction: Prediction
    schema: Schema | None = None
    rounds: Rounds | None = None

    @property
    def visits(self) -> int:
        """How often the key holder decrypts something of a step: at every one, or every round."""
        return self.optimizer.max_iter // (self.rounds.steps if self.rounds else 1)

    def squared_mu_of(self, releases: Iterable[str | int]) -> float:
        """Sum of one over the squared noise multiplier of releases.

        Parameters
        ----------
        releases : iterable of str and int
            Statistics by name, visits by number.

        Returns
        -------
        squared_mu : float
            Their mu^2 together (docs/proofs/accounting.md, statement 6).
        """
        statistics, step = self.preparation.statistics, self.guarantee.noise_multiplier
        steps = self.rounds.steps if self.rounds else 1
        return math.fsum(
            1 / statistics[name].noise_multiplier ** 2 if name in statistics else steps / step**2
            for name in releases
        )

    def n_releases_of(self, releases: Iterable[str | int]) -> int:
        """Gaussian releases that releases by name or visit are composed of.

        Parameters
        ----------
        releases : iterable of str and int
            Statistics by name, visits by number.

        Returns
        -------
        n_releases : int
            One for a statistic, one for every step of a visit.
        """
        steps = self.rounds.steps if self.rounds else 1
        return sum(1 if name in self.preparation.statistics else steps for name in releases)

    @property
    def squared_mu(self) -> float:
        """The mu^2 of the whole run (docs/proofs/accounting.md, statement 6)."""
        return self.squared_mu_of([*self.preparation.statistics, *range(self.visits)])

    def convergence(
        self, curvature: float | None = None, *, distance: float | None = None
    ) -> Convergence:
        r"""Bound on the released weights' mean squared distance from the optimum.

        The optimum is the minimiser, among weights within ``weight_norm`` of where they start, of
        the mean logistic loss of the stored rows with the plan's penalty and weights of classes.
        Proved in docs/proofs/convergence.md, statement 10, for steps without momentum and
        preconditioner, which the plan must have. Nothing here looks at data.

        Parameters
        ----------
        curvature : float, optional
            Lower bound nu on the eigenvalues of the Hessian of the mean loss, its penalty
            included, on the ball of weights. The plan cannot know it. By default the penalty's
            own, regularization/data_norm^2, if there is no intercept, which it leaves out.
        distance : float, optional
            Bound on the distance of the first weights from the optimum, over all outputs
            together; by default the largest, weight_norm sqrt(n_outputs).

        Returns
        -------
        convergence : Convergence
            The terms of optimisation, approximation and noise apart.

        Raises
        ------
        ValueError
            If the plan has momentum, a preconditioner, too long steps, or a penalty on columns
            that are standardised; if curvature is missing or out of its range, or distance is.
        """
        from .convergence import of_plan

        return of_plan(self, curvature, distance)

    def parties(self) -> tuple[Party, ...]:
        """Who sees what, what protects a row from them, and how well (`skfhe.parties`).

        Figures are for unseeded noise, at the plan's delta, and of the encrypted backend.

        Returns
        -------
        parties : tuple of Party
            Single parties first, then those who pool what they know.
        """
        from .parties import table

        g = self.guarantee
        cost = self.certificate.cost_in_delta
        return table(g.n_owners, g.n_colluding, self.squared_mu, g.delta, cost, self.decrypted)

    @property
    def decrypted(self) -> str:
        """What the key holder gets to see of steps."""
        from .parties import EVERY_ROUND, EVERY_STEP, THE_LAST

        if not self.rounds:
            return EVERY_STEP
        return THE_LAST if self.visits == 1 else EVERY_ROUND

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything but the prediction, in hexadecimal."""
        content = _plain(self)
        del content["prediction"]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self, indent: int | None = None) -> str:
        """Write the plan as JSON; floats survive exactly.

        Parameters
        ----------
        indent : int, optional
            Spaces per level, as of `json.dumps`; by default one line.

        Returns
        -------
        text : str
            With the format's version and the digest. Public.
        """
        return json.dumps({**_plain(self), "digest": self.digest}, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> TrainingPlan:
        """Read a plan back.

        Parameters
        ----------
        text : str or bytes
            What `to_json` has written; may come from who is not trusted.

        Returns
        -------
        plan : TrainingPlan
            Equal to the one that was written. That it is sound, `KeyHolder` and `DataOwner` check.

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
            content.setdefault("rounds", None)
            plan = cls(
                **{part: _build(kind, content.pop(part)) for part, kind in _PARTS.items()},
            )
            if content:
                raise ValueError(f"unknown parts {sorted(content)}")
        except _MALFORMED as error:
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
    "preparation": Preparation,
    "optimizer": Optimizer,
    "network": Network,
    "certificate": Certificate,
    "guarantee": Guarantee,
    "encryption": Encryption,
    "prediction": Prediction,
    "schema": Schema,
    "rounds": Rounds,
}


def _plain(plan: TrainingPlan) -> dict[str, Any]:
    content: dict[str, Any] = {"format_version": FORMAT_VERSION}
    for part in _PARTS:
        value = getattr(plan, part)
        content[part] = value and {
            f.name: getattr(value, f.name)
            for f in dataclasses.fields(value)
            if not (f.metadata.get("later") and getattr(value, f.name) == f.default)
        }
    if plan.rounds is None:
        del content["rounds"]
    certificate, activation = content["certificate"], plan.certificate.activation
    certificate["polynomials"] = [p.to_dict() for p in plan.certificate.polynomials]
    certificate["activation"] = activation and activation.to_dict()
    for name in ("moments", "curvature"):
        statistic = content["preparation"][name]
        content["preparation"][name] = statistic and dataclasses.asdict(statistic)
    return content


def _build(kind: type, fields: dict[str, Any]) -> Any:
    if kind in (Network, Schema, Rounds) and fields is None:
        return None
    later = {f.name: f.default for f in dataclasses.fields(kind) if f.metadata.get("later")}
    fields = later | fields
    missing = {f.name for f in dataclasses.fields(kind)} - set(fields)
    if missing:
        raise ValueError(f"fields {sorted(missing)} are missing")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    if kind is Certificate:
        if not all(isinstance(values[name], tuple) for name in ("polynomials", "splits")):
            raise ValueError("a certificate's tables must be lists")
        values["polynomials"] = tuple(
            map(PolynomialApproximation.from_dict, values["polynomials"])
        )
        if values["activation"] is not None:
            values["activation"] = ActivationPolynomial.from_dict(values["activation"])
    if kind is Preparation:
        for name in ("moments", "curvature"):
            values[name] = values[name] and _build(Statistic, values[name])
    if kind is Prediction:
        values["key_switches"] = {int(k): int(v) for k, v in values["key_switches"].items()}
    _require_kinds(kind, values)
    return kind(**values)


# Integers are counted with, and divided by, as floats.
_LARGEST_INTEGER = 2**63
_NUMBERS_AND_TEXT = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


def _require_kinds(kind: type, values: dict[str, Any]) -> None:
    """Refuse numbers and text, alone or in a tuple, where a field is of another kind."""
    for field in dataclasses.fields(kind):
        name, value = str(field.type), values[field.name]
        several = name.startswith("tuple[")
        allowed = _NUMBERS_AND_TEXT.get(name.removeprefix("tuple[").removesuffix(", ...]"))
        members = value if several else (value,)
        if allowed and not (
            isinstance(members, tuple)
            and all(type(one) in allowed for one in members)
            and all(abs(one) < _LARGEST_INTEGER for one in members if type(one) is int)
        ):
            raise ValueError(f"{field.name} must be {name}")
