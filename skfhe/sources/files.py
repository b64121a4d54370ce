"""Which files a path, a folder, a pattern or a URL stands for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from .arrow import fsspec

ENDINGS = (".csv", ".csv.gz", ".parquet")
_MAGIC = frozenset("*?[")


@dataclass(frozen=True)
class TableFile:
    """One file of rows.

    Attributes
    ----------
    name : str
        For messages. The path of a local file, of others the last part of the path alone, since
        a URL may carry credentials.
    ending : str
        One of `ENDINGS`.
    """

    name: str
    ending: str
    _system: Any = field(repr=False)
    _path: str = field(repr=False)

    def open(self) -> AbstractContextManager[BinaryIO]:
        """The file's bytes, decompressed."""
        compression = "gzip" if self.ending.endswith(".gz") else None
        return fsspec.core.OpenFile(self._system, self._path, "rb", compression=compression)


def table_files(paths: str | os.PathLike | Iterable[str | os.PathLike]) -> list[TableFile]:
    """Files in the order given, those of a folder or a pattern in the order of their names.

    Parameters
    ----------
    paths : path or iterable of paths
        Each a CSV or Parquet file, a folder of them, a pattern with ``*``, ``?`` or ``[``, or a
        URL of any of these that fsspec opens.

    Raises
    ------
    ValueError
        If nothing is found, a file's ending is unknown, files of one folder or pattern have
        different endings, or a file comes twice: its rows would count twice.
    """
    one = isinstance(paths, (str, os.PathLike))
    files = [file for path in ([paths] if one else paths) for file in _found(os.fspath(path))]
    if len(set(files)) != len(files):
        raise ValueError(
            "a file of rows comes twice, and its rows would count twice; name every file once."
        )
    return files


def _found(path: str) -> list[TableFile]:
    system, inner = fsspec.core.url_to_fs(path)
    if system.isfile(inner):
        return [_table_file(system, inner)]
    name = _name(system, inner)
    if system.isdir(inner):
        inside = system.ls(inner, detail=False)
    elif _MAGIC & set(inner):
        inside = [one for one in system.glob(inner) if system.isfile(one)]
    else:
        raise ValueError(f"there is no file or folder {name}.")
    files = [_table_file(system, one) for one in sorted(inside) if _ending(system, one)]
    endings = sorted({file.ending for file in files})
    if len(endings) != 1:
        raise ValueError(
            f"{name} must stand for files of one kind, out of {', '.join(ENDINGS)}, got "
            f"{endings}; rows that are there in two formats would count twice. Name the files."
        )
    return files


def _table_file(system: Any, path: str) -> TableFile:
    name, ending = _name(system, path), _ending(system, path)
    if ending is None:
        raise ValueError(f"files of rows must end in {', '.join(ENDINGS)}, got {name}.")
    return TableFile(name, ending, system, path)


def _name(system: Any, path: str) -> str:
    return path if _is_local(system) else _last(system, path)


def _ending(system: Any, path: str) -> str | None:
    last = _last(system, path)
    return next((one for one in ENDINGS if last.lower().endswith(one)), None)


def _last(system: Any, path: str) -> str:
    """The file's own name, of URLs without their query."""
    path = path if _is_local(system) else path.split("?")[0]
    return path.rstrip("/").rsplit("/", 1)[-1]


def _is_local(system: Any) -> bool:
    return "file" in ((system.protocol,) if isinstance(system.protocol, str) else system.protocol)
