"""What a study is about: a target with its data, and the sizes that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from polyhead.data import Dataset
from polyhead.errors import PolyheadError, nearest
from polyhead.recipe import Recipe
from polyhead.studies.question import Question
from polyhead.tasks import Task
from polyhead.training.prepare import load_datasets, prepare_tasks

USUAL_SIZES = (50, 100, 200, 500, 1000, 2000, 5000, 10_000)
MOST_SIZES = 5
"""So many sizes by default, the whole training split among them."""

LEAST = 10
"""The smallest size by default."""


def ask(recipe: Recipe, target: str, tell: Callable[[str], object]) -> Question:
    """What a study of a recipe's task is about; its data is read once to see that nothing is at fault.

    Raises:
        PolyheadError: There is no such task, or its data cannot be learnt or scored.
    """
    return ask_each(recipe, [target], tell)[0]


def ask_each(recipe: Recipe, targets: Sequence[str], tell: Callable[[str], object]) -> list[Question]:
    """The same for several targets of a recipe, whose data is read once for all.

    Raises:
        PolyheadError: There is no such task, or its data cannot be learnt or scored.
    """
    tasks = recipe.make_tasks()
    for target in targets:
        if target not in recipe.tasks:
            raise PolyheadError(f"The recipe has no task {target!r}.", remedy=nearest(target, recipe.tasks))
        if not tasks[target].annotates:
            raise PolyheadError(
                f"tasks.{target} learns from text alone, so there are no labels to save.",
                remedy="Name a task with a layer; this one can be a source: from:" + target,
            )
    with recipe.blamed():
        datasets = load_datasets(recipe, tasks, ("train", "dev", "test"))
        prepare_tasks(tasks, datasets)
    return [_question(recipe, tasks[target], datasets, tell) for target in targets]


def _question(recipe: Recipe, task: Task, datasets: Mapping[str, Dataset], tell: Callable[[str], object]) -> Question:
    data = datasets[task.data]
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
    return Question(
        recipe=recipe,
        target=task.name,
        whole=len(data.splits["train"]),
        labels=tuple(task.known_labels()) if task.inventory == "labels" else (),
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
