"""Starting a run from a recipe, and going on with one that was ended before its end."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from polyhead import ranks
from polyhead.data import Dataset, DataSpec, format_of
from polyhead.data.dataset import SPLITS
from polyhead.errors import PolyheadError
from polyhead.files import check_place, read_json, write_json, write_text
from polyhead.intervals import Answered
from polyhead.model import BEST, Model
from polyhead.nn.allocator import keep_freed_memory
from polyhead.recipe import Recipe, load_recipe, named_stages
from polyhead.scoring import measure
from polyhead.tasks import Task
from polyhead.training.alike import launched_recipe, see_alike, see_shared
from polyhead.training.blocks import BLOCKS
from polyhead.training.checkpoint import FOLDER, load_checkpoint, prune_best, save_checkpoint
from polyhead.training.distil import remove_soft_labels, see_same, see_teachers
from polyhead.training.dividing import divides, see_divided
from polyhead.training.facts import run_facts
from polyhead.training.languages import foreign
from polyhead.training.learning import see_layers
from polyhead.training.lineage import Lineage, carried, start_facts
from polyhead.training.log import Log
from polyhead.training.loop import Training
from polyhead.training.optim import usual_rate
from polyhead.training.origin import KEPT, find_origin
from polyhead.training.prepare import Material, check_stages, device_of, load_datasets, precision_of, prepare_tasks
from polyhead.training.records import Record, StageEnded, StageStarted, Stepped
from polyhead.training.run import BEGIN, INTERVALS, STAGES, Run, write_card, write_intervals

CHECKPOINT_SECONDS = 120.0
"""Seconds between two checkpoints; a kill costs at most this much work."""


def _ignore(_said: object) -> None:
    """Nobody watches."""


def _never() -> bool:
    """Nobody stops it."""
    return False


@dataclass(frozen=True)
class Watch:
    """Who follows a run; see :func:`train`."""

    watch: Callable[[Record], object]
    see: Callable[[str, Answered], object] | None
    stop: Callable[[], bool]
    checkpoint_seconds: float


def train(
    recipe: Recipe | str | Path,
    output: str | Path,
    *,
    watch: Callable[[Record], object] = _ignore,
    tell: Callable[[str], object] = _ignore,
    see: Callable[[str, Answered], object] | None = None,
    stop: Callable[[], bool] = _never,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Run:
    """Train from a recipe into a new folder; where a launcher has started several processes, all of them together.

    Args:
        recipe: A recipe or its file.
        output: The run's folder; must be new or empty. Several machines must share it.
        watch: Called with every record of the training loop. Of several processes the first one alone watches, tells,
            sees and writes.
        tell: Called with each note on the data.
        see: Called with a split and what the finished model answered there, for each task, before scores are written.
        stop: Asked after each step whether to end there, with a checkpoint.
        checkpoint_seconds: Seconds between two checkpoints.

    Raises:
        PolyheadError: The recipe or the data is wrong, the folder is taken, or another process has ended.
        KeyboardInterrupt: ``stop`` said so, to some process; the run can be gone on with.
    """
    with ranks.joined():
        recipe = named_stages(recipe) if isinstance(recipe, Recipe) else load_recipe(recipe)
        folder = Path(output)
        tell = tell if ranks.first() else _ignore
        ranks.once(lambda: _see_room(folder))
        keep_freed_memory()
        training, facts = set_up(recipe, folder, tell)
        training.tell = tell
        if ranks.first():
            write_json(folder / "run.json", facts)
            write_text(folder / "recipe.toml", training.recipe.to_toml())
        see_shared(folder)
        return _finish(training, Watch(watch, see, stop, checkpoint_seconds))


def _see_room(folder: Path) -> None:
    """See that a folder can take a new run."""
    check_place(folder, folder=True)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        remedy = "Choose another folder, or delete it."
        if (folder / "recipe.toml").exists():
            remedy = f"Choose another folder, delete it, or go on with it: polyhead train --resume {folder}"
        raise PolyheadError(f"The output folder {str(folder)!r} is not empty.", remedy=remedy)


def resume(
    folder: str | Path,
    *,
    watch: Callable[[Record], object] = _ignore,
    tell: Callable[[str], object] = _ignore,
    see: Callable[[str, Answered], object] | None = None,
    stop: Callable[[], bool] = _never,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Run:
    """Go on with a run that was ended before its end, with as many processes as there are now; arguments as for
    :func:`train`. On CPUs, and with as many processes as before, the weights come out as if it never had been ended.

    Raises:
        PolyheadError: There is no run, it is damaged, its data has changed, or another process has ended.
        KeyboardInterrupt: As from :func:`train`.
    """
    folder = Path(folder)
    with ranks.joined():
        tell = tell if ranks.first() else _ignore
        if ranks.told((folder / "scores.json").exists()):
            if ranks.first():
                _remove_checkpoints(folder)
            tell("The run is finished; there is nothing to do.")
            return Run.open(folder)
        if not (folder / "recipe.toml").exists() or not (folder / "run.json").exists():
            raise PolyheadError(
                f"There is no run to go on with in {str(folder)!r}.",
                remedy="Start one: polyhead train RECIPE --output RUN",
            )
        keep_freed_memory()
        before = read_json(folder / "run.json", "threads", "fingerprints")
        if before.get("processes", 1) == ranks.world():
            torch.set_num_threads(before["threads"])
        training, facts = set_up(load_recipe(folder / "recipe.toml"), folder, tell)
        _see_same_data(training.recipe, before["fingerprints"], facts["fingerprints"])
        see_same(before.get("teachers", {}), facts["teachers"])
        saved = ranks.in_turn(lambda: load_checkpoint(folder, clean=ranks.first()))
        if saved is not None:
            training.go_on(saved)
        training.tell = tell
        return _finish(training, Watch(watch, see, stop, checkpoint_seconds))


def _see_same_data(recipe: Recipe, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    for name, fingerprint in before.items():
        if now.get(name) != fingerprint:
            spec = recipe.data[name]
            files = ", ".join(file for split in SPLITS for file in spec.files(split))
            raise PolyheadError(
                f"The files of data.{name} are not those that the run started with: {files}.",
                remedy="Put them back, or start a new run.",
            )


def set_up(recipe: Recipe, folder: Path, tell: Callable[[str], object]) -> tuple[Training, dict[str, Any]]:
    """All that a run needs before its first step, and what it notes of itself.

    Raises:
        PolyheadError: The recipe or the data is wrong.
    """
    recipe = launched_recipe(recipe)
    check_stages(recipe)
    see_divided(recipe)
    device = device_of(recipe)
    tasks = recipe.make_tasks()
    origin = find_origin(recipe, tasks, folder)
    with recipe.blamed():
        datasets = load_datasets(recipe, tasks, SPLITS)
        notes = [note for dataset in datasets.values() for note in dataset.notes] + prepare_tasks(tasks, datasets)
    precision = ranks.told(precision_of(recipe, device))
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
    if not divides(recipe):  # else each device gets its part of the encoder when a stage begins
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
    see_alike(recipe, model, facts)
    if ranks.first():
        origin.keep(folder, encoder)
    return training, facts


def _finish(training: Training, who: Watch) -> Run:
    folder, progress = training.folder, training.progress
    with Log(folder / "log.jsonl", progress) if ranks.first() else nullcontext() as log:
        lineage = Lineage(folder, training.recipe, training.model, training.material.datasets) if log else None
        saved = time.monotonic()

        def wishes() -> tuple[bool, bool]:
            return who.stop(), ranks.first() and time.monotonic() - saved >= who.checkpoint_seconds

        training.wishes = wishes
        for record in training.records():
            if log is not None and lineage is not None:
                log.write(record)
                who.watch(record)
                if isinstance(record, StageEnded):
                    lineage.note()
                    training.model.save(folder / "model")
                    write_json(folder / BEST / "tasks.json", {name: asdict(b) for name, b in progress.tasks.items()})
            stop, due = _agreed(training, record)
            if due:
                _save(training, log)
                saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt
    return _scored(training, who, lineage)


def _agreed(training: Training, record: Record) -> tuple[bool, bool]:
    """Whether to end after a record, and whether to save; all processes decide alike."""
    if isinstance(record, StageStarted):
        return False, False
    if ranks.several():
        asked = training.agreed if isinstance(record, Stepped) else [n > 0 for n in ranks.sums(training.wishes())]
    else:
        asked = training.wishes()
    stop, due = asked
    return stop, due or stop or isinstance(record, StageEnded)


def _save(training: Training, log: Log | None) -> None:
    """Write a checkpoint; ``log`` is there on the first process alone."""
    optimizer = training.optimizer.state() if training.optimizer else {}
    weights = training.weights()
    if log is not None:
        log.flush()
        save_checkpoint(training.folder, training.progress, weights, optimizer)
    training.checkpointed = training.progress.files()


def _scored(training: Training, who: Watch, lineage: Lineage | None) -> Run:
    """Score the finished model, and write what is left to write; ``lineage`` is there on the first process alone."""
    folder, progress = training.folder, training.progress
    model = training.model.eval()
    if not training.division.active:  # as whoever opens the saved model computes with it, so that figures are the same
        model.use(model.precision)
    tasks = list(model.tasks.values())
    names = [task.name for task in tasks]
    measured = {}
    with training.division.during():
        for split in ("dev", "test"):
            see = None if who.see is None else partial(who.see, split)
            measured[split] = measure(model, training.material.gold(split, tasks), names, see)
    measured = {split: found for split, found in measured.items() if found.scores}
    scores = {split: found.scores for split, found in measured.items()}
    if lineage is not None:
        prune_best(folder, progress.files())
        lineage.note()
        write_card(folder, folder / "model", model, measured)
        write_intervals(folder / INTERVALS, measured)
        write_json(folder / STAGES, {"stages": _stages(training)})
        write_json(folder / "scores.json", scores)
        _remove_checkpoints(folder)
    return Run(folder, ranks.told(scores))


def _stages(training: Training) -> list[dict[str, Any]]:
    """What ``stages.json`` says of the stages of a finished run, and before them of the run that it started from."""
    progress = training.progress
    begin = [{"stage": BEGIN, "tasks": [], "scores": progress.start}] if progress.start else []
    stages = zip(training.recipe.stages, progress.stages, strict=True)
    return begin + [{"stage": stage.name, "tasks": stage.tasks, "scores": scores} for stage, scores in stages]


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
