"""An example is one text and its named layers; a layer's value is of one of a few kinds.

Gold and predictions share these kinds, so readers, scorers and writers know kinds of value and
never task types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

WORDS = "words"
"""The name that stands for the word column itself in a list of columns."""


class Span(NamedTuple):
    """A labelled stretch of words: ``start`` included, ``end`` not, both counted from 0."""

    start: int
    end: int
    label: str


class Labels(frozenset[str]):
    """Several labels of one text, in no order; may be empty."""

    __slots__ = ()


class Text(str):
    """A whole text that stands beside another one, as its translation does."""

    __slots__ = ()


class WordLabels(tuple[str | None, ...]):
    """A label for each word; ``None`` where the data has none."""

    __slots__ = ()


class Spans(tuple[Span, ...]):
    """The labelled spans of a text, by start; they do not overlap."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """A dependency tree over n words.

    Attributes:
        heads: For each word the number of its head, words counted from 1; 0 is the root. Length n.
        relations: For each word the relation to its head. Length n.
    """

    heads: tuple[int, ...]
    relations: tuple[str, ...]


Value: TypeAlias = str | Labels | float | WordLabels | Spans | Tree
"""A layer's value: a label or a :class:`Text` (``str``), labels, a number, a label per word, spans, a tree."""

Confidence: TypeAlias = float | tuple[float, ...]
"""Probabilities in [0, 1]: one for a text, or one for each word or span of the value."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A value that a head gave, and how sure it is.

    Attributes:
        value: The answer; of the same kind as the gold layer.
        confidence: One number for a label, a text, labels or a number; for a label per word, spans or a tree
            a tuple with one number for each word or span.
        others: Further answers that were asked for, the best first, each with its confidence; of texts alone.
    """

    value: Value
    confidence: Confidence
    others: tuple[tuple[Value, float], ...] = ()


KIND_NAMES: Mapping[type, str] = {
    str: "a label",
    Text: "a text",
    Labels: "labels",
    float: "a number",
    WordLabels: "a label per word",
    Spans: "spans",
    Tree: "a tree",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """What a CoNLL-U or column file held around an example's words, so that a writer puts it back as it came.

    Attributes:
        comments: Comment lines before the sentence, without line ends.
        rows: The columns of each word's line, as read. Length n words (empty for files without columns).
        between: Lines that are no words (multiword ranges, empty nodes), each with the number of words before it.
    """

    comments: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    between: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """One text: its words, or raw text, and its named gold layers. Immutable.

    Attributes:
        words: The words, if the text is split into words; else empty.
        text: The raw text, if known.
        pair: The second text of a text pair.
        layers: Gold values by layer name; a layer that this example lacks has no key.
        offsets: For each word its (start, end) characters in ``text``, if known.
        file, line: Where the example was read; ``line`` counts from 1.
        lines: The line of each word in ``file``, if each word has its own.
        frame: What stood around the words in the file.
        others: The other fields of a record that wants answers, as they came; they are passed through.
    """

    words: tuple[str, ...] = ()
    text: str | None = None
    pair: str | None = None
    layers: Mapping[str, Value] = field(default_factory=dict)
    offsets: tuple[tuple[int, int], ...] | None = None
    file: str | None = None
    line: int | None = None
    lines: tuple[int, ...] | None = None
    frame: Frame | None = None
    others: Mapping[str, object] | None = None

    @property
    def blank(self) -> bool:
        """Whether there are no words, and no text but white space."""
        return not self.words and not (self.text or "").strip() and not (self.pair or "").strip()

    @property
    def raw(self) -> str:
        """The raw text; where it is not known, the words with spaces between them."""
        return self.text if self.text is not None else " ".join(self.words)

    @property
    def running(self) -> str:
        """The words with spaces between them, as a tokenizer reads them; without words the raw text."""
        return " ".join(self.words) if self.words else self.text or ""

    def __repr__(self) -> str:
        return f"Example({self.raw[:60]!r}, layers={sorted(self.layers)})"
