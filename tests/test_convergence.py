"""The bound on the distance from the optimum holds in simulations; its figures are the plan's."""

import math

import numpy as np
import pytest
from helpers import layout_of, make
from hypothesis import given, settings
from hypothesis import strategies as st
from optima import Logistic, assert_below, plain
from scipy.special import expit

from skfhe import PolynomialApproximation
from skfhe.convergence import Convergence, bound


def random_problem(seed, n=60, d=3, outputs=1, radius=3.0, penalty=0.02):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d))
    rows /= np.maximum(1, np.linalg.norm(rows, axis=1, keepdims=True))
    direction = rng.normal(size=(d, outputs)) * rng.choice([0.5, 4.0])
    targets = (rng.random((n, outputs)) < expit(rows @ direction)).astype(float)
    return Logistic(rows, targets, np.full((d, 1), penalty), radius, np.zeros((d, outputs)))


def simulate(problem, activation, step, sigma, max_iter, averaged, draws, seed):
    """Mean of the last iterates, shape (n_columns, draws, n_outputs); draws go side by side."""
    rng = np.random.default_rng(seed)
    outputs = problem.targets.shape[1]
    w = np.repeat(problem.start[:, None], draws, axis=1)  # (n_columns, draws, n_outputs)
    total = np.zeros_like(w)
    for t in range(max_iter):
        margins = np.einsum("nc,cdk->ndk", problem.rows, w)
        residual = activation(margins) - problem.targets[:, None]
        gradient = np.einsum("nc,ndk->cdk", problem.rows, residual) / len(problem.rows)
        gradient += problem.penalty[:, :, None] * w
        gradient += sigma * rng.normal(size=w.shape)
        w = w - step * gradient
        flat = w.reshape(len(w), -1)
        radii = np.maximum(np.linalg.norm(flat, axis=0), 1e-300)
        w = (flat * np.minimum(1, problem.radius / radii)).reshape(len(w), draws, outputs)
        if t >= max_iter - averaged:
            total += w / averaged
    return total


# The statement itself.


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    outputs=st.sampled_from([1, 3]),
    radius=st.sampled_from([0.3, 1.0, 3.0]),
    degree=st.sampled_from([1, 3, 5]),
    length=st.floats(0.05, 1.98),
    sigma=st.sampled_from([0.0, 1e-3, 0.05, 0.5]),
    max_iter=st.integers(1, 60),
    share=st.floats(0, 1),
)
def test_bound_holds_in_simulation(seed, outputs, radius, degree, length, sigma, max_iter, share):
    problem = random_problem(seed, outputs=outputs, radius=radius)
    optimum, p = problem.optimum(), PolynomialApproximation.fit(degree, radius)
    step, averaged = length / problem.smoothness, max(1, round(share * max_iter))
    draws = 200 if sigma else 2
    weights = simulate(problem, p, step, sigma, max_iter, averaged, draws, seed)
    measured = np.sum((weights - optimum[:, None]) ** 2, axis=(0, 2))
    limit = bound(
        curvature=problem.curvature,
        smoothness=problem.smoothness,
        learning_rate=step,
        max_iter=max_iter,
        averaged=averaged,
        distance=float(np.linalg.norm(optimum)),
        gradient_error=p.sup_error * math.sqrt(outputs),
        gradient_noise=sigma * math.sqrt(optimum.size),
    )
    assert_below(measured, limit.total)
    if np.linalg.norm(optimum, axis=0).max() < radius * (1 - 1e-9):
        losses = [problem.loss(weights[:, i]) for i in range(draws)]
        assert_below(np.array(losses) - problem.loss(optimum), limit.excess_loss + 1e-15)
    if not sigma:
        assert limit.noise == 0
        assert measured[0] == measured[1]


def quadratic(nu, beta, step, zeta, sigma, max_iter, averaged, draws=4000, seed=0):
    """Steps on nu/2 w_1^2 + beta/2 w_2^2, from (1, 0), with the worst error: along w."""
    rng = np.random.default_rng(seed)
    w, total = np.tile([1.0, 0.0], (draws, 1)), 0.0
    for t in range(max_iter):
        lengths = np.maximum(np.linalg.norm(w, axis=1, keepdims=True), 1e-300)
        noise = sigma * rng.normal(size=w.shape)
        w = w - step * (w * [nu, beta] - zeta * w / lengths + noise)
        total = total + w / averaged * (t >= max_iter - averaged)
    return np.sum(total**2, axis=1)


@pytest.mark.parametrize("averaged", [1, 7])
@pytest.mark.parametrize("max_iter", [7, 30, 400])
@pytest.mark.parametrize("zeta, sigma", [(0, 0), (0.05, 0), (0, 0.1), (0.02, 0.1), (0.3, 1.0)])
@pytest.mark.parametrize("nu, step", [(0.1, 0.9), (0.1, 1.9), (0.5, 1.0), (1.0, 1.0), (1.0, 1.5)])
def test_bound_holds_against_the_worst_error(nu, step, zeta, sigma, max_iter, averaged):
    measured = quadratic(nu, 1.0, step, zeta, sigma, max_iter, averaged)
    limit = bound(
        curvature=nu,
        smoothness=1.0,
        learning_rate=step,
        max_iter=max_iter,
        averaged=averaged,
        distance=1.0,
        gradient_error=zeta,
        gradient_noise=sigma * math.sqrt(2),
    )
    assert_below(measured, limit.total * (1 + 1e-9) + 1e-28)
    if averaged == 1 and step == 1.0 and nu == 1.0:
        assert limit.total <= 1.01 * np.mean(measured) + 1e-5
    if averaged == 1 and not sigma and step * (nu + 1) <= 2:  # attained by this error
        assert limit.total <= 1.2 * np.mean(measured) + 1e-9


@settings(max_examples=200, deadline=None)
@given(
    nu=st.floats(1e-8, 1),
    length=st.floats(1e-6, 1.999999),
    max_iter=st.integers(1, 300),
    zeta=st.floats(0, 10),
    noise=st.floats(0, 10),
    distance=st.floats(0, 100),
)
def test_bound_is_above_the_recursion_and_below_the_published_shape(
    nu, length, max_iter, zeta, noise, distance
):
    """The recursion r^2 <- (q r + eta zeta)^2 + eta^2 v is what the bound solves."""
    arguments = dict(curvature=nu, smoothness=1.0, learning_rate=length, max_iter=max_iter)
    errors = dict(distance=distance, gradient_error=zeta, gradient_noise=noise)
    limit = bound(**arguments, averaged=1, **errors)
    q, squared = max(abs(1 - length * nu), abs(1 - length)), distance**2
    for _ in range(max_iter):
        squared = (q * math.sqrt(squared) + length * zeta) ** 2 + (length * noise) ** 2
    assert squared <= limit.total * (1 + 1e-7)
    assert limit.total == limit.optimisation + limit.approximation + limit.noise
    assert limit.excess_loss == limit.total / 2
    if length <= 1:  # Theorem 4.1
        old = (1 - length * nu / 2) ** max_iter * distance**2
        old += 2 * zeta**2 / nu * (1 / nu + 1) + 2 * length * noise**2 / nu
        assert limit.total <= old * (1 + 1e-9)
    # An average's bound uses one a for all its iterates.
    arguments["max_iter"] += 1
    longer = bound(**arguments, averaged=1, **errors)
    tail = bound(**arguments, averaged=2, **errors)
    assert tail.total >= (limit.total + longer.total) / 2 * (1 - 1e-9)


def test_each_term_is_apart():
    base = dict(curvature=0.1, smoothness=0.5, learning_rate=1.0, max_iter=50, averaged=1)
    first = bound(**base, distance=2.0, gradient_error=0.0, gradient_noise=0.0)
    assert first.approximation == first.noise == 0
    # No error leaves q^2T, up to the least a that is tried.
    assert first.optimisation == pytest.approx(4 * 0.9**100, rel=1e-4)
    second = bound(**base, distance=0.0, gradient_error=0.3, gradient_noise=0.0)
    assert second.optimisation == second.noise == 0
    assert second.approximation == pytest.approx((0.3 / 0.1) ** 2, rel=0.02)
    third = bound(**base, distance=0.0, gradient_error=0.0, gradient_noise=0.3)
    assert third.optimisation == third.approximation == 0
    assert third.noise == pytest.approx(0.3**2 / (1 - 0.9**2), rel=1e-4)


def test_hardly_any_curvature_bounds_nothing():
    limit = bound(
        curvature=1e-310,
        smoothness=0.25,
        learning_rate=1.0,
        max_iter=3,
        averaged=1,
        distance=1.0,
        gradient_error=0.1,
        gradient_noise=0.1,
    )
    assert limit.total == math.inf or limit.total > 1


# What the plan makes of it.


@pytest.mark.parametrize("classes, owners", [(2, (1, 0)), (3, (1, 0)), (5, (3, 1)), (2, (4, 2))])
def test_figures_are_the_plans(classes, owners):
    plan = make(300, 6, classes, *owners, **plain(averaging=0.5, max_iter=10))
    limit = plan.convergence(0.01, distance=1.0)
    problem, certificate, guarantee = plan.problem, plan.certificate, plan.guarantee
    b, K = problem.intercept_column, problem.n_outputs
    assert limit.smoothness == (1 + b * b) / 4
    multiplier = guarantee.noise_multiplier * certificate.sensitivity * guarantee.noise_excess
    deviation = multiplier * certificate.contributions[-1] / problem.n_samples
    norm = math.sqrt(problem.n_columns * K)
    assert limit.gradient_noise >= deviation * norm * (1 - 1e-12)
    assert limit.gradient_noise == pytest.approx(deviation * norm, rel=1e-6)
    units = (
        plan.encryption.noise_units * layout_of(plan).output_norm / plan.encryption.output_scale
    )
    assert multiplier == pytest.approx(units * guarantee.noise_excess, rel=1e-6)
    polynomial = max(p.sup_error for p in certificate.polynomials) * math.hypot(1, b)
    assert limit.gradient_error >= polynomial * math.sqrt(K)
    assert limit.gradient_error <= polynomial * math.sqrt(K) + 0.1 * limit.gradient_noise
    assert plan.convergence(0.01).distance == 2.0 * math.sqrt(K)
    assert type(limit) is Convergence
    assert plan.convergence(0.01, distance=1.0) == limit
    average = bound(
        curvature=0.01,
        smoothness=limit.smoothness,
        learning_rate=1.0,
        max_iter=10,
        averaged=5,
        distance=1.0,
        gradient_error=limit.gradient_error,
        gradient_noise=limit.gradient_noise,
    )
    assert average == limit


def test_a_penalty_on_all_columns_is_a_curvature():
    plan = make(300, 4, C=0.01, fit_intercept=False, data_norm=2.0, **plain())
    limit = plan.convergence()
    assert limit.curvature == 1 / (0.01 * 300) / 4
    assert limit.smoothness == 0.25 + limit.curvature
    assert limit == plan.convergence(limit.curvature)


@pytest.mark.parametrize(
    "changes, arguments, message",
    [
        ({"momentum": 0.5}, {}, r"got momentum=0.5; plan with momentum=0"),
        ({"precondition": True}, {}, r"plan with precondition=False"),
        ({"learning_rate": 7.0}, {}, r"learning_rate must be below 6.4, .* got 7"),
        ({"standardize": True, "C": 1.0}, {}, r"plan with standardize=False"),
        ({}, {"curvature": None}, r"curvature must be given"),
        ({"C": 1.0}, {"curvature": None}, r"curvature must be given"),
        ({"fit_intercept": False}, {"curvature": None}, r"curvature must be given"),
        ({}, {"curvature": 0.0}, r"curvature must be above 0 and at most 0.3125, .* got 0.0"),
        ({}, {"curvature": math.nan}, r"curvature must be above 0"),
        ({}, {"curvature": 0.4}, r"curvature must be above 0 and at most 0.3125, .* got 0.4"),
        ({}, {"distance": -1.0}, r"distance must be from 0 to 2, .* got -1"),
        ({}, {"distance": 3.0}, r"distance must be from 0 to 2, .* got 3"),
        ({}, {"distance": math.nan}, r"distance must be from 0 to 2"),
    ],
)
def test_conditions_are_checked(changes, arguments, message):
    plan = make(300, 4, **plain(**changes))
    with pytest.raises(ValueError, match=message):
        plan.convergence(**{"curvature": 0.01, **arguments})


def test_standardised_columns_without_a_penalty_have_a_bound():
    plan = make(300, 4, standardize=True, **plain())
    assert plan.convergence(0.01).total > 0
