"""From examples to answers with torch: one encoding of each batch for all heads; and models that are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polyhead import hub
from polyhead.answering.annotator import Annotator
from polyhead.answering.batches import BUDGET, Answers, at_once, in_batches
from polyhead.data.example import Example, Prediction
from polyhead.files import read_json
from polyhead.model import Model, check_types, load_model
from polyhead.nn.allocator import keep_freed_memory
from polyhead.nn.pieces import Pieces
from polyhead.nn.precision import Precision, choose_precision, find_device
from polyhead.runtime.backend import OnnxBackend
from polyhead.runtime.folder import TASKS, check_kinds
from polyhead.tasks import Task, restore_task


def answer(
    model: Model | ExportedModel,
    items: Sequence[Pieces],
    tasks: Sequence[str],
    *,
    budget: int = BUDGET,
    sure: bool = True,
) -> list[dict[str, Prediction]]:
    """The answers of some tasks for each example. Tasks about words do not answer for raw text.

    Args:
        model: In evaluation mode; or one that was exported.
        items: The pieces of each example.
        tasks: The tasks to answer.
        budget: The most pieces encoded at once.
        sure: Whether it is wanted how sure the answers are; see ``Task.answer``.
    """
    if isinstance(model, ExportedModel):
        return model.backend.answer(items, tasks, sure=sure)
    sizes = model.encoder.measure(items)
    return in_batches(items, sizes, _about_words(model, tasks), _answers(model, sure), budget)


def answer_batch(
    model: Model, items: Sequence[Pieces], tasks: Sequence[str], *, sure: bool = True
) -> list[dict[str, Prediction]]:
    """As :func:`answer`, of examples that are encoded at once."""
    return at_once(items, _about_words(model, tasks), _answers(model, sure))


def _about_words(model: Model, tasks: Sequence[str]) -> dict[str, bool]:
    return {name: model.tasks[name].words for name in tasks}


def _answers(model: Model, sure: bool) -> Answers:
    def answers(some: Sequence[Pieces], wanted: Mapping[str, Sequence[int]]) -> dict[str, list[Prediction]]:
        return model.predict(model.encoder.collate(some).to(model.encoder.device), wanted, sure=sure)

    return answers


class ExportedModel:
    """An exported model as what scores it needs it: its tasks know their gold, their scorers and their labels.

    Args:
        folder: What ``polyhead export`` wrote.

    Raises:
        PolyheadError: A file is missing or broken, or a task type of a user's own cannot be imported.
    """

    def __init__(self, folder: Path) -> None:
        self.backend = OnnxBackend(folder)
        saved = read_json(folder / TASKS, "tasks")["tasks"]
        self.tasks: dict[str, Task] = {task.name: task for task in map(restore_task, saved)}
        self.info: Mapping[str, Any] = self.backend.info

    @property
    def encoder(self) -> OnnxBackend:
        """What cuts texts into pieces."""
        return self.backend


def open_exported(place: str | Path, folder: Path) -> ExportedModel:
    """An exported model that is to be scored.

    Args:
        place: What the user named: a folder, or an id on the Hub.
        folder: Where it is.

    Raises:
        PolyheadError: As :class:`ExportedModel`; or it comes from the Hub and names a module to import.
    """
    wanted = hub.meant(place)
    if wanted is not None:
        check_kinds(folder, wanted)
        check_types(folder / TASKS, wanted)
    return ExportedModel(folder)


class TorchBackend:
    """A model of torch, for an :class:`Annotator`.

    Args:
        model: In evaluation mode.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The model's tasks."""
        return self.model.tasks

    @property
    def info(self) -> Mapping[str, Any]:
        """What is kept beside the weights."""
        return self.model.info

    @property
    def precision(self) -> Precision:
        """What the model computes in."""
        return self.model.precision

    @property
    def cutter(self) -> None:
        """Raw text is cut into words by the usual rules."""

    def tokenise(self, examples: Sequence[Example], language: str | None = None) -> list[Pieces]:
        """The pieces of each example."""
        return self.model.encoder.tokenise(examples, language)

    def answer(
        self, items: Sequence[Pieces], tasks: Sequence[str], *, sure: bool = True
    ) -> list[dict[str, Prediction]]:
        """As :func:`answer`."""
        return answer(self.model, items, tasks, sure=sure)


def annotator(model: Model) -> Annotator:
    """What answers for texts with a model of torch, in evaluation mode."""
    return Annotator(TorchBackend(model))


def load(
    folder: str | Path, *, best: str | None = None, device: str = "auto", precision: Precision | None = None
) -> Annotator:
    """As :func:`polyhead.load`, of a model that torch computes.

    Args:
        folder: A run's folder, or the model folder in it; or ``owner/name`` or ``owner/name@revision`` on the Hub.
        best: A task whose own best weights to take, whatever the others lost.
        device: ``auto``, ``cpu``, ``cuda``, ...
        precision: What to compute in; by default what the device gains from.

    Raises:
        PolyheadError: There is no model, no such task, or no such device.
    """
    place = find_device(device)
    keep_freed_memory()
    model = load_model(folder, best, only_answers=True).to(place)
    return annotator(model.use(precision or choose_precision(place)))
