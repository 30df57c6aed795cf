"""Looks over texts and the texts beside them, as those of a parallel corpus: their lengths, copies and odd pairs."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from polyhead.data.check_spread import Found, Spread, faults, place
from polyhead.data.dataset import TRAIN
from polyhead.data.example import Example, Text

WILD = 3.0
"""How many times longer or shorter than usual a side is beside the other one before the pair is named."""

_SLACK = 20  # Characters by which a short text may be off: "Yes." and "C'est bien cela." are a good pair.


@dataclass(frozen=True, slots=True)
class SideReport:
    """One side of the pairs of a split.

    Attributes:
        lines: How many texts it has.
        words: Words of a text, as white space divides it.
        characters: Characters of a text.
        repeats: Texts that stand earlier on the same side of the same split.
        in_train: Texts that stand on the same side of the training split too.
    """

    lines: int
    words: Spread
    characters: Spread
    repeats: Found
    in_train: Found


@dataclass(frozen=True, slots=True)
class PairReport:
    """The pairs of one split: texts that have the other text too.

    Attributes:
        text, other: The two sides.
        ratio: How many times as many characters the other text has as the text.
        usual: The median of that in the training split, or in this one where there is no training split.
        copied: Pairs whose sides are the same text.
        wild: Pairs whose ratio is more than :data:`WILD` times the usual one, or less than that part of it.
        repeats: Pairs that stand earlier in the same split.
        in_train: Pairs that stand in the training split too.
    """

    text: SideReport
    other: SideReport
    ratio: Spread
    usual: float
    copied: Found
    wild: Found
    repeats: Found
    in_train: Found


def compare(layer: str, splits: Mapping[str, Sequence[Example]]) -> dict[str, PairReport]:
    """Looks over the pairs of each split that has any.

    Args:
        layer: The layer that holds the other text.
        splits: The examples of each split.
    """
    pairs = {
        split: [(one, _text(one), str(other)) for one in examples if isinstance(other := one.layers.get(layer), Text)]
        for split, examples in splits.items()
    }
    reports = {}
    for split, rows in pairs.items():
        if rows:
            reports[split] = _report(rows, [] if split == TRAIN else pairs.get(TRAIN, []))
    return reports


def _text(example: Example) -> str:
    return example.text or " ".join(example.words)


_Row = tuple[Example, str, str]


def _report(rows: Sequence[_Row], train: Sequence[_Row]) -> PairReport:
    texts, others = [text for _, text, _ in rows], [other for _, _, other in rows]
    examples = [example for example, _, _ in rows]
    both = [(_same(text), _same(other)) for _, text, other in rows]
    ratio = _ratio(rows)
    usual = _ratio(train).median if train else ratio.median
    return PairReport(
        text=_side(examples, texts, {_same(text) for _, text, _ in train}),
        other=_side(examples, others, {_same(other) for _, _, other in train}),
        ratio=ratio,
        usual=usual,
        copied=_where(examples, (text == other for text, other in both)),
        wild=_where(examples, (_is_wild(*pair, usual) for pair in zip(texts, others, strict=True))),
        repeats=_repeated(examples, both),
        in_train=_shared(examples, both, {(_same(text), _same(other)) for _, text, other in train}),
    )


def _ratio(rows: Sequence[_Row]) -> Spread:
    return Spread.of(len(other) / len(text) for _, text, other in rows)


def _side(examples: Sequence[Example], texts: Sequence[str], train: set[Hashable]) -> SideReport:
    same = [_same(text) for text in texts]
    return SideReport(
        lines=len(texts),
        words=Spread.of(len(words) for words in same),
        characters=Spread.of(map(len, texts)),
        repeats=_repeated(examples, same),
        in_train=_shared(examples, same, train),
    )


def _same(text: str) -> tuple[str, ...]:
    """What makes two texts the same: their characters up to white space."""
    return tuple(text.split())


def _is_wild(text: str, other: str, usual: float) -> bool:
    """Whether a side is far longer or shorter than the other one lets expect."""
    expected = len(text) * usual
    far = abs(math.log(len(other) / expected)) > math.log(WILD)
    return far and abs(len(other) - expected) > _SLACK * max(1.0, usual)


def _where(examples: Sequence[Example], marks: Iterable[bool]) -> Found:
    return faults(place(example) for example, mark in zip(examples, marks, strict=True) if mark)


def _shared(examples: Sequence[Example], keys: Sequence[Hashable], known: set[Hashable]) -> Found:
    return _where(examples, (key in known for key in keys))


def _repeated(examples: Sequence[Example], keys: Sequence[Hashable]) -> Found:
    first: dict[Hashable, Example] = {}
    places = []
    for example, key in zip(examples, keys, strict=True):
        earlier = first.setdefault(key, example)
        if earlier is not example:
            places.append(f"{place(example)} = {earlier.line if example.file == earlier.file else place(earlier)}")
    return faults(places)
