"""Linear layers for prediction in bf16 on a CPU, whose weights lie as its matrix units want them.

A plain linear layer lays its weights out anew at each call, and adds its bias in a step of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

ROWS = 2048
"""The rows that the layout is chosen for: a batch of prediction. Any other number of rows is right, too."""


STEPS = ((32, 1), (256, 16))
"""Up to so many rows their number is filled up to a multiple of so many; above to one of ``STEP``. For each number that
it has not seen yet oneDNN compiles a program of its own, which takes several times as long as the product of a small
batch. The fewest rows, as a decoder's, are as they are: such numbers come again and again."""

STEP = 64


def filled_up(rows: int) -> int:
    """The number of rows that a layer computes in place of ``rows``."""
    step = next((step for most, step in STEPS if rows <= most), STEP)
    return -(-rows // step) * step


class PackedLinear(nn.Linear):
    """A linear layer with a second copy of its weights, laid out by oneDNN; made by :func:`pack_linear`.

    Attributes:
        packed: That copy.
        after: What is computed of each result in the same step: ``none``, or ``gelu``.
    """

    packed: Any
    after: Literal["none", "gelu"] = "none"

    def forward(self, x: Tensor) -> Tensor:
        """As a linear layer, in bf16. Shape (..., in) to (..., out)."""
        if x.device.type != "cpu" or torch.is_grad_enabled():
            found = super().forward(x)
            return nn.functional.gelu(found) if self.after == "gelu" else found
        kind = "none" if self.after == "gelu" else ""  # oneDNN's name for the exact one, not that by tanh
        rows = x.numel() // self.in_features
        if filled_up(rows) == rows:
            given = x.to(torch.bfloat16)
        else:
            given = x.new_empty(filled_up(rows), self.in_features, dtype=torch.bfloat16)
            given[:rows] = x.reshape(rows, -1)
            given[rows:] = 0
        out: Tensor = torch.ops.mkldnn._linear_pointwise(given, self.packed, self.bias, self.after, [], kind)
        return out if given.shape == x.shape else out[:rows].view(*x.shape[:-1], -1)


def pack_linear(module: nn.Module) -> int:
    """Lay the weights of a module's linear layers out anew that are bf16 and on a CPU; returns how many were.

    Where this torch cannot, layers stay as they are. Weights that change later are not followed.
    """
    layers = [layer for layer in module.modules() if type(layer) is nn.Linear and _fits(layer)]
    try:
        copies = [torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), ROWS) for layer in layers]
    except (AttributeError, RuntimeError):  # torch without oneDNN, or another torch
        return 0
    for layer, packed in zip(layers, copies, strict=True):
        layer.__class__ = PackedLinear
        layer.packed = packed
    return len(layers)


def join_linear(layers: Sequence[nn.Linear]) -> PackedLinear:
    """Several packed layers of the same input as one, whose output is theirs one after the other."""
    joined = nn.Linear(layers[0].in_features, sum(layer.out_features for layer in layers), device="meta")
    joined.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]), requires_grad=False)
    joined.bias = nn.Parameter(torch.cat([layer.bias.detach() for layer in layers]), requires_grad=False)
    pack_linear(joined)
    assert isinstance(joined, PackedLinear)
    start = 0
    for layer in layers:  # views, so that there is one copy in memory
        end = start + layer.out_features
        layer.weight.data, layer.bias.data = joined.weight.data[start:end], joined.bias.data[start:end]
        layer.__class__ = nn.Linear
        del layer.packed
        start = end
    return joined


def _fits(layer: nn.Linear) -> bool:
    return layer.weight.device.type == "cpu" and layer.weight.dtype == torch.bfloat16 and min(layer.weight.shape) > 1
