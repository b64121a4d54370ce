"""What a circuit may ask of a backend, and what the parties may ask of a scheme.

Circuits are written once against `Evaluator`. Sums over slots, extraction of a feature and
merging of results are *projections*, the mean of a ciphertext and of its image under an
automorphism, which are exact, cost no level and leave nothing of what they remove. Only sums over
neighbouring slots are made of rotations, and need a mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from .parameters import Ring

Ciphertext = Any
"""A backend's own handle. Circuits pass it on and ask the backend about it."""

Own = Any
"""A backend's handle for sums of products of ciphertexts of one side."""


class Evaluator(Protocol):
    """Arithmetic on ciphertexts, with evaluation keys only."""

    ring: Ring

    def level(self, a: Ciphertext) -> int:
        """Index of the last prime that `a` is held under."""

    def scale(self, a: Ciphertext) -> float:
        """Exact scale of `a`."""

    def claim(self, a: Ciphertext, bound: float) -> Ciphertext:
        """Note that the message is proved to be real and within [-bound, bound].

        Only the tracing backend makes use of it; elsewhere `a` comes back as it is.
        """

    def add(self, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """a + b; same level and scale."""

    def add_constant(self, a: Ciphertext, value: float) -> Ciphertext:
        """A + value in every slot."""

    def multiply(self, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """A b, not relinearised (size three); same level."""

    def dot(self, left: Sequence[Ciphertext], right: Sequence[Ciphertext]) -> Ciphertext:
        """Sum of products, relinearised once."""

    def accumulate(self, total: Ciphertext, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """Total + a b, not relinearised; `total` is given away and may be overwritten."""

    def own(self, total: Own | None, a: Ciphertext, b: Ciphertext) -> Own:
        """Total + a b as bare polynomials; `total` is given away.

        This and the next two are for `skfhe.circuits.paired`: they know nothing of scales, which
        what is added by one and taken away by another need not share.
        """

    def crossed(
        self,
        total: Ciphertext | None,
        a: tuple[Ciphertext, Ciphertext],
        b: tuple[Ciphertext, Ciphertext],
    ) -> Ciphertext:
        """Total + a_1 b_1 + a_2 b_2 at one product, the own products of a and b on top.

        Not relinearised, and nothing's encryption before `without` has taken them away; `total`
        is given away.
        """

    def without(self, total: Ciphertext, *owns: Own) -> Ciphertext:
        """Total less own products; `total` is given away."""

    def relinearize(self, a: Ciphertext) -> Ciphertext:
        """Size three back to size two: one key switch."""

    def rescale(self, a: Ciphertext) -> Ciphertext:
        """Divide by the last prime and drop it."""

    def switch_to(self, a: Ciphertext, level: int) -> Ciphertext:
        """Drop primes without dividing: same scale, lower level."""

    def multiply_constant(self, a: Ciphertext, value: float, scale: float) -> Ciphertext:
        """A times a constant encoded at `scale`."""

    def multiply_mask(self, a: Ciphertext, period: int, scale: float) -> Ciphertext:
        """A times one in every period-th slot from the first on, zero elsewhere, at `scale`."""

    def multiply_monomial(self, a: Ciphertext, power: int) -> Ciphertext:
        """A X^power: exact, scale unchanged."""

    def project(self, a: Ciphertext, element: int) -> Ciphertext:
        """(a + s(a))/2 for the automorphism s: X -> X^element; the scale doubles.

        Where s has order two on what `a` holds, this is the projection onto what s fixes.
        """

    def add_image(self, a: Ciphertext, element: int) -> Ciphertext:
        """A + s(a), scale unchanged: for X -> X^(3^k), slot j gets what slot j + k holds."""

    def automorphism(self, a: Ciphertext, element: int) -> Ciphertext:
        """s(a) for s: X -> X^element, scale unchanged; 2N - 1 conjugates every slot."""

    def scaled(self, a: Ciphertext, factor: float) -> Ciphertext:
        """A times a factor, not zero: exact and free, as its size only declares another scale."""

    def split(self, a: Ciphertext, power: int, element: int) -> tuple[Ciphertext, Ciphertext]:
        """(c, d) of a = c + X^power d, at one automorphism; both scales double.

        Needs s(c) = c, s(d) = d and s(X^power) = -X^power: what `merge` makes. Then
        a + s(a) = 2 c and X^-power (a - s(a)) = 2 d.
        """

    def refresh(self, a: Ciphertext) -> Ciphertext:
        """The same message and scale at the level of the ring's `refreshing` (bootstrapping).

        Of a's plaintext coefficients only those that `Refreshing.slots` tells are kept. They must
        be well below the base prime q_0: what comes out is q_0/(2 pi) sin(2 pi m/q_0), with an
        error of `errors.refresh_error` besides. Takes a ciphertext of level one or more.
        """

    def merge(self, a: Ciphertext, b: Ciphertext, power: int, element: int) -> Ciphertext:
        """P(a) + X^power P(b), for the projection P of `element`, at one automorphism.

        Needs s(X^power) = -X^power. Then (a + X^power b) + s(a - X^power b)
        = (a + s(a)) + X^power (b + s(b)). (Chen, Dai, Kim and Song 2021, eprint 2020/015.)
        """


class Scheme(Protocol):
    """Keys, encryption and decryption for one ring. Holds no key itself.

    Attributes
    ----------
    ring : Ring
        The ring.
    name : str
        What an estimator's ``backend`` calls it.
    """

    ring: Ring
    name: str

    def generate(self, elements: Sequence[int]) -> KeyPair:
        """Fresh keys, with an automorphism key for every Galois element."""

    def restore(self, elements: Sequence[int], secret: bytes) -> KeyPair:
        """The keys that a secret key belongs to.

        Raises
        ------
        MessageError
            If the bytes are no secret key of this ring.
        """

    def evaluator(self, evaluation_keys: Iterable[bytes]) -> Loader:
        """An evaluator from its serialised keys.

        Raises
        ------
        MessageError
            If the bytes are no evaluation keys of this ring.
        """

    def encryptor(self, public_key: bytes) -> Encryptor:
        """An encryptor under a public key."""


class Encryptor(Protocol):
    """Encrypts under a public key, or under the secret key at half the size.

    Attributes
    ----------
    symmetric : bool
        Whether it is the secret key.
    """

    symmetric: bool

    def encrypt(self, slots: NDArray, scale: float, level: int, dither: bool = False) -> bytes:
        """Encrypt complex slots at a scale and a level.

        With `dither`, a secret uniform number in [-1/2, 1/2) is added to every plaintext
        coefficient before it is rounded: encoding is deterministic otherwise, and whoever
        chooses the slots chooses its roundings.
        """

    def encrypt_integers(self, coefficients: NDArray, scale: float, level: int) -> bytes:
        """Encrypt integer plaintext coefficients exactly and declare their scale."""

    def destroy(self) -> None:
        """Forget the key."""


class Loader(Evaluator, Protocol):
    """An evaluator that also reads and writes serialised ciphertexts."""

    def load(self, data: bytes) -> Ciphertext:
        """Parse and check a ciphertext.

        Raises
        ------
        MessageError
            If the bytes are no ciphertext of this ring.
        """

    def load_fresh(self, data: bytes, scale: float, level: int) -> Ciphertext:
        """Parse what a party has encrypted at a scale and a level.

        Raises
        ------
        MessageError
            If the bytes are no ciphertext of this ring, or one that arithmetic has been done on
            or that has another scale or level.
        """

    def save(self, a: Ciphertext) -> bytes:
        """Serialise a ciphertext."""


class KeyPair(Protocol):
    """The secret key and all that is derived from it. Belongs to the key holder alone."""

    def evaluation_keys(self) -> Iterator[bytes]:
        """The relinearisation key, then one for every automorphism, made as they are asked for.

        In a large ring each takes hundreds of megabytes.
        """

    def public_key(self) -> bytes:
        """The encryption key for data owners."""

    def secret_key(self) -> bytes:
        """The secret key itself, for the key holder's own state and nobody else."""

    def encryptor(self) -> Encryptor:
        """Symmetric encryption, for the party that holds this key."""

    def decrypt(self, data: bytes, level: int, scale: float) -> NDArray:
        """Integer plaintext coefficients: the message times the scale.

        Raises
        ------
        MessageError
            If the bytes are no ciphertext of this level and scale.
        KeyBurned
            If the key has been destroyed.
        """

    def destroy(self) -> None:
        """Forget the secret key."""
