"""The released model is plain scikit-learn, and takes columns as they were."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import skops.io
from cli_helpers import SCHEMA, make_table
from helpers import make, scheme_of
from network_helpers import make_network
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from skfhe import EncryptedDPLogisticRegression, EncryptedDPMLPClassifier, KeyHolder, Schema
from skfhe.cli.release import estimator_of
from skfhe.protocol.outcome import Released
from skfhe.protocol.session import Costs, run_session
from skfhe.sources import rows_of

PLAIN = Schema(tuple(SCHEMA["features"]), "ill", ("yes", "no"))
BOUNDED = replace(PLAIN, low=(0.0, 0.0, 30.0, 0.0), high=(120.0, 5.0, 200.0, 40.0))


def linear(schema, classes=2):
    """A plan with a schema, and a model that somebody might have released."""
    plan = replace(make(d=4, classes=classes), schema=schema)
    shape = (plan.problem.n_columns, plan.problem.n_outputs)
    return plan, Released(np.random.default_rng(0).normal(size=shape), [], True)


def written(model):
    """Through a file, trusting nothing."""
    data = skops.io.dumps(model)
    return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))


@pytest.fixture(scope="module")
def table():
    return make_table(300)


@pytest.mark.parametrize("schema", [PLAIN, BOUNDED, None], ids=["plain", "bounded", "none"])
def test_a_linear_model_is_scikit_learn_s(schema, table):
    plan, released = linear(schema)
    model = estimator_of(plan, released)
    assert not skops.io.get_untrusted_types(data=skops.io.dumps(model))
    copy, ours = written(model), EncryptedDPLogisticRegression.from_released(plan, released)
    X = table[SCHEMA["features"]]
    if schema:
        source = np.vstack([rows for rows, _ in rows_of(table, schema=schema).batches(50)])
    else:
        source = X = X.to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of names that do not fit
        scores = copy.decision_function(X)
    expected = source @ ours.coef_.ravel() + ours.intercept_
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    labels = np.array(schema.classes if schema else (0, 1))
    np.testing.assert_array_equal(copy.predict(X), labels[(expected > 0).astype(int)])
    last = copy[-1] if isinstance(copy, Pipeline) else copy
    assert type(last) is LogisticRegression
    assert isinstance(copy, Pipeline) == (schema is BOUNDED)
    if schema:
        assert [*copy.feature_names_in_] == SCHEMA["features"]


def test_labels_stay_what_they_are():
    """Numbers stay numbers, booleans stay booleans, in the schema's order."""
    for classes in ((2, 0, 1), ("b", "c", "a"), (1.5, 0.5, 2.5)):
        plan, released = linear(replace(PLAIN, classes=classes), classes=3)
        model = written(estimator_of(plan, released))
        assert model.classes_.tolist() == [*classes]
        assert set(model.predict(pd.DataFrame(np.eye(4), columns=SCHEMA["features"]))) <= set(
            classes
        )


def test_bounds_that_scikit_learn_s_scaler_cannot_take():
    """Far from zero and close together: its arithmetic would be off, silently."""
    narrow = replace(PLAIN, low=(1e12,) * 4, high=(1e12 + 0.3,) * 4)
    with pytest.raises(ValueError, match="not exact enough"):
        estimator_of(*linear(narrow))
    tiny = replace(PLAIN, low=(0.0,) * 4, high=(1e-17,) * 4)
    with pytest.raises(ValueError, match="not exact enough"):
        estimator_of(*linear(tiny))


def test_a_network_comes_as_the_package_s_own(table):
    plan = replace(make_network(n=200, d=4), schema=BOUNDED)
    holder = KeyHolder(plan, scheme_of(plan, "simulated"))
    source = rows_of(table[:200], np.arange(200) % 2, schema=BOUNDED)
    released = run_session(holder, source, None, Costs()).released
    model = written(estimator_of(plan, released))
    ours = EncryptedDPMLPClassifier.from_released(plan, released)
    X = table[:200][SCHEMA["features"]]
    rows = pd.DataFrame(next(iter(source.batches(200)))[0], columns=X.columns)
    expected, scores = ours.decision_function(rows), model.decision_function(X)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-10)
    assert model[-1].plan_.digest == plan.digest
