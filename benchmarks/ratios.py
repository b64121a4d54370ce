"""What operations and whole steps cost in units of SEAL's bare product, held to thresholds.

    make bench-ratios

Every ratio is of medians that are measured side by side in one process on one core, so that it
says something of the code and little of the machine. A ratio above its threshold (thresholds.json)
fails; so does one below half of it, whose threshold has become too easy. Rows are made up.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from machine import pin_to_one_core
from roofline import bare_product, loaded
from scale import Drawn

from skfhe import EncryptedDPLogisticRegression, EncryptedDPMLPClassifier, KeyHolder
from skfhe.crypto.parameters import Ring
from skfhe.crypto.tenseal import TensealScheme, coefficient_modulus
from skfhe.protocol.session import Costs, make_evaluator

THRESHOLDS = json.loads((Path(__file__).parent / "thresholds.json").read_text())
RING = 8192, (57, 58, 33, 31, 35)
ELEMENT, SCALE, ROUNDS, STEPS = 5, 2.0**25, 60, 6


@pytest.fixture(scope="module", autouse=True)
def one_core():
    pin_to_one_core()


@pytest.fixture(scope="module")
def operands():
    """Keys and ciphertexts at the levels of a linear model's step."""
    ring = Ring(RING[0], coefficient_modulus(*RING))
    keys = TensealScheme(ring).generate([ELEMENT])
    backend, encryptor = TensealScheme(ring).evaluator(keys.evaluation_keys()), keys.encryptor()
    slots = np.random.default_rng(0).normal(size=ring.slots) + 0j
    return backend, encryptor, slots


def hold(benchmark, name: str, unit: float) -> None:
    """Compare a benchmark's median with so many seconds."""
    ratio, most = benchmark.stats.stats.median / unit, THRESHOLDS[name]
    benchmark.extra_info["bare products"] = round(ratio, 2)
    print(f"\n{name}: {ratio:.2f} bare products, at most {most}", end="")
    assert ratio <= most, f"{name} takes {ratio:.2f} bare products, at most {most} are allowed"
    assert ratio > most / 2, f"{name} takes {ratio:.2f} bare products: lower its threshold, {most}"


OPERATIONS = {
    "relinearisation": lambda e, a: e.relinearize(a[2]),
    "rotation": lambda e, a: e.automorphism(a[0], ELEMENT),
    "rescale": lambda e, a: e.rescale(a[0]),
    "plain product": lambda e, a: e.multiply_constant(a[0], 0.5, 1.0),
    "accumulated product": lambda e, a: e.accumulate(a[3], a[0], a[1]),
    "crossed product": lambda e, a: e.crossed(a[3], (a[0], a[1]), (a[1], a[0])),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(benchmark, operands, name):
    """On four primes, the top level of a linear model of degree 3."""
    backend, encryptor, slots = operands
    level = backend.ring.top_level
    a, b = (backend.load(encryptor.encrypt(slots, SCALE, level)) for _ in range(2))
    items = a, b, backend.multiply(a, b), backend.multiply(a, b)
    before = bare_product(backend, encryptor, level)
    benchmark.pedantic(OPERATIONS[name], (backend, items), rounds=ROUNDS, warmup_rounds=5)
    hold(benchmark, name, (before + bare_product(backend, encryptor, level)) / 2)


def test_message(benchmark, operands):
    """Encoding, encrypting, packing, unpacking and loading on four primes."""
    backend, encryptor, slots = operands
    level = backend.ring.top_level
    before = bare_product(backend, encryptor, level)
    benchmark.pedantic(
        lambda: backend.load(encryptor.encrypt(slots, SCALE, level)),
        rounds=ROUNDS,
        warmup_rounds=5,
    )
    hold(benchmark, "message", (before + bare_product(backend, encryptor, level)) / 2)


MODELS = {
    "455 x 31, degree 3": (455, 31, EncryptedDPLogisticRegression(degree=3, max_iter=STEPS)),
    "11,982 x 197, degree 5": (
        11_982,
        197,
        EncryptedDPLogisticRegression(degree=5, max_iter=STEPS),
    ),
    "20,000 x 31, degree 3": (20_000, 31, EncryptedDPLogisticRegression(degree=3, max_iter=STEPS)),
    "455 x 31, 16 hidden units": (455, 31, EncryptedDPMLPClassifier(max_iter=STEPS)),
}


@pytest.mark.parametrize("name", MODELS)
def test_step(benchmark, name):
    """The key holder's message, the evaluator's sums and the release; the noise is drawn before.

    The first step, which finds the own products of rows, is not counted.
    """
    n_rows, n_columns, model = MODELS[name]
    plan = model.plan(n_rows, n_columns - 1)
    key_holder = KeyHolder(plan)
    evaluator = make_evaluator(key_holder, Costs())
    noise_of = loaded(key_holder, evaluator, Drawn(n_rows, n_columns - 1))
    backend, top = evaluator._backend, len(plan.encryption.primes) - 2
    encryptor, noises = key_holder.encryptor(), map(noise_of, range(STEPS))

    def step(noise):
        key_holder.release(evaluator.step(key_holder.weights(), noise))

    step(next(noises))
    before = bare_product(backend, encryptor, top)
    benchmark.pedantic(step, setup=lambda: ((next(noises),), {}), rounds=STEPS - 2)
    hold(benchmark, name, (before + bare_product(backend, encryptor, top)) / 2)
