"""A run: a folder that holds a resolved recipe, a log, checkpoints, the best weights, the model and its scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from polyhead.data import DataSpec
from polyhead.data.dataset import SPLITS
from polyhead.data.readers import suffix_format
from polyhead.errors import PolyheadError, nearest
from polyhead.files import read_json
from polyhead.model import Model, load_model
from polyhead.nn.precision import choose_precision, find_device
from polyhead.recipe import Recipe, load_recipe
from polyhead.scoring import Scores, score
from polyhead.training.prepare import Material, load_datasets


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        folder: Where it is.
        scores: For each split that has gold, each task's figures.
    """

    folder: Path
    scores: dict[str, Scores]

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """A run on disk.

        Raises:
            PolyheadError: There is no finished run, or its scores are damaged.
        """
        folder = Path(folder)
        try:
            return cls(folder, read_json(folder / "scores.json"))
        except FileNotFoundError as error:
            unfinished = (folder / "recipe.toml").exists()
            remedy = f"Finish it: polyhead train --resume {folder}" if unfinished else "Check the path."
            raise PolyheadError(f"There is no finished run in {str(folder)!r}.", remedy=remedy) from error

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return load_recipe(self.folder / "recipe.toml")

    def model(self, best: str | None = None) -> Model:
        """The trained model; with ``best`` the weights that were best for one task, whatever the others lost."""
        return load_model(self.folder, best)


def evaluate(
    folder: str | Path,
    *,
    split: str = "test",
    file: str | Path | None = None,
    data: str | None = None,
    best: str | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Scores:
    """Score a run's model on a split of its recipe's datasets, or on a file of the same format as one of them.

    Args:
        folder: The run.
        split: ``train``, ``dev`` or ``test``.
        file: A file to score on instead.
        data: The dataset that the file is like; needed if the recipe has several.
        best: A task whose own best weights to take.
        tell: Called with each note on the data.

    Raises:
        PolyheadError: There is no such run, split, dataset or file, or the file is broken.
    """
    folder = Path(folder)
    if not (folder / "recipe.toml").is_file():
        raise PolyheadError(f"There is no run {str(folder)!r}.", remedy="Check the path.")
    recipe = load_recipe(folder / "recipe.toml")
    device = find_device("auto")
    model = load_model(folder, best).to(device)
    same = str(device) == recipe.device  # then the figures are those of the run itself
    model.use(recipe.precision if same and recipe.precision != "auto" else choose_precision(device))
    if file is not None:
        recipe, split = _with_file(recipe, Path(file), data), "test"
    elif data is not None:
        recipe = recipe.model_copy(update={"data": {data: _dataset_named(recipe, data)}})
    wanted = {name: spec for name, spec in recipe.data.items() if getattr(spec, split) is not None}
    tasks = {name: task for name, task in model.tasks.items() if task.data in wanted}
    if not tasks:
        raise PolyheadError(
            f"No dataset of the run has a {split} split.",
            remedy=f"Give a file: polyhead evaluate {folder} FILE --data NAME, or another --split.",
        )
    splits = ("train", "dev") if split == "dev" and any(isinstance(s.dev, float) for s in wanted.values()) else (split,)
    datasets = load_datasets(recipe.model_copy(update={"data": wanted}), tasks, splits)
    notes = [note for dataset in datasets.values() for note in dataset.notes]
    for task in [task for task in tasks.values() if task.annotates]:
        notes += task.check(datasets[task.data].splits[split], split) or []  # a user's own type may return nothing
    for note in notes:
        tell(note)
    gold = Material(model.encoder, datasets).gold(split, list(tasks.values()))
    return score(model, gold, list(tasks))


def _with_file(recipe: Recipe, file: Path, data: str | None) -> Recipe:
    used = sorted({str(table["data"]) for table in recipe.tasks.values()})
    if data is None and len(used) > 1:
        raise PolyheadError(
            "The recipe has several datasets.", remedy=f"Say which one the file is like: --data {' or '.join(used)}"
        )
    name = data or used[0]
    known = _dataset_named(recipe, name)
    _check_format(file, known, name)
    # The training split stays: where tags mark spans, it says by which scheme.
    spec = known.model_copy(update={"dev": None, "test": str(file.resolve()), "limit": None})
    return recipe.model_copy(update={"data": {name: spec}})


def _check_format(file: Path, spec: DataSpec, name: str) -> None:
    """A file whose suffix speaks of another format than the dataset's own files would be read as what it is not."""
    found = suffix_format(file)
    own = {suffix_format(one) for split in SPLITS for one in spec.files(split)}
    if found is not None and found not in own | {spec.format}:
        known = spec.format or " or ".join(sorted(one for one in own if one))
        raise PolyheadError(
            f"The suffix says {found}, but data.{name} of the run is {known}.",
            remedy=f"Give a file of the same format and columns as data.{name}.",
            file=file,
        )


def _dataset_named(recipe: Recipe, name: str) -> DataSpec:
    if name not in recipe.data:
        raise PolyheadError(f"The recipe has no dataset {name!r}.", remedy=nearest(name, recipe.data))
    return recipe.data[name]
