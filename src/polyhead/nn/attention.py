"""Attention on a CPU, where torch's fused attention is slow at what polyhead asks of it.

It is made for rows of thousands of pieces. Over a sentence its own bookkeeping takes longer than the arithmetic, and so
does torch's softmax where a row of scores is shorter than a vector of the processor: prediction over short rows is
matrix products and a softmax, as attention was first written. Its gradient in bf16 takes up to twenty times as long as
in fp32 (torch 2.13, rows of 16 to 32 pieces, a processor with AMX), and is no faster for long rows: training attends in
fp32.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn

NAME = "polyhead"
"""What transformers calls it."""

SHORT = {torch.float32: 15, torch.bfloat16: 31}
"""The most pieces of a row that is short, by what is computed in; from there on torch's fused attention is faster."""

FEW = 48
"""Below so many heads of all rows torch's fused attention is faster, which has no shapes to prepare for."""

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
    learns = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value))
    if query.device.type == "cpu" and learns and query.dtype == torch.bfloat16:
        rest = {name: _wide(given) for name, given in rest.items()}
        with torch.autocast("cpu", enabled=False):
            wide = query.float(), key.float(), value.float()
            exact, _ = _torchs(module, *wide, _wide(attention_mask), dropout, scaling, is_causal, **rest)
        return exact.to(query.dtype), None
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    causal = causal and attention_mask is None  # as transformers has it: else the mask says it
    extra = any(rest.get(name) is not None for name in ("position_bias", "cache", "softcap", "s_aux"))
    found: Tensor | None = None
    if not (causal or extra or dropout or learns):
        found = short_attention(query, key, value, attention_mask, scaling)
    if found is None:
        return _torchs(module, query, key, value, attention_mask, dropout, scaling, is_causal, **rest)
    return found, None


def _wide(given: Any) -> Any:
    """What is added to scores, in fp32 as they are; anything else as it is."""
    return given.float() if isinstance(given, Tensor) and given.is_floating_point() else given


def short_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None = None
) -> Tensor | None:
    """Attention over short rows on a CPU, without gradients; ``None`` where torch's is faster.

    Args:
        query, key, value: Shape (batch, heads, pieces, size).
        mask: True where a piece may be seen, or what is added to scores. Broadcasts to (batch, heads, pieces, pieces).
        scaling: What scores are multiplied with; by default one over the root of the size.

    Returns:
        Shape (batch, pieces, heads, size).
    """
    same = query.shape[:2] == key.shape[:2] and key.shape == value.shape and query.shape[3] == key.shape[3]
    short = max(query.shape[2], key.shape[2]) <= SHORT.get(query.dtype, 0)
    few = query.shape[0] * query.shape[1] < FEW
    if query.device.type != "cpu" or few or not same or not short:
        return None
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query, key.transpose(2, 3)).float().mul_(scale)  # (batch, heads, pieces, pieces)
    if mask is not None and mask.dtype == torch.bool:
        scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores += mask
    return torch.matmul(_softmax(scores).to(value.dtype), value).transpose(1, 2).contiguous()


def _torchs(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float,
    scaling: float | None,
    is_causal: bool | None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """torch's fused attention, as transformers calls it."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    found: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **rest
    )
    return found


def _softmax(scores: Tensor) -> Tensor:
    """The softmax over the last axis; ``scores`` may change."""
    if scores.shape[-1] >= VECTOR:
        return torch.softmax(scores, dim=-1)
    scores -= scores.amax(-1, keepdim=True)
    scores.exp_()
    return scores.div_(scores.sum(-1, keepdim=True))


def exchange_attention(model: nn.Module) -> int:
    """Let all transformers inside a model attend so; one whose attention cannot be exchanged stays as it is.

    Returns:
        How many were exchanged.
    """
    if "transformers.modeling_utils" not in sys.modules:  # then nothing of it can be inside the model
        return 0
    try:
        from transformers import PreTrainedModel
        from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    except ImportError:  # an older release
        return 0
    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
    exchanged = 0
    for module in model.modules():
        if not isinstance(module, PreTrainedModel) or not (
            module._supports_attention_backend or module._supports_flex_attn
        ):
            continue
        if module.config._attn_implementation == "sdpa":  # parts of one that was exchanged say so already
            module.set_attn_implementation(NAME)
            exchanged += 1
    return exchanged
