"""Rounds whose ciphertexts are refreshed: plans, steps, restarts, on simulated ciphertexts."""

import json
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from helpers import make_rows, ring_of
from test_levelled_circuit import Bench, exact_points, levelled

from skfhe import (
    DataOwner,
    EncryptedDPLogisticRegression,
    Evaluator,
    KeyHolder,
    PlanMismatch,
    SeededNoiseWarning,
    TrainingPlan,
)
from skfhe.circuits.levelled import Course
from skfhe.crypto import errors
from skfhe.crypto.embedding import slots_to_coefficients
from skfhe.planning import check_plan
from skfhe.planning.levelled_bounds import refresh_kick
from skfhe.planning.levelled_checks import levelled_of
from skfhe.protocol import messages
from skfhe.protocol.checkpoint import FolderCheckpoint
from skfhe.protocol.schemes import plan_scheme

KINDS = {
    "lines": {"degree": 1, "max_iter": 14},
    "momentum": {"degree": 1, "max_iter": 8, "learning_rate": 1.0, "momentum": 0.5},
    "cubic": {"degree": 3, "max_iter": 4},
    "plain": {"degree": 3, "max_iter": 4, "learning_rate": 1.0},
}


def bootstrapped(kind, **parameters):
    return levelled(
        **KINDS[kind], bootstrapping=True, backend="simulated", epsilon=50.0, **parameters
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_simulated_steps_are_the_formula(kind):
    plan = bootstrapped(kind)
    assert plan.rounds.refreshes
    bench = Bench(plan, "simulated")
    expected = exact_points(plan, bench.X, bench.targets, np.zeros(6))[-1]
    np.testing.assert_allclose(bench.moved(), expected, atol=1e-5 * np.linalg.norm(expected))


def test_more_steps_than_any_modulus_holds():
    plan = levelled(
        degree=1, max_iter=30, n=3000, epsilon=50.0, bootstrapping=True, backend="simulated"
    )
    assert plan.rounds.steps == 30 and plan.visits == 1
    # Fewer bootstraps than steps, two to a refresh.
    assert 0 < 2 * len(plan.rounds.refreshes) <= 30
    check_plan(plan)


def test_a_plan_survives_json_and_others_do_not_change():
    plan = bootstrapped("lines")
    again = TrainingPlan.from_json(plan.to_json())
    assert again == plan and again.digest == plan.digest
    content = json.loads(levelled().to_json())
    assert not {"refreshes", "lifts"} & set(content["rounds"])
    assert not {"n_special", "refresh_level", "refresh_slots"} & set(content["encryption"])
    page = str(plan)
    assert "bootstraps" in page and "protocol='interactive'" in page
    assert "eprint 2022/024" in page


def altered(plan):
    """Plans whose refreshes are not what their figures allow for."""
    rounds, used = plan.rounds, plan.encryption
    for index in range(len(rounds.lifts)):
        for factor in (2, 1000):
            more = [*rounds.lifts]
            more[index] *= factor
            yield "a larger lift", replace(plan, rounds=replace(rounds, lifts=tuple(more)))
        more[index] = 1
        yield "no lift", replace(plan, rounds=replace(rounds, lifts=tuple(more)))
    for changes in (
        {"refreshes": rounds.refreshes[1:]},
        {"refreshes": ()},
        {"lifts": rounds.lifts[1:]},
        {"lifts": (0, *rounds.lifts[1:])},
        {"lifts": (1.5, *rounds.lifts[1:])},
        {"refreshes": (*rounds.refreshes[:-1], rounds.steps)},
        {"refreshes": tuple(reversed(rounds.refreshes))},
        {"refreshes": (0, *rounds.refreshes[1:])},
    ):
        yield str(changes), replace(plan, rounds=replace(rounds, **changes))
    for changes in (
        {"refresh_level": 0},
        {"refresh_level": used.refresh_level + 20},
        {"refresh_slots": 3},
        {"refresh_slots": used.poly_modulus_degree},
        {"refresh_budget": (2,)},
        {"refresh_slots": used.refresh_slots // 2},
        {"refresh_level": used.refresh_level - 1},
        {"refresh_budget": (3, 3)},
        {"primes": (*used.primes[:-1], 97)},
        {"row_scale": used.row_scale / 2},
        {"n_special": used.n_special - 1},
        {"digit_primes": used.digit_primes + 1},
        {"n_special": 0},
        {"n_special": len(used.primes)},
        {"digit_primes": 0},
    ):
        yield str(changes), replace(plan, encryption=replace(used, **changes))
    yield "no rounds", replace(plan, rounds=None)
    for changes in ({"error": 0.0}, {"row_slack": 0.0}, {"margin_slack": 0.0}):
        certificate = replace(plan.certificate, **changes)
        yield str(changes), replace(plan, certificate=certificate)


@pytest.mark.parametrize("kind", ["lines", "cubic"])
def test_forged_plans_are_refused(kind):
    plan = bootstrapped(kind)
    check_plan(plan)
    for name, forged in altered(plan):
        with pytest.raises(PlanMismatch):
            check_plan(forged)
            pytest.fail(name)


class Gradients(Course):
    """The noised gradients of a simulated round, as their ciphertexts hold them."""

    def __init__(self, plan, layout):
        self.ring, self.layout, self.n = ring_of(plan), layout, plan.problem.n_samples
        self.found = []

    def stepped(self, step, gradient):
        sums = self.layout.unpack_sums(slots_to_coefficients(self.ring, gradient.slots))
        self.found.append(sums[:, 0] / self.n)


@pytest.mark.parametrize(
    "shape, parameters",
    [
        # Many small steps on one packing, and one whose vectors err across each other.
        ((300, 5), {"epsilon": 50.0, "max_iter": 14}),
        ((5000, 5), {"epsilon": 3.0, "max_iter": 12}),
        ((455, 30), {"epsilon": 20.0, "max_iter": 5, "degree": 3}),
    ],
)
def test_refreshes_move_the_result_no_more_than_is_told(shape, parameters):
    """Given the noised gradients, the result is off by what refreshes do, and roundings."""
    n, d = shape
    plan = levelled(
        **{
            "degree": 1,
            "n": n,
            "d": d,
            "bootstrapping": True,
            "backend": "simulated",
            **parameters,
        }
    )
    bench = Bench(plan, "simulated", errors=True)
    off = []
    for _ in range(5):
        course = Gradients(plan, bench.model.layout)
        moved = bench.model.sums(bench.run(course=course), None)[:, 0]
        off.append(moved + np.array(plan.rounds.points[-1]) @ np.array(course.found))
    circuit = levelled_of(plan, plan.rounds.reaches)
    told = refresh_kick(circuit, plan.rounds.steps).deviation
    # The last point's own roundings, and that a release is of whole units.
    rescale, units = errors.rescale_error(circuit.ring), np.sqrt(1 / 12)
    told = np.hypot(told, np.hypot(rescale, units) / bench.model.release.scale)
    assert told / 100 < np.sqrt(np.mean(np.square(off))) < 1.2 * told


class Notes(Course):
    """What a round tells; and where it is to begin."""

    def __init__(self, begin=None):
        self.begin, self.steps, self.carried = begin, [], {}

    def kept(self):
        return self.begin

    def stepped(self, step, gradient):
        self.steps.append(step)

    def refreshed(self, segment, first, carried):
        self.carried[segment] = first, carried


def test_a_round_may_begin_at_any_refresh():
    plan = bootstrapped("lines")
    bench, whole = Bench(plan, "simulated"), Notes()
    expected = bench.run(course=whole)
    assert whole.steps == [*range(plan.rounds.steps)]
    assert [first for first, _ in whole.carried.values()] == [*plan.rounds.refreshes]
    for segment, (first, carried) in whole.carried.items():
        later = Notes((segment, carried))
        np.testing.assert_allclose(bench.run(course=later), expected, atol=1e-5)
        assert later.steps == [*range(first, plan.rounds.steps)]


class Killed(Exception):
    """Stands for the end of a process."""


class Party:
    """A key holder and an owner of a run, and evaluators with a checkpoint in a folder."""

    def __init__(self, plan, folder):
        self.plan, self.folder = plan, folder
        self.scheme = plan_scheme(plan, "simulated")
        self.holder = KeyHolder(plan, self.scheme)
        X, targets = make_rows(plan)
        self.owner = DataOwner(plan, self.holder.encryptor(), self.holder.run)
        self.rows = [*self.owner.encrypt(X, targets)]
        self.weights, self.noise = self.holder.weights(), [self.owner.noise(0)]

    def evaluator(self):
        checkpoint = FolderCheckpoint(self.folder, self.plan.digest)
        keys = self.holder.evaluation_keys()
        evaluator = Evaluator(self.plan, keys, self.scheme, checkpoint=checkpoint)
        evaluator.load(self.rows)
        return evaluator

    def killed_after(self, count):
        """An evaluator that ends after so many steps and refreshes."""
        told = []

        def progress(done):
            told.append(done)
            if sum(told) >= count:
                raise Killed

        with pytest.raises(Killed):
            self.evaluator().step(self.weights, self.noise, progress)


def test_a_killed_evaluator_goes_on_from_its_last_refresh(tmp_path):
    plan = bootstrapped("lines")
    party = Party(plan, tmp_path)
    total = plan.rounds.steps + len(plan.rounds.refreshes)
    first = plan.rounds.refreshes[0]
    party.killed_after(first + 1)
    told = []
    reply = party.evaluator().step(party.weights, party.noise, told.append)
    assert told[0] == first + 1 and sum(told) == total
    assert party.evaluator().step(party.weights, party.noise) == reply
    party.holder.release(reply)
    assert party.holder.done
    # What lies in the folder is a ciphertext of the run's, with nothing but its place beside it.
    kept = (tmp_path / "refreshed.skfhe").read_bytes()
    header, sections = messages.unpack(kept, "refreshed", plan.digest, 1)
    assert header["run"] == party.holder.run and len(sections) == 1


def test_other_noise_begins_anew_and_damage_is_told(tmp_path):
    plan = bootstrapped("lines")
    party = Party(plan, tmp_path)
    party.killed_after(plan.rounds.refreshes[0] + 1)
    other = Party(plan, tmp_path / "elsewhere")
    place = tmp_path / "refreshed.skfhe"
    kept = place.read_bytes()
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    (tmp_path / "elsewhere" / "refreshed.skfhe").write_bytes(kept)
    told = []
    other.evaluator().step(other.weights, other.noise, told.append)
    assert set(told) == {1}  # from the first step on
    place.write_bytes(kept[:-100])
    with pytest.raises(Exception, match=r"truncated|message|bytes"):
        party.evaluator().step(party.weights, party.noise)


@pytest.mark.parametrize(
    "parameters, said",
    [
        ({"backend": "tenseal", "bootstrapping": True}, "takes backend='openfhe'"),
        ({"backend": "openfhe", "bootstrapping": False}, "is for bootstrapping"),
        ({"backend": "openfhe", "protocol": "interactive"}, "takes protocol='noninteractive'"),
        (
            {"backend": "simulated", "bootstrapping": True, "protocol": "interactive"},
            "takes protocol='noninteractive'",
        ),
    ],
)
def test_what_cannot_be_is_told_before_there_is_data(parameters, said):
    model = EncryptedDPLogisticRegression(**{"protocol": "noninteractive", **parameters})
    with pytest.raises(ValueError, match=said):
        model.plan(300, 5)


@lru_cache(maxsize=1)
def fitted():
    X, targets = make_rows(bootstrapped("lines"))
    model = EncryptedDPLogisticRegression(
        50.0,
        degree=1,
        max_iter=14,
        protocol="noninteractive",
        bootstrapping=True,
        backend="simulated",
        random_state=0,
        verbose=1,
    )
    with pytest.warns(SeededNoiseWarning):
        return model.fit(X, targets), X, targets


def test_an_estimator_fits_and_shows_how_far_it_is(capfd):
    fitted.cache_clear()
    model, X, targets = fitted()
    rounds = model.plan_.rounds
    total = rounds.steps + len(rounds.refreshes)
    assert f"{total}/{total}" in capfd.readouterr().err
    assert model.score(X, targets) > 0.8
    assert model.n_iter_ == 14 and len(model.history_["step_seconds"]) == 1
    assert model.plan_.prediction.visited_seconds > 0
