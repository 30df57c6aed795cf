"""Which numbers are computed with, and training with bf16 weights that have fp32 masters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from polyhead.data.example import Example, WordLabels
from polyhead.errors import PolyheadError
from polyhead.model import Model, Targets
from polyhead.nn import precision
from polyhead.nn.loading import load_encoder
from polyhead.nn.precision import autocast, choose_precision, find_device, halve_linear_weights, matrix_rate
from polyhead.stage import Stage
from polyhead.tasks import make_task
from polyhead.training.optim import Optimizer

CPU = torch.device("cpu")


@pytest.mark.parametrize(("gain", "expected"), [(0.2, "fp32"), (1.2, "fp32"), (1.4, "bf16"), (8.0, "bf16")])
def test_a_cpu_takes_bf16_only_where_it_gains(monkeypatch: pytest.MonkeyPatch, gain: float, expected: str) -> None:
    rates = {torch.float32: 1e9, torch.bfloat16: gain * 1e9}
    monkeypatch.setattr(precision, "matrix_rate", lambda dtype, **_: rates[dtype])
    precision._measured.cache_clear()
    try:
        assert choose_precision(CPU) == expected
    finally:
        precision._measured.cache_clear()


@pytest.mark.parametrize(("knows", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_takes_bf16_where_it_knows_it(monkeypatch: pytest.MonkeyPatch, knows: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: knows)
    assert choose_precision(torch.device("cuda")) == expected
    assert choose_precision(torch.device("mps")) == "fp32"


def test_the_measure_is_a_rate() -> None:
    assert 1e6 < matrix_rate(torch.float32, rows=16, repeats=1) < 1e15


def test_only_linear_layers_are_halved() -> None:
    module = nn.Sequential(nn.Embedding(3, 4), nn.LayerNorm(4), nn.Sequential(nn.Linear(4, 4)))
    halve_linear_weights(module)
    kinds = {name: p.dtype for name, p in module.named_parameters()}
    half = {name for name, dtype in kinds.items() if dtype == torch.bfloat16}
    assert half == {"2.0.weight", "2.0.bias"}


def test_autocast_is_off_for_fp32() -> None:
    layer, x = nn.Linear(3, 3), torch.randn(2, 3)
    with autocast(CPU, "fp32"):
        assert layer(x).dtype == torch.float32
    with autocast(CPU, "bf16"):
        assert layer(x).dtype == torch.bfloat16


def test_devices() -> None:
    assert find_device("cpu") == CPU
    assert find_device("auto").type in ("cpu", "cuda")
    for name in ("warp", "cuda:99", "meta", "vulkan"):
        with pytest.raises(PolyheadError, match=rf"device = '{name}' is not to be had here.*\n.*auto") as caught:
            find_device(name)
        assert len(str(caught.value)) < 250, "torch says very much"


def test_a_variable_says_what_auto_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYHEAD_DEVICE", "warp")
    assert find_device("cpu") == CPU
    with pytest.raises(PolyheadError, match="device = 'warp' is not to be had here"):
        find_device("auto")
    monkeypatch.setenv("POLYHEAD_DEVICE", "cpu")
    assert find_device("auto") == CPU


EXAMPLES = [
    Example(words=("The", "cat", "sat"), layers={"upos": WordLabels(("DET", "NOUN", "VERB")), "kind": "cat"}),
    Example(
        words=("Ann", "sees", "a", "dog"), layers={"upos": WordLabels(("PN", "VERB", "DET", "NOUN")), "kind": "dog"}
    ),
]


def _half(tiny_encoder: Path) -> tuple[Model, dict[str, torch.Tensor]]:
    """A model that computes in bf16, and its weights before anything was done to them."""
    torch.manual_seed(0)
    tasks = {
        "pos": make_task("pos", {"type": "tagging", "data": "d", "layer": "upos"}),
        "kind": make_task("kind", {"type": "classification", "data": "d", "layer": "kind"}),
    }
    for task in tasks.values():
        task.prepare(EXAMPLES)
    model = Model(load_encoder(str(tiny_encoder)), tasks)
    model.encoder.set_dropout(0.0)
    model.precision = "bf16"
    return model, {name: value.clone() for name, value in model.state_dict().items()}


def test_training_with_masters(tiny_encoder: Path) -> None:
    model, before = _half(tiny_encoder)
    stage = Stage(learning_rate=1e-3, head_learning_rate=1e-2, schedule="constant", warmup=0.0)
    optimizer = Optimizer(model, stage, 60)
    assert optimizer.masters and all(master.dtype == torch.float32 for master in optimizer.masters.values())
    full = optimizer.full_weights(model)
    assert full.keys() == before.keys()
    for name, value in full.items():
        assert value.dtype == torch.float32, name
        assert torch.equal(value, before[name]), name  # halving loses nothing that is saved
    batch = model.encoder.collate(model.encoder.tokenise(EXAMPLES))
    targets = {n: Targets([0, 1], [task.target(e) for e in EXAMPLES]) for n, task in model.tasks.items()}
    losses = []
    model.train()
    for step in range(60):
        found = model.loss(batch, targets)
        loss = sum(x.total / x.units for x in found.values())
        loss.backward()
        losses.append(float(loss.detach()))
        assert optimizer.step(step) > 0
    assert losses[-1] < 0.2 * losses[0]
    weights = dict(model.named_parameters())
    for name, master in optimizer.masters.items():
        assert weights[name].dtype == torch.bfloat16
        assert torch.equal(weights[name], master.to(torch.bfloat16)), name
        assert not torch.equal(master, before[name]), name
    # Steps too small for bf16 add up in the masters.
    assert any(not torch.equal(m, m.to(torch.bfloat16).float()) for m in optimizer.masters.values())
    trained = {name: value.clone() for name, value in optimizer.full_weights(model).items()}
    model.float().load_state_dict(trained)
    model.precision = "fp32"
    model.eval()
    answers = model.predict(batch, {"pos": [0, 1], "kind": [0, 1]})
    assert [p.value for p in answers["pos"]] == [e.layers["upos"] for e in EXAMPLES]
    assert [p.value for p in answers["kind"]] == ["cat", "dog"]


def test_the_state_of_masters_comes_back(tiny_encoder: Path) -> None:
    stage = Stage(learning_rate=1e-4, schedule="constant", warmup=0.0)

    def train(steps: int, state: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
        model, _ = _half(tiny_encoder)
        if state:
            model.load_state_dict({k.removeprefix("full/"): v for k, v in state.items() if k.startswith("full/")})
        optimizer = Optimizer(model, stage, 4)
        if state:
            optimizer.restore({k: v for k, v in state.items() if not k.startswith("full/")})
        model.eval()  # without dropout
        batch = model.encoder.collate(model.encoder.tokenise(EXAMPLES))
        target = Targets([0, 1], [model.tasks["pos"].target(e) for e in EXAMPLES])
        for step in range(steps):
            model.loss(batch, {"pos": target})["pos"].total.backward()
            optimizer.step(step)
        full = {f"full/{name}": value.clone() for name, value in optimizer.full_weights(model).items()}
        return full | {name: value.clone() for name, value in optimizer.state().items()}

    whole, parts = train(4), train(2, train(2))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_a_model_answers_in_bf16(tiny_encoder: Path) -> None:
    model, _ = _half(tiny_encoder)
    model.precision = "fp32"
    batch = model.encoder.collate(model.encoder.tokenise(EXAMPLES))
    wanted = {"pos": [0, 1], "kind": [0, 1]}
    before = model.eval().predict(batch, wanted)
    after = model.use("bf16").predict(batch, wanted)
    for name in wanted:
        for one, other in zip(before[name], after[name], strict=True):
            assert one.confidence == pytest.approx(other.confidence, abs=0.05)
