"""The training plan: a faithful, unforgeable value, computed from public shapes alone."""

import dataclasses
import inspect
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tenseal
from helpers import layout_of, make
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import skfhe
from skfhe import (
    CKKSParameters,
    DepthExceeded,
    EncryptedDPLogisticRegression,
    InfeasiblePlan,
    PolynomialApproximation,
    TrainingPlan,
)
from skfhe.crypto.parameters import MAX_MODULUS_BITS
from skfhe.plan import Certificate, Encryption, Guarantee, Optimizer, Prediction, Problem
from skfhe.planning import Request, make_plan
from skfhe.privacy import accounting
from skfhe.privacy.sensitivity import RELATION_FACTOR, row_norm

PARTS = {
    "problem": Problem,
    "optimizer": Optimizer,
    "certificate": Certificate,
    "guarantee": Guarantee,
    "encryption": Encryption,
    "prediction": Prediction,
}
FIELDS = [(part, field.name) for part, kind in PARTS.items() for field in dataclasses.fields(kind)]


def request(**changes):
    estimator = EncryptedDPLogisticRegression(**{"degree": 3, "max_iter": 3, **changes})
    names = [field.name for field in dataclasses.fields(Request)]
    return Request(**{name: getattr(estimator, name) for name in names})


# The value.


@pytest.mark.parametrize("classes, n_owners", [(2, 1), (4, 1), (2, 3)])
def test_json_round_trip(classes, n_owners):
    plan = make(classes=classes, n_owners=n_owners)
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
@given(st.data(), st.sampled_from([f for f in FIELDS if f[0] != "prediction"]))
def test_any_altered_field_is_refused(data, field):
    part, name = field
    plan = make(classes=3)
    content = json.loads(plan.to_json())
    changed = different(content[part][name], data)
    assume(json.dumps(changed) != json.dumps(content[part][name]))
    content[part][name] = changed
    with pytest.raises(ValueError):
        TrainingPlan.from_json(json.dumps(content))


@pytest.mark.parametrize("part, name", FIELDS)
def test_missing_and_unknown_fields_are_refused(part, name):
    plan = make()
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
    plan = make(n=321, d=7, classes=3, epsilon=0.75, delta=2e-6, n_owners=3, n_colluding=1)
    page = str(plan)
    g, e, c = plan.guarantee, plan.encryption, plan.certificate
    for figure in (
        plan.digest[:12],
        "321 rows",
        "7 features",
        "3 classes",
        "(0.75, 2e-06)-DP",
        "add_remove",
        f"{g.noise_multiplier:.4f}",
        "3 releases",
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
        "print(E(degree=3, max_iter=3).plan(200, 4, 3, 2, 1).digest)"
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
    assert result.stdout.strip() == make(classes=3, n_owners=2, n_colluding=1).digest


def test_equal_arguments_of_other_types_give_the_same_plan():
    """A search passes NumPy's numbers, a person 1 for 1.0."""
    plan = make(epsilon=2.0, weight_norm=3.0)
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
    check(plan)


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
    check(EncryptedDPLogisticRegression(degree=3, context=CKKSParameters()).plan(455, 30))


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


# What every plan guarantees.


def check(plan):
    """All inequalities that a plan stands for, computed anew from its own figures."""
    p, c, g, e = plan.problem, plan.certificate, plan.guarantee, plan.encryption
    layout = layout_of(plan)
    factor = RELATION_FACTOR[c.neighboring]
    # Sensitivity and noise.
    assert 0 < c.error <= 0.05 * factor
    assert c.sensitivity == pytest.approx(factor * (1 + c.row_slack) + c.error, rel=1e-12)
    unit = e.output_scale / layout.output_norm
    honest = g.n_owners - g.n_colluding
    share = math.isqrt(-(-(e.noise_units**2) // honest) - 1) + 1
    assert honest * share**2 >= e.noise_units**2
    assert g.noise_multiplier * c.sensitivity * unit <= e.noise_units * (1 + 1e-12)
    cost = c.cost_in_delta(g.epsilon)
    assert cost >= (1 + math.exp(g.epsilon)) * c.error_probability
    assert 0 < cost < 0.02 * g.delta
    epsilon = accounting.epsilon_at(g.delta - cost, g.noise_multiplier, g.n_releases)
    assert epsilon <= g.epsilon
    assert g.n_releases == plan.optimizer.max_iter
    # Every margin lies within the last interval, every S within the table.
    norm = row_norm(p.intercept_column)
    reach = abs(p.prior_margin) + plan.optimizer.weight_norm * norm + c.margin_slack
    assert c.polynomials[-1].radius >= reach
    radii = [q.radius for q in c.polynomials]
    assert radii == sorted(radii) and list(c.contributions) == sorted(c.contributions)
    largest = max(q.residual_bound() for q in c.polynomials) * norm * math.sqrt(p.n_outputs)
    assert c.contributions[-1] >= largest * (1 - 1e-12)
    # The base prime holds the release: all rows, a dozen deviations of all owners' noise.
    spread = share * math.sqrt(g.n_owners)
    assert 2 * (1.1 * p.n_samples * unit + 12 * spread) < e.primes[0]
    # Owners can encode their noise exactly: ten deviations below 2^48.
    assert 10 * share < 2**48
    # Security.
    assert math.prod(e.primes).bit_length() <= MAX_MODULUS_BITS[e.poly_modulus_degree]
    assert len(set(e.primes)) == len(e.primes)
    assert all(q % (2 * e.poly_modulus_degree) == 1 and q < 2**60 for q in e.primes)
    assert "128-bit" in e.security
    assert g.flooding <= 2.0**-20 or g.n_owners == 1
    assert e.symmetric == (g.n_owners == 1)


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
        check(plan)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(**REQUESTS, fit_intercept=st.booleans())
def test_many_plans_are_sound_or_infeasible(**arguments):
    plan = plan_or_none(**arguments)
    if plan is not None and arguments["fit_intercept"]:
        check(plan)


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
        check(plan)


@pytest.mark.parametrize(
    "n, owners, colluding, epsilon",
    [(200, 3, 1, 1.0), (5000, 3, 1, 1.0), (20, 2, 1, 1.0), (20, 6, 5, 1.0), (200, 12, 11, 0.1)],
)
def test_plans_of_several_owners(n, owners, colluding, epsilon):
    plan = make(n=n, n_owners=owners, n_colluding=colluding, epsilon=epsilon)
    assert plan.guarantee.flooding <= 2.0**-20
    check(plan)


@pytest.mark.parametrize(
    "degree, n, d", [(1, 100, 2), (3, 1000, 30), (5, 100, 2), (9, 1000, 30), (15, 100, 2)]
)
def test_ordinary_requests_are_feasible(degree, n, d):
    check(make(n=n, d=d, degree=degree, max_iter="auto"))


@pytest.mark.parametrize("kind", ["minimax", "least_squares", "monotone"])
def test_every_kind_of_polynomial(kind):
    plan = make(approximation=kind, degree=5)
    check(plan)
    assert all(q.kind == kind for q in plan.certificate.polynomials)
    assert all(isinstance(q, PolynomialApproximation) for q in plan.certificate.polynomials)
