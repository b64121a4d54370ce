"""What every plan guarantees: sound or refused, for whatever is asked."""

import math
from dataclasses import replace

import pytest
from helpers import assert_sound, make
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from skfhe import (
    EncryptedDPLogisticRegression,
    InfeasiblePlan,
    PlanMismatch,
    PolynomialApproximation,
)
from skfhe.planning import check_plan

# What every plan guarantees.


REQUESTS = dict(
    n=st.integers(1, 100_000) | st.integers(1, 300),
    d=st.integers(1, 300) | st.integers(1, 20),
    classes=st.just(2) | st.integers(2, 12),
    degree=st.integers(0, 7).map(lambda i: 2 * i + 1),
    epsilon=st.floats(0.1, 10.0),
    relation=st.sampled_from(["add_remove", "replace_one"]),
)


def plan_or_none(n, d, classes, degree, epsilon, relation, owners=1, colluding=0, **more):
    estimator = EncryptedDPLogisticRegression(
        epsilon=epsilon, degree=degree, neighboring=relation, **more
    )
    try:
        return estimator.plan(n, d, classes, owners, colluding)
    except InfeasiblePlan as error:
        assert len(str(error)) > 60
        return None


@settings(max_examples=20, deadline=None)
@given(**REQUESTS)
@example(n=1, d=1, classes=2, degree=1, epsilon=0.1, relation="replace_one")
@example(n=455, d=4, classes=2, degree=1, epsilon=1.0, relation="add_remove")
def test_a_plan_is_sound_or_infeasible(**arguments):
    plan = plan_or_none(**arguments)
    if plan is not None:
        assert_sound(plan)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(**REQUESTS, fit_intercept=st.booleans())
def test_many_plans_are_sound_or_infeasible(**arguments):
    plan = plan_or_none(**arguments)
    if plan is not None and arguments["fit_intercept"]:
        assert_sound(plan)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    **REQUESTS,
    owners=st.integers(2, 12),
    colluding=st.integers(0, 11),
)
def test_many_plans_of_several_owners_are_sound(**arguments):
    assume(arguments["colluding"] < arguments["owners"])
    plan = plan_or_none(**arguments)
    if plan is not None:
        assert_sound(plan)


@pytest.mark.parametrize(
    "n, owners, colluding, epsilon",
    [(200, 3, 1, 1.0), (5000, 3, 1, 1.0), (20, 2, 1, 1.0), (20, 6, 5, 1.0), (200, 12, 11, 0.1)],
)
def test_plans_of_several_owners(n, owners, colluding, epsilon):
    plan = make(n=n, n_owners=owners, n_colluding=colluding, epsilon=epsilon)
    assert plan.guarantee.flooding <= 2.0**-20
    assert_sound(plan)


@pytest.mark.parametrize(
    "degree, n, d",
    [(1, 100, 2), (1, 200, 10), (3, 1000, 30), (5, 100, 2), (9, 1000, 30), (15, 100, 2)],
)
def test_ordinary_requests_are_feasible(degree, n, d):
    assert_sound(make(n=n, d=d, degree=degree, max_iter="auto"))


@pytest.mark.parametrize("kind", ["minimax", "least_squares", "monotone"])
def test_every_kind_of_polynomial(kind):
    plan = make(approximation=kind, degree=5)
    assert_sound(plan)
    assert all(q.kind == kind for q in plan.certificate.polynomials)
    assert all(isinstance(q, PolynomialApproximation) for q in plan.certificate.polynomials)


@pytest.mark.parametrize(
    "part, changes",
    [
        ("problem", {"class_weight": (1.0, 50.0)}),
        ("problem", {"class_weight": (1.0,)}),
        ("problem", {"class_weight": (1.0, -1.0)}),
        ("problem", {"class_weight": (1.0, math.nan)}),
        ("problem", {"data_norm": 1e-160}),
        ("certificate", {"row_slack": math.nan}),
        ("certificate", {"row_slack": -0.5}),
        ("certificate", {"margin_slack": -5.0}),
        ("certificate", {"margin_slack": 1e9}),
        ("certificate", {"error": -0.01}),
        ("certificate", {"error_probability": -1e-6}),
        ("certificate", {"discreteness": math.inf}),
        ("certificate", {"contributions": (0.01,)}),
        ("certificate", {"contributions": (0.0, 5.0)}),
        ("certificate", {"contributions": (2.0, 1.5)}),
        ("certificate", {"sensitivity": 1e-3}),
        ("certificate", {"sensitivity": math.nan}),
        ("encryption", {"noise_units": 1000}),
        ("guarantee", {"epsilon": 0.5}),
        ("guarantee", {"noise_multiplier": math.nan}),
        ("guarantee", {"noise_multiplier": -1e9}),
        ("guarantee", {"noise_multiplier": 0.0}),
        ("guarantee", {"n_releases": 1}),
        ("guarantee", {"n_colluding": -99}),
        ("guarantee", {"n_colluding": 1}),
        ("guarantee", {"n_colluding": 0.5}),
        ("guarantee", {"n_owners": 0}),
        ("guarantee", {"n_owners": 1.0}),
        ("problem", {"n_samples": -5}),
        ("problem", {"n_samples": 200.0}),
        ("problem", {"n_classes": 1}),
        ("problem", {"intercept_column": -0.5}),
        ("encryption", {"noise_units": 1e9}),
        ("optimizer", {"max_iter": 0}),
        ("optimizer", {"weight_norm": 1e6}),
        ("optimizer", {"weight_norm": -1.0}),
        ("optimizer", {"learning_rate": math.nan}),
        ("optimizer", {"momentum": math.nan}),
        ("preparation", {"radius": 1e-200}),
        ("preparation", {"radius": math.nan}),
        ("preparation", {"damping": -5.0}),
        ("preparation", {"floor": 0.0}),
        ("preparation", {"box": 1e-200}),
    ],
)
def test_parties_refuse_plans_whose_figures_cannot_be(part, changes):
    """A plan that someone wrote by hand, with a digest that is right."""
    plan = make(standardize=True, precondition=True)
    check_plan(plan)
    forged = replace(plan, **{part: replace(getattr(plan, part), **changes)})
    with pytest.raises(PlanMismatch):
        check_plan(forged)
