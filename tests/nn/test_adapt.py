"""Adapters: nothing changes when one is attached, it alone learns, and its weights go into the encoder's in the end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from polyhead.nn.adapt import BASE, adapter_names, attach, detach, folded, plain_weights
from polyhead.nn.loading import load_encoder
from polyhead.nn.precision import halve_linear_weights

KINDS = ["lora", "dora", "rslora", "loha", "lokr", "ia3"]
IDS = torch.tensor([[1, 5, 9, 30], [2, 7, 7, 31]])


@pytest.fixture
def bert() -> BertModel:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertModel(BertConfig(vocab_size=40, **shape), add_pooling_layer=False).eval()
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(weight)  # ia3 scales them, too
    return model


def answer(model: nn.Module) -> Tensor:
    with torch.no_grad():
        hidden: Tensor = model(IDS).last_hidden_state
    return hidden


def shaken(model: nn.Module) -> None:
    added = adapter_names(model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in added:
                weight += 0.1 * torch.randn_like(weight)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_goes_into_the_weights(bert: BertModel, kind: str) -> None:
    before, first = {name: w.clone() for name, w in bert.state_dict().items()}, answer(bert)
    attach(bert, kind=kind, rank=4)
    assert torch.allclose(answer(bert), first, atol=1e-6), "a new adapter changes nothing"
    learning = {name for name, p in bert.named_parameters() if p.requires_grad}
    assert learning == adapter_names(bert)
    assert learning
    shaken(bert)
    adapted = answer(bert)
    assert (adapted - first).abs().max() > 1e-3
    plain = plain_weights(bert, bert.state_dict())
    assert torch.equal(answer(bert), adapted), "reading the weights leaves the model as it was"
    with folded(bert):
        pass
    assert torch.equal(answer(bert), adapted)
    detach(bert)
    assert adapter_names(bert) == set()
    assert bert.state_dict().keys() == before.keys() == plain.keys()
    assert all(torch.equal(w, before[name]) for name, w in bert.state_dict().items())
    bert.load_state_dict(plain)
    assert torch.allclose(answer(bert), adapted, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_goes_into_weights_in_full_precision(bert: BertModel, kind: str) -> None:
    """Where a model computes in bf16, its frozen weights stay what they were, down to the last bit of fp32."""
    attach(bert, kind=kind, rank=4)
    full = {name: weight.clone() for name, weight in bert.state_dict().items()}
    halve_linear_weights(bert)
    held = {name: weight.clone() for name, weight in bert.state_dict().items()}
    assert any(not torch.equal(full[name], weight.float()) for name, weight in held.items())
    plain = plain_weights(bert, full)
    assert all(torch.equal(weight, held[name]) for name, weight in bert.state_dict().items())
    base = {name.replace(BASE, ""): weight for name, weight in full.items() if BASE in name}
    assert base
    for name, weight in base.items():  # a new adapter adds nothing
        assert plain[name].dtype == torch.float32
        assert torch.allclose(plain[name], weight, rtol=1e-6, atol=0), name


def test_without_an_adapter_weights_are_as_they_are(bert: BertModel) -> None:
    assert plain_weights(bert, bert.state_dict()).keys() == bert.state_dict().keys()
    assert adapter_names(bert) == set()


def test_a_frozen_encoder_with_an_adapter_learns_by_it_alone(tiny_encoder: Path) -> None:
    encoder = load_encoder(str(tiny_encoder))
    attach(encoder.transformer, kind="lora", rank=2)
    encoder.freeze(-1)
    learning = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert learning - {"case.weight"} == encoder.added
