"""Reads column files: one word on each line with its labels beside it, an empty line between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypeAlias

from polyhead.data.example import KIND_NAMES, WORDS, Example, Frame, Spans, Value, WordLabels
from polyhead.data.spec import UNUSED, DataSpec
from polyhead.data.text import Notes, Source, counted, lines, name_of, short
from polyhead.errors import PolyheadError, nearest

DOCSTART = "-DOCSTART-"
_BLANKS = re.compile(r"[ \t]+")  # Not str.split(): a no-break space belongs to its word.
_LOOKAHEAD = 50
_EXAMPLE = 'For example: layers = ["words", "_", "entities"].'
_KEY_COMMENT = re.compile(r"#\s*[^\s=]+ = ")

Row: TypeAlias = tuple[str, ...]


def is_comment(line: str, delimiter: str | None, width: int) -> bool:
    """Whether a line before the words of a sentence can only be a comment.

    A token ``#`` with its columns is a word, and so is a hashtag.

    Args:
        line: The line.
        delimiter: What stands between columns; None: any run of spaces and tabs.
        width: How many columns there are.
    """
    if not line.startswith("#"):
        return False
    if _KEY_COMMENT.match(line):
        return True
    if delimiter is not None and width > 1:
        return delimiter not in line
    return line.startswith("# ") and len(_between_blanks(line)) != width


def _between_blanks(line: str) -> Row:
    return tuple(_BLANKS.split(line.strip(" \t")))


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the lines of one file divide.

    Attributes:
        file: The file, for errors and examples.
        names: What each column is: words, a layer, or _.
        delimiter: What stands between columns; None: any run of spaces and tabs.
    """

    file: str
    names: tuple[str, ...]
    delimiter: str | None

    def split(self, line: str) -> Row:
        if self.delimiter is None:
            return _between_blanks(line)
        cells = line.split(self.delimiter)
        # A space after a label would make another label of it.
        return tuple([cell.strip(" ") for cell in cells]) if " " in line else tuple(cells)

    def examples(self, comments: list[str], rows: list[Row], numbers: list[int]) -> Iterator[Example]:
        """The example of one sentence; none if it has no rows."""
        if not rows:
            return
        if set(map(len, rows)) != {len(self.names)} or any("" in row for row in rows):
            raise self._broken(rows, numbers)
        columns = list(zip(*rows, strict=True))
        layers: dict[str, Value] = {}
        for name, column in zip(self.names, columns, strict=True):
            if name not in (WORDS, UNUSED):
                layers[name] = WordLabels(column)
        yield Example(
            words=columns[self.names.index(WORDS)],
            layers=layers,
            file=self.file,
            line=numbers[0],
            lines=tuple(numbers),
            frame=Frame(tuple(comments), tuple(rows)),
        )

    def _broken(self, rows: list[Row], numbers: list[int]) -> PolyheadError:
        """The error for the first broken row."""
        n = len(self.names)
        number, row = next(
            (number, row) for number, row in zip(numbers, rows, strict=True) if len(row) != n or "" in row
        )
        shown = short((self.delimiter or " ").join(row))
        if len(row) == n:
            what = f"column {row.index('') + 1} ({self.names[row.index('')]}) is empty: {shown}"
            return PolyheadError(what, remedy="Give every word a label.", file=self.file, line=number)
        between = {None: "white space", "\t": "a tab"}.get(self.delimiter, repr(self.delimiter))
        what = f"{counted(len(row), 'column')}, but `layers` names {n} (with {between} between): {shown}"
        remedy = "Name every column in `layers`, with _ for one that is not used; `delimiter` says what divides them."
        return PolyheadError(what, remedy=remedy, file=self.file, line=number)


def read_columns(source: Source, spec: DataSpec, kinds: Mapping[str, type], notes: Notes) -> Iterator[Example]:
    """Each sentence of a column file; every layer is a label per word, span tags too.

    The scheme of span tags shows only over a whole split, so they become spans later (see ``tags``). Lines that
    are empty or hold only white space separate sentences; -DOCSTART- lines are left out and counted.

    Raises:
        PolyheadError: A row has more or fewer columns than ``layers`` names, or a cell is empty.
    """
    file = name_of(source)
    found = lines(source)
    first = list(islice(found, _LOOKAHEAD))
    layout = _layout([line for _, line in first], spec, kinds, file, notes)
    comments: list[str] = []
    rows: list[Row] = []
    numbers: list[int] = []
    for number, line in chain(first, found):
        if not line or line.isspace():
            if rows:
                yield from layout.examples(comments, rows, numbers)
                comments, rows, numbers = [], [], []
        elif line.startswith(DOCSTART):
            what = f"{DOCSTART} line left out of"
            notes.add(file, what, what.replace("line", "lines"))
        elif not rows and is_comment(line, layout.delimiter, len(layout.names)):
            comments.append(line)
        else:
            rows.append(layout.split(line))
            numbers.append(number)
    yield from layout.examples(comments, rows, numbers)


def _layout(first: list[str], spec: DataSpec, kinds: Mapping[str, type], file: str, notes: Notes) -> _Layout:
    """The layout of a file, from the spec and the file's first lines.

    Raises:
        PolyheadError: ``layers`` names no words, or not a layer that is wished for.
    """
    if isinstance(spec.layers, dict):
        raise PolyheadError("`layers` of a column file is a list of names in column order", remedy=_EXAMPLE, file=file)
    likely = [line for line in first if line and not line.isspace() and not line.startswith((DOCSTART, "# "))]
    delimiter = spec.delimiter
    if delimiter is None:
        delimiter = "\t" if likely and "\t" in likely[0] else None
    elif delimiter == " ":
        delimiter = None  # Files that align their columns put several spaces between them.
    names = tuple(spec.layers)
    if not names:
        unnamed = len(_Layout(file, (), delimiter).split(likely[0])) - 1 if likely else 0
        names = (WORDS, *[UNUSED] * unnamed)
        here = "after the words not used (`layers` names none) in"
        notes.add(file, f"column {here}", f"columns {here}", unnamed)
    if WORDS not in names:
        raise PolyheadError(f"`layers` does not say which column holds the words: {list(names)}", remedy=_EXAMPLE)
    for layer, kind in kinds.items():
        if layer not in names:
            known = [name for name in names if name not in (WORDS, UNUSED)]
            raise PolyheadError(
                f"no column {layer!r} in `layers`", remedy=f"{nearest(layer, known)} {_EXAMPLE}", file=file
            )
        if kind not in (WordLabels, Spans):
            wanted = KIND_NAMES.get(kind, kind.__name__)
            raise PolyheadError(
                f"column {layer!r} gives a label per word or spans, and a task wants {wanted}",
                remedy="Keep trees as CoNLL-U, and labels of whole texts as CSV or JSONL.",
                file=file,
            )
    return _Layout(file, names, delimiter)
