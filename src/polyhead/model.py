"""A model: one encoder and a head for each task."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from polyhead import hub
from polyhead.data.example import Prediction
from polyhead.errors import PolyheadError
from polyhead.files import read_json, whole, without_path, write_json
from polyhead.nn.batch import Batch
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.loading import load_saved_encoder
from polyhead.nn.mix import LayerMix
from polyhead.nn.precision import Precision, autocast
from polyhead.nn.ready import make_ready
from polyhead.nn.soft import Soft
from polyhead.nn.tempered import set_temperatures, temperatures_of
from polyhead.tasks import TYPES, Head, LossSum, Task, describe_task, restore_task

BEST = "best"
"""The folder of a run that holds each task's own best weights."""

TRANSFORMER = "encoder.transformer."
"""What the names of the weights begin with that are saved in the ``encoder`` folder."""

FORMAT = 1
"""The version of the folder's layout; raised when an older polyhead could not read a newer folder."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The gold of one task in a batch.

    Attributes:
        rows: The examples that carry the layer, by their place in the batch.
        gold: What ``Task.target`` gave for each of them.
    """

    rows: list[int]
    gold: list[Any]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What teachers say of one task in a batch.

    Attributes:
        rows: The examples that they labelled, by their place in the batch.
        soft: For each teacher what its head's ``soft`` gave for each of these.
        share: What part of the task's loss the teachers are, gold being the rest. From 0 to 1.
        temperature: That of the soft labels.
        scale: What the teachers' loss is multiplied with, so that a batch usually has as many units of it as of gold.
    """

    rows: list[int]
    soft: list[list[Soft]]
    share: float
    temperature: float
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """What a student wants to know from a teacher.

    Attributes:
        task: The teacher's task.
        rows: The examples to label, by their place in the batch.
        choices: The student's ``Task.choices``.
    """

    task: str
    rows: list[int]
    choices: list[str]


class Model(nn.Module):
    """One encoder and a head for each task.

    Args:
        encoder: The shared encoder.
        tasks: The tasks by name, prepared.
        info: Whatever should be kept beside the weights, such as the datasets' formats; plain data for JSON.
    """

    def __init__(self, encoder: Encoder, tasks: Mapping[str, Task], info: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.tasks = dict(tasks)
        self.info: dict[str, Any] = dict(info or {})
        for task in sorted(self.tasks.values(), key=lambda task: task.head_of is not None):
            if task.head_of is not None:
                task.take_learnt(self.tasks[task.head_of])  # what it learns of the encoder, too
            task.bind(encoder)
        self.heads = nn.ModuleDict()
        for name, task in tasks.items():  # not by add_module, which refuses names like "type" that modules have, too
            if task.head_of is None:
                self.heads._modules[name] = task.head(encoder)
        self.mixes = nn.ModuleDict()
        for name, task in tasks.items():
            if task.encoder_layers == "mix" and task.head_of is None:
                self.mixes._modules[name] = LayerMix(encoder.depth)
        self.precision: Precision = "fp32"

    def head(self, name: str) -> Head:
        """The head of a task, which may be another task's, too."""
        return cast(Head, self.heads[self._owner(name)])

    def renew(self, name: str) -> None:
        """Give a task a new head with random weights, and a new mix of layers if it mixes."""
        self.heads._modules[name] = self.tasks[name].head(self.encoder).to(self.encoder.device)
        if name in self.mixes:
            self.mixes._modules[name] = LayerMix(self.encoder.depth).to(self.encoder.device)

    def mix(self, name: str) -> LayerMix | None:
        """How the encoder's layers become the one that a task's head reads; ``None`` if it reads the last."""
        owner = self._owner(name)
        return cast(LayerMix, self.mixes[owner]) if owner in self.mixes else None

    def _owner(self, name: str) -> str:
        """The task that has the head of a task."""
        return self.tasks[name].head_of or name

    def loss(
        self, batch: Batch, targets: Mapping[str, Targets], lessons: Mapping[str, Lesson] | None = None
    ) -> dict[str, LossSum]:
        """The loss of each task that some example of the batch carries; the batch is encoded once.

        Args:
            batch: The examples.
            targets: The gold of each task.
            lessons: What teachers say, of the tasks that have some.
        """
        lessons = lessons or {}
        names = [name for name, target in targets.items() if target.rows or name in lessons]
        with autocast(self.encoder.device, self.precision):
            encoding = self._encode(batch, names)
            return {name: self._loss(name, encoding, targets[name], lessons.get(name)) for name in names}

    def _loss(self, name: str, encoding: Encoding, target: Targets, lesson: Lesson | None) -> LossSum:
        """The loss of a task from gold, from its teachers, or from both, each by its share."""
        head = self.head(name)
        gold = self._read(encoding, name, target.rows) if target.rows else None
        if lesson is None:
            assert gold is not None
            return head.loss(gold, target.gold)
        parts: list[tuple[float, LossSum]] = []
        if gold is not None and lesson.share < 1:
            parts.append((1 - lesson.share, head.loss(gold, target.gold)))
        same = gold is not None and lesson.rows == target.rows
        taught = gold if gold is not None and same else self._read(encoding, name, lesson.rows)
        weight = lesson.share * lesson.scale / len(lesson.soft)
        parts += [(weight, head.distil(taught, soft, lesson.temperature)) for soft in lesson.soft]
        total = sum((share * loss.total for share, loss in parts), start=torch.zeros((), device=self.encoder.device))
        return LossSum(total, sum(share * loss.units for share, loss in parts))

    def soft(self, batch: Batch, questions: Mapping[str, Question], temperature: float) -> dict[str, list[Soft]]:
        """The soft labels that students ask for; the batch is encoded once.

        Args:
            batch: The examples.
            questions: By the student's task.
            temperature: See ``Head.soft``.
        """
        with torch.inference_mode(), autocast(self.encoder.device, self.precision):
            encoding = self._encode(batch, [asked.task for asked in questions.values()])
            return {
                name: self.head(asked.task).soft(
                    self._read(encoding, asked.task, asked.rows), asked.choices, temperature
                )
                for name, asked in questions.items()
                if asked.rows
            }

    def chance(self, batch: Batch, targets: Mapping[str, Targets]) -> dict[str, LossSum]:
        """As ``loss``, of heads whose weights are all 0, which so hold every answer for as likely as any other.

        The model's own heads, and torch's random state, stay as they are.
        """
        own = dict(self.heads._modules)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for name in {self._owner(name): None for name in targets}:
                blank = self.tasks[name].head(self.encoder).to(self.encoder.device).eval()
                for weight in blank.parameters():
                    weight.zero_()
                self.heads._modules[name] = blank
            try:
                return self.loss(batch, targets)
            finally:
                self.heads._modules.update(own)

    def predict(
        self, batch: Batch, wanted: Mapping[str, Sequence[int]], *, sure: bool = True
    ) -> dict[str, list[Prediction]]:
        """The answers of each wanted task for some examples of the batch, which is encoded once.

        Args:
            batch: The examples.
            wanted: For each task the examples to answer, by their place in the batch.
            sure: Whether it is wanted how sure the answers are; see ``Task.answer``.
        """
        with torch.inference_mode(), autocast(self.encoder.device, self.precision):
            encoding = self._encode(batch, [name for name, rows in wanted.items() if len(rows)])
            return {
                name: self.tasks[name].answer(self.head(name), self._read(encoding, name, rows), sure=sure)
                if len(rows)
                else []
                for name, rows in wanted.items()
            }

    def measure(self, batch: Batch, name: str, targets: Sequence[Any]) -> dict[str, float]:
        """What a head measures on a batch, all examples of which are its own (see ``Head.measure``)."""
        with torch.inference_mode(), autocast(self.encoder.device, self.precision):
            encoding = self._encode(batch, [name])
            return self.head(name).measure(self._read(encoding, name, range(len(batch))), targets)

    def encoding(self, batch: Batch, name: str, rows: Sequence[int]) -> Encoding:
        """What a task's head reads of some examples of a batch, by their place there."""
        return self._read(self._encode(batch.to(self.encoder.device), [name]), name, rows)

    def _encode(self, batch: Batch, names: Sequence[str]) -> Encoding:
        """The encoding of a batch, of all layers only if one of these tasks mixes them."""
        return cast(Encoding, self.encoder(batch, all_layers=any(self.mix(name) is not None for name in names)))

    def _read(self, encoding: Encoding, name: str, rows: Sequence[int]) -> Encoding:
        """What a task's head reads of an encoding: some examples, its own mix of layers, its pieces of words."""
        return encoding.select(rows, self.mix(name), self.tasks[name].word)

    def use(self, precision: Precision) -> Model:
        """Compute in this precision from now on, for prediction; weights of linear layers change to it for good."""
        make_ready(self, precision)
        self.precision = precision
        return self

    def save(self, folder: Path) -> None:
        """Write the model as a folder: ``config.json``, ``model.safetensors`` (heads) and ``encoder/``."""
        with whole(folder) as draft:
            self.encoder.save(draft / "encoder")
            encoder = self.encoder.describe()
            config = {
                "polyhead_format": FORMAT,
                "encoder": encoder | {"name": without_path(encoder["name"])},
                "tasks": [describe_task(task) for task in self.tasks.values()],
                "temperatures": temperatures_of(self.heads),
                "info": self.info,
            }
            write_json(draft / "config.json", config)
            own = {name: t for name, t in self.state_dict().items() if not name.startswith(TRANSFORMER)}
            save_file(
                {name: tensor.contiguous() for name, tensor in own.items()},
                draft / "model.safetensors",
                metadata={"format": "pt"},
            )

    @classmethod
    def load(cls, folder: Path, *, only_answers: bool = False) -> Model:
        """Read a model that ``save`` wrote; ``only_answers`` as for :func:`load_model`.

        Raises:
            PolyheadError: The folder holds no model, or one that a newer polyhead wrote.
        """
        config = _config(folder)
        encoder = load_saved_encoder(folder / "encoder", config["encoder"], only_answers=only_answers)
        with torch.random.fork_rng(devices=[]):  # random first weights, overwritten at once
            model = cls(encoder, saved_tasks(folder), config["info"])
        _fill(model, folder / "model.safetensors", but=(TRANSFORMER,))
        set_temperatures(model.heads, config.get("temperatures", {}))
        return model.eval()


def load_model(place: str | Path, best: str | None = None, *, only_answers: bool = False) -> Model:
    """The model of a run, of a model folder itself, or of an id on the Hub.

    Args:
        place: A run, a folder that ``Model.save`` wrote, or ``owner/name`` or ``owner/name@revision`` on the Hub; what
            exists here comes first.
        best: A task whose own best weights to take; only a run has them.
        only_answers: Whether it only has to answer: it may then be one that cannot be trained, saved or exported.

    Raises:
        PolyheadError: There is no model, or no such task.
    """
    folder = _found(place)
    model = Model.load(model_folder(folder), only_answers=only_answers)
    if best is not None:
        known = read_json(path) if (path := folder / BEST / "tasks.json").exists() else {}
        if best not in known:
            remedy = f"Known: {', '.join(known) or 'none'}."
            raise PolyheadError(f"There are no best weights for {best!r}.", remedy=remedy)
        _fill(model, folder / BEST / known[best]["file"])
        set_temperatures(model.heads, {})  # those were for other weights
    return model


def tasks_of(place: str | Path) -> dict[str, Task]:
    """The tasks of the model that ``load_model`` would load, without its weights.

    Raises:
        PolyheadError: There is no model.
    """
    return saved_tasks(model_folder(_found(place)))


def _found(place: str | Path) -> Path:
    """The folder that a place names; what is on the Hub is fetched."""
    wanted = hub.meant(place)
    folder = Path(place) if wanted is None else hub.fetch(wanted)
    if wanted is not None:
        check_types(folder / "config.json", wanted)
    if not folder.is_dir():
        found = hub.hub_id(place)
        instead = f" The Hub's model of this name is {found}@main." if found and not found.revision else ""
        raise PolyheadError(f"There is no run {str(folder)!r}.", remedy=f"Check the path.{instead}")
    return folder


def check_types(path: Path, wanted: hub.HubId) -> None:
    """A stranger's model must not choose which modules are imported here: its user's own types are imported first."""
    for saved in read_json(path, "tasks")["tasks"]:
        name = str(saved.get("type"))
        if name not in TYPES and name.rpartition(".")[0] not in sys.modules:
            raise PolyheadError(
                f"{wanted} has a task of a type of its own, {name}, which is not loaded with a model from the Hub.",
                remedy="If you have its module and trust it, import that first, then call polyhead.load.",
            )


def _fill(model: Model, path: Path, but: tuple[str, ...] = ()) -> None:
    """Give a model the weights in a file, in which those need not be whose names begin with ``but``.

    Raises:
        PolyheadError: The file is missing or broken, or of another model.
    """
    try:
        missing = model.load_state_dict(load_file(path), strict=False).missing_keys
    except (OSError, SafetensorError) as error:
        raise PolyheadError(f"The weights cannot be read: {error}.", file=path) from error
    except RuntimeError as error:  # shapes differ
        remedy = "Put both files back from one copy of the model."
        raise PolyheadError("The weights are not of the model in config.json.", file=path, remedy=remedy) from error
    lost = [name for name in missing if not name.startswith(but)]
    if lost:
        raise PolyheadError(f"The weights {lost[0]!r} are missing.", file=path)


def is_ours(folder: Path) -> bool:
    """Whether a folder is that of a run or of a model, and not one that transformers wrote."""
    return (folder / "recipe.toml").is_file() or (folder / "encoder").is_dir() or (folder / "model").is_dir()


def model_folder(folder: Path) -> Path:
    """The folder of the model of a run; of a model folder itself.

    Raises:
        PolyheadError: There is no such folder, or the run has no model yet.
    """
    if not folder.is_dir():
        raise PolyheadError(f"There is no run {str(folder)!r}.", remedy="Check the path.")
    inner = folder / "model"
    if not inner.is_dir() and (folder / "recipe.toml").exists():
        remedy = f"Go on: polyhead train --resume {folder}"
        raise PolyheadError(f"The run {str(folder)!r} has not finished a stage.", remedy=remedy)
    return inner if inner.is_dir() else folder


def saved_tasks(folder: Path) -> dict[str, Task]:
    """The tasks of a model that ``Model.save`` wrote, without its weights.

    Raises:
        PolyheadError: The folder holds no model, or one that a newer polyhead wrote.
    """
    return {task.name: task for task in map(restore_task, _config(folder)["tasks"])}


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = read_json(path)
    except FileNotFoundError as error:
        raise PolyheadError(
            f"There is no model in {str(folder)!r}.", remedy="Give the folder of a run that has finished a stage."
        ) from error
    version = config.get("polyhead_format")
    if not isinstance(version, int):
        remedy = "Give the folder of a run, or the model folder in it."
        raise PolyheadError("This is not a polyhead model: it has no 'polyhead_format'.", file=path, remedy=remedy)
    if version > FORMAT:
        raise PolyheadError(f"A newer polyhead wrote this model (format {version}).", remedy="Update polyhead.")
    config = read_json(path, "encoder", "tasks", "info")
    return config
