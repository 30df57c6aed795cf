"""The one error that users see: where it is, what is wrong, and what would mend it."""

from __future__ import annotations

import difflib
import os
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


def nearest(value: str, known: Iterable[str]) -> str:
    """A remedy that names the known word nearest to ``value``, or all of them where none is near."""
    words = sorted(known)
    close = difflib.get_close_matches(value, words, n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(words) or 'none'}."


def from_here(text: str) -> str:
    """A message with the paths below the current folder written from here, as the user wrote them."""
    return text.replace(f"{Path.cwd()}{os.sep}", "")
