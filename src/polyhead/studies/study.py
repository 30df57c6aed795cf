"""A study: many runs on one question, in a folder that goes on where it stopped and grows when more is asked."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyhead.claim import LOCK, claimed
from polyhead.data.text import counted
from polyhead.errors import PolyheadError
from polyhead.files import bytes_in, check_place, read_json, sized, write_text
from polyhead.recipe import load_recipe
from polyhead.studies.asking import ask, sizes_of
from polyhead.studies.folder import KEEP, RECIPE, STUDY, Asked, Study
from polyhead.studies.learn import FIGURES
from polyhead.studies.question import Question
from polyhead.studies.queue import Outcome, run_all, workers
from polyhead.studies.ways import FROM, FROZEN, SCRATCH, TUNED, Lesson, check_ways, ways_of

MENTIONED = 2**30
"""From so many bytes on it is said what a study will take on disk."""


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
    keep: str = "all",
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
        keep: ``all`` models, or those of the ``best`` run of each way and of the sources.
        tell: Called with each note.
        see: Called with the study whenever a run is finished.

    Raises:
        PolyheadError: The recipe, the target, a way or a size is wrong, or the folder belongs to another question.
    """
    wish = Wish(ways, sizes, seeds, threads, keep)
    folder = Path(output)
    check_place(folder, folder=True)
    question = ask(load_recipe(recipe), target, tell)
    asked = asked_of(question, wish)  # before a folder is made, as it may be wrong
    with claimed(folder):
        known = planned(folder, question, wish, asked)
        known.see = see
        learn(known, on, at_once, tell)
    return known


@dataclass(frozen=True)
class Wish:
    """What a call asks for, before the question is known; see :func:`study`.

    Raises:
        PolyheadError: There is no such way to keep models.
    """

    ways: Sequence[str] | None = None
    sizes: Sequence[int] | None = None
    seeds: Sequence[int] = (1, 2, 3)
    threads: int = 1
    keep: str = KEEP[0]

    def __post_init__(self) -> None:
        if self.keep not in KEEP:
            raise PolyheadError(f"There is no way {self.keep!r} to keep models.", remedy=f"Take {' or '.join(KEEP)}.")


def asked_of(question: Question, wish: Wish) -> Asked:
    """The ways, sizes and seeds that a wish means for a question.

    Raises:
        PolyheadError: A way or a size is wrong.
    """
    usual = (SCRATCH, FROZEN, TUNED, *(FROM + source for source in question.sources))
    ways = list(wish.ways) if wish.ways else [way for way in usual if way in ways_of(question)]
    check_ways(question, ways)
    return Asked(ways, sizes_of(question, wish.sizes), list(dict.fromkeys(wish.seeds)))


def planned(folder: Path, question: Question, wish: Wish, asked: Asked, runs: Path | None = None) -> Study:
    """The study in a folder that this process holds, or a new one, with what is asked for written down in it.

    Raises:
        PolyheadError: The folder holds something else, or a study of another target.
    """
    known = _open(folder, question, wish.threads, runs)
    known.keep = wish.keep
    if asked not in known.asked:
        known.asked.append(asked)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RECIPE, question.recipe.to_toml())
    known.save()
    return known


def _open(folder: Path, question: Question, threads: int, runs: Path | None) -> Study:
    path = folder / STUDY
    if not path.exists():
        if folder.exists() and any(one.name != LOCK for one in folder.iterdir()):
            raise PolyheadError(
                f"The folder {str(folder)!r} is not empty, and holds no study.", remedy="Choose another folder."
            )
        return Study(folder, question, [], threads, runs or Path())
    facts = read_json(path, "target", "asked", "threads")
    if facts["target"] != question.target:
        raise PolyheadError(
            f"The study in {str(folder)!r} is about {facts['target']!r}.",
            remedy="Choose another folder for this target.",
        )
    return Study.known(folder, question, facts)


def learn(known: Study, on: str, at_once: int | None, tell: Callable[[str], object]) -> None:
    """Train what is not finished; results are written after each run.

    Args:
        known: A study whose folder this process holds.
        on: ``local`` or ``ray``.
        at_once: How many processes on this machine.
        tell: Called with each note.
    """
    lessons = known.read_outcomes()
    known.write_results()
    known.drop_models(lessons)
    count = at_once or max(1, (os.cpu_count() or 1) // known.threads)
    began = time.monotonic()
    finished = len(known.lessons) - len(lessons)
    also = f"; {finished:,} more are finished" if finished else ""
    asked = "1 run is" if len(known.points) == 1 else f"{len(known.points):,} runs are"
    tell(f"{asked} asked for; {counted(len(lessons), 'training')} to do, {count} at a time{also}")
    if known.runs.parent == known.folder:
        tell_strangers(known.runs, [known], tell)
    left = {lesson.key: lesson for lesson in lessons}
    weighed = False

    def done(lesson: Lesson, outcome: Outcome) -> None:
        nonlocal weighed
        known.outcomes[lesson.key] = outcome
        del left[lesson.key]
        known.write_results()
        said = outcome.get("error") or _score_of(outcome, known.metric)
        seconds = known.remaining_seconds(list(left.values()))
        rest = "" if not left or seconds is None else f"; {len(left):,} left, about {_minutes(seconds / count)}"
        tell(f"{lesson.name}: {said}{rest}")
        if not weighed and "error" not in outcome:
            weighed = True
            for note in _room(known, lesson, len(left)):
                tell(note)
        known.drop_models(left.values())

    if lessons:
        ready = {key: outcome for key, outcome in known.outcomes.items() if key not in left}
        with workers(on, at_once, known.threads) as here:
            count = here.room
            run_all(lessons, known.order, here, done, ready)
        tell(f"finished in {_minutes(time.monotonic() - began)}")


def tell_strangers(runs: Path, studies: Sequence[Study], tell: Callable[[str], object]) -> None:
    """Say how many finished runs are in a folder that the present recipe and data would not give."""
    keys = {lesson.key for known in studies for lesson in known.lessons}
    strangers = sum(path.parent.name not in keys for path in runs.glob(f"*/{FIGURES}"))
    if strangers:
        tell(f"{counted(strangers, 'finished run')} of another recipe or other data in {runs.parent} left out")


def _room(known: Study, lesson: Lesson, left: int) -> Iterator[str]:
    """What the models of a study take on disk, where that is worth a word."""
    each = bytes_in(known.runs / lesson.key)
    free = shutil.disk_usage(known.folder).free
    if known.keep != "all" or not left or each * left < min(MENTIONED, free):
        return
    remedy = "" if each * left < free else "; too little: give --keep best"
    yield f"a run takes {sized(each)} on disk, {left:,} more about {sized(each * left)}; {sized(free)} are free{remedy}"


def _score_of(outcome: Mapping[str, Any], metric: str) -> str:
    from polyhead.scoring import figure

    value = outcome["figures"].get(metric)
    return f"{outcome['seconds']:.0f} s" if value is None else f"{metric} {figure(metric, value)}"


def _minutes(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
