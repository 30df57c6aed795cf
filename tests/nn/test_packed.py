"""Layers for prediction in bf16: what plain ones give, but for rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from polyhead.data.example import Example
from polyhead.nn.loading import load_encoder
from polyhead.nn.packed import PackedLinear, pack_linear
from polyhead.nn.precision import autocast, halve_linear_weights
from polyhead.nn.ready import make_ready

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(1, 24), (7, 24), (3, 5, 24), (0, 24), (300, 24), (128, 24), (2, 32, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_is_the_plain_one(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=bias)
    halve_linear_weights(layer)
    x = torch.randn(shape)
    right = nn.functional.linear(
        x.bfloat16().float(), layer.weight.float(), None if layer.bias is None else layer.bias.float()
    )
    if not pack_linear(layer):
        pytest.skip("this torch cannot lay weights out")
    assert isinstance(layer, PackedLinear) and set(layer.state_dict()) <= {"weight", "bias"}
    with torch.inference_mode():
        found = layer(x)
    assert found.dtype == torch.bfloat16 and found.shape == right.shape
    torch.testing.assert_close(found.float(), right, rtol=0.01, atol=0.01)


def test_only_layers_in_bf16_are_packed() -> None:
    layers = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Embedding(3, 8))
    assert pack_linear(layers) == 0 and type(layers[0]) is nn.Linear


def test_where_gradients_are_wanted_layers_are_plain() -> None:
    layers = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)).bfloat16()
    pack_linear(layers)
    layers(torch.randn(2, 8).bfloat16()).sum().backward()
    assert all(weight.grad is not None for weight in layers.parameters())


def test_an_encoder_made_ready_is_as_near_to_fp32_as_autocast(tiny_encoder: Path) -> None:
    texts = [Example(text=text) for text in ("The cats sat in Rome .", "a bad day", "Ann saw Bob " * 6)]

    def hidden(kind: str) -> torch.Tensor:
        encoder = load_encoder(str(tiny_encoder)).eval()
        batch = encoder.collate(encoder.tokenise(texts))
        if kind == "autocast":
            halve_linear_weights(encoder)
        elif kind == "ready":
            make_ready(encoder, "bf16")
            assert any(isinstance(layer, PackedLinear) for layer in encoder.modules())
        with torch.inference_mode(), autocast(CPU, "fp32" if kind == "fp32" else "bf16"):
            found: torch.Tensor = encoder(batch).hidden
        assert batch.mask is not None
        return found.float()[batch.mask]

    right = hidden("fp32")
    far = {kind: float((hidden(kind) - right).norm() / right.norm()) for kind in ("autocast", "ready")}
    assert far["ready"] < max(0.02, 1.2 * far["autocast"]), far
