"""How a model came to be: the stages behind it, as records that go with it, from run to run."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from polyhead.data import Dataset, format_of
from polyhead.data.braces import name_without_folder
from polyhead.data.dataset import SPLITS
from polyhead.errors import PolyheadError
from polyhead.model import Model
from polyhead.nn.loading import BUNDLED, find_encoder
from polyhead.recipe import Recipe
from polyhead.stage import Stage
from polyhead.tasks import Task, describe_task

LINEAGE, ENCODER = "lineage", "encoder"
"""The keys of a model's info that hold the stages behind it, and the encoder that they began with."""


class Lineage:
    """The stages behind a run's model: those of the model that it started from, and its own.

    A stage's record is a function of the run's log, its recipe and its data, so that a run which was killed and gone on
    with tells the same as one that never was, but for times.

    Args:
        folder: The run's.
        recipe: With named stages.
        model: The run's.
        datasets: By name.
    """

    def __init__(self, folder: Path, recipe: Recipe, model: Model, datasets: Mapping[str, Dataset]) -> None:
        self.log = folder / "log.jsonl"
        self.recipe = recipe
        self.model = model
        self.datasets = datasets
        self.facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        self.before: list[dict[str, Any]] = list(self.facts.get(LINEAGE, []))
        model.info[ENCODER] = self.facts.get(ENCODER) or origin(model.encoder.name, recipe.base)

    def note(self) -> None:
        """Write what the log tells by now into the model's info."""
        self.model.info[LINEAGE] = [*self.before, *self._own()]

    def _own(self) -> list[dict[str, Any]]:
        records = read_log(self.log)
        return [self._stage(record, records) for record in records if record["record"] == "StageEnded"]

    def _stage(self, ended: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        stage = next(one for one in self.recipe.stages if one.name == ended["stage"])
        tasks = [self.model.tasks[name] for name in stage.tasks]
        epochs = [one for one in records if one["record"] == "EpochEnded" and one["stage"] == stage.name]
        return {
            "stage": stage.name,
            "tasks": [_described(task) for task in tasks],
            "epochs": ended["epochs"],
            "kept": ended["kept"],
            "stopped_early": ended["stopped_early"],
            "scores": dev_scores(records, stage.name, ended["kept"]),
            "settings": _settings(stage),
            "data": [describe_data(self.datasets[name]) for name in dict.fromkeys(task.data for task in tasks)],
            "seed": self.recipe.seed,
            "polyhead": self.facts.get("polyhead"),
            "date": time.strftime("%Y-%m-%d", time.gmtime(ended["time"])),
            "seconds": round(sum(one["seconds"] + one["evaluation_seconds"] for one in epochs), 1),
        }


def carried(earlier: Model | None) -> dict[str, Any]:
    """What the info of a model that starts from an earlier one takes over from it."""
    return {} if earlier is None else {key: earlier.info[key] for key in (LINEAGE, ENCODER) if key in earlier.info}


def start_facts(info: Mapping[str, Any], encoder: str, base: Path, *, untrained: bool = False) -> dict[str, Any]:
    """What a run notes of how its model began; resuming needs nothing else of an earlier model.

    Args:
        info: The new model's, with what it took over (:func:`carried`).
        encoder: The encoder's name.
        base: The folder that paths of the recipe start from.
        untrained: Whether the encoder's weights are random ones, so that no pretrained model is behind them.
    """
    began = info.get(ENCODER) or origin(encoder, base, untrained=untrained)
    return {LINEAGE: list(info.get(LINEAGE, [])), ENCODER: began}


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a run's log but for single steps; a line that a kill cut off is left out."""
    records = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            with suppress(ValueError):
                record = json.loads(line)
                if record.get("record") != "Stepped":
                    records.append(record)
    return records


def dev_scores(records: Sequence[Mapping[str, Any]], stage: str, epoch: int) -> dict[str, dict[str, float]]:
    """The scores on dev after an epoch, without those of single labels; none if there is no dev split."""
    found: Mapping[str, Any] = next(
        (
            one["scores"]
            for one in records
            if one["record"] == "EpochEnded" and (one["stage"], one["epoch"]) == (stage, epoch)
        ),
        {},
    )
    return {
        task: {name: value for name, value in figures.items() if "/" not in name} for task, figures in found.items()
    }


def end_lineage(info: dict[str, Any], folder: Path, stage: str, epoch: int) -> None:
    """Let the stages behind a model end where its weights come from: they were best for a task, not for all.

    Args:
        info: The model's; changed.
        folder: The run's that the weights are of.
        stage: The run's stage in which they were best.
        epoch: The stage's epoch after which they were.
    """
    stages = list(info.get(LINEAGE, []))
    last = max((i for i, one in enumerate(stages) if one["stage"] == stage), default=len(stages) - 1)
    if last >= 0:
        log = folder / "log.jsonl"
        scores = dev_scores(read_log(log), stage, epoch) if log.exists() else {}
        stages[last] = stages[last] | {"kept": epoch, "scores": scores}
    info[LINEAGE] = stages[: last + 1]


def _settings(stage: Stage) -> dict[str, Any]:
    """What a stage was set to; of teachers the names of their folders alone."""
    settings = stage.model_dump(exclude_none=True, exclude={"name", "tasks", "epochs"})
    if stage.distil is not None:
        settings["distil"]["teachers"] = [Path(teacher).name for teacher in stage.distil.teachers]
    return settings


def _described(task: Task) -> dict[str, Any]:
    return {"name": task.name, "type": describe_task(task)["type"], "data": task.data, "layer": task.layer}


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """What a model's record says of a dataset: files by their names alone, sizes, fingerprint, licence."""
    spec = dataset.spec
    files = {s: [name_without_folder(file) for file in spec.files(s)] for s in SPLITS if spec.files(s)}
    first = next((spec.files(split)[0] for split in SPLITS if spec.files(split)), "")
    return {
        "name": dataset.name,
        "format": spec.format or format_of(first),
        "files": files,
        "examples": {split: len(examples) for split, examples in dataset.splits.items()},
        "fingerprint": dataset.fingerprint,
        "licence": spec.licence,
        "description": spec.description,
        "url": spec.url,
        "languages": spec.languages,
    }


def origin(name: str, base: Path, *, untrained: bool = False) -> dict[str, Any]:
    """Where an encoder comes from: its name, its id on the Hub, and the SHA-256 of each file of its weights."""
    if untrained:
        return {"name": f"{Path(name).name}, random weights", "hub_id": None, "revision": None, "sha256": {}}
    if name in BUNDLED:
        return {
            "name": name,
            "hub_id": BUNDLED[name].hub_id,
            "revision": None,
            "sha256": {"model.safetensors": BUNDLED[name].sha256["model.safetensors"]},
        }
    try:
        source = find_encoder(name, base)
    except PolyheadError:  # it was there when the model behind this one was trained
        return {"name": Path(name).name, "hub_id": None, "revision": None, "sha256": {}}
    if Path(source).is_dir():
        return {"name": Path(source).name, "hub_id": None, "revision": None, "sha256": _sums(Path(source))}
    snapshot = _cached(source)
    sums = _sums(snapshot) if snapshot else {}
    return {"name": source, "hub_id": source, "revision": snapshot.name if snapshot else None, "sha256": sums}


def _cached(hub_id: str) -> Path | None:
    """The folder of the cache that holds a model of the Hub; it is named after the revision."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def _sums(folder: Path) -> dict[str, str]:
    sums = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as stream:
            sums[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return sums
