"""An encoder that lower-cases is told how words were capitalised."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from polyhead.data import Example
from polyhead.nn.batch import collate
from polyhead.nn.loading import load_encoder
from polyhead.nn.pieces import PieceTokenizer, case_of


@pytest.mark.parametrize(
    ("word", "case"),
    [("cats", 0), ("...", 0), ("42", 0), ("Cats", 1), ("NATO", 2), ("I", 3), ("iPhone", 4), ("McDonald", 4), ("Éa", 1)],
)
def test_case_of(word: str, case: int) -> None:
    assert case_of(word) == case


def tokenizer(*, lower: bool) -> PieceTokenizer:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ."
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters)]
    index = {piece: i for i, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordPiece(index, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PieceTokenizer(backend, unknown=1, padding=0)


def test_words_and_raw_text_tell_the_same_case() -> None:
    lowering = tokenizer(lower=True)
    words, raw = lowering([Example(words=("Ann", "saw", "NATO", ".")), Example(text="Ann saw NATO .")])
    assert words.case is not None
    assert raw.case is not None
    assert words.case.tolist() == [1, 1, 1, 0, 0, 0, 2, 2, 2, 2, 0]
    assert raw.case.tolist() == words.case.tolist()


def test_nothing_is_told_where_nothing_is_lost() -> None:
    assert tokenizer(lower=False)([Example(words=("Ann",)), Example(text="Ann")])[0].case is None
    assert tokenizer(lower=True)([Example(words=("ann",))])[0].case is None


def test_rows_carry_the_case_past_special_pieces_pairs_and_windows() -> None:
    lowering = tokenizer(lower=True)
    batch = collate(lowering([Example(text="A b", pair="c D"), Example(words=("ab", "CD"))]), lowering, 64)
    assert batch.case is not None
    assert batch.case.tolist() == [[0, 3, 0, 0, 0, 3, 0], [0, 0, 0, 2, 2, 0, 0]]
    long = collate(lowering([Example(words=("a",) * 20 + ("B",) * 20)]), lowering, 18)
    assert long.case is not None
    capitals = (long.ids == 4 + 1) & (long.case == 3)  # piece "b"
    assert bool((capitals == (long.ids == 4 + 1)).all())
    assert bool(((long.case == 3) == capitals).all())


def test_capitals_reach_the_encoding_once_the_vectors_are_not_zero(tiny_encoder: Path) -> None:
    encoder = load_encoder(str(tiny_encoder)).eval()
    assert encoder.case is None, "the tiny encoder keeps capitals apart itself"
    encoder.tokenizer.lowers = True
    encoder.case = torch.nn.Embedding(5, encoder.width)
    torch.nn.init.zeros_(encoder.case.weight)
    batch = encoder.collate(encoder.tokenise([Example(words=("Ann", "saw"))]))
    with torch.no_grad():
        before = encoder(batch).hidden
        assert torch.equal(before, encoder.transformer(input_ids=batch.ids).last_hidden_state)
        encoder.case.weight[1] = 1.0
        assert not torch.allclose(before, encoder(batch).hidden)
