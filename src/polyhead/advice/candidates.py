"""Encoders that advice is asked about: where each is found, and the source tasks that an encoder learns briefly."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyhead import hub
from polyhead.errors import PolyheadError, nearest
from polyhead.model import is_ours, load_model, model_folder
from polyhead.nn.encoder import Encoder
from polyhead.nn.loading import find_encoder, load_encoder
from polyhead.recipe import Recipe, make_recipe
from polyhead.stage import Stage
from polyhead.studies.ways import CARRIED, FROM, TUNED, WITH, carried
from polyhead.training import train
from polyhead.training.origin import find_origin
from polyhead.training.prepare import load_datasets

BRIEF = 500
"""So many examples of a source an encoder learns from, to see which way it goes."""

BRIEF_EPOCHS = 2

Tell = Callable[[str], object]


@dataclass(frozen=True)
class Candidate:
    """An encoder that can be opened.

    Attributes:
        name: As it was given.
        way: The way of a study that begins from it.
        open: Loads it, or trains it.
    """

    name: str
    way: str
    open: Callable[[], Encoder]


def own(recipe: Recipe) -> Candidate:
    """The encoder that a recipe starts from."""

    def load() -> Encoder:
        tasks = recipe.make_tasks()
        origin = find_origin(recipe, tasks)
        datasets = load_datasets(recipe, tasks, ("train",)) if origin.learns_pieces else {}
        return origin.encoder(datasets, tasks)

    name = recipe.start.run if recipe.start is not None else recipe.encoder_spec.name
    return Candidate(name or "the recipe's encoder", TUNED, load)


def named(name: str) -> Candidate:
    """A bundled encoder, a folder that transformers wrote, an id on the Hub, or the encoder of a run or a model folder.

    Raises:
        PolyheadError: There is none of this name; what is on the Hub is not asked for yet.
    """
    folder = Path(name).expanduser()
    ours = is_ours(folder)
    if ours:
        model_folder(folder)  # raises where it has not finished a stage
    if ours or ((wanted := hub.meant(name)) is not None and wanted.revision is not None):
        return Candidate(name, WITH + name, lambda: load_model(folder if ours else name).encoder)
    find_encoder(name)
    return Candidate(name, WITH + name, lambda: load_encoder(name))


def sources_of(recipe: Recipe, target: str) -> list[str]:
    """The tasks beside the target that do not share its head."""
    head = recipe.tasks[target].get("head_of", target)
    return [name for name, task in recipe.tasks.items() if name != target and task.get("head_of", name) != head]


def source(recipe: Recipe, target: str, name: str, seed: int) -> Candidate:
    """A task of the recipe, which the recipe's encoder learns briefly; or a run, which has learnt what it has.

    Raises:
        PolyheadError: There is no such task and no such run.
    """
    known = sources_of(recipe, target)
    if name in known:
        return Candidate(name, FROM + name, lambda: _learnt(recipe, name, seed))
    if Path(name).expanduser().is_dir() or ((wanted := hub.meant(name)) is not None and wanted.revision is not None):
        return named(name)
    what = "shares the head of the target" if name in recipe.tasks else "is no other task of the recipe, and no run"
    raise PolyheadError(f"The source {name!r} {what}.", remedy=nearest(name, known))


def _learnt(recipe: Recipe, name: str, seed: int) -> Encoder:
    """The recipe's encoder after a brief lesson in a task."""
    with tempfile.TemporaryDirectory(prefix="polyhead-") as folder:
        run = train(make_recipe(brief(recipe, [name], seed)), Path(folder) / "run")
        return load_model(run.folder).encoder


def brief(
    recipe: Recipe, tasks: Collection[str], seed: int, *, most: int = BRIEF, settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A recipe's table for a short run of some of its tasks, on few of their examples, scored on nothing.

    Args:
        recipe: The whole.
        tasks: Those that learn.
        seed: Of the run, and of the draw of examples.
        most: How many training examples of each dataset.
        settings: What the stage has beside what the recipe's own stage for these tasks says.
    """
    table = tomllib.loads(recipe.to_toml())
    chosen = {name: table["tasks"][name] for name in table["tasks"] if name in tasks}
    data = {task["data"]: _few(table["data"][task["data"]], most, seed) for task in chosen.values()}
    stage = carried(_stage(recipe, tasks), CARRIED) | {"epochs": BRIEF_EPOCHS, "cosines": 0} | dict(settings or {})
    rest = {key: value for key, value in table.items() if key not in ("data", "tasks", "stages", "start")}
    if "start" in table:
        rest["start"] = {"run": table["start"]["run"], "fresh": []}
    return rest | {"seed": seed, "data": data, "tasks": chosen, "stages": [stage]}


def _few(spec: Mapping[str, Any], most: int, seed: int) -> dict[str, Any]:
    """A dataset's table without dev and test, and with few training examples."""
    rest = {key: value for key, value in spec.items() if key not in ("dev", "test")}
    if spec.get("limit") is None:
        return rest | {"limit": most, "draw": seed}
    return rest | {"limit": min(most, spec["limit"])}


def _stage(recipe: Recipe, tasks: Collection[str]) -> Stage:
    """The recipe's first stage that trains one of these tasks."""

    def names(stage: Stage) -> Sequence[str]:
        return stage.tasks or list(recipe.tasks)

    return next((stage for stage in recipe.stages if set(tasks) & set(names(stage))), Stage())
