"""A training plan as a page to read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ._html import Page
from .plan import TrainingPlan

if TYPE_CHECKING:
    from .parties import Party

# So many classes are shown, the last of them included.
_LISTED = 8


def describe(plan: TrainingPlan) -> str:
    """The plan's page: data, privacy, parties, approximation, encryption, predicted costs."""
    return "\n".join(
        f"{title}\n" + "\n".join(f"  {name:<24}{value}" for name, value in rows)
        for title, rows in sections(plan)
    )


def sections(plan: TrainingPlan) -> Page:
    """Titles and rows (name, value) of the page."""
    return [
        (f"Training plan {plan.digest[:12]}", _data(plan)),
        ("Privacy", _privacy(plan)),
        views(plan.parties()),
        ("Approximation", _approximation(plan)),
        ("Encryption", _encryption(plan)),
        ("Predicted, one core", _prediction(plan)),
    ]


def _data(plan: TrainingPlan) -> list[tuple[str, str]]:
    p, o = plan.problem, plan.optimizer
    return [
        ("data", f"{p.n_samples} rows, {p.n_features} features, {p.n_classes} classes"),
        *_columns(plan),
        *_network(plan),
        ("row bound", f"norm {p.data_norm:.4g}, intercept column {p.intercept_column:.3g}"),
        ("rows", _rows(plan)),
        ("solver", "linear discriminant of one gradient and the second moments")
        if o.solver == "discriminant"
        else (
            "optimiser",
            f"{o.max_iter} steps of {o.learning_rate:.4g}, momentum {o.momentum:.3g}, "
            f"weights within {o.weight_norm:.4g}"
            + (", preconditioned" if plan.preparation.curvature else ""),
        )
        if not plan.rounds
        else ("steps", _rounds(plan)),
    ]


def _rounds(plan: TrainingPlan) -> str:
    rounds = plan.rounds
    how = {
        "spectral": f"{rounds.steps} steps with a line for the sigmoid",
        "energy": f"{rounds.steps} accelerated steps",
        "plain": f"{rounds.steps} steps of {plan.optimizer.learning_rate:.4g}",
    }[rounds.certificate]
    if plan.visits == 1:
        refreshes = 2 * len(rounds.refreshes)
        alone = f", which bootstraps {refreshes} times" if refreshes else ""
        return f"{how}, by the evaluator alone{alone}"
    norm = plan.optimizer.weight_norm
    return f"{plan.visits} rounds of {how}, weights within {norm:.4g} between them"


def _columns(plan: TrainingPlan) -> list[tuple[str, str]]:
    """What the columns of a table are called, if the plan says so."""
    if not plan.schema:
        return []
    features, classes = plan.schema.features, [repr(one) for one in plan.schema.classes]
    if len(classes) > _LISTED:
        classes[_LISTED - 1 : -1] = ["..."]
    scaled = "scaled by bounds" if plan.schema.low else "as they are"
    return [
        (
            "columns",
            f"label {plan.schema.label!r} of {', '.join(classes)}; {len(features)} features, "
            f"{features[0]!r} to {features[-1]!r}, {scaled}",
        )
    ]


def _network(plan: TrainingPlan) -> list[tuple[str, str]]:
    activation, network = plan.certificate.activation, plan.network
    if not (activation and network):
        return []
    return [
        (
            "network",
            f"{plan.problem.hidden_units} hidden units, {activation.name} by a polynomial of "
            f"degree {activation.degree}, margins within {network.hidden_reach:.3g}, start "
            f"{network.seed}",
        )
    ]


def _rows(plan: TrainingPlan) -> str:
    """How rows are stored, in words."""
    prepared = plan.preparation
    if not prepared.moments:
        return "divided by the row bound"
    scaled = "centred and scaled" if prepared.scale_columns else "centred"
    return f"{scaled} by moments, shortened at {prepared.radius:.3g} of their rms norm"


def _privacy(plan: TrainingPlan) -> list[tuple[str, str]]:
    c, g = plan.certificate, plan.guarantee
    return [
        ("guarantee", promise(g.epsilon, g.delta, c.neighboring)),
        ("noise multiplier", f"{g.noise_multiplier:.4f} over {plan.optimizer.max_iter} steps"),
        *(
            (name, f"noise multiplier {statistic.noise_multiplier:.4f}, one release")
            for name, statistic in plan.preparation.statistics.items()
        ),
        ("sensitivity", f"{c.sensitivity:.5f} S per step, S {_contributions(plan)}"),
        *(
            [("split", f"hidden layer's noise {c.splits[0]:.3g} to {c.splits[-1]:.3g} times")]
            if c.splits
            else []
        ),
        ("encryption error", f"2E = {c.error:.2g} S, row slack {c.row_slack:.2g}"),
        ("out of delta", f"{c.cost_in_delta:.2g}"),
        ("owners", f"{g.n_owners}, of whom {g.n_colluding} may collude"),
        ("flooding", f"{g.flooding:.2g} nats about the key over the whole run"),
    ]


def _contributions(plan: TrainingPlan) -> str:
    if plan.rounds:
        bounds, reach = plan.rounds.contributions, plan.rounds.reaches[-2]
        return (
            f"from {bounds[0]:.3f} to {max(bounds):.3f} by the {plan.rounds.certificate} "
            f"certificate, margins within {reach:.3g} but with probability "
            f"{plan.rounds.probability:.2g}"
        )
    bounds = plan.certificate.contributions
    return f"from {bounds[0]:.3f} to {bounds[-1]:.3f} by the released weights"


def views(parties: Iterable[Party]) -> tuple[str, list[tuple[str, str]]]:
    """Title and rows (name, value) of the table of parties."""
    return "Who sees what, and what protects a row from them", [one.row for one in parties]


def promise(epsilon: float, delta: float, neighboring: str) -> str:
    """A guarantee in words."""
    relation = "zero-out, n public" if neighboring == "add_remove" else "n public"
    return f"({epsilon:g}, {delta:g})-DP, {neighboring} ({relation})"


def _approximation(plan: TrainingPlan) -> list[tuple[str, str]]:
    polynomials, activation = plan.certificate.polynomials, plan.certificate.activation
    first, last = polynomials[0], polynomials[-1]
    return [
        (
            "polynomials",
            f"{len(polynomials)} of degree {first.degree} ({first.kind}), on intervals from "
            f"{first.radius:.3g} to {last.radius:.3g}",
        ),
        ("sup error", f"{first.sup_error:.2g} to {last.sup_error:.2g}"),
        *([("activation", f"sup error {activation.sup_error:.2g}")] if activation else []),
    ]


def _encryption(plan: TrainingPlan) -> list[tuple[str, str]]:
    e = plan.encryption
    bits = [prime.bit_length() for prime in e.primes]
    return [
        ("ring", f"N = {e.poly_modulus_degree}, primes of {bits} bits"),
        ("modulus", f"{math.prod(e.primes).bit_length()} bits; {e.security}"),
        (
            "packing",
            f"{2 * e.feature_blocks} features per ciphertext"
            + (f", {e.unit_block} hidden units side by side" if e.unit_block else ""),
        ),
        ("noise", f"discrete Gaussian, sigma = {e.noise_units} units per coefficient"),
    ]


def _instead(plan: TrainingPlan) -> list[tuple[str, str]]:
    """What visits to the key holder would save, where ciphertexts are refreshed."""
    cost, steps = plan.prediction, plan.optimizer.max_iter
    if not cost.visited_seconds:
        return []
    share = cost.seconds_per_step * steps / cost.visited_seconds
    return [
        (
            "protocol='interactive'",
            f"{steps} steps in {cost.visited_seconds:.2g} s, {share:.0f} times faster, for a key "
            "holder who answers at every step and may see every noised gradient sum",
        )
    ]


def _prediction(plan: TrainingPlan) -> list[tuple[str, str]]:
    cost = plan.prediction
    megabytes = [
        f"{size / 1e6:.3g} {name}"
        for name, size in (
            ("keys", cost.key_bytes),
            ("data", cost.data_bytes),
            ("per step", cost.step_bytes),
            ("peak memory", cost.memory_bytes),
        )
    ]
    return [
        (
            "seconds",
            f"{cost.seconds_per_step:.2g} per step, {cost.key_seconds:.2g} keys, "
            f"{cost.encryption_seconds:.2g} encryption",
        ),
        ("megabytes", ", ".join(megabytes)),
        ("key switches", f"{sum(cost.key_switches.values())} per step"),
        *_instead(plan),
    ]
