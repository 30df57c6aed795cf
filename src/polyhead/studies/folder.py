"""A study's folder: what was asked, which runs that takes, and what the finished ones were worth."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polyhead.errors import PolyheadError
from polyhead.files import read_json, write_json, write_text
from polyhead.recipe import load_recipe
from polyhead.studies.asking import ask
from polyhead.studies.effects import Contributions
from polyhead.studies.learn import FIGURES, PARTS, Order
from polyhead.studies.question import Question
from polyhead.studies.queue import Outcome
from polyhead.studies.ways import Lesson, Point, points, work
from polyhead.tasks import Task

if TYPE_CHECKING:
    import pandas

    from polyhead.studies.answers import Answers

STUDY, RECIPE, RESULTS, RUNS = "study.json", "recipe.toml", "results.jsonl", "runs"
"""The files of a study's folder: what was asked, the recipe, a line for each finished run, the runs themselves."""

MODEL = "model"
"""The folder of a run that holds what it learnt."""

KEEP = ("all", "best")
"""Which models stay: of all runs; or of the best run of each way, and of what others begin from."""


@dataclass(frozen=True)
class Asked:
    """One call's wish: every way with every size and seed."""

    ways: list[str]
    sizes: list[int]
    seeds: list[int]


@dataclass(frozen=True)
class Result:
    """A finished run that the study asked for.

    Attributes:
        way, size, seed: What it is.
        figures: The target's figures on the split that the study scores.
        seconds: What it took, with the runs that it begins from counted whole.
        curve: For each epoch the seconds of training until its end and the main figure on dev, if there is a dev split.
        key: The name of its folder.
    """

    way: str
    size: int
    seed: int
    figures: dict[str, float]
    seconds: float
    curve: list[tuple[float, float]]
    key: str


@dataclass
class Study:
    """A study's folder.

    Attributes:
        folder: Where it is.
        question: What it is about.
        asked: What was asked so far, call by call.
        threads: How many each run computes with.
        runs: The folder of its runs; by default one in its own, which studies of several targets share.
        outcomes: What each finished lesson said, by its key.
        keep: Which models stay, one of ``KEEP``.
        see: Called with the study whenever its results are written.
    """

    folder: Path
    question: Question
    asked: list[Asked]
    threads: int = 1
    runs: Path = Path()
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    keep: str = "all"
    see: Callable[[Study], object] = lambda _: None

    def __post_init__(self) -> None:
        self.runs = self.runs if self.runs.name else self.folder / RUNS

    @classmethod
    def open(cls, folder: str | Path) -> Study:
        """A study on disk, finished or not; nothing is trained.

        Args:
            folder: As :func:`polyhead.study` made it.

        Raises:
            PolyheadError: It holds no study, or the study's data is gone or has changed.
        """
        folder = Path(folder)
        try:
            facts = read_json(folder / STUDY, "target", "asked", "threads")
            recipe = load_recipe(folder / RECIPE)
        except FileNotFoundError as error:
            remedy = "Check the path; polyhead study makes one."
            raise PolyheadError(f"There is no study in {str(folder)!r}.", remedy=remedy) from error
        question = ask(recipe, facts["target"], lambda _: None)
        made = cls.known(folder, question, facts)
        made.read_outcomes()
        return made

    @classmethod
    def known(cls, folder: Path, question: Question, facts: Mapping[str, Any]) -> Study:
        """A study whose ``study.json`` was read; what asked for all examples asks for all that there are now."""
        data = question.table["tasks"][question.target]["data"]
        before = facts.get("examples", {}).get(data, question.whole)
        asked = []
        for one in facts["asked"]:
            sizes = {question.whole if size == before else min(size, question.whole) for size in one["sizes"]}
            asked.append(Asked(one["ways"], sorted(sizes), one["seeds"]))
        runs = Path(os.path.normpath(folder / facts.get("runs", RUNS)))
        return cls(folder, question, asked, facts["threads"], runs, keep=facts.get("keep", KEEP[0]))

    def answers(self) -> Answers | None:
        """What the finished runs say; ``None`` while there is none."""
        from polyhead.studies.answers import answers

        return answers(self)

    def to_pandas(self) -> pandas.DataFrame:
        """A row for each finished run: way, size, seed, each figure, seconds; needs pandas."""
        from polyhead.studies.notebook import runs_table

        return runs_table(self)

    def _repr_html_(self) -> str | None:
        found = self.answers()
        return None if found is None else found._repr_html_()

    @cached_property
    def points(self) -> list[Point]:
        """All runs that were asked for, small sizes first, each once."""
        found = {}
        for asked in self.asked:
            for point in points(self.question, asked.ways, asked.sizes, asked.seeds):
                found[point.way, point.size, point.seed] = point
        return sorted(found.values(), key=lambda point: (point.size, point.seed))

    @property
    def lessons(self) -> list[Lesson]:
        """The runs behind the points, each once, and each after what it begins from."""
        found: dict[str, Lesson] = {}
        for point in self.points:
            chain = [point.lesson]
            while chain[-1].before is not None:
                chain.append(chain[-1].before)
            found |= {lesson.key: lesson for lesson in reversed(chain) if lesson.key not in found}
        return list(found.values())

    @property
    def results(self) -> list[Result]:
        """Those of the points that are finished."""
        return [
            Result(point.way, point.size, point.seed, outcome["figures"], self._seconds(point.lesson), curve, key)
            for point in self.points
            if (outcome := self.outcomes.get(key := point.lesson.key)) and outcome.get("figures")
            for curve in [[(one, other) for one, other in outcome["curve"]]]
        ]

    @property
    def failures(self) -> list[tuple[Point, str]]:
        """The points that could not be had, and why."""
        return [
            (point, self.outcomes[point.lesson.key]["error"])
            for point in self.points
            if "error" in self.outcomes.get(point.lesson.key, {})
        ]

    def contributions(self, result: Result) -> Contributions:
        """What each test example contributes to a run's figure.

        Raises:
            PolyheadError: The file is gone or damaged.
        """
        path = self.runs / result.key / PARTS
        try:
            with np.load(path) as found:
                return Contributions(float(found["figure"]), found["of"].astype(np.float64))
        except (OSError, ValueError, KeyError) as error:
            raise PolyheadError(
                "What the examples of this run contribute cannot be read.",
                remedy=f"Delete {path.parent}, and give the command again.",
                file=path,
            ) from error

    def _seconds(self, lesson: Lesson | None) -> float:
        """The time of a lesson and of all before it."""
        if lesson is None:
            return 0.0
        return float(self.outcomes.get(lesson.key, {}).get("seconds", 0.0)) + self._seconds(lesson.before)

    def order(self, lesson: Lesson) -> Order:
        """What to ask a process for."""
        return Order(
            folder=self.runs / lesson.key,
            recipe=lesson.recipe_in(self.runs),
            base=self.folder,
            target=self.question.target,
            split=self.question.scored,
            threads=self.threads,
            again=lesson.key in self.outcomes and not self.has_model(lesson),
        )

    def has_model(self, lesson: Lesson) -> bool:
        """Whether a run's model is there."""
        return (self.runs / lesson.key / MODEL).is_dir()

    def read_outcomes(self) -> list[Lesson]:
        """Read what the finished runs said.

        Returns:
            The lessons that are to be learnt: those that are not finished, and what they begin from where its model is
            gone; each after what it begins from.
        """
        todo: list[Lesson] = []
        wanted: set[str] = set()
        for lesson in reversed(self.lessons):  # those that begin from others first
            path = self.runs / lesson.key / FIGURES
            if path.exists():
                self.outcomes[lesson.key] = read_json(path, "figures", "seconds", "curve")
            if not path.exists() or (lesson.key in wanted and not self.has_model(lesson)):
                todo.append(lesson)
                wanted |= {lesson.before.key} if lesson.before else set()
        return todo[::-1]

    def drop_models(self, left: Iterable[Lesson]) -> None:
        """Delete the models that ``keep`` does not ask for.

        Args:
            left: The lessons that are not finished, which may begin from others.
        """
        if self.keep == "all":
            return
        sign = -1 if self.lower_is_better else 1
        rising = sorted(self.results, key=lambda result: sign * result.figures[self.metric])
        kept = {result.way: result.key for result in rising}.values()
        begun = {lesson.before.key for lesson in left if lesson.before}
        for lesson in self.lessons:
            source = self.question.target not in lesson.recipe["tasks"]  # of any size's run
            if not source and lesson.key in self.outcomes and lesson.key not in {*kept, *begun}:
                shutil.rmtree(self.runs / lesson.key / MODEL, ignore_errors=True)

    def remaining_seconds(self, lessons: Sequence[Lesson]) -> float | None:
        """How long lessons will take one after another, from what finished ones of their kind took; ``None`` where none
        is finished yet. A kind of which none is finished is taken for as slow as the slowest."""
        rates: dict[str, list[float]] = {}
        for lesson in self.lessons:
            outcome = self.outcomes.get(lesson.key, {})
            if "seconds" in outcome:
                rates.setdefault(kind(lesson), []).append(outcome["seconds"] / work(self.question, lesson))
        if not rates:
            return None
        means = {name: sum(found) / len(found) for name, found in rates.items()}
        slowest = max(means.values())
        return sum(means.get(kind(lesson), slowest) * work(self.question, lesson) for lesson in lessons)

    def save(self) -> None:
        """Write what was asked."""
        question = self.question
        facts = {
            "target": question.target,
            "scored": question.scored,
            "threads": self.threads,
            "runs": os.path.relpath(self.runs, self.folder),
            "keep": self.keep,
            "asked": [asdict(asked) for asked in self.asked],
            "metric": self.metric,
            "examples": dict(question.counts),
        }
        write_json(self.folder / STUDY, facts)

    @cached_property
    def metric(self) -> str:
        """The name of the target's main figure."""
        return self._task.metric

    @property
    def lower_is_better(self) -> bool:
        """Whether less of the main figure is better."""
        return self._task.lower_is_better

    @cached_property
    def _task(self) -> Task:
        return self.question.recipe.make_tasks()[self.question.target]

    def write_results(self) -> None:
        """Write a line for each result."""
        lines = [json.dumps(asdict(result)) for result in self.results]
        write_text(self.folder / RESULTS, "".join(f"{line}\n" for line in lines))
        self.see(self)


def kind(lesson: Lesson) -> str:
    """What lessons of about the same speed have in common."""
    return lesson.name.rstrip("0123456789-")
