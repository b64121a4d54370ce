"""Streams of rows: the same from whatever holds them, never all in memory, and discreet."""

import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from source_helpers import BOUNDED, FEATURES, PLAIN, N, make_frame, whole, write_files

from skfhe import BoundsScaler
from skfhe.schema import Schema
from skfhe.sources import RowSource, rows_of
from skfhe.sources.base import rechunked

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
fsspec = pytest.importorskip("fsspec")


@pytest.fixture(scope="module")
def frame():
    return make_frame()


@pytest.fixture(scope="module")
def folder(frame, tmp_path_factory):
    return write_files(frame, tmp_path_factory.mktemp("rows"))


SOURCES = {
    "pandas": lambda frame, folder: frame,
    "polars": lambda frame, folder: pl.from_pandas(frame),
    "csv": lambda frame, folder: folder / "all.csv",
    "gz": lambda frame, folder: str(folder / "all.csv.gz"),
    "parquet": lambda frame, folder: folder / "all.parquet",
    "folder of csv": lambda frame, folder: folder / "csv",
    "folder of parquet": lambda frame, folder: f"{folder}/parquet/",
    "pattern": lambda frame, folder: folder / "c*" / "part-?.csv",
    "list": lambda frame, folder: [folder / "csv" / f"part-{i}.csv" for i in range(5)],
    "file URL": lambda frame, folder: (folder / "all.parquet").as_uri(),
    "memory URL": lambda frame, folder: in_memory(folder),
    "memory pattern": lambda frame, folder: in_memory(folder).replace("all.csv", "*.csv"),
}


def in_memory(folder):
    """The URL of a file that fsspec keeps."""
    system = fsspec.filesystem("memory")
    system.pipe_file("/rows/all.csv.gz", (folder / "all.csv.gz").read_bytes())
    return "memory://rows/all.csv.gz"


def assert_batches(source, size, rows, indices):
    """Batches are slices of the rows, and float64."""
    starts = range(0, len(rows), size)
    found = list(source.batches(size))
    assert len(found) == len(starts)
    for start, (X, y) in zip(starts, found, strict=True):
        assert X.dtype == np.float64 and y.dtype == np.int64
        assert np.array_equal(X, rows[start : start + size])
        assert np.array_equal(y, indices[start : start + size])


# The same rows.


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("schema", [PLAIN, BOUNDED], ids=["plain", "bounded"])
def test_all_sources_give_the_same_batches(frame, folder, kind, schema):
    rows = frame[list(FEATURES)].to_numpy()
    if schema.low:
        rows = BoundsScaler((schema.low, schema.high)).fit_transform(rows)
        assert np.abs(rows).max() == 1
    source = rows_of(SOURCES[kind](frame, folder), schema=schema)
    assert isinstance(source, RowSource) and source.n_features == 3
    for size in (1, 7, 300, N, 2 * N):
        assert_batches(source, size, rows, (frame["sick"] == "yes").to_numpy().astype(int))


@pytest.mark.parametrize(
    "how", [np.asarray, np.ndarray.tolist, sparse.csc_matrix, sparse.coo_array]
)
@pytest.mark.parametrize("schema", [None, PLAIN, BOUNDED], ids=["none", "plain", "bounded"])
def test_arrays_with_class_indices(frame, how, schema):
    X = frame[list(FEATURES)].to_numpy()
    y = np.arange(N) % 2
    expected = X if schema is not BOUNDED else whole(rows_of(frame, schema=BOUNDED))[0]
    source = rows_of(how(X), y.tolist(), schema)
    for X_part, _ in source.batches(300):
        assert sparse.issparse(X_part) == (sparse.issparse(how(X)) and schema is not BOUNDED)
    dense = [(sparse.csr_array(a).toarray(), b) for a, b in source.batches(300)]
    assert np.array_equal(np.vstack([a for a, _ in dense]), expected)
    assert np.array_equal(np.concatenate([b for _, b in dense]), y)


def test_frames_without_a_schema_are_all_features():
    X = np.arange(12.0).reshape(4, 3)
    for frame in (pd.DataFrame(X), pd.DataFrame(X).convert_dtypes(), pl.from_numpy(X)):
        rows, indices = whole(rows_of(frame, [0, 2, 1, 0]))
        assert np.array_equal(rows, X) and indices.tolist() == [0, 2, 1, 0]


def test_rows_without_labels_say_so():
    frame = pd.DataFrame(np.eye(3), columns=FEATURES)
    for source in (rows_of(np.eye(3)), rows_of(np.eye(3), None, PLAIN), rows_of(frame)):
        assert whole(source)[1].tolist() == [-1, -1, -1]
    with pytest.raises(ValueError, match=r"missing: \['sick'\]"):
        whole(rows_of(frame, None, PLAIN))


def test_a_source_is_returned():
    source = rows_of(np.eye(3))
    assert rows_of(source) is source
    with pytest.raises(ValueError, match="y must be None"):
        rows_of(source, [0, 1, 0])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 20), max_size=10),
    st.integers(1, 50),
    st.sampled_from([0, 1]).map(bool),
)
def test_any_pieces_make_batches_of_one_size(lengths, size, is_sparse):
    total = sum(lengths)
    rows, indices = np.arange(2.0 * total).reshape(-1, 2), np.arange(total)
    ends = np.cumsum(lengths)
    pieces = [
        (sparse.csr_array(rows[end - n : end]) if is_sparse else rows[end - n : end],
         indices[end - n : end])
        for n, end in zip(lengths, ends, strict=True)
    ]  # fmt: skip
    found = list(rechunked(pieces, size))
    assert [len(b) for _, b in found] == [min(size, total - s) for s in range(0, total, size)]
    for start, (X, y) in zip(range(0, total, size), found, strict=True):
        assert sparse.issparse(X) == is_sparse
        X = X.toarray() if is_sparse else X
        assert np.array_equal(X, rows[start : start + size])
        assert np.array_equal(y, indices[start : start + size])


@pytest.mark.parametrize("size", [0, -1])
def test_batches_have_rows(size):
    with pytest.raises(ValueError, match="size"):
        rows_of(np.eye(3)).batches(size)


# Labels.

NUMBERS, TRUTHS, CODES = (0, 1), (False, True), ("01", "1")


@pytest.mark.parametrize(
    "classes, labels",
    [
        (NUMBERS, ["1", "0", "1.0", "true", "1e0", "False"]),
        (NUMBERS, pa.array([1, 0, 1], pa.int8())),
        (NUMBERS, pa.array([1.0, 0.0, 1.0])),
        (NUMBERS, pa.array([True, False, True])),
        (NUMBERS, pa.array(["1", "0", "1.0"]).dictionary_encode()),
        (NUMBERS, pa.DictionaryArray.from_arrays([1, 0, 1], pa.array(["0", "1", "unused"]))),
        (TRUTHS, ["True", "false", "1", "TRUE", "true", "0"]),
        (TRUTHS, pa.array([True, False, True])),
        (CODES, ["1", "01", "1"]),
        ((0.5, 2.5), ["2.5", "0.50"]),
        ((2**53, 2**53 + 1), pa.array([2**53 + 1, 2**53])),
        (("0", "1"), pa.array([1.0, 0.0])),
        (("b", "a"), pa.array(["a", "b"], pa.large_string())),
    ],
)
def test_labels_match_by_text_or_number(tmp_path, classes, labels):
    if isinstance(labels, list):
        path, text = tmp_path / "x.csv", "".join(f"3,{label}\n" for label in labels)
        path.write_text("x,y\n" + text)
    else:
        path = tmp_path / "x.parquet"
        pq.write_table(pa.table({"x": np.ones(len(labels)), "y": labels}), path)
    expected = (np.arange(len(labels)) + 1) % 2
    schema = Schema(("x",), "y", classes)
    if len(labels) > 4:
        expected = [1, 0, 1, 1, 1, 0]
    assert whole(rows_of(path, schema=schema))[1].tolist() == list(expected)


@pytest.mark.parametrize("label", ["2", "1.5", "", "nan", "inf", "1_0", "yes", "NA"])
def test_labels_that_are_no_class_are_refused(tmp_path, label):
    path, schema = tmp_path / "x.csv", Schema(("x",), "y", (0, 1, 10))
    path.write_text(f"x,y\n3,1\n3,{label}\n".replace(",2\n", ",3\n"))
    frame = pd.DataFrame({"x": [1, 2], "y": pd.array(["1", label or None])})
    for source in (path, frame, pl.from_pandas(frame.replace("2", "3"))):
        with pytest.raises(ValueError, match="column 'y' holds a label"):
            list(rows_of(source, schema=schema).batches(1))


@pytest.mark.parametrize("kind", [pa.bool_(), pa.uint16(), pa.float32(), pa.decimal128(9, 2)])
def test_features_of_any_number(tmp_path, kind):
    path, schema = tmp_path / "x.parquet", Schema(("x", "d"), "y", (0, 1))
    column = pa.array([1, 0, 1], pa.int16()).cast(kind)
    table = pa.table({"y": [0, 1, 0], "x": column, "d": pa.array([7, 7, 8]).dictionary_encode()})
    pq.write_table(table, path)
    assert whole(rows_of(path, schema=schema))[0].tolist() == [[1, 7], [0, 7], [1, 8]]


# Never all rows in memory.


@pytest.mark.parametrize("group", [5_000, 2_000_000])
def test_parquet_is_streamed(tmp_path, group):
    """By row groups, and within a large one."""
    n, schema = 2_000_000, Schema(("a", "b"), "y", (0, 1))
    a, b = np.random.default_rng(0).normal(size=(2, n))
    table = pa.table({"a": a, "b": b, "y": np.arange(n) % 2})
    size = table.nbytes
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=group)
    del table, a, b
    before, most, count = pa.total_allocated_bytes(), 0, 0
    tracemalloc.start()
    for rows, _ in rows_of(tmp_path / "x.parquet", schema=schema).batches(4096):
        most = max(most, pa.total_allocated_bytes() - before)
        count += len(rows)
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == n
    assert most < size / 2.5 and python < size / 5


def test_csv_is_streamed(tmp_path):
    line = "0." + "1" * 95 + ",1\n"
    (tmp_path / "x.csv").write_text("x,y\n" + 1_000_000 * line)
    before, most = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    for rows, _ in rows_of(tmp_path / "x.csv", schema=Schema(("x",), "y", (0, 1))).batches(4096):
        most = max(most, pa.total_allocated_bytes() - before)
        assert (rows == 1 / 9).all()
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert python + most < 1_000_000 * len(line) / 2


def test_a_memory_map_is_not_copied(tmp_path):
    X = np.memmap(tmp_path / "x", np.float64, "w+", shape=(1_000_000, 8))
    source = rows_of(X, np.zeros(len(X), dtype=np.int8))
    tracemalloc.start()
    assert all(np.shares_memory(rows, X) for rows, _ in source.batches(4096))
    assert tracemalloc.get_traced_memory()[1] < X.nbytes / 50
    tracemalloc.stop()


def test_sparse_rows_given_stay_as_they_are():
    X = sparse.csr_array((np.ones(3), [1, 1, 0], [0, 2, 3]), shape=(2, 2))
    rows, _ = next(rows_of(X, [0, 1]).batches(2))
    assert rows.has_canonical_format and rows.toarray().tolist() == [[0, 2], [1, 0]]
    assert X.nnz == 3


# Every pass the same.


@pytest.mark.parametrize("more", [1, -1])
def test_rows_must_stay_as_many(folder, tmp_path, more):
    lines = (folder / "csv" / "part-1.csv").read_text().replace("\nand", " and").splitlines(True)
    path = tmp_path / "x.csv"
    path.write_text("".join(lines[:100]))
    source = rows_of(path, schema=PLAIN)
    next(source.batches(10))
    assert len(whole(source)[0]) == 99 == len(whole(source)[0])
    path.write_text("".join(lines[: 100 + more]))
    with pytest.raises(ValueError, match="number changed"):
        for count, _ in enumerate(source.batches(1), 1):
            assert count <= 99
