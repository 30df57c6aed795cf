"""Scores of a model on examples with gold, each task by its own scorer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from polyhead.data.example import Example
from polyhead.model import Model
from polyhead.nn.batch import cut_batches
from polyhead.nn.pieces import Pieces
from polyhead.predict import BUDGET, answer
from polyhead.tasks import Task

Scores = dict[str, dict[str, float]]
"""A task's name, then its figures by their usual names."""


@dataclass(frozen=True, slots=True)
class Gold:
    """Examples with gold, and their pieces, so that nothing is tokenised twice.

    Attributes:
        examples: The examples.
        items: Their pieces.
        blocks: For each task that learns from text alone the blocks to score it on.
    """

    examples: Sequence[Example]
    items: Sequence[Pieces]
    blocks: Mapping[str, Sequence[Pieces]] = field(default_factory=dict)


def score(model: Model, gold: Mapping[str, Gold], tasks: Sequence[str]) -> Scores:
    """Score tasks on the datasets that they learn from; a dataset is encoded once for all its tasks.

    Tasks whose dataset is missing or holds no example of their layer get no scores.

    Args:
        model: In evaluation mode.
        gold: The examples of each dataset.
        tasks: The tasks to score.
    """
    scores: Scores = {}
    for data, split in gold.items():
        for name in split.blocks:
            if name in tasks:
                scores[name] = _score_blocks(model, model.tasks[name], split.blocks[name])
        here = [model.tasks[name] for name in tasks if model.tasks[name].data == data]
        here = [task for task in here if task.annotates and any(task.carries(example) for example in split.examples)]
        if not here:
            continue
        answers = answer(model, split.items, [task.name for task in here])
        for task in here:
            rows = [i for i, example in enumerate(split.examples) if task.carries(example)]
            predicted = [answers[i][task.name].value for i in rows]
            scores[task.name] = task.score([split.examples[i] for i in rows], predicted)
    return {name: scores[name] for name in tasks if name in scores}


def _score_blocks(model: Model, task: Task, blocks: Sequence[Pieces]) -> dict[str, float]:
    """The figures of a task that learns from text alone; what is corrupted, and how, is the same each time."""
    sums: Counter[str] = Counter()
    lengths, rows = model.encoder.measure(blocks)
    for batch in cut_batches(np.arange(len(blocks)), lengths, rows, BUDGET):
        found = [task.corrupt(blocks[i], model.encoder.tokenizer, np.random.default_rng(i)) for i in batch.tolist()]
        encoded = model.encoder.collate([pieces for pieces, _ in found]).to(model.encoder.device)
        sums.update(model.measure(encoded, task.name, [target for _, target in found]))
    return task.figures(sums)


def mean_score(scores: Scores, tasks: Mapping[str, Task]) -> float | None:
    """The mean over tasks of each one's main figure, higher being better; ``None`` without scores.

    Tasks that learn from text alone are a means to an end: they count only where no other task has a score.
    """
    scored = [task for name, task in tasks.items() if name in scores]
    mains = [main_score(scores, task) for task in [t for t in scored if t.annotates] or scored]
    return sum(mains) / len(mains) if mains else None


def main_score(scores: Scores, task: Task) -> float:
    """The figure that says which weights are best for a task; higher is better."""
    figure = scores[task.name][task.metric]
    return -figure if task.lower_is_better else figure
