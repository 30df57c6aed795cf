"""A look at a recipe's data as its encoder would see it; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from polyhead.data import Dataset, Example
from polyhead.data.check import Report, check
from polyhead.data.check_stream import check_streams
from polyhead.recipe import Recipe
from polyhead.tasks import Task
from polyhead.training.languages import readings
from polyhead.training.learning import see_layers
from polyhead.training.origin import find_origin
from polyhead.training.prepare import check_stages, device_of, read_dataset


def look(recipe: Recipe) -> Iterator[Report]:
    """A report on each dataset of the recipe, whether or not a task uses it.

    Raises:
        PolyheadError: A file is broken, or the recipe names an encoder, a run or a device that is not to be had.
    """
    check_stages(recipe)
    device_of(recipe)
    tasks = recipe.make_tasks()
    origin = find_origin(recipe, tasks)
    used = [name for name in recipe.data if any(task.data == name for task in tasks.values())]
    datasets = {name: _load(recipe, name, tasks) for name in used} if origin.learns_pieces else {}
    encoder = origin.encoder(datasets, tasks)
    with recipe.blamed():
        see_layers(recipe.stages, encoder)

    def lengths(examples: Sequence[Example]) -> list[int]:
        special = encoder.tokenizer.single.size
        return [pieces.length + special for pieces in encoder.tokenise(examples)]

    for name in recipe.data:
        dataset = datasets.get(name) or _load(recipe, name, tasks)
        report = (check_streams if dataset.streamed else check)(dataset, lengths, encoder.window)
        found = {} if origin.from_scratch else readings(dataset, tasks.values(), encoder.tokenizer)
        yield replace(report, readings=found)


def _load(recipe: Recipe, name: str, tasks: Mapping[str, Task]) -> Dataset:
    with recipe.blamed():
        return read_dataset(name, recipe.data[name], recipe.base, tasks)
