"""What a file is, by its name and content, and a sample of its records: the first look of ``polyhead new``."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from polyhead.data.columns import DOCSTART
from polyhead.data.readers import FORMATS, SUFFIXES, format_of
from polyhead.data.tables import is_quoted, json_objects, parquet_rows, quoted_rows
from polyhead.data.text import Notes, is_stream, lines, opened
from polyhead.errors import PolyheadError
from polyhead.files import is_utf8

_T = TypeVar("_T")
_FIRST = 300  # Lines that tell the format.
_DENSE, _EVERY, _MOST = 2_000, 50, 100_000  # A sample is the first records and then every 50th: files may be sorted.
_KEPT = {"text", "tsv", "columns"}  # Formats whose suffixes are used for other things as well.


def known_format(path: Path) -> str:
    """The format of a file: its suffix's, unless its content is plainly another's.

    Raises:
        PolyheadError: The file cannot be read, is empty, or is of no known format.
    """
    if not is_utf8(path):
        raise PolyheadError("the file's name is not UTF-8", remedy="Rename the file.", file=path)
    if is_stream(path):
        raise PolyheadError("a recipe needs files, and this is none", remedy="Save it as a file first.", file=path)
    with opened(path) as stream:
        head = stream.peek(100)[:100]
    if not head:
        raise PolyheadError("the file is empty", remedy="Give a file with examples.", file=path)
    if head.startswith(b"PAR1"):
        return "parquet"
    if path.suffix == ".json" and head.lstrip().startswith(b"["):
        remedy = f"Write one object on each line: jq -c '.[]' {path.name} > {path.stem}.jsonl"
        raise PolyheadError("the file is one JSON list", remedy=remedy, file=path)
    try:
        named = format_of(path)
    except PolyheadError:
        named = ""
    if named and named not in _KEPT:
        return named
    found = _format_of_lines([line for _, line in islice(_text_lines(path), _FIRST)])
    if named == "text" and found is None:
        return named
    if not named and found is None:
        raise PolyheadError(
            f"neither the suffix {path.suffix!r} nor the content says which format this file has",
            remedy=f"Save it as one of {', '.join(FORMATS)} ({', '.join(SUFFIXES)}).",
            file=path,
        )
    # A table may well hold empty lines or a column of numbers; only what has the shape of sentences is none.
    if named == "tsv" and found not in ("conllu", "columns"):
        return named
    return found or named


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        yield from lines(path, returns=True)
    except PolyheadError as error:
        if error.line is None:
            raise
        raise PolyheadError(
            f"this is no text file that can be read: {error.what}",
            remedy=f"{error.remedy} Spreadsheets and archives: save the table as CSV first.",
            file=path,
            line=error.line,
        ) from None


def _format_of_lines(found: Sequence[str]) -> str | None:
    """The format that some first lines of a file have; None if they are of no known one."""
    full = [line for line in found if line.strip()]
    if not full:
        return None
    if all(line.startswith("{") for line in full):
        return "jsonl"
    rows = [line for line in full if not line.startswith(("#", DOCSTART))]
    if rows and all(line.count("\t") == 9 and re.match(r"\d+([-.]\d+)?\t", line) for line in rows):
        return "conllu"
    if _are_columns(found):
        return "columns"
    if all("\t" in line for line in full) and len({line.count("\t") for line in full}) == 1:
        return "tsv"
    if any(len(widths := _widths(full, sign)) == 1 and min(widths) > 1 for sign in ",;"):
        return "csv"
    return None


def _are_columns(found: Sequence[str]) -> bool:
    """Whether lines are words with their labels: rows of equal width, of cells without spaces, in blocks."""
    blocks = [block for block in _blocks(enumerate(found)) if block]
    rows = [row for block in blocks for row in block]
    if not rows or len({len(row) for row in rows[:-1] or rows}) != 1 or len(rows[0]) < 2:
        return False
    apart = sum(not line.strip() for line in found) > 0 and len(rows) / len(blocks) >= 2
    spaced = any(" " in cell for row in rows for cell in row)
    return apart and not spaced


def _widths(full: Sequence[str], delimiter: str) -> set[int]:
    """How many cells the rows have, the last aside, which may go on; empty if the quotes do not close."""
    try:
        rows = [row for row in csv.reader((line + "\n" for line in full), delimiter=delimiter) if row]
    except csv.Error:
        return set()
    return {len(row) for row in rows[:-1] or rows}


# --- samples ---


def sample(records: Iterable[_T]) -> list[_T]:
    """The first records of a file, and then every so many: files may be sorted by label."""
    some = islice(records, _MOST)
    return [record for index, record in enumerate(some) if index < _DENSE or index % _EVERY == 0]


def sentences(path: Path) -> list[list[list[str]]]:
    """A sample of the sentences of a column file, each a list of rows of cells."""
    return sample(block for block in _blocks(lines(path)) if block)


def _blocks(found: Iterable[tuple[int, str]]) -> Iterator[list[list[str]]]:
    """The rows of each block of lines. Columns stand between tabs if the first row has one."""
    tabs: bool | None = None
    block: list[list[str]] = []
    for _, line in found:
        if not line.strip():
            yield block
            block = []
        elif not line.startswith(DOCSTART) and not (line.startswith("# ") and not block):
            tabs = "\t" in line if tabs is None else tabs
            block.append(line.split("\t") if tabs else line.split())
    yield block


def table(path: Path, format_: str) -> tuple[list[list[str]], str]:
    """A sample of the rows of a CSV or TSV file, empty ones left out, and the delimiter.

    Raises:
        PolyheadError: There are no two rows of one width, or a quote is not closed.
    """
    delimiter = "\t"
    if format_ == "csv":
        first = [line for _, line in islice(lines(path, returns=True), _FIRST) if line.strip()]
        fits = {sign: min(widths) if len(widths := _widths(first, sign)) == 1 else 0 for sign in ",;\t"}
        delimiter = max(fits, key=lambda sign: fits[sign])
    if format_ == "csv" or is_quoted(lines(path, returns=True)):
        rows = quoted_rows(lines(path, returns=True), delimiter, str(path))
        found = sample(row for _, row in rows if any(row))
    else:
        found = sample(line.split("\t") for _, line in lines(path) if line.strip())
    common = Counter(map(len, found)).most_common(1)
    width = common[0][0] if common else 0
    if width < 2:
        raise PolyheadError(
            f"this is no table: most rows have {width} cell",
            remedy="A row holds a text and its labels, with a comma (CSV) or a tab (TSV) between.",
            file=path,
        )
    rows_alike = [row for row in found if len(row) == width]
    if len(rows_alike) < 2:
        raise PolyheadError(
            "this table has only one row of its width",
            remedy="It needs a row that names the columns, and rows with texts and labels.",
            file=path,
        )
    return rows_alike, delimiter


def records(path: Path, format_: str) -> list[dict[str, Any]]:
    """A sample of the objects of a JSONL file, or of the rows of a Parquet file.

    Raises:
        PolyheadError: The file is broken, or pyarrow is not installed.
    """
    if format_ == "parquet":
        return sample(record for _, record in parquet_rows(path))
    return sample(record for _, record in json_objects(path, Notes()))
