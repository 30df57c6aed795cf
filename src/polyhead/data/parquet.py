"""Parquet files, opened so that what is wrong with one is said in our words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from polyhead.data.text import Source, name_of, opened, short
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
        odd = _with_nul(value)
        if odd is not None:
            what = f"{column}: a NUL character in {short(odd)}"
            raise PolyheadError(what, remedy="Take it out.", file=file, line=row)


def _with_nul(value: object) -> str | None:
    """A string with a NUL in it, if a value is or holds one."""
    if isinstance(value, str):
        return value if "\0" in value else None
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((odd for one in inner if (odd := _with_nul(one)) is not None), None)


def groups_from(metadata: Any, first: int) -> tuple[list[int], int]:
    """The groups of rows of a Parquet file from the one with row ``first`` on, and how many rows stand before them."""
    before = start = 0
    while start < metadata.num_row_groups and before + metadata.row_group(start).num_rows <= first:
        before += metadata.row_group(start).num_rows
        start += 1
    return list(range(start, metadata.num_row_groups)), before
