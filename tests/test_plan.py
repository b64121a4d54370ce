"""The training plan: a faithful, unforgeable value, computed from public shapes alone."""

import dataclasses
import inspect
import json
import math
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import tenseal
from helpers import assert_sound, make
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import skfhe
from skfhe import (
    CKKSParameters,
    DepthExceeded,
    EncryptedDPLogisticRegression,
    EncryptedDPMLPClassifier,
    InfeasiblePlan,
    TrainingPlan,
)
from skfhe import plan as parts
from skfhe.planning import Request, make_plan

KINDS = ["Problem", "Optimizer", "Network", "Certificate", "Guarantee", "Encryption", "Prediction"]
PARTS = {kind.lower(): getattr(parts, kind) for kind in KINDS}
FIELDS = [
    (part, field.name)
    for part, kind in PARTS.items()
    for field in dataclasses.fields(kind)
    if not field.metadata.get("later")
]


@lru_cache
def make_network(classes=2):
    """A plan of two steps for a network."""
    estimator = EncryptedDPMLPClassifier(hidden_layer_sizes=4, max_iter=2)
    return estimator.plan(200, 4, classes)


def request(**changes):
    estimator = EncryptedDPLogisticRegression(**{"degree": 3, "max_iter": 3, **changes})
    names = [field.name for field in dataclasses.fields(Request)]
    return Request(**{**{name: getattr(estimator, name) for name in names}, "class_weight": ()})


# The value.


@pytest.mark.parametrize("classes, n_owners", [(2, 1), (4, 1), (2, 3), (2, None), (3, None)])
def test_json_round_trip(classes, n_owners):
    plan = make(classes=classes, n_owners=n_owners) if n_owners else make_network(classes)
    for indent in (None, 2):
        back = TrainingPlan.from_json(plan.to_json(indent))
        assert back == plan and back.digest == plan.digest and hash(back) == hash(plan)
        assert back.to_json() == plan.to_json()
    assert TrainingPlan.from_json(plan.to_json().encode()) == plan


def test_digest_leaves_out_the_prediction():
    plan = make()
    slower = dataclasses.replace(plan.prediction, seconds_per_step=1e6, key_switches={1: 2})
    other = dataclasses.replace(plan, prediction=slower)
    assert other != plan and other.digest == plan.digest
    assert TrainingPlan.from_json(other.to_json()) == other


def different(value, data):
    """A JSON value that is not this one."""
    if isinstance(value, bool):
        return data.draw(st.sampled_from([not value, int(value), None]))
    if isinstance(value, (int, float)):
        near = [
            value + 1,
            value * (1 + 1e-15) if value else 1e-300,
            -value,
            str(value),
            None,
            [value],
        ]
        near += [float(value)] if isinstance(value, int) else [math.nextafter(value, math.inf)]
        return data.draw(st.sampled_from(near) | st.floats(allow_nan=False) | st.integers())
    if isinstance(value, str):
        return data.draw(st.text() | st.sampled_from([value + " ", value.upper(), None]))
    if value is None:
        return data.draw(st.sampled_from([{}, [], 0.0, "tanh"]))
    if value == []:
        return data.draw(st.sampled_from([[1.0], {}, None, 0.0]))
    if isinstance(value, list):
        i = data.draw(st.integers(0, len(value) - 1))
        cut = value[:i] + value[i + 1 :]
        return data.draw(
            st.sampled_from([cut, value + [value[i]], value[::-1], {}])
            | st.just(None).map(lambda _: [*value[:i], different(value[i], data), *cut[i:]])
        )
    key = data.draw(st.sampled_from(sorted(value)))
    changed = dict(value)
    if data.draw(st.booleans()):
        del changed[key]
    else:
        changed[key] = different(value[key], data)
    return changed


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from([f for f in FIELDS if f[0] != "prediction"]), st.booleans())
def test_any_altered_field_is_refused(data, field, linear):
    part, name = field
    plan = make(classes=3) if linear and part != "network" else make_network(classes=3)
    content = json.loads(plan.to_json())
    changed = different(content[part][name], data)
    assume(json.dumps(changed) != json.dumps(content[part][name]))
    content[part][name] = changed
    with pytest.raises(ValueError):
        TrainingPlan.from_json(json.dumps(content))


@pytest.mark.parametrize("part, name", FIELDS)
def test_missing_and_unknown_fields_are_refused(part, name):
    plan = make_network() if part == "network" else make()
    for how in ("missing", "unknown", "no object"):
        content = json.loads(plan.to_json())
        if how == "missing":
            del content[part][name]
        elif how == "unknown":
            content[part]["more"] = 1
        else:
            content[part] = [1]
        with pytest.raises(ValueError, match=r"no training plan|altered"):
            TrainingPlan.from_json(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 2},
        {"format_version": 0},
        {"format_version": "1"},
        {"format_version": None},
        {"digest": "0" * 64},
        {"digest": None},
        {"more": {}},
        {"problem": None},
        {"prediction": None},
        {"certificate": {}},
    ],
)
def test_unknown_versions_and_parts_are_refused(change):
    content = {**json.loads(make().to_json()), **change}
    with pytest.raises(ValueError, match=r"no training plan|altered"):
        TrainingPlan.from_json(json.dumps(content))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "3", "null", "{", b"\xff\xfe\x00", "[" * 100_000]
)
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(ValueError):
        TrainingPlan.from_json(text)


def test_the_page_states_the_key_figures():
    plan = make(
        n=321, d=7, classes=3, epsilon=0.75, delta=2e-6, n_owners=3, n_colluding=1,
        standardize=True, precondition=True,
    )  # fmt: skip
    page = str(plan)
    for statistic in plan.preparation.statistics.values():
        assert f"noise multiplier {statistic.noise_multiplier:.4f}" in page
    g, e, c = plan.guarantee, plan.encryption, plan.certificate
    for figure in (
        plan.digest[:12],
        "321 rows",
        "7 features",
        "3 classes",
        "(0.75, 2e-06)-DP",
        "add_remove",
        f"{g.noise_multiplier:.4f}",
        "3 steps",
        f"{c.sensitivity:.5f}",
        "3, of whom 1 may collude",
        f"{g.flooding:.2g} nats",
        "degree 3",
        f"N = {e.poly_modulus_degree}",
        str([prime.bit_length() for prime in e.primes]),
        e.security,
        str(e.noise_units),
    ):
        assert figure in page, figure
    assert max(map(len, page.splitlines())) < 120


# Where it comes from.


def test_only_public_shapes_enter():
    assert list(inspect.signature(make_plan).parameters) == [
        "request",
        "n_samples",
        "n_features",
        "n_classes",
        "n_owners",
        "n_colluding",
        "context",
    ]
    names = set(inspect.signature(EncryptedDPLogisticRegression.plan).parameters)
    assert names == {"self", "n_samples", "n_features", "classes", "n_owners", "n_colluding"}
    assert not {"X", "y", "data"} & {field.name for field in dataclasses.fields(Request)}


def test_a_fresh_process_computes_the_same_plan():
    code = (
        "from skfhe import EncryptedDPLogisticRegression as E\n"
        "print(E(degree=3, max_iter=3, precondition=True).plan(200, 4, 3, 2, 1).digest)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(skfhe.__file__).parents[1]),
            "PYTHONHASHSEED": "1",
        },
    )
    assert (
        result.stdout.strip()
        == make(classes=3, n_owners=2, n_colluding=1, standardize=True, precondition=True).digest
    )


def test_equal_arguments_of_other_types_give_the_same_plan():
    """A search passes NumPy's numbers, a person 1 for 1.0."""
    plan = make(epsilon=2.0, weight_norm=3.0, standardize=True, precondition="auto")
    estimator = EncryptedDPLogisticRegression(
        epsilon=2, degree=np.int64(3), max_iter=np.int64(3), weight_norm=np.float64(3)
    )
    other = estimator.plan(np.int64(200), np.int64(4), np.array([0, 1]))
    assert other.digest == plan.digest
    assert TrainingPlan.from_json(other.to_json()) == plan


@pytest.mark.parametrize("epsilon", [np.float32(0.5), np.float64(0.5), 0.5])
def test_numpy_floats_make_plans_that_serialise(epsilon):
    plan = EncryptedDPLogisticRegression(epsilon=epsilon, degree=3, max_iter=3).plan(200, 4)
    assert TrainingPlan.from_json(plan.to_json()) == plan


# What it refuses.


@pytest.mark.parametrize("degree", [0, 2, 4, 6, 14, 16, 17, -3, 3.0])
def test_only_odd_degrees(degree):
    with pytest.raises(ValueError, match="degree"):
        make_plan(request(degree=degree), 200, 4, 2)
    with pytest.raises(ValueError, match="degree"):
        EncryptedDPLogisticRegression(degree=degree).plan(200, 4)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_epsilon_must_be_positive_and_finite(epsilon):
    with pytest.raises(ValueError, match="epsilon"):
        make_plan(request(epsilon=epsilon), 200, 4, 2)
    with pytest.raises(ValueError, match="epsilon"):
        EncryptedDPLogisticRegression(epsilon=epsilon).plan(200, 4)


@pytest.mark.parametrize("delta", [0.0, -1e-5, 1.0, 1.005, 2.0, float("nan")])
def test_delta_must_be_a_probability(delta):
    with pytest.raises(ValueError, match="delta"):
        make_plan(request(delta=delta), 200, 4, 2)
    with pytest.raises(ValueError, match="delta"):
        EncryptedDPLogisticRegression(delta=delta).plan(200, 4)


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 4, 2, 1, 0),
        (-3, 4, 2, 1, 0),
        (200.0, 4, 2, 1, 0),
        (200, 0, 2, 1, 0),
        (200, 4, 1, 1, 0),
        (200, 4, 2, 0, 0),
        (200, 4, 2, 1, 1),
        (200, 4, 2, 3, 3),
        (200, 4, 2, 3, 4),
        (200, 4, 2, 3, -1),
    ],
)
def test_counts_are_checked(arguments):
    with pytest.raises(ValueError):
        EncryptedDPLogisticRegression(degree=3, max_iter=3).plan(*arguments)


SMALL = CKKSParameters(8192, (50, 30, 30, 50), 28)


def test_too_deep_for_a_given_context():
    """The message names what is needed, what there is and what to change."""
    with pytest.raises(DepthExceeded) as caught:
        EncryptedDPLogisticRegression(degree=15, context=SMALL).plan(200, 4)
    message = str(caught.value)
    assert "degree 15" in message and "levels" in message
    assert "[50, 30, 30]" in message and "110 bits" in message
    assert "lower degree" in message and "context='auto'" in message


def test_too_imprecise_for_a_given_context():
    coarse = CKKSParameters(8192, (45, 40, 20, 20, 20, 50), 18)
    with pytest.raises(InfeasiblePlan):
        EncryptedDPLogisticRegression(degree=7, context=coarse).plan(200, 4)


# A given context.

GIVEN = CKKSParameters(8192, (52, 52, 30, 30, 50), 28)


def test_given_parameters_are_honoured():
    plan = EncryptedDPLogisticRegression(degree=3, max_iter=3, context=GIVEN).plan(200, 4)
    e = plan.encryption
    assert e.poly_modulus_degree == 8192 and e.scale == e.row_scale == 2.0**28
    assert [prime.bit_length() for prime in e.primes] == [52, 52, 30, 30, 50]
    assert_sound(plan)


def make_context(degree=8192, bits=(52, 52, 30, 30, 50), scale=2.0**28):
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=degree, coeff_mod_bit_sizes=list(bits)
    )
    if scale:
        context.global_scale = scale
    return context


def test_a_given_tenseal_context_is_honoured():
    context = make_context()
    plan = EncryptedDPLogisticRegression(degree=3, max_iter=3, context=context).plan(200, 4)
    given_ = EncryptedDPLogisticRegression(degree=3, max_iter=3, context=GIVEN).plan(200, 4)
    assert plan == given_
    data = context.seal_context().data.key_context_data().parms()
    assert plan.encryption.primes == tuple(m.value() for m in data.coeff_modulus())


def test_a_tenseal_context_without_a_scale():
    """The smallest of the middle primes is the scale that such a chain is made for."""
    context = make_context(bits=(52, 52, 28, 28, 50), scale=None)
    plan = EncryptedDPLogisticRegression(degree=3, max_iter=3, context=context).plan(200, 4)
    assert plan.encryption.scale == 2.0**28


def test_the_default_parameters_are_of_use():
    """A search over context__... starts from them."""
    assert_sound(EncryptedDPLogisticRegression(degree=3, context=CKKSParameters()).plan(455, 30))


def test_contexts_of_other_schemes_are_refused():
    context = tenseal.context(
        tenseal.SCHEME_TYPE.BFV, poly_modulus_degree=4096, plain_modulus=1032193
    )
    with pytest.raises(InfeasiblePlan, match="CKKS"):
        EncryptedDPLogisticRegression(context=context).plan(200, 4)


@pytest.mark.parametrize(
    "context",
    [
        CKKSParameters(8192, (60, 50, 50, 58), 30),
        CKKSParameters(4096, (60, 47), 30),
        CKKSParameters(2048, (27, 27), 20),
        CKKSParameters(65536, (60, 60), 30),
        CKKSParameters(8191, (50, 50), 30),
        CKKSParameters(8192, (50,), 30),
        CKKSParameters(8192, (), 30),
        CKKSParameters(8192, (61, 50), 30),
    ],
)
def test_insecure_and_impossible_parameters_are_refused(context):
    with pytest.raises(InfeasiblePlan):
        EncryptedDPLogisticRegression(degree=1, max_iter=3, context=context).plan(200, 4)


def test_an_insecure_tenseal_context_is_refused():
    """SEAL's own table allows 218 bits at N = 8192, the stricter one 214."""
    context = make_context(bits=(60, 50, 50, 58))
    with pytest.raises(InfeasiblePlan, match="128-bit"):
        EncryptedDPLogisticRegression(degree=3, max_iter=3, context=context).plan(200, 4)


@pytest.mark.parametrize("context", [None, 8192, "AUTO", {"poly_modulus_degree": 8192}])
def test_other_contexts_are_refused(context):
    with pytest.raises(TypeError, match="context"):
        EncryptedDPLogisticRegression(context=context).plan(200, 4)
