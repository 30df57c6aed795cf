"""The best run of a study, looked at closely: errors, calibration, suspected label errors, what to label next.

What costs is done once: the inspection is kept in the run's folder, the rest in the study's, under names that depend on
all that it was made from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from polyhead.calibration import keep_temperature
from polyhead.claim import claimed
from polyhead.data.braces import files_of
from polyhead.data.dataset import SPLITS
from polyhead.data.forms import Form, Written, write_forms
from polyhead.data.text import counted
from polyhead.errors import PolyheadError
from polyhead.files import fingerprint, read_json, write_json
from polyhead.inspection import Inspection, inspect_run
from polyhead.model import load_model
from polyhead.nn.precision import choose_precision, find_device
from polyhead.predict import annotator
from polyhead.studies.folder import MODEL, Result, Study
from polyhead.studies.held import HELD, gives_chances
from polyhead.studies.learn import FIGURES, Order
from polyhead.studies.pool import SIZE, check_pool, choose
from polyhead.studies.queue import Outcome, run_all, workers
from polyhead.studies.suspects import Suspects, explain_missing, gather, has_cleanlab, parts_of
from polyhead.studies.ways import Lesson, part
from polyhead.training.prepare import load_datasets, prepare_tasks

PARTS = "parts"
"""The folder in a study's for the runs that look for label errors; those that answer its question are beside it."""

CHOICE = "to-label"
"""What the names of files with texts to label begin with."""

SHOWN = 10
"""How many of the chosen texts are shown."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Texts to label next.

    Attributes:
        path: The file with them, in the study's folder.
        pool: The pool's name.
        texts: How many were chosen.
        read, blank, known, twice: Of the pool: its texts, empty ones, those of the target's data, repetitions.
        filled: Whether the model's answers are filled in.
        same: Whether the file has the format of the target's data.
        first: The first of them.
    """

    path: str
    pool: str
    texts: int
    read: int
    blank: int
    known: int
    twice: int
    filled: bool
    same: bool
    first: list[str]


@dataclass(frozen=True, slots=True)
class Best:
    """The best run of a study.

    Attributes:
        run: Its result.
        chosen_on: The split that says that it is the best.
        inspection: A closer look at what it answers.
        suspects: Labels of the training data to look at again; ``None`` if none were looked for.
        choice: What to label next; ``None`` if no pool was given.
    """

    run: Result
    chosen_on: str
    inspection: Inspection
    suspects: Suspects | None = None
    choice: Choice | None = None


def best_run(known: Study) -> tuple[Result, str] | None:
    """The best of a study's finished runs whose model is still there, and the split that says so: dev where the study
    scores on test, so that its figure on test does not flatter it."""
    sign = -1 if known.lower_is_better else 1
    results = [result for result in known.results if (known.runs / result.key / MODEL).is_dir()]
    on_dev = known.question.scored != "dev" and all(result.curve for result in results)

    def worth(result: Result) -> tuple[float, int]:
        return sign * (result.curve[-1][1] if on_dev else result.figures[known.metric]), result.size

    if not results:
        return None
    return max(results, key=worth), "dev" if on_dev else known.question.scored


def look_at_best(
    known: Study,
    *,
    pool: str | Path | None = None,
    pool_size: int = SIZE,
    suspects: bool = True,
    training: bool = True,
    on: str = "local",
    at_once: int | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Best | None:
    """Look closely at the best run of a study; ``None`` while no run is finished.

    The temperature that makes its confidences right is kept with its model.

    Args:
        known: The study.
        pool: A file with texts without labels, to choose from which to label next.
        pool_size: How many to choose.
        suspects: Whether to look for label errors in the training data, which takes a few trainings.
        training: Whether these may be done; else label errors are shown if they were found before.
        on: Where these are computed.
        at_once: How many of them at a time.
        tell: Called with each note.

    Raises:
        PolyheadError: The pool cannot be read, or has nothing to choose from.
    """
    if pool is not None:
        see_pool(Path(pool), pool_size)
    found = best_run(known)
    if found is None:
        return None
    run, chosen_on = found
    folder, target = known.runs / run.key, known.question.target
    with claimed(known.folder):
        inspection = inspect_run(folder, [target]).get(target)
        if inspection is None:
            return None
        if inspection.calibration is not None:
            head = known.question.table["tasks"][target].get("head_of", target)
            keep_temperature(folder, head, inspection.calibration.temperature)
        learn = partial(_learnt, known, on=on, at_once=at_once, tell=tell) if training else partial(_finished, known)
        errors = _suspects(known, run, learn, tell) if suspects else None
    best = Best(run, chosen_on, inspection, errors)
    return best if pool is None else replace(best, choice=choose_texts(known, best, pool, pool_size, tell))


def choose_texts(
    known: Study, best: Best, pool: str | Path, size: int = SIZE, tell: Callable[[str], object] = lambda _: None
) -> Choice:
    """Choose the texts of a pool to label next, and write them into the study's folder.

    Args:
        known: The study.
        best: Its best run, whose model says how sure it is.
        pool: A file with texts without labels.
        size: How many to choose.
        tell: Called with each note.

    Raises:
        PolyheadError: The pool cannot be read, or has nothing to choose from.
    """
    see_pool(Path(pool), size)
    with claimed(known.folder):
        return _choice(known, known.runs / best.run.key, Path(pool), size, tell)


def see_pool(path: Path, size: int) -> None:
    """See that a pool can be read, before anything is trained.

    Raises:
        PolyheadError: It cannot, or no text is wanted of it.
    """
    if size < 1:
        raise PolyheadError(f"--pool-size {size} is no number of texts.", remedy="Give 1 or more.")
    check_pool(path)


Learn = Callable[[list[Lesson]], list[Lesson]]
"""Trains the runs of the parts as far as they may be; gives those that are finished."""


def _suspects(known: Study, run: Result, learn: Learn, tell: Callable[[str], object]) -> Suspects | None:
    """Suspected label errors, from runs that learn without a part each."""
    question = known.question
    tasks = question.recipe.make_tasks()
    with question.recipe.blamed():
        datasets = load_datasets(question.recipe, tasks, SPLITS)
        prepare_tasks(tasks, datasets)
    task = tasks[question.target]
    if task.kind is not float and not _says_chances(known.runs / run.key, question.target):
        tell(f"label errors are not looked for: tasks.{task.name} gives no probabilities of labels")
        return None
    if question.recipe.data[task.data].fold is not None:
        tell(f"label errors are not looked for: data.{task.data} lacks a part already (fold)")
        return None
    if not has_cleanlab():
        explain_missing(tell)
        return None
    if question.whole < 2:
        tell("label errors are not looked for: there is one training example")
        return None
    parts = parts_of(question.whole)
    seed = known.asked[0].seeds[0]  # not the best run's, so that another best seed costs no more trainings
    lessons = [part(question, run.way, number, parts, seed) for number in range(1, parts + 1)]
    finished = learn(lessons)
    if not finished:
        return None
    return gather(known.folder, known.folder / PARTS, finished, task, datasets[task.data].splits["train"])


def _says_chances(folder: Path, target: str) -> bool:
    return gives_chances(type(load_model(folder).head(target)))


def _finished(known: Study, lessons: Sequence[Lesson]) -> list[Lesson]:
    """The runs of the parts, if all of them are finished; none else."""
    there = [(known.folder / PARTS / lesson.key / HELD).exists() for lesson in lessons]
    return list(lessons) if all(there) else []


def _learnt(
    known: Study, lessons: Sequence[Lesson], *, on: str, at_once: int | None, tell: Callable[[str], object]
) -> list[Lesson]:
    """The runs of the parts, trained as far as they are not finished; those that failed are left out, and told."""
    places = {lesson.key: known.folder / PARTS / lesson.key for lesson in lessons}
    outcomes: dict[str, Outcome] = {
        key: read_json(place / FIGURES) for key, place in places.items() if (place / FIGURES).exists()
    }
    left = [lesson for lesson in lessons if lesson.key not in outcomes]
    if left:
        parts = f"{len(lessons)} parts of the training split"
        tell(f"label errors are looked for in {parts}: {counted(len(left), 'training')} to do")
        before = [lesson.before for lesson in left[:1] if lesson.before is not None]  # the same for all
        ready: dict[str, Outcome] = {one.key: {} for one in before if known.has_model(one)}

        def order(lesson: Lesson) -> Order:
            place = places.get(lesson.key)
            return known.order(lesson) if place is None else replace(known.order(lesson), folder=place, part=True)

        def done(lesson: Lesson, outcome: Outcome) -> None:
            outcomes[lesson.key] = outcome
            tell(f"{lesson.name}: {outcome.get('error') or str(outcome['seconds']) + ' s'}")

        with workers(on, at_once, known.threads) as here:
            run_all([*(one for one in before if one.key not in ready), *left], order, here, done, {**ready, **outcomes})
    finished = [lesson for lesson in lessons if "error" not in outcomes[lesson.key]]
    return [lesson for lesson in finished if (places[lesson.key] / HELD).exists()]


def _choice(known: Study, folder: Path, pool: Path, size: int, tell: Callable[[str], object]) -> Choice:
    """What to label next; a pool is read once for each model, and the file is never written over."""
    question = known.question
    model_files = [folder / "model" / name for name in ("config.json", "model.safetensors")]
    told = fingerprint([("pool", pool), *((path.name, path) for path in model_files)])
    key = hashlib.sha256(json.dumps([told, size]).encode()).hexdigest()[:8]
    facts = known.folder / f"{CHOICE}-{key}.json"
    if facts.exists():
        kept = Choice(**read_json(facts, "path", "texts"))
        if all(path.exists() for path in files_of(known.folder / kept.path)):
            return kept
    tasks = question.recipe.make_tasks()
    task = tasks[question.target]
    labelled = load_datasets(question.recipe, tasks, SPLITS)[task.data]
    device = find_device("auto")
    model = load_model(folder).to(device).use(choose_precision(device))
    given, count = choose(model, question.target, pool, size, labelled, tell)
    spec = question.recipe.data[task.data]
    form = Form(spec, question.recipe.base / spec.files("train")[0], task.layer, annotator(model).keys)
    written: Written = write_forms(known.folder / f"{CHOICE}-{key}", form, given)
    made = Choice(
        path=written.path.name,
        pool=pool.name,
        texts=len(given),
        **asdict(count),
        filled=written.filled,
        same=written.same,
        first=[example.raw[:300] for example, _ in given[:SHOWN]],
    )
    write_json(facts, asdict(made))
    return made
