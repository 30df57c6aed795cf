"""The one error that users see: where it is, what is wrong, and what would mend it."""

from __future__ import annotations

import difflib
import errno
import os
import re
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
