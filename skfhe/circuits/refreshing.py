"""A refresh that errs by little: another one refreshes its error.

One refresh errs by a multiple of the base prime q_0, whatever the message, and its sine shortens
messages that are not far below q_0. So a message m is brought to a small share of q_0 and
refreshed, m' = m + e; then e = m' - m, which is computed at the low level where both are at hand,
is so much smaller that it can be multiplied by many thousands before it is refreshed in its turn:
m' - e' errs by that much less (Bae, Cheon, Cho, Kim and Kim 2022, eprint 2022/1167). In the end
one prime is divided by, to bring the scale where steps want it.
"""

from __future__ import annotations

from ..crypto.backend import Ciphertext, Evaluator


def refreshed(backend: Evaluator, message: Ciphertext, lifts: tuple[int, int, int]) -> Ciphertext:
    """A message, one level below what a refresh gives.

    Parameters
    ----------
    backend : Evaluator
        One that can refresh.
    message : Ciphertext
        At level one or above.
    lifts : tuple of int
        What the message is multiplied by; its error on top of that; and the difference,
        before it is divided by the last prime of its level.
    """
    first, second, last = (float(lift) for lift in lifts)
    lifted = backend.multiply_constant(message, 1.0, first)
    once = backend.refresh(lifted)
    error = backend.add(
        backend.switch_to(once, backend.level(lifted)), backend.scaled(lifted, -1.0)
    )
    again = backend.refresh(backend.multiply_constant(error, 1.0, second))
    once = backend.multiply_constant(once, 1.0, second)
    exact = backend.add(once, backend.scaled(again, -1.0))
    return backend.rescale(backend.multiply_constant(exact, 1.0, last))
