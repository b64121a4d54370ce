"""Plans with rounds: sound or refused, whoever has altered them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skfhe import EncryptedDPLogisticRegression, InfeasiblePlan, PlanMismatch
from skfhe.crypto.parameters import MAX_MODULUS_BITS
from skfhe.planning import check_plan, levelled_bounds, levelled_choice

PLANS = {
    "lines": {"max_iter": 4},
    "cubic": {"degree": 3, "max_iter": 3},
    "plain": {"degree": 3, "max_iter": 2, "learning_rate": 1.0},
    "rounds": {"protocol": "interactive", "steps_per_round": 2, "max_iter": 6},
}


def made(kind):
    parameters = {"epsilon": 4.0, "protocol": "noninteractive", **PLANS[kind]}
    return EncryptedDPLogisticRegression(**parameters).plan(800, 6)


def with_rounds(plan, **changes):
    return replace(plan, rounds=replace(plan.rounds, **changes))


def less(values, index=-1, factor=0.99):
    """The values with one of them a little smaller."""
    changed = list(values)
    changed[index] = type(changed[index])(changed[index] * factor)
    return tuple(changed)


def altered(plan):
    """Plans that promise more than their figures give, with what was changed."""
    rounds, certificate = plan.rounds, plan.certificate
    (polynomial,) = certificate.polynomials
    for index in range(rounds.steps):
        yield "noise", with_rounds(plan, noise_units=less(rounds.noise_units, index))
        yield "S", with_rounds(plan, contributions=less(rounds.contributions, index))
        yield "scale", with_rounds(plan, noise_scales=less(rounds.noise_scales, index, 1.02))
        if index or plan.visits > 1:
            yield "reach", with_rounds(plan, reaches=less(rounds.reaches, index, 0.7))
    yield "last reach", with_rounds(plan, reaches=less(rounds.reaches, -1, 0.7))
    yield "steps", with_rounds(plan, coefficients=less(rounds.coefficients, -1, 3.0))
    yield "first step", with_rounds(plan, coefficients=less(rounds.coefficients, 0, 3.0))
    yield "probability", with_rounds(plan, probability=1e-300)
    yield "free probability", with_rounds(plan, probability=certificate.error_probability * 10)
    yield "certificate", with_rounds(plan, certificate="hope")
    yield (
        "a round more",
        replace(
            plan,
            optimizer=replace(plan.optimizer, max_iter=plan.optimizer.max_iter + rounds.steps),
        ),
    )
    yield "a step less", with_rounds(plan, steps=rounds.steps - 1)
    yield "levels", with_rounds(plan, noise_levels=rounds.noise_levels[::-1])
    yield "longer reach", with_rounds(plan, reaches=less(rounds.reaches, -2, 1.5))
    yield "error", replace(plan, certificate=replace(certificate, error=0.2))
    yield (
        "interval",
        replace(
            plan,
            certificate=replace(
                certificate, polynomials=(replace_radius(polynomial, polynomial.radius / 2),)
            ),
        ),
    )
    yield "slack", replace(plan, certificate=replace(certificate, margin_slack=5.0))
    if plan.visits > 1:
        further = replace(plan.optimizer, weight_norm=plan.optimizer.weight_norm * 1.5)
        yield "ball", replace(plan, optimizer=further)


def inflated(plan, factor):
    """More noise at the first step under a larger S: the same multiplier, another trajectory."""
    rounds = plan.rounds
    return with_rounds(
        plan,
        contributions=(rounds.contributions[0] * factor, *rounds.contributions[1:]),
        noise_units=(int(rounds.noise_units[0] * factor), *rounds.noise_units[1:]),
    )


@pytest.mark.parametrize("kind", PLANS)
def test_noise_that_outgrows_the_certificate_is_refused(kind):
    """A stated S may be too large, but not the noise that it is an excuse for."""
    plan = inflated(made(kind), 2.0**14)
    largest = max(plan.rounds.contributions)
    plan = replace(plan, certificate=replace(plan.certificate, contributions=(largest,)))
    with pytest.raises(PlanMismatch):
        check_plan(plan)


def test_a_falling_line_is_refused():
    """Its residuals would be certified as the smaller, the farther weights may get."""
    plan = made("lines")
    (line,) = plan.certificate.polynomials
    falling = type(line)(1, line.radius, "minimax", (-line.coef[0],))
    with pytest.raises(PlanMismatch):
        check_plan(replace(plan, certificate=replace(plan.certificate, polynomials=(falling,))))


def test_errors_follow_the_steepest_slope(monkeypatch):
    """A polynomial and its mirror image have the same errors: it may fall faster than it rises."""
    seen = []
    monkeypatch.setattr(levelled_choice, "step_bounds", lambda *it: seen.append(it) or bounds(*it))
    bounds = levelled_bounds.step_bounds
    plain = {"degree": 3, "approximation": "minimax", "learning_rate": 8.0, "max_iter": 4}
    EncryptedDPLogisticRegression(5.0, protocol="noninteractive", **plain).plan(20_000, 5)
    one, step = seen[-1]
    p = one.task.schedule.approximation
    assert -p.min_derivative > p.max_derivative > 0
    mirrored = type(p)(p.degree, p.radius, p.kind, tuple(-c for c in p.coef))
    schedule = replace(one.task.schedule, approximation=mirrored)
    other = replace(one, task=replace(one.task, schedule=schedule))
    assert bounds(other, step).error == pytest.approx(bounds(one, step).error, rel=1e-9)


def test_a_last_reach_that_lets_everything_pass_is_refused():
    """The key holder checks what it decrypts against it."""
    plan = made("lines")
    with pytest.raises(PlanMismatch):
        check_plan(with_rounds(plan, reaches=less(plan.rounds.reaches, -1, 1e5)))


def test_all_rounds_count_for_what_is_told_about_the_key():
    rounds = {"epsilon": 4.0, "n_owners": 3, "steps_per_round": 2}
    owners = rounds.pop("n_owners")
    told = [
        EncryptedDPLogisticRegression(max_iter=t, **rounds).plan(20_000, 10, n_owners=owners)
        for t in (2, 20)
    ]
    for plan in told:
        assert 0 < plan.guarantee.flooding <= 2**-20
    # The precision of a single round would tell ten times as much in ten.
    assert told[1].encryption.row_scale >= told[0].encryption.row_scale


def replace_radius(polynomial, radius):
    coef = tuple(c / 2 for c in polynomial.coef)
    return type(polynomial)(polynomial.degree, radius, polynomial.kind, coef)


@pytest.mark.parametrize("kind", PLANS)
def test_a_plan_is_sound(kind):
    plan = made(kind)
    check_plan(plan)
    assert plan.rounds.certificate == {"lines": "spectral", "rounds": "spectral"}.get(
        kind, "energy" if kind == "cubic" else "plain"
    )
    assert plan.certificate.error <= 0.05
    assert plan.certificate.polynomials[0].monotone


@pytest.mark.parametrize("kind", PLANS)
def test_altered_plans_are_refused(kind):
    for what, plan in altered(made(kind)):
        with pytest.raises(PlanMismatch):
            check_plan(plan)
            pytest.fail(f"{what} was altered, and the plan passed")


@pytest.mark.parametrize(
    "field, value",
    [
        ("steps", 0),
        ("steps", 2.0),
        ("coefficients", ()),
        ("coefficients", (float("nan"),) * 10),
        ("reaches", (1.0,)),
        ("reaches", (float("nan"),) * 5),
        ("contributions", (0.0,) * 4),
        ("noise_units", (4,) * 4),
        ("noise_levels", (0,) * 4),
        ("noise_levels", (10_000, 3, 2, 0)),
        ("noise_scales", (float("inf"),) * 4),
        ("noise_scales", (-1.0,) * 4),
        ("probability", 0.0),
        ("probability", float("nan")),
    ],
)
def test_rounds_that_are_none_are_refused(field, value):
    with pytest.raises(PlanMismatch):
        check_plan(with_rounds(made("lines"), **{field: value}))


@settings(max_examples=8, deadline=None)
@given(
    n=st.integers(1, 50_000),
    d=st.integers(1, 200),
    epsilon=st.floats(0.1, 20),
    degree=st.sampled_from([1, 1, 3]),
    relation=st.sampled_from(["add_remove", "replace_one"]),
    owners=st.integers(1, 3),
    steps=st.just("auto") | st.integers(1, 5),
)
def test_a_plan_is_sound_or_infeasible(n, d, epsilon, degree, relation, owners, steps):
    model = EncryptedDPLogisticRegression(
        epsilon, degree=degree, neighboring=relation, protocol="noninteractive", max_iter=steps
    )
    try:
        plan = model.plan(n, d, n_owners=owners)
    except InfeasiblePlan as error:
        assert len(str(error)) > 60
        return
    check_plan(plan)
    primes = [prime.bit_length() for prime in plan.encryption.primes]
    assert sum(primes) <= MAX_MODULUS_BITS[plan.encryption.poly_modulus_degree]
    bounds = np.array(plan.rounds.contributions)
    units, scales = np.array(plan.rounds.noise_units), np.array(plan.rounds.noise_scales)
    assert np.all(units / (scales * bounds) >= (units / (scales * bounds)).max() * (1 - 1e-3))
    if owners > 1:
        assert plan.guarantee.flooding <= 2**-20
