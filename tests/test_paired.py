"""Sums of products at half the products: the same bytes, and what it takes to get them."""

from collections import Counter

import pytest
from helpers import make, make_rows, owners_of, scheme_of

from skfhe import Evaluator, KeyHolder
from skfhe.circuits.logistic import EncryptedChunk, LogisticSums
from skfhe.circuits.paired import RowProducts, pays
from skfhe.crypto.tenseal import TensealScheme
from skfhe.crypto.tracing import TracingEvaluator
from skfhe.protocol.session import Checkpoint

# Rows and columns: 1 to 5 chunks of 512 rows, 1 to 4 groups of 16 columns, odd and even.
SIZES = [(300, 40), (900, 20), (1300, 50), (1600, 60), (2100, 12), (2300, 33)]


def totals(case, bench, chunks, weights, own=None, kept=True):
    """A step's closed sums, as bytes."""
    arithmetic = case.arithmetic(bench.evaluator)
    sums = LogisticSums(arithmetic, case.layout, case.factored, case.DIVISOR, weights, own)
    for chunk in chunks:
        sums.add(chunk, kept)
    sums.close()
    return [bench.evaluator.save(total) for total in sums.totals]


@pytest.mark.parametrize("n_rows, n_columns", SIZES)
def test_the_same_bytes(make_case, n_rows, n_columns):
    """In the step that finds own products, with other weights later, and with rows not kept."""
    case = make_case(1, n_rows, n_columns)
    bench, (rows, targets, weights) = case.bench(TensealScheme), case.data(0)
    chunks = [*case.chunks(bench, rows, targets)]
    own, passing = RowProducts(), RowProducts()
    for step in range(3):
        sent = case.weights(bench, weights * (1 - step / 4))
        expected = totals(case, bench, chunks, sent)
        assert totals(case, bench, chunks, sent, own) == expected
        assert totals(case, bench, chunks, sent, passing, kept=False) == expected
        assert own.known and passing.known
    pairs, groups = len(chunks) // 2, case.layout.groups
    assert len(own.margins) == (len(chunks) if groups > 1 else 0)
    assert len(own.gradients) == (groups if pairs else 0)
    assert not passing.margins


def test_other_rows_own_products_are_wrong(make_case):
    """The test above could fail."""
    case = make_case(1, 1300, 50)
    bench, (rows, targets, weights) = case.bench(TensealScheme), case.data(0)
    chunks, sent = [*case.chunks(bench, rows, targets)], case.weights(bench, weights)
    own = RowProducts()
    expected = totals(case, bench, chunks, sent, own)
    own.gradients.reverse()
    assert totals(case, bench, chunks, sent, own) != expected


@pytest.mark.parametrize("n_rows, n_columns", SIZES)
def test_half_the_products(make_case, n_rows, n_columns):
    case = make_case(1, n_rows, n_columns)
    layout, candidate, ring = case.layout, case.candidate, case.candidate.ring
    tracer = TracingEvaluator(ring, follow_errors=False)
    row, weight = (
        tracer.fresh(ring.top_level, scale, 2.0**-20)
        for scale in (candidate.row_scale, candidate.scale)
    )
    low, label = tracer.switch_to(row, 1), tracer.fresh(1, candidate.scale, 2.0**-20)
    chunk = EncryptedChunk([row] * layout.groups, [low] * layout.groups, label)
    arithmetic, weights = case.arithmetic(tracer), [weight] * layout.groups
    n_chunks = -(-n_rows // layout.rows_per_chunk)
    counts = []
    for own in (None, RowProducts()):
        for _ in range(2):
            tracer.counts.clear()
            LogisticSums(arithmetic, layout, case.factored, case.DIVISOR, weights, own).gradient(
                [chunk] * n_chunks
            )
        counts.append(Counter(tracer.counts))
    plain, paired = counts
    top, groups, pairs = ring.top_level, layout.groups, n_chunks // 2
    assert plain["multiply", top] == n_chunks * groups
    assert paired["multiply", top] == n_chunks * (groups - groups // 2) + groups // 2
    assert plain["multiply", 1] == n_chunks * groups
    assert paired["multiply", 1] == (n_chunks - pairs) * groups + pairs
    switches = {key for key in plain if key[0] == "key_switch"}
    assert all(plain[key] == paired[key] for key in switches)


@pytest.fixture(scope="module")
def run():
    plan = make(n=20_000, max_iter=4)
    holder = KeyHolder(plan, scheme_of(plan, "tenseal"))
    (owner,) = owners_of(holder)
    shards = [*owner.shards(*make_rows(plan), None)]
    return plan, holder.evaluation_keys(), shards, holder.weights(), owner.noise(0)


def step(evaluator, weights, noise):
    """The first step, as if it had never been asked for."""
    evaluator._next_step, evaluator._checkpoint = 0, Checkpoint()
    return evaluator.step(weights, [noise])


def test_a_step_that_fails_leaves_nothing_wrong(run, monkeypatch):
    """Own products of half the rows are found again with the next step."""
    plan, keys, shards, weights, noise = run
    evaluator = Evaluator(plan, keys, scheme_of(plan, "tenseal"))
    evaluator.load(shards)
    with monkeypatch.context() as patch:
        chunk, calls = evaluator._worker.chunk, []

        def failing(shard):
            calls.append(shard)
            if len(calls) == 4:
                raise MemoryError
            return chunk(shard)

        patch.setattr(evaluator._worker, "chunk", failing)
        with pytest.raises(MemoryError):
            step(evaluator, weights, noise)
    replies = {step(evaluator, weights, noise) for _ in range(3)}
    assert len(replies) == 1
    patched = Evaluator(plan, keys, scheme_of(plan, "tenseal"))
    patched.load(shards)
    monkeypatch.setattr("skfhe.protocol.worker.pays", lambda *_: False)
    assert {step(patched, weights, noise)} == replies


def test_a_step_with_other_rows_finds_their_own_products(run):
    """Whoever loads more rows between two steps gets sums over all of them."""
    plan, keys, shards, weights, noise = run
    evaluator = Evaluator(plan, keys, scheme_of(plan, "tenseal"))
    evaluator.load(shards[:3])
    fewer = [step(evaluator, weights, noise) for _ in range(2)]
    evaluator.load(shards[3:])
    more = [step(evaluator, weights, noise) for _ in range(2)]
    assert fewer[0] == fewer[1] != more[0] == more[1]


def test_when_it_pays():
    """Not for a single step, nor for so few rows that weights are as many."""
    assert not pays(100, 1) and not pays(2, 100)
    assert pays(3, 3) and pays(1000, 10)
