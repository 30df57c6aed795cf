"""Starting a run from a recipe, and going on with one that was ended before its end."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from polyhead.data import Dataset, DataSpec, format_of
from polyhead.data.dataset import SPLITS
from polyhead.errors import PolyheadError
from polyhead.files import check_place, read_json, write_json, write_text
from polyhead.intervals import Answered
from polyhead.model import BEST, Model
from polyhead.nn.allocator import keep_freed_memory
from polyhead.nn.precision import choose_precision
from polyhead.recipe import Recipe, load_recipe, named_stages
from polyhead.scoring import measure
from polyhead.tasks import Task
from polyhead.training.blocks import BLOCKS
from polyhead.training.checkpoint import FOLDER, Progress, load_checkpoint, prune_best, save_checkpoint
from polyhead.training.distil import remove_soft_labels, see_same, see_teachers
from polyhead.training.facts import run_facts
from polyhead.training.languages import foreign
from polyhead.training.learning import see_layers
from polyhead.training.lineage import Lineage, carried, start_facts
from polyhead.training.loop import Training
from polyhead.training.optim import usual_rate
from polyhead.training.origin import KEPT, find_origin
from polyhead.training.prepare import Material, check_stages, device_of, load_datasets, prepare_tasks
from polyhead.training.records import EpochEnded, Record, StageEnded, StageStarted, Stepped
from polyhead.training.run import BEGIN, INTERVALS, STAGES, Run, write_card, write_intervals

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOG_EVERY = 20
"""Steps between two lines of the log."""

CHECKPOINT_SECONDS = 120.0
"""Seconds between two checkpoints; a kill costs at most this much work."""


def _ignore(_said: object) -> None:
    """Nobody watches."""


def train(
    recipe: Recipe | str | Path,
    output: str | Path,
    *,
    watch: Callable[[Record], object] = _ignore,
    tell: Callable[[str], object] = _ignore,
    see: Callable[[str, Answered], object] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Run:
    """Train from a recipe into a new folder.

    Args:
        recipe: A recipe or its file.
        output: The run's folder; must be new or empty.
        watch: Called with every record of the training loop.
        tell: Called with each note on the data.
        see: Called with a split and what the finished model answered there, for each task, before scores are written.
        checkpoint_seconds: Seconds between two checkpoints.

    Raises:
        PolyheadError: The recipe or the data is wrong, or the folder is taken.
    """
    recipe = named_stages(recipe) if isinstance(recipe, Recipe) else load_recipe(recipe)
    folder = Path(output)
    check_place(folder, folder=True)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        remedy = "Choose another folder, or delete it."
        if (folder / "recipe.toml").exists():
            remedy = f"Choose another folder, delete it, or go on with it: polyhead train --resume {folder}"
        raise PolyheadError(f"The output folder {str(folder)!r} is not empty.", remedy=remedy)
    keep_freed_memory()
    training, facts = set_up(recipe, folder, tell)
    training.tell = tell
    write_json(folder / "run.json", facts)
    write_text(folder / "recipe.toml", training.recipe.to_toml())
    return _finish(training, watch, checkpoint_seconds, see)


def resume(
    folder: str | Path,
    *,
    watch: Callable[[Record], object] = _ignore,
    tell: Callable[[str], object] = _ignore,
    see: Callable[[str, Answered], object] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Run:
    """Go on with a run that was ended before its end. On a CPU the weights come out as if it never had been.

    Raises:
        PolyheadError: There is no run, it is damaged, or its data has changed.
    """
    folder = Path(folder)
    if (folder / "scores.json").exists():
        _remove_checkpoints(folder)
        tell("The run is finished; there is nothing to do.")
        return Run.open(folder)
    if not (folder / "recipe.toml").exists() or not (folder / "run.json").exists():
        raise PolyheadError(
            f"There is no run to go on with in {str(folder)!r}.", remedy="Start one: polyhead train RECIPE --output RUN"
        )
    keep_freed_memory()
    before = read_json(folder / "run.json", "threads", "fingerprints")
    torch.set_num_threads(before["threads"])
    training, facts = set_up(load_recipe(folder / "recipe.toml"), folder, tell)
    for name, fingerprint in before["fingerprints"].items():
        if facts["fingerprints"].get(name) != fingerprint:
            spec = training.recipe.data[name]
            files = ", ".join(file for split in SPLITS for file in spec.files(split))
            raise PolyheadError(
                f"The files of data.{name} are not those that the run started with: {files}.",
                remedy="Put them back, or start a new run.",
            )
    see_same(before.get("teachers", {}), facts["teachers"])
    saved = load_checkpoint(folder)
    if saved is not None:
        training.go_on(saved)
    training.tell = tell
    return _finish(training, watch, checkpoint_seconds, see)


def set_up(recipe: Recipe, folder: Path, tell: Callable[[str], object]) -> tuple[Training, dict[str, Any]]:
    """All that a run needs before its first step, and what it notes of itself.

    Raises:
        PolyheadError: The recipe or the data is wrong.
    """
    check_stages(recipe)
    device = device_of(recipe)
    tasks = recipe.make_tasks()
    origin = find_origin(recipe, tasks, folder)
    with recipe.blamed():
        datasets = load_datasets(recipe, tasks, SPLITS)
        notes = [note for dataset in datasets.values() for note in dataset.notes] + prepare_tasks(tasks, datasets)
    precision = choose_precision(device) if recipe.precision == "auto" else recipe.precision
    encoder = origin.encoder(datasets, tasks)
    with recipe.blamed():
        see_layers(recipe.stages, encoder)
    stages = []
    for stage in recipe.stages:
        gentle = all(tasks[name].gentle for name in stage.tasks or tasks)
        rate = usual_rate(stage, encoder.width, untrained=origin.untrained, gentle=gentle)
        stages.append(stage if stage.learning_rate is not None else stage.model_copy(update={"learning_rate": rate}))
    recipe = recipe.model_copy(update={"precision": precision, "device": str(device), "stages": stages})
    torch.manual_seed(recipe.seed)
    info = {
        "data": {name: _described(d.spec) for name, d in datasets.items()},
        "units": {name: _unit(task, datasets[task.data]) for name, task in tasks.items() if task.annotates},
        **carried(origin.model),
    }
    with recipe.blamed():
        model = Model(encoder, tasks, info)
    origin.hand_on(model)
    model = model.to(device)
    notes += origin.notes
    if not origin.from_scratch:
        notes += foreign(datasets, tasks.values(), encoder.tokenizer)
    for note in notes:
        tell(note)
    model.precision = precision
    with recipe.blamed():
        teachers, said = see_teachers(recipe, model, folder)
    for note in said:
        tell(note)
    facts = {
        **run_facts(device),
        **start_facts(info, encoder.name, recipe.base, untrained=origin.untrained),
        "fingerprints": {name: dataset.fingerprint for name, dataset in datasets.items()},
        "start": origin.facts(),
        "teachers": teachers,
        "notes": notes + said,
    }
    training = Training(recipe, model, Material(encoder, datasets, folder / BLOCKS), folder, list(origin.earlier))
    origin.keep(folder, encoder)
    return training, facts


def _finish(
    training: Training,
    watch: Callable[[Record], object],
    checkpoint_seconds: float,
    see: Callable[[str, Answered], object] | None,
) -> Run:
    folder, progress = training.folder, training.progress
    lineage = Lineage(folder, training.recipe, training.model, training.material.datasets)
    saved = time.monotonic()
    with _Log(folder / "log.jsonl", progress) as log:
        for record in training.records():
            log.write(record)
            watch(record)
            if isinstance(record, StageEnded):
                lineage.note()
                training.model.save(folder / "model")
                write_json(folder / BEST / "tasks.json", {name: asdict(b) for name, b in progress.tasks.items()})
            due = time.monotonic() - saved >= checkpoint_seconds
            if isinstance(record, StageEnded) or (due and isinstance(record, Stepped | EpochEnded)):
                log.flush()
                optimizer = training.optimizer.state() if training.optimizer else {}
                save_checkpoint(folder, progress, training.weights(), optimizer)
                training.checkpointed = progress.files()
                saved = time.monotonic()
    model = training.model.eval()
    tasks = list(model.tasks.values())
    names = [task.name for task in tasks]
    measured = {
        split: measure(model, training.material.gold(split, tasks), names, None if see is None else partial(see, split))
        for split in ("dev", "test")
    }
    measured = {split: found for split, found in measured.items() if found.scores}
    prune_best(folder, progress.files())
    lineage.note()
    write_card(folder, folder / "model", model, measured)
    scores = {split: found.scores for split, found in measured.items()}
    write_intervals(folder / INTERVALS, measured)
    write_json(folder / STAGES, {"stages": _stages(training)})
    write_json(folder / "scores.json", scores)
    _remove_checkpoints(folder)
    return Run(folder, scores)


def _stages(training: Training) -> list[dict[str, Any]]:
    """What ``stages.json`` says of the stages of a finished run, and before them of the run that it started from."""
    progress = training.progress
    begin = [{"stage": BEGIN, "tasks": [], "scores": progress.start}] if progress.start else []
    stages = zip(training.recipe.stages, progress.stages, strict=True)
    return begin + [{"stage": stage.name, "tasks": stage.tasks, "scores": scores} for stage, scores in stages]


class _Log:
    """The log in JSON lines. What a killed run wrote after its last checkpoint is cut off, to be written again."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self.progress = progress
        path.parent.mkdir(parents=True, exist_ok=True)
        self.stream = path.open("a", encoding="utf-8", newline="\n")
        self._claim(path.parent)
        os.truncate(path, min(progress.log, path.stat().st_size))

    def _claim(self, run: Path) -> None:
        """Hold the run for this process; the system lets go when the process ends, however it ends."""
        if fcntl is None:
            return
        try:
            fcntl.flock(self.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.stream.close()
            raise PolyheadError(
                f"Another process is training the run {str(run)!r}.", remedy="Wait for it, or end it first."
            ) from error
        except OSError:  # some network file systems know no locks
            return

    def write(self, record: Record) -> None:
        """One line; of steps only every twentieth and the last, and of a stage gone on with none: it has begun."""
        if isinstance(record, Stepped) and record.step % LOG_EVERY and record.step != record.steps:
            return
        if isinstance(record, StageStarted) and record.done:
            return
        line = {"record": type(record).__name__, "time": round(time.time(), 3), **asdict(record)}
        with self._refusals():
            self.stream.write(json.dumps(_without_nan(line), allow_nan=False) + "\n")
            self.stream.flush()  # for whoever follows it

    def flush(self) -> None:
        """Hand the log to the system and note its length."""
        with self._refusals():
            self.stream.flush()
            self.progress.log = self.stream.tell()

    def __enter__(self) -> _Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError) if error else self._refusals():  # the first error says more than one from closing
            self.stream.close()

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PolyheadError(f"Cannot write the log: {error.strerror}.", file=self.stream.name) from error


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _remove_checkpoints(folder: Path) -> None:
    for scaffold in (FOLDER, KEPT, BLOCKS):  # they serve resuming alone
        shutil.rmtree(folder / scaffold, ignore_errors=True)
    remove_soft_labels(folder)


def _unit(task: Task, dataset: Dataset) -> str:
    """Whether a task learns from texts given as words (its unit is then a sentence), from pairs, or from raw texts."""
    found = next(example for example in dataset.splits["train"] if task.carries(example))
    if found.pair is not None:
        return "pair"
    return "words" if found.words else "text"


def _described(spec: DataSpec) -> dict[str, Any]:
    """What a model keeps of a dataset's format, whether named or told by the file's suffix: all but where it was."""
    first = spec.train if isinstance(spec.train, str) else (spec.train or [""])[0]
    named = {"format": spec.format or format_of(first)}
    return spec.model_dump(exclude_none=True, exclude={"train", "dev", "test", "limit", "draw", "fold"}) | named
