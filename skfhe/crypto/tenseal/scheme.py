"""SEAL's CKKS for one ring."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import tenseal.sealapi as seal

from ..parameters import Ring
from .context import load, seal_context
from .evaluator import TensealEvaluator
from .keys import TensealEncryptor, TensealKeys


class TensealScheme:
    """CKKS for one ring.

    Parameters
    ----------
    ring : Ring
        The checked parameters.
    """

    name = "tenseal"

    def __init__(self, ring: Ring):
        self.ring = ring
        seal_context(ring)

    def generate(self, elements: Sequence[int]) -> TensealKeys:
        return TensealKeys(self.ring, tuple(elements))

    def restore(self, elements: Sequence[int], secret: bytes) -> TensealKeys:
        return TensealKeys(self.ring, tuple(elements), secret)

    def evaluator(self, evaluation_keys: Iterable[bytes]) -> TensealEvaluator:
        return TensealEvaluator(self.ring, evaluation_keys)

    def encryptor(self, public_key: bytes) -> TensealEncryptor:
        key = load(seal.PublicKey(), self.ring, public_key)
        return TensealEncryptor(self.ring, public_key=key)
