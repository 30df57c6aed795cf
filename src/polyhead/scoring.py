"""Scores of a model on examples with gold, each task by its own scorer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polyhead import ranks
from polyhead.answering.batches import BUDGET, by_length
from polyhead.data.example import Example, Value
from polyhead.intervals import Answered, Intervals, intervals
from polyhead.model import Model
from polyhead.nn.batch import cut_batches
from polyhead.nn.pieces import Pieces
from polyhead.predict import ExportedModel, answer, answer_batch
from polyhead.tasks import Task

Scores = dict[str, dict[str, float]]
"""A task's name, then its figures by their usual names."""

Signatures = dict[str, dict[str, str]]
"""A task's name, then how those of its figures are computed exactly that have a signature (``Task.signatures``)."""

_SHARES = {
    *("accuracy", "precision", "recall", "f1", "macro_f1", "micro_f1", "uas", "las", "las_universal", "clas"),
    *("bleu", "chrf"),
}


def figure(name: str, value: float) -> str:
    """A figure as the field prints it: shares in per cent, all others as they are."""
    return f"{100 * value:.2f}" if name in _SHARES else f"{value:.3f}"


def scale(name: str) -> float:
    """By what a figure is multiplied where it is drawn, so that it stands as :func:`figure` prints it."""
    return 100.0 if name in _SHARES else 1.0


def within(name: str, value: float, least: float = 0.0) -> float:
    """The end of an interval, put where figures can be: shares lie between 0 and 1, their differences from -1 on."""
    return min(1.0, max(least, value)) if name in _SHARES else value


def stage_rows(stages: Sequence[Mapping[str, Any]], main: Mapping[str, str], blank: str) -> list[list[str]]:
    """What each stage gained and lost: for each task its name, then its main figure after each stage.

    Args:
        stages: What a run's ``stages.json`` holds.
        main: The name of each task's main figure.
        blank: What stands where a task has no figure yet.
    """
    rows = []
    for task in stages[-1]["scores"]:
        row, before = [f"{task} {main[task]}"], None
        for stage in stages:
            value = stage["scores"].get(task, {}).get(main[task])
            row.append(blank if value is None else changed(main[task], before, value))
            before = before if value is None else value
        rows.append(row)
    return rows


def signature_lines(signatures: Mapping[str, Mapping[str, str]]) -> list[str]:
    """How figures are computed exactly, a line for each."""
    return [f"{task} {name}: {one}" for task, found in signatures.items() for name, one in found.items()]


def changed(name: str, before: float | None, value: float) -> str:
    """A figure, and by how much it is another than before."""
    if before is None:
        return figure(name, value)
    return f"{figure(name, value)} ({signed(name, value - before)})"


def signed(name: str, difference: float) -> str:
    """A difference of figures, as :func:`figure` prints them, with its sign."""
    return f"{'+' if difference >= 0 else '-'}{figure(name, abs(difference))}"


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


def score(model: Model | ExportedModel, gold: Mapping[str, Gold], tasks: Sequence[str]) -> Scores:
    """Score tasks on the datasets that they learn from; a dataset is encoded once for all its tasks.

    Several processes each answer for a share of the examples; the first one scores, and tells the others.

    Tasks whose dataset is missing or holds no example of their layer get no scores.

    Args:
        model: In evaluation mode.
        gold: The examples of each dataset.
        tasks: The tasks to score.
    """
    found = answered(model, gold, tasks)
    scores = {given.task.name: given.task.score(given.examples, given.predicted) for given in found}
    scores |= {name: _score_blocks(model, model.tasks[name], blocks) for name, blocks in _blocks(gold, tasks)}
    return ranks.told({name: scores[name] for name in tasks if name in scores})


@dataclass(frozen=True, slots=True)
class Measured:
    """Scores, and how sure they are.

    Attributes:
        scores: Each task's figures.
        intervals: Their intervals.
        signatures: How figures are computed exactly, of the tasks whose figures say so.
    """

    scores: Scores
    intervals: dict[str, Intervals]
    signatures: Signatures = field(default_factory=dict)


def measure(
    model: Model | ExportedModel,
    gold: Mapping[str, Gold],
    tasks: Sequence[str],
    see: Callable[[Answered], object] | None = None,
) -> Measured:
    """As :func:`score`, with intervals; ``see`` is called with what the model answered in each task."""
    scores: Scores = {}
    sure: dict[str, Intervals] = {}
    for given in answered(model, gold, tasks):
        if see is not None:
            see(given)
        scores[given.task.name] = given.task.score(given.examples, given.predicted)
        sure[given.task.name] = intervals(given.task, given.examples, given.predicted)
    for name, blocks in _blocks(gold, tasks):
        scores[name] = _score_blocks(model, model.tasks[name], blocks)
        sure[name] = Intervals(len(blocks), 0, {})  # blocks of running text are no sample of examples
    names = [name for name in tasks if name in scores]
    signatures = {name: found for name in names if (found := model.tasks[name].signatures())}
    return Measured({name: scores[name] for name in names}, {name: sure[name] for name in names}, signatures)


def answered(model: Model | ExportedModel, gold: Mapping[str, Gold], tasks: Sequence[str]) -> Iterator[Answered]:
    """Each task that annotates with the examples of its layer, if there are some, and the answers for them."""
    for data, split in gold.items():
        here = [model.tasks[name] for name in tasks if model.tasks[name].data == data]
        here = [task for task in here if task.annotates and any(task.carries(example) for example in split.examples)]
        if not here:
            continue
        answers = _answers(model, split.items, [task.name for task in here])
        for task in here if ranks.first() else ():
            rows = [i for i, example in enumerate(split.examples) if task.carries(example)]
            predicted = [answers[i][task.name] for i in rows]
            yield Answered(task, [split.examples[i] for i in rows], predicted)


def _answers(model: Model | ExportedModel, items: Sequence[Pieces], tasks: Sequence[str]) -> list[dict[str, Value]]:
    """The answers of some tasks for each example, on the first of several processes, which share the work."""
    if isinstance(model, ExportedModel):  # is scored by one process
        alone = answer(model, items, tasks, sure=False)
        return [{name: prediction.value for name, prediction in one.items()} for one in alone]
    batches = by_length(model.encoder.measure(items), BUDGET)
    mine: list[tuple[int, dict[str, Value]]] = []
    for place, counts in _rounds(model, len(batches)):
        rows = batches[place].tolist()
        for row, answers in zip(
            rows, answer_batch(model, [items[row] for row in rows], tasks, sure=False), strict=True
        ):
            if counts:
                mine.append((row, {name: prediction.value for name, prediction in answers.items()}))
    out: list[dict[str, Value]] = [{} for _ in items]
    for found in ranks.gathered(mine):
        for row, values in found:
            out[row] = values
    return out


def _rounds(model: Model, batches: int) -> list[tuple[int, bool]]:
    """Which of so many batches this process does, and whether what comes out counts: where the encoder is divided among
    processes, all must run it equally often, so that some do a batch that another one does, too."""
    mine = [(place, True) for place in ranks.parts(batches)]
    if model.encoder.root is not None and batches:
        mine += [(0, False)] * (-(-batches // ranks.world()) - len(mine))
    return mine


def _blocks(gold: Mapping[str, Gold], tasks: Sequence[str]) -> list[tuple[str, Sequence[Pieces]]]:
    """The tasks that learn from text alone, with their blocks."""
    return [(name, blocks) for split in gold.values() for name, blocks in split.blocks.items() if name in tasks]


def _score_blocks(model: Model | ExportedModel, task: Task, blocks: Sequence[Pieces]) -> dict[str, float]:
    """The figures of a task that learns from text alone; what is corrupted, and how, is the same each time."""
    assert isinstance(model, Model), "an exported model has no such tasks"
    sums: Counter[str] = Counter()
    lengths, heights = model.encoder.measure(blocks)
    lengths = np.maximum(lengths, [0 if block.target is None else len(block.target) for block in blocks])
    batches = cut_batches(np.arange(len(blocks)), lengths, heights, BUDGET)
    for place, counts in _rounds(model, len(batches)):
        rows = batches[place].tolist()
        found = [task.corrupt(blocks[i], model.encoder.tokenizer, np.random.default_rng(i)) for i in rows]
        encoded = model.encoder.collate([pieces for pieces, _ in found]).to(model.encoder.device)
        measured = model.measure(encoded, task.name, [target for _, target in found])
        if counts:
            sums.update(measured)
    names = sorted({name for one in ranks.shared(sorted(sums)) for name in one})
    totals = ranks.sums([sums[name] for name in names])
    return task.figures(Counter(dict(zip(names, totals, strict=True))))


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
