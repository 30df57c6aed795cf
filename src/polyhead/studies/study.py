"""A study: many runs on one question, in a folder that goes on where it stopped and grows when more is asked."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polyhead.data.text import counted
from polyhead.errors import PolyheadError
from polyhead.files import bytes_in, check_place, read_json, sized, write_text
from polyhead.recipe import load_recipe
from polyhead.studies.asking import ask, sizes_of
from polyhead.studies.claim import LOCK, claimed
from polyhead.studies.folder import KEEP, RECIPE, RUNS, STUDY, Asked, Study
from polyhead.studies.learn import FIGURES
from polyhead.studies.queue import Outcome, run_all, workers
from polyhead.studies.ways import FROZEN, SCRATCH, TUNED, Lesson, Question, check_ways, ways_of

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
    folder = Path(output)
    if keep not in KEEP:
        raise PolyheadError(f"There is no way {keep!r} to keep models.", remedy=f"Take {' or '.join(KEEP)}.")
    check_place(folder, folder=True)
    question = ask(load_recipe(recipe), target, tell)
    chosen = list(ways) if ways else [SCRATCH, FROZEN, TUNED, *(f"from:{source}" for source in question.sources)]
    chosen = [way for way in chosen if ways or way in ways_of(question)]
    check_ways(question, chosen)
    wished = Asked(chosen, sizes_of(question, sizes), list(dict.fromkeys(seeds)))
    with claimed(folder):
        known = _open(folder, question, threads)
        known.keep, known.see = keep, see
        if wished not in known.asked:
            known.asked.append(wished)
        write_text(folder / RECIPE, question.recipe.to_toml())
        known.save()
        _learn(known, on, at_once, tell)
    return known


def _open(folder: Path, question: Question, threads: int) -> Study:
    """The study in a folder, or a new one.

    Raises:
        PolyheadError: The folder holds something else, or a study of another target.
    """
    path = folder / STUDY
    if not path.exists():
        if folder.exists() and any(one.name != LOCK for one in folder.iterdir()):
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
    lessons = known.read_outcomes()
    known.write_results()
    known.drop_models(lessons)
    count = at_once or max(1, (os.cpu_count() or 1) // known.threads)
    began = time.monotonic()
    finished = len(known.lessons) - len(lessons)
    also = f"; {finished:,} more are finished" if finished else ""
    asked = "1 run is" if len(known.points) == 1 else f"{len(known.points):,} runs are"
    tell(f"{asked} asked for; {counted(len(lessons), 'training')} to do, {count} at a time{also}")
    if strangers := _strangers(known):
        tell(f"{counted(strangers, 'finished run')} of another recipe or other data in {known.folder} left out")
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


def _strangers(known: Study) -> int:
    """How many finished runs are in the folder that the present recipe and data would not give."""
    keys = {lesson.key for lesson in known.lessons}
    return sum(path.parent.name not in keys for path in known.folder.glob(f"{RUNS}/*/{FIGURES}"))


def _room(known: Study, lesson: Lesson, left: int) -> Iterator[str]:
    """What the models of a study take on disk, where that is worth a word."""
    each = bytes_in(known.folder / RUNS / lesson.key)
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
