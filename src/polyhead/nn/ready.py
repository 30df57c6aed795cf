"""A model made ready for prediction: fast, and no longer to be trained."""

from __future__ import annotations

from torch import nn

from polyhead.nn.attention import exchange_attention
from polyhead.nn.bert import Bert
from polyhead.nn.packed import pack_linear
from polyhead.nn.precision import Precision, halve_linear_weights


def make_ready(model: nn.Module, precision: Precision) -> None:
    """Let a model compute in a precision as fast as this machine can, its answers but for rounding the same.

    Args:
        model: Everything.
        precision: What to compute in.
    """
    here = next(model.parameters()).device.type == "cpu"
    if here:
        exchange_attention(model)
    if precision == "bf16":
        halve_linear_weights(model)
    if precision == "bf16" and here:
        pack_linear(model)
        for module in model.modules():
            if isinstance(module, Bert):
                module.fuse()
