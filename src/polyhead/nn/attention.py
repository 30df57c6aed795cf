"""Attention over short rows on a CPU, for prediction: matrix products and a softmax, as attention was first written.

torch's fused attention is made for rows of thousands of pieces. Over a sentence its own bookkeeping takes longer than
the arithmetic, and so does torch's softmax where a row of scores is shorter than a vector of the processor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NAME = "polyhead"
"""What transformers calls it."""

SHORT = 64
"""The most pieces of a row that is short."""

VECTOR = 16
"""The numbers that a processor computes with at once, with AVX-512; softmax over fewer is computed one by one."""


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it (its ``AttentionInterface``); what is not short, or not plain, is torch's.

    Args:
        module: The layer that asks.
        query, key, value: Shape (batch, heads, pieces, size).
        attention_mask: True where a piece may be seen, or what is added to scores. Shape (batch, 1, pieces, pieces).
        dropout: The share of scores dropped; only without is it computed here.
        scaling: What scores are multiplied with; by default one over the root of the size.
        is_causal: Whether a piece sees only those before it.
        rest: What some families ask for beside; with any of it torch's is taken.

    Returns:
        Shape (batch, pieces, heads, size), and no scores.
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    causal = causal and attention_mask is None  # as transformers has it: else the mask says it
    extra = any(rest.get(name) is not None for name in ("position_bias", "cache", "softcap", "s_aux"))
    same = query.shape == key.shape == value.shape
    short = query.device.type == "cpu" and same and query.shape[2] <= SHORT
    if not short or causal or extra or dropout or torch.is_grad_enabled():
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        given = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal, **rest}
        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **given)
        return found
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query, key.transpose(2, 3)).float().mul_(scale)  # (batch, heads, pieces, pieces)
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores.masked_fill_(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores += attention_mask
    return torch.matmul(_softmax(scores).to(value.dtype), value).transpose(1, 2).contiguous(), None


def _softmax(scores: Tensor) -> Tensor:
    """The softmax over the last axis; ``scores`` may change."""
    if scores.shape[-1] >= VECTOR:
        return torch.softmax(scores, dim=-1)
    scores -= scores.amax(-1, keepdim=True)
    scores.exp_()
    return scores.div_(scores.sum(-1, keepdim=True))


def attend_shortly(transformer: nn.Module) -> bool:
    """Let a transformer attend so; one whose attention cannot be exchanged stays as it is. Whether it was exchanged."""
    config: Any = transformer.config
    supports = getattr(transformer, "_supports_attention_backend", False)
    if getattr(config, "_attn_implementation", None) != "sdpa" or not supports:
        return False
    try:
        from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    except ImportError:  # an older release
        return False
    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
    transformer.set_attn_implementation(NAME)  # type: ignore[operator]
    return True
