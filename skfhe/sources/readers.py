"""CSV and Parquet files as streams of record batches, with errors that quote no row."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from csv import Error as HeaderError
from csv import reader as header_reader
from typing import TypeVar

from ..schema import Schema
from .arrow import csv, parquet, pyarrow
from .columns import require_columns
from .files import TableFile

_T = TypeVar("_T")
# What is read at a time: of a CSV file, where a row must fit (and pyarrow reads 32 of them ahead),
# and of a Parquet column.
_CSV_BLOCK = 1 << 20
_PARQUET_BLOCK = 1 << 20
# Rows at a time of a Parquet file, however large the batches are.
_MOST_ROWS = 1 << 16
_BROKEN = (pyarrow.ArrowException, OSError, EOFError, zlib.error, UnicodeError, HeaderError)


def record_batches(file: TableFile, schema: Schema, size: int) -> Iterator[pyarrow.RecordBatch]:
    """The schema's columns of a file, a block at a time.

    Features are float64 where the file is text, else of the file's types; labels of text are
    text.

    Raises
    ------
    FileNotFoundError, PermissionError
        If the file cannot be opened.
    ValueError
        If it is damaged, lacks a column, or a feature is no number. Messages name the file and
        the column, and hold nothing of a row, not even as their cause.
    """
    needed = [*schema.features, schema.label]
    is_csv = file.ending != ".parquet"
    names = _attempt(file, (), lambda: _csv_header(file) if is_csv else _parquet_header(file))
    require_columns(names, needed, file.name)
    batches = _csv(file, schema, needed) if is_csv else _parquet(file, needed, size)
    with closing(batches):
        while (batch := _attempt(file, names, lambda: next(batches, None))) is not None:
            yield batch


def _attempt(file: TableFile, names: Sequence[str], call: Callable[[], _T]) -> _T:
    """What `call` gives; its errors are told anew, since they quote rows."""
    try:
        return call()
    except (FileNotFoundError, PermissionError) as error:
        refused: Exception = type(error)(f"{file.name}: cannot be opened.")
    except _BROKEN as error:
        refused = ValueError(f"{file.name}: {_explanation(file, names, str(error))}")
    # Outside of the clause, so that the error told anew does not carry the other one along.
    raise refused


def _explanation(file: TableFile, names: Sequence[str], message: str) -> str:
    if file.ending == ".parquet":
        return "this Parquet file cannot be read; it is damaged, or of another format."
    column = re.match(r"In CSV column #(\d+)", message)
    if column and int(column[1]) < len(names):
        return (
            f"the column {names[int(column[1])]!r} must hold numbers if it is a feature, and "
            "UTF-8 text if it is the label; a cell is neither."
        )
    return (
        "this CSV file cannot be read; it must be UTF-8 text with commas, a header, and rows of "
        "as many cells as the header, each row under a megabyte."
    )


def _csv_header(file: TableFile) -> list[str]:
    with (
        file.open() as stream,
        io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="") as text,
    ):
        lines = iter(lambda: text.readline(_CSV_BLOCK), "")
        return next((row for row in header_reader(lines) if row), [])


def _csv(file: TableFile, schema: Schema, needed: list[str]) -> Iterator[pyarrow.RecordBatch]:
    types = dict.fromkeys(schema.features, pyarrow.float64())
    with (
        file.open() as stream,
        csv.open_csv(
            stream,
            read_options=csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types={**types, schema.label: pyarrow.string()}, include_columns=needed
            ),
        ) as batches,
    ):
        yield from batches


def _parquet_header(file: TableFile) -> list[str]:
    with file.open() as stream, parquet.ParquetFile(stream) as table:
        return table.schema_arrow.names


def _parquet(file: TableFile, needed: list[str], size: int) -> Iterator[pyarrow.RecordBatch]:
    # Without these options pyarrow reads whole row groups, and the next ones ahead.
    options = {"pre_buffer": False, "buffer_size": _PARQUET_BLOCK}
    with file.open() as stream, parquet.ParquetFile(stream, **options) as table:
        rows = min(size, _MOST_ROWS)
        for batch in table.iter_batches(rows, columns=needed, use_threads=False):
            batch.validate(full=True)  # else text that is not UTF-8 would fail later
            yield batch
