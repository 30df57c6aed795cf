"""Dropout with cheap random numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_NEVER_DROPPED = ("attention_dropout", "attention_probs_dropout_prob", "dropout_prob", "layerdrop")
"""Rates that are set to 0: of attention weights, and of whole layers, which heads may want to mix."""

_QUERIES = ("query", "q_lin", "query_proj", "q_proj", "q")
"""What the families call the projection that only an attention module has."""


class _Masked(torch.autograd.Function):
    """``x * mask * scale`` in one pass, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return torch.ops.aten.native_dropout_backward(x, mask, scale)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return torch.ops.aten.native_dropout_backward(grads[0].contiguous(), mask, ctx.scale), None, None


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) whose rate is a multiple of 1/256 on a CPU.

    A random byte decides over each value, eight of them from one draw of the generator. The common way draws a
    random number for each value, which took 14 % of a training step on two cores.

    Args:
        rate: The share of values that become 0; rounded to the nearest 1/256 on a CPU.
        own: The rate to come back to, where ``rate`` holds for one stage only.
    """

    def __init__(self, rate: float, own: float | None = None) -> None:
        super().__init__()
        self.rate = rate
        self.own = rate if own is None else own

    @property
    def p(self) -> float:
        """The rate by torch's name: some transformers read it from here for their fused attention."""
        return self.rate

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with some values 0 and the others scaled up, in training; else ``x``. Any shape."""
        threshold = min(255, round(self.rate * 256))
        if not self.training or threshold == 0:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.rate, training=True)
        draws = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        mask = (draws.view(torch.uint8)[: x.numel()] >= threshold).view(x.shape)
        out: Tensor = _Masked.apply(x, mask, 256 / (256 - threshold))  # type: ignore[no-untyped-call]
        return out

    def extra_repr(self) -> str:
        """The rate, for ``repr``."""
        return f"rate={self.rate}"


def replace_dropout(module: nn.Module, rate: float | None = None) -> None:
    """Put this dropout in the place of torch's everywhere in ``module``, at its own rate or at ``rate``."""
    for parent in module.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout | Dropout):
                own = child.p if isinstance(child, nn.Dropout) else child.own
                setattr(parent, name, Dropout(own if rate is None else rate, own))


def set_rates(transformer: nn.Module, rate: float | None, own: dict[tuple[nn.Module, str], Any]) -> None:
    """Set the rates that a transformer's modules keep as numbers, and those of attention weights and layers to 0.

    Args:
        transformer: Is changed in place.
        rate: The new rate; ``None``: each module's own.
        own: Where the modules' own rates are remembered from one call to the next.
    """
    for module in transformer.modules():
        attention = any(hasattr(module, name) for name in _QUERIES)
        for name in _NEVER_DROPPED:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
        for name in ("dropout", "activation_dropout"):  # as numbers in BART's family
            usual = own.setdefault((module, name), getattr(module, name, None))
            if isinstance(usual, float):
                setattr(module, name, 0.0 if attention else usual if rate is None else rate)
        if attention and isinstance(getattr(module, "dropout", None), nn.Module):  # in BERT's, DistilBERT, DeBERTa
            module.dropout = nn.Dropout(0.0)
