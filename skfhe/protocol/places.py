"""Folders that parties leave files in: local ones, and any that fsspec opens.

A file is written whole or not at all, so whoever finds a file finds all of it.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..exceptions import MessageError

# The largest file that is read: far beyond what any plan's messages take.
LARGEST_FILE = 2**31


class Place:
    """A folder by its path or URL.

    Parameters
    ----------
    url : path-like
        A local folder, or a URL of a file system that fsspec knows (extra ``io``).
    """

    def __init__(self, url: str | os.PathLike[str]):
        self.url = os.fspath(url).rstrip("/") or "/"
        self._files: Any = None
        if "://" in self.url:
            self._files, self._root = _file_system(self.url)
        else:
            self._root = str(Path(self.url).absolute())

    def __repr__(self) -> str:
        return f"Place({self.url!r})"

    def within(self, name: str) -> Place:
        """A folder in this one."""
        return Place(f"{self.url}/{name}")

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        path = self._path(name)
        return self._files.exists(path) if self._files else os.path.exists(path)

    def read(self, name: str, most: int = LARGEST_FILE) -> bytes:
        """A file's bytes.

        Raises
        ------
        MessageError
            If there is no such file, it cannot be read, or it has more than `most` bytes.
        """
        path = self._path(name)
        if not self._files and os.path.exists(path) and not os.path.isfile(path):
            raise MessageError(f"{self.url}/{name} must be a file; it is none.")
        try:
            with self._files.open(path, "rb") if self._files else open(path, "rb") as file:
                # Asked for more than there is, a file sets that much memory aside first.
                n_bytes = file.seek(0, os.SEEK_END)
                file.seek(0)
                data = file.read(min(n_bytes, most) + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise MessageError(f"{self.url}/{name} cannot be read: {reason}.") from None
        if len(data) > most:
            raise MessageError(f"{self.url}/{name} must have at most {most} bytes; it has more.")
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write a file, in the place of an earlier one."""
        path = self._path(name)
        if self._files:
            # Object stores make an object visible when it is complete.
            self._files.makedirs(os.path.dirname(path), exist_ok=True)
            self._files.pipe_file(path, data)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        beside = f"{path}.{uuid.uuid4().hex}.new"
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


@dataclass(frozen=True)
class StoredMessage:
    """A message in a file, which is read when it is needed.

    Attributes
    ----------
    place : str
        The folder's URL.
    name : str
        The file's.
    n_bytes : int
        Its length.
    sha256 : str
        Its checksum, in hexadecimal.
    """

    place: str
    name: str
    n_bytes: int
    sha256: str

    @classmethod
    def of(cls, place: Place, name: str, data: bytes) -> StoredMessage:
        """Write a message."""
        place.write(name, data)
        return cls.known(place, name, data)

    @classmethod
    def known(cls, place: Place, name: str, data: bytes) -> StoredMessage:
        """A message that was written before."""
        return cls(place.url, name, len(data), hashlib.sha256(data).hexdigest())

    def __len__(self) -> int:
        return self.n_bytes

    def read(self) -> bytes:
        """The message.

        Raises
        ------
        MessageError
            If the file is not what was written.
        """
        data = Place(self.place).read(self.name, self.n_bytes)
        if len(data) != self.n_bytes or hashlib.sha256(data).hexdigest() != self.sha256:
            raise MessageError(
                f"{self.place}/{self.name} is truncated or was altered: its checksum is another."
            )
        return data


Message = bytes | StoredMessage
"""A message, at hand or in a file."""


def read(message: Message) -> bytes:
    """A message's bytes."""
    return message.read() if isinstance(message, StoredMessage) else message


def _file_system(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise ImportError(
            f"{url} is a URL, which needs the extra `io`: pip install 'skfhe[io]'"
        ) from None
    return fsspec.core.url_to_fs(url)
