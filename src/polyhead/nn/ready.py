"""A model made ready for prediction: fast, and no longer to be trained."""

from __future__ import annotations

from torch import nn

from polyhead.nn.attention import attend_shortly
from polyhead.nn.packed import pack_linear
from polyhead.nn.precision import Precision, halve_linear_weights


def make_ready(model: nn.Module, transformer: nn.Module, precision: Precision) -> None:
    """Let a model compute in a precision as fast as this machine can, its answers but for rounding the same.

    Args:
        model: Everything.
        transformer: The part of it that is of the transformers library.
        precision: What to compute in.
    """
    here = next(model.parameters()).device.type == "cpu"
    if here:
        attend_shortly(transformer)
    if precision == "bf16":
        halve_linear_weights(model)
    if precision == "bf16" and here:
        pack_linear(model)
