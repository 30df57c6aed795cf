"""Dropout by random bytes: its share, its scale, its gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from polyhead.nn.dropout import Dropout, replace_dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_share_and_mean(rate: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(400_003)  # no multiple of 8
    out = Dropout(rate)(x)
    exact = round(rate * 256) / 256
    assert float((out == 0).float().mean()) == pytest.approx(exact, abs=0.004)
    assert out.unique().tolist() == [0.0, pytest.approx(1 / (1 - exact))]
    assert float(out.mean()) == pytest.approx(1, abs=0.01)


def test_every_value_is_dropped_on_its_own() -> None:
    torch.manual_seed(1)
    kept = torch.stack([Dropout(0.5)(torch.ones(16)) != 0 for _ in range(4000)]).float()  # (draws, values)
    correlation = torch.corrcoef(kept.T) - torch.eye(16)
    assert float(correlation.abs().max()) < 0.08  # values of one 64-bit draw do not hang together
    assert float((kept.mean(0) - 0.5).abs().max()) < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_goes_where_values_went(dtype: torch.dtype) -> None:
    x = torch.rand(3, 5, 7, dtype=dtype).add(0.1).transpose(0, 2).requires_grad_()
    out = Dropout(0.3)(x)
    assert out.dtype == dtype and out.shape == x.shape
    (grad,) = torch.autograd.grad(out.transpose(1, 2).sum(), x)
    scale = 256 / (256 - round(0.3 * 256))
    torch.testing.assert_close(grad, (out != 0).to(dtype) * torch.tensor(scale, dtype=dtype))
    torch.testing.assert_close(out, x * grad)


def test_same_seed_same_mask() -> None:
    layer, x = Dropout(0.5), torch.ones(100)
    torch.manual_seed(3)
    first = layer(x)
    assert not torch.equal(layer(x), first)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)


def test_nothing_is_dropped_in_evaluation_or_at_rate_0() -> None:
    x = torch.randn(50)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert Dropout(0.0005)(x) is x  # nearer to 0 than to 1/256


def test_the_highest_rates_keep_something() -> None:
    torch.manual_seed(0)
    out = Dropout(0.9999)(torch.ones(100_000))
    assert torch.isfinite(out).all() and 0 < float((out != 0).float().mean()) < 0.01


def test_an_empty_tensor_passes() -> None:
    assert Dropout(0.5)(torch.zeros(0, 4)).shape == (0, 4)


def test_replacement_keeps_or_sets_rates() -> None:
    module = nn.Sequential(nn.Dropout(0.25), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))
    replace_dropout(module)
    assert [m.rate for m in module.modules() if isinstance(m, Dropout)] == [0.25, 0.5]
    replace_dropout(module, 0.1)
    assert [m.rate for m in module.modules() if isinstance(m, Dropout)] == [0.1, 0.1]
    assert not any(isinstance(m, nn.Dropout) for m in module.modules())
