"""A closer look at what a run answers in one task: scores by label, confusions, errors to read, calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from polyhead.calibration import Calibration, answers_at, calibrate, carrying
from polyhead.data.example import Example, Prediction, Spans, Text
from polyhead.files import read_json, write_json
from polyhead.model import Model
from polyhead.outcomes import LabelScore, Outcome, confusions, label_scores, outcomes
from polyhead.recipe import load_recipe
from polyhead.scoring import Gold
from polyhead.text_metrics import chrf_of
from polyhead.training.run import Where, open_gold

FILE = "inspection.json"
"""The file of a run with what was found, so that it is looked for once."""

VERSION = 1
"""Of what is in that file."""

MOST_SLIPS, MOST_ALIKE = 20, 3
"""How many errors are kept to be read, and how many of one kind."""

AROUND = 12
"""Words before and after the one that an error is about."""

LONGEST = 600
"""Characters of a text that are kept."""

MOST_PAIRS = 500
"""Of so many numbers gold and answer are kept, for a picture."""


@dataclass(frozen=True, slots=True)
class Slip:
    """An error to read.

    Attributes:
        before, here, after: The text around what it is about, that, and what follows; a whole text is all ``here``.
        gold, given: What stands in gold and in the answer; ``None`` for nothing.
        sure: How sure the answer was; ``None`` where nothing was answered.
        file, line: Where the text was read.
    """

    before: str
    here: str
    after: str
    gold: str | None
    given: str | None
    sure: float | None
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a closer look at one task of a run found.

    Attributes:
        task, metric: The task, and its main figure.
        split: What was looked at.
        examples: How many there are.
        figures: All figures.
        labels: How each label fares; none for numbers and texts.
        confusions: What was taken for what (``None``: for nothing), and how often.
        slips: Errors, of each kind those first that the model was surest of.
        pairs: Of numbers: gold and answer.
        calibration: ``None`` where confidences cannot be judged, and ``uncalibrated`` says why.
        uncalibrated: Why not.
    """

    task: str
    metric: str
    split: str
    examples: int
    figures: dict[str, float]
    labels: list[LabelScore] = field(default_factory=list)
    confusions: list[tuple[str | None, str | None, int]] = field(default_factory=list)
    slips: list[Slip] = field(default_factory=list)
    pairs: list[tuple[float, float]] = field(default_factory=list)
    calibration: Calibration | None = None
    uncalibrated: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Inspection:
        """The inverse of ``to_dict``, from JSON too."""
        found = dict(table)
        found["labels"] = [LabelScore(**one) for one in table["labels"]]
        found["confusions"] = [(gold, given, count) for gold, given, count in table["confusions"]]
        found["slips"] = [Slip(**one) for one in table["slips"]]
        found["pairs"] = [(gold, given) for gold, given in table["pairs"]]
        found["calibration"] = Calibration.from_dict(table["calibration"]) if table["calibration"] else None
        return cls(**found)


def inspect_run(
    folder: Path, only: Sequence[str] | None = None, tell: Callable[[str], object] = lambda _: None
) -> dict[str, Inspection]:
    """A closer look at the tasks of a finished run that annotate, on the test split, or on dev where there is none.

    What was found is kept in the run's folder, and found again there.

    Args:
        folder: The run.
        only: The tasks; by default all.
        tell: Called with each note on the data.

    Raises:
        PolyheadError: The data is gone or broken, or there is no model.
    """
    path = folder / FILE
    kept = read_json(path, "tasks", "version") if path.exists() else {}
    known = {}
    if kept.get("version") == VERSION:
        known = {name: Inspection.from_dict(one) for name, one in kept["tasks"].items()}
    recipe = load_recipe(folder / "recipe.toml")
    tasks = recipe.make_tasks()
    names = [name for name, task in tasks.items() if task.annotates and (only is None or name in only)]
    for name in [name for name in names if name not in known]:
        spec = recipe.data[tasks[name].data]
        split = "test" if spec.test is not None else "dev" if spec.dev is not None else None
        if split is None:
            continue
        model, gold, _ = open_gold(folder, Where(split, only=[name]), tell)
        assert isinstance(model, Model), "a run has a model of torch"
        dev = None
        if spec.dev is not None:
            dev = gold if split == "dev" else open_gold(folder, Where("dev", only=[name]), tell)[1]
        data = tasks[name].data
        known[name] = inspect(model, name, gold[data], None if dev is None else dev[data], split)
        write_json(path, {"version": VERSION, "tasks": {one: found.to_dict() for one, found in known.items()}})
    return {name: known[name] for name in names if name in known}


def inspect(model: Model, name: str, scored: Gold, dev: Gold | None, split: str) -> Inspection:
    """A closer look at one task.

    Args:
        model: In evaluation mode.
        name: The task.
        scored: The examples to look at, at least one with the task's layer.
        dev: What the temperature is found on; perhaps ``scored`` itself.
        split: What ``scored`` is called.
    """
    task = model.tasks[name]
    scored = carrying(model, name, scored)
    found, why = None, ""
    if dev is None:
        why = "There is no dev split to find a temperature on."
    else:
        found = calibrate(model, name, dev, None if split == "dev" else scored, split)
        why = "" if found else "Answers of this type come without a probability of being right."
    given = answers_at(model, name, scored, found.temperature if found else 1.0)
    values = [one.value for one in given]
    figures = task.score(scored.examples, values)
    gold = [example.layers[task.layer] for example in scored.examples]
    units = [outcomes(one, other) for one, other in zip(gold, values, strict=True)]
    every = [one for each in units for one in each]
    pairs = [(one, other) for one, other in zip(gold, values, strict=True) if isinstance(one, float)]
    step = max(1, len(pairs) // MOST_PAIRS)
    return Inspection(
        task=name,
        metric=task.metric,
        split=split,
        examples=len(scored.examples),
        figures=dict(figures),
        labels=label_scores(every),
        confusions=confusions(every),
        slips=_slips(task.layer, scored.examples, given, units),
        pairs=[(float(one), float(other)) for one, other in pairs[::step] if isinstance(other, float)][:MOST_PAIRS],
        calibration=found,
        uncalibrated=why,
    )


def _slips(
    layer: str, examples: Sequence[Example], given: Sequence[Prediction], units: Sequence[Sequence[Outcome]]
) -> list[Slip]:
    """Errors to read; of whole numbers and texts those that are farthest off."""
    if not any(units):
        return _farthest(layer, examples, given)
    wrong = [
        (example, one, _sure(answer, one))
        for example, answer, each in zip(examples, given, units, strict=True)
        for one in each
        if not one.right
    ]
    wrong.sort(key=lambda item: -1.0 if item[2] is None else item[2], reverse=True)
    alike: Counter[tuple[str | None, str | None]] = Counter()
    chosen = []
    for example, one, sure in wrong:
        alike[one.gold, one.given] += 1
        if alike[one.gold, one.given] <= MOST_ALIKE:
            chosen.append(_slip(example, one, sure))
    return chosen[:MOST_SLIPS]


def _sure(answer: Prediction, one: Outcome) -> float | None:
    """How sure an answer is of one of its units; ``None`` where it has none."""
    if not isinstance(answer.confidence, tuple):
        return answer.confidence
    if isinstance(answer.value, Spans):
        spans = zip(answer.value, answer.confidence, strict=True)
        return next((c for s, c in spans if s.label == one.given and one.first <= s.start and s.end <= one.last), None)
    return answer.confidence[one.first]


def _slip(example: Example, one: Outcome, sure: float | None) -> Slip:
    line = example.lines[one.first] if example.lines and one.last else example.line
    if not one.last:
        text = example.running + (f" / {example.pair}" if example.pair is not None else "")
        return Slip("", text[:LONGEST], "", one.gold, one.given, sure, example.file, line)
    words = example.words
    before, after = words[max(0, one.first - AROUND) : one.first], words[one.last : one.last + AROUND]
    here = " ".join(words[one.first : one.last])
    return Slip(" ".join(before), here, " ".join(after), one.gold, one.given, sure, example.file, line)


def _farthest(layer: str, examples: Sequence[Example], given: Sequence[Prediction]) -> list[Slip]:
    """The numbers or texts that are farthest from gold."""
    found = []
    for example, answer in zip(examples, given, strict=True):
        gold, sure = example.layers[layer], answer.confidence
        far = _distance(gold, answer.value)
        if far and not isinstance(sure, tuple):
            sides = [str(side)[:LONGEST] for side in (gold, answer.value)]
            slip = Slip("", example.running[:LONGEST], "", sides[0], sides[1], sure, example.file, example.line)
            found.append((far, slip))
    found.sort(key=lambda item: item[0], reverse=True)
    return [slip for _, slip in found[:MOST_SLIPS]]


def _distance(gold: object, given: object) -> float:
    """How far an answer is from gold: the difference of numbers, what texts lack of the greatest chrF."""
    if isinstance(gold, float) and isinstance(given, float):
        return abs(gold - given)
    if isinstance(gold, Text):
        return 1.0 - chrf_of(str(gold), str(given))
    return 0.0
