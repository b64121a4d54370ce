"""Plans for runs in which the evaluator takes several steps alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import chain

from ..exceptions import InfeasiblePlan
from ..plan import Certificate, Encryption, Guarantee, Optimizer, Problem, Rounds, TrainingPlan
from ..privacy import accounting, trajectory
from ..privacy.sensitivity import RELATION_FACTOR, row_norm
from ..privacy.trajectory import Noise
from . import cost, schedule
from .checks import check_plan, discreteness, effective_multiplier
from .defaults import Request
from .levelled import Task
from .levelled_choice import Choice, Limits, choose
from .levelled_defaults import MOST_STEPS, Terms, resolve
from .preparation import MAX_FLOODING, flooding, prepared_statistics, whole_units
from .requirement import PRODUCT_LEVEL
from .schedule import ERROR_ROOM, MARGIN_ROOM, ROW_ROOM, Schedule, Setting, n_others
from .traffic import Traffic

# Errors of encryption may enlarge the sensitivity by so much in all; noise is drawn for less.
_SENSITIVITY_ROOM = 1.1


def make_levelled_plan(
    request: Request,
    counts: tuple[int, int, int, int, int],
    max_error: float,
    failure: float,
) -> TrainingPlan:
    """A plan whose rounds have several steps; see `make_plan`.

    Parameters
    ----------
    request : Request
        Hyperparameters.
    counts : tuple of int
        Rows, features, classes, owners and how many of them collude.
    max_error, failure : float
        Most that 2E may be of the sensitivity; the probability that errors may exceed their
        bounds with, and again that the certificate may fail with.
    """
    terms = resolve(request, *counts[:3])
    single = accounting.calibrate(request.epsilon, request.delta * (1 - accounting.DELTA_SHARE), 1)
    asked = Asked(request, terms, counts[0], counts[3:], single, max_error, failure)
    tried = 0
    for steps, found in asked.schedules():
        task = asked.task(steps, found)
        choice = choose(task, asked.limits(task), request.bootstrapping)
        if choice is not None:
            return _assembled(asked, task, choice)
        tried = max(tried, steps)
        if terms.max_iter is not None:
            break
    raise InfeasiblePlan(_no_room(asked, tried))


@dataclass(frozen=True)
class Asked:
    """What a plan is made for.

    Attributes
    ----------
    request : Request
        Hyperparameters.
    terms : Terms
        The same with every "auto" filled in.
    n_samples : int
        Rows.
    owners : tuple of int
        Owners, and how many of them collude.
    single : float
        The noise multiplier of a single release that spends everything.
    max_error, failure : float
        As `make_levelled_plan` takes them.
    """

    request: Request
    terms: Terms
    n_samples: int
    owners: tuple[int, ...]
    single: float
    max_error: float
    failure: float

    @property
    def factor(self) -> float:
        """Delta over one row's contribution."""
        return RELATION_FACTOR[self.request.neighboring]

    def multiplier(self, steps: int) -> float:
        """The noise multiplier of each of so many steps."""
        return self.single * math.sqrt(steps / self.terms.recipe.left)

    def schedules(self) -> list[tuple[int, Schedule]]:
        """Numbers of steps with their schedules, those first that travel farthest."""
        terms = self.terms
        if terms.max_iter is not None:
            candidates = [terms.max_iter]
        elif terms.steps is None:
            candidates = [*range(1, MOST_STEPS + 1)]
        else:
            candidates = [terms.steps * terms.visits]
        tried = [(steps, self.schedule(steps)) for steps in candidates]
        found = [(steps, one) for steps, one in tried if one is not None]
        return sorted(
            found, key=lambda item: -item[1].travel * item[1].approximation.max_derivative
        )

    def schedule(self, steps: int) -> Schedule | None:
        """A round of so many steps in all; None if nothing certifies it."""
        found = self._schedule(steps)
        if found is None or not self.request.bootstrapping:
            return found
        norms = schedule.carried_norms(
            found.certificate,
            found.approximation,
            found.points,
            found.reaches,
            self._setting(steps),
        )
        return replace(found, carried_norms=norms)

    def _schedule(self, steps: int) -> Schedule | None:
        terms, setting = self.terms, self._setting(steps)
        norm, k = row_norm(terms.problem.intercept_column), terms.steps_of(steps)
        if terms.learning_rate is None:
            if self.request.degree == 1:
                return schedule.semi_iteration(k, terms.most_travel, setting, norm, terms.farthest)
            return schedule.accelerated(self.request.degree, terms.kind, k, setting, norm)
        rate, momentum = terms.learning_rate, terms.momentum
        if self.request.degree == 1:
            return schedule.of_lines(trajectory.heavy_ball(k, rate, momentum), setting, norm)
        return schedule.plain(self.request.degree, terms.kind, [rate] * k, setting, norm)

    def _setting(self, steps: int) -> Setting:
        n_owners, n_colluding = self.owners
        excess = math.sqrt(n_owners / (n_owners - n_colluding))
        rounds = steps // self.terms.steps_of(steps)
        noise = Noise(
            self.multiplier(steps) * self.factor * _SENSITIVITY_ROOM * excess / self.n_samples,
            n_coordinates=self.terms.problem.n_columns,
            probability=self.failure / rounds,
            error=ERROR_ROOM * self.factor / self.n_samples,
            n_others=n_others(steps, self.terms.problem) if self.request.bootstrapping else 0,
        )
        norm = row_norm(self.terms.problem.intercept_column) * (1 + ROW_ROOM)
        return Setting(norm, noise, self.terms.weight_norm if rounds > 1 else 0.0, MARGIN_ROOM)

    def task(self, steps: int, found: Schedule) -> Task:
        """What encryption must serve."""
        return Task(
            problem=self.terms.problem,
            schedule=found,
            fresh=steps > self.terms.steps_of(steps),
            noise_multiplier=self.multiplier(steps),
            relation_factor=self.factor,
            failure=self.failure,
            n_steps=steps,
            n_owners=self.owners[0],
            n_colluding=self.owners[1],
        )

    def limits(self, task: Task) -> Limits:
        """What errors must stay below; a part of the flooding is left for the statistics."""
        rounds = task.n_steps // len(task.schedule.points)
        return Limits(
            error=self.max_error * self.factor,
            row_slack=ROW_ROOM,
            margin_slack=MARGIN_ROOM,
            told=ERROR_ROOM * self.factor,
            flooding=MAX_FLOODING / 2 / rounds if task.n_owners > 1 else math.inf,
        )


def _no_room(asked: Asked, tried: int) -> str:
    """Why there is no plan: the noise, or the modulus; with the number of steps that fits."""
    degree, terms = asked.request.degree, asked.terms
    instead = "or use protocol='interactive', which takes any number of steps"
    if not tried:
        return (
            "no certificate bounds the weights: the noise of steps that nobody looks at is too "
            f"much for {asked.n_samples} rows; use a larger epsilon, more rows, degree=1, a "
            f"smaller learning_rate, {instead}."
        )
    if asked.request.bootstrapping:
        return (
            f"no ring that bootstraps has the levels for {tried} steps of degree {degree} with "
            f"the precision needed; use a lower degree, fewer steps or rows, {instead}."
        )
    k = terms.steps_of(tried)
    for fewer in range(k - 1, 0, -1):
        steps = tried // k * fewer
        smaller = replace(asked, terms=replace(terms, steps=fewer, max_iter=steps))
        found = smaller.schedule(steps)
        if found is None:
            continue
        task = smaller.task(steps, found)
        if choose(task, smaller.limits(task)) is not None:
            return (
                f"{k} steps of degree {degree} do not fit 868 bits of modulus at "
                f"poly_modulus_degree=32768, the most that is secure: {fewer} do. Use max_iter="
                f"{steps}, a lower degree, steps_per_round={fewer}, {instead}."
            )
    return (
        f"not even one step of degree {degree} fits 868 bits of modulus at "
        f"poly_modulus_degree=32768 with the precision needed; use degree=1, {instead}."
    )


def _assembled(asked: Asked, task: Task, choice: Choice) -> TrainingPlan:
    """The plan, with noise for a sensitivity that includes all slack."""
    request, terms, owners, failure = asked.request, asked.terms, asked.owners, asked.failure
    problem, found = terms.problem, task.schedule
    factor = task.relation_factor
    row_slack = max(b.row_slack for b in choice.bounds)
    error = max(b.error for b in choice.bounds)
    sensitivity = factor * (1 + row_slack) + error
    noise = [task.noise_multiplier * sensitivity * s for s in found.contributions]
    rounds = _rounds(choice, noise, owners[0] - owners[1], failure)
    used = _encryption(choice, rounds)
    prepared = prepared_statistics(
        terms.recipe, problem, request.neighboring, used, asked.single, owners
    )
    certificate = Certificate(
        polynomials=(found.approximation,),
        contributions=(max(found.contributions),),
        neighboring=request.neighboring,
        row_slack=row_slack,
        margin_slack=MARGIN_ROOM,
        error=error,
        sensitivity=sensitivity,
        error_probability=2 * failure,
        discreteness=discreteness(used, prepared, *owners, task.n_steps, min(rounds.noise_units)),
    )
    optimizer = Optimizer(
        solver="steps",
        max_iter=task.n_steps,
        learning_rate=found.points[0][0],
        momentum=terms.momentum,
        averaging=1.0,
        regularization=0.0,
        weight_norm=terms.weight_norm,
    )
    plan = TrainingPlan(
        problem,
        prepared,
        optimizer,
        None,
        certificate,
        Guarantee(
            epsilon=request.epsilon,
            delta=request.delta,
            noise_multiplier=effective_multiplier(problem, certificate, used, *owners, rounds),
            n_releases=task.n_steps + len(terms.recipe.shares),
            n_owners=owners[0],
            n_colluding=owners[1],
            flooding=task.n_steps // rounds.steps * math.fsum(b.flooding for b in choice.bounds)
            + math.fsum(
                flooding(statistic, used, *owners, failure)
                for statistic in prepared.statistics.values()
            ),
        ),
        used,
        _prediction(choice, problem, task),
        rounds=rounds,
    )
    check_plan(plan)
    return plan


def _rounds(choice: Choice, noise: list[float], honest: int, probability: float) -> Rounds:
    """A round's steps, with noise of the given spreads of every step's sum."""
    one, found = choice.levelled, choice.levelled.task.schedule
    units = [
        whole_units(spread * scale / one.layout.output_norm, honest)
        for spread, (_, scale) in zip(noise, one.gradients, strict=True)
    ]
    return Rounds(
        steps=len(found.points),
        certificate=found.certificate,
        coefficients=tuple(c for row in found.points for c in row),
        probability=probability,
        reaches=found.reaches,
        contributions=found.contributions,
        noise_levels=tuple(level for level, _ in one.gradients),
        noise_scales=tuple(scale for _, scale in one.gradients),
        noise_units=tuple(units),
        refreshes=one.refreshes,
        lifts=tuple(chain.from_iterable(one.lifts)),
    )


def _encryption(choice: Choice, rounds: Rounds) -> Encryption:
    one = choice.levelled
    refreshing = one.ring.refreshing
    return Encryption(
        poly_modulus_degree=one.ring.poly_modulus_degree,
        primes=one.ring.primes,
        security=one.ring.security,
        feature_blocks=one.layout.feature_blocks,
        scale=2.0**one.scales.labels,
        row_scale=2.0**one.scales.rows,
        waterline=one.waterline,
        label_level=one.ring.top_level,
        product_level=PRODUCT_LEVEL,
        merge_level=PRODUCT_LEVEL,
        output_scale=rounds.noise_scales[-1],
        noise_units=rounds.noise_units[-1],
        symmetric=one.task.symmetric,
        n_special=one.ring.n_special,
        digit_primes=one.ring.digit_primes,
        refresh_slots=refreshing.slots if refreshing else 0,
        refresh_level=refreshing.level if refreshing else 0,
        refresh_budget=refreshing.level_budget if refreshing else (),
    )


def _prediction(choice: Choice, problem: Problem, task: Task):
    layout = choice.levelled.layout
    traffic = Traffic(
        len(layout.elements) + 1,
        layout.groups if task.fresh else 0,
        layout.groups * layout.chunks,
    )
    whole = cost.predict(
        choice.levelled.ring,
        traffic,
        choice.counts,
        choice.levelled.ring.top_level,
        problem,
        task.symmetric,
    )
    return replace(whole, seconds_per_step=whole.seconds_per_step / len(choice.bounds))
