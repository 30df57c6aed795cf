"""What a stage learns from: the examples of all its datasets numbered through, labelled ones and blocks of text."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from polyhead.data import Dataset, Example
from polyhead.nn.pieces import Pieces, PieceTokenizer
from polyhead.tasks import Task


class OwnBlocks(NamedTuple):
    """A task that learns from blocks, and which of the examples these are."""

    task: Task
    rows: range


class Drawn(NamedTuple):
    """Examples for a batch.

    Attributes:
        items: What the encoder reads of each.
        targets: For each task the target of each example, ``None`` where it learns nothing from it.
    """

    items: list[Pieces]
    targets: dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The training examples of a stage, those of all its datasets numbered through.

    Blocks of text that a task learns from without gold are examples, too, and no other task learns from them: they
    count as a dataset of their own.

    Attributes:
        sizes: How many examples each dataset has.
        items: The pieces of each example.
        targets: For each task that annotates the target of each example before the first block, ``None`` where it
            lacks the layer.
        units: For each task the units of each example, 0 where it lacks the layer.
        lengths: The length of each example's longest row in pieces.
        rows: How many rows each example takes.
        left_out: How many examples have no target for any of the stage's tasks.
        remarks: What is to be said of targets, such as which were too long.
        replayed: Which of the datasets only tasks of earlier stages learn from, by their place in ``sizes``.
        blocks: For each task that learns from blocks which examples these are; they come after all others.
        examples: The examples themselves.
        soft_units: For each task that has teachers the units of each example that these label, 0 for others.
    """

    sizes: list[int]
    items: Sequence[Pieces]
    targets: dict[str, list[Any]]
    units: dict[str, NDArray[np.int64]]
    lengths: NDArray[np.int64]
    rows: NDArray[np.int64]
    left_out: int = 0
    remarks: Sequence[str] = ()
    replayed: frozenset[int] = frozenset()
    blocks: Mapping[str, OwnBlocks] = field(default_factory=dict)
    examples: Sequence[Example] = ()
    soft_units: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def pieces(self) -> NDArray[np.int64]:
        """The ids of all pieces in the examples, sorted, special ones left out. Shape (ids,)."""
        return np.unique(np.concatenate([part for item in self.items for part in (item.ids, item.pair)]))

    def draw(self, rows: Iterable[int], tokenizer: PieceTokenizer, seed: Sequence[int]) -> Drawn:
        """Some examples; blocks among them are corrupted, which depends on the seed and the block alone."""
        drawn = Drawn([], {name: [] for name in (*self.targets, *self.blocks)})
        for row in rows:
            item = self.items[row]
            found = {name: gold[row] for name, gold in self.targets.items() if row < len(gold)}
            for name, (task, own) in self.blocks.items():
                if row in own:
                    item, found[name] = task.corrupt(item, tokenizer, np.random.default_rng([*seed, row]))
            drawn.items.append(item)
            for name, targets in drawn.targets.items():
                targets.append(found.get(name))
        return drawn

    def carried(self, rows: Iterable[int]) -> set[str]:
        """The tasks that some of these examples have a target for."""
        numbers = list(map(int, rows))
        found = {
            name for name, gold in self.targets.items() if any(gold[i] is not None for i in numbers if i < len(gold))
        }
        return found | {name for name, (_, own) in self.blocks.items() if any(i in own for i in numbers)}


class Chain(Sequence[Pieces]):
    """Several sequences as one."""

    def __init__(self, parts: Sequence[Sequence[Pieces]]) -> None:
        self.parts = parts
        self.ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    @overload
    def __getitem__(self, index: int) -> Pieces: ...

    @overload
    def __getitem__(self, index: slice) -> list[Pieces]: ...

    def __getitem__(self, index: int | slice) -> Pieces | list[Pieces]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        part = bisect_right(self.ends, index)
        return self.parts[part][index - (self.ends[part - 1] if part else 0)]


@dataclass(frozen=True, slots=True)
class Taught:
    """Which tasks of a stage learn from teachers too.

    Attributes:
        tasks: Their names.
        everywhere: Whether the texts of all the stage's datasets are labelled for them, or only of their own.
    """

    tasks: Sequence[str]
    everywhere: bool = False


class Reader:
    """Which texts a task's teachers can label.

    Args:
        task: The task.
        dataset: What it learns from.
    """

    def __init__(self, task: Task, dataset: Dataset) -> None:
        self.task = task
        self.pairs = any(example.pair is not None for example in dataset.splits["train"] if task.carries(example))

    def units(self, example: Example) -> int:
        """The words, or 1 for a text; 0 if the task cannot read the example."""
        if (example.pair is not None) != self.pairs:
            return 0
        return len(example.words) if self.task.words else 1
