"""From a recipe to what a run trains on: datasets, prepared tasks, and every example tokenised once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyhead.data import Dataset, Example, load_dataset
from polyhead.data.example import KIND_NAMES
from polyhead.errors import PolyheadError, nearest
from polyhead.nn.encoder import Encoder
from polyhead.nn.pieces import Pieces
from polyhead.recipe import Recipe
from polyhead.scoring import Gold
from polyhead.tasks import Task


def load_datasets(recipe: Recipe, tasks: Mapping[str, Task], splits: Sequence[str]) -> dict[str, Dataset]:
    """Read the datasets that some task learns from, and see that they fit the tasks.

    Raises:
        PolyheadError: A file is broken, a layer is missing, or two tasks want a layer to be of different kinds.
    """
    datasets = {}
    for name, spec in recipe.data.items():
        here = [task for task in tasks.values() if task.data == name]
        if not here:
            continue
        datasets[name] = load_dataset(name, spec, recipe.base, layer_kinds(here), splits)
        for task in here:
            for split in datasets[name].splits:
                _check_layer(task, datasets[name], split)
    return datasets


def layer_kinds(tasks: Sequence[Task]) -> dict[str, type]:
    """The kind of value that each layer must hold for these tasks."""
    kinds: dict[str, type] = {}
    for task in tasks:
        if kinds.setdefault(task.layer, task.kind) is not task.kind:
            raise PolyheadError(
                f"tasks.{task.name} wants layer {task.layer!r} to be {KIND_NAMES[task.kind]}, another task "
                f"{KIND_NAMES[kinds[task.layer]]}.",
                remedy="Name the same files as a second dataset for one of them.",
            )
    return kinds


def prepare_tasks(tasks: Mapping[str, Task], datasets: Mapping[str, Dataset]) -> list[str]:
    """Let every task learn its labels from the training split, and check the other splits against them.

    Returns:
        Notes on gold that no prediction can match.

    Raises:
        PolyheadError: There is no training split, or a label is known to dev or test alone.
    """
    notes = []
    for task in tasks.values():
        dataset = datasets[task.data]
        if "train" not in dataset.splits:
            raise PolyheadError(f"data.{task.data} has no training split.", remedy='Add train = "FILE".')
        task.prepare([example for example in dataset.splits["train"] if task.carries(example)])
        for split, examples in dataset.splits.items():
            if split != "train":
                notes += task.check(examples, split) or []  # a user's own type may return nothing
    return notes


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The training examples of a stage, those of all its datasets numbered through.

    Attributes:
        sizes: How many examples each dataset has.
        items: The pieces of each example.
        targets: For each task the target of each example, ``None`` where it lacks the layer.
        units: For each task the units of each example, 0 where it lacks the layer.
        lengths: The length of each example's longest row in pieces.
        rows: How many rows each example takes.
        left_out: How many examples carry no layer of the stage's tasks.
        replayed: Which of the datasets only tasks of earlier stages learn from, by their place in ``sizes``.
        examples: The examples themselves.
        soft_units: For each task that has teachers the units of each example that these label, 0 for others.
    """

    sizes: list[int]
    items: list[Pieces]
    targets: dict[str, list[Any]]
    units: dict[str, NDArray[np.int64]]
    lengths: NDArray[np.int64]
    rows: NDArray[np.int64]
    left_out: int = 0
    replayed: frozenset[int] = frozenset()
    examples: Sequence[Example] = ()
    soft_units: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def pieces(self) -> NDArray[np.int64]:
        """The ids of all pieces in the examples, sorted, special ones left out. Shape (ids,)."""
        return np.unique(np.concatenate([part for item in self.items for part in (item.ids, item.pair)]))


@dataclass(frozen=True, slots=True)
class Taught:
    """Which tasks of a stage learn from teachers too.

    Attributes:
        tasks: Their names.
        everywhere: Whether the texts of all the stage's datasets are labelled for them, or only of their own.
    """

    tasks: Sequence[str]
    everywhere: bool = False


class _Reader:
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


@dataclass
class Material:
    """Everything a run reads: datasets, and each split's pieces, made when first asked for."""

    encoder: Encoder
    datasets: dict[str, Dataset]
    pieces: dict[tuple[str, str], list[Pieces]] = field(default_factory=dict)

    def gold(self, split: str, tasks: Sequence[Task]) -> dict[str, Gold]:
        """The examples of a split, of the datasets that these tasks learn from."""
        names = [name for name in self.datasets if any(task.data == name for task in tasks)]
        return {
            name: Gold(self.datasets[name].splits[split], self._items(name, split))
            for name in names
            if split in self.datasets[name].splits
        }

    def training_set(
        self, tasks: Sequence[Task], replayed: Sequence[Task] = (), taught: Taught | None = None
    ) -> TrainingSet:
        """The training examples that carry a layer of one of these tasks, or that a teacher labels for one.

        Args:
            tasks: What the stage is about.
            replayed: Tasks of earlier stages, which go on learning.
            taught: Which of the tasks have teachers.
        """
        readers = [_Reader(task, self.datasets[task.data]) for task in tasks if taught and task.name in taught.tasks]
        learning = {task.data for task in tasks}
        tasks = [*tasks, *replayed]
        again: set[int] = set()
        sizes: list[int] = []
        items: list[Pieces] = []
        left_out = 0
        targets: dict[str, list[Any]] = {task.name: [] for task in tasks}
        units: dict[str, list[int]] = {task.name: [] for task in tasks}
        examples: list[Example] = []
        soft: dict[str, list[int]] = {reader.task.name: [] for reader in readers}
        for name, dataset in self.datasets.items():
            here = [task for task in tasks if task.data == name]
            if not here:
                continue
            labelled = [
                r for r in readers if r.task.data == name or (taught and taught.everywhere and name in learning)
            ]
            taken = 0
            for example, item in zip(dataset.splits["train"], self._items(name, "train"), strict=True):
                gold = {task.name: task.target(example) for task in here}
                found = {reader.task.name: reader.units(example) for reader in labelled}
                if all(target is None for target in gold.values()) and not any(found.values()):
                    left_out += 1
                    continue
                taken += 1
                items.append(item)
                examples.append(example)
                for task_name, numbers in soft.items():
                    numbers.append(found.get(task_name, 0))
                for task in tasks:
                    target = gold.get(task.name)
                    targets[task.name].append(target)
                    units[task.name].append(0 if target is None else task.units(example))
            if name not in learning:
                again.add(len(sizes))
            sizes.append(taken)
        lengths, rows = self.encoder.measure(items)
        counts, soft_counts = (
            {name: np.asarray(numbers, dtype=np.int64) for name, numbers in table.items()} for table in (units, soft)
        )
        replays = frozenset(again)
        return TrainingSet(sizes, items, targets, counts, lengths, rows, left_out, replays, examples, soft_counts)

    def _items(self, name: str, split: str) -> list[Pieces]:
        if (name, split) not in self.pieces:
            self.pieces[name, split] = self.encoder.tokenise(self.datasets[name].splits[split])
        return self.pieces[name, split]


def _check_layer(task: Task, dataset: Dataset, split: str) -> None:
    examples: Sequence[Example] = dataset.splits[split]
    found = next((example for example in examples if task.carries(example)), None)
    if found is None:
        known = {layer for example in examples for layer in example.layers}
        raise PolyheadError(
            f"tasks.{task.name}: no example of the {split} split of data.{dataset.name} has a layer {task.layer!r}.",
            file=examples[0].file,
            remedy=nearest(task.layer, known),
        )
    if not isinstance(found.layers[task.layer], task.kind):
        raise PolyheadError(
            f"tasks.{task.name}: layer {task.layer!r} does not hold {KIND_NAMES[task.kind]}.",
            file=found.file,
            line=found.line,
            remedy="Choose a task type that fits the layer.",
        )
    if task.words and not found.words:
        raise PolyheadError(
            f"tasks.{task.name} is about words, but the texts of data.{dataset.name} are not split into words.",
            file=found.file,
            line=found.line,
        )
