"""How far a step is from the bare products that it cannot do without, and where the rest goes.

    python benchmarks/roofline.py                    all sizes; half an hour, 4 GB, 5 GB of disk
    python benchmarks/roofline.py --rows 455 100000 --columns 31
    python benchmarks/roofline.py --stream 1000000   these rows alone, read from disk at every step

Every ciphertext of rows meets one ciphertext in a margin and one in a gradient. The floor is what
SEAL's bare products at the two levels cost for all of them, measured right before and after the
steps, each on other ciphertexts, on one core. Own products (`skfhe.circuits.paired`) halve the
products, so sums can be below it. A step is the key holder's message, the evaluator's sums and
the release; its parts are timed around every call of SEAL's evaluator. The first step, which finds
the own products, is shown apart; of the others the one of median length is. Traffic is what
SEAL's calls read and write. Rows are made up; degree 3 unless told.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tenseal.sealapi as seal
from machine import apart, peak_memory, pin_to_one_core
from scale import Drawn, Setting, encrypt

from skfhe import (
    DataOwner,
    EncryptedDataset,
    EncryptedDPLogisticRegression,
    Evaluator,
    KeyHolder,
)
from skfhe.crypto.tenseal import TensealScheme
from skfhe.protocol.folder_state import FolderState
from skfhe.protocol.session import Costs, make_evaluator, prepare

ROWS, STREAMED, COLUMNS, STEPS = (455, 11_982, 100_000), (1_000_000,), (31, 64, 196), 4
# Bare products are measured on so many different ciphertexts, to come from memory as rows do.
DIFFERENT = 64
KINDS = {
    "multiply": "products",
    "multiply_inplace": "products",
    "square": "products",
    "add": "additions",
    "sub": "additions",
    "add_plain": "additions",
    "relinearize": "relinearisations",
    "apply_galois": "rotations",
    "rescale_to_next": "rescales",
    "mod_switch_to_next": "rescales",
    "multiply_plain": "plain products",
}
PARTS = [
    "products",
    "additions",
    "relinearisations",
    "rotations",
    "plain products",
    "rescales",
    "encoding",
    "messages",
    "Python",
]


class TimedSeal:
    """SEAL's evaluator with a stopwatch around every call.

    Attributes
    ----------
    seconds : Counter
        By kind.
    traffic : float
        Bytes of ciphertexts read and written.
    """

    def __init__(self, evaluator: seal.Evaluator):
        self._evaluator = evaluator
        self.seconds: Counter[str] = Counter()
        self.traffic = 0.0

    def __getattr__(self, name: str):
        call = getattr(self._evaluator, name)

        def timed(*arguments):
            begin = time.perf_counter()
            result = call(*arguments)
            self.seconds[KINDS[name]] += time.perf_counter() - begin
            self.traffic += sum(map(_bytes, arguments))
            return result

        return timed


def _bytes(argument) -> int:
    if not isinstance(argument, seal.Ciphertext):
        return 0
    return 8 * argument.size() * argument.coeff_modulus_size() * argument.poly_modulus_degree()


class Step(NamedTuple):
    """A step's seconds in all, of the evaluator alone, and of its parts; bytes that it moved."""

    seconds: float
    evaluator: float
    parts: Counter[str]
    traffic: float


class Measured(NamedTuple):
    """What one size took."""

    shape: str
    ciphertexts: int
    floor: float
    keys: float
    first: float
    step: Step
    memory: int


def bare_product(backend, encryptor, level: int) -> float:
    """Median seconds of SEAL's product at a level."""
    rng = np.random.default_rng(0)
    slots = [rng.normal(size=backend.ring.slots) for _ in range(4)]
    items = [
        backend.load(encryptor.encrypt(slots[i % 4] + 0j, 2.0**20, level))
        for i in range(DIFFERENT)
    ]
    evaluator, product, seconds = seal_of(backend), seal.Ciphertext(), []
    for a, b in zip(items * 4, items[1:] * 4, strict=False):
        begin = time.perf_counter()
        evaluator.multiply(a, b, product)
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))


def seal_of(backend) -> seal.Evaluator:
    """The bare evaluator of a backend."""
    found = backend._evaluator
    return found._evaluator if isinstance(found, TimedSeal) else found


def floor(plan, backend) -> float:
    """Seconds of two bare products for every ciphertext of rows."""
    encryptor = TensealScheme(backend.ring).generate(()).encryptor()
    levels = len(plan.encryption.primes) - 2, plan.encryption.product_level
    return sum(bare_product(backend, encryptor, level) for level in levels)


@contextmanager
def part(parts: Counter[str], name: str, owner, method: str) -> Iterator[None]:
    """Time a method's calls as a part of a step."""
    call = getattr(owner, method)

    def timed(*arguments, **named):
        begin = time.perf_counter()
        result = call(*arguments, **named)
        parts[name] += time.perf_counter() - begin
        return result

    setattr(owner, method, timed)
    try:
        yield
    finally:
        delattr(owner, method)


def steps(key_holder: KeyHolder, evaluator, noise_of) -> list[Step]:
    """A few steps, each taken apart; noise is drawn outside the clock."""
    backend, found = evaluator._backend, []
    for step in range(STEPS):
        noise, parts = noise_of(step), Counter()
        backend._evaluator = clock = TimedSeal(seal_of(backend))
        with (
            part(parts, "encoding", backend, "_constant"),
            part(parts, "encoding", backend, "_kept"),
            part(parts, "messages", backend, "load"),
            part(parts, "messages", backend, "save"),
        ):
            start = time.perf_counter()
            weights = key_holder.weights()
            sent = time.perf_counter()
            reply = evaluator.step(weights, noise)
            replied = time.perf_counter()
            key_holder.release(reply)
            end = time.perf_counter()
        parts["messages"] += sent - start + end - replied
        parts.update(clock.seconds)
        parts["Python"] = end - start - parts.total()
        found.append(Step(end - start, replied - sent, parts, clock.traffic))
    return found


def measure(rows: int, columns: int, degree: int, streamed: bool) -> Measured:
    """One size, in memory or read from disk at every step."""
    pin_to_one_core()
    plan = EncryptedDPLogisticRegression(degree=degree, max_iter=STEPS).plan(rows, columns - 1)
    if streamed:
        folder = Path(tempfile.mkdtemp(prefix="skfhe-roofline-"))
        try:
            encrypt(Setting(rows, columns - 1, degree, STEPS), folder)
            with KeyHolder(plan, state=FolderState(folder / "keys")) as key_holder:
                dataset = EncryptedDataset.load(folder / "data")
                evaluator = make_evaluator(key_holder, Costs(), folder=folder / "checkpoint")
                evaluator.load(dataset.shards)
                return finished(plan, key_holder, evaluator, dataset.noise_of, float("nan"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    begin = time.perf_counter()
    key_holder = KeyHolder(plan)
    evaluator = make_evaluator(key_holder, Costs())
    keys = time.perf_counter() - begin
    noise_of = loaded(key_holder, evaluator, Drawn(rows, columns - 1))
    return finished(plan, key_holder, evaluator, noise_of, keys)


def loaded(key_holder: KeyHolder, evaluator: Evaluator, source: Drawn):
    """What gives a step's noise, once a single owner has sent all rows."""
    owner = DataOwner(key_holder.plan, key_holder.encryptor(), key_holder.run)
    for name in key_holder.plan.preparation.statistics:
        share = owner.statistic(name, source)
        prepare(evaluator, key_holder, name, lambda share=share: [share], Costs())
        owner.adopt(key_holder.frame())
    evaluator.load(owner.encrypt(source))
    return lambda step: [owner.noise(step)]


def finished(plan, key_holder, evaluator, noise_of, keys: float) -> Measured:
    """The steps between two measurements of the floor."""
    backend, used, layout = evaluator._backend, plan.encryption, evaluator._model.layout
    before = floor(plan, backend)
    first, *others = steps(key_holder, evaluator, noise_of)
    backend._evaluator = seal_of(backend)
    each = (before + floor(plan, backend)) / 2
    ciphertexts = layout.groups * layout.chunks
    bits = [prime.bit_length() for prime in used.primes]
    return Measured(
        f"N = {used.poly_modulus_degree}, primes {bits}, m = {layout.feature_blocks}",
        ciphertexts,
        each * ciphertexts,
        keys,
        first.seconds,
        sorted(others)[len(others) // 2],
        peak_memory(),
    )


def lines(rows: int, columns: int, streamed: bool, found: Measured) -> tuple[str, str]:
    """A row of each of the two tables."""
    step, name = found.step, f"{rows}{', streamed' if streamed else ''} | {columns}"
    ratio, circuit = step.seconds / found.floor, step.evaluator / found.floor
    summary = (
        f"| {name} | {found.ciphertexts} | {found.floor:.3f} | {step.seconds:.3f} | {ratio:.2f} | "
        f"{circuit:.2f} | {found.first:.3f} | {found.keys:.2f} | {found.memory / 1e9:.2f} | "
        f"{found.shape} |"
    )
    shares = " | ".join(f"{100 * step.parts[name] / step.seconds:.0f}" for name in PARTS)
    return summary, f"| {name} | {shares} | {step.traffic / 1e9:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", help="kept in memory")
    parser.add_argument("--stream", type=int, nargs="*", help="read from disk at every step")
    parser.add_argument("--columns", type=int, nargs="+", default=COLUMNS)
    parser.add_argument("--degree", type=int, default=3)
    options = parser.parse_args()
    kept, streamed_rows = options.rows or [], options.stream or []
    if not kept and not streamed_rows:
        kept, streamed_rows = ROWS, STREAMED
    sizes = [(n, False) for n in kept] + [(n, True) for n in streamed_rows]
    print(
        "| rows | columns | ciphertexts | floor, s | step, s | step / floor | evaluator / floor | "
        "first step, s | keys, s | peak GB | parameters |"
    )
    print("|---" * 11 + "|", flush=True)
    shares = []
    for rows, streamed in sizes:
        for columns in options.columns:
            found = apart(measure, rows, columns, options.degree, streamed)
            summary, share = lines(rows, columns, streamed, found)
            shares.append(share)
            print(summary, flush=True)
    print("\nParts of a step in per cent, and what SEAL's calls read and write:\n")
    print(f"| rows | columns | {' | '.join(PARTS)} | traffic, GB |")
    print("|---" * (len(PARTS) + 3) + "|")
    print("\n".join(shares))


if __name__ == "__main__":
    main()
