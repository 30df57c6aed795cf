"""Lines of text files, and notes of what the readers left out: what all readers share."""

from __future__ import annotations

import gzip
import io
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from polyhead.data.example import Example
from polyhead.data.spec import DataSpec
from polyhead.errors import PolyheadError, nearest

Source: TypeAlias = str | Path | BinaryIO
"""A path, ``-`` for standard input, or an open binary file."""

GZIP_MAGIC = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_NAMED = 5  # Lines that a note names.
_BLOCK = 1 << 18  # Bytes read at a time.
ONE_SIDED = ("pair with an empty side left out of", "pairs with an empty side left out of")
"""The note on a text that has no other one to be learnt from it, or the other way round."""

_NO_TEXT = (
    "the file is not UTF-8 text: it looks like UTF-16, or is binary",
    "Save the file as UTF-8 (iconv -f utf-16 -t utf-8), or set `format` if it is of another format; "
    "take a stray NUL byte out (tr -d '\\000').",
)
_MARK = re.compile(rb"(?:\A|\n)(?=\xef\xbb\xbf)")
_ALONE = re.compile(rb"\r(?!\n|\Z)")


class Notes:
    """What was left out or done by choice, counted by file, in the order of first occurrence."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._lines: dict[tuple[str, str, str], list[int]] = {}

    def add(self, file: str, one: str, many: str, count: int = 1, *, line: int | None = None) -> None:
        """Counts one thing: ``one`` and ``many`` are the words for it, as ``"empty line left out"``.

        Args:
            file: Where it stands.
            one, many: The words for it.
            count: How many there are.
            line: Its line, where the note is to name it; the first few are named.
        """
        if not count:
            return
        what = file, one, many
        self._counts[what] += count
        if line is not None and len(found := self._lines.setdefault(what, [])) < _NAMED:
            found.append(line)

    def entries(self) -> list[tuple[str, str, str, int, list[int]]]:
        """What was counted, as plain data: the file, the words for one and for many, how many, and the lines named."""
        return [(*what, count, self._lines.get(what, [])) for what, count in self._counts.items()]

    def take(self, entries: Iterable[Sequence[Any]]) -> None:
        """Add what was counted elsewhere."""
        for file, one, many, count, lines_ in entries:
            self.add(file, one, many, count)
            if lines_:
                found = self._lines.setdefault((file, one, many), [])
                found[:] = sorted([*found, *lines_])[:_NAMED]

    def __iter__(self) -> Iterator[str]:
        """Each note, as ``3 empty lines left out of x.tsv`` or ``2 pairs left out of x.tsv: lines 4, 9``."""
        for what, count in self._counts.items():
            file, one, many = what
            named = self._lines.get(what, [])
            more = f" and {count - len(named):,} more" if count > len(named) else ""
            lines_ = f": line{'s' * (count > 1)} {', '.join(map(str, named))}{more}" if named else ""
            yield f"{count:,} {one if count == 1 else many} {file}{lines_}"


def name_of(source: Source) -> str:
    """What errors and examples call a source."""
    if isinstance(source, str | Path):
        return "<stdin>" if str(source) == "-" else str(source)
    return str(getattr(source, "name", "<stream>"))


def is_stream(source: Source) -> bool:
    """Whether a source can be read only once: standard input, an open file, a pipe."""
    if not isinstance(source, str | Path) or str(source) == "-":
        return True
    path = Path(source)
    return path.exists() and not path.is_file() and not path.is_dir()


def short(value: object, width: int = 60) -> str:
    """A value as errors show it: quoted, and cut where it is long."""
    shown = repr(value)
    return shown if len(shown) <= width else shown[: width - 4] + "..." + shown[-1]


def counted(count: int, noun: str) -> str:
    """A number of things, as ``1 cell`` and ``2 cells``."""
    return f"{count:,} {noun}" + "s" * (count != 1)


@contextmanager
def opened(source: Source) -> Iterator[io.BufferedReader]:
    """A source opened for reading bytes, gzip undone where its content is gzip; closes only what it opened.

    Raises:
        PolyheadError: The file is missing, is a folder, cannot be opened or read, or is broken gzip.
    """
    own: list[io.BufferedReader] = []
    if isinstance(source, str | Path) and str(source) != "-":
        own.append(_open(Path(source)))
        reader = own[0]
    else:
        stream = sys.stdin.buffer if isinstance(source, str | Path) else source
        # At run time a BufferedReader takes any binary file; the stubs ask for a raw one.
        reader = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream))
    try:
        if reader.peek(2)[:2] == GZIP_MAGIC:
            yield io.BufferedReader(gzip.GzipFile(fileobj=reader))
        else:
            yield reader
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        remedy = "Fetch or compress the file anew."
        raise PolyheadError(f"broken gzip: {error}", remedy=remedy, file=name_of(source)) from None
    except OSError as error:
        remedy = "See that its disk or network can be read, or fetch the file anew."
        what = f"cannot read the file: {error.strerror or error}"
        raise PolyheadError(what, remedy=remedy, file=name_of(source)) from None
    finally:
        if own:
            own[0].close()
        elif reader is not source and reader is not sys.stdin.buffer:
            reader.detach()  # Else the wrapper would close the caller's file when it goes.


def _open(path: Path) -> io.BufferedReader:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise missing_file(path) from None
    except IsADirectoryError:
        raise PolyheadError("this is a folder, not a file", remedy="Name a file in it.", file=path) from None
    except OSError as error:
        remedy = "See that the path is right and that you may read it."
        raise PolyheadError(f"cannot open the file: {error.strerror}", remedy=remedy, file=path) from None


def missing_file(path: Path) -> PolyheadError:
    """The error for a file that is not there; its remedy names the nearest file that is."""
    folder = path.parent
    if not folder.is_dir():
        return PolyheadError("no such file", remedy=f"There is no folder {str(folder)!r} either.", file=path)
    siblings = [entry.name for entry in folder.iterdir() if entry.is_file()]
    close = nearest(path.name, siblings)
    return PolyheadError("no such file", remedy=close if close.startswith("Did") else "Check the path.", file=path)


def lines(source: Source, *, returns: bool = False) -> Iterator[tuple[int, str]]:
    r"""Each line of a UTF-8 text file with its number, counted from 1, without its line end.

    A byte order mark is dropped; lines end with ``\n`` or ``\r\n`` and nothing else (a line separator
    such as U+2028 stays in its line); gzip is recognised by its content. The file is streamed.

    Args:
        source: The file.
        returns: Whether a line may hold a carriage return, as in a quoted cell; the caller sees to the others.

    Raises:
        PolyheadError: The file cannot be opened, is broken gzip, is no UTF-8 text, has line ends of a carriage return
            alone or one inside a line, or has a byte order mark at the start of another line than the first.
    """
    done = 0
    for block in _blocks(source):
        try:
            found = _split(_decoded(block, first=done == 0, returns=returns))
        except _BrokenError as fault:
            place, what, remedy = fault.args
            yield from enumerate(_split(block[: block.rfind(b"\n", 0, place) + 1].decode("utf-8")), start=done + 1)
            line = done + block.count(b"\n", 0, place) + 1
            raise PolyheadError(what, remedy=remedy, file=name_of(source), line=line) from None
        yield from enumerate(found, start=done + 1)
        done += len(found)


def _split(text: str) -> list[str]:
    """The lines of a block of whole lines."""
    found = text.split("\n")
    if not found[-1]:
        found.pop()  # What follows the last line end is no line.
    if "\r\n" in text or text.endswith("\r"):
        return [line.removesuffix("\r") for line in found]
    return found


def _blocks(source: Source) -> Iterator[bytes]:
    """The bytes of a source in blocks of whole lines: decoding a block is far faster than decoding its lines."""
    parts: list[bytes] = []
    first = True
    with opened(source) as stream:
        while True:
            part = stream.read1(_BLOCK)
            end = part.rfind(b"\n") + 1 if part else 0
            if part and not end:
                parts.append(part)
                continue
            block = b"".join((*parts, part[:end]))
            parts = [part[end:]]
            if block:
                yield block.removeprefix(BOM) if first else block
                first = False
            if not part:
                return


class _BrokenError(Exception):
    """``(byte of the block, what is wrong, remedy)``."""


def _decoded(block: bytes, *, first: bool, returns: bool) -> str:
    """The text of a block.

    Raises:
        _BrokenError: It is no UTF-8 text, or not one text, or holds a carriage return that it may not hold.
    """
    if block.startswith(UTF16_MARKS):
        raise _BrokenError(0, *_NO_TEXT)
    zero, alone = block.find(b"\0"), -1 if returns else _alone(block)
    end = min((place for place in (zero, alone) if place >= 0), default=len(block))
    try:
        text = (block if end == len(block) else block[:end]).decode("utf-8")
    except UnicodeDecodeError as error:
        place = error.start - (block.rfind(b"\n", 0, error.start) + 1)
        what = f"byte 0x{block[error.start]:02x} at byte {place + 1} of the line is not UTF-8"
        remedy = "Save the file as UTF-8 (iconv -f latin-1 -t utf-8, if it is Latin-1)."
        raise _BrokenError(error.start, what, remedy) from None
    if "\ufeff" in text and (mark := _MARK.search(block, 0, end)):
        what = "a byte order mark where no file begins: two files were joined here"
        raise _BrokenError(mark.end(), what, "Give the files one by one, or take the mark out.")
    if zero == end:
        raise _BrokenError(zero, *_NO_TEXT)
    if first and b"\n" not in block and b"\r" in block.removesuffix(b"\r"):
        what = "the lines end with a carriage return (CR) alone, as on old Macintosh computers"
        raise _BrokenError(0, what, "Save the file with line ends of Unix or Windows (tr '\\r' '\\n').")
    if alone == end:
        place = alone - block.rfind(b"\n", 0, alone)
        what = f"a carriage return (CR) alone at byte {place} of the line"
        raise _BrokenError(alone, what, "Take the sign out; if a line ends there, put a line feed (LF) in its place.")
    return text


def _alone(block: bytes) -> int:
    """Where a block of whole lines holds a carriage return that no line feed follows; -1 if nowhere."""
    if b"\r" not in block or block.count(b"\r") == block.count(b"\r\n"):  # far faster than looking for the place
        return -1
    found = _ALONE.search(block)
    return found.start() if found else -1  # at the end of a file it is half a line end


def read_text(source: Source, spec: DataSpec, _kinds: Mapping[str, type], notes: Notes) -> Iterator[Example]:
    """Plain text: each line that is not blank is one example with a text and no layers."""
    name = name_of(source)
    for number, line in lines(source):
        if (not line or line.isspace()) and not spec.keeps_blank:
            notes.add(name, "empty line left out of", "empty lines left out of")
        else:
            yield Example(text=line, file=name, line=number)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names for a sentence: the first few, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
