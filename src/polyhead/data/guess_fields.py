"""What the values of one column or field are: a text, labels, numbers, spans, or nothing to learn."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from polyhead.data import bio
from polyhead.data.example import Spans
from polyhead.data.values import natural_kind, number

What = Literal["text", "label", "labels", "number", "tags", "spans", "unused"]

MANY = 100  # More labels than this are rather an open class: names, lemmas, free text.
SEPARATORS = ("|", ";", ",")
_SCALE = 20  # Whole numbers with more values than this are rather a number than classes.
_SHOWN = 4
_LABEL_NAMES = re.compile(r"(?i)(.*[_ -])?(label|labels|class|category|intent|sentiment|topic|target|gold|tags?|y)s?")
_ID_NAMES = re.compile(r"(?i)(.*[_ -])?(id|ids|idx|index|guid|uid|no|row|line|unnamed: 0)")


@dataclass(frozen=True, slots=True)
class Look:
    """What a column is.

    Attributes:
        what: What its values are.
        about: A few words for people, as ``3 labels: good, bad, mixed``.
        separator: What stands between several labels in a cell.
        length: The mean number of words, of strings.
    """

    what: What
    about: str
    separator: str | None = None
    length: float = 0.0


def look(name: str, values: Sequence[Any], lengths: Sequence[int] = ()) -> Look:
    """What the values of one column are.

    Args:
        name: The column's name; empty if it has none.
        values: Its values, None where one is missing.
        lengths: The number of words of each record, if it has words.
    """
    given = [value for value in values if value is not None]
    if not given:
        return Look("unused", "empty")
    if all(isinstance(value, bool) for value in given):
        return Look("label", named(Counter("true" if value else "false" for value in given)))
    if all(isinstance(value, list) for value in given):
        return _lists(values, lengths)
    if not all(isinstance(value, str | int | float) for value in given):
        return Look("unused", "neither text nor labels")
    if all(_is_number(value) for value in given):
        return _numbers(name, given)
    return _strings(name, [str(value).strip() for value in given])


def _numbers(name: str, given: Sequence[Any]) -> Look:
    values = [number(value) for value in given]
    whole = all(value.is_integer() for value in values)
    distinct = set(values)
    if whole and _ID_NAMES.fullmatch(name):
        return Look("unused", "numbers the records")
    if whole and values == [values[0] + step for step in range(len(values))] and len(values) > 2:
        return Look("unused", "numbers the records")
    if len(distinct) == 1:
        return Look("unused", f"always {given[0]}")
    if whole and len(distinct) <= _SCALE:
        or_scale = '; type = "regression" if they are a scale' if len(distinct) > 2 else ""
        return Look("label", named(Counter(str(value) for value in given)) + or_scale)
    return Look("number", f"{min(values):g} to {max(values):g}")


def _strings(name: str, given: Sequence[str]) -> Look:
    counts = Counter(given)
    length = sum(len(value.split()) for value in given) / len(given)
    called = name != "" and _LABEL_NAMES.fullmatch(name) is not None
    most = max(min(2, len(given) // 2), len(given) / (1.5 if called else 3))
    separator = _separator(counts)
    if separator is not None and (called or length < 4):
        parts = Counter(part.strip() for value in given for part in value.split(separator))
        return Look("labels", named(parts), separator, length)
    if len(counts) == 1 and not called:
        return Look("unused", "always the same", length=length)
    if len(counts) <= min(MANY, most) and max(len(value.split()) for value in counts) <= 6:
        return Look("label", named(counts), length=length)
    if (name and _ID_NAMES.fullmatch(name)) or length < 1.5:
        return Look("unused", f"{len(counts):,} values, too many for labels", length=length)
    return Look("text", f"{length:.0f} words on average", length=length)


def _separator(counts: Counter[str]) -> str | None:
    """What stands between several labels in a cell; None where a cell is one label."""
    for separator in SEPARATORS:
        split = {value: [part.strip() for part in value.split(separator)] for value in counts}
        joined = sum(counts[value] for value, parts in split.items() if len(parts) > 1)
        labels = {part for parts in split.values() for part in parts}
        short = all(part and len(part.split()) <= 3 for part in labels)
        repeats = sum(len(parts) * counts[value] for value, parts in split.items()) >= 2 * len(labels)
        if joined >= max(1, 0.02 * counts.total()) and short and repeats and len(labels) <= MANY:
            return separator
    return None


def _lists(values: Sequence[list[Any] | None], lengths: Sequence[int]) -> Look:
    given = [value for value in values if value]
    if not given:
        return Look("unused", "empty lists")
    kinds = {natural_kind(value, 0) for value in given}
    if kinds == {Spans}:
        found = Counter(str(one["label"] if isinstance(one, dict) else one[2]) for value in given for one in value)
        return Look("spans", named(found))
    if not all(isinstance(one, str | int) or one is None for value in given for one in value):
        return Look("unused", "lists that are neither labels nor spans")
    counts = Counter(str(one) for value in given for one in value if one is not None)
    aligned = bool(lengths) and all(value is None or len(value) == n for value, n in zip(values, lengths, strict=True))
    if aligned:
        return tags([[None if one is None else str(one) for one in value] for value in given])
    if 1 < len(counts) <= MANY and counts.total() >= 2 * len(counts):
        return Look("labels", named(counts))
    return Look("unused", f"lists of {len(counts):,} different values")


def are_words(values: Sequence[Any]) -> bool:
    """Whether every value is a list of words."""
    return all(isinstance(value, list) and value and all(isinstance(one, str) for one in value) for value in values)


def tags(sequences: Sequence[Sequence[str | None]]) -> Look:
    """What labels of words are: tags of spans, labels, or an open class."""
    counts = Counter(tag for one in sequences for tag in one if tag is not None)
    if len(counts) == 1:
        return Look("unused", f"always {next(iter(counts))}")
    if is_span_tags(sequences):
        spans: Counter[str] = Counter()
        for tag, count in counts.items():
            spans[tag[2:]] += count if tag[2:] else 0
        return Look("spans", named(+spans))
    if len(counts) > MANY:
        return Look("unused", f"{len(counts):,} different labels")
    return Look("tags", named(counts))


def is_span_tags(sequences: Iterable[Sequence[str | None]]) -> bool:
    """Whether tags are BIO tags or their kin, some with a label."""
    found = [[tag for tag in one if tag is not None] for one in sequences]
    return bio.recognise(found) is not None and any("-" in tag for one in found for tag in one)


def named(counts: Counter[str], noun: str = "label") -> str:
    """Labels for people, the most frequent first."""
    most = [label for label, _ in counts.most_common(_SHOWN)]
    more = ", ..." if len(counts) > _SHOWN else ""
    return f"{len(counts)} {noun}{'s' * (len(counts) != 1)}: {', '.join(most)}{more}"


def _is_number(value: str | int | float) -> bool:
    try:
        number(value)
    except ValueError:
        return False
    return True
