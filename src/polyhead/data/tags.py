"""Turns the span tags of examples into spans, by the scheme of a whole split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from polyhead.data import bio
from polyhead.data.example import Example, Spans, WordLabels
from polyhead.data.spec import Scheme
from polyhead.data.text import short
from polyhead.errors import PolyheadError


@dataclass(frozen=True, slots=True)
class Tagging:
    """How one layer marks spans.

    Attributes:
        scheme: The scheme of its tags.
        filled: Whether words outside spans are marked ``O``; if not (MISC keys), a word without a tag is outside.
    """

    scheme: Scheme
    filled: bool


def tagged(examples: Iterable[Example], kinds: Mapping[str, type]) -> list[str]:
    """The layers that a task wants as spans and that some example has as tags."""
    wished = [layer for layer, kind in kinds.items() if kind is Spans]
    if not wished:
        return []
    found: dict[str, None] = {}
    for example in examples:
        for layer in wished:
            if type(example.layers.get(layer)) is WordLabels:
                found[layer] = None
    return list(found)


def recognise(examples: Sequence[Example], layer: str, scheme: Scheme | None) -> Tagging:
    """How the examples of a split mark the spans of a layer; ``scheme`` is the user's word for it, if any.

    Raises:
        PolyheadError: Some tag is no span tag.
    """
    sequences = [value for example in examples if isinstance(value := example.layers.get(layer), WordLabels)]
    filled = any(bio.OUTSIDE in tags for tags in sequences)
    found = bio.recognise([tag for tag in tags if tag is not None] if None in tags else tags for tags in sequences)
    if found is None:
        raise _no_tag(examples, layer)
    return Tagging(scheme or found, filled)


def with_spans(example: Example, taggings: Mapping[str, Tagging]) -> Example:
    """The example with spans in place of the tags of its layers.

    Raises:
        PolyheadError: A tag cannot stand where it does; the error names its line.
    """
    layers = dict(example.layers)
    for layer, tagging in taggings.items():
        tags = layers.get(layer)
        if not isinstance(tags, WordLabels):
            continue
        if None in tags:
            if tagging.filled and all(tag is None for tag in tags):
                del layers[layer]  # Not annotated, where others are.
                continue
            if tagging.filled:
                word = tags.index(None)
                raise _error(example, layer, word, "no tag, but other words of its sentence have one", "Write O.")
            tags = WordLabels(bio.OUTSIDE if tag is None else tag for tag in tags)
        try:
            layers[layer] = bio.to_spans(tags, tagging.scheme)
        except ValueError as error:
            word, what = error.args
            remedy = "Correct the tag, or set `scheme` of the dataset"
            if tagging.scheme == "BIOES":
                remedy += ' (scheme = "IOB2" if ends of spans are not marked)'
            elif (bio.parse(tags[word]) or "O")[0] in "ES":
                remedy += ' (scheme = "BIOES" if all ends of spans are marked)'
            elif tagging.scheme == "IOB2":
                remedy += ' (scheme = "IOB1" reads it as the CoNLL scorer does: a new span begins)'
            raise _error(example, layer, word, what, remedy + ".") from None
    return replace(example, layers=layers)


def _no_tag(examples: Iterable[Example], layer: str) -> PolyheadError:
    """The error for the first label that is no span tag."""
    for example in examples:
        tags = example.layers.get(layer)
        if isinstance(tags, WordLabels):
            for word, tag in enumerate(tags):
                if tag is not None and bio.parse(tag) is None:
                    return _error(
                        example,
                        layer,
                        word,
                        f"{short(tag)} is no span tag",
                        "A span tag is O, or as B-person, I-person.",
                    )
    raise AssertionError("every tag is a span tag")


def _error(example: Example, layer: str, word: int, what: str, remedy: str) -> PolyheadError:
    line = example.lines[word] if example.lines else example.line
    return PolyheadError(
        f"{layer} of word {word + 1} ({short(example.words[word])}): {what}",
        remedy=remedy,
        file=example.file,
        line=line,
    )
