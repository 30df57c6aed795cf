"""Turns a record (a row of a table, a JSON object) into an example: what CSV, TSV, JSONL and Parquet share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from polyhead.data.align import Offsets, align, ordered, over_words, trimmed, words_of
from polyhead.data.example import WORDS, Example, Span, Text, Tree, Value, WordLabels
from polyhead.data.spec import PAIR, TEXT, UNUSED, DataSpec
from polyhead.data.text import ONE_SIDED, Notes, counted, short
from polyhead.data.values import from_json, natural_kind
from polyhead.errors import PolyheadError, nearest

Record: TypeAlias = Mapping[str, object]
"""A row by column, or a JSON object by field."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Which field of a record is what.

    Attributes:
        text, pair, words: The fields of the text, of the second text (None: there is none), of the words.
        layers: Layer to field; None: every other field is a layer of its own name.
        kinds: What the tasks want of a layer.
        separator: What stands between several labels in one cell.
        words_named: Whether the user named the field of the words; if not, it is used only if it fits.
        answers: Whether records want answers: a text may be empty, and fields that are no layers are passed through.
    """

    text: str
    pair: str | None
    words: str
    layers: Mapping[str, str] | None
    kinds: Mapping[str, type]
    separator: str
    words_named: bool
    answers: bool = False

    @classmethod
    def of(cls, spec: DataSpec, kinds: Mapping[str, type]) -> Fields:
        """The fields that a spec names; a wished layer that it does not name is the field of that name.

        Where the spec lists names in column order, records are keyed by these names (see :func:`roles`).
        """
        wished = {layer: layer for layer in kinds}
        if isinstance(spec.layers, list) and spec.layers:
            names = roles(spec)
            own = {name: name for name in names if name not in (TEXT, PAIR, WORDS, UNUSED)}
            pair = PAIR if PAIR in names else None
            return cls(TEXT, pair, WORDS, wished | own, kinds, spec.separator, WORDS in names, spec.wants_answers)
        return cls(
            text=spec.column(TEXT) or TEXT,
            pair=spec.column(PAIR),
            words=spec.column(WORDS) or WORDS,
            layers=wished | spec.named if spec.layers or kinds or spec.wants_answers else None,
            kinds=kinds,
            separator=spec.separator,
            words_named=WORDS in spec.layers,
            answers=spec.wants_answers,
        )

    def check(self, columns: Sequence[str], file: str, line: int | None = None, remedy: str = "") -> None:
        """Holds the names against the columns that a file has.

        Raises:
            PolyheadError: A named column is not there; the remedy names the nearest that is.
        """
        wanted: dict[str, str] = {}
        if self.words_named:
            wanted[WORDS] = self.words
        elif self.words not in columns:
            wanted[TEXT] = self.text
        if self.pair is not None:
            wanted[PAIR] = self.pair
        for role, column in (wanted | dict(self.layers or {})).items():
            if column not in columns:
                what = f"no column {column!r}" + (f" (for {role!r})" if role != column else "")
                raise PolyheadError(what, remedy=nearest(column, columns) + remedy, file=file, line=line)


def roles(spec: DataSpec) -> list[str]:
    """What each column is, where ``layers`` lists names in column order: a layer, or words, text, pair or _."""
    return [{spec.text: TEXT, spec.pair or PAIR: PAIR}.get(name, name) for name in spec.layers]


class Records:
    """Turns the records of one file into examples."""

    def __init__(self, fields: Fields, file: str, notes: Notes) -> None:
        self.fields, self.file, self.notes = fields, file, notes
        _check_roles(fields, file)
        # Wished layers that no record has had yet, and the names of fields seen meanwhile.
        self._unseen = set(fields.layers or ())
        self._seen: set[str] = set()
        self._texts = [layer for layer, kind in fields.kinds.items() if kind is Text]

    def example(self, record: Record, line: int) -> Example | None:
        """The example of a record; ``line`` is its line or row, for errors.

        Where a task learns a text from a text, a record of which either is empty gives no example, and a note.

        Raises:
            PolyheadError: A value is not what it should be.
        """
        if self._unseen:
            self._seen.update(record)
            self._unseen -= {layer for layer, name in (self.fields.layers or {}).items() if name in record}
        if self._texts and self._one_sided(record, line):
            self.notes.add(self.file, *ONE_SIDED, line=line)
            return None
        try:
            return self._example(record, line)
        except ValueError as error:
            raise PolyheadError(str(error), file=self.file, line=line) from None

    def finish(self) -> None:
        """Refuses a layer that no record had; to be called after the last record.

        Raises:
            PolyheadError: Its remedy names the nearest field that some record has.
        """
        if self._unseen and self._seen and self.fields.layers:
            name = self.fields.layers[min(self._unseen)]
            raise PolyheadError(f"no record has a field {name!r}", remedy=nearest(name, self._seen), file=self.file)

    def _one_sided(self, record: Record, line: int) -> bool:
        """Whether a record has nothing to learn from, because its text or the one to be learnt is empty."""
        fields = self.fields
        if _is_empty(record.get(fields.text)) and record.get(fields.words) is None:
            return True
        names = fields.layers or {}
        empty = [layer for layer in self._texts if _is_empty(record.get(names[layer]))]
        if not empty:
            return False
        values = [record.get(names[layer]) for layer in fields.kinds if layer not in empty]
        if all(value is None or _is_empty(value) for value in values):
            return True
        for layer in empty:  # Another task learns from this record.
            here = f"text of {layer!r} left out of"
            self.notes.add(self.file, f"empty {here}", f"empty {here.replace('text', 'texts', 1)}", line=line)
        return False

    def _example(self, record: Record, line: int) -> Example:
        fields = self.fields
        words = _words(record, fields)
        has_text = words is None or record.get(fields.text) is not None
        text = _text(record, fields.text, TEXT, blank=fields.answers) if has_text else None
        gold = _Gold(text, words, None, {}, {})
        if words is not None and text is not None:
            gold.offsets = align(text, words)
            if gold.offsets is None:
                here = "whose words do not spell its text (read without offsets) in"
                self.notes.add(self.file, f"record {here}", f"records {here}")
        for layer, name in self._layers(record):
            self._add(gold, layer, name, record[name])
        self._place(gold)
        pair = None if fields.pair is None else _text(record, fields.pair, PAIR, blank=fields.answers)
        others = self._others(record, words is not None) if fields.answers else None
        return Example(gold.words or (), text, pair, gold.layers, gold.offsets, self.file, line, others=others)

    def _others(self, record: Record, has_words: bool) -> dict[str, object]:
        """The fields that are neither text, pair nor words, as they came."""
        fields = self.fields
        roles = {TEXT: fields.text, PAIR: fields.pair} | ({WORDS: fields.words} if has_words else {})
        others = {name: value for name, value in record.items() if name not in roles.values()}
        # Answers call the text "text", whatever its field is; another field of that name must not hide it.
        hidden = {name for role, name in roles.items() if role in others and name in record}
        return others | {name: value for name, value in record.items() if name in hidden}

    def _layers(self, record: Record) -> Iterable[tuple[str, str]]:
        """The layers that this record has a value for, and their fields."""
        fields = self.fields
        if fields.layers is None:
            taken = {fields.text, fields.pair, fields.words}
            return [(name, name) for name, value in record.items() if name not in taken and value is not None]
        return [(layer, name) for layer, name in fields.layers.items() if record.get(name) is not None]

    def _add(self, gold: _Gold, layer: str, name: str, raw: object) -> None:
        """Adds one layer from its raw value."""
        n = len(gold.words or ())
        kind = self.fields.kinds.get(layer) or natural_kind(raw, n)
        if kind is None:
            here = f"of {name!r} that no layer can hold, left out of"
            self.notes.add(self.file, f"value {here}", f"values {here}")
            return
        try:
            # A whole number that nobody wants as a score (an id, say) stays one, so that it comes out as it came.
            plain = isinstance(raw, int) and kind is float and layer not in self.fields.kinds
            value = cast(int, raw) if plain else from_json(raw, kind, self.fields.separator)
            length = (
                len(value.heads if isinstance(value, Tree) else value) if isinstance(value, Tree | WordLabels) else n
            )
            if length != n:
                remedy = "give one for each word" if n else "name the field that holds the words in `layers`"
                raise ValueError(f"{counted(length, 'label')} for {counted(n, 'word')}; {remedy}")
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if isinstance(value, list):
            gold.raw_spans[layer] = value
        elif value is not None:
            gold.layers[layer] = value

    def _place(self, gold: _Gold) -> None:
        """Turns raw spans into spans over words; they count characters of the text, or words where there is no text."""
        if not gold.raw_spans:
            return
        if gold.text is None:
            n = len(gold.words or ())
            gold.layers |= {layer: ordered(spans, n, "words") for layer, spans in gold.raw_spans.items()}
            return
        spans = {layer: trimmed(raw, gold.text) for layer, raw in gold.raw_spans.items()}
        if gold.words is None:
            gold.offsets, cut = words_of(gold.text, [span for layer in spans.values() for span in layer])
            gold.words = tuple([gold.text[start:end] for start, end in gold.offsets])
            here = "cut at the edge of a span in"
            self.notes.add(self.file, f"word {here}", f"words {here}", cut)
        if gold.offsets is None:
            raise ValueError("spans count the characters of the text, but the words do not spell the text")
        gold.layers |= {layer: over_words(raw, gold.offsets, gold.text) for layer, raw in spans.items()}


@dataclass(slots=True)
class _Gold:
    """What is known of a record while its layers are read; spans over characters wait for the words."""

    text: str | None
    words: tuple[str, ...] | None
    offsets: Offsets | None
    layers: dict[str, Value]
    raw_spans: dict[str, list[Span]]


def _check_roles(fields: Fields, file: str) -> None:
    """Refuses a field that is to be the text and something else."""
    roles = {TEXT: fields.text} | ({} if fields.pair is None else {PAIR: fields.pair}) | dict(fields.layers or {})
    for role in (TEXT, PAIR):
        for other, name in roles.items():
            if other != role and name == roles.get(role):
                what = f"the column or field {name!r} is named for {role!r} and for {other!r}"
                raise PolyheadError(what, remedy="Give each one of its own.", file=file)


def _words(record: Record, fields: Fields) -> tuple[str, ...] | None:
    """The words of a record, from a list or a string with white space between; None if it has none."""
    value = record.get(fields.words)
    # A field that nobody named is taken for the words only if it can hardly be anything else.
    likely = isinstance(value, list) or (value is not None and record.get(fields.text) is None)
    if not (fields.words_named or likely):
        return None
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not words:
        raise ValueError(
            f"{fields.words} is not a list of words: {short(value)}; give a list of strings, one for each word"
        )
    for index, word in enumerate(words, start=1):
        if is_no_word(word):
            what = f"{fields.words}: word {index} of {len(words)} is {short(word)}, which is no word"
            raise ValueError(f"{what}; correct it, or take it out")
    return tuple(words)


def is_no_word(value: object) -> bool:
    """Whether a value cannot be one of the words of a text that is split already."""
    return not isinstance(value, str) or not value or value.isspace()


def _is_empty(value: object) -> bool:
    """Whether a value is a text of white space alone; a missing value is none."""
    return isinstance(value, str) and (not value or value.isspace())


def _text(record: Record, name: str, role: str, *, blank: bool) -> str:
    value = record.get(name)
    if blank and name in record and (value is None or value == ""):
        return ""
    if value is None:
        if name in record:
            raise ValueError(f"no {role}: field {name!r} is null; give it a text, or take the record out")
        raise ValueError(f"no {role}: the record has no field {name!r}. {nearest(name, record)}")
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text: {short(value)}; a text is a string")
    if not blank and (not value or value.isspace()):
        raise ValueError(f"{name} is empty; give it a text, or take the record out")
    return value
