"""From a recipe to what a run trains on: datasets, prepared tasks, and every example tokenised once."""

from __future__ import annotations

import hashlib
import socket
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyhead import ranks
from polyhead.data import Dataset, DataSpec, Example, load_dataset, stream_dataset
from polyhead.data.dataset import SPLITS
from polyhead.data.example import KIND_NAMES
from polyhead.data.stream import Stream
from polyhead.errors import PolyheadError, nearest
from polyhead.launch import wishes
from polyhead.nn.encoder import Encoder
from polyhead.nn.pieces import Pieces
from polyhead.nn.precision import Precision, choose_precision, find_device
from polyhead.recipe import Recipe
from polyhead.scoring import Gold
from polyhead.tasks import Packing, Task
from polyhead.training.blocks import LAYOUT, Blocks, write
from polyhead.training.examples import Chain, OwnBlocks, Reader, Taught, TrainingSet
from polyhead.training.learning import see_extras

_CHANGE = "Change that setting of tasks.{}, or its training files."


def check_stages(recipe: Recipe) -> None:
    """See that every stage can do what it says.

    Raises:
        PolyheadError: A stage has patience and no scores to wait for, or needs a library that is not installed.
    """
    with recipe.blamed():
        see_extras(recipe.stages)
    for number, stage in enumerate(recipe.stages, 1):
        read = {str(recipe.tasks[name]["data"]) for name in stage.tasks}
        if stage.patience is not None and all(recipe.data[name].dev is None for name in read):
            with recipe.blamed():
                raise PolyheadError(
                    f"stages[{number}].patience = {stage.patience}, but none of the stage's datasets has a dev split.",
                    remedy="Add dev = 0.1 to a dataset, or leave patience out.",
                )


def device_of(recipe: Recipe) -> torch.device:
    """The device that a recipe names; of several processes each has its own GPU, which it calls ``cuda``.

    Raises:
        PolyheadError: It is not to be had here, or several processes would share one GPU.
    """
    with recipe.blamed():
        device = find_device("cpu" if wishes().cpu and recipe.device == "auto" else recipe.device)
        if ranks.several() and device.type != "cpu":
            _see_own_gpu(device, recipe.device)
    return device


def precision_of(recipe: Recipe, device: torch.device) -> Precision:
    """What a recipe computes in on a device."""
    return choose_precision(device) if recipe.precision == "auto" else recipe.precision


def _see_own_gpu(device: torch.device, name: str) -> None:
    """See that each process has a GPU of its own."""
    if device.type != "cuda":
        raise PolyheadError(
            f"device = {name!r}: several processes train on GPUs of NVIDIA or AMD, or on CPUs.",
            remedy='Take device = "cpu", or one process.',
        )
    if device.index is not None:
        raise PolyheadError(
            f"device = {name!r} is one GPU, but there are {ranks.world()} processes.",
            remedy='Take device = "auto": each process then has its own.',
        )
    mine = str(getattr(torch.cuda.get_device_properties(device), "uuid", torch.cuda.current_device()))
    everyone = ranks.shared((socket.gethostname(), mine))
    host, shared = Counter(everyone).most_common(1)[0]
    if shared > 1:
        raise PolyheadError(
            f"{shared} processes on {host[0]} would share one GPU.",
            remedy="Start as many processes on each machine as it has GPUs: --nproc-per-node, or --num_processes.",
        )


def load_datasets(recipe: Recipe, tasks: Mapping[str, Task], splits: Sequence[str]) -> dict[str, Dataset]:
    """Read the datasets that some task learns from, and see that they fit the tasks.

    Raises:
        PolyheadError: A file is broken, a layer is missing, or two tasks want a layer to be of different kinds.
    """
    datasets = {}
    for name, spec in recipe.data.items():
        if not any(task.data == name for task in tasks.values()):
            continue
        datasets[name] = read_dataset(name, spec, recipe.base, tasks, splits)
        for task in tasks.values():
            if task.data != name or not task.annotates:
                continue
            for split in datasets[name].splits:
                _check_layer(task, datasets[name], split)
    return datasets


def read_dataset(
    name: str, spec: DataSpec, base: Path, tasks: Mapping[str, Task], splits: Sequence[str] = SPLITS
) -> Dataset:
    """Read a dataset; as a stream, if only tasks learn from it that need its texts alone."""
    here = [task for task in tasks.values() if task.data == name]
    if here and not any(task.annotates for task in here):
        return stream_dataset(name, spec, base, splits)
    return load_dataset(name, spec, base, layer_kinds(here), splits)


def layer_kinds(tasks: Sequence[Task]) -> dict[str, type]:
    """The kind of value that each layer must hold for these tasks."""
    kinds: dict[str, type] = {}
    for task in tasks:
        if not task.annotates:
            continue
        if kinds.setdefault(task.layer, task.kind) is not task.kind:
            raise PolyheadError(
                f"tasks.{task.name} wants layer {task.layer!r} to be {KIND_NAMES[task.kind]}, another task "
                f"{KIND_NAMES[kinds[task.layer]]}.",
                remedy="Name the same files as a second dataset for one of them.",
            )
    return kinds


def prepare_tasks(tasks: Mapping[str, Task], datasets: Mapping[str, Dataset]) -> list[str]:
    """Let every task learn its labels from the training split, and check the other splits against them.

    Tasks that share a head learn from the training splits of all of them.

    Returns:
        Notes on gold that no prediction can match.

    Raises:
        PolyheadError: There is no training split, or a label is known to dev or test alone.
    """
    notes = []
    for name, task in tasks.items():
        if task.head_of is None:
            sharing = [task, *(other for other in tasks.values() if other.head_of == name)]
            _prepare_head(sharing, [_train(datasets[one.data]) for one in sharing])
    shared = {other for task in tasks.values() if task.head_of for other in (task.name, task.head_of)}
    for name, task in tasks.items():
        for split, examples in datasets[task.data].splits.items():
            if split != "train" or name in shared:
                notes += task.check(examples, split) or []  # a user's own type may return nothing
    return notes


def _train(dataset: Dataset) -> Sequence[Example]:
    if "train" not in dataset.splits:
        raise PolyheadError(f"data.{dataset.name} has no training split.", remedy='Add train = "FILE".')
    return dataset.splits["train"]


def _prepare_head(tasks: Sequence[Task], splits: Sequence[Sequence[Example]]) -> None:
    """Let tasks that share a head learn their labels, the first one being that which has it."""
    first = tasks[0]

    def lessons() -> Iterator[Example]:
        for task, texts in zip(tasks, splits, strict=True):
            yield from (seen for example in texts if (seen := task.lesson(example, first)) is not None)

    first.shared_with(tasks[1:])
    if all(task.annotates for task in tasks):
        first.prepare(list(lessons()))
    else:  # perhaps more than memory holds
        first.prepare(Stream(lessons, sum(map(_lessons_in, tasks, splits))))
    for task in tasks[1:]:
        task.take_learnt(first)


def _lessons_in(task: Task, texts: Sequence[Example]) -> int:
    return sum(map(task.carries, texts)) if task.annotates else len(texts)


@dataclass
class Material:
    """Everything a run reads: datasets, and each split's pieces, made when first asked for.

    Attributes:
        encoder: Whose pieces.
        datasets: By name.
        folder: Where blocks of text are written and found again; without it, in a folder that goes with this object.
        pieces: What was tokenised so far.
        targets: What each task is to learn from each example of its training split, as far as it was asked for.
    """

    encoder: Encoder
    datasets: dict[str, Dataset]
    folder: Path | None = None
    pieces: dict[tuple[str, str], list[Pieces]] = field(default_factory=dict)
    targets: dict[str, list[Any]] = field(default_factory=dict)

    def gold(self, split: str, tasks: Sequence[Task]) -> dict[str, Gold]:
        """The examples of a split, of the datasets that these tasks learn from."""
        found = {}
        for name, dataset in self.datasets.items():
            here = [task for task in tasks if task.data == name]
            if not here or split not in dataset.splits:
                continue
            blocks = {task.name: self.blocks(task, split) for task in here if not task.annotates}
            read = len(blocks) < len(here)
            found[name] = Gold(dataset.splits[split] if read else (), self._items(name, split) if read else (), blocks)
        return found

    def training_set(
        self, tasks: Sequence[Task], replayed: Sequence[Task] = (), taught: Taught | None = None
    ) -> TrainingSet:
        """The training examples that carry a layer of one of these tasks, or that a teacher labels for one, and the
        blocks that others learn from.

        Args:
            tasks: What the stage is about.
            replayed: Tasks of earlier stages, which go on learning.
            taught: Which of the tasks have teachers.
        """
        labelled = self._labelled(
            [task for task in tasks if task.annotates], [task for task in replayed if task.annotates], taught
        )
        texts = [task for task in (*tasks, *replayed) if not task.annotates]
        return self._with_blocks(labelled, texts, {task.name for task in replayed}) if texts else labelled

    def see_targets(self, tasks: Sequence[Task]) -> None:
        """See that each of these tasks has something to learn.

        Raises:
            PolyheadError: Of the examples that carry a task's layer none can be learnt from.
        """
        for task in tasks:
            if task.annotates and all(target is None for target in self._targets(task)):
                why = " ".join(task.remarks()) or f"tasks.{task.name}: each training example was left out"
                raise PolyheadError(f"{why}. Nothing is left to learn.", remedy=_CHANGE.format(task.name))

    def _labelled(self, tasks: Sequence[Task], replayed: Sequence[Task], taught: Taught | None) -> TrainingSet:
        """The training examples that carry a layer of one of these tasks, or that a teacher labels for one."""
        readers = [Reader(task, self.datasets[task.data]) for task in tasks if taught and task.name in taught.tasks]
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
            known = zip(*(self._targets(task) for task in here), strict=True)
            for example, item, each in zip(dataset.splits["train"], self._items(name, "train"), known, strict=True):
                gold = {task.name: target for task, target in zip(here, each, strict=True)}
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
                    units[task.name].append(0 if target is None else task.units(example, target))
            if name not in learning:
                again.add(len(sizes))
            sizes.append(taken)
        lengths, rows = self.encoder.measure(items)
        for task in tasks:  # what a head reads of its own needs as much room
            lengths = np.maximum(lengths, [0 if t is None else task.steps(t) for t in targets[task.name]])
        counts, soft_counts = (
            {name: np.asarray(numbers, dtype=np.int64) for name, numbers in table.items()} for table in (units, soft)
        )
        replays = frozenset(again)
        made = TrainingSet(sizes, items, targets, counts, lengths, rows, left_out, replayed=replays)
        remarks = [remark for task in tasks for remark in task.remarks()]
        return replace(made, examples=examples, soft_units=soft_counts, remarks=remarks)

    def _with_blocks(self, labelled: TrainingSet, tasks: Sequence[Task], replayed: Collection[str]) -> TrainingSet:
        """The same examples, and after them the blocks of each of these tasks."""
        blocks = [self.blocks(task, "train") for task in tasks]
        ends = list(accumulate((len(one) for one in blocks), initial=len(labelled.items)))
        own = {task.name: OwnBlocks(task, range(*rows)) for task, rows in zip(tasks, pairwise(ends), strict=True)}
        again = {len(labelled.sizes) + i for i, task in enumerate(tasks) if task.name in replayed}
        special = self.encoder.tokenizer.single.size
        frames = [one.lengths + special for one in blocks]
        none = np.zeros(ends[-1] - ends[0], dtype=np.int64)
        units = {name: np.concatenate([counts, none]) for name, counts in labelled.units.items()}
        for i, (task, here) in enumerate(zip(tasks, blocks, strict=True)):
            measured = here.lengths if here.targets is None else here.target_lengths
            counts = np.asarray([task.block_units(n) for n in range(int(measured.max()) + 1)])
            units[task.name] = np.zeros(ends[-1], dtype=np.int64)
            units[task.name][ends[i] : ends[i + 1]] = counts[measured]
            if here.targets is not None:  # what a head reads of its own needs as much room
                frames[i] = np.maximum(frames[i], counts[measured])
        lengths = np.concatenate(frames)
        return replace(
            labelled,
            sizes=[*labelled.sizes, *map(len, blocks)],
            items=Chain([labelled.items, *blocks]),
            units=units,
            soft_units={n: np.concatenate([u, none]) for n, u in labelled.soft_units.items()},
            lengths=np.concatenate([labelled.lengths, lengths]),
            rows=np.concatenate([labelled.rows, np.ones_like(lengths)]),
            replayed=labelled.replayed | again,
            blocks=own,
        )

    def blocks(self, task: Task, split: str) -> Blocks:
        """The texts of a split as blocks; written anew unless they are there already.

        What a file of blocks is called says all that its content depends on, and it gets its name when it is whole.
        """
        dataset, tokenizer, packing = self.datasets[task.data], self.encoder.tokenizer, task.packing
        packing = packing._replace(block=min(packing.block, self.encoder.window) - tokenizer.single.size)
        facts = [LAYOUT, dataset.fingerprint, split, tokenizer.tokenizer.to_str(), tokenizer.unknown]
        facts += [packing.block, packing.joined]
        if packing.vocabulary is not None:
            facts += [packing.vocabulary.tokenizer.to_str(), packing.longest]
        folder = self._folder / hashlib.sha256(repr(facts).encode()).hexdigest()[:20]
        if self.folder is None:  # of this process alone
            self._write(dataset.splits[split], folder, packing)
        else:
            ranks.once(lambda: self._write(dataset.splits[split], folder, packing))
        return replace(Blocks.open(folder), code=tokenizer.code_of(dataset.spec.language_code))

    def _write(self, texts: Sequence[Example], folder: Path, packing: Packing) -> None:
        if not folder.is_dir():
            write(texts, self.encoder.tokenizer, folder, packing)

    @cached_property
    def _folder(self) -> Path:
        if self.folder is not None:
            return self.folder
        self._temporary = tempfile.TemporaryDirectory(prefix="polyhead-")  # deleted with this object
        return Path(self._temporary.name)

    def _targets(self, task: Task) -> list[Any]:
        if task.name not in self.targets:
            self.targets[task.name] = [task.target(example) for example in self.datasets[task.data].splits["train"]]
        return self.targets[task.name]

    def _items(self, name: str, split: str) -> list[Pieces]:
        if (name, split) not in self.pieces:
            dataset = self.datasets[name]
            self.pieces[name, split] = self.encoder.tokenise(dataset.splits[split], dataset.spec.language_code)
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
