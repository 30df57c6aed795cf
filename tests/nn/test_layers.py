"""Every weight of every family has a level, and freezing by level stops what it says and nothing else."""

from __future__ import annotations

from pathlib import Path

import families
import pytest
import torch

from polyhead import PolyheadError
from polyhead.data.example import Example
from polyhead.nn.encoder import Encoder
from polyhead.nn.layers import EMBEDDINGS
from polyhead.nn.loading import load_encoder

TEXTS = [Example(words=("A", "cat", "sat")), Example(words=("Cats",))]


@pytest.fixture(params=[*families.FAMILIES, *families.ENCODER_DECODERS])
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> Encoder:
    encoder = load_encoder(str(families.build(request.param, tmp_path)))
    encoder.set_dropout(0.3)
    return encoder


def gradients(encoder: Encoder) -> set[str]:
    """The names of the weights that a backward pass from the last layer reaches."""
    batch = encoder.collate(encoder.tokenise(TEXTS))
    out = encoder(batch).hidden
    if out.requires_grad:
        (out * torch.randn_like(out)).sum().backward()  # a plain sum of normed values would not depend on them
    found = {name for name, p in encoder.transformer.named_parameters() if p.grad is not None}
    encoder.zero_grad(set_to_none=True)
    return found


def test_levels_follow_the_layers(encoder: Encoder) -> None:
    levels = encoder.levels()
    assert set(levels.values()) == set(range(encoder.depth))
    for name, level in levels.items():
        numbers = [int(part) for part in name.split(".") if part.isdigit()]
        if level == EMBEDDINGS:
            assert not numbers or "emb" in name or "relative" in name
        elif numbers:
            assert numbers[0] == level - 1
    assert any("word_emb" in n or "embed_tokens" in n or "tok_emb" in n for n, at in levels.items() if at == EMBEDDINGS)


@pytest.mark.parametrize("level", [-1, 0, 1, 2])
def test_only_what_is_above_the_frozen_level_learns(encoder: Encoder, level: int) -> None:
    encoder.freeze(level)
    encoder.train()
    levels = encoder.levels()
    used = gradients(encoder)
    assert all(levels[name] > level for name in used)
    assert {levels[name] for name in used} == set(range(level + 1, encoder.depth))
    encoder.freeze(-1)
    assert used <= gradients(encoder)
    assert {name for name in gradients(encoder) if levels[name] > level} == used


def test_nothing_is_dropped_in_what_is_frozen(encoder: Encoder) -> None:
    """Hidden states up to the frozen level are the same at each pass; those above are not."""
    encoder.freeze(1)
    encoder.train()
    batch = encoder.collate(encoder.tokenise(TEXTS))
    one, other = (encoder(batch, all_layers=True).layers for _ in range(2))
    assert [torch.equal(a, b) for a, b in zip(one, other, strict=True)] == [True, True, False]
    encoder.freeze(encoder.depth - 1)
    assert torch.equal(encoder(batch).hidden, encoder(batch).hidden)
    assert not encoder(batch).hidden.requires_grad, "no backward pass goes there"


def test_layers_that_share_their_weights_are_told(tmp_path: Path) -> None:
    from transformers import AlbertConfig, AlbertModel

    families.build("electra", tmp_path)  # for its tokenizer
    tokens = 117
    settings = {"vocab_size": tokens, "embedding_size": 16, "pad_token_id": 0, "max_position_embeddings": 40}
    shape = {k: v for k, v in families.SHAPE.items() if k != "max_position_embeddings"}
    AlbertModel(AlbertConfig(**settings, **shape)).save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path))
    encoder.freeze(encoder.depth - 1)
    assert not any(p.requires_grad for p in encoder.parameters())
    with pytest.raises(PolyheadError, match="share their weights"):
        encoder.freeze(1)
