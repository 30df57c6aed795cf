"""Distillation: earlier runs label a stage's training texts softly, once, before anything is learnt."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from polyhead.answering.annotator import CHUNK_TEXTS
from polyhead.answering.batches import BUDGET
from polyhead.data.example import KIND_NAMES, Labels
from polyhead.data.text import counted, listed
from polyhead.errors import PolyheadError, nearest
from polyhead.files import fingerprint, read_json, remove_unfinished, whole, write_json
from polyhead.model import Lesson, Model, Question, load_model, model_folder, saved_tasks
from polyhead.nn.batch import cut_batches
from polyhead.nn.soft import Soft
from polyhead.recipe import Recipe
from polyhead.stage import DistilSpec, Stage
from polyhead.tasks import Head, Task, describe_task
from polyhead.training.examples import TrainingSet
from polyhead.training.soft_labels import SoftReader, SoftWriter, unreadable

FOLDER = "soft"
"""The folder of an unfinished run that holds its soft labels."""

_TABLE = "lessons.json"
"""What says in that folder which teachers labelled for which tasks."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """An earlier run, and what it teaches.

    Attributes:
        name: As the recipe names it.
        folder: Its model.
        tasks: For each of the student's tasks that it teaches, its own.
    """

    name: str
    folder: Path
    tasks: dict[str, Task]


def soft_folder(run: Path, number: int) -> Path:
    """Where a run keeps the soft labels of a stage, counted from 0, until its end."""
    return run / FOLDER / f"{number:03d}"


def remove_soft_labels(run: Path) -> None:
    """Delete the soft labels of a run that needs them no more."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


def see_teachers(recipe: Recipe, model: Model, run: Path) -> tuple[dict[str, str], list[str]]:
    """See before anything is learnt that all teachers are there and fit, whose soft labels a run does not have yet.

    Returns:
        Each teacher's fingerprint, and notes on who learns from whom.

    Raises:
        PolyheadError: There is no such run, it teaches no task of the stage, or a task cannot learn from it.
    """
    fingerprints: dict[str, str] = {}
    notes: list[str] = []
    for number, stage in enumerate(recipe.stages):
        if stage.distil is None or soft_folder(run, number).is_dir():
            continue
        for teacher in find_teachers(recipe, number, model):
            notes.append(f"stage {stage.name}: {teacher.name} teaches {', '.join(teacher.tasks)}")
            notes += [note for name, task in teacher.tasks.items() for note in _gaps(model.tasks[name], task, teacher)]
            if str(teacher.folder) not in fingerprints:
                fingerprints[str(teacher.folder)] = fingerprint(_named_files(teacher.folder))
    return fingerprints, notes


def see_same(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """See that the teachers that a run still needs are those that it started with.

    Raises:
        PolyheadError: One has changed.
    """
    for folder, found in now.items():
        if before.get(folder) != found:
            raise PolyheadError(
                f"The teacher {folder} is not the model that the run started with.",
                remedy="Put it back, or start a new run.",
            )


def find_teachers(recipe: Recipe, number: int, model: Model) -> list[Teacher]:
    """The teachers of a stage, counted from 0, and which tasks each one teaches.

    Raises:
        PolyheadError: As for ``see_teachers``.
    """
    stage = recipe.stages[number]
    spec = stage.distil
    assert spec is not None
    place = f"stages[{number + 1}].distil"
    found: list[Teacher] = []
    for name in spec.teachers:
        try:
            folder = model_folder((recipe.base / Path(name).expanduser()).resolve())
            known = saved_tasks(folder)
        except PolyheadError as error:
            raise PolyheadError(f"{place}.teachers: {error.what}", remedy=error.remedy, file=error.file) from error
        if folder in [teacher.folder for teacher in found]:
            raise PolyheadError(f"{place}.teachers names {name!r} twice.", remedy="Name it once.")
        theirs_of = {task: spec.heads.get(task) or _namesake(task, model, known) for task in _pupils(stage, model)}
        tasks = {task: known[theirs] for task, theirs in theirs_of.items() if theirs in known}
        if not tasks:
            raise PolyheadError(
                f"{place}.teachers: {name!r} teaches none of {', '.join(spec.tasks or stage.tasks)}: "
                f"it has {', '.join(known) or 'no task'}.",
                remedy='Leave it out, or say what a task is called there: heads = { TASK = "ITS NAME THERE" }.',
            )
        for task, theirs in tasks.items():
            _see_that_it_fits(model, task, theirs, name)
        found.append(Teacher(name, folder, tasks))
    everything = {task for teacher in found for task in teacher.tasks}
    for task in [*spec.heads, *spec.tasks]:
        if task not in everything:
            raise PolyheadError(
                f"{place}: no teacher has a task {spec.heads.get(task, task)!r} for {task!r} to learn from.",
                remedy=nearest(spec.heads.get(task, task), _all_tasks(spec, recipe.base)),
            )
    return found


def _namesake(name: str, model: Model, known: Collection[str]) -> str:
    """What a task is called in a teacher that says nothing else: the same, or as the task whose head it shares."""
    shared = model.tasks[name].head_of
    return shared if shared is not None and name not in known else name


def _pupils(stage: Stage, model: Model) -> list[str]:
    """The tasks of a stage that may learn from teachers; one that learns from text alone does not, unless named."""
    assert stage.distil is not None
    named = {*stage.distil.tasks, *stage.distil.heads}
    return stage.distil.tasks or [name for name in stage.tasks if model.tasks[name].annotates or name in named]


def _all_tasks(spec: DistilSpec, base: Path) -> set[str]:
    return {task for name in spec.teachers for task in saved_tasks(model_folder(base / Path(name).expanduser()))}


def _see_that_it_fits(model: Model, name: str, theirs: Task, teacher: str) -> None:
    """See that a task can learn from a teacher's."""
    ours, head = model.tasks[name], type(model.head(name))
    remedy = "Name the tasks that can learn from teachers: distil.tasks = [...]."
    if head.soft is Head.soft or head.distil is Head.distil:
        raise PolyheadError(
            f"tasks.{name} cannot learn from a teacher: {head.__name__} lacks the methods soft and distil.",
            remedy="Add them (see docs/task-types.md). " + remedy,
        )
    if type(ours) is not type(theirs) or ours.kind is not theirs.kind:
        kinds = [f"{describe_task(task)['type']} ({KIND_NAMES[task.kind]})" for task in (ours, theirs)]
        raise PolyheadError(
            f"tasks.{name} is {kinds[0]}, but {theirs.name!r} of the teacher {teacher!r} is {kinds[1]}.", remedy=remedy
        )
    common = set(ours.choices()) & set(theirs.choices())
    fewest = 1 if ours.kind is Labels else 2  # of one label alone there is nothing to tell apart
    if ours.choices() and len(common) < min(fewest, len(ours.choices())):
        raise PolyheadError(
            f"tasks.{name} and {theirs.name!r} of the teacher {teacher!r} have "
            f"{counted(len(common), 'label')} in common, too few to learn from: ours are {listed(ours.choices())}, "
            f"theirs {listed(theirs.choices())}.",
            remedy="Give both the same names of labels. " + remedy,
        )


def _gaps(ours: Task, theirs: Task, teacher: Teacher) -> Iterator[str]:
    """Notes on labels that only one of the two has."""
    lacking = sorted(set(ours.choices()) - set(theirs.choices()))
    beyond = sorted(set(theirs.choices()) - set(ours.choices()))
    if lacking:
        yield f"tasks.{ours.name}: the teacher {teacher.name} does not know {listed(lacking)}"
    if beyond:
        yield f"tasks.{ours.name}: what the teacher {teacher.name} gives to {listed(beyond)} is left out"


def _named_files(folder: Path) -> list[tuple[str, Path]]:
    """The files of a model, by their places in its folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [(file.relative_to(folder).as_posix(), file) for file in files]


def write_soft_labels(
    folder: Path, teachers: Sequence[Teacher], examples: TrainingSet, spec: DistilSpec, model: Model
) -> None:
    """Let the teachers label a stage's training examples, one teacher after the other, each freed before the next.

    Args:
        folder: Where the soft labels go; written whole.
        teachers: As ``find_teachers`` gives them.
        examples: Of the stage, and which of them each task may learn from softly.
        spec: Its temperature.
        model: The student, for its tasks, its device and its precision.
    """
    if folder.parent.is_dir():
        remove_unfinished(folder.parent)
    # Whoever finds the soft labels there must go on with the same random numbers as who wrote them.
    with torch.random.fork_rng(devices=[]), whole(folder) as draft:
        draft.mkdir(parents=True)
        for number, teacher in enumerate(teachers):
            one = load_model(teacher.folder).to(model.encoder.device).use(model.precision)
            with ExitStack() as stack:
                writers = {n: stack.enter_context(SoftWriter(draft, f"{n}.{number}")) for n in teacher.tasks}
                for row, name, soft in _answers(one, teacher.tasks, examples, model, spec.temperature):
                    writers[name].append(row, soft)
            del one
        tasks = {name: [i for i, t in enumerate(teachers) if name in t.tasks] for name in model.tasks}
        write_json(draft / _TABLE, {"tasks": {name: numbers for name, numbers in tasks.items() if numbers}})


def _answers(
    model: Model, tasks: Mapping[str, Task], examples: TrainingSet, pupil: Model, temperature: float
) -> Iterator[tuple[int, str, Soft]]:
    """Each example that some task may learn from, by its number, with the task and what the teacher says of it.

    Args:
        model: The teacher's.
        tasks: For each of the student's tasks that it teaches, its own.
        examples: Of the stage.
        pupil: The student, for its labels, and for the language that each text is taken for.
        temperature: Of the soft labels.
    """
    choices = {name: pupil.tasks[name].choices() for name in tasks}
    readable = {name: examples.soft_units[name] > 0 for name in tasks}
    wanted = np.flatnonzero(np.any(list(readable.values()), axis=0))
    for start in range(0, len(wanted), CHUNK_TEXTS):
        chunk = wanted[start : start + CHUNK_TEXTS]
        languages = [pupil.encoder.tokenizer.language_of(examples.items[row]) for row in chunk]
        texts = model.encoder.tokenise([examples.examples[row] for row in chunk])
        items = [model.encoder.tokenizer.taken_for(*one) for one in zip(texts, languages, strict=True)]
        lengths, rows = model.encoder.measure(items)
        for places in cut_batches(np.argsort(lengths, kind="stable"), lengths, rows, BUDGET):
            here = chunk[places]
            batch = model.encoder.collate([items[place] for place in places]).to(model.encoder.device)
            questions = {
                name: Question(task.name, np.flatnonzero(readable[name][here]).tolist(), choices[name])
                for name, task in tasks.items()
            }
            for name, given in model.soft(batch, questions, temperature).items():
                for i, soft in zip(questions[name].rows, given, strict=True):
                    yield int(here[i]), name, soft


def taught_tasks(folder: Path) -> list[str]:
    """The tasks that some teacher has labelled the texts for in this folder."""
    return list(_teachers_by_task(folder))


def _teachers_by_task(folder: Path) -> dict[str, list[int]]:
    try:
        found: dict[str, list[int]] = read_json(folder / _TABLE, "tasks")["tasks"]
    except OSError as error:
        raise unreadable(folder, error) from error
    return found


class Lessons:
    """What the teachers of a stage say of its batches, read from their soft labels.

    Args:
        folder: What ``write_soft_labels`` wrote.
        spec: How much they count.
        scales: For each task how many units a batch usually has of gold, over those it has of soft labels.
    """

    def __init__(self, folder: Path, spec: DistilSpec, scales: Mapping[str, float]) -> None:
        tasks = _teachers_by_task(folder)
        self.spec = spec
        self.scales = scales
        self.readers = {n: [SoftReader(folder, f"{n}.{number}") for number in found] for n, found in tasks.items()}

    def share(self, done: float) -> float:
        """What the teachers count beside gold when this share of the stage is done."""
        return 1.0 - done if self.spec.share == "anneal" else self.spec.share

    def of(self, rows: NDArray[np.int64], done: float) -> dict[str, Lesson]:
        """The lessons of a batch, of the tasks that the teachers have labelled some of its examples for.

        Args:
            rows: The batch's examples, by their number in the stage.
            done: The share of the stage that is done.
        """
        numbers = rows.tolist()
        lessons = {}
        for name, readers in self.readers.items():
            here = [i for i, number in enumerate(numbers) if number in readers[0]]
            if here:
                soft = [[reader[numbers[i]] for i in here] for reader in readers]
                lessons[name] = Lesson(here, soft, self.share(done), self.spec.temperature, self.scales[name])
        return lessons

    def carried(self, rows: NDArray[np.int64]) -> set[str]:
        """The tasks that the teachers have labelled some of these examples for."""
        return {name for name, readers in self.readers.items() if any(row in readers[0] for row in rows.tolist())}
