"""How rows and gradients are prepared: the frame, the preconditioner, the messages in between."""

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import BACKENDS, destroyed, make, make_rows, owners_of, relative, scheme_of, split
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from skfhe import (
    EncryptedDataset,
    EncryptedDPLogisticRegression,
    Evaluator,
    KeyHolder,
    PrivacyLedger,
)
from skfhe.exceptions import KeyBurned, MessageError, PlanMismatch
from skfhe.privacy.frame import Frame
from skfhe.privacy.statistics import deviation, integer_sums, second_moments
from skfhe.protocol import data_owner, messages
from skfhe.protocol.preparation import (
    fitted_frame,
    pack_frame,
    plain_frame,
    preconditioner,
    unpack_frame,
)

BOTH = {"standardize": True, "precondition": True}


def parties_of(plan, backend="simulated", **parameters):
    """Key holder, evaluator, owners and rows, before anything is released."""
    key_holder = KeyHolder(plan, scheme_of(plan, backend), **parameters)
    evaluator = Evaluator(plan, key_holder.evaluation_keys(), key_holder.scheme)
    X, targets = make_rows(plan)
    return key_holder, evaluator, owners_of(key_holder), X, targets


def share(key_holder, evaluator, owners, X, name):
    """One statistic of all owners, for `prepare`."""
    parts = split(len(X), len(owners))
    shares = [o.statistic(name, X[p]) for o, p in zip(owners, parts, strict=True)]
    return evaluator.aggregate(name, shares)


# The frame.


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.floats(0, 1), st.booleans(), st.integers(0, 2**32))
def test_no_stored_row_is_too_long(d, b, shorten, seed):
    """Whatever the row, centre and scale: at most one, and the intercept's entry at most b."""
    rng = np.random.default_rng(seed)
    frame = Frame(
        rng.normal(size=d) * 10.0 ** rng.integers(-3, 4),
        10.0 ** rng.uniform(-5, 5, d),
        b,
        shorten,
    )
    sizes = 10.0 ** rng.uniform(-10, 300, (50, 1))
    X = np.vstack([rng.normal(size=(50, d)) * sizes, np.zeros((1, d)), frame.centre[None]])
    X = np.clip(X, -1.7e308, 1.7e308)
    rows = frame.rows(X)
    assert np.isfinite(rows).all()
    assert np.linalg.norm(rows[:, :d], axis=1).max() <= 1
    if b:
        assert rows[:, -1].max() <= b and rows[:, -1].min() >= 0
    if not shorten and b:
        assert (rows[:, -1] == b).all()


def test_the_released_model_decides_as_on_stored_rows():
    """One output: also for rows that were shortened, however far out they are."""
    rng = np.random.default_rng(0)
    frame = Frame(rng.normal(size=5), np.exp(rng.normal(size=5)), 0.5, True)
    X = frame.centre + rng.normal(size=(500, 5)) * np.exp(3 * rng.normal(size=(500, 1)) - 1)
    weights = rng.normal(size=(6, 1))
    released = frame.original(weights)
    margins = X @ released[:-1] + released[-1]
    stored = frame.rows(X) @ weights
    assert (np.sign(margins) == np.sign(stored)).all()
    inside = np.linalg.norm((X - frame.centre) * frame.scale, axis=1) < 1
    assert 0.02 < inside.mean() < 0.98
    np.testing.assert_allclose(margins[inside], stored[inside])


@pytest.mark.parametrize("classes", [2, 4])
def test_without_noise_the_frame_centres_and_scales(classes):
    plan = make(n=5000, d=6, classes=classes, epsilon=100.0, **BOTH)
    rng = np.random.default_rng(1)
    spread = np.linspace(0.1, 0.4, 6)
    X = np.clip(rng.normal(size=(5000, 6)) * spread + np.linspace(-0.5, 0.5, 6), -1, 1)
    frame = fitted_frame(plan, integer_sums("moments", plan, plain_frame(plan), X))
    np.testing.assert_allclose(frame.centre, X.mean(axis=0), atol=0.02)
    ratio = frame.scale * X.std(axis=0)
    if classes == 2:  # a scale for every column
        np.testing.assert_allclose(ratio / ratio.mean(), 1, atol=0.1)
    else:
        np.testing.assert_allclose(frame.scale, frame.scale[0])
    rms = np.sqrt(np.mean(np.sum(((X - frame.centre) * frame.scale) ** 2, axis=1)))
    assert rms * plan.preparation.radius == pytest.approx(1, rel=0.05)


def test_noise_alone_gives_a_modest_frame():
    """Nothing is left of sums under so much noise: centres and scales stay near their priors."""
    plan = make(n=20, d=30, epsilon=0.05, **BOTH)
    rng = np.random.default_rng(2)
    units = plan.preparation.moments.noise_units
    for _ in range(20):
        frame = fitted_frame(plan, units * rng.normal(size=60))
        assert np.isfinite(frame.scale).all() and (frame.scale > 0).all()
        X = rng.uniform(-1, 1, (200, 30))
        norms = np.linalg.norm((X - frame.centre) * frame.scale, axis=1)
        assert 0.05 < np.median(norms) < 20


def test_without_an_intercept_nothing_is_centred():
    plan = make(n=500, d=3, fit_intercept=False, epsilon=100.0, **BOTH)
    X = np.full((500, 3), 0.5)
    frame = fitted_frame(plan, integer_sums("moments", plan, plain_frame(plan), X))
    assert not frame.centre.any()


def test_frames_survive_the_wire():
    plan = make(d=3, **BOTH)
    frame = Frame(np.array([0.1, -0.2, 1 / 3]), np.array([1.0, 2.0, 1e-3]), 0.5, True)
    again = unpack_frame(pack_frame(frame, plan, "run"), plan, "run")
    np.testing.assert_array_equal(again.centre, frame.centre)
    np.testing.assert_array_equal(again.scale, frame.scale)
    assert again.intercept_column == 0.5 and again.shorten_intercept
    with pytest.raises(PlanMismatch):
        unpack_frame(pack_frame(frame, plan, "another"), plan, "run")


@pytest.mark.parametrize(
    "sections",
    [
        [b"", b""],
        [np.ones(2).tobytes(), np.ones(3).tobytes()],
        [np.array([0, np.nan, 0]).tobytes(), np.ones(3).tobytes()],
        [np.zeros(3).tobytes(), np.array([1.0, 0, 1]).tobytes()],
        [np.zeros(3).tobytes(), np.array([1.0, -1, 1]).tobytes()],
        [np.zeros(3).tobytes(), np.array([1.0, np.inf, 1]).tobytes()],
        [np.zeros(3).tobytes(), np.array([1.0, 1e200, 1]).tobytes()],
        [np.full(3, 1.7e308).tobytes(), np.ones(3).tobytes()],
    ],
)
def test_malformed_frames_are_refused(sections):
    plan = make(d=3, **BOTH)
    data = messages.pack("frame", plan.digest, sections, run="run")
    with pytest.raises(MessageError, match="a frame must have"):
        unpack_frame(data, plan, "run")


# The preconditioner.


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 100.0])
def test_the_preconditioner_is_safe_and_useful(epsilon):
    """Positive definite, steps stable, and near the inverse where noise is small."""
    plan = make(n=3000, d=10, epsilon=epsilon, **BOTH)
    rng = np.random.default_rng(3)
    X = np.clip(rng.normal(size=(3000, 10)) @ np.diag(np.linspace(0.02, 0.5, 10)), -1, 1)
    frame = plain_frame(plan)
    rows = frame.rows(X)
    hessian = rows.T @ rows / len(rows) / 4
    sums = integer_sums("curvature", plan, frame, X)
    units = plan.preparation.curvature.noise_units
    largest = []
    for _ in range(20):
        matrix = preconditioner(plan, sums + units * rng.normal(size=len(sums)))
        np.testing.assert_allclose(matrix, matrix.T, rtol=1e-6, atol=1e-9 * np.abs(matrix).max())
        assert np.linalg.eigvalsh(matrix).min() > 0
        largest.append(np.linalg.eigvals(matrix @ hessian).real.max())
    # Gradient steps with momentum m = .4 are stable below 2 (1 + m) / (1 + 2 m) = 1.55.
    print(f"epsilon {epsilon}: curvature after preconditioning at most {max(largest):.2f}")
    assert max(largest) < 1.55
    if epsilon == 100.0:
        assert min(largest) > 0.9


def test_the_noise_of_the_curvature_is_what_the_damping_takes_it_for():
    """Its spectral norm is about sqrt(2 D) deviations of a diagonal entry."""
    plan = make(n=1000, d=60, **BOTH)
    rng = np.random.default_rng(4)
    units = plan.preparation.curvature.noise_units
    length = plan.preparation.curvature.length
    norms = [
        np.linalg.norm(second_moments(units * rng.normal(size=length), plan), 2) for _ in range(10)
    ]
    expected = np.sqrt(2 * plan.problem.n_columns) * deviation("curvature", plan)
    assert np.mean(norms) == pytest.approx(expected, rel=0.1)


# The messages.


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n_owners, n_colluding", [(1, 0), (3, 1)])
def test_what_is_decrypted_is_the_noised_sum(monkeypatch, backend, n_owners, n_colluding):
    """To the last unit but for the errors of encryption, which are far below the noise."""
    plan = make(n=60, d=5, n_owners=n_owners, n_colluding=n_colluding, **BOTH)
    key_holder, evaluator, owners, X, _ = parties_of(plan, backend)
    drawn = []

    def draw(sigma, size, random_bytes):
        drawn.append(np.rint(sigma * np.random.default_rng(len(drawn)).normal(size=size)))
        return drawn[-1].astype(np.int64)

    monkeypatch.setattr(data_owner, "discrete_gaussian", draw)
    seen = []
    honest = key_holder._decrypt
    monkeypatch.setattr(
        key_holder, "_decrypt", lambda *a: seen.append(honest(*a)) or seen[-1], raising=True
    )
    for name in plan.preparation.statistics:
        drawn.clear()
        frame = key_holder._frame
        key_holder.prepare(share(key_holder, evaluator, owners, X, name))
        for owner in owners:
            owner.adopt(key_holder.frame())
        statistic = plan.preparation.statistics[name]
        exact = integer_sums(name, plan, frame or plain_frame(plan), X) + sum(drawn)
        error = np.abs(seen[-1][: statistic.length] - exact).max()
        assert error <= 1e-3 * statistic.noise_units
        assert not np.abs(seen[-1][statistic.length :]).max() > 1e-3 * statistic.noise_units


@pytest.mark.parametrize("backend", BACKENDS)
def test_owners_prepare_and_train_together(backend):
    """Three owners, offline after the frame: data sets with their curvature."""
    plan = make(n=300, d=4, n_owners=3, n_colluding=1, epsilon=20.0, max_iter=4, **BOTH)
    key_holder, evaluator, owners, X, targets = parties_of(plan, backend)
    key_holder.prepare(share(key_holder, evaluator, owners, X, "moments"))
    parts = []
    for owner, part in zip(owners, split(len(X), 3), strict=True):
        owner.adopt(key_holder.frame())
        parts.append(owner.dataset(X[part], targets[part]))
    dataset = EncryptedDataset.concat(*parts)
    assert len(dataset.curvature) == 3
    model = EncryptedDPLogisticRegression().fit_encrypted(dataset, key_holder)
    assert model.score(X, targets) > 0.85
    assert len(key_holder.releases.spent) == 6 == model.privacy_.n_releases


def test_with_hardly_any_noise_few_steps_reach_the_optimum():
    """Six steps against an optimum that plain steps need hundreds for."""
    X, y = make_classification(
        20_000, 8, n_informative=5, n_redundant=2, flip_y=0.2, random_state=1
    )
    X = X * np.geomspace(1, 0.02, 8) / np.abs(X).max()
    model = EncryptedDPLogisticRegression(
        100.0, degree=7, max_iter=8, data_norm=3.0, averaging=0.2, backend="simulated",
    ).fit(X, y)  # fmt: skip
    plain = LogisticRegression(C=1e6).fit(X, y)
    assert model.score(X, y) > plain.score(X, y) - 0.005
    ours, theirs = model.decision_function(X), plain.decision_function(X)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.99


def test_order_is_kept():
    """Moments, frame, curvature, weights: nothing early, nothing twice."""
    plan = make(n=60, d=4, **BOTH)
    key_holder, evaluator, (owner,), X, targets = parties_of(plan)
    with pytest.raises(PlanMismatch, match="first"):
        key_holder.weights()
    with pytest.raises(PlanMismatch, match="moments"):
        key_holder.frame()
    with pytest.raises(PlanMismatch, match="adopt"):
        next(owner.encrypt(X, targets))
    with pytest.raises(PlanMismatch, match="adopt"):
        owner.statistic("curvature", X)
    with pytest.raises(PlanMismatch, match="the plan's statistics are"):
        owner.statistic("means", X)
    reply = share(key_holder, evaluator, [owner], X, "moments")
    key_holder.prepare(reply)
    spent = list(key_holder.releases.spent)
    key_holder.prepare(reply)  # again: nothing happens
    assert key_holder.releases.spent == spent == ["moments"]
    with pytest.raises(PlanMismatch, match="again"):
        owner.statistic("moments", X)
    owner.adopt(key_holder.frame())
    key_holder.prepare(share(key_holder, evaluator, [owner], X, "curvature"))
    assert key_holder.releases.spent == ["moments", "curvature"]
    with pytest.raises(PlanMismatch, match="no statistic"):
        key_holder.prepare(evaluator.aggregate("curvature", [_copy(plan, key_holder)]))
    assert key_holder.weights()


def _copy(plan, key_holder):
    """Another owner's share under the same run: what a replaying evaluator might send."""
    again = owners_of(key_holder)[0]
    again.adopt(key_holder.frame())
    return again.statistic("curvature", np.zeros((5, plan.problem.n_features)))


def test_another_reply_for_an_answered_statistic_is_refused():
    """The same rows under other noise would halve the noise."""
    plan = make(n=60, d=4, **BOTH)
    key_holder, evaluator, (owner,), X, _ = parties_of(plan)
    key_holder.prepare(share(key_holder, evaluator, [owner], X, "moments"))
    other = share(key_holder, evaluator, owners_of(key_holder), X, "moments")
    with pytest.raises(PlanMismatch):
        key_holder.prepare(other)
    assert key_holder.releases.spent == ["moments"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_impossible_statistic_burns_the_key(backend):
    """And is paid for; what was not released is given back."""
    plan = make(n=60, d=4, **BOTH)
    ledger = PrivacyLedger(epsilon=1.0, delta=1e-5)
    key_holder, evaluator, _, _, _ = parties_of(plan, backend, ledger=ledger)
    values = np.full(8192, 2**47, dtype=np.int64)
    size, level = plan.encryption.poly_modulus_degree, plan.encryption.product_level
    section = key_holder._encryptor.encrypt_integers(values[:size], 1.0, level)
    forged = messages.pack(
        "statistic", plan.digest, [section], run=key_holder.run, owner=0, name="moments",
        seeded=False,
    )  # fmt: skip
    with pytest.raises(KeyBurned, match="moments decrypted to something"):
        key_holder.prepare(evaluator.aggregate("moments", [forged]))
    assert destroyed(key_holder)
    (entry,) = ledger.entries()
    assert entry.n_releases == 1
    assert entry.squared_mu == plan.squared_mu_of(["moments"])


def test_seeded_statistics_are_refused_under_a_ledger():
    plan = make(n=60, d=4, **BOTH)
    ledger = PrivacyLedger(epsilon=1.0, delta=1e-5)
    key_holder, evaluator, _, X, _ = parties_of(plan, ledger=ledger)
    seeded = data_owner.DataOwner(
        plan, key_holder.encryptor(), key_holder.run, random_bytes=np.random.default_rng(0).bytes
    )
    reply = share(key_holder, evaluator, [seeded], X, "moments")
    with pytest.raises(PlanMismatch, match="came from a seed"):
        key_holder.prepare(reply)
    assert not key_holder.releases.spent


def test_seeded_moments_void_the_guarantee_of_a_later_data_set():
    """Whoever aggregated them, and whatever noise came after."""
    plan = make(n=60, d=4, max_iter=2, **BOTH)
    key_holder, evaluator, _, X, targets = parties_of(plan)
    first, second = (
        data_owner.DataOwner(plan, key_holder.encryptor(), key_holder.run, random_bytes=source)
        for source in (np.random.default_rng(0).bytes, os.urandom)
    )
    key_holder.prepare(share(key_holder, evaluator, [first], X, "moments"))
    second.adopt(key_holder.frame())
    model = EncryptedDPLogisticRegression()
    model.fit_encrypted(second.dataset(X, targets), key_holder)
    assert not model.privacy_.guaranteed
    assert model.privacy_.epsilon == np.inf == model.privacy_.squared_mu


def test_a_seeded_run_that_ends_early_still_costs_everything():
    plan = make(n=60, d=4, **BOTH)
    ledger = PrivacyLedger(epsilon=np.inf, delta=1e-5)
    key_holder, evaluator, _, X, _ = parties_of(plan, ledger=ledger, seeded=True)
    seeded = data_owner.DataOwner(
        plan, key_holder.encryptor(), key_holder.run, random_bytes=np.random.default_rng(0).bytes
    )
    key_holder.prepare(share(key_holder, evaluator, [seeded], X, "moments"))
    key_holder.burn()
    assert ledger.entries()[0].n_releases == 1
    assert ledger.spent().epsilon == np.inf


def test_rows_have_one_frame():
    plan = make(n=60, d=4, **BOTH)
    _, _, (owner,), _, _ = parties_of(plan)
    frames = [Frame(np.full(4, c), np.ones(4), 0.5, True) for c in (0.0, 0.1)]
    owner.adopt(pack_frame(frames[0], plan, owner._run))
    owner.adopt(pack_frame(frames[0], plan, owner._run))
    with pytest.raises(PlanMismatch, match="one frame"):
        owner.adopt(pack_frame(frames[1], plan, owner._run))
    plain = make(n=60, d=4)
    _, _, (owner,), _, _ = parties_of(plain)
    with pytest.raises(PlanMismatch, match="one frame"):
        owner.adopt(pack_frame(frames[0], plain, owner._run))


def test_threads_get_one_noise(monkeypatch):
    """The name is taken before the sum is computed, which takes long."""
    plan = make(n=60, d=4, **BOTH)
    _, _, (owner,), X, _ = parties_of(plan)
    entered = threading.Barrier(2, timeout=10)
    honest = data_owner.integer_sums

    def slow(*arguments):
        with contextlib.suppress(threading.BrokenBarrierError):
            entered.wait(0.3)
        return honest(*arguments)

    monkeypatch.setattr(data_owner, "integer_sums", slow)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: _attempt(owner, X), range(4)))
    assert sum(made) == 1


def _attempt(owner, X):
    try:
        owner.statistic("moments", X)
    except PlanMismatch:
        return False
    return True


def test_every_owner_must_send_its_share():
    plan = make(n=60, d=4, n_owners=2, **BOTH)
    _, evaluator, owners, X, _ = parties_of(plan)
    shares = [owner.statistic("moments", X[:30]) for owner in owners]
    for wrong in (shares[:1], shares[::-1], [shares[0]] * 2):
        with pytest.raises(PlanMismatch):
            evaluator.aggregate("moments", wrong)
    with pytest.raises(PlanMismatch, match="no statistic"):
        evaluator.aggregate("means", shares)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_statistics_need_finite_rows(bad):
    plan = make(n=60, d=4, **BOTH)
    _, _, (owner,), X, _ = parties_of(plan)
    X[3, 1] = bad
    with pytest.raises(ValueError, match="finite"):
        owner.statistic("moments", X)


def test_backends_agree(monkeypatch):
    """The same noise, encrypted and not: the same model up to the errors of encryption."""
    X, targets = make_rows(make(n=200, d=6))
    found = []
    for backend in BACKENDS:
        model = EncryptedDPLogisticRegression(
            epsilon=5.0, degree=3, backend=backend, random_state=0
        ).fit(X, targets)
        found.append(np.append(model.coef_, model.intercept_))
    assert relative(found[1], found[0]) < 1e-3
