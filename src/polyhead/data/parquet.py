"""Parquet files, opened so that what is wrong with one is said in our words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from polyhead.data.text import Source, name_of, opened
from polyhead.data.values import refuse_odd_characters
from polyhead.errors import PolyheadError


@contextmanager
def opened_parquet(source: Source) -> Iterator[Any]:
    """A Parquet file, open for the block, in which nothing else may be read or written.

    Raises:
        PolyheadError: It cannot be read, is not Parquet, or pyarrow is not installed.
    """
    file = name_of(source)
    with opened(source):
        pass  # What is wrong with a path is said in our words, not Arrow's.
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise PolyheadError("reading Parquet needs pyarrow", remedy="pip install pyarrow", file=file) from None
    try:
        with parquet.ParquetFile(str(source)) as table:
            yield table
    except (arrow.ArrowException, OSError) as error:
        what = f"not a Parquet file, or a broken one: {error}"
        remedy = "Write or fetch the file anew, or correct `format`."
        raise PolyheadError(what, remedy=remedy, file=file) from None


def see_no_nul(record: Mapping[str, Any], file: str, row: int) -> None:
    """See that no string of a row holds a NUL, which no file of text could hold again.

    Raises:
        PolyheadError: One does.
    """
    for column, value in record.items():
        try:
            refuse_odd_characters(value)
        except ValueError as error:
            what, _, remedy = str(error).rpartition("; ")
            raise PolyheadError(f"{column}: {what}", remedy=f"{remedy.capitalize()}.", file=file, line=row) from None


def groups_from(metadata: Any, first: int) -> tuple[list[int], int]:
    """The groups of rows of a Parquet file from the one with row ``first`` on, and how many rows stand before them."""
    before = start = 0
    while start < metadata.num_row_groups and before + metadata.row_group(start).num_rows <= first:
        before += metadata.row_group(start).num_rows
        start += 1
    return list(range(start, metadata.num_row_groups)), before
