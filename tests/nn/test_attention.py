"""Attention on a CPU is torch's attention: for rows of all lengths, with masks and without, in training too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from polyhead.data.example import Example
from polyhead.nn.attention import NAME, VECTOR, attend, exchange_attention
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
@pytest.mark.parametrize("length", [1, 2, VECTOR - 1, VECTOR, VECTOR + 1, 37])
def test_it_is_torchs_attention(length: int, kind: str) -> None:
    query, key, value = asked(length)
    mask = masks(length)[kind]
    with torch.inference_mode():
        found, scores = attend(Layer(), query * 20, key, value, mask)  # scores that would overflow without care
        right = nn.functional.scaled_dot_product_attention(query * 20, key, value, attn_mask=mask)
    assert scores is None and found.is_contiguous()
    torch.testing.assert_close(found, right.transpose(1, 2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [9, 31, 32])
def test_scores_are_scaled_and_half_precision_stays(length: int) -> None:
    query, key, value = asked(length, torch.bfloat16)
    with torch.inference_mode():
        found, _ = attend(Layer(), query, key, value, None, scaling=0.3)
        right = nn.functional.scaled_dot_product_attention(query.float(), key.float(), value.float(), scale=0.3)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), right.transpose(1, 2), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("kind", ["none", "boolean", "added"])
def test_positions_of_half_precision_are_added_in_training(kind: str) -> None:
    """Those of T5's decoders come beside the mask, in what the layer computes in."""
    given = [one.requires_grad_() for one in asked(6, torch.bfloat16)]
    mask = masks(6)[kind]
    mask = mask.bfloat16() if mask is not None and mask.is_floating_point() else mask
    bias = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(2)).bfloat16()
    found, _ = attend(Layer(), *given, mask, scaling=1.0, position_bias=bias)
    found.float().sum().backward()
    whole = bias.float() if mask is None else bias.float().masked_fill(masks(6)["added"] < 0, -1e9)
    right = nn.functional.scaled_dot_product_attention(*(one.float() for one in given), attn_mask=whole, scale=1.0)
    torch.testing.assert_close(found.float(), right.transpose(1, 2), rtol=0.02, atol=0.02)
    assert all(one.grad is not None and one.grad.isfinite().all() for one in given)


@pytest.mark.parametrize("length", [1, 5, 15, 16])
def test_queries_and_keys_may_differ_in_number(length: int) -> None:
    query, _, _ = asked(7)
    _, key, value = asked(length)
    with torch.inference_mode():
        found, _ = attend(Layer(), query, key, value, None)
        right = nn.functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(found, right.transpose(1, 2), rtol=1e-5, atol=1e-5)


@pytest.fixture
def torchs(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """The numbers in which torch's attention was asked, a line for each call."""
    import transformers.integrations.sdpa_attention as theirs

    calls: list[torch.dtype] = []
    real = theirs.sdpa_attention_forward
    monkeypatch.setattr(
        theirs, "sdpa_attention_forward", lambda layer, q, *a, **k: calls.append(q.dtype) or real(layer, q, *a, **k)
    )
    return calls


def test_what_is_not_plain_is_left_to_torch(torchs: list[torch.dtype]) -> None:
    query, key, value = asked(5)
    causal = Layer()
    causal.is_causal = True
    with torch.inference_mode():
        for ask in (
            lambda: attend(causal, query, key, value, None),
            lambda: attend(Layer(), query, key, value, None, position_bias=torch.zeros(1, 4, 5, 5)),
            lambda: attend(Layer(), *asked(16), None),
        ):
            before = len(torchs)
            ask()
            assert len(torchs) == before + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["none", "boolean", "added"])
def test_training_is_torchs_in_fp32(kind: str, dtype: torch.dtype, torchs: list[torch.dtype]) -> None:
    """Its gradient in bf16 is slow; what goes in and comes out has the numbers that it had."""
    mask = masks(9)[kind]
    given, wide = [[x.to(t).requires_grad_() for x in asked(9, dtype)] for t in (dtype, torch.float32)]
    found, _ = attend(Layer(), *given, mask if mask is None or mask.dtype == torch.bool else mask.to(dtype))
    found.sum().backward()
    assert torchs == [torch.float32] and found.dtype == dtype
    nn.functional.scaled_dot_product_attention(*wide, attn_mask=mask).sum().backward()
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.02}
    for mine, theirs in zip(given, wide, strict=True):
        assert mine.grad is not None and mine.grad.dtype == dtype
        torch.testing.assert_close(mine.grad.float(), theirs.grad, **close)


def encoder_decoder(kind: str) -> PreTrainedModel:
    """A small one with random weights."""
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    torch.manual_seed(0)
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    if kind == "t5":
        size = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
    else:
        size = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0, "attention_dropout": 0.0}
        size |= {
            f"{part}_{what}": n
            for part in ("encoder", "decoder")
            for what, n in (("attention_heads", 4), ("ffn_dim", 64))
        }
    config = AutoConfig.for_model(kind, vocab_size=50, **size, **ids)
    model: PreTrainedModel = AutoModelForSeq2SeqLM.from_config(config).eval()
    return model


@pytest.mark.parametrize("kind", ["mbart", "bart", "marian", "t5"])
def test_encoder_decoders_give_the_same_with_it(kind: str) -> None:
    model = encoder_decoder(kind)
    own = torch.Generator().manual_seed(1)
    texts, written = (torch.randint(3, 50, (3, length), generator=own) for length in (9, 7))
    seen = torch.arange(9) < torch.tensor([9, 4, 6])[:, None]

    def all_of_it() -> list[torch.Tensor]:
        model.zero_grad()
        found = model(input_ids=texts, attention_mask=seen.long(), labels=written)
        found.loss.backward()
        slopes = [weight.grad for weight in model.parameters() if weight.grad is not None]
        with torch.inference_mode():
            again = model(input_ids=texts, attention_mask=seen.long(), labels=written).logits
        return [found.logits.detach(), again, *slopes]

    before = all_of_it()
    assert exchange_attention(model) == 1 and model.get_decoder().config._attn_implementation == NAME
    for mine, theirs in zip(all_of_it(), before, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_an_encoder_gives_the_same_with_it(tiny_encoder: Path) -> None:
    encoder = load_encoder(str(tiny_encoder)).eval()
    texts = [Example(text=text) for text in ("The cats sat in Rome .", "a", "Ann " * 30)]
    batch = encoder.collate(encoder.tokenise(texts))
    with torch.inference_mode():
        before = encoder(batch).hidden
        assert exchange_attention(encoder) == 1 and encoder.config._attn_implementation == NAME
        assert exchange_attention(encoder) == 0, "once is enough"
        after = encoder(batch).hidden
    assert batch.mask is not None
    torch.testing.assert_close(after[batch.mask], before[batch.mask], rtol=1e-5, atol=1e-5)
