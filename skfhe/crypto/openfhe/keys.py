"""Secret keys and encryption with OpenFHE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...exceptions import DepthExceeded, KeyBurned, MessageError
from ..embedding import slots_to_coefficients
from ..encoding import dithered, integer_slots
from ..parameters import Ring
from .context import UNIT, encoded, from_openfhe, key_maps, library, openfhe_context
from .layout import taken_apart
from .messages import (
    AUTOMORPHISM,
    PUBLIC,
    RELINEARISATION,
    SECRET,
    Header,
    dump,
    filled_key,
    handle,
    key_layout,
    load_ciphertext,
    parse,
    require_form,
    save_ciphertext,
)
from .refreshing import bootstrapping_elements, sparse_pair


def _runs(ring: Ring, item: Any) -> list[memoryview]:
    fhe = library()
    return taken_apart(fhe.Serialize(item, fhe.BINARY), ring.poly_modulus_degree)[1]


def load_public_key(ring: Ring, data: bytes) -> Any:
    header, rest = parse(ring, data, PUBLIC)
    fhe = library()
    stream = filled_key(ring, key_layout(ring, PUBLIC), header, rest)
    return fhe.DeserializePublicKeyString(stream, fhe.BINARY)


def _load_secret_key(ring: Ring, data: bytes) -> Any:
    header, rest = parse(ring, data, SECRET)
    fhe = library()
    stream = filled_key(ring, key_layout(ring, SECRET), header, rest)
    return fhe.DeserializePrivateKeyString(stream, fhe.BINARY)


class OpenFHEKeys:
    """A secret key and what is derived from it. Never leaves the key holder.

    Neither pickles nor shows anything of the key in its repr.

    Parameters
    ----------
    ring : Ring
        The checked parameters.
    elements : tuple of int
        Galois elements to make automorphism keys for; those of refreshing come on top.
    secret : bytes, optional
        What `secret_key` returned earlier; a fresh key is made without it.
    """

    def __init__(self, ring: Ring, elements: tuple[int, ...], secret: bytes | None = None):
        self._ring = ring
        self._elements = elements
        self._context = openfhe_context(ring)
        if secret is None:
            self._secret = self._context.KeyGen().secretKey
        else:
            self._secret = _load_secret_key(ring, secret)

    def __reduce__(self):
        raise TypeError("secret keys do not pickle; send evaluation_keys() or public_key().")

    def evaluation_keys(self) -> Iterator[bytes]:
        self._alive()
        return self._each_evaluation_key()

    def _each_evaluation_key(self) -> Iterator[bytes]:
        ring, tag = self._ring, self._alive().GetKeyTag()
        yield dump(ring, Header(RELINEARISATION, tag), self._relinearisation())
        elements = dict.fromkeys(self._elements)
        if ring.refreshing is not None:
            # First, while nobody holds many keys: it takes gigabytes for a moment.
            yield from sparse_pair(ring, self._alive())
            elements |= dict.fromkeys(bootstrapping_elements(ring))
        for element in elements:
            key = self._automorphism(element)
            yield dump(ring, Header(AUTOMORPHISM, tag, element), key)

    def _relinearisation(self) -> list[memoryview]:
        secret = self._alive()
        with key_maps():
            self._context.EvalMultKeyGen(secret)
            (key,) = library().CryptoContext.GetEvalMultKeyVector(secret.GetKeyTag())
        return _runs(self._ring, key)

    def _automorphism(self, element: int) -> list[memoryview]:
        with key_maps():
            key = self._context.EvalAutomorphismKeyGen(self._alive(), [element])
        return _runs(self._ring, key)

    def public_key(self) -> bytes:
        """An encryption of zero, and OpenFHE's public key is nothing else."""
        zero = encoded(self._ring, np.zeros(self._ring.slots), 1.0, self._ring.n_data - 1)
        key = self._context.Encrypt(self._alive(), zero)
        header = Header(PUBLIC, self._secret.GetKeyTag())
        return dump(self._ring, header, _runs(self._ring, key))

    def secret_key(self) -> bytes:
        header = Header(SECRET, self._alive().GetKeyTag())
        return dump(self._ring, header, _runs(self._ring, self._secret))

    def encryptor(self) -> OpenFHEEncryptor:
        return OpenFHEEncryptor(self._ring, secret_key=self._alive())

    def decrypt(self, data: bytes, level: int, scale: float) -> NDArray[np.float64]:
        """Decrypt to the integer plaintext coefficients.

        The caller is the key holder's release, which has spent the budget before.
        """
        secret = self._alive()
        ciphertext = load_ciphertext(self._ring, data, secret.GetKeyTag())
        require_form(ciphertext, scale, level, 1e-9)
        try:
            plaintext = self._context.Decrypt(ciphertext.body, secret)
        except RuntimeError as error:
            raise MessageError(f"this ciphertext cannot be decrypted: {error}.") from None
        plaintext.SetLength(self._ring.slots)
        values = np.asarray(plaintext.GetCKKSPackedValueArray()) * UNIT
        return np.rint(slots_to_coefficients(self._ring, from_openfhe(self._ring, values)))

    def destroy(self) -> None:
        self._secret = None

    def _alive(self) -> Any:
        if self._secret is None:
            raise KeyBurned("the secret key of this run has been destroyed.")
        return self._secret


class OpenFHEEncryptor:
    """Encrypts under a public key, or under the secret key with a smaller error.

    Parameters
    ----------
    ring : Ring
        The checked parameters.
    public_key : openfhe.PublicKey, optional
        For data owners.
    secret_key : openfhe.PrivateKey, optional
        For the key holder and the single owner who is the key holder.
    """

    def __init__(self, ring: Ring, *, public_key=None, secret_key=None):
        self._ring = ring
        self.symmetric = secret_key is not None
        self._key = secret_key if self.symmetric else public_key

    def __reduce__(self):
        raise TypeError("encryptors do not pickle; send the public key.")

    def encrypt(self, slots: NDArray, scale: float, level: int, dither: bool = False) -> bytes:
        if dither:
            slots = dithered(self._ring, slots, scale)
        return self._encrypt(slots, scale, level, scale)

    def encrypt_integers(self, coefficients: NDArray, scale: float, level: int) -> bytes:
        """Encrypt integers as plaintext coefficients, exactly: encoded at scale 1."""
        return self._encrypt(integer_slots(self._ring, coefficients), 1.0, level, scale)

    def destroy(self) -> None:
        """Forget the key."""
        self._key = None

    def _encrypt(self, slots: NDArray, encoding: float, level: int, scale: float) -> bytes:
        if not 0 <= level <= self._ring.top_level:
            raise DepthExceeded(f"level must be 0 to {self._ring.top_level}, got {level}.")
        if self._key is None:
            raise KeyBurned("the secret key of this run has been destroyed.")
        plaintext = encoded(self._ring, slots, encoding, level)
        body = openfhe_context(self._ring).Encrypt(self._key, plaintext)
        return save_ciphertext(self._ring, handle(self._ring, body, scale, level))
