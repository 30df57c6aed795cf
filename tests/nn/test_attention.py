"""Attention over short rows is torch's attention, for rows of all lengths, with masks and without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from polyhead.data.example import Example
from polyhead.nn.attention import NAME, SHORT, VECTOR, attend, attend_shortly
from polyhead.nn.loading import load_encoder


class Layer(nn.Module):
    is_causal = False


def asked(length: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """Query, key and value as layers give them: (batch, heads, pieces, size), laid out otherwise."""
    own = torch.Generator().manual_seed(length)
    return tuple(torch.randn(3, length, 4, 8, generator=own).to(dtype).transpose(1, 2) for _ in range(3))


def masks(length: int) -> dict[str, torch.Tensor | None]:
    seen = torch.arange(length) < torch.tensor([length, 1, max(1, length - 2)])[:, None]
    boolean = seen[:, None, None].expand(3, 1, length, length)
    return {"none": None, "boolean": boolean, "added": torch.zeros(boolean.shape).masked_fill(~boolean, -1e9)}


@pytest.mark.parametrize("kind", ["none", "boolean", "added"])
@pytest.mark.parametrize("length", [1, 2, VECTOR - 1, VECTOR, 37, SHORT, SHORT + 1])
def test_it_is_torchs_attention(length: int, kind: str) -> None:
    query, key, value = asked(length)
    mask = masks(length)[kind]
    with torch.inference_mode():
        found, scores = attend(Layer(), query * 20, key, value, mask)  # scores that would overflow without care
        right = nn.functional.scaled_dot_product_attention(query * 20, key, value, attn_mask=mask)
    assert scores is None and found.is_contiguous()
    torch.testing.assert_close(found, right.transpose(1, 2), rtol=1e-5, atol=1e-5)


def test_scores_are_scaled_and_half_precision_stays() -> None:
    query, key, value = asked(9, torch.bfloat16)
    with torch.inference_mode():
        found, _ = attend(Layer(), query, key, value, None, scaling=0.3)
        right = nn.functional.scaled_dot_product_attention(query.float(), key.float(), value.float(), scale=0.3)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), right.transpose(1, 2), rtol=0.02, atol=0.02)


def test_what_is_not_plain_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers.integrations.sdpa_attention as theirs

    calls: list[int] = []
    real = theirs.sdpa_attention_forward
    monkeypatch.setattr(theirs, "sdpa_attention_forward", lambda *a, **k: calls.append(1) or real(*a, **k))
    query, key, value = asked(5)
    causal = Layer()
    causal.is_causal = True
    with torch.inference_mode():
        for ask in (
            lambda: attend(causal, query, key, value, None),
            lambda: attend(Layer(), query, key, value, None, position_bias=torch.zeros(1, 4, 5, 5)),
            lambda: attend(Layer(), query, key[:, :, :3], value[:, :, :3], None),
            lambda: attend(Layer(), *asked(SHORT + 1), None),
        ):
            before = len(calls)
            ask()
            assert len(calls) == before + 1
    attend(Layer(), query.requires_grad_(), key, value, None)[0].sum().backward()
    assert query.grad is not None, "training is torch's"


def test_an_encoder_gives_the_same_with_it(tiny_encoder: Path) -> None:
    encoder = load_encoder(str(tiny_encoder)).eval()
    texts = [Example(text=text) for text in ("The cats sat in Rome .", "a", "Ann " * 30)]
    batch = encoder.collate(encoder.tokenise(texts))
    with torch.inference_mode():
        before = encoder(batch).hidden
        assert attend_shortly(encoder.transformer) and encoder.config._attn_implementation == NAME
        assert not attend_shortly(encoder.transformer), "once is enough"
        after = encoder(batch).hidden
    assert batch.mask is not None
    torch.testing.assert_close(after[batch.mask], before[batch.mask], rtol=1e-5, atol=1e-5)
