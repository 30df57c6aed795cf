"""Reads tables and records: CSV, TSV, JSONL and Parquet."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from typing import Any, TypeAlias

from polyhead.data.example import Example, Text
from polyhead.data.parquet import groups_from, opened_parquet, see_no_nul
from polyhead.data.records import Fields, Records, roles
from polyhead.data.spec import UNUSED, DataSpec
from polyhead.data.text import Notes, Source, counted, is_stream, lines, name_of, short
from polyhead.data.values import load_json
from polyhead.errors import PolyheadError

Lines: TypeAlias = Iterator[tuple[int, str]]
Rows: TypeAlias = Iterator[tuple[int, list[str]]]
"""Each row with the number of the line that it begins on."""

_DELIMITERS = (",", ";", "\t")
_SNIFFED_LINES = 50
_QUOTED_ROW = re.compile(r'(?:"(?:[^"]|"")*"|[^"\t]*)(?:\t(?:"(?:[^"]|"")*"|[^"\t]*))*')
_HEADER_WORDS = frozenset({"text", "sentence", "sentence1", "sentence2", "label", "labels", "id", "index", "score"})
_BATCH = 1024
csv.field_size_limit(2**31 - 1)  # Texts of any length; without it the csv module stops at 131,072 characters.
_NO_HEADER = ' If the first row is data, list the columns in order, as layers = ["text", "label"].'


def read_csv(source: Source, spec: DataSpec, kinds: Mapping[str, type], notes: Notes) -> Iterator[Example]:
    """Each row of a CSV file (RFC 4180, with a comma, semicolon or tab between cells, recognised if not given).

    Raises:
        PolyheadError: A row is ragged or wrongly quoted, a column is missing, a value is not what it should be.
    """
    file = name_of(source)
    found, delimiter = _delimiter(lines(source, returns=True), spec)
    yield from _table(quoted_rows(found, delimiter, file), spec, kinds, file, notes)


def read_tsv(source: Source, spec: DataSpec, kinds: Mapping[str, type], notes: Notes) -> Iterator[Example]:
    """Each row of a TSV file. Quotes are plain characters, unless the whole file is quoted as a CSV writer does it.

    A stream cannot be looked at twice, so there quotes are always plain.

    Raises:
        PolyheadError: A row is ragged, a column is missing, a value is not what it should be.
    """
    file, delimiter = name_of(source), spec.delimiter or "\t"
    rows: Rows
    if delimiter == "\t" and not is_stream(source) and is_quoted(lines(source, returns=True)):
        rows = quoted_rows(lines(source, returns=True), delimiter, file)
        what = "file whose cells are quoted as in CSV, read without these quotes:"
        notes.add(file, what, what)
    else:
        rows = ((number, line.split(delimiter) if line else []) for number, line in lines(source))
    yield from _table(rows, spec, kinds, file, notes)


def read_jsonl(source: Source, spec: DataSpec, kinds: Mapping[str, type], notes: Notes) -> Iterator[Example]:
    """Each JSON object of a file with one on each line.

    Raises:
        PolyheadError: A line is no JSON object, a field is missing, a value is not what it should be.
    """
    file = name_of(source)
    records = Records(Fields.of(spec, kinds), file, notes)
    for number, record in json_objects(source, notes):
        if (example := records.example(record, number)) is not None:
            yield example
    records.finish()


def json_objects(source: Source, notes: Notes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each object of a JSONL file with the number of its line.

    Raises:
        PolyheadError: A line is no JSON object.
    """
    file = name_of(source)
    for number, line in lines(source, returns=True):  # to JSON a carriage return between values is a space
        if not line or line.isspace():
            _blank(notes, file)
            continue
        try:
            record = load_json(line)
        except ValueError as error:
            what, _, remedy = str(error).rpartition("; ")
            if str(error).startswith("not JSON"):
                what, remedy = str(error), "Each line is one JSON object; a file that is one list is not JSONL"
            raise PolyheadError(what, remedy=f"{remedy[0].upper()}{remedy[1:]}.", file=file, line=number) from None
        if not isinstance(record, dict):
            raise PolyheadError(
                f"not a JSON object: {short(line)}",
                remedy='Each line is one object, as {"text": "...", "label": "..."}.',
                file=file,
                line=number,
            )
        yield number, record


def read_parquet(
    source: Source, spec: DataSpec, kinds: Mapping[str, type], notes: Notes, *, first: int = 0
) -> Iterator[Example]:
    """Each row of a Parquet file but the ``first``, streamed; an example's ``line`` is its row, counted from 1.

    Whole numbers that the Hugging Face schema in the file's metadata gives names are read as these names.

    Raises:
        PolyheadError: The file is not Parquet, a column is missing, a value is not what it should be.
    """
    file = name_of(source)
    fields = Fields.of(spec, kinds)
    records = Records(fields, file, notes)

    def needed(columns: list[str]) -> list[str]:
        fields.check(columns, file)
        if fields.layers is None or fields.answers:
            return columns
        wanted = {fields.text, fields.pair, fields.words, *fields.layers.values()}
        return [column for column in columns if column in wanted]

    for row, record in parquet_rows(source, needed, first=first):
        example = records.example(_plain(record, file, notes) if fields.answers else record, row)
        if example is not None:
            yield example


def parquet_rows(
    source: Source, needed: Callable[[list[str]], list[str]] = lambda columns: columns, *, first: int = 0
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row of a Parquet file with its number, counted from 1.

    Args:
        source: The file.
        needed: Chooses among its columns.
        first: How many rows to leave out at the file's beginning.

    Raises:
        PolyheadError: The file is not Parquet, two of its columns have one name, or pyarrow is not installed.
    """
    file = name_of(source)
    if is_stream(source):
        raise PolyheadError("Parquet cannot be read from a stream", remedy="Name the file.", file=file)
    with opened_parquet(source) as table:
        columns = list(table.schema_arrow.names)
        _refuse_twice(columns, file)
        names = _class_names(table.schema_arrow.metadata or {})
        groups, row = groups_from(table.metadata, first)
        for batch in table.iter_batches(batch_size=_BATCH, row_groups=groups, columns=needed(columns)):
            left_out = min(max(0, first - row), batch.num_rows)
            row += left_out
            for record in batch.slice(left_out).to_pylist():
                row += 1
                see_no_nul(record, file, row)
                yield row, _named(record, names, file, row)


def is_quoted(rows: Iterable[tuple[int, str]]) -> bool:
    """Whether the lines of a TSV file are quoted as a CSV writer does it.

    They are if every cell with a quote in it is quoted as a whole, quotes inside doubled, and if something needed
    that: a doubled quote, a line end or tab inside a cell, or all of a row quoted. Else a text that merely begins
    and ends with a quote, as in the files of GLUE, would lose its quotes.
    """
    evidence = False
    record: list[str] = []
    for _, line in rows:
        if not record and '"' not in line:
            continue
        record.append(line)
        joined = "\n".join(record)
        if joined.count('"') % 2:
            if len(record) > _SNIFFED_LINES:
                return False
            continue
        if not _QUOTED_ROW.fullmatch(joined):
            return False
        try:
            cells = next(csv.reader(io.StringIO(joined, newline=""), delimiter="\t"))
        except csv.Error:  # A carriage return alone: no writer's quoting.
            return False
        # Lines that are whole rows when read plainly were never one row.
        if len(record) > 1 and all(line.count("\t") == len(cells) - 1 for line in record):
            return False
        needed = any(mark in cell for cell in cells for mark in '"\t\n')
        all_quoted = len(cells) > 1 and joined.count('"') == 2 * len(cells)
        evidence = evidence or needed or all_quoted
        record = []
    return evidence and not record


def _table(rows: Rows, spec: DataSpec, kinds: Mapping[str, type], file: str, notes: Notes) -> Iterator[Example]:
    """The examples of rows of cells, the first of which may name the columns."""
    fields = Fields.of(spec, kinds)
    records = Records(fields, file, notes)
    columns: list[str] = []
    header: list[str] | None = None
    for number, cells in rows:
        blank = not any(cell and not cell.isspace() for cell in cells)
        if blank and not (spec.wants_answers and columns and len(cells) == len(columns)):
            _blank(notes, file, number if Text in kinds.values() else None)
            continue
        if not columns:
            columns, is_header = _columns(cells, spec, file, number, notes)
            fields.check(columns, file, number, _NO_HEADER if is_header else "")
            if is_header:
                header = cells
                continue
        if cells == header and len(cells) > 1:
            notes.add(file, "row that repeats the first one left out of", "rows that repeat the first one left out of")
            continue
        if len(cells) != len(columns):
            raise PolyheadError(
                f"{counted(len(cells), 'cell')} where {counted(len(columns), 'cell')} should be: {short(cells[0])}",
                remedy="A cell that holds the delimiter must be quoted in CSV, and cannot be in TSV without quotes.",
                file=file,
                line=number,
            )
        record = {column: cell for column, cell in zip(columns, cells, strict=True) if column != UNUSED}
        if (example := records.example(record, number)) is not None:
            yield example


def _columns(cells: list[str], spec: DataSpec, file: str, line: int, notes: Notes) -> tuple[list[str], bool]:
    """The names of a table's columns from its first row and the spec, and whether that row is the header."""
    header = [cell.strip() for cell in cells]
    if isinstance(spec.layers, list) and spec.layers:
        names = roles(spec)
        is_header = spec.header
        if is_header is None:
            # A header where none is expected would become an example with the label "label".
            known = _HEADER_WORDS | {name.casefold() for name in spec.layers}
            is_header = len(header) > 1 and sum(cell.casefold() in known for cell in header) * 2 >= len(header)
            if is_header:
                what = "first row that names the columns (header = false would read it as data) left out of"
                notes.add(file, what, what)
        return names, is_header
    if spec.header is False:
        raise PolyheadError(
            "without a header nothing says what the columns are",
            remedy='List them in order, as layers = ["text", "label"].',
            file=file,
        )
    if "" in header:  # As the index that pandas writes.
        here = "without a name not used in"
        notes.add(file, f"column {here}", f"columns {here}", header.count(""))
        header = [name or UNUSED for name in header]
    _refuse_twice(header, file, line)
    return header, True


def _refuse_twice(columns: list[str], file: str, line: int | None = None) -> None:
    twice = {name for name in columns if columns.count(name) > 1 and name != UNUSED}
    if twice:
        what = f"two columns are called {min(twice)!r}"
        raise PolyheadError(what, remedy="Rename one of them.", file=file, line=line)


def quoted_rows(found: Lines, delimiter: str, file: str) -> Rows:
    """The rows of lines that are quoted as RFC 4180 has it."""
    reader = csv.reader((line + "\n" for _, line in found), delimiter=delimiter, strict=True)
    done = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _csv_error(error, done + 1, reader.line_num, delimiter, file) from None
        yield done + 1, cells
        done = reader.line_num


def _csv_error(error: csv.Error, first: int, last: int, delimiter: str, file: str) -> PolyheadError:
    if "unexpected end" in str(error):
        what = f"a quoted cell in the row that begins here does not end ({error})"
        return PolyheadError(what, remedy="Close the quote.", file=file, line=first)
    if "new-line character" in str(error):
        what = "a carriage return (CR) alone in a cell without quotes"
        return PolyheadError(what, remedy="Quote the cell, or take the sign out.", file=file, line=last)
    what = f"a quoted cell goes on after its closing quote ({error})"
    remedy = f'Double the quotes inside a quoted cell (""), and put {delimiter!r} straight after it.'
    return PolyheadError(what, remedy=remedy, file=file, line=last)


def _delimiter(found: Lines, spec: DataSpec) -> tuple[Lines, str]:
    """The delimiter of a CSV file, from its first lines, and all of its lines."""
    if spec.delimiter is not None:
        return found, spec.delimiter
    first = list(islice(found, _SNIFFED_LINES))

    def fitness(delimiter: str) -> tuple[bool, bool, int]:
        rows: list[list[str]] = []
        with suppress(csv.Error):  # a carriage return outside quotes: reading says so, with its line
            for row in csv.reader((line + "\n" for _, line in first), delimiter=delimiter):
                rows += [row] if row else []
        widths = {len(row) for row in rows[:-1] or rows}  # The last row may go on after the first lines.
        fits = (
            len(spec.layers) in widths
            if isinstance(spec.layers, list) and spec.layers
            else (bool(rows) and spec.column("text") in [cell.strip() for cell in rows[0]])
        )
        return fits, len(widths) == 1 and max(widths) > 1, max(widths, default=0)

    return chain(first, found), max(_DELIMITERS, key=fitness)


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Names of the classes of columns that hold their numbers, from the schema that ``datasets`` writes."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    names: dict[str, list[str]] = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        inner: Any = feature
        while isinstance(inner, dict) and isinstance(inner.get("feature"), dict):
            inner = inner["feature"]
        if isinstance(inner, list) and len(inner) == 1:
            inner = inner[0]
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
            names[column] = list(inner.get("names") or [])
    return names


def _named(record: dict[str, Any], names: Mapping[str, list[str]], file: str, row: int) -> dict[str, Any]:
    """A record with the names of its classes in place of their numbers; -1 stands for no label.

    Raises:
        PolyheadError: A number is no class.
    """

    def name(column: str, value: Any, known: list[str]) -> Any:
        if isinstance(value, list):
            return [name(column, one, known) for one in value]
        if not isinstance(value, int) or value == -1:
            return None if value == -1 else value
        if not 0 <= value < len(known):
            what = f"{column}: no class has the number {value}; the file names those of 0 to {len(known) - 1}"
            raise PolyheadError(what, remedy="Correct the number, or the names.", file=file, line=row)
        return known[value]

    for column, known in names.items():
        if column in record and known:
            record[column] = name(column, record[column], known)
    return record


def _plain(record: dict[str, Any], file: str, notes: Notes) -> dict[str, Any]:
    """A record whose values JSON can hold: NaN is null, dates and decimals are strings, bytes are left out."""

    def plain(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, bytes):
            raise TypeError
        return value if value is None or isinstance(value, str | int) else str(value)

    kept: dict[str, Any] = {}
    for column, value in record.items():
        try:
            kept[column] = plain(value)
        except TypeError:
            here = f"of {column!r} that JSON cannot hold, left out of"
            notes.add(file, f"value {here}", f"values {here}")
    return kept


def _blank(notes: Notes, file: str, line: int | None = None) -> None:
    notes.add(file, "empty line left out of", "empty lines left out of", line=line)
