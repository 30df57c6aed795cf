"""Several processes train as one does: the same losses, weights and scores, whatever a stage asks for."""

from __future__ import annotations

import json
import shutil
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import together
from safetensors.torch import load_file

import runs
from killing import KILLED, Moment

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
    "more processes than examples in a batch": "batch_pieces = 16",
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


SLOW = ("thaw and layer decay", "dynamic", "replay")
"""What differs least from the others."""


@pytest.mark.parametrize("way", [pytest.param(way, marks=pytest.mark.slow if way in SLOW else ()) for way in WAYS])
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


# --- an encoder whose weights are divided ---


@pytest.mark.parametrize("count", [2, 3])
def test_divided_weights_learn_the_same(
    count: int, one: tuple[Path, Path], context: ForkServerContext, tmp_path: Path
) -> None:
    recipe, run = one
    divided = recipe.with_name("divided.toml")
    divided.write_text("sharded = true\n" + recipe.read_text(encoding="utf-8"), encoding="utf-8")
    ended = together.train(context, count, divided, tmp_path / "run")
    assert [(end.status, end.error) for end in ended] == [(0, "")] * count
    check_alike(tmp_path / "run", run)


def test_divided_weights_go_on_in_any_number(tiny_encoder: Path, context: ForkServerContext, tmp_path: Path) -> None:
    """In bf16, thawing, with a moving average: killed in two processes, gone on with in two, three and one."""
    stages = f'[[stages]]\nname = "thaw"\nepochs = 3\nbatch_pieces = 64\nthaw = 0.3\n{RATES}'
    recipe = write(tmp_path / "data", tiny_encoder, stages, top="sharded = true\n")
    recipe.write_text(recipe.read_text(encoding="utf-8").replace('"fp32"', '"bf16"'), encoding="utf-8")
    (ended,) = together.train(context, 1, recipe, tmp_path / "one")
    assert ended.status == 0, ended.error
    ended, other = together.train(context, 2, recipe, tmp_path / "run", {0: Moment("record Stepped thaw 3$")})
    assert ended.status == KILLED
    assert "Another process of this run has ended" in other.error
    for count, step in ((2, 5), (3, 6), (1, None)):
        moments = {} if step is None else {0: Moment(f"record Stepped thaw {step}$")}
        ended, *_ = together.train(context, count, None, tmp_path / "run", moments)
        assert ended.status == (KILLED if moments else 0), ended.error
    check_alike(tmp_path / "run", tmp_path / "one", tolerance=3e-2)  # bf16 has three digits


@pytest.mark.parametrize("counts", [(2, 1), (1, 2)])
def test_a_run_goes_on_divided_or_whole(
    counts: tuple[int, int], tiny_encoder: Path, context: ForkServerContext, tmp_path: Path
) -> None:
    """One process learns the vectors of used pieces alone; divided, the embedding is whole. Averages have begun."""
    stages = f'[[stages]]\nname = "all"\nepochs = 3\nbatch_pieces = 64\naverage = 0.9\nl2_sp = 0.1\n{RATES}'
    recipe = write(tmp_path / "data", tiny_encoder, stages, top="sharded = true\n")
    (ended,) = together.train(context, 1, recipe, tmp_path / "one")
    assert ended.status == 0, ended.error
    moment = {0: Moment("record Stepped all 5$")}
    assert together.train(context, counts[0], recipe, tmp_path / "run", moment)[0].status == KILLED
    ended, *_ = together.train(context, counts[1], None, tmp_path / "run")
    assert ended.status == 0, ended.error
    check_alike(tmp_path / "run", tmp_path / "one")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_process_holds_its_part(precision: str, one: tuple[Path, Path], context: ForkServerContext) -> None:
    """Of the encoder's weights and of all that the optimizer keeps of them, also where 3 does not divide a weight."""
    for count in (2, 3):
        found = together.call(context, count, together.held, one[1], precision)
        assert all(isinstance(numbers, tuple) for numbers in found), found
        wholes, parts = zip(*found, strict=True)
        few = 1.0 if precision == "fp32" else 1.06  # each holds the vectors of layers whole
        assert wholes[0] <= sum(parts) <= few * wholes[0]
        assert max(parts) < 1.1 * few * wholes[0] / count


# --- ends ---


def test_one_of_two_is_killed(one: tuple[Path, Path], context: ForkServerContext, tmp_path: Path) -> None:
    """The other one ends soon, and says what to do; one, two or three go on, and with two it is as if nothing was."""
    recipe, _ = one
    wet = recipe.with_name("wet.toml")  # with dropout, whose random numbers are each process's own
    wet.write_text(recipe.read_text(encoding="utf-8").replace("dropout = 0.0", "dropout = 0.2"), encoding="utf-8")
    straight = together.train(context, 2, wet, tmp_path / "straight")
    assert [end.status for end in straight] == [0, 0]
    began = time.monotonic()
    other, killed = together.train(context, 2, wet, tmp_path / "run", {1: Moment("before evaluation", 2)})
    assert (killed.status, other.status) == (KILLED, 1)
    assert "Another process of this run has ended" in other.error
    assert "polyhead train --resume" in other.error
    assert time.monotonic() - began < 60
    for count in (1, 3):
        shutil.copytree(tmp_path / "run", tmp_path / f"run{count}")
        ended = together.train(context, count, None, tmp_path / f"run{count}")
        assert [(end.status, end.error) for end in ended] == [(0, "")] * count
    killed, _ = together.train(context, 2, None, tmp_path / "run", {0: Moment("record Stepped joint [45]$")})
    assert killed.status == KILLED
    assert [end.status for end in together.train(context, 2, None, tmp_path / "run")] == [0, 0]
    assert runs.differences(runs.outcome(tmp_path / "run"), runs.outcome(tmp_path / "straight")) == []


def test_another_number_goes_on_alike(one: tuple[Path, Path], context: ForkServerContext, tmp_path: Path) -> None:
    recipe, run = one
    for count, source, step in ((2, recipe, 2), (1, None, 3), (3, None, 5)):
        killed, *_ = together.train(context, count, source, tmp_path / "run", {0: Moment(f"Stepped joint {step}$")})
        assert killed.status == KILLED, killed.error
    assert [end.status for end in together.train(context, 2, None, tmp_path / "run")] == [0, 0]
    check_alike(tmp_path / "run", run)


def test_one_tells_why_all_end(context: ForkServerContext) -> None:
    """The first one, or who has a reason of its own."""
    assert together.call(context, 3, together.last_words, True) == [True, False, False]
    assert together.call(context, 3, together.last_words, False) == [False, True, False]


def test_what_is_wrong_on_one_machine_is_told_from_there(
    one: tuple[Path, Path], context: ForkServerContext, tmp_path: Path
) -> None:
    """As where machines have copies of their own of the data."""
    other = tmp_path / "copy"
    shutil.copytree(one[0].parent, other)
    text = (other / "names-train.conll").read_text(encoding="utf-8")
    (other / "names-train.conll").write_text(text.replace("Bob", "Rob"), encoding="utf-8")
    found = together.call(context, 2, together.read, one[0], other / "recipe.toml", tmp_path / "run")
    assert all("Process 1 on" in error and "has read another dataset than process 0" in error for error in found)


@pytest.mark.parametrize(
    ("key", "value"),
    [("adapter", '{ kind = "lora", rank = 2 }'), ("combine", '"upgrad"'), ("cosines", "3")],
)
def test_what_does_not_go_with_divided_weights(
    key: str, value: str, tiny_encoder: Path, context: ForkServerContext, tmp_path: Path
) -> None:
    stages = f"[[stages]]\nepochs = 1\n{key} = {value}\n"
    recipe = write(tmp_path / "data", tiny_encoder, stages, top="sharded = true\n")
    ended = together.train(context, 2, recipe, tmp_path / "run")
    assert [end.status for end in ended] == [1, 1]
    assert f"stages[1].{key}" in ended[0].error
    assert "does not go with sharded = true" in ended[0].error
    assert not (tmp_path / "run").exists()
