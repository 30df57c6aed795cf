r"""Escapes for the MISC column of CoNLL-U, which cannot hold ``|``, tabs and line ends: those that UDPipe writes.

Source: https://ufal.mff.cuni.cz/udpipe/1/users-manual#run_udpipe_tokenizer (SpacesAfter).
"""

from __future__ import annotations

import re

_ESCAPES = {"|": r"\p", "\t": r"\t", "\r": r"\r", "\n": r"\n", "\\": r"\\"}
_SIGNS = {escaped: sign for sign, escaped in _ESCAPES.items()} | {r"\s": " "}


def escape(value: str) -> str:
    r"""A value as the MISC column can hold it: ``\p`` for ``|``, and so on. Most values are themselves."""
    return re.sub(r"[|\t\r\n\\]", lambda sign: _ESCAPES[sign[0]], value)


def unescape(value: str) -> str:
    """The value that was escaped; a backslash before any other sign stands for itself."""
    return re.sub(r"\\.", lambda escaped: _SIGNS.get(escaped[0], escaped[0]), value) if "\\" in value else value
