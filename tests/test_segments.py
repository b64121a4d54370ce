"""What is carried over a refresh, and the refresh itself, on simulated ciphertexts."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skfhe.circuits.refreshing import refreshed
from skfhe.circuits.segments import n_carried, segments
from skfhe.crypto import errors
from skfhe.crypto.embedding import coefficients_to_slots, slots_to_coefficients
from skfhe.crypto.parameters import MAX_SPARSE_MODULUS_BITS, Ring
from skfhe.crypto.primes import is_prime, scaling_primes
from skfhe.crypto.simulated import SimulatedCiphertext, SimulatedScheme
from skfhe.exceptions import DepthExceeded, InfeasiblePlan
from skfhe.planning import levelled_bounds
from skfhe.planning.refreshed_error import largest_error
from skfhe.planning.rings import refreshing_rings
from skfhe.planning.schedule import REFRESHED_SHARE
from skfhe.privacy import trajectory

STEPS = {
    "chebyshev": trajectory.semi_iteration(20, 0.27, 60.0),
    "accelerated": trajectory.accelerated(20, 0.3),
    "heavy ball": trajectory.heavy_ball(20, 2.0, 0.8),
    "plain": trajectory.plain([1.5] * 20),
}


@given(st.sampled_from(sorted(STEPS)), st.sets(st.integers(1, 19)), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_points_are_those_without_refreshes(kind, steps, seed):
    points, refreshes = STEPS[kind], sorted(steps)
    gradients = np.random.default_rng(seed).normal(size=(len(points), 3))
    sources, found = [], {}
    for index, segment in enumerate(segments(points, refreshes)):
        assert (segment.first == refreshes[index - 1]) if index else segment.first == 0
        sources = [np.array(row) @ np.array(sources) for row in segment.carried]
        assert len(sources) <= (1 if kind == "plain" else 2)
        if sources:  # the first carried vector is the point itself
            np.testing.assert_allclose(sources[0], found[segment.first], rtol=1e-9)
        for step, factors in zip(segment.steps, segment.points, strict=True):
            sources.append(gradients[step])
            found[step + 1] = np.array(factors) @ np.array(sources)
    for t, row in enumerate(points, start=1):
        np.testing.assert_allclose(
            found[t], np.array(row) @ gradients[:t], rtol=1e-8, atol=1e-8 * max(row)
        )


@given(
    st.sampled_from(sorted(STEPS)), st.sets(st.integers(1, 19), min_size=1), st.integers(0, 999)
)
@settings(max_examples=100, deadline=None)
def test_errors_of_refreshes_reach_points_as_is_told(kind, steps, seed):
    """Statement 15's D by following every error through the steps, one at a time."""
    points, refreshes = STEPS[kind], sorted(steps)
    parts, rng = segments(points, refreshes), np.random.default_rng(seed)
    sizes = [rng.uniform(0.1, 1, len(part.carried)) for part in parts]
    order = [(i, j) for i, part in enumerate(parts) for j in range(len(part.carried))]
    shifts, sources = {}, np.zeros((0, len(order)))
    for index, part in enumerate(parts):
        sources = np.array(part.carried) @ sources if index else sources
        for j in range(len(part.carried)):
            sources[j, order.index((index, j))] += 1.0
        if index:
            shifts[part.first] = sources[0]
        for step, factors in zip(part.steps, part.points, strict=True):
            sources = np.vstack([sources, np.zeros(len(order))])
            if step + 1 not in refreshes:
                shifts[step + 1] = np.array(factors) @ sources
    flat = np.concatenate([sizes[i] for i in range(len(parts))])
    circuit = SimpleNamespace(
        segments=parts,
        refreshes=refreshes,
        gradients=[None] * len(points),
        factored=SimpleNamespace(alpha=1.0),
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_deviations", "_distortions"):
            patch.setattr(levelled_bounds, name, lambda one, index: [*sizes[index]])
        for point, shift in shifts.items():
            told = levelled_bounds.refresh_kick(circuit, point)
            assert told.deviation == pytest.approx(np.linalg.norm(shift * flat), rel=1e-9)
            assert told.distortion == pytest.approx(np.abs(shift) @ flat, rel=1e-9)


def test_steps_that_remember_more_are_refused():
    rng = np.random.default_rng(0)
    points = [tuple(rng.normal(size=t)) for t in range(1, 7)]
    with pytest.raises(ValueError, match="more than 2 vectors"):
        segments(points, [4])
    with pytest.raises(ValueError, match="ascending and within 6 steps"):
        segments(points, [6])
    # A huge point lends others no tolerance: they are certified as they are told.
    huge = [(1e-3,), (1.0, 1e-3), (100.0, -100.0, 1e-3), (1.1e11, 1.1e8, 1e-3, 1e-3)]
    assert n_carried(huge, 2) == 2
    assert n_carried(STEPS["plain"], 5) == 1
    assert n_carried(STEPS["chebyshev"], 5) == 2


def test_primes_are_primes():
    primes = scaling_primes(65536, 20, 59, 60, 5)
    assert len(set(primes)) == 25
    assert all(is_prime(q) and q % (2 * 65536) == 1 for q in primes)
    assert all(abs(q / 2.0**59 - 1) < 1e-9 for q in primes[1:20])
    assert all(2**59 < q < 2**60 for q in (primes[0], *primes[20:]))
    small = [n for n in range(2, 2000) if all(n % d for d in range(2, int(n**0.5) + 1))]
    assert [n for n in range(2000) if is_prime(n)] == small
    # Strong pseudoprimes to the bases 2; 2, 3; 2, 3, 5; and so on up to 23.
    for composite in (2047, 1373653, 25326001, 3215031751, 341550071728321, 3825123056546413051):
        assert not is_prime(composite)


@pytest.mark.parametrize("ring", refreshing_rings(64), ids=lambda ring: f"{ring.n_data} primes")
def test_rings_are_secure_and_others_refused(ring):
    n = ring.poly_modulus_degree
    assert ring.total_bits <= MAX_SPARSE_MODULUS_BITS[n]
    more = (*ring.primes, *scaling_primes(n, 30, 59, 60, 1)[21:25])
    with pytest.raises(InfeasiblePlan, match="128-bit"):
        Ring(n, more, ring.n_special, ring.digit_primes, ring.refreshing)
    with pytest.raises(InfeasiblePlan, match="poly_modulus_degree"):
        Ring(32768, ring.primes, ring.n_special, ring.digit_primes, ring.refreshing)


def evaluator(ring, **options):
    scheme = SimulatedScheme(ring, **options)
    return scheme.evaluator(scheme.generate([]).evaluation_keys())


def test_the_second_refresh_takes_the_error_of_the_first_away():
    (ring, *_), share = refreshing_rings(64), REFRESHED_SHARE
    n, backend = ring.poly_modulus_degree, evaluator(ring)
    rng, kept = np.random.default_rng(0), slice(None, None, n // 128)
    message = np.zeros(n)
    message[kept] = rng.uniform(-1, 1, 128)
    message[kept][0] = 1.0
    scale = share * ring.primes[0] / 8
    second = int(share * ring.primes[0] / largest_error(ring))
    prime = ring.primes[ring.top_level]
    lifts = (8, second, prime // (8 * second))
    noisy = message + np.where(np.arange(n) % (n // 128), rng.normal(size=n), 0.0)
    a = SimulatedCiphertext(coefficients_to_slots(ring, noisy), scale, 1)
    once = slots_to_coefficients(ring, backend.refresh(backend.multiply_constant(a, 1.0, 8)).slots)
    twice = refreshed(backend, a, lifts)
    assert twice.level == ring.top_level - 1
    assert twice.scale == pytest.approx(scale, rel=1e-6)
    coefficients = slots_to_coefficients(ring, twice.slots)
    assert np.max(np.abs(np.delete(coefficients, np.arange(0, n, n // 128)))) < 1e-12
    worst = [np.max(np.abs(one[kept] - message[kept])) for one in (once, coefficients)]
    # The sine shortens the largest message by as much as is told, and then its own error.
    shortened, noise = errors.refresh_distortion(share), errors.refresh_error(ring) / second
    assert worst[0] == pytest.approx(shortened, rel=0.2)
    assert noise / (8 * scale) < worst[1] < shortened**2 + 8 * noise / (8 * scale)


def test_refreshes_are_refused_where_there_are_none():
    (ring, *_) = refreshing_rings(64)
    spent = SimulatedCiphertext(np.zeros(ring.slots, dtype=complex), 2.0**40, 0)
    with pytest.raises(DepthExceeded, match="level 1"):
        evaluator(ring).refresh(spent)
    plain = Ring(8192, ((1 << 50) - 1, (1 << 55) - 1, (1 << 60) - 1))
    with pytest.raises(ValueError, match="cannot be refreshed"):
        evaluator(plain).refresh(SimulatedCiphertext(np.zeros(4096, dtype=complex), 2.0**30, 1))
