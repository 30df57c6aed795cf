"""Languages that an encoder's tokenizer tells of by codes: as transformers' own tokenizers do with ``src_lang``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from families import LETTERS, MULTILINGUAL, build_multilingual
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from polyhead.data.example import Example
from polyhead.errors import PolyheadError
from polyhead.nn.batch import collate
from polyhead.nn.features import digest
from polyhead.nn.loading import load_encoder, load_saved_encoder
from polyhead.nn.pieces import PieceTokenizer


def of_m2m100() -> Tokenizer:
    """A fast tokenizer with M2M100's codes; transformers' own needs a library that is not installed."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *LETTERS, "__en__", "__fr__", "__madeupword0__"]
    made = Tokenizer(models.BPE(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "__en__", "__fr__"])
    around = [(piece, made.token_to_id(piece)) for piece in ("__en__", "</s>")]
    made.post_processor = processors.TemplateProcessing(
        single="__en__ $A </s>", pair="__en__ $A $B </s>", special_tokens=around
    )
    return made


def ours(made: Any) -> PieceTokenizer:
    backend = made.backend_tokenizer
    return PieceTokenizer(Tokenizer.from_str(backend.to_str()), unknown=made.unk_token_id, padding=made.pad_token_id)


@pytest.fixture(params=list(MULTILINGUAL))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_texts_are_laid_out_as_transformers_does_with_their_source_language(kind: str) -> None:
    """Single texts, several of unlike lengths and languages in a batch, and pairs."""
    own, codes = MULTILINGUAL[kind][0](), MULTILINGUAL[kind][1]
    made = ours(own)
    texts = ["cat", "a cat sat", "c"]
    pieces, expected = [], []
    for code, text in zip(codes * 2, texts * 2, strict=False):
        own.src_lang = code
        pair = "so cats sit" if len(expected) > len(codes) else None
        pieces += made([Example(text=text, pair=pair)], code)
        expected.append(own(text, pair)["input_ids"])
    for given in (range(len(codes)), range(len(expected))):  # without pairs, and with some
        batch = collate([pieces[i] for i in given], made, 40)
        lengths = [len(expected[i]) for i in given] if batch.mask is None else batch.mask.sum(1).tolist()
        assert [row[:n].tolist() for row, n in zip(batch.ids, lengths, strict=True)] == [expected[i] for i in given]


def test_each_window_of_a_long_text_tells_its_language(kind: str) -> None:
    own, codes = MULTILINGUAL[kind][0](), MULTILINGUAL[kind][1]
    made = ours(own)
    batch = collate(made([Example(text="a cat sat " * 8)], codes[0]), made, 20)
    assert len(batch) == 1 and len(batch.ids) > 2
    wanted, other = (own.convert_tokens_to_ids(code) for code in (codes[0], codes[-1]))
    assert (batch.ids == wanted).sum(1).tolist() == [1] * len(batch.ids) and not (batch.ids == other).any()


def test_a_tokenizer_can_take_all_texts_for_another_language(kind: str) -> None:
    own, codes = MULTILINGUAL[kind][0](), MULTILINGUAL[kind][1]
    made = ours(own).reading(codes[0])
    own.src_lang = codes[0]
    for pair in (None, "so"):
        assert list(made.tokenizer.encode("a cat", pair).ids) == own("a cat", pair)["input_ids"]
    usual, other = (made([Example(text="a cat")], code)[0].code for code in (codes[0], codes[-1]))
    assert usual is None and other == own.convert_tokens_to_ids(codes[-1])
    assert made.reading(codes[0]) is made
    assert made.codes == ours(own).codes and set(codes) < set(made.codes)


def test_the_codes_of_m2m100_stand_without_their_underscores() -> None:
    made = PieceTokenizer(of_m2m100(), unknown=3, padding=1)
    french = made.tokenizer.token_to_id("__fr__")
    assert sorted(made.codes) == ["en", "fr"] and made.code_of("fr") == made.code_of("__fr__") == french
    assert made.code_of("en") is None
    assert made.reading("fr").single.before == (french,)


def test_a_code_that_is_none_is_told_with_some_that_are(kind: str, tiny_encoder: Path) -> None:
    made = ours(MULTILINGUAL[kind][0]())
    with pytest.raises(PolyheadError, match="'fr' is no language of the encoder's tokenizer") as caught:
        made.code_of("fr")
    assert f"It has {len(made.codes)}, such as fr" in caught.value.remedy and caught.value.remedy.count(",") == 6
    plain = load_encoder(str(tiny_encoder)).tokenizer
    assert plain.codes == {} and plain.code_of(None) is None
    with pytest.raises(PolyheadError, match="puts no such code at texts"):
        plain.code_of("fr_XX")


def test_a_saved_encoder_reads_the_same_language(kind: str, tmp_path: Path) -> None:
    code = MULTILINGUAL[kind][1][0]
    encoder = load_encoder(str(build_multilingual(kind, tmp_path / "whole")))
    encoder.tokenizer = encoder.tokenizer.reading(code)
    encoder.save(tmp_path / "saved")
    given = [Example(text="a cat"), Example(text="c")]
    expected = encoder.collate(encoder.tokenise(given)).ids
    assert (expected == encoder.tokenizer.codes[code]).sum() == 2
    again = load_saved_encoder(tmp_path / "saved", json.loads(json.dumps(encoder.describe())))
    assert torch.equal(again.collate(again.tokenise(given)).ids, expected)
    own = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert own(["a cat", "c"], padding=True, return_tensors="pt").input_ids.tolist() == expected.tolist()


def test_kept_features_know_texts_by_their_language_too(kind: str) -> None:
    made, codes = ours(MULTILINGUAL[kind][0]()), MULTILINGUAL[kind][1]
    text = [Example(text="a cat")]
    plain, usual, other = made(text)[0], made(text, codes[-1])[0], made(text, codes[0])[0]
    assert digest(plain) == digest(usual) != digest(other)
    assert np.array_equal(plain.ids, other.ids)


def test_a_text_is_taken_for_the_language_that_another_tokenizer_took_it_for(kind: str, tiny_encoder: Path) -> None:
    codes = MULTILINGUAL[kind][1]
    first, second = ours(MULTILINGUAL[kind][0]()), ours(MULTILINGUAL[kind][0]()).reading(codes[0])
    for code in codes:
        (told,) = first([Example(text="a cat")], code)
        assert first.language_of(told) == code
        (same,) = second([Example(text="a cat")], code)
        (plain,) = second([Example(text="a cat")])
        assert second.taken_for(plain, first.language_of(told)).code == same.code
    one = load_encoder(str(tiny_encoder)).tokenizer
    (plain,) = one([Example(text="a cat")])
    assert one.language_of(plain) is None and one.taken_for(plain, codes[0]) is plain
    assert first.taken_for(told, None) is told and first.taken_for(told, "tlh_XX") is told
