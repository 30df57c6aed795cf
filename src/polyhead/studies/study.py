"""A study: a folder of runs on one question, which goes on where it stopped and grows when more is asked."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polyhead.errors import PolyheadError, nearest
from polyhead.files import check_place, read_json, write_json, write_text
from polyhead.recipe import Recipe, load_recipe
from polyhead.studies.effects import Contributions
from polyhead.studies.learn import FIGURES, PARTS, Order
from polyhead.studies.queue import Outcome, run_all, workers
from polyhead.studies.ways import (
    FROZEN,
    SCRATCH,
    TUNED,
    Lesson,
    Point,
    Question,
    check_ways,
    points,
    ways_of,
    work,
)
from polyhead.training.prepare import load_datasets, prepare_tasks

if TYPE_CHECKING:
    import pandas

    from polyhead.studies.answers import Answers

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

STUDY, RECIPE, RESULTS, RUNS = "study.json", "recipe.toml", "results.jsonl", "runs"
"""The files of a study's folder: what was asked, the recipe, a line for each finished run, the runs themselves."""

USUAL_SIZES = (50, 100, 200, 500, 1000, 2000, 5000, 10_000)
MOST_SIZES = 5
"""So many sizes by default, the whole training split among them."""

LEAST = 10
"""The smallest size by default."""


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
        outcomes: What each finished lesson said, by its key.
        see: Called with the study whenever its results are written.
    """

    folder: Path
    question: Question
    asked: list[Asked]
    threads: int = 1
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    see: Callable[[Study], object] = lambda _: None

    @classmethod
    def open(cls, folder: str | Path) -> Study:
        """A study on disk, finished or not; nothing is trained. See :func:`polyhead.studies.opening.open_study`."""
        from polyhead.studies.opening import open_study  # which imports this module

        return open_study(folder)

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
        path = self.folder / RUNS / result.key / PARTS
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
        runs = self.folder / RUNS
        recipe = lesson.recipe_in(runs)
        question = self.question
        return Order(runs / lesson.key, recipe, self.folder, question.target, question.scored, self.threads)

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
            "asked": [asdict(asked) for asked in self.asked],
            "metric": self.metric,
            "examples": dict(question.counts),
        }
        write_json(self.folder / STUDY, facts)

    @cached_property
    def metric(self) -> str:
        """The name of the target's main figure."""
        return self.question.recipe.make_tasks()[self.question.target].metric

    def write_results(self) -> None:
        """Write a line for each result."""
        lines = [json.dumps(asdict(result)) for result in self.results]
        write_text(self.folder / RESULTS, "".join(f"{line}\n" for line in lines))
        self.see(self)


def kind(lesson: Lesson) -> str:
    """What lessons of about the same speed have in common."""
    return lesson.name.rstrip("0123456789-")


def study(
    recipe: str | Path,
    target: str,
    output: str | Path,
    *,
    ways: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    seeds: Sequence[int] = (1, 2, 3),
    on: str = "local",
    at_once: int | None = None,
    threads: int = 1,
    tell: Callable[[str], object] = lambda _: None,
    see: Callable[[Study], object] = lambda _: None,
) -> Study:
    """Train a target in several ways, on several numbers of examples, with several seeds; see what transfer bought.

    A study's folder goes on where it stopped: runs that are finished are never trained again, and ways, sizes and seeds
    that are asked for later are added.

    Args:
        recipe: The recipe's file: the target, its data, and the source tasks.
        target: The task that the study is about.
        output: The study's folder.
        ways: See :data:`polyhead.studies.ways.MEANINGS`, and ``from:SOURCE``; by default scratch, frozen, fine-tuned
            and each source first.
        sizes: Numbers of training examples of the target; more than there are means all. By default at most five.
        seeds: Each draws other examples, and trains with other random numbers.
        on: ``local`` or ``ray``.
        at_once: How many processes on this machine; by default as many as it has processors.
        threads: How many threads a run computes with.
        tell: Called with each note.
        see: Called with the study whenever a run is finished.

    Raises:
        PolyheadError: The recipe, the target, a way or a size is wrong, or the folder belongs to another question.
    """
    folder = Path(output)
    check_place(folder, folder=True)
    question = ask(load_recipe(recipe), target, tell)
    chosen = list(ways) if ways else [SCRATCH, FROZEN, TUNED, *(f"from:{source}" for source in question.sources)]
    chosen = [way for way in chosen if ways or way in ways_of(question)]
    check_ways(question, chosen)
    wished = Asked(chosen, sizes_of(question, sizes), list(dict.fromkeys(seeds)))
    with _claimed(folder):
        known = _open(folder, question, threads)
        known.see = see
        if wished not in known.asked:
            known.asked.append(wished)
        write_text(folder / RECIPE, question.recipe.to_toml())
        known.save()
        _learn(known, on, at_once, tell)
    return known


def ask(recipe: Recipe, target: str, tell: Callable[[str], object]) -> Question:
    """What a study of a recipe's task is about; its data is read once to see that nothing is at fault.

    Raises:
        PolyheadError: There is no such task, or its data cannot be learnt or scored.
    """
    if target not in recipe.tasks:
        raise PolyheadError(f"The recipe has no task {target!r}.", remedy=nearest(target, recipe.tasks))
    tasks = recipe.make_tasks()
    if not tasks[target].annotates:
        raise PolyheadError(
            f"tasks.{target} learns from text alone, so there are no labels to save.",
            remedy="Name a task with a layer; this one can be a source: from:" + target,
        )
    with recipe.blamed():
        datasets = load_datasets(recipe, tasks, ("train", "dev", "test"))
        prepare_tasks(tasks, datasets)
    task, data = tasks[target], datasets[tasks[target].data]
    scored = "test" if "test" in data.splits else "dev"
    if scored not in data.splits:
        raise PolyheadError(
            f"data.{task.data} has neither a test nor a dev split, so there is nothing to score the ways on.",
            remedy="Name a file for test, or hold out a share: dev = 0.2.",
        )
    if scored == "dev":
        tell(f"data.{task.data} has no test split: all ways are scored on dev, and nothing is chosen on it")
    whole = sum(task.carries(example) for example in data.splits["train"])
    if without := len(data.splits["train"]) - whole:
        tell(f"{without:,} training examples have no {task.layer!r}; sizes count all examples")
    labels = tuple(task.known_labels()) if task.inventory == "labels" else ()
    return Question(
        recipe=recipe,
        target=target,
        whole=len(data.splits["train"]),
        labels=labels,
        data={name: dataset.fingerprint for name, dataset in datasets.items()},
        counts={name: len(dataset.splits["train"]) for name, dataset in datasets.items()},
        scored=scored,
    )


def sizes_of(question: Question, sizes: Sequence[int] | None) -> list[int]:
    """The sizes that were asked for, sorted, none above what there is; by default a few that grow evenly.

    Raises:
        PolyheadError: A size is below 1.
    """
    if sizes is None:
        below = [size for size in USUAL_SIZES if size < question.whole] or [
            size for size in (LEAST, question.whole // 2) if 0 < size < question.whole
        ]
        return sorted({*below[: MOST_SIZES - 1], question.whole})
    for size in sizes:
        if size < 1:
            raise PolyheadError(f"A size of {size} is no number of examples.", remedy="Give 1 or more, or all.")
    return sorted({min(size, question.whole) for size in sizes})


def _open(folder: Path, question: Question, threads: int) -> Study:
    """The study in a folder, or a new one.

    Raises:
        PolyheadError: The folder holds something else, or a study of another target.
    """
    path = folder / STUDY
    if not path.exists():
        if folder.exists() and any(one.name != _LOCK for one in folder.iterdir()):
            raise PolyheadError(
                f"The folder {str(folder)!r} is not empty, and holds no study.", remedy="Choose another folder."
            )
        return Study(folder, question, [], threads)
    facts = read_json(path, "target", "asked", "threads")
    if facts["target"] != question.target:
        raise PolyheadError(
            f"The study in {str(folder)!r} is about {facts['target']!r}.",
            remedy="Choose another folder for this target.",
        )
    return Study(folder, question, [Asked(**asked) for asked in facts["asked"]], facts["threads"])


def _learn(known: Study, on: str, at_once: int | None, tell: Callable[[str], object]) -> None:
    """Train what is not finished; results are written after each run."""
    lessons = []
    for lesson in known.lessons:
        path = known.folder / RUNS / lesson.key / FIGURES
        if path.exists():
            known.outcomes[lesson.key] = read_json(path, "figures", "seconds", "curve")
        else:
            lessons.append(lesson)
    known.write_results()
    count = at_once or max(1, (os.cpu_count() or 1) // known.threads)
    began = time.monotonic()
    finished = len(known.lessons) - len(lessons)
    also = f"; {finished:,} more are finished" if finished else ""
    tell(f"{len(known.points):,} runs are asked for; {len(lessons):,} trainings to do, {count} at a time{also}")
    if not lessons:
        return
    left = {lesson.key: lesson for lesson in lessons}

    def done(lesson: Lesson, outcome: Outcome) -> None:
        known.outcomes[lesson.key] = outcome
        del left[lesson.key]
        known.write_results()
        said = outcome.get("error") or _score_of(outcome, known.metric)
        seconds = known.remaining_seconds(list(left.values()))
        rest = "" if not left or seconds is None else f"; {len(left):,} left, about {_minutes(seconds / count)}"
        tell(f"{lesson.name}: {said}{rest}")

    with workers(on, at_once, known.threads) as here:
        count = here.room
        run_all(lessons, known.order, here, done, known.outcomes)
    tell(f"finished in {_minutes(time.monotonic() - began)}")


def _score_of(outcome: Mapping[str, Any], metric: str) -> str:
    from polyhead.scoring import figure

    value = outcome["figures"].get(metric)
    return f"{outcome['seconds']:.0f} s" if value is None else f"{metric} {figure(metric, value)}"


def _minutes(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


_LOCK = ".lock"
"""Held while a study runs, so that two calls do not train the same."""


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold a study's folder for this process; the system lets go when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as stream:
        if fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise PolyheadError(
                    f"Another process works on the study {str(folder)!r}.", remedy="Wait for it, or end it first."
                ) from error
            except OSError:  # some network file systems know no locks
                pass
        yield
