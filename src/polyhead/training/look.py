"""A look at a recipe's data as its encoder would see it; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from polyhead.data import Example, load_dataset
from polyhead.data.check import Report, check
from polyhead.recipe import Recipe
from polyhead.training.prepare import check_stages, device_of, encoder_of, layer_kinds


def look(recipe: Recipe) -> Iterator[Report]:
    """A report on each dataset of the recipe, whether or not a task uses it.

    Raises:
        PolyheadError: A file is broken, or the recipe names an encoder or a device that is not to be had.
    """
    check_stages(recipe)
    device_of(recipe)
    encoder = encoder_of(recipe)
    tasks = recipe.make_tasks()

    def lengths(examples: Sequence[Example]) -> list[int]:
        special = encoder.tokenizer.single.size
        return [pieces.length + special for pieces in encoder.tokenise(examples)]

    for name, spec in recipe.data.items():
        with recipe.blamed():
            kinds = layer_kinds([task for task in tasks.values() if task.data == name])
            dataset = load_dataset(name, spec, recipe.base, kinds)
        yield check(dataset, lengths, encoder.window)
