"""Where the residues lie in OpenFHE's bytes.

OpenFHE reads its objects with a library that believes what it reads: a forged length allocates
gigabytes, a forged pointer crashes. So no bytes from elsewhere are given to it. An object that
this process has made itself shows what one of a kind looks like; from a message come residues
alone, each below its prime, and numbers that are checked one by one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from mmap import mmap

import numpy as np
from numpy.typing import NDArray

from ...exceptions import MessageError

# The name of a key pair: its length and 32 hexadecimal digits.
TAG = re.compile(rb"\x20\0{7}([0-9a-f]{32})")
# A map of keys begins with five bytes of its pointer and its size; then comes the first element.
_ELEMENT = slice(13, 17)
_SMALLEST = 1 << 20


@dataclass(frozen=True)
class Layout:
    """What an object's bytes are beside residues.

    Attributes
    ----------
    pieces : tuple of bytes
        What stands before, between and after the runs of N residues.
    moduli : tuple of int
        The prime of each run.
    """

    pieces: tuple[bytes, ...]
    moduli: tuple[int, ...]

    def same_moduli(self, others: Sequence[int]) -> bool:
        return self.moduli == tuple(others)

    def filled(self, residues: NDArray[np.uint64], tag: str, element: int | None = None) -> bytes:
        """An object's bytes, with residues, a name and, for a map of one key, an element."""
        name = b"\x20" + bytes(7) + tag.encode()
        pieces = [TAG.sub(name, piece) if len(piece) > 39 else piece for piece in self.pieces]
        if element is not None:
            first = bytearray(pieces[0])
            first[_ELEMENT] = element.to_bytes(4, "little")
            pieces[0] = bytes(first)
        runs = (memoryview(run).cast("B") for run in residues)
        between = zip_longest(pieces, runs, fillvalue=b"")
        return b"".join(chain.from_iterable(between))

    def size(self, n: int) -> int:
        """Bytes of all residues."""
        return 8 * n * len(self.moduli)

    def residues(self, data: memoryview, n: int) -> NDArray[np.uint64]:
        """The residues in a message, checked.

        Raises
        ------
        MessageError
            If there are more or fewer, or one is not below its prime.
        """
        if data.nbytes != self.size(n):
            raise MessageError(
                f"there must be {self.size(n)} bytes of residues here, got {data.nbytes}."
            )
        runs = np.frombuffer(data, dtype="<u8").reshape(-1, n)
        if any(int(run.max()) >= q for run, q in zip(runs, self.moduli, strict=True)):
            raise MessageError("residues must be below their primes; these bytes were altered.")
        return runs


def taken_apart(data: bytes | mmap, n: int) -> tuple[Layout, list[memoryview]]:
    """The layout of an object that OpenFHE has written here, and its runs of residues.

    A run is written as its length, its residues and its prime, which is 1 modulo 2N. Before the
    length there is a mark, and before the first one a version.
    """
    view = memoryview(data)
    length = re.compile(rb"\x01(?:\0{4})?" + re.escape(n.to_bytes(8, "little")))
    pieces, moduli, runs = [], [], []
    end = start = 0
    while at := length.search(data, start):
        begin = at.end()
        stop = begin + 8 * n
        modulus = int.from_bytes(data[stop : stop + 8], "little")
        if stop > len(data) or modulus < _SMALLEST or modulus % (2 * n) != 1:
            start = at.start() + 1
            continue
        pieces.append(data[end:begin])
        runs.append(view[begin:stop])
        moduli.append(modulus)
        end = start = stop
    pieces.append(data[end:])
    return Layout(tuple(pieces), tuple(moduli)), runs
