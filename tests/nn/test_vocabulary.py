"""Training only the piece vectors that are used gives what training all of them gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from polyhead.data.example import Example, WordLabels
from polyhead.model import Model, Targets
from polyhead.nn.loading import load_encoder
from polyhead.nn.vocabulary import NarrowEmbedding, narrow, widen
from polyhead.stage import Stage
from polyhead.tasks import make_task
from polyhead.training.optim import Optimizer

EXAMPLES = [
    Example(words=("The", "cat", "sat"), layers={"upos": WordLabels(("DET", "NOUN", "VERB"))}),
    Example(words=("Ann", "sees", "bad", "dogs"), layers={"upos": WordLabels(("PN", "VERB", "ADJ", "NOUN"))}),
]


def _model(folder: Path) -> Model:
    torch.manual_seed(0)
    task = make_task("pos", {"type": "tagging", "data": "d", "layer": "upos"})
    task.prepare(EXAMPLES)
    return Model(load_encoder(str(folder)), {"pos": task})


def _used(model: Model) -> torch.Tensor:
    batch = model.encoder.collate(model.encoder.tokenise(EXAMPLES))
    return torch.unique(batch.ids)


def _train(model: Model, optimizer: Optimizer, steps: int) -> None:
    torch.manual_seed(1)  # the same dropout
    model.train()
    batch = model.encoder.collate(model.encoder.tokenise(EXAMPLES))
    target = Targets([0, 1], [model.tasks["pos"].target(example) for example in EXAMPLES])
    for step in range(steps):
        model.loss(batch, {"pos": target})["pos"].total.backward()
        optimizer.step(step)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_is_the_same_as_with_the_whole_embedding(tiny_encoder: Path, precision: str) -> None:
    stage = Stage(learning_rate=1e-3, weight_decay=0.0)
    weights = []
    for narrowed in (False, True):
        model = _model(tiny_encoder)
        model.precision = precision  # type: ignore[assignment]
        if narrowed:
            narrow(model.encoder.transformer, _used(model))
        optimizer = Optimizer(model, stage, 12)
        _train(model, optimizer, 12)
        weights.append({name: value.clone() for name, value in optimizer.full_weights(model).items()})
    before = _model(tiny_encoder).state_dict()
    assert weights[0].keys() == weights[1].keys() == before.keys()
    for name, value in weights[0].items():
        # Only the gradient's length, which clipping divides by, is summed up in another order.
        torch.testing.assert_close(weights[1][name], value, rtol=1e-5, atol=1e-6, msg=name)
    name = "encoder.transformer.embeddings.word_embeddings.weight"
    moved = (weights[1][name] != before[name]).any(1)
    assert moved.any() and not moved[[i for i in range(len(moved)) if i not in _used(model)]].any()


def test_narrowing_is_in_the_optimizer(tiny_encoder: Path) -> None:
    model = _model(tiny_encoder)
    used = _used(model)
    narrow(model.encoder.transformer, used)
    optimizer = Optimizer(model, Stage(learning_rate=1e-4), 1)
    rows = optimizer.names["encoder.transformer.embeddings.word_embeddings.rows"]
    assert rows.shape == (len(used), 32)
    (group,) = [g for g in optimizer.adamw.param_groups if any(p is rows for p in g["params"])]
    assert (group["weight_decay"], group["lr"]) == (0, 1e-4)


def _embedding() -> tuple[nn.Embedding, NarrowEmbedding, torch.Tensor]:
    torch.manual_seed(0)
    whole = nn.Embedding(10, 3)
    used = torch.tensor([1, 4, 7])
    return whole, NarrowEmbedding(whole, used), used


def test_vectors_are_the_same_in_training_and_after(tiny_encoder: Path) -> None:
    whole, narrowed, used = _embedding()
    before = whole.weight.detach().clone()
    ids = torch.tensor([[4, 1], [7, 7]])
    assert torch.equal(narrowed(ids), before[ids])
    with torch.no_grad():
        narrowed.rows.add_(1)
    narrowed.eval()
    assert torch.equal(narrowed(ids), before[ids] + 1)
    every = torch.arange(10)
    others = [i for i in every.tolist() if i not in used]
    assert torch.equal(narrowed(every)[others], before[others])  # in evaluation any piece may come
    assert not narrowed.train().eval().training


def test_gradients_are_those_of_the_used_rows() -> None:
    whole, narrowed, used = _embedding()
    ids = torch.tensor([4, 4, 7])
    narrowed(ids).square().sum().backward()
    whole(ids).square().sum().backward()
    assert whole.weight.grad is not None
    torch.testing.assert_close(narrowed.rows.grad, whole.weight.grad[used])


def test_a_frozen_one_costs_no_backward_pass_and_leaves_no_gradient() -> None:
    """One was left in the whole embedding, whose first step in the next stage it was added to."""
    whole, narrowed, _ = _embedding()
    frozen = narrowed.eval()(torch.tensor([4, 4, 7]))
    assert not frozen.requires_grad
    (frozen * torch.ones((), requires_grad=True)).sum().backward()
    assert whole.weight.grad is None and narrowed.rows.grad is None


def test_it_saves_and_loads_as_the_whole() -> None:
    _, narrowed, used = _embedding()
    with torch.no_grad():
        narrowed.rows.mul_(2)
    saved = narrowed.state_dict()
    assert list(saved) == ["weight"] and saved["weight"].shape == (10, 3)
    assert torch.equal(saved["weight"][used], narrowed.rows)
    fresh = nn.Embedding(10, 3)
    again = NarrowEmbedding(fresh, used)
    again.load_state_dict({"weight": saved["weight"].clone()})
    assert torch.equal(again.rows, narrowed.rows)
    assert torch.equal(again.weight, saved["weight"])


@pytest.mark.parametrize("prepare", [lambda t: t.train(), lambda t: t.eval()])
def test_narrow_and_widen_leave_the_transformer_as_it_was(
    tiny_encoder: Path, prepare: Callable[[nn.Module], nn.Module]
) -> None:
    transformer = load_encoder(str(tiny_encoder)).transformer
    prepare(transformer)
    before = transformer.get_input_embeddings()  # type: ignore[operator]
    weight = before.weight.detach().clone()
    narrow(transformer, torch.tensor([0, 2, 3]))
    now = transformer.get_input_embeddings()  # type: ignore[operator]
    assert isinstance(now, NarrowEmbedding) and now.training == transformer.training
    narrow(transformer, torch.tensor([5]))  # twice does nothing more
    assert transformer.get_input_embeddings() is now  # type: ignore[operator]
    with torch.no_grad():
        now.rows.add_(1)
    widen(transformer)
    widen(transformer)
    after = transformer.get_input_embeddings()  # type: ignore[operator]
    assert after is before
    weight[[0, 2, 3]] += 1
    assert torch.equal(after.weight, weight)
