"""What a network's key holder decrypts: sums with their noise, no row beyond its bound."""

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers import gather, make_rows, ring_of, scheme_of
from network_helpers import (
    NetworkBench,
    candidate_of,
    draw_point,
    draw_rows,
    exact_sums,
    extreme_rows,
    is_output,
    labels_of,
    layout_of,
    make_network,
    points_of,
    requirement_of,
    whole,
)
from scipy.special import ndtri
from test_tracing import CountingSeal

from skfhe import EncryptedDPMLPClassifier, KeyHolder, PlanMismatch
from skfhe.approximation import ActivationPolynomial
from skfhe.circuits.logistic import margins
from skfhe.circuits.network import STRADDLING, chunk_gradients
from skfhe.circuits.paired import RowProducts
from skfhe.crypto.embedding import coefficients_to_slots
from skfhe.packing import Layout
from skfhe.planning import check_plan
from skfhe.planning.network import NetworkSizing
from skfhe.planning.network_bounds import error_bounds
from skfhe.privacy.network_sensitivity import output_reach
from skfhe.privacy.sensitivity import RELATION_FACTOR
from skfhe.protocol.models import model_of
from skfhe.protocol.preparation import plain_frame

# Two outputs and one: what tests of real ciphertexts share, as keys take the most time.
SHAPES = [{}, {"classes": 3, "hidden_layer_sizes": 5}]


@pytest.fixture(scope="module", params=SHAPES, ids=["K=1", "K=3"])
def parties(request):
    """All parties of a plan on real ciphertexts."""
    return gather(make_network(**request.param))


def reload(parties, X, targets):
    """Another data set under the same keys."""
    evaluator = parties.evaluator
    evaluator._shards, evaluator._admitted, evaluator._rows = [], set(), 0
    evaluator._worker._kept.clear()
    evaluator._worker._own = [], RowProducts()
    evaluator.load(parties.owners[0].encrypt(X, targets))


def bench_of(parties):
    """The circuit alone with the parties' keys."""
    bench = NetworkBench(parties.plan, scheme_of(parties.plan, "simulated"))
    bench.scheme, bench.keys = parties.key_holder.scheme, parties.key_holder._keys
    bench.backend, bench.encryptor = parties.evaluator._backend, parties.key_holder._encryptor
    return bench


def simulated(plan, errors=False):
    return NetworkBench(plan, scheme_of(plan, "simulated", errors))


def opposite(plan):
    """Two data sets as different as the row bound allows."""
    X, targets = make_rows(plan)
    extreme = np.zeros_like(X)
    extreme[:, 0] = plan.problem.data_norm
    return (X, targets), (extreme, np.ones(len(X), dtype=int))


# Neighbours.


def differences(bench, point, rng):
    """How far all coefficients of neighbours are apart, in units of S: zero-out and replace."""
    plan = bench.plan
    certified = bench.model.certify(point)
    rows, targets = draw_rows(plan, rng, 20)
    extreme, classes = extreme_rows(plan, certified, point, rng)
    found = []
    for row, target in ((extreme[0], classes[0]), (0 * extreme[0], 0), (extreme[1], classes[1])):
        rows[7], targets[7] = row, target
        found.append(bench.gradient(bench.chunks(rows, targets), point, certified))
    moved = [np.linalg.norm(found[0] - other) for other in found[1:]]
    return np.array(moved) * bench.model.layout.rows.output_norm


def bound(plan, factor):
    """The sensitivity in units of S, as the certificate has it."""
    return factor * (1 + plan.certificate.row_slack) + plan.certificate.error


def check_neighbours(bench, points, least):
    rng, plan, ratios = np.random.default_rng(1), bench.plan, []
    for point in points:
        found = differences(bench, point, rng)
        ratios.append(found / [bound(plan, factor) for factor in (1, 2)])
    ratios = np.array(ratios)
    for name, found in zip(("zero-out", "replace"), ratios.T.round(3), strict=True):
        print(f"{name}: {found} of the sensitivity")
    assert ratios.max() <= 1
    assert (ratios.max(axis=0) > least).all()


@pytest.mark.parametrize(
    "errors, parameters",
    [
        *((True, shape) for shape in SHAPES),
        (False, {"hidden_layer_sizes": 16}),
        (False, {"hidden_layer_sizes": 9, "activation": "relu", "degree": 2}),
        (False, {"classes": 4, "activation": "square", "degree": 2, "hidden_layer_sizes": 8}),
        (False, {"activation": "logistic", "hidden_layer_sizes": 2, "hidden_reach": 6.0}),
        (False, {"classes": 3, "hidden_layer_sizes": 7, "activation": "softplus", "degree": 2}),
    ],
)
def test_neighbours_are_within_the_sensitivity(errors, parameters):
    """Over all plaintext coefficients, whatever is read of them."""
    plan = make_network(**parameters)
    check_neighbours(simulated(plan, errors), points_of(plan), 0.5)


def test_neighbours_are_within_the_sensitivity_encrypted(parties):
    points = [point for i, point in enumerate(points_of(parties.plan)) if i in (0, 3)]
    check_neighbours(bench_of(parties), points, 0.4)


# What is decrypted, and its errors.


def test_outside_the_sums_there_are_only_errors(parties):
    """Noise of zeros, two data sets as different as can be, and every coefficient of the reply."""
    plan, layout = parties.plan, layout_of(parties.plan)
    unit = plan.encryption.output_scale / layout.rows.output_norm
    mask = is_output(layout)
    assert mask.sum() < 0.1 * mask.size
    requirement = requirement_of(plan)
    bounds = error_bounds(requirement, candidate_of(plan), True)
    multiplier = requirement.noise_multiplier * requirement.relation_factor
    told = math.sqrt(2 * bounds.flooding / requirement.n_releases) * multiplier
    rms = told / -float(ndtri(requirement.failure / (32 * requirement.n_releases)))
    ratios, spreads, outside = [], [], []
    points = [point for i, point in enumerate(points_of(plan)) if i in (0, 3)]
    for X, targets in opposite(plan):
        reload(parties, X, targets)
        for point in points:
            found = parties.decrypt(parties.at(point)) / unit
            certified = parties.key_holder._certified
            rows = plain_frame(plan).rows(X)
            sums = exact_sums(plan, certified, point, rows, labels_of(plan, targets))
            assert np.abs(found[mask]).max() > 0.1  # the sums themselves are large
            expected = whole(plan, certified, sums) * layout.rows.output_norm
            ratios.append(np.linalg.norm(found - expected))
            outside.append(np.linalg.norm(found[~mask]))
            spreads.append(np.std(found[~mask]))
            assert np.abs(found[~mask]).max() < 1e-3 * plan.encryption.noise_units / unit
    largest = max(ratios)
    print(
        f"K={layout.n_outputs}: errors {min(ratios):.2g} to {largest:.2g} S, of E "
        f"{largest / (plan.certificate.error / 2):.2g}, of the bound {largest / told:.2g}, of the "
        f"rms predicted {largest / rms:.2g}; outside {max(outside):.2g}"
    )
    assert max(outside) <= plan.certificate.error / 2
    # Bounds are for the smallest S, the longest interval and full chunks, all at once.
    assert 1e-5 < largest / (plan.certificate.error / 2) <= 1
    assert 1e-5 < largest / told <= 1 and largest <= rms
    # Where no sum is, nothing tells one data set from the other.
    assert max(spreads) < 1.5 * min(spreads)


def test_a_step_takes_what_the_plan_predicts(parties):
    """Counted in SEAL's calls for a whole step, the owner's noise included."""
    backend, plan = parties.evaluator._backend, parties.plan
    seal = backend._evaluator
    backend._evaluator = counting = CountingSeal(seal)
    parties.at(next(points_of(plan)))
    backend._evaluator = seal
    counting.counts["add", 0] -= 1  # of the noise
    counts = NetworkSizing(requirement_of(plan)).counts(candidate_of(plan))
    assert +counting.counts == counts
    switches = {level: n for (name, level), n in sorted(counts.items()) if name == "key_switch"}
    assert plan.prediction.key_switches == switches


# The rows beside a changed one.


def row_slots(bench, ciphertext):
    """Slots as rows and units, of the first copy."""
    coefficients = bench.coefficients(ciphertext)
    slots = coefficients_to_slots(ring_of(bench.plan), coefficients)
    layout = bench.model.layout
    return slots.reshape(-1, layout.rows.rows_per_chunk, layout.block)[0]


def contributions(bench, point, certified, rows, targets):
    """Per row, what its slots of delta, of e A/S and of the bias hold: shape (rows, slots)."""
    plan, layout, arithmetic = bench.plan, bench.model.layout, bench.arithmetic
    (chunk,) = bench.chunks(rows, targets)
    factors = bench.model._factors(certified.indices)
    weights = bench.sorted_weights(point, certified)
    hidden = [margins(arithmetic, layout.rows, chunk.rows, group) for group in weights.hidden]
    results = chunk_gradients(arithmetic, layout, factors, chunk, hidden, weights)
    values, _, errors, deltas = results
    norm = math.hypot(1, plan.problem.intercept_column)
    found = [norm * row_slots(bench, delta) for delta in deltas]
    slots = [row_slots(bench, value) for value in values]
    for error in errors:
        e = row_slots(bench, error) / certified.contribution
        found += [e * value for value in slots] + [plan.problem.intercept_column * e[:, :1]]
    return np.hstack(found)


def moved_neighbours(bench, point):
    """How far rows move that do not change, while those before and behind them do."""
    plan, rng = bench.plan, np.random.default_rng(2)
    certified = bench.model.certify(point)
    rows, targets = draw_rows(plan, rng)
    extreme, classes = extreme_rows(plan, certified, point, rng)
    found = []
    for row, target in zip(extreme, classes, strict=True):
        rows[1::2], targets[1::2] = row, target
        found.append(contributions(bench, point, certified, rows, targets)[: len(rows)])
    moved = np.linalg.norm(found[0] - found[1], axis=1)
    assert moved[1::2].min() > 0.1  # the others do
    return moved[::2].max()


@pytest.mark.parametrize("parameters", SHAPES)
def test_a_row_leaves_the_rows_beside_it_alone(parameters):
    """Without errors not the least is left of the window sums that straddle two rows."""
    plan = make_network(**parameters)
    for point in points_of(plan):
        if point.hidden.any():
            assert moved_neighbours(simulated(plan), point) < 1e-11


def test_window_sums_are_no_larger_than_what_errors_were_traced_for():
    """Many units that no row has at their largest together: windows outgrow the margins."""
    plan = make_network(n=2000, d=128, hidden_layer_sizes=128)
    rng, c = np.random.default_rng(0), plan.certificate
    point = draw_point(plan, rng)
    point.hidden[:-1] = plan.network.hidden_reach * np.linalg.qr(rng.normal(size=(128, 128)))[0]
    point.hidden[-1] = 0
    certified = model_of(plan).certify(point)
    reach = output_reach(
        c.activation, point.hidden, point.output, 0.5, c.hidden_slack, c.margin_slack
    )
    windows = c.activation.max_abs * np.abs(point.output[:-1]).sum() + 0.5 * abs(point.output[-1])
    assert windows > STRADDLING * reach, windows / reach
    assert windows <= STRADDLING * certified.interval


def test_what_leaks_into_the_rows_beside_is_within_the_slack(parties):
    point = list(points_of(parties.plan))[2]
    moved = moved_neighbours(bench_of(parties), point)
    slack = parties.plan.certificate.row_slack
    print(
        f"a row's change moves those beside it by {moved:.2g} S, {moved / slack:.2g} of the slack"
    )
    assert 1e-7 * slack < moved <= slack


# The guarantee's arithmetic.


@pytest.mark.parametrize("statistics", [False, True])
@pytest.mark.parametrize(
    "parameters",
    [*SHAPES, {"hidden_layer_sizes": 16}, {"neighboring": "replace_one"}, {"epsilon": 4.0}],
)
def test_noise_over_sensitivity_is_what_the_plan_says(parameters, statistics):
    """In units of the sums, with the layout whose units share a ciphertext."""
    plan = make_network(**parameters)
    if statistics:
        shape = {name: n for name, n in parameters.items() if name != "classes"}
        model = EncryptedDPMLPClassifier(**{"hidden_layer_sizes": 4, "max_iter": 2, **shape})
        plan = model.plan(120, 4, parameters.get("classes", 2))
    check_plan(plan)
    c, g, used, layout = plan.certificate, plan.guarantee, plan.encryption, layout_of(plan)
    norm = layout.rows.rows_per_chunk * math.sqrt(layout.block)
    assert norm == layout.rows.output_norm
    assert c.sensitivity == pytest.approx(bound(plan, RELATION_FACTOR[c.neighboring]), rel=1e-12)
    noise = used.noise_units * norm / used.output_scale
    assert g.noise_multiplier * c.sensitivity <= noise
    assert g.noise_multiplier * c.sensitivity == pytest.approx(noise, rel=1e-6)
    linear = Layout.of(plan.problem, used, 1).output_norm
    assert abs(linear / norm - 1) > 0.1  # the linear model's would not do


def altered(plan, part, **fields):
    return replace(plan, **{part: replace(getattr(plan, part), **fields)})


def alterations(plan):
    c, used, p = plan.certificate, plan.encryption, plan.problem
    shorter = ActivationPolynomial.fit("tanh", 3, 0.9 * plan.network.hidden_reach)
    yield "noise", altered(plan, "encryption", noise_units=used.noise_units * 99 // 100)
    yield "block", altered(plan, "encryption", unit_block=2 * used.unit_block)
    yield "blocks", altered(plan, "encryption", feature_blocks=2 * used.feature_blocks)
    yield "scale", altered(plan, "encryption", output_scale=1.01 * used.output_scale)
    for splits in ((), (0.0, *c.splits), (-1.0, *c.splits), (0.5 * c.splits[0], *c.splits)):
        yield f"splits {splits[:2]}", altered(plan, "certificate", splits=splits)
    for split in (math.inf, math.nan):
        yield f"split {split}", altered(plan, "certificate", splits=(*c.splits, split))
    for reach in (0.0, -1.0, 1.1 * c.activation.radius, math.inf, math.nan):
        yield f"reach {reach}", altered(plan, "network", hidden_reach=reach)
    for activation in (None, shorter):
        yield "activation", altered(plan, "certificate", activation=activation)
    for factor in (1.1, -1.0, math.inf, math.nan):
        norm = factor * plan.optimizer.weight_norm
        yield f"norm {factor}", altered(plan, "optimizer", weight_norm=norm)
    for figures in (c.contributions[:-20], c.contributions[::-1], (0.0, *c.contributions)):
        yield f"S {figures[0]}", altered(plan, "certificate", contributions=figures)
    yield "intervals", altered(plan, "certificate", polynomials=c.polynomials[:-1])
    for name in ("hidden_slack", "margin_slack", "row_slack", "error"):
        for value in (-1e-9, 10.0, math.nan):
            yield f"{name} {value}", altered(plan, "certificate", **{name: value})
    yield "sensitivity", altered(plan, "certificate", sensitivity=0.99 * c.sensitivity)
    yield "intercept", altered(plan, "problem", intercept_column=0.0)
    yield "class weights", altered(plan, "problem", class_weight=(1.0,) * p.n_classes)
    yield "no network", replace(plan, network=None)
    yield "more units", altered(plan, "problem", hidden_units=2 * p.hidden_units)
    yield "no units", altered(plan, "problem", hidden_units=0)


@pytest.mark.parametrize("parameters", SHAPES)
def test_altered_plans_are_refused(parameters):
    """By every party, as each checks the plan before it does anything."""
    plan = make_network(**parameters)
    check_plan(plan)
    passed = []
    for name, bad in alterations(plan):
        try:
            check_plan(bad)
            passed.append(name)
        except PlanMismatch:
            pass
        except Exception as error:
            passed.append(f"{name}: {error!r}")
    assert passed == []
    with pytest.raises(PlanMismatch):
        KeyHolder(bad, scheme_of(plan, "simulated"))
