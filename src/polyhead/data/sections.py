"""Stretches of a file that can be read without what stands before them, so that many may work on one big file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path

from polyhead.data.example import Example
from polyhead.data.readers import read
from polyhead.data.spec import DataSpec
from polyhead.data.tables import read_parquet
from polyhead.data.text import GZIP_MAGIC, Notes, opened
from polyhead.errors import PolyheadError

BY_BYTES = ("text", "jsonl", "conllu")
"""The formats whose sections are stretches of bytes; the first two hold an example on each line, the last one blocks
between empty lines. Of Parquet the rows before a section are not read either; of others they are read, and left out."""


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a file.

    Attributes:
        first: How many examples stand before it.
        count: How many it holds.
        line: The line that it begins on, counted from 1, if it is a stretch of bytes.
        start, end: The bytes that it is; ``end`` is None where bytes do not say it.
    """

    first: int
    count: int
    line: int = 1
    start: int = 0
    end: int | None = None


def cut(path: Path, spec: DataSpec, groups: Iterable[Sequence[Example]], most: int) -> list[Section]:
    """The sections of a file, of at most so many groups of examples each.

    Args:
        path: The file.
        spec: How it is read; it names the format.
        groups: All of the file's examples, those that belong together in one group.
        most: How many groups a section may have.
    """
    counts: list[int] = []
    lines: list[int] = []
    for number, group in enumerate(groups):
        if number % most == 0:
            counts.append(0)
            lines.append(group[0].line or 1)
        counts[-1] += len(group)
    firsts = [0, *accumulate(counts[:-1])] if counts else []
    if spec.format not in BY_BYTES or len(counts) < 2 or _is_gzip(path):
        return [Section(first, count) for first, count in zip(firsts, counts, strict=True)]
    places = [(1, 0), *_places(path, lines[1:], blocks=spec.format == "conllu")]
    ends = [*(start for _, start in places[1:]), path.stat().st_size]
    return [
        Section(first, count, line, start, end)
        for first, count, (line, start), end in zip(firsts, counts, places, ends, strict=True)
    ]


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == GZIP_MAGIC


def _places(path: Path, wanted: Sequence[int], *, blocks: bool) -> Iterator[tuple[int, int]]:
    """Where to begin reading for examples on these lines: a line, and the byte that it begins at.

    Args:
        path: The file.
        wanted: Lines, in their order.
        blocks: Whether an example begins after the last empty line before its own.
    """
    place, byte = (1, 0), 0
    following = iter(wanted)
    next_one = next(following, None)
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not blocks:
                place = (number, byte)
            while number == next_one:
                yield place
                next_one = next(following, None)
            if next_one is None:
                return
            byte += len(line)
            # As the reader has it blanks of Unicode are blank, too; decoding every line would be slow.
            if blocks and not line[:1].isdigit() and not line.decode("utf-8", "replace").strip():
                place = (number + 1, byte)


class SectionReader:
    """Reads sections of files, those of one file best in their order.

    Where a section cannot be found by its bytes or rows the file is read from its beginning, and what follows the last
    section from there: so all sections of a file in their order are one pass over it.
    """

    def __init__(self) -> None:
        self.open: tuple[Path, DataSpec] | None = None
        self.examples: Iterator[Example] = iter(())
        self.at = 0

    def __call__(
        self, path: Path, spec: DataSpec, section: Section, kinds: Mapping[str, type], notes: Notes
    ) -> Iterator[Example]:
        """The examples of a section, as :func:`polyhead.data.readers.read` gives them among all of the file's.

        Raises:
            PolyheadError: As there, with the same lines.
        """
        if section.end is not None:
            return _from_bytes(path, spec, section, kinds, notes)
        if spec.format == "parquet":
            return islice(read_parquet(path, spec, kinds, notes, first=section.first), section.count)
        return self._from_examples(path, spec, section, kinds, notes)

    def _from_examples(
        self, path: Path, spec: DataSpec, section: Section, kinds: Mapping[str, type], notes: Notes
    ) -> Iterator[Example]:
        if self.open != (path, spec) or section.first < self.at:
            self.examples, self.at = read(path, spec, kinds, notes), 0
        self.open = None  # until this section is read to its end
        left_out, self.at = section.first - self.at, section.first
        for example in islice(self.examples, left_out, left_out + section.count):
            self.at += 1
            yield example
        self.open = path, spec


def _from_bytes(
    path: Path, spec: DataSpec, section: Section, kinds: Mapping[str, type], notes: Notes
) -> Iterator[Example]:
    before = section.line - 1
    with opened(path) as whole, closing(_Stretch(whole, str(path), section)) as stretch:
        try:
            for example in read(io.BufferedReader(stretch), spec, kinds, notes):
                lines = None if example.lines is None else tuple(line + before for line in example.lines)
                yield replace(example, line=(example.line or 1) + before, lines=lines) if before else example
        except PolyheadError as error:
            line = None if error.line is None else error.line + before
            raise PolyheadError(error.what, remedy=error.remedy, file=error.file, line=line) from error


class _Stretch(io.RawIOBase):
    """A stretch of an open file as a file of its own."""

    def __init__(self, stream: io.BufferedReader, name: str, section: Section) -> None:
        super().__init__()
        self.stream, self.name = stream, name
        self.left = (section.end or 0) - section.start
        stream.seek(section.start)

    def readable(self) -> bool:
        """It is read alone."""
        return True

    def readinto(self, buffer: object) -> int:
        """The next bytes, none at the end of the stretch."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        found = self.stream.read(min(self.left, len(view)))
        view[: len(found)] = found
        self.left -= len(found)
        return len(found)
