"""The numbers in the drawings: three plans for one made-up table, and a visit of two."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from skfhe import BoundsScaler, DataOwner, EncryptedDPLogisticRegression, Evaluator, KeyHolder
from skfhe.packing import Layout

ROWS, BOUNDS = 1000, ([18, 60, 0], [100, 220, 1])
PERSON = [54, 131, 1]


def table():
    """Age, blood pressure, smoker, and whether somebody is well: all drawn at random."""
    random = np.random.default_rng(0)
    age, pressure = random.uniform(18, 90, ROWS), random.normal(120, 15, ROWS)
    smoker = random.integers(0, 2, ROWS)
    well = age + 20 * smoker + random.normal(0, 10, ROWS) <= 65
    X = BoundsScaler(bounds=BOUNDS).fit_transform(np.column_stack([age, pressure, smoker]))
    return X, well.astype(int)


def sizes(plan):
    """Bytes of every message of a visit, all parties in this process."""
    X, y = table()
    with KeyHolder(plan) as key_holder:
        keys = key_holder.evaluation_keys()
        evaluator = Evaluator(plan, keys)
        owner = DataOwner(plan, key_holder.encryptor(), key_holder.run)
        for name in plan.preparation.statistics:
            key_holder.prepare(evaluator.aggregate(name, [owner.statistic(name, X)]))
            owner.adopt(key_holder.frame())
        rows = [*owner.encrypt(X, y)]
        evaluator.load(rows)
        weights, noise = key_holder.weights(), owner.noise(0)
        reply = evaluator.step(weights, [noise])
        key_holder.release(reply)
    found = {"keys": [keys], "rows": rows, "noise": [noise], "weights": [weights],
             "reply": [reply]}  # fmt: skip
    return SimpleNamespace(**{name: sum(map(len, parts)) for name, parts in found.items()})


def described(plan):
    """What the drawings say of a plan."""
    used, layout = plan.encryption, Layout.of(plan.problem, plan.encryption, 1)
    bits = [prime.bit_length() for prime in used.primes[: len(used.primes) - used.n_special]]
    return SimpleNamespace(
        plan=plan,
        degree=used.poly_modulus_degree,
        bits=bits,
        top=used.top_level,
        layout=layout,
        ciphertexts=layout.groups * layout.chunks,
        steps=plan.optimizer.max_iter,
    )


def collect():
    """All facts."""
    interactive = EncryptedDPLogisticRegression(epsilon=1.0, degree=5).plan(ROWS, 3)
    alone = EncryptedDPLogisticRegression(protocol="noninteractive").plan(ROWS, 3)
    endless = EncryptedDPLogisticRegression(
        protocol="noninteractive", bootstrapping=True, backend="simulated", max_iter=12
    ).plan(ROWS, 3)
    return SimpleNamespace(
        interactive=described(interactive),
        alone=described(alone),
        endless=described(endless),
        sent=sizes(interactive),
        sent_alone=sizes(alone),
        scaled=BoundsScaler(bounds=BOUNDS).fit_transform(np.array([PERSON], dtype=float))[0],
    )


def show(facts):
    """Print them."""
    for name in ("interactive", "alone", "endless"):
        one, layout = getattr(facts, name), getattr(facts, name).layout
        print(
            f"{name}: N = {one.degree}, data primes of {one.bits} bits, fresh at level {one.top}; "
            f"{one.ciphertexts} ciphertext(s) of rows, {layout.rows_per_chunk} rows of "
            f"{2 * layout.feature_blocks} columns each; {one.steps} steps"
        )
        if one.plan.rounds:
            rounds = one.plan.rounds
            print(f"  gradients at levels {rounds.noise_levels}, refreshes {rounds.refreshes}")
    print("bytes, interactive:", vars(facts.sent))
    print("bytes, alone:", vars(facts.sent_alone))
    print("person", PERSON, "scaled", facts.scaled.round(4))
