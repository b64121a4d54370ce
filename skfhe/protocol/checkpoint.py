"""What an evaluator must not forget: the keys it computes with, and its last answers.

An answer is kept before it is sent. Whoever resumes from the same folder sends the same bytes
again, so that a key holder that has decrypted them, or was about to, knows them.
"""

from __future__ import annotations

import os

from . import messages
from .places import Message, Place, StoredMessage


class Checkpoint:
    """What an evaluator must not forget, in memory: what ends with the process. Public.

    Whoever goes on from the same checkpoint sends the same answers again, so that no noise is
    used for two.
    """

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}

    def keys(self) -> bytes | None:
        """The evaluation keys of an earlier process.

        Returns
        -------
        keys : bytes or None
            The key holder's message; None if there is none.
        """
        return None

    def keep_keys(self, keys: bytes) -> Message:
        """Keep the evaluation keys.

        Parameters
        ----------
        keys : bytes
            The key holder's message.

        Returns
        -------
        message : bytes or StoredMessage
            Where workers find them.
        """
        return keys

    def answer(self, name: str) -> bytes | None:
        """The last answer of a name.

        Parameters
        ----------
        name : str
            A statistic's, or "step".

        Returns
        -------
        answer : bytes or None
            The same bytes that were sent; None if there is none.
        """
        return self._answers.get(name)

    def keep(self, name: str, answer: bytes) -> None:
        """Keep an answer in the place of an earlier one of the name.

        Parameters
        ----------
        name : str
            A statistic's, or "step".
        answer : bytes
            What is about to be sent.
        """
        self._answers[name] = answer


class FolderCheckpoint(Checkpoint):
    """The same in a folder, which survives the process at any moment.

    Parameters
    ----------
    folder : path-like
        A local folder, or a URL that fsspec opens. Workers on other machines read the keys here.
    plan_digest : str
        The plan's.
    """

    def __init__(self, folder: str | os.PathLike[str], plan_digest: str):
        super().__init__()
        self._place = Place(folder)
        self._digest = plan_digest
        self._read_keys: StoredMessage | None = None

    def keys(self) -> bytes | None:
        if not self._place.exists("keys.skfhe"):
            return None
        data = self._place.read("keys.skfhe")
        messages.unpack(data, "evaluation keys", self._digest)
        self._read_keys = StoredMessage.known(self._place, "keys.skfhe", data)
        return data

    def keep_keys(self, keys: bytes) -> StoredMessage:
        given = StoredMessage.known(self._place, "keys.skfhe", keys)
        if given != self._read_keys:  # those that were read need not be written again
            self._place.write("keys.skfhe", keys)
        return given

    def answer(self, name: str) -> bytes | None:
        found = super().answer(name)
        if found is None and self._place.exists(f"{name}.skfhe"):
            found = self._place.read(f"{name}.skfhe")
        return found

    def keep(self, name: str, answer: bytes) -> None:
        self._place.write(f"{name}.skfhe", answer)
        super().keep(name, answer)
