"""Answers beside the columns of the Parquet file that the texts came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polyhead.data.example import Labels, Spans, Tree, WordLabels
from polyhead.data.parquet import groups_from, opened_parquet
from polyhead.data.spec import RESERVED
from polyhead.data.writers import CONFIDENCE
from polyhead.errors import PolyheadError

ROWS = 2**13
"""The rows of each group of a file that is written: how a file came about, in one go or from parts, changes no byte."""

_BATCH = 1024


def require_arrow() -> Any:
    """pyarrow, with its module for Parquet.

    Raises:
        PolyheadError: It is not installed.
    """
    try:
        import pyarrow as arrow
        import pyarrow.parquet
    except ImportError:
        raise PolyheadError("writing Parquet needs pyarrow", remedy="pip install pyarrow") from None
    return arrow


def answer_types(kinds: Mapping[str, type], *, confidence: bool) -> dict[str, Any]:
    """The Arrow types of the fields that ``to_dict`` gives to layers of these kinds."""
    arrow = require_arrow()
    words = _list_of(arrow.string())
    sure = [("confidence", arrow.float64())] if confidence else []
    span = arrow.struct([("start", arrow.int64()), ("end", arrow.int64()), ("label", arrow.string()), *sure])
    known = {
        float: arrow.float64(),
        Labels: words,
        WordLabels: words,
        Spans: _list_of(span),
        Tree: arrow.struct([("heads", _list_of(arrow.int64())), ("relations", words)]),
    }
    types: dict[str, Any] = {}
    for layer, kind in kinds.items():
        name = f"{layer}_" if layer in RESERVED else layer
        types[name] = known.get(kind, arrow.string())
        if confidence and kind is not Spans:
            each = kind in (WordLabels, Tree)
            types[name + CONFIDENCE] = _list_of(arrow.float64()) if each else arrow.float64()
    return types


def _list_of(type_: Any) -> Any:
    """The type of a list, its elements called as in Parquet: so it is the same when it is read and written again."""
    arrow = require_arrow()
    return arrow.list_(arrow.field("element", type_))


def sentence_type(kinds: Mapping[str, type], *, confidence: bool) -> Any:
    """The Arrow type of the sentences of a text whose words have layers of these kinds."""
    arrow = require_arrow()
    own = {"text": arrow.string(), "words": _list_of(arrow.string())}
    return _list_of(arrow.struct(list((own | answer_types(kinds, confidence=confidence)).items())))


def columns_of(path: Path) -> list[str]:
    """The names of a Parquet file's columns.

    Raises:
        PolyheadError: It cannot be read, or is not Parquet.
    """
    with opened_parquet(path) as table:
        return list(table.schema_arrow.names)


class ParquetWriter:
    """Writes the columns of Parquet files with answers beside them; an answer takes the place of a column of its name.

    Args:
        path: The file to write.
    """

    def __init__(self, path: Path) -> None:
        self.arrow = require_arrow()
        self.path = path
        self.types: dict[str, Any] = {}
        self.rows: Iterator[Any] = iter(())
        self.source: Path | None = None
        self.waiting: list[Mapping[str, object]] = []
        self.groups: _Groups | None = None

    def begin(self, source: Path, types: Mapping[str, Any], first: int = 0) -> None:
        """The answers that follow are for the rows of this file, from this one on, counted from 0.

        Raises:
            PolyheadError: It cannot be read, or has other columns than the file before it.
        """
        self._flush()
        self.source, self.types = source, dict(types)
        with opened_parquet(source) as table:
            schema = self._schema(table.schema_arrow)
        if self.groups is None:
            self.groups = _Groups(self.arrow, self.path, schema)
        elif not self.groups.schema.equals(schema):
            what = "this file has other columns than the one before it, and a Parquet file has the same in all rows"
            raise PolyheadError(what, remedy="Write a file for each, or JSONL.", file=source)
        self.rows = _batches(source, first)

    def add(self, record: Mapping[str, object]) -> None:
        """The answers for the next row, as ``to_dict`` gives them."""
        self.waiting.append(record)
        if len(self.waiting) == _BATCH:
            self._flush()

    @property
    def finished(self) -> int:
        """How many rows were written."""
        return self.groups.finished if self.groups else 0

    def close(self) -> None:
        """Write what waits, and the file's end."""
        self._flush()
        if self.groups is not None:
            self.groups.close()

    def _schema(self, schema: Any) -> Any:
        for name, type_ in self.types.items():
            field = self.arrow.field(name, type_)
            at = schema.get_field_index(name)
            schema = schema.append(field) if at < 0 else schema.set(at, field)
        # What names the columns of a dataset for Hugging Face's library does not know of answers.
        kept = {key: value for key, value in (schema.metadata or {}).items() if key != b"huggingface"}
        return schema.with_metadata(kept or None)

    def _flush(self) -> None:
        """Put the answers that wait beside their rows."""
        waiting, self.waiting = self.waiting, []
        while waiting:
            batch = next(self.rows)
            now, waiting = waiting[: batch.num_rows], waiting[batch.num_rows :]
            if len(now) < batch.num_rows:
                self.rows = _put_back(batch.slice(len(now)), self.rows)
                batch = batch.slice(0, len(now))
            assert self.groups is not None
            columns = [
                self._answers(name, now) if name in self.types else batch.column(name)
                for name in self.groups.schema.names
            ]
            self.groups.add(self.arrow.RecordBatch.from_arrays(columns, schema=self.groups.schema))

    def _answers(self, name: str, records: Sequence[Mapping[str, object]]) -> Any:
        values = [record.get(name) for record in records]
        try:
            return self.arrow.array(values, type=self.types[name])
        except (self.arrow.ArrowException, TypeError) as error:
            what = f"answers of {name!r} that are not of one kind, as a Parquet column has it: {error}"
            remedy = "Spans are tags where words do not spell their text: mend that, or write JSONL."
            raise PolyheadError(what, remedy=remedy, file=self.source) from None


def join_parquet(parts: Iterable[Path], path: Path) -> None:
    """Write the rows of several files with the same columns as one."""
    arrow = require_arrow()
    groups: _Groups | None = None
    for part in parts:
        with arrow.parquet.ParquetFile(str(part)) as table:
            groups = groups or _Groups(arrow, path, table.schema_arrow)
            for batch in table.iter_batches(batch_size=_BATCH):
                groups.add(batch)
    if groups is not None:
        groups.close()


class _Groups:
    """A Parquet file that is written by groups of ``ROWS`` rows, whatever pieces they come in."""

    def __init__(self, arrow: Any, path: Path, schema: Any) -> None:
        self.arrow, self.schema = arrow, schema
        self.file = arrow.parquet.ParquetWriter(str(path), schema)
        self.waiting: list[Any] = []
        self.finished = 0

    def add(self, batch: Any) -> None:
        """Add rows."""
        self.waiting.append(batch)
        while sum(one.num_rows for one in self.waiting) >= ROWS:
            rows = self._table()
            self._write(rows.slice(0, ROWS))
            self.waiting = rows.slice(ROWS).to_batches()

    def close(self) -> None:
        """Write what is left, and the file's end."""
        rows = self._table()
        if rows.num_rows:
            self._write(rows)
        self.file.close()

    def _table(self) -> Any:
        return self.arrow.Table.from_batches(self.waiting, schema=self.schema)

    def _write(self, rows: Any) -> None:
        self.finished += rows.num_rows
        self.file.write_table(rows.combine_chunks(), row_group_size=ROWS)


def _batches(source: Path, first: int) -> Iterator[Any]:
    """The rows of a file from one on, as batches."""
    with opened_parquet(source) as table:
        groups, row = groups_from(table.metadata, first)
        for batch in table.iter_batches(batch_size=_BATCH, row_groups=groups):
            left_out = min(max(0, first - row), batch.num_rows)
            row += batch.num_rows
            if left_out < batch.num_rows:
                yield batch.slice(left_out)


def _put_back(batch: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield batch
    yield from rest
