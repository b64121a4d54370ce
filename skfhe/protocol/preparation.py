r"""What the key holder makes of the noised statistics: post-processing, free of privacy cost.

**Centre and scale.** The released mean of a column is its mean plus noise of known deviation s.
Empirical Bayes (a normal prior whose variance is estimated from all columns) shrinks means
towards zero and variances towards their average, by as much as noise dominates; with little noise
nothing is shrunk. Then rows are scaled so that their mean squared norm is one over the squared
radius, in the released figures.

**Preconditioner.** The Hessian of the mean loss is at most a quarter of the second moments A of
the stored rows (|s'| <= 1/4). With the noised A, its negative eigenvalues set to zero, and nu the
spectral norm of its noise,

    P = (A/4 + (damping nu / 4 + floor) I)^{-1}

bounds the Hessian's inverse from below in directions where A stands out of its noise, and keeps
steps short in all others, where a Newton step would amplify noise. For a symmetric D x D matrix
whose entries have deviation s on the diagonal and s/sqrt(2) elsewhere, nu = s sqrt(2 D) up to a
factor near one (Wigner). The intercept's entry is a single diagonal one, whose noise is s rather
than nu, so it is damped less.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..exceptions import MessageError
from ..plan import TrainingPlan
from ..privacy.frame import LARGEST_FRAME, Frame
from ..privacy.statistics import deviation, moments, second_moments
from . import messages

# Prior of the columns' average variance, over the squared box: that of uniform columns within a
# third of the box, give or take as much.
_PRIOR_VARIANCE = 1 / 9
_LEAST_VARIANCE = 1e-3
_INTERCEPT_DAMPING = 0.25
_CURVATURE = 0.25


def plain_frame(plan: TrainingPlan) -> Frame:
    """Rows divided by the row bound: what is used where no moments are released."""
    problem = plan.problem
    scale = np.full(problem.n_features, 1 / problem.data_norm)
    return _frame(plan, np.zeros(problem.n_features), scale)


def fitted_frame(plan: TrainingPlan, sums: NDArray) -> Frame:
    """Centre and scales from noised moments.

    Parameters
    ----------
    plan : TrainingPlan
        Says what was released, and with how much noise.
    sums : ndarray of shape (2 * n_features,)
        Noised sums of columns and of their squares, in integer units. Public.
    """
    prepared = plan.preparation
    means, squares = moments(sums, plan)
    noise = deviation("moments", plan)
    variances = squares - np.maximum(means**2 - noise**2, 0)
    kept = kept_share(np.mean(means**2), noise**2)
    # Without an intercept a centre would move the decision's origin.
    centre = means * (kept if plan.problem.intercept_column else 0.0)
    variances, left = _shrunk(variances, noise)
    variances = np.maximum(variances + kept * noise**2, 0)
    if prepared.scale_columns:
        scale = 1 / np.sqrt(variances + left + _LEAST_VARIANCE)
    else:
        scale = np.ones_like(variances)
    reach = max(float(np.sum(variances * scale**2)), 0.02)
    scale = scale / (math.sqrt(reach) * prepared.radius)
    return _frame(plan, centre * prepared.box, scale / prepared.box)


def preconditioner(plan: TrainingPlan, sums: NDArray) -> NDArray:
    """P from noised second moments, positive definite, of shape (n_columns, n_columns)."""
    return np.linalg.inv(damped_curvature(plan, sums))


def damped_curvature(plan: TrainingPlan, sums: NDArray) -> NDArray:
    """The inverse of P: a quarter of the second moments, and the damping."""
    prepared, problem = plan.preparation, plan.problem
    values, vectors = np.linalg.eigh(second_moments(sums, plan))
    noise = math.sqrt(2 * problem.n_columns) * deviation("curvature", plan)
    damping = np.full(problem.n_columns, _CURVATURE * prepared.damping * noise + prepared.floor)
    if problem.intercept_column:
        damping[-1] *= _INTERCEPT_DAMPING
    curvature = (vectors * (_CURVATURE * np.maximum(values, 0))) @ vectors.T
    return curvature + np.diag(damping)


def pack_frame(frame: Frame, plan: TrainingPlan, run: str) -> bytes:
    """The key holder's message that tells owners how rows are stored. Public."""
    sections = [values.astype("<f8").tobytes() for values in (frame.centre, frame.scale)]
    return messages.pack("frame", plan.digest, sections, run=run)


def unpack_frame(data: bytes, plan: TrainingPlan, run: str) -> Frame:
    """Read it back.

    Raises
    ------
    MessageError, PlanMismatch
        If it is malformed, or made for another plan or run.
    """
    _, sections = messages.unpack(data, "frame", plan.digest, 2, run=run)
    if any(len(section) != 8 * plan.problem.n_features for section in sections):
        raise MessageError("a frame must have a centre and a scale for every column.")
    centre, scale = (np.frombuffer(section, dtype="<f8") for section in sections)
    if not (
        (np.abs(centre) <= LARGEST_FRAME).all()
        and ((scale >= 1 / LARGEST_FRAME) & (scale <= LARGEST_FRAME)).all()
    ):
        raise MessageError(
            f"a frame must have centres within {LARGEST_FRAME:g}, and positive scales within it "
            "and its inverse."
        )
    return _frame(plan, centre, scale)


def _frame(plan: TrainingPlan, centre: NDArray, scale: NDArray) -> Frame:
    return Frame(centre, scale, plan.problem.intercept_column, plan.problem.shorten_intercept)


def kept_share(total: float, noise: float) -> float:
    """Share of a mean square that is not noise: what empirical Bayes keeps of a value."""
    signal = max(total - noise, 0.0)
    return signal / (signal + noise) if signal else 0.0


def _shrunk(variances: NDArray, noise: float) -> tuple[NDArray, float]:
    """Variances drawn to their average, and the deviation of the noise that is left in each."""
    average, prior = float(np.mean(variances)), _PRIOR_VARIANCE
    uncertain = noise**2 / len(variances)
    average = (average * prior**2 + prior * uncertain) / (prior**2 + uncertain)
    average = max(average, 0.01)
    kept = kept_share(float(np.mean((variances - np.mean(variances)) ** 2)), noise**2)
    return average + kept * (variances - average), noise * math.sqrt(kept)
