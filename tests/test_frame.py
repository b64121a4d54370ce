"""How rows are stored, and what noised statistics make of centre, scale and preconditioner."""

import numpy as np
import pytest
from helpers import make
from hypothesis import given, settings
from hypothesis import strategies as st

from skfhe.exceptions import MessageError, PlanMismatch
from skfhe.privacy.frame import Frame
from skfhe.privacy.statistics import deviation, integer_sums, second_moments
from skfhe.protocol import messages
from skfhe.protocol.preparation import (
    fitted_frame,
    pack_frame,
    plain_frame,
    preconditioner,
    unpack_frame,
)

BOTH = {"standardize": True, "precondition": True}


# The frame.


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.floats(0, 1), st.booleans(), st.integers(0, 2**32))
def test_no_stored_row_is_too_long(d, b, shorten, seed):
    """Whatever the row, centre and scale: at most one, and the intercept's entry at most b."""
    rng = np.random.default_rng(seed)
    frame = Frame(
        rng.normal(size=d) * 10.0 ** rng.integers(-3, 4),
        10.0 ** rng.uniform(-5, 5, d),
        b,
        shorten,
    )
    sizes = 10.0 ** rng.uniform(-10, 300, (50, 1))
    X = np.vstack([rng.normal(size=(50, d)) * sizes, np.zeros((1, d)), frame.centre[None]])
    X = np.clip(X, -1.7e308, 1.7e308)
    rows = frame.rows(X)
    assert np.isfinite(rows).all()
    assert np.linalg.norm(rows[:, :d], axis=1).max() <= 1
    if b:
        assert rows[:, -1].max() <= b and rows[:, -1].min() >= 0
    if not shorten and b:
        assert (rows[:, -1] == b).all()


def test_the_released_model_decides_as_on_stored_rows():
    """One output: also for rows that were shortened, however far out they are."""
    rng = np.random.default_rng(0)
    frame = Frame(rng.normal(size=5), np.exp(rng.normal(size=5)), 0.5, True)
    X = frame.centre + rng.normal(size=(500, 5)) * np.exp(3 * rng.normal(size=(500, 1)) - 1)
    weights = rng.normal(size=(6, 1))
    released = frame.original(weights)
    margins = X @ released[:-1] + released[-1]
    stored = frame.rows(X) @ weights
    assert (np.sign(margins) == np.sign(stored)).all()
    inside = np.linalg.norm((X - frame.centre) * frame.scale, axis=1) < 1
    assert 0.02 < inside.mean() < 0.98
    np.testing.assert_allclose(margins[inside], stored[inside])


@pytest.mark.parametrize("classes", [2, 4])
def test_without_noise_the_frame_centres_and_scales(classes):
    plan = make(n=5000, d=6, classes=classes, epsilon=100.0, **BOTH)
    rng = np.random.default_rng(1)
    spread = np.linspace(0.1, 0.4, 6)
    X = np.clip(rng.normal(size=(5000, 6)) * spread + np.linspace(-0.5, 0.5, 6), -1, 1)
    frame = fitted_frame(plan, integer_sums("moments", plan, plain_frame(plan), X))
    np.testing.assert_allclose(frame.centre, X.mean(axis=0), atol=0.02)
    ratio = frame.scale * X.std(axis=0)
    if classes == 2:  # a scale for every column
        np.testing.assert_allclose(ratio / ratio.mean(), 1, atol=0.1)
    else:
        np.testing.assert_allclose(frame.scale, frame.scale[0])
    rms = np.sqrt(np.mean(np.sum(((X - frame.centre) * frame.scale) ** 2, axis=1)))
    assert rms * plan.preparation.radius == pytest.approx(1, rel=0.05)


def test_noise_alone_gives_a_modest_frame():
    """Nothing is left of sums under so much noise: centres and scales stay near their priors."""
    plan = make(n=20, d=30, epsilon=0.05, **BOTH)
    rng = np.random.default_rng(2)
    units = plan.preparation.moments.noise_units
    for _ in range(20):
        frame = fitted_frame(plan, units * rng.normal(size=60))
        assert np.isfinite(frame.scale).all() and (frame.scale > 0).all()
        X = rng.uniform(-1, 1, (200, 30))
        norms = np.linalg.norm((X - frame.centre) * frame.scale, axis=1)
        assert 0.05 < np.median(norms) < 20


def test_without_an_intercept_nothing_is_centred():
    plan = make(n=500, d=3, fit_intercept=False, epsilon=100.0, **BOTH)
    X = np.full((500, 3), 0.5)
    frame = fitted_frame(plan, integer_sums("moments", plan, plain_frame(plan), X))
    assert not frame.centre.any()


def test_frames_survive_the_wire():
    plan = make(d=3, **BOTH)
    frame = Frame(np.array([0.1, -0.2, 1 / 3]), np.array([1.0, 2.0, 1e-3]), 0.5, True)
    again = unpack_frame(pack_frame(frame, plan, "run"), plan, "run")
    np.testing.assert_array_equal(again.centre, frame.centre)
    np.testing.assert_array_equal(again.scale, frame.scale)
    assert again.intercept_column == 0.5 and again.shorten_intercept
    with pytest.raises(PlanMismatch):
        unpack_frame(pack_frame(frame, plan, "another"), plan, "run")


@pytest.mark.parametrize(
    "sections",
    [
        [b"", b""],
        [np.ones(2).tobytes(), np.ones(3).tobytes()],
        [np.array([0, np.nan, 0]).tobytes(), np.ones(3).tobytes()],
        [np.zeros(3).tobytes(), np.array([1.0, 0, 1]).tobytes()],
        [np.zeros(3).tobytes(), np.array([1.0, -1, 1]).tobytes()],
        [np.zeros(3).tobytes(), np.array([1.0, np.inf, 1]).tobytes()],
        [np.zeros(3).tobytes(), np.array([1.0, 1e200, 1]).tobytes()],
        [np.full(3, 1.7e308).tobytes(), np.ones(3).tobytes()],
    ],
)
def test_malformed_frames_are_refused(sections):
    plan = make(d=3, **BOTH)
    data = messages.pack("frame", plan.digest, sections, run="run")
    with pytest.raises(MessageError, match="a frame must have"):
        unpack_frame(data, plan, "run")


# The preconditioner.


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 100.0])
def test_the_preconditioner_is_safe_and_useful(epsilon):
    """Positive definite, steps stable, and near the inverse where noise is small."""
    plan = make(n=3000, d=10, epsilon=epsilon, **BOTH)
    rng = np.random.default_rng(3)
    X = np.clip(rng.normal(size=(3000, 10)) @ np.diag(np.linspace(0.02, 0.5, 10)), -1, 1)
    frame = plain_frame(plan)
    rows = frame.rows(X)
    hessian = rows.T @ rows / len(rows) / 4
    sums = integer_sums("curvature", plan, frame, X)
    units = plan.preparation.curvature.noise_units
    largest = []
    for _ in range(20):
        matrix = preconditioner(plan, sums + units * rng.normal(size=len(sums)))
        np.testing.assert_allclose(matrix, matrix.T, rtol=1e-6, atol=1e-9 * np.abs(matrix).max())
        assert np.linalg.eigvalsh(matrix).min() > 0
        largest.append(np.linalg.eigvals(matrix @ hessian).real.max())
    # Gradient steps with momentum m = .4 are stable below 2 (1 + m) / (1 + 2 m) = 1.55.
    print(f"epsilon {epsilon}: curvature after preconditioning at most {max(largest):.2f}")
    assert max(largest) < 1.55
    if epsilon == 100.0:
        assert min(largest) > 0.9


def test_the_noise_of_the_curvature_is_what_the_damping_takes_it_for():
    """Its spectral norm is about sqrt(2 D) deviations of a diagonal entry."""
    plan = make(n=1000, d=60, **BOTH)
    rng = np.random.default_rng(4)
    units = plan.preparation.curvature.noise_units
    length = plan.preparation.curvature.length
    norms = [
        np.linalg.norm(second_moments(units * rng.normal(size=length), plan), 2) for _ in range(10)
    ]
    expected = np.sqrt(2 * plan.problem.n_columns) * deviation("curvature", plan)
    assert np.mean(norms) == pytest.approx(expected, rel=0.1)
