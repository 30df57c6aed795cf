"""A run that is killed at any moment and gone on with ends with the same bytes as one that never was."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch

import killing
import polyhead
import runs
from killing import KILLED, Moment
from polyhead import PolyheadError
from polyhead.training import checkpoint
from polyhead.training.log import Log
from polyhead.training.records import EpochEnded, StageEnded

STAGES = """\
[[stages]]
name = "joint"
tasks = ["pos", "syntax", "entities"]
epochs = 2
learning_rate = 0.003
head_learning_rate = 0.01
batch_pieces = 48
accumulate = 2
sampling = "uniform"
dropout = 0.3

[[stages]]
name = "special"
tasks = ["entities", "mood"]
epochs = 2
learning_rate = 0.003
head_learning_rate = 0.01
batch_pieces = 64
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    return runs.write_recipe(runs.write_data(tmp_path_factory.mktemp("data")), tiny_encoder, STAGES)


@pytest.fixture(scope="module")
def reference(
    tmp_path_factory: pytest.TempPathFactory, context: ForkServerContext, recipe: Path
) -> tuple[Path, killing.Ended]:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    ended = killing.run(context, recipe, folder)
    assert ended.status == 0, ended.error
    return folder, ended


def check_same(run: Path, reference: Path) -> None:
    assert runs.differences(runs.outcome(run), runs.outcome(reference)) == []
    leftovers = [path.name for path in run.rglob("*") if path.name.endswith((".unfinished", ".partial"))]
    assert leftovers == []
    assert not (run / "checkpoints").exists(), "a finished run needs no checkpoint"


def test_the_reference_is_worth_comparing_with(reference: tuple[Path, killing.Ended]) -> None:
    folder, ended = reference
    found = set(runs.outcome(folder))
    assert {"model/README.md", "intervals.json"} <= found
    assert {"model/model.safetensors", "model/encoder/model.safetensors", "best/tasks.json", "scores.json"} <= found
    assert any(name.startswith("best/joint-") for name in found)
    records = [(record["record"], record["stage"]) for record in runs.log(folder)]
    assert records[0] == ("StageStarted", "joint")
    assert records[-1] == ("StageEnded", "special")
    steps = [event for event in ended.events if event.startswith("record Stepped")]
    assert len(steps) >= 12


MOMENTS = {
    "in steps, checkpoints and scoring": [
        "record StageStarted joint",
        "record Stepped joint 1",
        "half-written checkpoints/000-00000-000000004",
        "open checkpoints/000-00000-000000004.*progress.json",
        "os.rename checkpoints/000-00000-000000004.unfinished checkpoints",
        "before evaluation",
        "after evaluation",
        "half-written best/joint-00001",
        "os.rename best/joint-00001",
        "record EpochEnded joint",
        "shutil.rmtree checkpoints/000-00001-000000000",
        "os.rmdir checkpoints/000-00001-000000002",
        "record Stepped special 3",
        "half-written best/special-00002",
    ],
    "in the end of the first stage": [
        "record Stepped joint 4",
        "record StageEnded joint",
        "open model.unfinished/encoder/config.json",
        "half-written model.*/model.safetensors",
        "os.rename model.unfinished model",
        "open best/tasks.json",
        "half-written checkpoints/001-00000-000000000",
        "os.remove best/joint-|shutil.rmtree checkpoints/000-00002",
        "record StageStarted special",
        "record Stepped special 1",
    ],
    "in the end of the run": [
        "record StageEnded special",
        "half-written model.*/model.safetensors",
        "shutil.rmtree model$",
        "os.rename model.unfinished model",
        "os.rename best/tasks.json",
        "os.mkdir checkpoints/002-00000-000000000",
        "shutil.rmtree checkpoints/001-00002",
        "before final scores",
        "open model/README.md",
        "os.rename model/README.md",
        "os.rename intervals.json",
        "os.rename scores.json",
        "shutil.rmtree checkpoints$",
    ],
}
"""Patterns of events, in their order. A process dies at each, and another one goes on."""


@pytest.mark.parametrize("name", MOMENTS)
def test_killed_and_resumed(
    name: str, tmp_path: Path, context: ForkServerContext, recipe: Path, reference: tuple[Path, killing.Ended]
) -> None:
    run = tmp_path / "run"
    start: Path | None = recipe
    for pattern in MOMENTS[name]:
        killed = killing.run(context, start, run, Moment(pattern))
        assert killed.status == KILLED, f"{pattern}: no such moment; {killed.error}"
        start = None
    resumed = killing.run(context, None, run)
    assert resumed.status == 0, resumed.error
    check_same(run, reference[0])


def test_killed_again_and_again(
    tmp_path: Path, context: ForkServerContext, recipe: Path, reference: tuple[Path, killing.Ended]
) -> None:
    """Every process dies after its third checkpoint, wherever that is in the run."""
    run = tmp_path / "run"
    moment = Moment("half-written checkpoints/", 4)
    ended = killing.run(context, recipe, run, moment)
    processes = 1
    while ended.status == KILLED and processes < 20:
        ended = killing.run(context, None, run, moment)
        processes += 1
    assert (ended.status, ended.error) == (0, "")
    assert processes > 4
    check_same(run, reference[0])


@pytest.mark.slow
def test_killed_at_every_event(
    tmp_path: Path, context: ForkServerContext, recipe: Path, reference: tuple[Path, killing.Ended]
) -> None:
    folder, whole = reference
    first = next(i for i, event in enumerate(whole.events) if event.startswith("os.rename recipe.toml"))
    for number in range(first + 2, len(whole.events) + 1):
        run = tmp_path / f"run-{number}"
        assert killing.run(context, recipe, run, Moment("", number)).status == KILLED
        resumed = killing.run(context, None, run)
        assert resumed.status == 0, (whole.events[number - 1], resumed.error)
        check_same(run, folder)
        shutil.rmtree(run)


def test_in_half_precision_too(tmp_path: Path, context: ForkServerContext, recipe: Path) -> None:
    """There the weights that count are the master copies."""
    half = recipe.with_name("half.toml")
    half.write_text(recipe.read_text(encoding="utf-8").replace('"fp32"', '"bf16"'), encoding="utf-8")
    assert killing.run(context, half, tmp_path / "straight").status == 0
    assert killing.run(context, half, tmp_path / "run", Moment("record Stepped joint 3")).status == KILLED
    assert killing.run(context, None, tmp_path / "run", Moment("record Stepped special 2")).status == KILLED
    assert killing.run(context, None, tmp_path / "run").error == ""
    check_same(tmp_path / "run", tmp_path / "straight")


WAYS = {
    "thaw and layer decay": 'thaw = 0.3\nlayer_decay = 0.7\nschedule = "slanted-triangular"',
    "frozen layers": "freeze = 1\nl2_sp = 50.0",
    "adapter": 'adapter = { kind = "lora", rank = 2, dropout = 0.2 }\nkeep = "last"',
    "uncertainty": 'combine = "uncertainty"\nnormalise = "chance"\ncosines = 1',
    "dynamic": 'combine = "dynamic"',
    "conflicts": 'combine = "pcgrad"\ncosines = 2',
    "replay": "replay = 0.4",
}
"""What a second stage may do beside learning; each keeps something from step to step."""


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_learn_goes_on(way: str, tmp_path: Path, context: ForkServerContext, recipe: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(recipe.parent, folder)
    first = '[[stages]]\nname = "first"\ntasks = ["syntax"]\nepochs = 1\n'
    tasks = '[[stages]]\nname = "way"\ntasks = ["pos", "entities"]\nepochs = 3\nbatch_pieces = 64\n'
    rates = "learning_rate = 0.003\nhead_learning_rate = 0.01\n"
    encoder = Path(tomllib.loads(recipe.read_text(encoding="utf-8"))["encoder"])
    path = runs.write_recipe(folder, encoder, first + tasks + rates + WAYS[way])
    straight = killing.run(context, path, tmp_path / "straight")
    assert straight.status == 0, straight.error
    steps = [event.split()[-1] for event in straight.events if event.startswith("record Stepped way")]
    assert len(steps) >= 6
    for source, step in ((path, 2), (None, len(steps) // 2), (None, len(steps) - 1)):
        killed = killing.run(context, source, tmp_path / "run", Moment(f"record Stepped way {step}$"))
        assert killed.status == KILLED, killed.error
    assert killing.run(context, None, tmp_path / "run").error == ""
    check_same(tmp_path / "run", tmp_path / "straight")


def test_a_finished_run_says_so(
    context: ForkServerContext, reference: tuple[Path, killing.Ended], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference[0], run)
    again = killing.run(context, None, run)
    assert (again.status, again.told) == (0, ["The run is finished; there is nothing to do."])
    assert again.events == []
    check_same(run, reference[0])


def test_changed_data_is_refused(tmp_path: Path, context: ForkServerContext, tiny_encoder: Path) -> None:
    data = runs.write_data(tmp_path / "data")
    recipe = runs.write_recipe(data, tiny_encoder, STAGES)
    run = tmp_path / "run"
    assert killing.run(context, recipe, run, Moment("record Stepped joint 2")).status == KILLED
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    good = (data / "names-train.conll").read_text(encoding="utf-8")
    (data / "names-train.conll").write_text(good.replace("Bob", "Rob"), encoding="utf-8")
    refused = killing.run(context, None, run)
    assert refused.status == 1
    assert "data.names are not those that the run started with" in refused.error
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    (data / "names-train.conll").write_text(good, encoding="utf-8")
    assert killing.run(context, None, run).status == 0


def test_a_folder_that_is_taken_is_refused(
    tmp_path: Path, context: ForkServerContext, recipe: Path, reference: tuple[Path, killing.Ended]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused = killing.run(context, recipe, tmp_path)
    assert refused.status == 1
    assert "is not empty" in refused.error
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    again = killing.run(context, recipe, reference[0])
    assert f"polyhead train --resume {reference[0]}" in again.error


def test_resuming_where_no_run_is(tmp_path: Path, context: ForkServerContext) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        refused = killing.run(context, None, folder)
        assert refused.status == 1
        assert "no run to go on with" in refused.error


def test_a_broken_checkpoint_is_told_and_can_be_deleted(
    tmp_path: Path, context: ForkServerContext, recipe: Path, reference: tuple[Path, killing.Ended]
) -> None:
    run = tmp_path / "run"
    assert killing.run(context, recipe, run, Moment("record Stepped special 2")).status == KILLED
    (checkpoint,) = (run / "checkpoints").iterdir()
    state = checkpoint / "state.safetensors"
    whole = state.read_bytes()
    state.write_bytes(whole[:1000])
    refused = killing.run(context, None, run)
    assert refused.status == 1
    assert str(checkpoint) in refused.error
    assert "Delete this folder" in refused.error
    state.write_bytes(whole)
    (checkpoint / "progress.json").write_text('{"stage": ', encoding="utf-8")
    refused = killing.run(context, None, run)
    assert refused.status == 1
    assert f"{checkpoint}: The checkpoint cannot be read: This file of the run is damaged: Expect" in refused.error
    assert ".." not in refused.error
    assert refused.error.count("Delete this folder") == len(refused.error.splitlines()) - 1 == 1
    shutil.rmtree(checkpoint)
    assert killing.run(context, None, run).status == 0
    check_same(run, reference[0])


@pytest.mark.parametrize("when", [1, 3, 6])
def test_a_disk_that_refuses_a_checkpoint(
    tmp_path: Path,
    recipe: Path,
    context: ForkServerContext,
    reference: tuple[Path, killing.Ended],
    monkeypatch: pytest.MonkeyPatch,
    when: int,
) -> None:
    run = tmp_path / "run"
    save_file = checkpoint.save_file
    calls = 0

    def full(tensors: object, path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == when:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_file(tensors, path)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save_file", full)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.raises(PolyheadError, match="Cannot write: No space left on device") as caught:
        polyhead.train(recipe, run, checkpoint_seconds=0)
    torch.set_num_threads(threads)
    assert str(run) in str(caught.value.file)
    assert len(list((run / "checkpoints").iterdir())) == (0 if when == 1 else 1)
    assert not list(run.rglob("*.unfinished"))
    assert killing.run(context, None, run).error == ""
    check_same(run, reference[0])


def test_a_line_of_the_log_is_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON knows no NaN and no infinity: they are null."""
    losses = {"a": float("nan"), "b": float("-inf"), "c": 0.1 + 0.2}
    record = EpochEnded(
        "joint",
        1,
        losses,
        {"a": {"f1": float("inf")}},
        {"a": "f1"},
        None,
        best=False,
        words_per_second=1.5,
        seconds=2.0,
        evaluation_seconds=0.0,
    )
    lines: list[Any] = []
    dumps = json.dumps
    monkeypatch.setattr(json, "dumps", lambda *a, **k: (lines.append(a[0]), dumps(*a, **k))[1])
    with Log(tmp_path / "log.jsonl", checkpoint.Progress()) as log:
        log.write(record)
    (line,) = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    found = json.loads(line)
    assert found == lines[0]
    assert len(lines) == 1
    assert found["losses"] == {"a": None, "b": None, "c": 0.1 + 0.2}
    assert found["scores"] == {"a": {"f1": None}}
    assert (found["mean"], found["best"], found["stage"]) == (None, False, "joint")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_disk_that_refuses_the_log(tmp_path: Path) -> None:
    record = StageEnded("joint", 1, 1, stopped_early=False, scores={}, cosines={}, against=[])
    for act in (lambda log: log.write(record), Log.flush, lambda log: log.__exit__(None, None, None)):
        log = Log(tmp_path / "log.jsonl", checkpoint.Progress())
        log.stream.close()
        log.stream = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115
        log.stream.write("a line that is still in memory")
        with pytest.raises(PolyheadError, match="Cannot write the log: No space left on device"):
            act(log)
        with suppress(OSError):
            log.stream.close()
    with pytest.raises(ZeroDivisionError), Log(tmp_path / "log.jsonl", checkpoint.Progress()) as log:
        log.stream = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115
        log.stream.write("a line that is still in memory")
        _ = 1 / 0  # what went wrong first is what is told


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few hundred kilobytes."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system takes root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this place does not let us mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(
    small_disk: Path, context: ForkServerContext, recipe: Path, reference: tuple[Path, killing.Ended]
) -> None:
    """It is told so that users understand; the last checkpoint stays whole, and the run goes on when there is room."""
    run = small_disk / "run"
    full = killing.run(context, recipe, run)
    assert full.status == 1, full.error
    assert "Cannot write" in full.error
    assert "No space left on device" in full.error
    assert len(full.error.splitlines()) == 2
    (checkpoint,) = (run / "checkpoints").iterdir()
    assert {path.name for path in checkpoint.iterdir()} == {"state.safetensors", "progress.json"}
    again = killing.run(context, None, run)
    assert again.status == 1
    assert "No space left" in again.error
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert killing.run(context, None, run).error == ""
    check_same(run, reference[0])
