"""Rows that cannot be read are refused, and no message quotes one."""

import gzip
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from source_helpers import FEATURES, PLAIN, make_frame, whole, write_files

from skfhe.sources import ArraySource, rows_of

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
fsspec = pytest.importorskip("fsspec")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_files(make_frame(), tmp_path_factory.mktemp("rows"))


# A value of a row.
SECRET = "4711"


def messages_of(error):
    """An error's text, and that of all errors it carries along."""
    while error is not None:
        yield f"{error} {error!r}"
        error = error.__cause__ or error.__context__


def refusal(source, schema=PLAIN, kind=ValueError):
    with pytest.raises(kind) as caught:
        list(rows_of(source, schema=schema).batches(3))
    text = "\n".join(messages_of(caught.value))
    assert SECRET not in text
    return text


@pytest.mark.parametrize(
    "text, said",
    [
        (f"a,b,c,sick\n1,x{SECRET},3,no\n", "column 'b' must hold numbers"),
        (f"z,a,b,c,sick\n{SECRET},1,{SECRET}|,3,no\n", "column 'b' must hold numbers"),
        (f"a,b,c,sick\n1,2,3,{SECRET}\n", "column 'sick' holds a label"),
        (f"a,b,c,sick\n1,2,{SECRET}\n", "cannot be read"),
        (f"a,b,c,sick\n1,2,3,no,{SECRET}\n", "cannot be read"),
        (f'a,b,c,sick\n1,2,3,"{SECRET}\n', "x.csv"),
        (f"a,b,c,sick\n{SECRET},,3,no\n", r"columns ['b']"),
        (f"a,b,c,sick\n{SECRET},NaN,inf,no\n", r"columns ['c', 'b']"),
        (f"a,b,sick\n{SECRET},1,no\n", "missing: ['c']"),
        (f"a,b,c,b,sick\n1,2,3,{SECRET},no\n", "repeated: ['b']"),
        (f"{SECRET},1,2,no\n", "missing: ['c', 'a', 'b', 'sick']"),
        ("", "missing"),
        ("a" * (1 << 21), "cannot be read"),
        (f"a,b,c,sick,z\n1,2,3,no,{SECRET * (1 << 20)}\n", "under a megabyte"),
        (b"a,b,c,sick\n1,2,3,\xff%s\n" % SECRET.encode(), "UTF-8"),
        (b"\x00\xff\x1f\n" * 100, "missing"),
    ],
)
def test_csv_that_does_not_fit(tmp_path, text, said):
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "x.csv").write_bytes(data)
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(data))
    for name in ("x.csv", "x.csv.gz"):
        message = refusal(tmp_path / name)
        assert said in message or said == "x.csv"
        assert f"{tmp_path}/{name}:" in message


def parquet_of(path, **columns):
    plain = {"a": [1.0, 2], "b": [1, 2], "c": [True, False], "sick": ["no", "yes"]}
    columns = {name: c for name, c in {**plain, **columns}.items() if c is not None}
    pq.write_table(pa.table(columns), path)


NOT_UTF8 = pa.Array.from_buffers(
    pa.string(), 2, [None, pa.py_buffer(np.array([0, 2, 5], "i4")), pa.py_buffer(b"no\xff47")]
)


@pytest.mark.parametrize(
    "columns, said",
    [
        ({"b": [SECRET, SECRET]}, "column 'b' must hold numbers, got string"),
        ({"b": [{SECRET: 1}, {SECRET: 1}]}, "column 'b' must hold numbers, got struct"),
        ({"b": [None, None]}, "column 'b' must hold numbers, got null"),
        ({"b": [int(SECRET), None]}, "columns ['b']"),
        ({"b": None}, "missing: ['b']"),
        ({"sick": ["no", SECRET]}, "column 'sick' holds a label"),
        ({"sick": ["no", None]}, "column 'sick' holds a label"),
        ({"sick": pa.array(["no", None]).dictionary_encode()}, "column 'sick' holds a label"),
        ({"sick": [[SECRET], [SECRET]]}, "column 'sick' must hold numbers or text"),
        ({"sick": pa.array([4711, 1], pa.date32())}, "column 'sick' must hold numbers or text"),
        ({"sick": NOT_UTF8}, "cannot be read"),
    ],
)
def test_parquet_that_does_not_fit(tmp_path, columns, said):
    if isinstance(columns.get("b"), list) and isinstance(columns["b"][0], dict):
        columns = {"b": pa.array([{"x": SECRET}] * 2)}
    parquet_of(tmp_path / "x.parquet", **columns)
    message = refusal(tmp_path / "x.parquet")
    assert said in message and f"{tmp_path}/x.parquet:" in message


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([SECRET, f"x{SECRET}"]),
        pd.Series([1j, 2.0]),
        pd.Series([4711.0, np.nan]),
        pd.Series([4711, None], dtype="Int64"),
        pd.Series([4711, 10**400]),
        pd.Series(pd.to_datetime([4711, 2])),
    ],
)
def test_frames_and_arrays_that_do_not_fit(column):
    frame = pd.DataFrame({"a": [1, 2], "b": column, "c": [3, 4], "sick": ["no", "yes"]})
    assert "X" in refusal(frame)
    features = frame[list(FEATURES)]
    assert "X" in refusal(features.to_numpy(dtype=object), None)
    if column.dtype.kind in "Mif":
        assert "X" in refusal(pl.from_pandas(frame))


def test_sparse_rows_must_be_finite():
    assert "columns [1]" in refusal(sparse.csr_array([[0, np.nan], [1, 0]]), None)


@pytest.mark.parametrize(
    "y",
    [[0, 1], [0, 1, 2], [0, -1, 1], [0.5, 0, 1], [SECRET] * 3, [[0], [1], [0]], [np.nan, 0, 1]],
)
def test_class_indices_must_be_some(y):
    with pytest.raises(ValueError, match="y must be class indices") as caught:
        rows_of(np.eye(3), y, PLAIN)
    assert SECRET not in "".join(messages_of(caught.value))


@pytest.mark.parametrize("X", [np.ones(3), np.ones((2, 2, 2)), 3, [], np.ones((3, 4)), None])
def test_arrays_must_have_the_columns(X):
    with pytest.raises(ValueError, match="X must have"):
        ArraySource(X, schema=PLAIN)


def test_damaged_files(folder, tmp_path):
    for name in ("all.csv.gz", "all.parquet"):
        data = (folder / name).read_bytes()
        for damaged in (
            data[: len(data) // 2],
            b"",
            b"no file of this kind",
            data[len(data) // 2 :],
        ):
            (tmp_path / name).write_bytes(damaged)
            message = refusal(tmp_path / name)
            assert f"{tmp_path}/{name}: " in message
    middle = bytearray((folder / "all.parquet").read_bytes())
    for at in range(4, len(middle) - 8, len(middle) // 50):
        (tmp_path / "all.parquet").write_bytes(bytes(middle[:at] + b"\xa5\x5a" + middle[at + 2 :]))
        try:
            whole(rows_of(tmp_path / "all.parquet", schema=PLAIN))
        except ValueError as error:
            assert "all.parquet" in str(error)


def test_which_files(folder, tmp_path):
    for paths, said in [
        (folder / "none.csv", "no file or folder"),
        (folder / "none" / "*.csv", "got []"),
        (folder, "got ['.csv', '.csv.gz', '.parquet']"),
        (folder / "all.*", "got ['.csv', '.csv.gz', '.parquet']"),
        (tmp_path, "got []"),
        ([folder / "all.csv", folder / "*.csv"], "comes twice"),
        (folder / "csv" / "_SUCCESS", "must end in"),
    ]:
        assert said in refusal(paths)
    with pytest.raises(ValueError, match="need a schema"):
        rows_of(folder / "all.csv")
    with pytest.raises(ValueError, match="y must be None"):
        rows_of(folder / "all.csv", [0, 1], PLAIN)


def test_a_file_that_went_away(folder, tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes((folder / "all.csv").read_bytes())
    source = rows_of(path, schema=PLAIN)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"x\.csv"):
        whole(source)


def test_urls_are_named_without_what_they_carry():
    """Signed URLs hold a key in their query."""
    fsspec.filesystem("memory").pipe_file(f"/{SECRET}/x.csv?key={SECRET}", b"a,b\n1,2\n")
    assert refusal(f"memory://{SECRET}/x.csv?key={SECRET}").count("x.csv") >= 1


@pytest.mark.parametrize("module", ["pyarrow", "fsspec"])
def test_the_extra_is_named(monkeypatch, folder, module):
    for name in [name for name in sys.modules if name.startswith("skfhe.sources.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"skfhe\[io\]"):
        rows_of(folder / "all.csv", schema=PLAIN)
    assert len(whole(rows_of(np.eye(3)))[0]) == 3
