"""The one error that users see: where it is, what is wrong, and what would mend it."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


class PolyheadError(Exception):
    """A fault in what the user gave: a recipe, a file, an argument.

    Printed without a traceback by the command line as ``file:line: what (remedy)``.

    Args:
        what: What is wrong, with the value that is wrong.
        remedy: What the user can do about it.
        file: The file at fault, if one is.
        line: The line in that file, counted from 1.
    """

    def __init__(
        self,
        what: str,
        *,
        remedy: str = "",
        file: str | Path | None = None,
        line: int | None = None,
    ) -> None:
        self.what = what
        self.remedy = remedy
        self.file = None if file is None else str(file)
        self.line = line
        super().__init__(str(self))

    def __str__(self) -> str:
        where = ""
        if self.file is not None:
            where = f"{self.file}:{self.line}: " if self.line is not None else f"{self.file}: "
        return f"{where}{self.what}" + (f"\n  {self.remedy}" if self.remedy else "")


_REMEDIES = {
    "See that you have permission, or choose another place.": (errno.EACCES, errno.EPERM, errno.EROFS),
    "Make room, or choose another place.": (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    "What stands before the last / must be a folder.": (errno.ENOTDIR, errno.EEXIST),
    "Give a file, not a folder.": (errno.EISDIR,),
    "Choose a shorter name.": (errno.ENAMETOOLONG,),
}


def is_refusal(error: BaseException) -> bool:
    """Whether an error is the system's. Libraries written in Rust say so in errors of their own."""
    return isinstance(error, OSError) or _RUST.search(str(error)) is not None


def refused(error: BaseException, file: str | Path | None = None, doing: str = "") -> PolyheadError:
    """What the system refused, as users see it: the path, the reason, and a remedy that fits the reason.

    Args:
        error: An error of which ``is_refusal`` is true.
        file: The path that the user gave; by default the one that the error names.
        doing: What could not be done, as "Cannot write".
    """
    rust = _RUST.search(str(error))
    number = int(rust[1]) if rust else getattr(error, "errno", None)
    file = getattr(error, "filename", None) if file is None else file
    remedy = next((remedy for remedy, numbers in _REMEDIES.items() if number in numbers), "")
    if number == errno.ENOENT:
        remedy = "Check the path." if _here() else "The current folder is gone: go to another one."
    said = getattr(error, "strerror", None) or error
    return PolyheadError(f"{doing}: {said}." if doing else f"{said}.", remedy=remedy, file=file)


_RUST = re.compile(r"\(os error (\d+)\)")


def nearest(value: str, known: Iterable[str]) -> str:
    """A remedy that names the known word nearest to ``value``, or all of them where none is near."""
    words = sorted(known)
    close = difflib.get_close_matches(value, words, n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(words) or 'none'}."


def in_recipe(error: PolyheadError, file: Path, text: str, key: str = "") -> PolyheadError:
    """An error about a recipe, with the recipe's file and the line of the key at fault.

    Args:
        error: A message that begins with the key as ``tasks.pos.layer``, or names it as unknown.
        file: The recipe.
        text: What stands in it.
        key: The key, for messages that do not begin with one.
    """
    line = _line_of(text, error.what) or _line_of(text, key)
    return PolyheadError(error.what, remedy=error.remedy, file=file, line=line)


def _line_of(text: str, what: str) -> int | None:
    """The line of the key that a message speaks of, or of the table around it."""
    unknown = re.search(r"unknown key '([^']*)'", what)
    named = re.match(rf"{_KEY}(?:\[\d+\]|\.{_KEY})*", what)
    places = [named[0] if named and not what.startswith("The ") else "", unknown[1] if unknown else ""]
    parts = tuple(part for place in places for part in _parts(place))
    lines = _lines(text)
    while parts and parts not in lines:
        parts = parts[:-1]
    return lines.get(parts)


_KEY = r"""(?:"[^"]*"|'[^']*'|[\w-]+)"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """The line of each table and of each key that starts a line; tables of a list are numbered from 1."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    tables: Counter[str] = Counter()
    for number, line in enumerate(text.split("\n"), 1):
        if header := re.match(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]", line):
            first, *rest = table = _parts(header[2])
            tables[first] += header[1] == "[["
            table = (first, str(tables[first]), *rest) if tables[first] else table
            lines.setdefault(table, number)
        elif key := re.match(rf"\s*({_DOTTED})\s*=", line):
            lines.setdefault((*table, *_parts(key[1])), number)
    return lines


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_KEY, dotted))


def from_here(text: str) -> str:
    """A message with the paths below the current folder written from here, as the user wrote them."""
    here = _here()
    return text.replace(f"{here}{os.sep}", "") if here else text


def _here() -> str:
    """The current folder; nothing if somebody deleted it."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""
