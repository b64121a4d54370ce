"""Weights of classes: exact, within the certificate, and never from the data."""

import numpy as np
import pytest
from helpers import (
    BACKENDS,
    exact_sums,
    gather,
    make,
    make_rows,
    random_weights,
    relative,
)
from sklearn.linear_model import LogisticRegression

from skfhe import EncryptedDPLogisticRegression, TrainingPlan

WEIGHTS = {2: {0: 1.0, 1: 4.0}, 3: {0: 0.5, 2: 0.1}}


def weighted_plan(n_classes, **parameters):
    labels = tuple(range(n_classes))
    model = EncryptedDPLogisticRegression(
        degree=3,
        max_iter=3,
        class_weight=WEIGHTS[n_classes],
        standardize=False,
        precondition=False,
        **parameters,
    )
    return model.plan(60, 4, labels)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_sums_are_weighted(backend, n_classes):
    plan = weighted_plan(n_classes)
    parties = gather(plan, backend)
    rng = np.random.default_rng(0)
    weights = random_weights(plan, rng)
    reply = parties.at(weights)
    scale = plan.encryption.output_scale
    layout = parties.key_holder._course.model.layout
    got = layout.unpack_sums(parties.decrypt(reply) / scale)
    expected = exact_sums(
        plan, parties.key_holder._certified.indices, weights, parties.X, parties.targets
    )
    assert relative(got, expected) < 1e-4


@pytest.mark.parametrize("n_classes", [2, 3])
def test_one_row_stays_within_the_certificate(n_classes):
    """A row alone, of any class, anywhere on the boundary."""
    plan = weighted_plan(n_classes)
    parties = gather(plan, "simulated")
    rng = np.random.default_rng(1)
    largest = 0.0
    for _ in range(300):
        weights = random_weights(plan, rng, scale=1.0)
        indices = parties.key_holder._course.model.certify(weights).indices
        x = rng.normal(size=(1, plan.problem.n_features))
        x *= plan.problem.data_norm / np.linalg.norm(x)
        target = rng.integers(n_classes, size=1)
        largest = max(largest, np.linalg.norm(exact_sums(plan, indices, weights, x, target)))
    assert 0.5 < largest <= 1.0


def test_the_plan_has_them_relative_to_the_largest():
    plan = weighted_plan(3)
    assert plan.problem.class_weight == (0.5, 1.0, 0.1)
    assert TrainingPlan.from_json(plan.to_json()) == plan
    assert plan.digest != make(60, 4, 3).digest
    assert not make().problem.class_weight


@pytest.mark.parametrize("factor", [1.0, 7.0])
def test_a_penalty_weighs_like_scikit_learns(factor):
    """With hardly any noise: C times the weighted loss, for weights of any size."""
    X, y = make_rows(make(n=2000))
    X /= np.linalg.norm(X, axis=1).max()
    weights = {0: 1.0 * factor, 1: 4.0 * factor}
    theirs = LogisticRegression(C=0.01, class_weight=weights, fit_intercept=False).fit(X, y)
    ours = EncryptedDPLogisticRegression(
        epsilon=100, C=0.01, class_weight=weights, data_norm=1.0, backend="simulated",
        max_iter=60, learning_rate=4.0, momentum=0.9, degree=7, fit_intercept=False,
        standardize=False, precondition=False,
    ).fit(X, y)  # fmt: skip
    assert relative(ours.coef_, theirs.coef_) < 0.15


def test_labels_get_their_own_weights():
    X, targets = make_rows(make())
    model = EncryptedDPLogisticRegression(
        degree=3, max_iter=3, backend="simulated", class_weight={"no": 2.0}
    )
    model.fit(X, np.array(["yes", "no"])[targets])
    assert model.plan_.problem.class_weight == (1.0, 0.5)


@pytest.mark.parametrize(
    "class_weight, message",
    [
        ("balanced", "would count the labels"),
        ({5: 1.0}, "among"),
        ({0: -1.0}, "none negative"),
        ({0: np.inf}, "finite"),
        ({0: 0, 1: 0}, "not all zero"),
    ],
)
def test_what_is_refused(class_weight, message):
    with pytest.raises(ValueError, match=message):
        EncryptedDPLogisticRegression(class_weight=class_weight).plan(60, 4)


def test_sample_weights_are_refused_with_the_reason():
    with pytest.raises(TypeError, match="influence"):
        EncryptedDPLogisticRegression().fit(*make_rows(make()), sample_weight=np.ones(200))
