"""Span tags: IOB1, IOB2 and BIOES, recognised and turned into spans and back.

IOB1 is Ramshaw & Marcus 1995 (``B-`` only where two spans of one label touch), IOB2 is Tjong Kim Sang &
Veenstra 1999 (every span begins with ``B-``), BIOES marks ends and single words too. BILOU, BMEWO and
BMES are BIOES with other letters. A tag is ``O``, or a letter and a label joined by ``-``, or, where spans
have no labels, a letter alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from polyhead.data.example import Span, Spans
from polyhead.data.spec import Scheme

OUTSIDE = "O"
# The letters of each family in terms of BIOES.
_LETTERS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}


def parse(tag: str | None) -> tuple[str, str] | None:
    """The BIOES letter and the label of a tag; ("O", "") for outside; None if it is no span tag."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if not tag or tag[0] not in _LETTERS:
        return None
    if len(tag) == 1:
        return _LETTERS[tag], ""
    if tag[1] != "-" or len(tag) == 2:
        return None
    return _LETTERS[tag[0]], tag[2:]


def recognise(sequences: Iterable[Sequence[str | None]]) -> Scheme | None:
    """The scheme of the tags of a whole split: the one under which fewest tags are wrong.

    Args:
        sequences: The tags of each sentence.

    Returns:
        None where some tag is no span tag at all. ``IOB2`` where every tag is ``O``. Tags that mark ends make it
        ``BIOES``, but not a stray one among spans that have no end.
    """
    known: dict[str | None, tuple[str, str] | None] = {}
    inside_starts = begin_starts = 0
    words = {True: 0, False: 0}  # Words in spans whose end is marked, and in spans whose end is not.
    for tags in sequences:
        before = ""  # The label of the span that the word before is in; None is no label, "" is one.
        length, ended = 0, False  # Of that span; 0: there is none.
        for tag in [*tags, OUTSIDE]:
            if tag not in known:
                known[tag] = parse(tag)
            parsed = known[tag]
            if parsed is None:
                return None
            letter, label = parsed
            follows = length > 0 and label == before and letter != "O"
            if not (follows and letter in "IE"):
                words[ended] += length
                length = 0
            if letter == "O":
                continue
            length, ended, before = length + 1, letter in "ES", label
            if not follows:
                inside_starts += letter == "I"
                begin_starts += letter == "B"
    if words[True] and words[True] >= words[False]:
        return "BIOES"
    return "IOB1" if inside_starts > begin_starts else "IOB2"


def to_spans(tags: Sequence[str | None], scheme: Scheme) -> Spans:
    """The spans that tags mark.

    Strict for IOB2 and BIOES. Under IOB1 every sequence has one reading, that of the CoNLL-2000 scorer:
    ``B-`` always begins a span, ``I-`` begins one where the word before is in no span of its label.

    Raises:
        ValueError: ``(index of the word, what is wrong)``: a tag that is not of the scheme or cannot stand there.
    """
    spans: list[Span] = []
    start: int | None = None
    before = ""
    for index, tag in enumerate(tags):
        if tag == OUTSIDE and start is None:
            continue
        parsed = parse(tag)
        if parsed is None:
            raise ValueError(index, f"{tag!r} is not of the scheme {scheme}")
        letter, label = parsed
        if letter in "ES" and scheme != "BIOES":
            raise ValueError(index, f"{tag!r} is not of the scheme {scheme}")
        continues = start is not None and label == before and letter in "IE"
        if letter in "IE" and not continues and scheme != "IOB1":
            raise ValueError(index, f"{tag!r} continues no span under {scheme}")
        if start is not None and not continues:
            if scheme == "BIOES":
                raise ValueError(index, f"{tag!r} follows a span of {before!r} that has no end under BIOES")
            spans.append(Span(start, index, before))
            start = None
        if letter in "ES":
            spans.append(Span(index if start is None else start, index + 1, label))
            start = None
        elif letter in "BI" and start is None:
            start, before = index, label
    if start is not None:
        if scheme == "BIOES":
            raise ValueError(len(tags) - 1, f"{tags[-1]!r} ends the sentence inside a span under BIOES")
        spans.append(Span(start, len(tags), before))
    return Spans(spans)


def to_tags(spans: Iterable[Span], n: int) -> tuple[str, ...]:
    """The IOB2 tags of ``n`` words; a span without a label gives the bare letters.

    Raises:
        ValueError: A span is empty, reaches outside the words, or overlaps another.
    """
    tags = [OUTSIDE] * n
    for start, end, label in spans:
        if not 0 <= start < end <= n:
            raise ValueError(f"span {start}..{end} does not fit {n} words")
        if any(tag != OUTSIDE for tag in tags[start:end]):
            raise ValueError(f"span {start}..{end} overlaps another")
        joined = f"-{label}" if label else ""
        tags[start:end] = ["B" + joined] + ["I" + joined] * (end - start - 1)
    return tuple(tags)
