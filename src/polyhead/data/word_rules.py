"""spaCy's rule tokenizer in plain Python, over rules that are data: importing spaCy takes over a second.

The algorithm is that of spaCy (``spacy/tokenizer.pyx``): stretches between spaces are looked up among listed words,
then lose affixes until nothing matches, then are cut at infixes; and listed words that the patterns would cut are put
together again wherever their parts follow each other. A test compares it with spaCy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

REMEMBERED = 1 << 15
"""Of so many stretches between spaces it is remembered how they are cut: most come again, and memory stays bounded."""


class WordRules:
    """Cuts text into words.

    Args:
        rules: What ``polyhead.data.spacy_rules.rules_of_spacy`` gives.
        whole: Whether a stretch is a word, whatever the patterns say.
    """

    def __init__(self, rules: dict[str, Any], whole: Callable[[str], object]) -> None:
        self._prefix = re.compile(rules["prefix"])
        self._suffix = re.compile(rules["suffix"])
        self._infix = re.compile(rules["infix"])
        self._url_pattern: str = rules["url"]
        self._url: re.Pattern[str] | None = None
        self._whole = whole
        self._listed: dict[str, list[str]] = rules["listed"]
        self._cut = {tuple(parts): word for word, parts in rules["cut"].items()}
        self._firsts = {parts[0] for parts in self._cut}
        self._longest = max(map(len, self._cut), default=0)
        self.remembered = lru_cache(maxsize=REMEMBERED)(self._stretch_of)

    def __call__(self, text: str) -> list[tuple[int, int]]:
        """The (start, end) characters of each word; white space is left out."""
        return [(a, b) for a, b in self._joined(text, list(self._tokens(text))) if not text[a:b].isspace()]

    def _tokens(self, text: str) -> Iterator[tuple[int, int]]:
        """Words and longer white space, before listed words are put together again."""
        for stretch in re.finditer(r"\s+|\S+", text):
            start = stretch.start()
            if stretch[0].isspace():
                start += bool(start) and text[start] == " "  # one space after a word is taken for granted
                if start < stretch.end():
                    yield start, stretch.end()
                continue
            for part in self.remembered(stretch[0]):
                yield start, start + len(part)
                start += len(part)

    def _stretch_of(self, stretch: str) -> tuple[str, ...]:
        """What becomes of characters without a space between them."""
        if stretch in self._listed:
            return tuple(self._listed[stretch])
        prefixes: list[str] = []
        suffixes: list[str] = []
        rest = self._without_affixes(stretch, prefixes, suffixes)
        return (*prefixes, *(self._inner(rest) if rest else ()), *reversed(suffixes))

    def _without_affixes(self, string: str, prefixes: list[str], suffixes: list[str]) -> str:
        last = -1
        while string and len(string) != last and not self._whole(string) and string not in self._listed:
            last = len(string)
            pre = _length(self._prefix.search(string))
            if pre and string[pre:] in self._listed:
                prefixes.append(string[:pre])
                return string[pre:]
            end = _length(self._suffix.search(string[pre:]))
            if end and string[:-end] in self._listed:
                suffixes.append(string[-end:])
                return string[:-end]
            if pre and end and pre + end <= len(string):
                prefixes.append(string[:pre])
                suffixes.append(string[-end:])
                string = string[pre:-end]
            elif pre:
                prefixes.append(string[:pre])
                string = string[pre:]
            elif end:
                suffixes.append(string[-end:])
                string = string[:-end]
        return string

    def _inner(self, string: str) -> Sequence[str]:
        """What is left without affixes, cut at infixes."""
        if string in self._listed:
            return self._listed[string]
        if self._whole(string) or self._is_url(string):
            return [string]
        parts, start = [], 0
        for found in self._infix.finditer(string):
            if found.start() == 0:
                continue
            if found.start() != start:
                parts.append(string[start : found.start()])
            if found.start() != found.end():
                parts.append(found[0])
            start = found.end()
        return [*parts, *([string[start:]] if string[start:] else [])]

    def _is_url(self, string: str) -> bool:
        if not any(sign in string for sign in ".:/"):
            return False  # no address lacks them all, and the pattern is dear
        if self._url is None:
            self._url = re.compile(self._url_pattern)
        return self._url.match(string) is not None

    def _joined(self, text: str, tokens: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Listed words put together again, the longer ones first, then the later."""
        found = [one for i in range(len(tokens)) for one in self._at(text, tokens, i)]
        taken: set[int] = set()
        chosen: dict[int, _Match] = {}
        for match in sorted(found, key=lambda one: (one.end - one.start, -one.start), reverse=True):
            if match.start not in taken and match.end - 1 not in taken:
                chosen[match.start] = match
            taken.update(range(match.start, match.end))
        i = 0
        while i < len(tokens):
            match = chosen.get(i, _Match(i, i + 1))
            begin, end = tokens[i][0], tokens[match.end - 1][1]
            parts = self._listed.get(text[begin:end]) if i in chosen else None
            if parts is None:
                yield from tokens[i : match.end]
            else:
                for part in parts:
                    yield begin, begin + len(part)
                    begin += len(part)
            i = match.end

    def _at(self, text: str, tokens: list[tuple[int, int]], i: int) -> Iterator[_Match]:
        """The listed words whose parts begin with a token."""
        if text[slice(*tokens[i])] not in self._firsts:
            return
        for end in range(i + 1, min(i + self._longest, len(tokens)) + 1):
            if tuple(text[a:b] for a, b in tokens[i:end]) in self._cut:
                yield _Match(i, end)


class _Match(NamedTuple):
    """Tokens from ``start`` on, ``end`` not included."""

    start: int
    end: int


def _length(found: re.Match[str] | None) -> int:
    return 0 if found is None else found.end() - found.start()
