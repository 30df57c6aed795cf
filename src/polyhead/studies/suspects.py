"""Which labels of the training data to look at again: suspected label errors.

The training split is cut into parts, and each part is answered by a run that learnt from the others, in the way of the
study's best run. Where such a run, which has never seen a label, is sure of another one, the label is suspect:
confident learning (Northcutt et al. 2021) as cleanlab computes it says how many of the labels are wrong, about, and
which. Parts are a few trainings, so they go through the study's queue: they are done once, and gone on with.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyhead.data import Example
from polyhead.errors import PolyheadError
from polyhead.files import read_json, write_json, write_text
from polyhead.inspection import AROUND, LONGEST
from polyhead.nn.words import IGNORE
from polyhead.studies.held import Held, read_held
from polyhead.studies.ways import Lesson
from polyhead.tasks import Task

PARTS = 4
"""Into how many parts the training split is cut."""

LIST, SHOWN = "suspects.jsonl", 50
"""The file of a study with every training text, the most suspect first, and how many of them are kept to be shown."""

VERSION = 1
"""Of what is kept."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label to look at again.

    Attributes:
        before, here, after: The text around what it is about, that, and what follows; a whole text is all ``here``.
        gold: What stands in the data.
        instead: What a run says that has not seen it.
        chance: How probable that run holds gold, from 0 to 1; of numbers how far off gold is, in standard deviations.
        file, line: Where it stands.
    """

    before: str
    here: str
    after: str
    gold: str
    instead: str
    chance: float
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Suspects:
    """What there is to say of the training data's labels.

    Attributes:
        texts: How many texts were judged.
        units: How many labels of them.
        errors: About how many are wrong; ``None`` for numbers, of which nothing says so.
        listed: The most suspect, one of each text.
        numbers: Whether the labels are numbers.
    """

    texts: int
    units: int
    errors: int | None
    listed: list[Suspect] = field(default_factory=list)
    numbers: bool = False

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Suspects:
        """The inverse of ``dataclasses.asdict``, from JSON too."""
        return cls(**{**table, "listed": [Suspect(**one) for one in table["listed"]]})


@dataclass(frozen=True)
class Judged:
    """How suspect each unit of the training data is.

    Attributes:
        texts: The place of its text in the training split. Shape (units,).
        units: Its place in the text. Shape (units,).
        quality: From 0, surely wrong, to 1. Shape (units,).
        chance: What is shown of it (``Suspect.chance``). Shape (units,).
        instead: What the run says: the place of a choice, or a number. Shape (units,).
        errors: About how many are wrong; ``None`` if nothing says so.
    """

    texts: NDArray[np.int64]
    units: NDArray[np.int64]
    quality: Floats
    chance: Floats
    instead: Floats
    errors: int | None


def has_cleanlab() -> bool:
    """Whether the library is there that label errors are found with."""
    try:
        import cleanlab  # noqa: F401
    except ImportError:
        return False
    return True


def gather(folder: Path, runs: Path, lessons: Sequence[Lesson], task: Task, examples: Sequence[Example]) -> Suspects:
    """What the finished runs of the parts say together; kept in the study's folder, and found again there.

    Args:
        folder: The study's.
        runs: Where its runs are.
        lessons: Those of the parts.
        task: The target, prepared.
        examples: Its training split.
    """
    key = hashlib.sha256(json.dumps([VERSION, *(lesson.key for lesson in lessons)]).encode()).hexdigest()[:8]
    path = folder / f"suspects-{key}.json"
    if path.exists() and (folder / LIST).exists():
        return Suspects.from_dict(read_json(path, "texts", "units", "listed"))
    found = judge(task, examples, [read_held(runs / lesson.key) for lesson in lessons])
    order = _worst_first(found)
    every = [_suspect(task, examples, found, place) for place in order]
    lines = [json.dumps({"rank": rank} | asdict(one), ensure_ascii=False) for rank, one in enumerate(every, 1)]
    write_text(folder / LIST, "".join(f"{line}\n" for line in lines))
    units = len(found.texts)
    suspects = Suspects(len(order), units, found.errors, every[:SHOWN], task.kind is float)
    write_json(path, asdict(suspects))
    return suspects


def judge(task: Task, examples: Sequence[Example], held: Sequence[Held]) -> Judged:
    """How suspect each label is.

    Args:
        task: Prepared on all of the training split.
        examples: The training split.
        held: What runs say of the parts that they have not seen.
    """
    if task.kind is float:
        return _numbers(task, examples, held)
    gold, chances, texts, units = _table(task, examples, held)
    known = (gold != IGNORE) & (chances.sum(axis=1) > 0)
    # A run that has never seen a label cannot say that it is wrong.
    known &= np.take_along_axis(chances, np.where(known, gold, 0)[:, None], axis=1)[:, 0] > 0
    gold, chances, texts, units = gold[known], chances[known], texts[known], units[known]
    chances /= chances.sum(axis=1, keepdims=True)
    quality, errors = np.ones(len(gold)), 0
    for group in np.unique(units) if task.separate else [None]:
        here = np.ones(len(gold), dtype=bool) if group is None else units == group
        if here.any():
            quality[here], count = _confident(gold[here], chances[here])
            errors += count
    own = np.take_along_axis(chances, gold[:, None], axis=1)[:, 0] if len(gold) else np.zeros(0)
    return Judged(texts, units, quality, own, _other(gold, chances), errors)


def _confident(gold: NDArray[np.int64], chances: Floats) -> tuple[Floats, int]:
    """The quality of labels, and about how many are wrong, by cleanlab; of one class alone nothing can be said.

    Choices that nobody made stand together as one, so that thousands of them cost nothing.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    classes, labels = np.unique(gold, return_inverse=True)
    rest = np.clip(1 - chances[:, classes].sum(axis=1, keepdims=True), 0, 1)
    table = np.hstack([chances[:, classes], rest]) if len(classes) < chances.shape[1] else chances[:, classes]
    table = np.clip(table, 1e-9, 1)
    table /= table.sum(axis=1, keepdims=True)
    quality = get_label_quality_scores(labels, table, method="self_confidence")
    if len(classes) < 2:
        return quality, 0
    named = table[:, : len(classes)] / table[:, : len(classes)].sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rare classes it says that not all errors may be found
        wrong = find_label_issues(labels, named, filter_by="prune_by_noise_rate", n_jobs=1)
    return quality, int(np.asarray(wrong).sum())


def _other(gold: NDArray[np.int64], chances: Floats) -> Floats:
    """The likeliest choice beside gold. Shape (units,)."""
    if not len(gold):
        return np.zeros(0)
    left = chances.copy()
    np.put_along_axis(left, gold[:, None], -1.0, axis=1)
    found: Floats = left.argmax(axis=1).astype(np.float64)
    return found


def _table(
    task: Task, examples: Sequence[Example], held: Sequence[Held]
) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Of all units: gold, the probabilities of the task's choices and of the nameless, the text, the place in it."""
    own = {name: place for place, name in enumerate(task.choices())}
    width = 2 if task.separate else len(own) + 1
    parts: list[tuple[NDArray[Any], ...]] = []
    for one in held:
        wide = np.zeros((len(one.chances), width))
        if task.separate:
            wide[:, :2] = one.chances
        else:
            columns = [own.get(name, len(own)) for name in one.choices]
            columns += [len(own)] * (one.chances.shape[1] - len(columns))
            for column, values in zip(columns, one.chances.T, strict=True):
                wide[:, column] += values
        marks = [task.marks(task.target(examples[place])) for place in one.places]
        inside = [np.arange(count) for count in one.counts]
        empty = np.zeros(0, dtype=np.int64)
        parts.append(
            (
                np.concatenate([*marks, empty]),
                wide,
                np.repeat(one.places, one.counts),
                np.concatenate([*inside, empty]),
            )
        )
    gold, chances, texts, units = (np.concatenate(column) for column in zip(*parts, strict=True))
    return gold, chances, texts, units


def _numbers(task: Task, examples: Sequence[Example], held: Sequence[Held]) -> Judged:
    """Of numbers: how far gold is from what a run says that has not seen it, by cleanlab."""
    from cleanlab.regression.rank import get_label_quality_scores

    texts = np.concatenate([one.places for one in held])
    given = np.concatenate([one.chances[:, 0] for one in held]).astype(np.float64)
    gold = np.asarray([examples[place].layers[task.layer] for place in texts], dtype=np.float64)
    quality = get_label_quality_scores(gold, given, method="residual")
    spread = float(np.std(gold - given)) or 1.0
    return Judged(texts, np.zeros_like(texts), quality, (gold - given) / spread, given, None)


def _worst_first(found: Judged) -> list[int]:
    """The most suspect unit of each text, the most suspect text first."""
    order = np.argsort(found.quality, kind="stable")
    _, first = np.unique(found.texts[order], return_index=True)
    return order[np.sort(first)].tolist()  # type: ignore[no-any-return]


def _suspect(task: Task, examples: Sequence[Example], found: Judged, place: int) -> Suspect:
    text, unit = int(found.texts[place]), int(found.units[place])
    example = examples[text]
    chance = round(float(found.chance[place]), 4)
    if task.kind is float:
        gold, instead = f"{example.layers[task.layer]:g}", f"{found.instead[place]:.4g}"
    else:
        mark = int(task.marks(task.target(example))[unit])
        gold = task.reading(example, unit, mark)
        instead = task.reading(example, unit, int(found.instead[place]))
    if not task.words:
        words = example.running + (f" / {example.pair}" if example.pair is not None else "")
        return Suspect("", words[:LONGEST], "", gold, instead, chance, example.file, example.line)
    before, after = example.words[max(0, unit - AROUND) : unit], example.words[unit + 1 : unit + 1 + AROUND]
    line = example.lines[unit] if example.lines else example.line
    return Suspect(" ".join(before), example.words[unit], " ".join(after), gold, instead, chance, example.file, line)


def parts_of(count: int) -> int:
    """Into how many parts so many examples are cut.

    Raises:
        PolyheadError: They are too few.
    """
    if count < 2:
        raise PolyheadError("Label errors cannot be looked for in one example.", remedy="Give more examples.")
    return min(PARTS, count)


def explain_missing(tell: Callable[[str], object]) -> None:
    """Say what is missing, and how to have it."""
    tell("suspected label errors need cleanlab, which is not installed: pip install 'polyhead[labels]'")
