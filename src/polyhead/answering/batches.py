"""Examples in batches by length, whose answers come back in the order of the questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from polyhead.data.example import Prediction
from polyhead.nn.layout import cut_batches
from polyhead.nn.pieces import Ints, Pieces

BUDGET = 2048
"""The most pieces encoded at once in prediction: large enough for full matrix speed, small enough for the caches."""

Answers = Callable[[Sequence[Pieces], Mapping[str, Sequence[int]]], Mapping[str, Sequence[Prediction]]]
"""Answers for the examples of a batch: for each task those for the examples, by their place there, that it is given."""


def in_batches(
    items: Sequence[Pieces],
    sizes: tuple[Ints, Ints],
    tasks: Mapping[str, bool],
    answers: Answers,
    budget: int = BUDGET,
) -> list[dict[str, Prediction]]:
    """The answers of some tasks for each example. Tasks about words do not answer for raw text.

    Args:
        items: The pieces of each example.
        sizes: The length of each example's longest row and its number of rows, (examples,) each.
        tasks: The tasks to answer, and whether each is about words.
        answers: Answers for a batch.
        budget: The most pieces encoded at once.
    """
    out: list[dict[str, Prediction]] = [{} for _ in items]
    for batch in by_length(sizes, budget):
        places = batch.tolist()
        for place, given in zip(places, at_once([items[place] for place in places], tasks, answers), strict=True):
            out[place] = given
    return out


def at_once(items: Sequence[Pieces], tasks: Mapping[str, bool], answers: Answers) -> list[dict[str, Prediction]]:
    """As :func:`in_batches`, of examples that are one batch."""
    out: list[dict[str, Prediction]] = [{} for _ in items]
    split = [i for i, item in enumerate(items) if item.words]
    wanted = {name: split if words else list(range(len(items))) for name, words in tasks.items()}
    for name, given in answers(items, wanted).items():
        for i, prediction in zip(wanted[name], given, strict=True):
            out[i][name] = prediction
    return out


def by_length(sizes: tuple[Ints, Ints], budget: int) -> list[Ints]:
    """Batches of examples of like length, as places of examples; ``sizes`` as for :func:`in_batches`."""
    lengths, rows = sizes
    return cut_batches(np.argsort(lengths, kind="stable"), lengths, rows, budget)
