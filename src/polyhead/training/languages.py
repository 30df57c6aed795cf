"""Whether an encoder's tokenizer can read the language of the texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from polyhead.data import Dataset, Example
from polyhead.data.check_reading import Reading, sentences
from polyhead.data.check_spread import place
from polyhead.data.dataset import SPLITS
from polyhead.nn.pieces import PieceTokenizer
from polyhead.nn.reading import Place, read_texts
from polyhead.tasks import Task

GLANCE = 1000
"""How many texts of a dataset are looked at as a training run begins."""


def readings(
    dataset: Dataset, tasks: Iterable[Task], tokenizer: PieceTokenizer, most: int = 20_000
) -> dict[str, Reading]:
    """How a tokenizer reads each side of a dataset: its texts, the second texts of pairs, and written layers.

    Args:
        dataset: Its training split is looked at, or without one the first split that it has.
        tasks: Those that write with the encoder's pieces say which layers are written.
        tokenizer: The encoder's.
        most: How many texts are looked at, spread over the split; of a stream the first.
    """
    split = next((split for split in SPLITS if dataset.splits.get(split)), None)
    if split is None:
        return {}
    examples = list(_sample(dataset, split, most))
    layers = dict.fromkeys(t.layer for t in tasks if t.data == dataset.name and t.writes_encoder_pieces)
    found = {
        "text": read_texts(tokenizer, (Place(place(one), one.running) for one in examples)),
        "pair": read_texts(tokenizer, (Place(place(one), one.pair) for one in examples if one.pair is not None)),
    }
    for layer in layers:
        texts = (Place(place(one), str(one.layers[layer])) for one in examples if layer in one.layers)
        found[layer] = read_texts(tokenizer, texts, written=True)
    return {side: reading for side, reading in found.items() if reading is not None}


def foreign(datasets: Mapping[str, Dataset], tasks: Iterable[Task], tokenizer: PieceTokenizer) -> Iterator[str]:
    """Notes on texts that a tokenizer cannot read well, from a few of them."""
    for name, dataset in datasets.items():
        for side, reading in readings(dataset, tasks, tokenizer, GLANCE).items():
            yield from (f"data.{name}, {sentence}" for sentence in sentences(side, reading))


def _sample(dataset: Dataset, split: str, most: int) -> Iterator[Example]:
    texts = dataset.splits[split]
    if dataset.streamed:
        return islice(texts, most)
    step = max(1, len(texts) // most)
    return islice(texts, 0, step * most, step)
