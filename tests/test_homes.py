"""Which worker does which part of a step: the one it has kept, and every part in any case."""

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skfhe.protocol import mapping
from skfhe.protocol.mapping import Share, Step, mapped_sums


def a_step(n_parts, homes=None, token=""):
    return Step("", b"", "", "", 0, (), (), ((),) * n_parts, homes or {}, token)


class Pool:
    """joblib with workers of which a test says who gets which task."""

    def __init__(self, turns):
        self.turns, self.taken, self.rounds = turns, {}, 0

    def __call__(self, tasks):
        self.rounds += 1
        return [self.run(i, *task) for i, task in enumerate(tasks)]

    def run(self, position, step, number):
        worker = f"w{self.turns[position % len(self.turns)]}"
        mapping._TAKEN.clear()  # every worker is a process of its own
        mapping._TAKEN.update(self.taken.get(worker, {}))
        part = mapping._part(step, worker, number)
        self.taken[worker] = {token: set(parts) for token, parts in mapping._TAKEN.items()}
        return Share(part, worker, [])


@pytest.fixture(autouse=True)
def nothing_is_taken():
    yield
    mapping._TAKEN.clear()


def test_tasks_hold_nothing_secret():
    """What goes to other machines: the plan, encrypted weights, addresses of files, names."""
    assert {field.name for field in fields(Step)} == {
        *("plan", "keys", "identity", "backend", "cache_bytes", "indices", "weights", "parts"),
        *("homes", "token"),
    }


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(1, 6))
def test_every_part_is_done_whoever_takes_what(data, n_parts):
    """Workers come, go and take any number of tasks: all parts are there, in order."""
    step = a_step(n_parts)
    for _ in range(4):
        pool = Pool(data.draw(st.lists(st.integers(0, 7), min_size=1, max_size=6)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mapping, "delayed", lambda _: lambda *arguments: arguments)
            patch.setattr(mapping, "Parallel", lambda pool=pool, **_: pool)
            shares = mapped_sums(step, 2)
        assert [share.part for share in shares] == [*range(n_parts)]
        assert pool.rounds <= 2
        step = replace(step, homes={share.worker: share.part for share in shares})


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_workers_keep_their_part(order):
    """Whatever order they get their tasks in."""
    homes, taken = {"a": 0, "b": 1}, {}
    for number, worker in enumerate(order):
        mapping._TAKEN.clear()
        taken[worker] = mapping._part(a_step(2, homes, "t"), worker, number)
    assert taken == homes


def test_a_new_worker_takes_what_nobody_has():
    """And does not double what its predecessor's neighbour keeps."""
    homes = {"a": 0, "dead": 1}
    assert mapping._part(a_step(3, homes, "t"), "new", 0) == 2
    mapping._TAKEN.clear()
    assert mapping._part(a_step(2, {"a": 0}, "t"), "new", 0) == 1
