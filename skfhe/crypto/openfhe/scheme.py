"""OpenFHE's CKKS for one ring."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..parameters import Ring
from .context import openfhe_context
from .evaluator import OpenFHEEvaluator
from .keys import OpenFHEEncryptor, OpenFHEKeys, load_public_key


class OpenFHEScheme:
    """CKKS for one ring, with refreshing where the ring has it.

    Parameters
    ----------
    ring : Ring
        The checked parameters, of primes that `skfhe.crypto.primes` finds.

    Raises
    ------
    ImportError
        If OpenFHE cannot be imported.
    InfeasiblePlan
        If OpenFHE would compute in other primes than the ring's.
    """

    name = "openfhe"

    def __init__(self, ring: Ring):
        self.ring = ring
        openfhe_context(ring)

    def generate(self, elements: Sequence[int]) -> OpenFHEKeys:
        return OpenFHEKeys(self.ring, tuple(elements))

    def restore(self, elements: Sequence[int], secret: bytes) -> OpenFHEKeys:
        return OpenFHEKeys(self.ring, tuple(elements), secret)

    def evaluator(self, evaluation_keys: Iterable[bytes]) -> OpenFHEEvaluator:
        return OpenFHEEvaluator(self.ring, evaluation_keys)

    def encryptor(self, public_key: bytes) -> OpenFHEEncryptor:
        return OpenFHEEncryptor(self.ring, public_key=load_public_key(self.ring, public_key))
