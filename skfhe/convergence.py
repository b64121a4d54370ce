r"""How far from the optimum a run ends: a bound on the mean squared distance.

For steps without momentum and preconditioner, on the noised gradient with the polynomial,

    w_{t+1} = B(w_t - eta (grad f(w_t) - h_t + chi_t)),   ||h_t|| <= zeta,

    E chi_t = 0,   E ||chi_t||^2 <= v,   nu I <= Hess f <= beta I on the ball that B projects
    onto,   q = max(|1 - eta nu|, |1 - eta beta|) < 1,

and every a with q < a <= 1, rho = q a,

    E ||w_T - w*||^2 <= rho^T ||w_0 - w*||^2
                        + (1 - rho^T) / (1 - rho) eta^2 (zeta^2 a / (a - q) + v),

where w* minimises f on the ball (docs/proofs/convergence.md, statement 10). This is the bound of
Zhou et al., "Revisiting ML Training under Fully Homomorphic Encryption", arXiv 2605.27782, Theorem
4.1, for projected steps and with smaller constants: a = 1 and eta (nu + beta) <= 2 make it
(1 - eta nu)^T ||w_0 - w*||^2 + zeta^2/nu^2 + eta v/nu.

Everything but the curvature nu follows from the plan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .plan import TrainingPlan

# g of a = q + (1 - q) g; every one gives a bound, and the least is taken.
_SHARES = np.geomspace(1e-6, 1.0, 121)


@dataclass(frozen=True)
class Convergence:
    """Bound on the mean squared distance of the released weights from the optimum, in terms.

    Distances are those of weights for stored rows, whose norm is at most one, over all columns
    and outputs together. The mean is over the noise, for any rows. All of it is public, and proved
    in docs/proofs/convergence.md, statement 10.

    Attributes
    ----------
    optimisation : float
        What is left of the first distance: it falls geometrically with the steps.
    approximation : float
        What the polynomial's error costs, that of encryption included.
    noise : float
        What the noise of the releases costs.
    distance : float
        Bound on the distance of the first weights from the optimum.
    curvature, smoothness : float
        Bounds nu and beta on the eigenvalues of the Hessian of the mean loss on the ball.
    gradient_error : float
        Bound zeta on the norm of the mean gradient's error without noise.
    gradient_noise : float
        Bound sqrt(v) on the root mean square norm of the mean gradient's noise.
    rate : float
        Factor rho that the first squared distance is multiplied with in every step.
    """

    optimisation: float
    approximation: float
    noise: float
    distance: float
    curvature: float
    smoothness: float
    gradient_error: float
    gradient_noise: float
    rate: float

    @property
    def total(self) -> float:
        """The bound on the mean squared distance: the sum of the three terms."""
        return self.optimisation + self.approximation + self.noise

    @property
    def excess_loss(self) -> float:
        """Bound on the mean excess of the mean loss, if the optimum lies inside the ball.

        beta/2 times the total, as the gradient of the loss is zero there.
        """
        return self.smoothness / 2 * self.total


def of_plan(
    plan: TrainingPlan, curvature: float | None = None, distance: float | None = None
) -> Convergence:
    """The bound for a plan; see `skfhe.TrainingPlan.convergence`.

    Parameters
    ----------
    plan : TrainingPlan
        Without momentum and preconditioner.
    curvature : float, optional
        Lower bound nu on the eigenvalues of the Hessian of the mean loss; by default the
        penalty's own.
    distance : float, optional
        Of the first weights from the optimum; by default the largest possible.

    Returns
    -------
    convergence : Convergence
        The bound, term by term.

    Raises
    ------
    ValueError
        If the bound does not hold for this plan, or an argument is out of its range.
    """
    problem, optimizer = plan.problem, plan.optimizer
    if problem.hidden_units:
        raise ValueError(
            "this bound is for the linear model, whose loss is convex; there is none for networks."
        )
    if plan.rounds:
        raise ValueError(
            "this bound is for steps that are projected one by one; there is none for rounds of "
            "several steps."
        )
    penalty = _penalty(plan)
    squared_norm = 1 + problem.intercept_column**2
    smoothness = squared_norm / 4 + penalty
    _require_steps(plan, smoothness)
    if curvature is None:
        curvature = 0.0 if problem.intercept_column else penalty
        if not curvature:
            raise ValueError(
                "curvature must be given, since nothing public bounds it: only a penalty (C) on "
                "all columns, without an intercept, is a bound of its own. It is the least "
                "eigenvalue of the Hessian of the mean loss on the ball of weights."
            )
    if not 0 < curvature <= smoothness:
        raise ValueError(
            f"curvature must be above 0 and at most {smoothness:.4g}, the largest that the loss "
            f"can have on rows within the bound, got {curvature}."
        )
    largest = optimizer.weight_norm * math.sqrt(problem.n_outputs)
    if distance is None:
        distance = largest
    if not 0 <= distance <= largest:
        raise ValueError(
            f"distance must be from 0 to {largest:.4g}, the farthest that weights can be from "
            f"where they start, got {distance}; None takes the farthest."
        )
    return bound(
        curvature=curvature,
        smoothness=smoothness,
        learning_rate=optimizer.learning_rate,
        max_iter=optimizer.max_iter,
        averaged=max(1, round(optimizer.averaging * optimizer.max_iter)),
        distance=distance,
        gradient_error=_gradient_error(plan),
        gradient_noise=_deviation(plan) * math.sqrt(problem.n_columns * problem.n_outputs),
    )


def bound(
    *,
    curvature: float,
    smoothness: float,
    learning_rate: float,
    max_iter: int,
    averaged: int,
    distance: float,
    gradient_error: float,
    gradient_noise: float,
) -> Convergence:
    """The bound of docs/proofs/convergence.md, statement 10, at the best of its a.

    For an average of the last iterates: the mean of their bounds, since the squared distance is
    convex (Jensen).

    Parameters
    ----------
    curvature, smoothness : float
        Bounds nu and beta on the eigenvalues of the Hessian of the mean loss.
    learning_rate : float
        Step size eta, above 0 and below 2/beta.
    max_iter : int
        Number T of steps.
    averaged : int
        How many of the last iterates are averaged, from 1 to T.
    distance, gradient_error, gradient_noise : float
        Bounds ||w_0 - w*||, zeta and sqrt(v).

    Returns
    -------
    convergence : Convergence
        The bound, term by term.
    """
    # 1 - q and 1 - rho, formed without cancellation; a = 1 - gap (1 - g) and a - q = gap g.
    gap = min(learning_rate * curvature, 2 - learning_rate * smoothness)
    gaps = gap * (1 + (1 - gap) * (1 - _SHARES))
    steps = np.arange(max_iter - averaged + 1, max_iter + 1)
    # A rate of zero has the logarithm -inf; hardly any curvature makes a bound of inf.
    with np.errstate(divide="ignore", over="ignore"):
        powers = np.log1p(-gaps)[:, None] * steps
        optimisation = np.exp(powers).mean(axis=1) * distance**2
        sums = -np.expm1(powers).mean(axis=1) / gaps * learning_rate**2
        amplified = (1 - gap * (1 - _SHARES)) / (gap * _SHARES)
        approximation = sums * gradient_error**2 * amplified
        noise = sums * gradient_noise**2
    best = int(np.argmin(optimisation + approximation + noise))
    return Convergence(
        optimisation=float(optimisation[best]),
        approximation=float(approximation[best]),
        noise=float(noise[best]),
        distance=float(distance),
        curvature=float(curvature),
        smoothness=float(smoothness),
        gradient_error=float(gradient_error),
        gradient_noise=float(gradient_noise),
        rate=float(1 - gaps[best]),
    )


def _penalty(plan: TrainingPlan) -> float:
    """The penalty's curvature for weights of stored rows; refuses one that depends on the data."""
    regularization = plan.optimizer.regularization
    if regularization and plan.preparation.moments:
        raise ValueError(
            "the penalty of a plan that standardises depends on scales that are not released "
            'yet, so its curvature has no public bound; plan with standardize=False or C="auto".'
        )
    return regularization / plan.problem.data_norm**2


def _require_steps(plan: TrainingPlan, smoothness: float) -> None:
    """Refuse steps that the statement is not about."""
    optimizer = plan.optimizer
    if optimizer.momentum:
        raise ValueError(
            "the bound is proved for steps without momentum, got "
            f"momentum={optimizer.momentum:.4g}; plan with momentum=0."
        )
    if plan.preparation.curvature:
        raise ValueError(
            "the bound is proved for steps without a preconditioner, which depends on the data, "
            "got one; plan with precondition=False."
        )
    if not 0 < optimizer.learning_rate * smoothness < 2:
        raise ValueError(
            f"learning_rate must be below {2 / smoothness:.4g}, two over the largest curvature "
            f"{smoothness:.4g} of the loss, for steps to contract, got "
            f"{optimizer.learning_rate:.4g}; plan with a smaller one (half of that is usual)."
        )


def _gradient_error(plan: TrainingPlan) -> float:
    """zeta: of the polynomial that errs most, and of encryption, over all outputs.

    In every output a row's residual errs by sup_error at most, times its norm. The flooding of
    the plan is the sum of (error/sigma)^2 / 2, so no release errs by more than the root of twice
    that, in units of sigma.
    """
    problem, certificate = plan.problem, plan.certificate
    row_norm = math.hypot(1.0, problem.intercept_column)
    error = max(p.sup_error for p in certificate.polynomials) * row_norm
    encryption = math.sqrt(2 * plan.guarantee.flooding) * _deviation(plan)
    return error * math.sqrt(problem.n_outputs) + encryption


def _deviation(plan: TrainingPlan) -> float:
    """Deviation of the mean gradient's noise in one column of one output, at the largest S.

    The noise of all owners on a coefficient, as they round their shares up; a map that is
    isometric up to a factor (docs/proofs/errors.md, statement 5) makes sums of coefficients.
    """
    problem, used, guarantee = plan.problem, plan.encryption, plan.guarantee
    honest = guarantee.n_owners - guarantee.n_colluding
    share = math.isqrt(-(-(used.noise_units**2) // honest) - 1) + 1
    units = share * math.sqrt(guarantee.n_owners)
    blocks = 1 << (problem.n_outputs - 1).bit_length()
    norm = used.poly_modulus_degree / (2 * used.feature_blocks * math.sqrt(blocks))
    largest = plan.certificate.contributions[-1]
    return units * norm / used.output_scale * largest / problem.n_samples
