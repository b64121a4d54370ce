"""Secret keys and encryption with SEAL."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tenseal.sealapi as seal
from numpy.typing import NDArray

from ...exceptions import DepthExceeded, KeyBurned, MessageError
from ..embedding import slots_to_coefficients
from ..encoding import dithered, integer_slots
from ..parameters import Ring
from .compact import load_ciphertext, save_ciphertext
from .context import level_ids, load, require_form, save, seal_context


class TensealKeys:
    """A secret key and what is derived from it. Never leaves the key holder.

    Neither pickles nor shows anything of the key in its repr.

    Parameters
    ----------
    ring : Ring
        The checked parameters.
    elements : tuple of int
        Galois elements to make automorphism keys for.
    secret : bytes, optional
        What `secret_key` returned earlier; a fresh key is made without it.
    """

    def __init__(self, ring: Ring, elements: tuple[int, ...], secret: bytes | None = None):
        self._ring = ring
        self._elements = elements
        known = () if secret is None else (load(seal.SecretKey(), ring, secret),)
        self._generator = seal.KeyGenerator(seal_context(ring), *known)
        self._decryptor = seal.Decryptor(seal_context(ring), self._generator.secret_key())
        self._encoder = seal.CKKSEncoder(seal_context(ring))

    def __reduce__(self):
        raise TypeError("secret keys do not pickle; send evaluation_keys() or public_key().")

    def evaluation_keys(self) -> Iterator[bytes]:
        self._alive()
        return self._each_evaluation_key()

    def _each_evaluation_key(self) -> Iterator[bytes]:
        yield save(self._alive().create_relin_keys())
        for element in self._elements:
            yield save(self._alive().create_galois_keys([element]))

    def public_key(self) -> bytes:
        key = seal.PublicKey()
        self._alive().create_public_key(key)
        return save(key)

    def secret_key(self) -> bytes:
        return save(self._alive().secret_key())

    def encryptor(self) -> TensealEncryptor:
        return TensealEncryptor(self._ring, secret_key=self._alive().secret_key())

    def decrypt(self, data: bytes, level: int, scale: float) -> NDArray[np.float64]:
        """Decrypt to the integer plaintext coefficients.

        The caller is the key holder's release, which has spent the budget before.
        """
        self._alive()
        ciphertext = require_form(load_ciphertext(self._ring, data), scale, level, 1e-9)
        plaintext = seal.Plaintext()
        try:
            self._decryptor.decrypt(ciphertext, plaintext)
            plaintext.scale = 1.0  # the decoder then takes scales beyond the base prime too
            slots = np.array(self._encoder.decode_complex(plaintext))
        except (ValueError, RuntimeError) as error:
            raise MessageError(f"this ciphertext cannot be decrypted: {error}.") from None
        return np.rint(slots_to_coefficients(self._ring, slots))

    def destroy(self) -> None:
        self._generator = self._decryptor = None

    def _alive(self) -> seal.KeyGenerator:
        if self._generator is None:
            raise KeyBurned("the secret key of this run has been destroyed.")
        return self._generator


class TensealEncryptor:
    """Encrypts under a public key, or under the secret key at half the size (seeded).

    Parameters
    ----------
    ring : Ring
        The checked parameters.
    public_key : seal.PublicKey, optional
        For data owners.
    secret_key : seal.SecretKey, optional
        For the key holder and the single owner who is the key holder.
    """

    def __init__(self, ring: Ring, *, public_key=None, secret_key=None):
        self._ring = ring
        self.symmetric = secret_key is not None
        key = secret_key if self.symmetric else public_key
        self._encryptor: seal.Encryptor | None = seal.Encryptor(seal_context(ring), key)
        self._encoder = seal.CKKSEncoder(seal_context(ring))

    def __reduce__(self):
        raise TypeError("encryptors do not pickle; send the public key.")

    def encrypt(self, slots: NDArray, scale: float, level: int, dither: bool = False) -> bytes:
        if dither:
            slots = dithered(self._ring, slots, scale)
        return self._encrypt(self._encode(slots, scale, level))

    def encrypt_integers(self, coefficients: NDArray, scale: float, level: int) -> bytes:
        """Encrypt integers as plaintext coefficients, exactly: encoded at scale 1."""
        plaintext = self._encode(integer_slots(self._ring, coefficients), 1.0, level)
        plaintext.scale = scale
        return self._encrypt(plaintext)

    def _encode(self, slots: NDArray, scale: float, level: int) -> seal.Plaintext:
        if not 0 <= level <= self._ring.top_level:
            raise DepthExceeded(f"level must be 0 to {self._ring.top_level}, got {level}.")
        plaintext = seal.Plaintext()
        values = np.asarray(slots, dtype=np.complex128).tolist()
        self._encoder.encode(values, level_ids(self._ring)[level], scale, plaintext)
        return plaintext

    def destroy(self) -> None:
        """Forget the key."""
        self._encryptor = None

    def _encrypt(self, plaintext: seal.Plaintext) -> bytes:
        if self._encryptor is None:
            raise KeyBurned("the secret key of this run has been destroyed.")
        if self.symmetric:
            return save_ciphertext(self._encryptor.encrypt_symmetric(plaintext), self._ring)
        ciphertext = seal.Ciphertext()
        self._encryptor.encrypt(plaintext, ciphertext)
        return save_ciphertext(ciphertext, self._ring)
