"""The ways of a study: from the user's recipe, a target, a size and a seed to the recipe of each run.

A way is a list of lessons, of which the last trains the target. A lesson before it that does not depend on the size or
the way, such as a source task learnt alone, is the same lesson wherever it stands, and is trained once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from polyhead.errors import PolyheadError, nearest
from polyhead.model import is_ours, model_folder, saved_tasks
from polyhead.nn.loading import BUNDLED, find_encoder
from polyhead.stage import Stage
from polyhead.studies.question import Question

SCRATCH, FROZEN, TUNED, LORA = "scratch", "frozen", "fine-tuned", "lora"
JOINT, SPECIAL, OWN = "joint", "joint-fine-tuned", "own"
FROM = "from:"
"""What stands before the name of a source in the name of a way: the source is learnt first, then the target."""

WITH = "with:"
"""What stands before the name of an encoder, or of a run, in the name of a way: the target is fine-tuned from it."""

MEANINGS = {
    SCRATCH: "a small encoder with random weights and pieces of its own",
    FROZEN: "the encoder as it is; the head alone learns",
    TUNED: "the encoder and a new head learn",
    LORA: "adapters beside the encoder's weights learn",
    JOINT: "all tasks of the recipe in one stage",
    SPECIAL: "from the joint model's encoder, with a new head",
    OWN: "the recipe's own stages",
}

PART = "part-"
"""What the names of runs begin with that learn without a part of the target's training split."""

PART_EPOCHS = 0.6
"""What share of a way's epochs they have: to tell a wrong label takes less than the last points of a score."""

WHOLE = "-whole"
"""The end of the name that the target's dataset has for tasks that read all of it."""

MORE_EPOCHS = {SCRATCH: 2.0, FROZEN: 2.0, LORA: 2.0}
"""How many times more epochs a way gets at every size, since it learns more slowly."""

FROZEN_RATE = 3e-3
"""The heads' rate where nothing else learns."""

SMALL = {"layers": 2, "width": 256, "vocabulary": 8000, "lowercase": True}
"""The encoder from scratch: what can be learnt from the study's own labels; a larger one learns no more from them."""

CARRIED = (
    *("learning_rate", "head_learning_rate", "warmup", "schedule", "layer_decay", "weight_decay", "average"),
    *("clip", "batch_pieces", "accumulate", "dropout"),
)
"""What a way takes over from the recipe's stage that trains the target."""

TOGETHER = ("sampling", "batches", "weights", "combine", "normalise")
"""What the joint way takes over from the recipe's first stage that trains the target beside others."""


@dataclass(frozen=True)
class Lesson:
    """One run of a study.

    Attributes:
        name: What it is, for people and for its folder.
        recipe: A plain table as TOML gives it; without the path of the run that it starts from.
        before: The lesson whose run it starts from, if it starts from one.
        fresh: Tasks that get a new head although the run before has one.
        data: The fingerprint of the files behind it.
    """

    name: str
    recipe: Mapping[str, Any]
    before: Lesson | None = None
    fresh: tuple[str, ...] = ()
    data: str = ""

    @cached_property
    def key(self) -> str:
        """The name of its folder: what it is, and a sum over all that its outcome depends on."""
        before = self.before.key if self.before else ""
        told = json.dumps([self.recipe, before, self.fresh, self.data], sort_keys=True, default=str)
        return f"{self.name}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"

    def recipe_in(self, runs: Path) -> dict[str, Any]:
        """The recipe, where the study's runs are in this folder."""
        if self.before is None:
            return dict(self.recipe)
        start = {"run": str((runs / self.before.key).resolve()), "fresh": list(self.fresh)}
        return {key: value for key, value in self.recipe.items() if key not in ("encoder", "start")} | {"start": start}


@dataclass(frozen=True)
class Point:
    """A run that the study asks for.

    Attributes:
        way, size, seed: What it is; ``size`` counts the target's training examples.
        lesson: How it comes about.
    """

    way: str
    size: int
    seed: int
    lesson: Lesson


def work(question: Question, lesson: Lesson) -> int:
    """How many examples a lesson goes through, over all epochs: what its time grows with."""
    passed = 0
    for stage in lesson.recipe["stages"]:
        names = stage.get("tasks") or lesson.recipe["tasks"]
        for name in {lesson.recipe["tasks"][one]["data"] for one in names}:
            count = question.counts.get(name.removesuffix(WHOLE), question.whole)
            passed += stage.get("epochs", 1) * min(count, lesson.recipe["data"][name].get("limit", count))
    return passed


def ways_of(question: Question) -> list[str]:
    """The ways that a study of this recipe can take, in the order in which they are shown."""
    many = bool(question.sources)
    trained = not question.untrained
    found = [
        SCRATCH,
        *([FROZEN] if trained else []),
        TUNED,
        *([LORA] if trained else []),
        *([JOINT, SPECIAL] if many else []),
        *(FROM + source for source in question.sources),
        *([OWN] if len(question.recipe.stages) > 1 else []),
    ]
    return [way for way in found if not (way == SCRATCH and not trained)]


def check_ways(question: Question, ways: Sequence[str]) -> None:
    """See that a recipe can go these ways.

    Raises:
        PolyheadError: It cannot; names the way and a remedy.
    """
    known = list(dict.fromkeys([*ways_of(question), OWN]))
    for way in ways:
        if way in known:
            continue
        if way.startswith(WITH):
            _start(way.removeprefix(WITH), question.target)
            continue
        if way in (JOINT, SPECIAL) or way.startswith(FROM):
            source = way.removeprefix(FROM)
            remedy = nearest(source, question.sources) if question.sources else "Add a source task to the recipe."
            raise PolyheadError(f"The recipe has no task to go the way {way!r} with.", remedy=remedy)
        if way in MEANINGS:
            what = f"The way {way!r} needs a pretrained encoder, and the recipe's has random weights."
            raise PolyheadError(what, remedy="Name an encoder in the recipe, or leave the way out.")
        raise PolyheadError(f"There is no way {way!r}.", remedy=nearest(way, known))


def points(question: Question, ways: Sequence[str], sizes: Sequence[int], seeds: Sequence[int]) -> list[Point]:
    """The runs that a study asks for, small sizes first, so that there is soon something to see."""
    return [
        Point(way, size, seed, lesson(question, way, size, seed)) for size in sizes for seed in seeds for way in ways
    ]


def lesson(question: Question, way: str, size: int, seed: int) -> Lesson:
    """The run of a way, with those that come before it."""
    if way.startswith(FROM):
        source = _source(question, way.removeprefix(FROM), seed)
        return _target(question, way, size, seed, before=source)
    if way.startswith(WITH):
        return _elsewhere(question, way, size, seed)
    if way == SPECIAL:
        return _target(question, way, size, seed, before=_joint(question, size, seed), fresh=(question.target,))
    make: dict[str, Callable[[Question, int, int], Lesson]] = {JOINT: _joint, OWN: _own}
    if way in make:
        return make[way](question, size, seed)
    return _target(question, way, size, seed)


def part(question: Question, way: str, number: int, parts: int, seed: int) -> Lesson:
    """The run that learns the target from all of its examples but one of equal parts, to judge that one.

    A way in which the target is learnt before the last stage, or beside others, would cost the sources again for each
    part, or have seen the part: fine-tuning stands in for it.

    Args:
        question: What the study is about.
        way: How to learn it.
        number: The part that is left out, counted from 1.
        parts: How many there are.
        seed: Of the run.
    """
    if way in (JOINT, SPECIAL, OWN):
        way = TUNED
    whole = lesson(question, way, question.whole, seed)
    data = question.table["tasks"][question.target]["data"]
    spec = {key: value for key, value in whole.recipe["data"][data].items() if key != "test"}
    _drop_dev(spec)
    spec["fold"] = f"{number}/{parts}"
    stages = [stage | {"epochs": max(1, round(PART_EPOCHS * stage["epochs"]))} for stage in whole.recipe["stages"]]
    recipe = {**whole.recipe, "data": {**whole.recipe["data"], data: spec}, "stages": stages}
    return replace(whole, name=f"{PART}{_slug(way)}-{number}", recipe=recipe)


def _target(
    question: Question, way: str, size: int, seed: int, *, before: Lesson | None = None, fresh: tuple[str, ...] = ()
) -> Lesson:
    """The target alone."""
    epochs = question.epochs(size, MORE_EPOCHS.get(way, 1.0))
    stage = carried(question.stage, CARRIED) | {"epochs": epochs}
    if size < question.whole:
        stage["score_every"] = epochs  # dev is large beside few examples, and minutes are compared at the largest size
    else:
        stage["score_every"] = max(1, epochs // question.stage.epochs)
    if way == FROZEN:
        stage |= {"freeze": "encoder", "head_learning_rate": max(FROZEN_RATE, stage["head_learning_rate"])}
    if way == LORA:
        stage |= {"adapter": {"kind": "lora"}}
    if way in (LORA, SCRATCH, FROZEN):
        stage.pop("learning_rate", None)  # it was chosen for the encoder's own, pretrained weights
    table = _with(question, [question.target], size, seed, [stage])
    if way == SCRATCH:
        table |= {"encoder": SMALL}
        table.pop("start", None)
    return _lesson(question, f"{_slug(way)}-{size}-{seed}", table, before, fresh)


def _elsewhere(question: Question, way: str, size: int, seed: int) -> Lesson:
    """The target alone, from another encoder than the recipe's."""
    table = dict(_target(question, way, size, seed).recipe)
    start = _start(way.removeprefix(WITH), question.target)
    kept = {key: value for key, value in table.items() if key not in ("encoder", "start")}
    return _lesson(question, f"{_slug(way)}-{size}-{seed}", kept | start)


def _start(name: str, target: str) -> dict[str, Any]:
    """What a recipe says to start from an encoder, as a recipe names it, or from that of a run or a model.

    Raises:
        PolyheadError: There is no such encoder, or the run has not finished a stage.
    """
    folder = Path(name).expanduser()
    if is_ours(folder):
        fresh = [target] if target in saved_tasks(model_folder(folder)) else []
        return {"start": {"run": str(folder.resolve()), "fresh": fresh}}
    find_encoder(name)  # raises where there is none
    return {"encoder": {"name": str(folder.resolve()) if folder.is_dir() and name not in BUNDLED else name}}


def _source(question: Question, source: str, seed: int) -> Lesson:
    """A source alone, with all of its data."""
    stages = [stage for stage in question.recipe.stages if source in (stage.tasks or question.recipe.tasks)]
    stage = stages[0] if stages else Stage()
    table = _with(question, [source], None, seed, [carried(stage, CARRIED) | {"epochs": stage.epochs}])
    for spec in table["data"].values():
        _drop_dev(spec)
    return _lesson(question, f"source-{source}-{seed}", table)


def _joint(question: Question, size: int, seed: int) -> Lesson:
    """All tasks in one stage: the sources with all of their data."""
    together = [
        stage
        for stage in question.recipe.stages
        if question.target in stage.tasks and any(name in stage.tasks for name in question.sources)
    ]
    stage = together[0] if together else question.stage
    settings = carried(stage, (*CARRIED, *TOGETHER)) | {"epochs": stage.epochs}
    tasks = [question.target, *question.sources]
    settings["weights"] = {name: weight for name, weight in settings.get("weights", {}).items() if name in tasks}
    return _lesson(question, f"joint-{size}-{seed}", _with(question, tasks, size, seed, [settings]))


def _own(question: Question, size: int, seed: int) -> Lesson:
    """The recipe's own stages, as they are."""
    stages = question.table["stages"]
    return _lesson(question, f"own-{size}-{seed}", _with(question, list(question.table["tasks"]), size, seed, stages))


def _drop_dev(spec: dict[str, Any]) -> None:
    """Leave a dev split out where nothing is chosen on it; one that is held out of the training split stays."""
    if not isinstance(spec.get("dev"), float):
        spec.pop("dev", None)


def _with(
    question: Question, tasks: Sequence[str], size: int | None, seed: int, stages: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The recipe with some of its tasks, so many of the target's examples, and other stages.

    A task that reads the target's dataset as well keeps all of it, under a name of its own.
    """
    table = {key: value for key, value in question.table.items() if key not in ("data", "tasks", "stages")}
    chosen = {name: dict(question.table["tasks"][name]) for name in tasks}
    data: dict[str, Any] = {}
    for name, task in chosen.items():
        spec = dict(question.table["data"][task["data"]])
        if name == question.target or question._shares(name):
            spec |= {} if size is None or size >= question.whole else {"limit": size, "draw": seed}
        elif task["data"] == question.table["tasks"][question.target]["data"] and size is not None:
            task["data"] += WHOLE
        if name != question.target:
            spec.pop("test", None)  # only the target is asked about
        data[task["data"]] = spec
    if question.labels and question.target in chosen:
        chosen[question.target]["more_labels"] = list(question.labels)
    last = {"keep": "last"} if question.scored == "dev" else {}  # nothing may be chosen on what is scored
    whole = [{**stage, "cosines": 0, **last} for stage in stages]
    return table | {"seed": seed, "data": data, "tasks": chosen, "stages": whole}


def _lesson(
    question: Question,
    name: str,
    table: Mapping[str, Any],
    before: Lesson | None = None,
    fresh: tuple[str, ...] = (),
) -> Lesson:
    used = sorted({str(task["data"]).removesuffix(WHOLE) for task in table["tasks"].values()})
    return Lesson(name, table, before, fresh, " ".join(question.data.get(one, "") for one in used))


def carried(stage: Stage, keys: Sequence[str]) -> dict[str, Any]:
    """Some of a stage's settings; the weights are those of the last epoch, since to choose on dev takes labels, too."""
    return {key: value for key in keys if (value := getattr(stage, key)) is not None} | {"keep": "last"}


def _slug(way: str) -> str:
    """A way as part of a folder's name; of an encoder's name the end."""
    kind, _, name = way.partition(":")
    return "-".join([kind, *([re.sub(r"[^\w.-]", "-", Path(name).name)] if name else [])])
