"""pyarrow and fsspec, imported here alone; without them, a word on how to get them."""

try:
    import fsspec
    import pyarrow
    from pyarrow import compute, csv, parquet
except ImportError as error:
    raise ImportError(
        "reading rows from CSV and Parquet files needs the extra `io`: pip install 'skfhe[io]'."
    ) from error

__all__ = ["compute", "csv", "fsspec", "parquet", "pyarrow"]
