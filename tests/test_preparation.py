"""The messages that prepare a run: statistics and frames, in order, once, paid for."""

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import BACKENDS, destroyed, make, make_rows, owners_of, relative, scheme_of, split
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from skfhe import (
    EncryptedDataset,
    EncryptedDPLogisticRegression,
    Evaluator,
    KeyHolder,
    PrivacyLedger,
)
from skfhe.exceptions import KeyBurned, PlanMismatch
from skfhe.privacy.frame import Frame
from skfhe.privacy.statistics import integer_sums
from skfhe.protocol import data_owner, messages
from skfhe.protocol.preparation import (
    pack_frame,
    plain_frame,
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
        frame = key_holder._course.frame
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
        key_holder.prepare(another(key_holder).aggregate("curvature", [_copy(plan, key_holder)]))
    with pytest.raises(PlanMismatch, match="other shares"):
        evaluator.aggregate("curvature", [_copy(plan, key_holder)])
    assert key_holder.weights()


def another(key_holder):
    """An evaluator that has forgotten what it answered."""
    return Evaluator(key_holder.plan, key_holder.evaluation_keys(), key_holder.scheme)


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
    other = share(key_holder, another(key_holder), owners_of(key_holder), X, "moments")
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
    owner.adopt(pack_frame(frames[0], plan, owner.run))
    owner.adopt(pack_frame(frames[0], plan, owner.run))
    with pytest.raises(PlanMismatch, match="one frame"):
        owner.adopt(pack_frame(frames[1], plan, owner.run))
    plain = make(n=60, d=4)
    _, _, (owner,), _, _ = parties_of(plain)
    with pytest.raises(PlanMismatch, match="one frame"):
        owner.adopt(pack_frame(frames[0], plain, owner.run))


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
