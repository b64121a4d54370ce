"""What SEAL's operations cost on one core, beside the planner's cost model.

`skfhe/planning/cost.py` compares layouts by the model; this prints what the machine at hand says.
"""

from __future__ import annotations

import time

import numpy as np
from machine import pin_to_one_core

from skfhe.crypto.parameters import Ring
from skfhe.crypto.tenseal import TensealScheme, coefficient_modulus
from skfhe.planning import cost

DEGREE = 8192
BITS = (33, 30, 30, 30, 30, 30, 31)


def milliseconds(call, repeat: int = 20) -> float:
    """Median of single calls."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def main() -> None:
    pin_to_one_core()
    ring = Ring(DEGREE, coefficient_modulus(DEGREE, BITS))
    keys = TensealScheme(ring).generate([5])
    evaluator = TensealScheme(ring).evaluator(keys.evaluation_keys())
    encryptor = keys.encryptor()
    slots = np.random.default_rng(0).normal(size=ring.slots) + 0j
    print(f"N = {DEGREE}, milliseconds (model)\n")
    print("| primes | multiply | key switch | rescale | plain multiply | encrypt, send, load |")
    print("|---|---|---|---|---|---|")
    for level in range(ring.top_level, 0, -1):
        a = evaluator.load(encryptor.encrypt(slots, 2.0**25, level))
        b = evaluator.load(encryptor.encrypt(slots, 2.0**25, level))
        linear = evaluator.relinearize(evaluator.multiply(a, b))
        measured = {
            "multiply": milliseconds(lambda a=a, b=b: evaluator.multiply(a, b)),
            "key_switch": milliseconds(lambda a=a: evaluator.project(a, 5)),
            "rescale": milliseconds(lambda p=linear: evaluator.rescale(p)),
            "multiply_plain": milliseconds(lambda a=a: evaluator.multiply_constant(a, 0.5, 1.0)),
        }
        sent = milliseconds(
            lambda level=level: evaluator.load(encryptor.encrypt(slots, 2.0**25, level))
        )
        cells = [
            f"{value:.2f} ({cost.operation_milliseconds(name, level):.2f})"
            for name, value in measured.items()
        ]
        model = cost.message_milliseconds(ring, level)
        print(f"| {level + 1} | {' | '.join(cells)} | {sent:.2f} ({model:.2f}) |")


if __name__ == "__main__":
    main()
