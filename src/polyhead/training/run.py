"""A run: a folder that holds a resolved recipe, a log, checkpoints, the best weights, the model and its scores."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from polyhead.card import CARD, CardFacts, model_card
from polyhead.data import DataSpec
from polyhead.data.dataset import SPLITS
from polyhead.data.readers import suffix_format
from polyhead.errors import PolyheadError, nearest
from polyhead.files import read_json, remove_unfinished, write_json, write_text
from polyhead.hub import push
from polyhead.intervals import LEVEL, METHOD, SEED, Intervals
from polyhead.loading import see_plain
from polyhead.model import Model, load_model
from polyhead.nn.encoder import Encoder
from polyhead.nn.precision import choose_precision, find_device
from polyhead.predict import ExportedModel, open_exported
from polyhead.recipe import Recipe, load_recipe
from polyhead.runtime.folder import exported_folder
from polyhead.scoring import Gold, Measured, Scores, Signatures, measure
from polyhead.training.differences import Comparisons
from polyhead.training.prepare import Material, load_datasets, precision_of

STAGES = "stages.json"
"""The file of a run that says what came out of each stage."""

BEGIN = "start"
"""What stands in the place of a stage for the run that a model started from."""

INTERVALS = "intervals.json"
"""The file of a run that says how sure its scores are."""


def write_intervals(path: Path, measured: Mapping[str, Measured]) -> None:
    """Write the intervals of each split's scores, and how these are computed exactly."""
    splits = {
        split: {task: sure.to_dict() for task, sure in found.intervals.items()} for split, found in measured.items()
    }
    signatures = {task: found for one in measured.values() for task, found in one.signatures.items()}
    write_json(path, {"level": LEVEL, "method": METHOD, "seed": SEED, "splits": splits, "signatures": signatures})


def read_intervals(path: Path) -> dict[str, dict[str, Intervals]]:
    """What ``write_intervals`` wrote; nothing if there is no such file.

    Raises:
        PolyheadError: It is damaged.
    """
    try:
        splits = read_json(path, "splits")["splits"]
    except FileNotFoundError:
        return {}
    return {split: {task: Intervals.from_dict(one) for task, one in tasks.items()} for split, tasks in splits.items()}


def write_card(
    folder: Path,
    place: Path,
    model: Model,
    measured: Mapping[str, Measured],
    *,
    name: str | None = None,
    best_of: tuple[str, int] | None = None,
) -> None:
    """Write a model's card into its folder.

    Args:
        folder: The run behind it.
        place: The model's folder.
        model: The model, with its lineage.
        measured: What it scores on each split.
        name: What it is called; by default as its run.
        best_of: Where its weights come from, if they are one task's own best.
    """
    facts = CardFacts(
        name=name or folder.resolve().name,
        tasks=model.tasks,
        info=model.info,
        run=read_json(folder / "run.json"),
        recipe=load_recipe(folder / "recipe.toml"),
        scores={split: found.scores for split, found in measured.items()},
        intervals={
            split: {task: sure.to_dict() for task, sure in found.intervals.items()} for split, found in measured.items()
        },
        signatures={task: found for one in measured.values() for task, found in one.signatures.items()},
        best_of=best_of,
    )
    remove_unfinished(place)
    write_text(place / CARD, model_card(facts))


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        folder: Where it is.
        scores: For each split that has gold, each task's figures.
    """

    folder: Path
    scores: dict[str, Scores]

    @property
    def intervals(self) -> dict[str, dict[str, Intervals]]:
        """For each split and task the intervals of its figures; none of a run that an older polyhead made."""
        return read_intervals(self.folder / INTERVALS)

    @property
    def signatures(self) -> Signatures:
        """How figures of its tasks are computed exactly, by task and figure, such as BLEU in sacrebleu's words."""
        path = self.folder / INTERVALS
        found: Signatures = read_json(path).get("signatures", {}) if path.exists() else {}
        return found

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
    def stages(self) -> list[dict[str, Any]]:
        """For each stage its name (``stage``), its ``tasks``, and the dev ``scores`` of all tasks learnt until its end;
        before them those of the run that the model started from, if it did, as a stage ``start`` without tasks. A run
        of an older version has none.

        Raises:
            PolyheadError: The file is damaged.
        """
        path = self.folder / STAGES
        stages: list[dict[str, Any]] = read_json(path, "stages")["stages"] if path.exists() else []
        return stages

    @property
    def main_figures(self) -> dict[str, str]:
        """The name of each task's main figure."""
        return {name: task.metric for name, task in self.recipe.make_tasks().items()}

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return load_recipe(self.folder / "recipe.toml")

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> str:
        """Push the model and its card to the Hub; see :func:`polyhead.hub.push`."""
        return push(self.folder, repo_id, private=private)

    def separate(self, output: str | Path) -> dict[str, Path]:
        """Save a model for each task, with its own best weights; see :func:`polyhead.separate`."""
        from polyhead.training.separating import separate  # which imports this module

        return separate(self.folder, output)

    def compare(self, other: Run | str | Path, *, split: str = "test") -> Comparisons:
        """Compare with another run on the same examples, task by task; see :func:`polyhead.compare`.

        Args:
            other: A run, or its folder. Differences are what it has more than this one.
            split: ``train``, ``dev`` or ``test``.

        Raises:
            PolyheadError: As :func:`polyhead.compare`.
        """
        from polyhead.training.comparing import compare  # which imports this module

        return compare(self.folder, other.folder if isinstance(other, Run) else other, split=split)

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

    :func:`assess` gives intervals, too.

    Args:
        folder: The run; or a model folder or an id on the Hub, which are scored on a file alone.
        split: ``train``, ``dev`` or ``test``.
        file: A file to score on instead.
        data: The dataset that the file is like; needed if the recipe has several.
        best: A task whose own best weights to take.
        tell: Called with each note on the data.

    Raises:
        PolyheadError: There is no such run, split, dataset or file, or the file is broken.
    """
    return assess(folder, split=split, file=file, data=data, best=best, tell=tell).scores


def assess(
    folder: str | Path,
    *,
    split: str = "test",
    file: str | Path | None = None,
    data: str | None = None,
    best: str | None = None,
    only: Collection[str] | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Measured:
    """As :func:`evaluate`, with the intervals of the figures; ``only`` names the tasks, by default all."""
    model, gold, tasks = open_gold(folder, Where(split, file, data, best, only), tell)
    return measure(model, gold, tasks)


@dataclass(frozen=True, slots=True)
class Where:
    """What a model is scored on; see :func:`evaluate`.

    Attributes:
        split, file, data, best: As there.
        only: The tasks; by default all.
    """

    split: str = "test"
    file: str | Path | None = None
    data: str | None = None
    best: str | None = None
    only: Collection[str] | None = None


def open_gold(
    folder: str | Path, where: Where, tell: Callable[[str], object]
) -> tuple[Model | ExportedModel, dict[str, Gold], list[str]]:
    """A model, what it is scored on, and the tasks that there is gold for.

    Raises:
        PolyheadError: As :func:`evaluate`.
    """
    split, file, data, only = where.split, where.file, where.data, where.only
    device = find_device("auto")
    model: Model | ExportedModel
    if (place := exported_folder(folder)) is not None:
        see_plain(place, where.best)
        model = open_exported(folder, place)
        recipe = _recipe_behind(model)
    elif (Path(folder) / "recipe.toml").is_file():
        recipe = load_recipe(Path(folder) / "recipe.toml")
        model = load_model(folder, where.best).to(device)
    else:
        model = load_model(folder, where.best).to(device)
        recipe = _recipe_behind(model)
    if file is None and not (Path(folder) / "recipe.toml").is_file():
        raise PolyheadError(
            f"{str(folder)!r} is a model without a run, so it has no splits.",
            remedy=f"Give a file: polyhead evaluate {folder} FILE",
        )
    tasks = {name: task for name, task in model.tasks.items() if only is None or name in only}
    if isinstance(model, Model):
        same = str(device) == recipe.device  # then the figures are those of the run itself
        model.use(precision_of(recipe, device) if same else choose_precision(device))
    if file is not None:
        recipe, split = _with_file(recipe, Path(file), data, tasks), "test"
    elif data is not None:
        recipe = recipe.model_copy(update={"data": {data: _dataset_named(recipe, data)}})
    wanted = {name: spec for name, spec in recipe.data.items() if getattr(spec, split) is not None}
    tasks = {name: task for name, task in tasks.items() if task.data in wanted}
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
    # Of an exported model only what cuts texts into pieces is asked: all of its tasks annotate.
    gold = Material(cast(Encoder, model.encoder), datasets).gold(split, list(tasks.values()))
    return model, gold, list(tasks)


def _recipe_behind(model: Model | ExportedModel) -> Recipe:
    """What a model without its run knows of its recipe: how its datasets are read, and which task learnt from which."""
    data = {name: DataSpec(**spec) for name, spec in model.info.get("data", {}).items()}
    tasks = {name: {"type": "", "data": task.data, "layer": task.layer} for name, task in model.tasks.items()}
    return Recipe(data=data, tasks=tasks)


def _with_file(recipe: Recipe, file: Path, data: str | None, tasks: Collection[str]) -> Recipe:
    used = sorted({str(table["data"]) for name, table in recipe.tasks.items() if name in tasks})
    if data is None and len(used) > 1:
        raise PolyheadError(
            "The recipe has several datasets.", remedy=f"Say which one the file is like: --data {' or '.join(used)}"
        )
    name = data or used[0]
    known = _dataset_named(recipe, name)
    _check_format(file, known, name)
    # The training split stays: where tags mark spans, it says by which scheme.
    spec = known.model_copy(
        update={"dev": None, "test": str(file.resolve()), "limit": None, "draw": None, "fold": None}
    )
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
