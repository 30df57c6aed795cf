"""Several processes train as one does: the same losses, weights and scores, whatever a stage asks for."""

from __future__ import annotations

import json
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import together
from safetensors.torch import load_file

import runs

NO_DROPOUT = runs.TASKS.replace('data = "', 'dropout = 0.0\ndata = "')
RATES = "learning_rate = 0.003\nhead_learning_rate = 0.01\ndropout = 0.0\n"
NOISE = ("key.bias", "k_proj.bias")
"""Weights whose gradient is 0 but for rounding: the softmax takes them away. Adam makes steps of the noise, as it does
here and there of single numbers in other weights, so these are compared on average."""


def write(folder: Path, encoder: Path, stages: str, more: str = "", data: str = "", top: str = "") -> Path:
    return runs.write_recipe(
        runs.write_data(folder), encoder, stages, tasks=NO_DROPOUT + more, data=runs.DATA + data, top=top
    )


def losses(run: Path) -> list[dict[str, float]]:
    return [record["losses"] for record in runs.log(run) if "losses" in record]


def flat(scores: Path) -> dict[str, float]:
    """A run's scores, each by one name."""
    splits = json.loads(scores.read_text(encoding="utf-8"))
    return {
        f"{split} {task} {name}": value
        for split, tasks in splits.items()
        for task, figures in tasks.items()
        for name, value in figures.items()
    }


def check_alike(run: Path, other: Path, *, tolerance: float = 1e-5) -> None:
    """The same losses at each step that is logged, scores, best epochs and weights, but for rounding."""
    first, second = losses(run), losses(other)
    assert len(first) == len(second) > 2
    for one, two in zip(first, second, strict=True):
        assert one.keys() == two.keys()
        assert all(abs(one[name] - two[name]) <= tolerance for name in one), (one, two)
    ended = [[r for r in runs.log(each) if r["record"] == "StageEnded"] for each in (run, other)]
    assert [r["kept"] for r in ended[0]] == [r["kept"] for r in ended[1]]
    assert flat(run / "scores.json") == pytest.approx(flat(other / "scores.json"), abs=1e-4)
    for name in ("model/model.safetensors", "model/encoder/model.safetensors"):
        ours, theirs = load_file(run / name), load_file(other / name)
        assert ours.keys() == theirs.keys()
        for key, weight in ours.items():
            if not key.endswith(NOISE):
                assert float((weight - theirs[key]).abs().mean()) <= tolerance, key


PLAIN = f'[[stages]]\nname = "joint"\nepochs = 3\nbatch_pieces = 64\naccumulate = 2\n{RATES}'
TEXTS = '[data.texts]\ntrain = "texts.txt"\ndev = "texts.txt"\n'
LM = '[tasks.lm]\ntype = "masked-lm"\ndata = "texts"\nblock = 16\n'


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, context: ForkServerContext) -> tuple[Path, Path]:
    """A recipe, and its run in one process."""
    folder = tmp_path_factory.mktemp("one")
    recipe = write(folder / "data", tiny_encoder, PLAIN)
    (ended,) = together.train(context, 1, recipe, folder / "run")
    assert ended.status == 0, ended.error
    return recipe, folder / "run"


@pytest.mark.parametrize("count", [2, 3])
def test_several_train_as_one(count: int, one: tuple[Path, Path], context: ForkServerContext, tmp_path: Path) -> None:
    recipe, run = one
    ended = together.train(context, count, recipe, tmp_path / "run")
    assert [(end.status, end.error) for end in ended] == [(0, "")] * count
    for end in ended[1:]:
        assert not end.told, "one speaks"
        assert not [event for event in end.events if not event.startswith(("before", "after"))], "one writes"
    check_alike(tmp_path / "run", run)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["processes"] == count


WAYS = {
    "more processes than examples in a batch": "batch_pieces = 8",
    "thaw and layer decay": "batch_pieces = 64\nthaw = 0.3\nlayer_decay = 0.7",
    "frozen layers": "batch_pieces = 64\nfreeze = 1\nl2_sp = 50.0",
    "adapter": 'batch_pieces = 64\nadapter = { kind = "lora", rank = 2 }',
    "uncertainty": 'batch_pieces = 64\ncombine = "uncertainty"\nnormalise = "chance"\ncosines = 1',
    "dynamic": 'batch_pieces = 64\ncombine = "dynamic"',
    "conflicts": 'batch_pieces = 64\ncombine = "upgrad"\ncosines = 2\naccumulate = 2',
    "replay": "batch_pieces = 64\nreplay = 0.4",
    "distillation": "batch_pieces = 64",
    "masked language modelling": "batch_pieces = 64",
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_a_stage_asks_for(way: str, tiny_encoder: Path, context: ForkServerContext, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = f'[[stages]]\nname = "first"\ntasks = ["syntax"]\nepochs = 1\nbatch_pieces = 64\n{RATES}'
    tasks, more, data = ["pos", "entities"], "", ""
    if way.startswith("masked"):
        tasks, more, data = [*tasks, "lm"], LM, TEXTS
        folder.mkdir()
        (folder / "texts.txt").write_text("the good cat sat\nin a bad cats see\nAnn was in the cats\n" * 4)
    second = f'[[stages]]\nname = "way"\ntasks = {json.dumps(tasks)}\nepochs = 3\n{RATES}{WAYS[way]}\n'
    if way == "distillation":
        shared = tmp_path / "teacher"
        teacher = write(folder, tiny_encoder, PLAIN.replace("epochs = 3", "epochs = 1"))
        (ended,) = together.train(context, 1, teacher, shared)
        assert ended.status == 0, ended.error
        second += f'[stages.distil]\nteachers = ["{shared}"]\n'
    recipe = write(folder, tiny_encoder, first + second, more, data)
    for count in (1, 2):
        ended = together.train(context, count, recipe, tmp_path / f"run{count}")
        assert [(end.status, end.error) for end in ended] == [(0, "")] * count
    check_alike(tmp_path / "run1", tmp_path / "run2")
    cosines = [[r["cosines"] for r in runs.log(tmp_path / f"run{n}") if "stopped_early" in r] for n in (1, 2)]
    for alone, both in zip(*cosines, strict=True):
        assert alone.keys() == both.keys()
        assert all(abs(alone[pair]["mean"] - both[pair]["mean"]) < 1e-3 for pair in alone)
