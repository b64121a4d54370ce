"""What the key holder decrypts: outputs with their noise, and nothing of the data elsewhere."""

import itertools
import math

import numpy as np
import pytest
from helpers import (
    exact_coefficients,
    exact_sums,
    gather,
    layout_of,
    make,
    make_rows,
    output_columns,
    random_weights,
    ring_of,
    stored_rows,
)
from scipy import stats
from sklearn.datasets import load_breast_cancer

from skfhe import EncryptedDPLogisticRegression, KeyHolder
from skfhe.crypto.embedding import coefficients_to_slots

# Seeds are the operating system's: a level that one run in a million fails by chance.
LEVEL = 1e-6


def cancer():
    """455 rows of breast cancer, columns scaled to [-1, 1]."""
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[:455], y[:455]
    return 2 * (X - X.min(axis=0)) / np.ptp(X, axis=0) - 1, y


def cancer_plan(degree, **parameters):
    return make(n=455, d=30, degree=degree, **parameters)


def opposite(plan):
    """Two data sets as different as the row bound allows."""
    X, targets = make_rows(plan)
    extreme = np.zeros_like(X)
    extreme[:, 0] = plan.problem.data_norm
    return (X, targets), (extreme, np.ones(len(X), dtype=int))


def is_output(layout):
    """Which coefficients carry an output."""
    mask = np.zeros((2 * layout.class_blocks, layout.class_span), dtype=bool)
    for offset, (real, imaginary) in output_columns(layout):
        if real is not None or imaginary is not None:
            mask[:, offset] = True
    return mask.ravel()


def test_the_map_of_outputs():
    """The helpers' inverse of `unpack_sums` is one, and is an isometry up to `output_norm`."""
    rng = np.random.default_rng(0)
    for arguments in ({}, {"classes": 3}, {"n": 455, "d": 30}, {"classes": 10, "d": 20}):
        layout = layout_of(make(**arguments))
        sums = rng.normal(size=(layout.n_columns, layout.n_outputs))
        coefficients = exact_coefficients(layout, sums)
        np.testing.assert_allclose(layout.unpack_sums(coefficients), sums, atol=1e-12)
        assert np.linalg.norm(coefficients) * layout.output_norm == pytest.approx(
            np.linalg.norm(sums)
        )
        assert not np.any(coefficients[~is_output(layout)])


# Without noise: what the circuit leaves outside the outputs.


@pytest.fixture(scope="module", params=[2, 3])
def bare(request):
    """Ten noiseless sums each of two very different data sets, at the same weights.

    Under the same keys, and with what sums of other rows tell of their errors' mean and spread,
    anew for each: key switches add something to every sum alike, whatever the data is, and
    merging doubles errors of some coefficients more often than of others.
    """
    plan = make(d=6, classes=request.param)
    rng = np.random.default_rng(0)
    points = [random_weights(plan, rng) for _ in range(10)]
    key_holder, results = KeyHolder(plan), []
    keys = key_holder, key_holder.evaluation_keys()
    for data in (*opposite(plan), make_rows(plan, 1), make_rows(plan, 2)):
        parties = gather(plan, data=data, keys=keys)
        results.append(np.array([parties.decrypt(parties.at(w)) for w in points]))
    errors = [
        (found - other.mean(axis=0)) / np.maximum(other.std(axis=0), 0.5)
        for found, other in zip(results[:2], results[2:], strict=True)
    ]
    return plan, points, results[:2], errors


def test_outside_the_outputs_there_are_only_small_errors(bare):
    plan, _, results, _ = bare
    layout = layout_of(plan)
    unit = plan.encryption.output_scale / layout.output_norm
    outside = ~is_output(layout)
    assert outside.sum() > plan.encryption.poly_modulus_degree * 0.9
    for found in results:
        assert np.abs(found[:, ~outside]).max() > 0.1 * unit  # the sums themselves are large
        rest = np.linalg.norm(found[:, outside], axis=1) / unit
        assert rest.max() <= plan.certificate.error / 2
        assert np.abs(found[:, outside]).max() < 1e-3 * plan.encryption.noise_units


def signals(plan, data, weights):
    """What a sum that is not projected would leave in slots: rows, margins, sliding sums."""
    layout = layout_of(plan)
    rows = stored_rows(plan, data[0])
    for column in (rows[:, 0], rows @ weights[:, 0], np.cumsum(rows[:, 1])):
        values = np.zeros(layout.rows_per_chunk)
        values[: len(column)] = column
        yield np.tile(np.repeat(values, layout.class_blocks), layout.feature_blocks)


def correlation(slots, signal):
    """In standard deviations of what independent noise would give."""
    signal = signal - signal.mean()
    if np.linalg.norm(signal) < 1e-9:
        return 0.0
    parts = [abs(part @ signal) / np.std(part) for part in (slots.real, slots.imag)]
    return max(parts) / np.linalg.norm(signal)


def test_those_errors_are_alike_for_different_data(bare):
    """The same spread, and no trace of the rows."""
    plan, points, _, errors = bare
    ring, outside = ring_of(plan), ~is_output(layout_of(plan))
    first, second = (np.mean(found[:, outside] ** 2) for found in errors)
    assert 1 / 2.25 < first / second < 2.25
    for data, found in zip(opposite(plan), errors, strict=True):
        for weights, coefficients in zip(points, found, strict=True):
            slots = coefficients_to_slots(ring, coefficients * outside)
            for signal in signals(plan, data, weights):
                assert correlation(slots, signal) < 6
                if np.ptp(signal):  # a leak a fifth as large as the errors would be seen
                    leak = 0.2 * np.std(slots) * signal / np.std(signal)
                    assert correlation(slots + leak, signal) > 6


def test_errors_of_two_data_sets_are_not_correlated(bare):
    plan, _, _, errors = bare
    outside = ~is_output(layout_of(plan))
    for a, b in zip(*(found[:, outside] for found in errors), strict=True):
        assert abs(stats.pearsonr(a, b).statistic) < 5.5 / math.sqrt(a.size)


# With noise.


@pytest.mark.parametrize("n_owners, n_colluding", [(1, 0), (3, 1)])
def test_outside_the_outputs_there_is_the_noise_alone(n_owners, n_colluding):
    """A KS test of every coefficient that is no output, and the spread of all."""
    plan = make(d=6, n_owners=n_owners, n_colluding=n_colluding, max_iter=6)
    layout, honest = layout_of(plan), n_owners - n_colluding
    sigma = plan.encryption.noise_units * math.sqrt(n_owners / honest)
    outside = ~is_output(layout)
    for data in opposite(plan):
        parties = gather(plan, data=data)
        released = []
        for _ in range(6):
            reply = parties.step()
            released.append(parties.decrypt(reply)[outside])
            parties.key_holder.release(reply)
            assert stats.kstest(released[-1] / sigma, "norm").pvalue > LEVEL
        pooled = np.concatenate(released)
        assert np.std(pooled) == pytest.approx(sigma, rel=0.03)
        assert abs(np.mean(pooled)) < 5 * sigma / math.sqrt(pooled.size)
        # Steps have fresh noise: nothing repeats.
        for a, b in itertools.pairwise(released):
            assert abs(stats.pearsonr(a, b).statistic) < 5.5 / math.sqrt(a.size)


def test_outputs_have_the_noise_too():
    """The same spread on the outputs, about the exact sums."""
    plan = make(d=20, max_iter=20)
    layout = layout_of(plan)
    parties = gather(plan)
    noise = []
    for _ in range(20):
        weights = parties.key_holder._course.optimizer.point
        reply = parties.step()
        got = layout.unpack_sums(parties.decrypt(reply) / plan.encryption.output_scale)
        exact = exact_sums(
            plan, parties.key_holder._certified.indices, weights, parties.X, parties.targets
        )
        noise.append(got - exact)
        parties.key_holder.release(reply)
    noise = np.array(noise).ravel()
    sigma = plan.guarantee.noise_multiplier * plan.certificate.sensitivity
    assert noise.size >= 400
    assert stats.kstest(noise / sigma, "norm").pvalue > LEVEL
    # A chi-squared of 420 degrees of freedom: five deviations are 17 %.
    assert np.std(noise) == pytest.approx(sigma, rel=0.17)


def test_decryption_returns_the_noise_itself():
    """Integers in, the same integers out, up to the error of encryption."""
    plan = make()
    parties = gather(plan)
    sigma = plan.encryption.noise_units
    values = np.rint(sigma * np.random.default_rng(0).standard_normal(8192)).astype(np.int64)
    back = parties.decrypt(parties.gradient_message(values))
    assert np.abs(back - values).max() < 1e-4 * sigma
    assert np.std(back) == pytest.approx(sigma, rel=0.03)


# Measured errors against E.


def measured(degree, steps, seed=0, n_owners=1):
    """L2 errors over all coefficients in units of S, relative to E = certificate.error / 2."""
    plan = cancer_plan(degree, n_owners=n_owners)
    data = cancer()
    layout, rng = layout_of(plan), np.random.default_rng(seed)
    parties = gather(plan, data=data)
    ratios = []
    for i in range(steps):
        weights = random_weights(plan, rng, scale=1.0 if i % 4 == 0 else None)
        got = parties.decrypt(parties.at(weights)) / plan.encryption.output_scale
        exact = exact_sums(plan, parties.key_holder._certified.indices, weights, *data)
        error = np.linalg.norm(got - exact_coefficients(layout, exact)) * layout.output_norm
        ratios.append(error / (plan.certificate.error / 2))
    ratios = np.array(ratios)
    print(
        f"degree {degree}: measured error over E: median {np.median(ratios):.3g}, "
        f"largest {ratios.max():.3g} of {steps} steps"
    )
    return ratios


@pytest.mark.parametrize("degree", [3, 7])
def test_errors_stay_below_the_bound(degree):
    ratios = measured(degree, 20)
    assert ratios.max() <= 1
    assert ratios.max() > 1e-3  # a bound, not a fantasy


@pytest.mark.slow
@pytest.mark.parametrize("degree", [3, 7])
def test_errors_of_a_thousand_steps_stay_below_the_bound(degree):
    assert measured(degree, 1000, seed=1).max() <= 1


def test_a_fit_on_real_data_is_of_use():
    """The whole way on real rows: better than chance by far, at epsilon = 1."""
    X, y = cancer()
    model = EncryptedDPLogisticRegression(degree=3, max_iter=8).fit(X, y)
    assert model.score(X, y) > 0.75
    assert set(model.history_["bytes"]) == {"keys", "data", "step"}
