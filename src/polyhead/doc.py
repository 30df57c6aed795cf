"""Answers for a text: typed values that print, compare, and turn into CoNLL-U, columns or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from polyhead.data.example import Confidence, Example, Labels, Prediction, Spans, Text, Tree, Value, WordLabels
from polyhead.data.writers import to_dict, write_columns, write_conllu
from polyhead.errors import nearest


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence with its words, and what the heads answered for it.

    Attributes:
        example: The words, and the text where it is known.
        answers: By layer.
        keys: The CoNLL-U key of a layer, where that is not its name.
    """

    example: Example
    answers: Mapping[str, Prediction]
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> tuple[str, ...]:
        """The words."""
        return self.example.words

    def __getitem__(self, layer: str) -> Value:
        """The answer for a layer, of the kind that its gold has.

        Raises:
            KeyError: No head answers for this layer.
        """
        return self.answers[layer].value

    def confidence(self, layer: str) -> Confidence:
        """How sure the head is: a probability, or one for each word or span."""
        return self.answers[layer].confidence

    def to_conllu(self, *, confidence: bool = False) -> str:
        """The sentence in CoNLL-U, with the empty line after it."""
        return write_conllu(self.example, self.answers, self.keys, confidence=confidence)

    def to_columns(self, layers: Sequence[str] = ("words",)) -> str:
        """The sentence as columns, with the empty line after it."""
        return write_columns(self.example, self.answers, layers)

    def to_dict(self, *, confidence: bool = True) -> dict[str, object]:
        """The sentence as plain data for JSON."""
        return to_dict(self.example, self.answers, confidence=confidence)

    def __str__(self) -> str:
        """A table: a line for each word, and under it what is of the whole sentence."""
        return "\n".join(_table(self.words, self.answers) + _notes(self.answers, self.words))

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class Doc:
    """The answers for one text.

    Attributes:
        example: The text as it was given.
        sentences: Its sentences; one, if it was given as words; none, if no head is about words.
        answers: What the heads answered for the whole text, by layer.
        keys: The CoNLL-U key of a layer, where that is not its name.
    """

    example: Example
    sentences: tuple[Sentence, ...]
    answers: Mapping[str, Prediction]
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text, or its words with spaces between them."""
        return self.example.text if self.example.text is not None else " ".join(self.example.words)

    def __getitem__(self, layer: str) -> Value:
        """The answer for the whole text, or that of its only sentence.

        Raises:
            KeyError: No head answers for this layer, or each of several sentences has an answer of its own.
        """
        return self._prediction(layer).value

    def confidence(self, layer: str) -> Confidence:
        """How sure the head is."""
        return self._prediction(layer).confidence

    def _prediction(self, layer: str) -> Prediction:
        if layer in self.answers:
            return self.answers[layer]
        if len(self.sentences) == 1 and layer in self.sentences[0].answers:
            return self.sentences[0].answers[layer]
        if any(layer in sentence.answers for sentence in self.sentences):
            raise KeyError(f"each of the {len(self.sentences)} sentences has its own {layer!r}: see .sentences")
        known = [*self.answers, *(self.sentences[0].answers if self.sentences else ())]
        raise KeyError(f"no head answers for {layer!r}. {nearest(layer, known)}")

    def to_conllu(self, *, confidence: bool = False) -> str:
        """The sentences in CoNLL-U; answers for the whole text are comments of the first one."""
        return "".join(sentence.to_conllu(confidence=confidence) for sentence in self._complete())

    def to_columns(self, layers: Sequence[str] = ("words",)) -> str:
        """The sentences as columns."""
        return "".join(sentence.to_columns(layers) for sentence in self._complete())

    def to_dict(self, *, confidence: bool = True) -> dict[str, object]:
        """Plain data for JSON: the text's own answers, and its sentences unless the text was given as one."""
        if len(self.sentences) == 1 and self.sentences[0].example is self.example:
            return self._complete()[0].to_dict(confidence=confidence)
        record = to_dict(self.example, self.answers, confidence=confidence)
        if self.sentences:
            record["sentences"] = [sentence.to_dict(confidence=confidence) for sentence in self.sentences]
        return record

    def whole_answers(self) -> dict[str, Prediction]:
        """The answers for the text as a whole: its own, its only sentence's, and the texts that its sentences have for
        a layer, joined by spaces, which are as sure as the least sure of them."""
        found = dict(self.answers)
        if len(self.sentences) == 1:
            return found | dict(self.sentences[0].answers)
        for layer in self.sentences[0].answers if self.sentences else ():
            given = [sentence.answers[layer] for sentence in self.sentences]
            if all(isinstance(one.value, Text) for one in given):
                sure = min(one.confidence for one in given if isinstance(one.confidence, float))
                found[layer] = Prediction(Text(" ".join(str(one.value) for one in given)), sure)
        return found

    def _complete(self) -> list[Sentence]:
        """The sentences, the first one with the answers for the whole text."""
        if not self.sentences:
            return [] if self.example.blank else [Sentence(self.example, self.answers, self.keys)]
        first, *rest = self.sentences
        return [Sentence(first.example, {**self.answers, **first.answers}, self.keys), *rest]

    def __str__(self) -> str:
        """Tables of the sentences, and the answers for the whole text."""
        return "\n\n".join(
            [*map(str, self.sentences), *(["\n".join(_notes(self.answers, ()))] if self.answers else [])]
        )

    __repr__ = __str__


def _table(words: Sequence[str], answers: Mapping[str, Prediction]) -> list[str]:
    columns: list[list[str]] = [["", *(str(i) for i in range(1, len(words) + 1))], ["word", *words]]
    for layer, prediction in answers.items():
        value = prediction.value
        if isinstance(value, WordLabels):
            columns.append([layer, *(label if label is not None else "_" for label in value)])
        elif isinstance(value, Tree):
            columns.append(["head", *map(str, value.heads)])
            columns.append(["relation", *value.relations])
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _notes(answers: Mapping[str, Prediction], words: Sequence[str]) -> list[str]:
    notes = []
    for layer, prediction in answers.items():
        value, sure = prediction.value, prediction.confidence
        if isinstance(value, Spans):
            chances = sure if isinstance(sure, tuple) else (sure,) * len(value)
            found = [
                f"{' '.join(words[s.start : s.end])} [{s.label} {c:.0%}]" for s, c in zip(value, chances, strict=True)
            ]
            notes.append(f"{layer}: {', '.join(found) or 'none'}")
        elif isinstance(value, Labels):
            notes.append(f"{layer}: {', '.join(sorted(value)) or 'none'} ({sure:.0%})")
        elif isinstance(value, float):
            notes.append(f"{layer}: {value:.3f} ({sure:.0%})")
        elif isinstance(value, Text):
            notes.append(f"{layer}: {' '.join(value.splitlines())} ({sure:.0%})")
        elif isinstance(value, str):
            notes.append(f"{layer}: {value} ({sure:.0%})")
    return notes
