"""Looks a dataset over before anything is trained on it: sizes, labels, lengths, and what makes figures lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from polyhead.data.check_reading import Reading
from polyhead.data.check_sides import PairReport, compare
from polyhead.data.check_spread import Found, Spread, faults, place
from polyhead.data.dataset import SPLITS, TRAIN, Dataset
from polyhead.data.example import KIND_NAMES, Example, Labels, Spans, Text, Tree, Value, WordLabels

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHOWN = 8  # Labels of a layer that a report names.


@dataclass(frozen=True, slots=True)
class SplitReport:
    """One split.

    Attributes:
        examples: How many examples it has.
        words: Words of an example; None where none is split into words.
        pieces: Pieces of an example that the encoder gets, special ones included.
        too_long: Examples with more pieces than the encoder's window.
        repeats: Examples whose text stands earlier in the same split.
        contradictions: Those of the repeats that carry other labels than the earlier one; texts as layers aside.
        in_train: Examples whose text is in the training split too.
    """

    examples: int
    words: Spread | None
    pieces: Spread
    too_long: Found
    repeats: Found
    contradictions: Found
    in_train: Found


@dataclass(frozen=True, slots=True)
class Unseen:
    """Labels of a split that the training split never has: how many, how often they occur, the most frequent."""

    labels: int
    occurrences: int
    most: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer.

    Attributes:
        kind: What its values are, as "a label per word".
        present: By split, how many examples have it.
        labels: How many labels the training split has, or without one the first split that has the layer.
        most: The most frequent of them, and how often they occur.
        numbers: The spread of the values of that split, where they are numbers.
        unseen: By split, labels that training never has.
    """

    kind: str
    present: dict[str, int]
    labels: int
    most: dict[str, int]
    numbers: Spread | None
    unseen: dict[str, Unseen]


@dataclass(frozen=True, slots=True)
class Report:
    """What a look at a dataset found; ``pairs`` by layer and split, for layers that hold a text beside the text;
    ``readings`` by side, of what the encoder's tokenizer reads or writes.
    """

    name: str
    fingerprint: str
    window: int
    splits: dict[str, SplitReport]
    layers: dict[str, LayerReport]
    notes: list[str] = field(default_factory=list)
    pairs: dict[str, dict[str, PairReport]] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return asdict(self)

    def __rich__(self) -> RenderableType:
        """The report as tables for a terminal."""
        from polyhead.data.check_view import view

        return view(self)


def check(dataset: Dataset, lengths: Callable[[Sequence[Example]], list[int]], window: int) -> Report:
    """Looks over every split of a dataset.

    Args:
        dataset: The dataset; splits it lacks are left out.
        lengths: Gives the number of pieces that the encoder gets for each example.
        window: The most pieces that the encoder takes at once.
    """
    given = {name: dataset.splits[name] for name in SPLITS if dataset.splits.get(name)}
    train = {_text(example) for example in given.get(TRAIN, [])}
    splits = {
        name: _split(examples, lengths(examples), window, set() if name == TRAIN else train)
        for name, examples in given.items()
    }
    names = dict.fromkeys(layer for examples in given.values() for example in examples for layer in example.layers)
    layers = {name: _layer(name, given) for name in names}
    texts = [name for name in names if any(isinstance(one.layers.get(name), Text) for one in chain(*given.values()))]
    pairs = {name: compare(name, given) for name in texts}
    return Report(dataset.name, dataset.fingerprint, window, splits, layers, list(dataset.notes), pairs)


def _split(examples: Sequence[Example], pieces: list[int], window: int, train: set[Hashable]) -> SplitReport:
    first: dict[Hashable, Example] = {}
    repeats: list[str] = []
    contradictions: list[str] = []
    for example in examples:
        earlier = first.setdefault(_text(example), example)
        if earlier is not example:
            same_file = example.file == earlier.file
            pair = f"{place(example)} = {earlier.line if same_file else place(earlier)}"
            repeats.append(pair)
            if _labelled(earlier) != _labelled(example):
                contradictions.append(pair)
    words = [len(example.words) for example in examples if example.words]
    return SplitReport(
        examples=len(examples),
        words=Spread.of(words) if words else None,
        pieces=Spread.of(pieces),
        too_long=faults(place(one) for one, length in zip(examples, pieces, strict=True) if length > window),
        repeats=faults(repeats),
        contradictions=faults(contradictions),
        in_train=faults(place(example) for example in examples if _text(example) in train),
    )


def _labelled(example: Example) -> dict[str, Value]:
    """The layers but for texts: a text may well have several translations."""
    return {layer: value for layer, value in example.layers.items() if not isinstance(value, Text)}


def _layer(name: str, splits: Mapping[str, Sequence[Example]]) -> LayerReport:
    values = {
        split: [example.layers[name] for example in examples if name in example.layers]
        for split, examples in splits.items()
    }
    counts = {split: Counter(label for value in found for label in _labels(value)) for split, found in values.items()}
    source = next(split for split, found in values.items() if found)
    kinds = {type(value) for found in values.values() for value in found}
    numbers = [value for value in values[source] if isinstance(value, float)]
    known = counts[source]
    unseen: dict[str, Unseen] = {}
    for split, counted in counts.items():
        new = Counter({label: count for label, count in counted.items() if label not in counts.get(TRAIN, counted)})
        if new:
            unseen[split] = Unseen(len(new), new.total(), tuple(label for label, _ in new.most_common(_SHOWN)))
    return LayerReport(
        kind=" or ".join(sorted(KIND_NAMES[kind] for kind in kinds)),
        present={split: len(found) for split, found in values.items()},
        labels=len(known),
        most=dict(known.most_common(_SHOWN)),
        numbers=Spread.of(numbers) if numbers else None,
        unseen=unseen,
    )


def _labels(value: Value) -> Iterator[str]:
    """The labels that a value holds, each as often as it holds it."""
    if isinstance(value, Text):
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, Tree):
        yield from value.relations
    elif isinstance(value, Spans):
        yield from (span.label for span in value)
    elif isinstance(value, WordLabels):
        yield from (label for label in value if label is not None)
    elif isinstance(value, Labels):
        yield from sorted(value)  # Equally frequent labels stand in a report in the same order each time.


def _text(example: Example) -> Hashable:
    """What makes two texts the same: their words, or else their characters up to white space."""
    text = example.words or tuple((example.text or "").split())
    return text if example.pair is None else (text, tuple(example.pair.split()))
