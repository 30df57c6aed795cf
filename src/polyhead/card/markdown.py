"""Text of any origin in Markdown: what stands in data cannot end a cell, open a link or become HTML."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*\[\]<|~&$]|(?<![^\W_])_|_(?![^\W_]))")
_START = re.compile(r"([-+=#>]|\d+(?=[.)]))")


def plain(value: object) -> str:
    """A value as text within a line, which Markdown shows as it is (CommonMark lets every ASCII sign be escaped)."""
    text = " ".join("".join(" " if _unseen(sign) else sign for sign in str(value)).split())
    return _SPECIAL.sub(r"\\\1", text)


def paragraph(value: object) -> str:
    """The same as a line of its own, which is no heading, list or quotation."""
    text = plain(value)
    found = _START.match(text)
    if found is None:
        return text
    return f"\\{text}" if not found[1].isdigit() else f"{found[1]}\\{text[found.end() :]}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def fenced(text: str, language: str) -> str:
    """A block of code, between fences that are longer than any in it."""
    longest = max((len(found) for found in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def _unseen(sign: str) -> bool:
    """Whether a sign is a control, a line end, or one that turns the direction of what follows."""
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")
