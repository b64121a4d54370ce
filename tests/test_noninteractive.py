"""One message in, one model out: fits, parties, refusals and what the plan says of them."""

import math

import numpy as np
import pytest
from helpers import BACKENDS, make_rows
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skfhe import (
    BoundsScaler,
    DataOwner,
    EncryptedDPLogisticRegression,
    Evaluator,
    InfeasiblePlan,
    KeyHolder,
    PlanMismatch,
    PrivacyLedger,
)
from skfhe.exceptions import BudgetExceeded
from skfhe.plan import TrainingPlan

ALONE = {"epsilon": 10.0, "protocol": "noninteractive"}


def rows(n=400, d=4, seed=0):
    X, y = make_classification(n, d, n_informative=2, n_redundant=1, random_state=seed)
    return X / np.abs(X).max(), y


def fitted(backend="simulated", seed=0, **parameters):
    X, y = rows()
    model = EncryptedDPLogisticRegression(
        backend=backend, random_state=seed, **{**ALONE, **parameters}
    )
    return model.fit(X, y)


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_iter": 4},
        pytest.param({}, marks=pytest.mark.slow),
        {"degree": 3, "max_iter": 2},
        {"protocol": "interactive", "steps_per_round": 2, "max_iter": 4},
        {"learning_rate": 1.0, "momentum": 0.5, "max_iter": 3},
        {"degree": 3, "learning_rate": 1.0, "max_iter": 2, "approximation": "minimax"},
        {"standardize": True, "max_iter": 2},
    ],
    ids=["lines", "all that fit", "cubic", "rounds", "momentum", "plain", "standardized"],
)
def test_encrypted_fits_are_the_simulated_ones(parameters):
    encrypted, simulated = (fitted(backend, **parameters) for backend in ("tenseal", "simulated"))
    assert encrypted.plan_.digest == simulated.plan_.digest
    found, expected = (np.append(m.coef_, m.intercept_) for m in (encrypted, simulated))
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)
    assert not encrypted.privacy_.guaranteed


def test_one_release_whatever_the_number_of_steps():
    X, y = rows()
    ledger = PrivacyLedger(epsilon=30.0, delta=1e-4)
    model = EncryptedDPLogisticRegression(
        backend="simulated", ledger=ledger, max_iter=3, **ALONE
    ).fit(X, y)
    plan = model.plan_
    assert (plan.visits, plan.rounds.steps, model.n_iter_) == (1, 3, 3)
    assert model.privacy_.n_releases == 3  # Gaussian ones, though nobody sees but the last point
    assert len(model.history_["gradient_norm"]) == 1
    assert model.privacy_.squared_mu == pytest.approx(3 / model.privacy_.noise_multiplier**2)
    assert 8 < ledger.spent()[0] <= 10  # at the ledger's delta, which is larger
    assert model.score(X, y) > 0.7


def test_a_ledger_that_does_not_pay_stops_it_before_anything_is_encrypted():
    X, y = rows()
    ledger = PrivacyLedger(epsilon=5.0, delta=1e-4)
    model = EncryptedDPLogisticRegression(backend="simulated", ledger=ledger, **ALONE)
    with pytest.raises(BudgetExceeded):
        model.fit(X, y)
    assert ledger.spent()[0] == 0


def test_the_key_holder_sees_one_vector():
    plan = EncryptedDPLogisticRegression(**ALONE, max_iter=3).plan(400, 4)
    seen = {one.party: one.sees for one in plan.parties()}
    assert "noised sums" not in seen.values()
    several = EncryptedDPLogisticRegression(**ALONE).plan(400, 4, n_owners=2)
    assert {one.party: one.sees for one in several.parties()}["key holder"] == "the model"
    rounds = EncryptedDPLogisticRegression(10.0, steps_per_round=2).plan(400, 4, n_owners=2)
    seen = {one.party: one.sees for one in rounds.parties()}
    assert seen["key holder"] == "noised weights of every round"


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_owners_send_one_message_each(backend):
    """Rows, and noise for all steps; the key holder decrypts one ciphertext."""
    from helpers import scheme_of

    plan = EncryptedDPLogisticRegression(**ALONE, max_iter=2).plan(300, 4, n_owners=2)
    scheme = scheme_of(plan, backend)
    with KeyHolder(plan, scheme) as key_holder:
        keys, public = key_holder.evaluation_keys(), key_holder.public_key()
        owners = [DataOwner.with_public_key(plan, public, i, scheme) for i in range(2)]
        X, y = make_rows(plan)
        evaluator = Evaluator(plan, keys, scheme)
        for owner, part in zip(owners, (slice(0, 140), slice(140, 300)), strict=True):
            evaluator.load(owner.encrypt(X[part], y[part]))
        noise = [owner.noise(0) for owner in owners]
        with pytest.raises(PlanMismatch, match="made once"):
            owners[0].noise(0)
        with pytest.raises(PlanMismatch):
            owners[0].noise(1)
        weights = key_holder.weights()
        reply = evaluator.step(weights, noise)
        assert evaluator.step(weights, noise) == reply
        key_holder.release(reply)
        assert key_holder.done
        model = key_holder.result()
    assert model.shape == (5, 1)
    assert np.isfinite(model).all()


def test_the_noise_is_as_wide_as_the_plan_says():
    """What owners draw for every step, read off the simulated ciphertexts."""
    plan = EncryptedDPLogisticRegression(**ALONE, max_iter=3).plan(400, 4)
    from helpers import scheme_of

    from skfhe.protocol import messages

    with KeyHolder(plan, scheme_of(plan, "simulated")) as key_holder:
        owner = DataOwner(plan, key_holder.encryptor(), key_holder.run)
        _, sections = messages.unpack(owner.noise(0), "noise", plan.digest, 3)
        keys, model = key_holder._keys, key_holder._course.model
        for index, (section, form) in enumerate(zip(sections, model.noise, strict=True)):
            values = keys.decrypt(bytes(section), form.level, form.scale)
            everywhere = np.count_nonzero(values) > len(values) / 2
            assert everywhere == (index == 2)
            if everywhere:
                assert np.std(values) == pytest.approx(form.units, rel=0.05)
            else:
                assert set(np.flatnonzero(values)) <= set(form.positions)
                assert np.max(np.abs(values)) < 6 * form.units
            needed = plan.guarantee.noise_multiplier * plan.certificate.sensitivity
            needed *= plan.rounds.contributions[index] * form.scale / model.layout.output_norm
            assert form.units >= needed * (1 - 1e-9)


def test_too_many_steps_are_refused_with_the_number_that_fits():
    with pytest.raises(
        InfeasiblePlan, match=r"20 steps of degree 3 .* \d+ do.*interactive"
    ) as told:
        EncryptedDPLogisticRegression(**ALONE, degree=3, max_iter=20).plan(500, 8)
    fits = int(str(told.value).split("max_iter=")[1].split(",")[0])
    plan = EncryptedDPLogisticRegression(**ALONE, degree=3, max_iter=fits).plan(500, 8)
    assert plan.rounds.steps == fits >= 6
    with pytest.raises(InfeasiblePlan):
        EncryptedDPLogisticRegression(**ALONE, degree=3, max_iter=fits + 1).plan(500, 8)


def test_too_much_noise_is_refused_and_says_so():
    model = EncryptedDPLogisticRegression(0.01, protocol="noninteractive", max_iter=8)
    with pytest.raises(InfeasiblePlan, match="noise"):
        model.plan(100, 50)


def test_steps_that_noise_outgrows_are_tried_fewer_of():
    """A given step size fits some number of steps, though not the most that are tried."""
    model = EncryptedDPLogisticRegression(1.0, protocol="noninteractive", learning_rate=10.0)
    assert 1 <= model.plan(455, 30).rounds.steps < 14


@pytest.mark.parametrize(
    "parameters, said",
    [
        ({"steps_per_round": 3}, "steps_per_round"),
        ({"C": 1.0}, "C"),
        ({"averaging": 0.5}, "averaging"),
        ({"precondition": True}, "precondition"),
        ({"solver": "discriminant"}, "discriminant"),
        ({"degree": 3, "momentum": 0.5}, "momentum"),
        ({"degree": 3, "approximation": "minimax"}, "monotone"),
    ],
)
def test_what_has_no_certificate_is_refused(parameters, said):
    with pytest.raises(ValueError, match=said):
        EncryptedDPLogisticRegression(**{**ALONE, **parameters}).plan(500, 4)


def test_three_classes_are_refused():
    with pytest.raises(ValueError, match="3 classes"):
        EncryptedDPLogisticRegression(**ALONE).plan(500, 4, 3)


def test_a_number_of_steps_must_fill_its_rounds():
    with pytest.raises(ValueError, match=r"multiple of steps_per_round=4.*8 or 12"):
        EncryptedDPLogisticRegression(steps_per_round=4, max_iter=10).plan(500, 4)


def test_a_context_is_refused():
    from skfhe import CKKSParameters

    with pytest.raises(ValueError, match="context"):
        EncryptedDPLogisticRegression(**ALONE, context=CKKSParameters()).plan(500, 4)


def test_it_is_an_estimator_like_any_other():
    X, y = rows()
    model = EncryptedDPLogisticRegression(backend="simulated", random_state=0, **ALONE)
    pipeline = make_pipeline(BoundsScaler(bounds=(-1, 1)), model)
    search = GridSearchCV(
        pipeline,
        {"encrypteddplogisticregression__protocol": ["interactive", "noninteractive"]},
        cv=2,
    )
    with pytest.warns(UserWarning):
        search.fit(X, y)
    assert clone(model).get_params() == model.get_params()


def test_a_plan_survives_json():
    plan = EncryptedDPLogisticRegression(**ALONE).plan(500, 6)
    again = TrainingPlan.from_json(plan.to_json())
    assert (again, again.digest) == (plan, plan.digest)
    assert "by the evaluator alone" in str(again)
    interactive = EncryptedDPLogisticRegression().plan(500, 6)
    assert "rounds" not in interactive.to_json()


def test_steps_stay_a_round_of_one_unless_told_otherwise():
    assert EncryptedDPLogisticRegression(steps_per_round=1).plan(500, 6).rounds is None


def test_convergence_has_no_bound_for_rounds():
    plan = EncryptedDPLogisticRegression(**ALONE, learning_rate=1.0, max_iter=2).plan(500, 6)
    with pytest.raises(ValueError, match="rounds"):
        plan.convergence(0.1)


def test_a_single_step_is_a_round():
    plan = EncryptedDPLogisticRegression(**ALONE, max_iter=1).plan(500, 6)
    assert plan.rounds.noise_levels == (0,)
    assert fitted(max_iter=1).n_iter_ == 1


def test_memory_is_told_before_anything_is_made():
    plan = EncryptedDPLogisticRegression(**{**ALONE, "epsilon": 1.0}).plan(11982, 196)
    assert 1e9 < plan.prediction.memory_bytes < 14e9
    assert math.isfinite(plan.prediction.seconds_per_step)
