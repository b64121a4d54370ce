"""The encrypted backend: Microsoft SEAL's CKKS through TenSEAL. No other room imports tenseal.

Encryptor, evaluator and key pair are separate objects; only the key pair holds a secret key, and
the encryptor of the party that is the key holder.
"""

from .context import coefficient_modulus, context_parameters, is_context
from .evaluator import TensealEvaluator
from .keys import TensealEncryptor, TensealKeys
from .scheme import TensealScheme

__all__ = [
    "TensealEncryptor",
    "TensealEvaluator",
    "TensealKeys",
    "TensealScheme",
    "coefficient_modulus",
    "context_parameters",
    "is_context",
]
