"""A look at a recipe's data as its encoder would see it; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from polyhead.data import Example
from polyhead.data.check import Report, check
from polyhead.data.check_stream import check_streams
from polyhead.nn.loading import load_encoder
from polyhead.recipe import Recipe
from polyhead.training.prepare import read_dataset


def look(recipe: Recipe) -> Iterator[Report]:
    """A report on each dataset of the recipe, whether or not a task uses it.

    Raises:
        PolyheadError: A file is broken, or the encoder cannot be loaded.
    """
    encoder = load_encoder(recipe.encoder_spec.name, base=recipe.base, window=recipe.encoder_spec.window)
    tasks = recipe.make_tasks()

    def lengths(examples: Sequence[Example]) -> list[int]:
        special = encoder.tokenizer.single.size
        return [pieces.length + special for pieces in encoder.tokenise(examples)]

    for name, spec in recipe.data.items():
        dataset = read_dataset(name, spec, recipe.base, tasks)
        yield (check_streams if dataset.streamed else check)(dataset, lengths, encoder.window)
