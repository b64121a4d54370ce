"""The backend that refreshes ciphertexts: OpenFHE's CKKS. No other room imports openfhe.

The library is imported when a scheme is made, as its wheel runs on few systems. Its evaluation
keys lie in maps of the whole process; here they are in them only while an operation needs them.
"""

from .evaluator import OpenFHEEvaluator
from .keys import OpenFHEEncryptor, OpenFHEKeys
from .scheme import OpenFHEScheme

__all__ = ["OpenFHEEncryptor", "OpenFHEEvaluator", "OpenFHEKeys", "OpenFHEScheme"]
