"""The optimizer: its schedule, its clipping inside the fused kernel, and going on from a saved state."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from polyhead.nn.vocabulary import narrow
from polyhead.stage import Stage
from polyhead.training.optim import AVERAGE, AVERAGE_EVERY, Optimizer, rate_factor


class Transformer(nn.Module):
    """As much of a transformer as the optimizer sees."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(9, 4)
        self.norm = nn.LayerNorm(4)
        self.linear = nn.Linear(4, 4)

    def get_input_embeddings(self) -> nn.Module:
        return self.word_embeddings

    def set_input_embeddings(self, module: nn.Module) -> None:
        self.word_embeddings = module


class Tiny(nn.Module):
    """A model with the parts that the optimizer tells apart: an encoder, heads, matrices and vectors."""

    def __init__(self, precision: str = "fp32") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Module()
        self.encoder.transformer = Transformer()
        self.encoder.added = nn.Linear(4, 4)  # not pretrained, so it learns as fast as a head
        self.heads = nn.ModuleDict({"used": nn.Linear(4, 3), "unused": nn.Linear(4, 3)})
        self.precision = precision

    def loss(self, scale: float = 1.0) -> Tensor:
        ids = torch.tensor([[1, 2, 3, 1]])
        transformer = self.encoder.transformer
        hidden = transformer.norm(transformer.word_embeddings(ids))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            out = self.heads["used"](torch.tanh(self.encoder.added(transformer.linear(hidden))))
        return scale * (out.float() - torch.arange(3.0)).square().sum()


HALF, STEPS = 21, 48
STAGE = Stage(learning_rate=0.02, head_learning_rate=0.05, warmup=0.25, weight_decay=0.1, clip=0.5)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def furthest(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


def test_the_schedule_rises_then_falls() -> None:
    factors = [rate_factor(step, 10, 0.2, "linear") for step in range(10)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])
    cosine = [rate_factor(step, 10, 0.2, "cosine") for step in range(10)]
    assert cosine == pytest.approx([0.5, 1.0] + [0.5 + 0.5 * math.cos(math.pi * k / 8) for k in range(8)])
    assert [rate_factor(step, 10, 0.2, "constant") for step in range(10)] == [0.5] + [1.0] * 9
    assert [rate_factor(step, 4, 0.0, "linear") for step in range(4)] == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 1.0])
def test_no_step_is_without_effect(schedule: str, steps: int, warmup: float) -> None:
    """Even a stage of one step learns something, and no factor is above 1."""
    factors = [rate_factor(step, steps, warmup, schedule) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)


@pytest.mark.parametrize("scale", [0.001, 100.0])
def test_clipping_in_the_kernel_is_torch_clipping_before_adamw(scale: float) -> None:
    """Against torch.nn.utils.clip_grad_norm_ and an AdamW that is not fused."""
    ours, theirs = Tiny(), Tiny()
    optimizer = Optimizer(ours, STAGE, 8)  # type: ignore[arg-type]
    named = dict(theirs.named_parameters())
    groups = [
        {
            "params": [p],
            "weight_decay": 0.1 if p.dim() > 1 else 0.0,
            "highest": 0.02 if name.startswith("encoder.transformer.") else 0.05,
        }
        for name, p in named.items()
    ]
    reference = torch.optim.AdamW(groups, fused=False, foreach=False)
    for step in range(8):
        ours.loss(scale).backward()
        norm = optimizer.step(step)
        theirs.loss(scale).backward()
        expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        for group in reference.param_groups:
            group["lr"] = group["highest"] * rate_factor(step, 8, 0.25, "linear")
        reference.step()
        reference.zero_grad()
        assert norm == pytest.approx(float(expected), rel=1e-5)
        assert (norm > 0.5) == (scale > 1), "one case is clipped, the other is not"
        assert furthest(weights(ours), weights(theirs)) < 1e-5


def test_a_head_that_takes_no_part_stays_as_it_is() -> None:
    model = Tiny()
    before = weights(model)
    optimizer = Optimizer(model, STAGE, 3)  # type: ignore[arg-type]
    for step in range(3):
        model.loss().backward()
        optimizer.step(step)
    after = weights(model)
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {"heads.unused.weight", "heads.unused.bias"}
    assert all(p.grad is None for p in model.parameters()), "gradients are cleared"


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    model = Tiny()
    optimizer = Optimizer(model, STAGE, 2)  # type: ignore[arg-type]
    before = weights(model)
    model.loss(float("nan")).backward()
    assert math.isnan(optimizer.step(0))
    assert furthest(before, weights(model)) == 0


def test_trained_rows_of_the_vocabulary_are_spared_decay() -> None:
    model = Tiny()
    transformer = model.encoder.transformer
    assert isinstance(transformer, nn.Module)
    narrow(transformer, torch.tensor([0, 1, 2, 3]))
    optimizer = Optimizer(model, STAGE, 1)  # type: ignore[arg-type]
    (rows,) = (p for name, p in model.named_parameters() if name.endswith("rows"))
    decays = {group["weight_decay"] for group in optimizer.adamw.param_groups for p in group["params"] if p is rows}
    assert decays == {0.0}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_state_and_restore_go_on_as_if_nothing_had_been(precision: str) -> None:
    def steps(model: Tiny, optimizer: Optimizer, numbers: range) -> None:
        for number in numbers:
            model.loss().backward()
            optimizer.step(number)

    stage = STAGE.model_copy(update={"average": 0.5})
    straight = Tiny(precision)
    whole = Optimizer(straight, stage, STEPS)  # type: ignore[arg-type]
    steps(straight, whole, range(HALF))
    assert any(name.startswith(AVERAGE) for name in whole.state())
    state = {name: tensor.clone() for name, tensor in whole.state().items()}
    saved = {name: tensor.clone() for name, tensor in whole.full_weights(straight).items()}
    steps(straight, whole, range(HALF, STEPS))

    resumed = Tiny(precision)
    resumed.load_state_dict(saved)
    rest = Optimizer(resumed, stage, STEPS)  # type: ignore[arg-type]
    rest.restore(state)
    steps(resumed, rest, range(HALF, STEPS))
    assert furthest(whole.full_weights(straight), rest.full_weights(resumed)) == 0
    assert furthest(weights(straight), weights(resumed)) == 0
    with whole.averaged(straight) as one, rest.averaged(resumed) as other:
        assert furthest(one, other) == 0


def test_bf16_steps_are_not_lost_in_rounding() -> None:
    """Steps far below bf16's resolution add up in the master copy."""
    model = Tiny("bf16")
    stage = Stage(learning_rate=1e-5, head_learning_rate=1e-5, warmup=0.0, schedule="constant", weight_decay=0.0)
    optimizer = Optimizer(model, stage, 50)  # type: ignore[arg-type]
    assert model.heads["used"].weight.dtype == torch.bfloat16
    before = optimizer.full_weights(model)["heads.used.weight"].clone()
    for step in range(50):
        model.loss().backward()
        optimizer.step(step)
    after = optimizer.full_weights(model)["heads.used.weight"]
    assert after.dtype == torch.float32
    assert 2e-4 < float((after - before).abs().max()) < 1e-3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_averaged_weights_are_a_moving_average(precision: str) -> None:
    model = Tiny(precision)
    narrow(model.encoder.transformer, torch.tensor([0, 1, 2, 3]))
    steps = 60
    optimizer = Optimizer(model, STAGE.model_copy(update={"average": 0.5}), steps)  # type: ignore[arg-type]
    expected: dict[str, Tensor] = {}
    for number in range(steps):
        model.loss().backward()
        optimizer.step(number)
        if (number + 1) % AVERAGE_EVERY == 0:
            update = (number + 1) // AVERAGE_EVERY
            kept = 1 - 1 / (0.5 * update) if update > 3 else 0.0  # a span of one update or less is no average
            now = optimizer.full_weights(model)
            expected = {n: kept * expected.get(n, value) + (1 - kept) * value for n, value in now.items()}
    before = weights(model)
    last = {name: value.clone() for name, value in optimizer.full_weights(model).items()}
    assert furthest(expected, last) > 1e-3, "the average is not the last"
    with optimizer.averaged(model) as found:
        assert furthest(found, expected) < 1e-6
        inside = weights(model)
        limit = 1e-6 if precision == "fp32" else 1e-2
        assert furthest(inside, expected) < limit, "inside the block the model answers with the average"
    assert furthest(weights(model), before) == 0, "and learns on from its own weights"


def test_without_average_weights_are_taken_as_they_are() -> None:
    model = Tiny()
    optimizer = Optimizer(model, STAGE.model_copy(update={"average": 0.0}), 40)  # type: ignore[arg-type]
    for step in range(40):
        model.loss().backward()
        optimizer.step(step)
    assert not optimizer.averages
    with optimizer.averaged(model) as found:
        assert furthest(found, weights(model)) == 0


def test_every_epoch_sees_another_average() -> None:
    """However few steps an epoch has: else patience would take the same weights for no progress."""
    model = Tiny()
    stage = STAGE.model_copy(update={"average": 0.5, "epochs": 30, "schedule": "constant"})
    optimizer = Optimizer(model, stage, 30)  # type: ignore[arg-type]
    seen: list[dict[str, Tensor]] = []
    for step in range(30):
        model.loss().backward()
        optimizer.step(step)
        with optimizer.averaged(model) as found:
            seen.append({name: value.clone() for name, value in found.items()})
    assert all(furthest(one, other) > 0 for one, other in itertools.pairwise(seen))
