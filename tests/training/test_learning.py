"""What learns when: the plan of freezing as a table, and that frozen weights are the same bytes after a stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import families
import pytest
import torch
from torch import Tensor

import polyhead
import runs
from polyhead import PolyheadError
from polyhead.model import TRANSFORMER
from polyhead.nn.loading import load_encoder
from polyhead.stage import Stage
from polyhead.training.learning import NOTHING, frozen_at, last_frozen
from polyhead.training.optim import rate_factor

LAYERS = 6


@pytest.mark.parametrize(
    ("settings", "levels"),
    [
        ({}, [NOTHING] * 4),
        ({"freeze": "embeddings"}, [0] * 4),
        ({"freeze": "encoder"}, [6] * 4),
        ({"freeze": 3}, [3] * 4),
        ({"freeze": 6}, [6] * 4),
        ({"thaw": "epoch"}, [6, 5, 4, 3]),
        ({"thaw": "epoch", "freeze": 2}, [2, 1, 0, NOTHING]),
        ({"thaw": 0.1}, [6, 4, 1, NOTHING]),
        ({"thaw": 0.25, "freeze": 1}, [1, 0, NOTHING, NOTHING]),
    ],
)
def test_what_is_frozen_at_each_epoch(settings: dict[str, Any], levels: list[int]) -> None:
    stage = Stage(epochs=4, **settings)
    assert [frozen_at(stage, LAYERS, epoch=i, share=i / 4) for i in range(4)] == levels
    assert last_frozen(stage, LAYERS) <= levels[-1]


def test_a_slanted_triangle() -> None:
    factors = [rate_factor(step, 100, 0.1, "slanted-triangular") for step in range(100)]
    assert max(factors) == factors[9] == factors[10] == 1.0
    assert factors[0] == pytest.approx((1 + 0.1 * 31) / 32)
    assert all(factor >= 1 / 32 for factor in factors)
    assert factors[99] == pytest.approx((1 + 31 / 90) / 32)


STAGE = """\
[[stages]]
epochs = 2
learning_rate = 0.01
head_learning_rate = 0.01
batch_pieces = 96
weight_decay = 0.1
"""


@pytest.fixture
def train(tmp_path: Path, tiny_encoder: Path) -> Callable[..., polyhead.Run]:
    def train(settings: str) -> polyhead.Run:
        recipe = runs.write_recipe(runs.write_data(tmp_path / "data"), tiny_encoder, STAGE + settings)
        return polyhead.train(recipe, tmp_path / "run")

    return train


def changed(run: polyhead.Run, tiny_encoder: Path) -> set[int]:
    """The levels of the encoder in which some weight is another than before."""
    before = dict(load_encoder(str(tiny_encoder)).transformer.named_parameters())
    encoder = run.model().encoder
    levels = encoder.levels()
    after: dict[str, Tensor] = dict(encoder.transformer.named_parameters())
    return {levels[name] for name, weight in after.items() if not torch.equal(weight, before[name])}


@pytest.mark.parametrize(
    ("settings", "levels"),
    [
        ("", {0, 1, 2}),
        ('freeze = "embeddings"', {1, 2}),
        ("freeze = 1", {2}),
        ('freeze = "encoder"', set()),
        ('thaw = "epoch"', {2}),
        ("thaw = 0.25", {0, 1, 2}),
        ('adapter = { kind = "lora", rank = 2 }', {1, 2}),
    ],
)
def test_frozen_weights_are_the_same_bytes_after_a_stage(
    train: Callable[..., polyhead.Run], tiny_encoder: Path, settings: str, levels: set[int]
) -> None:
    run = train(settings)
    assert changed(run, tiny_encoder) == levels
    case = run.model().encoder.case
    assert case is None or bool(case.weight.any()) == ("freeze" not in settings)


def test_a_text_is_answered_alike_beside_capitals(tmp_path: Path) -> None:
    """What marks capitals for a tokenizer that drops them says nothing of a text without any."""
    encoder = families.build("distilbert", tmp_path / "encoder")
    run = polyhead.train(runs.write_recipe(runs.write_data(tmp_path / "data"), encoder, STAGE), tmp_path / "run")
    case = run.model().encoder.case
    assert case is not None
    assert case.weight[1:].any() and not case.weight[0].any()
    annotate = polyhead.load(run.folder, precision="fp32")
    (alone,) = annotate.words([["the", "cats", "sat"]])
    beside, _ = annotate.words([["the", "cats", "sat"], ["Ann", "Saw", "ROME"]])
    for layer in ("upos", "tree"):
        ours, theirs = (doc.sentences[0].answers[layer] for doc in (alone, beside))
        assert ours.value == theirs.value
        assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-5)


def test_half_precision_leaves_frozen_weights_alone(tmp_path: Path, tiny_encoder: Path) -> None:
    """There the matrices are held in bf16, and what is frozen must not be rounded for good."""
    folder = runs.write_data(tmp_path / "data")
    recipe = runs.write_recipe(folder, tiny_encoder, STAGE + "freeze = 1")
    recipe.write_text(recipe.read_text(encoding="utf-8").replace('"fp32"', '"bf16"'), encoding="utf-8")
    assert changed(polyhead.train(recipe, tmp_path / "run"), tiny_encoder) == {2}


def test_an_adapted_model_is_a_plain_one(train: Callable[..., polyhead.Run], tiny_encoder: Path) -> None:
    from transformers import AutoModel

    run = train('adapter = { kind = "dora", rank = 2 }')
    opened = AutoModel.from_pretrained(run.folder / "model" / "encoder")
    mine = run.model().encoder.transformer.state_dict()
    assert all(torch.equal(opened.state_dict()[name], weight) for name, weight in mine.items())
    assert polyhead.evaluate(run.folder, split="dev") == run.scores["dev"]


def test_lower_layers_move_less(train: Callable[..., polyhead.Run], tiny_encoder: Path) -> None:
    """Adam's first steps are as long as the rate, so the way from the start tells the rate of each layer."""
    run = train("layer_decay = 0.1\nwarmup = 0.0")
    before = dict(load_encoder(str(tiny_encoder)).transformer.named_parameters())
    encoder = run.model().encoder
    ways = [0.0] * encoder.depth
    for name, weight in encoder.transformer.named_parameters():
        level = encoder.levels()[name]
        ways[level] = max(ways[level], float((weight.detach() - before[name]).abs().max()))
    assert ways[2] > 5 * ways[1] > 25 * ways[0] > 0


def test_a_pull_to_the_start_keeps_weights_near_it(tmp_path: Path, tiny_encoder: Path) -> None:
    before = load_encoder(str(tiny_encoder)).transformer.state_dict()
    distances = []
    for number, pull in enumerate([0.0, 10.0, 1e9]):
        folder = runs.write_data(tmp_path / f"data{number}")
        recipe = runs.write_recipe(folder, tiny_encoder, f"{STAGE}l2_sp = {pull}")
        after = polyhead.train(recipe, tmp_path / f"run{number}").model().state_dict()
        ways = [after[TRANSFORMER + name] - weight for name, weight in before.items()]
        distances.append(sum(float(way.square().sum()) for way in ways) ** 0.5)
    assert distances[0] > 1.1 * distances[1] > 0
    assert distances[2] == 0


@pytest.mark.parametrize(
    ("settings", "told"),
    [("freeze = 3", r"recipe.toml:\d+: stages\[2\].freeze = 3, but the encoder has 2 layers")],
)
def test_layers_that_are_not_there_are_told_before_anything_is_learnt(
    train: Callable[..., polyhead.Run], tmp_path: Path, settings: str, told: str
) -> None:
    with pytest.raises(PolyheadError, match=told):
        train(f"\n[[stages]]\n{settings}")
    assert not (tmp_path / "run" / "log.jsonl").exists()
