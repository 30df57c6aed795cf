"""Words and spans against the characters of a text."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeAlias

from polyhead.data.example import Span, Spans
from polyhead.data.text import short

Offsets: TypeAlias = tuple[tuple[int, int], ...]
"""The (start, end) characters of each word."""


def align(text: str, forms: Iterable[str]) -> Offsets | None:
    """The characters of each form in a text that spells them in order with nothing but white space between.

    Returns:
        None where the text does not spell the forms.
    """
    offsets: list[tuple[int, int]] = []
    start = 0
    for form in forms:
        if not text.startswith(form, start):
            while text[start : start + 1].isspace():
                start += 1
            if not text.startswith(form, start):
                return None
        end = start + len(form)
        offsets.append((start, end))
        start = end + 1 if text[end : end + 1] == " " else end
    return None if text[start:].strip() else tuple(offsets)


def words_of(text: str, spans: Iterable[Span]) -> tuple[Offsets, int]:
    """The words of a text, cut where a span begins or ends inside one, and how many were cut.

    Args:
        text: The raw text.
        spans: Spans that count characters and fit the text.
    """
    from polyhead.data.segment import split  # Here, since only data with spans over characters needs it.

    edges = sorted({edge for span in spans for edge in (span.start, span.end)})
    offsets: list[tuple[int, int]] = []
    cut = 0
    for sentence in split(text):
        for start, end in sentence:
            inside = edges[bisect_right(edges, start) : bisect_right(edges, end - 1)]
            cut += bool(inside)
            bounds = [start, *inside, end]
            offsets += pairwise(bounds)
    return tuple(offsets), cut


def trimmed(spans: Iterable[Span], text: str) -> list[Span]:
    """Spans over characters without the white space at their ends, in order.

    Raises:
        ValueError: A span is empty, outside the text, nothing but white space, or overlaps another.
    """
    kept = []
    for start, end, label in ordered(spans, len(text), "characters"):
        inner = text[start:end]
        if inner.isspace():
            raise ValueError(f"span {start}..{end} ({label}) holds nothing but white space")
        kept.append(Span(start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip()), label))
    return kept


def ordered(spans: Iterable[Span], n: int, unit: str) -> Spans:
    """Spans by start, checked.

    Args:
        spans: Spans that count words or characters.
        n: How many there are of these.
        unit: "words" or "characters", for errors.

    Raises:
        ValueError: A span is empty, outside 0..n, or overlaps another.
    """
    result = Spans(sorted(spans))
    done = Span(0, 0, "")
    for span in result:
        start, end, label = span
        if not 0 <= start <= end <= n:
            raise ValueError(
                f"span {start}..{end} ({label}) is outside its text of {n} {unit}; correct it, or take it out"
            )
        if start == end:
            raise ValueError(f"span {start}..{end} ({label}) is empty: the end is not included")
        if start < done.end:
            raise ValueError(
                f"span {start}..{end} ({label}) overlaps span {done.start}..{done.end} ({done.label}); keep one of them"
            )
        done = span
    return result


def over_words(spans: Sequence[Span], offsets: Offsets, text: str) -> Spans:
    """Spans over words from spans over characters, trimmed.

    Raises:
        ValueError: A span begins or ends inside a word.
    """
    starts = {start: word for word, (start, _) in enumerate(offsets)}
    ends = {end: word + 1 for word, (_, end) in enumerate(offsets)}
    placed = []
    for start, end, label in spans:
        if start not in starts or end not in ends:
            raise ValueError(f"span {start}..{end} ({label}) begins or ends inside a word: {short(text[start:end])}")
        placed.append(Span(starts[start], ends[end], label))
    return Spans(placed)
