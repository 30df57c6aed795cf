"""Encoders from scratch: the same texts give the same pieces, the same seed the same weights."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from polyhead.data.example import Example
from polyhead.encoder_spec import LEAST_PIECES
from polyhead.nn.encoder import Encoder
from polyhead.nn.loading import load_saved_encoder
from polyhead.nn.pieces import PieceTokenizer
from polyhead.nn.scratch import SPECIALS, Shape, build_encoder, train_tokenizer

SHAPE = Shape(layers=2, width=32, heads=2, feed_forward=64, vocabulary=300, window=16, lowercase=False)


def texts(seed: int = 0) -> list[str]:
    """Texts with many pairs of letters of the same count, which is where an order might creep in."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghäöüß", k=draw.randint(1, 9))) for _ in range(200)]
    return [" ".join(draw.choices(words, k=8)) + "." for _ in range(300)]


def digest(tokenizer: PieceTokenizer) -> str:
    return hashlib.sha256(tokenizer.tokenizer.to_str().encode()).hexdigest()


def learnt(vocabulary: int = 600, *, lowercase: bool = False) -> PieceTokenizer:
    return train_tokenizer(texts(), vocabulary=vocabulary, lowercase=lowercase)


def test_the_same_texts_give_the_same_pieces_whatever_the_threads() -> None:
    code = "import test_scratch as t; print(t.digest(t.learnt()))"
    found = set()
    for threads in ("1", "4"):
        # In processes of their own, since each seeds the library's hash tables anew.
        env = os.environ | {"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        env["PYTHONPATH"] = os.pathsep.join(sys.path)
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        found.add(done.stdout.strip())
    assert found == {digest(learnt())}


def test_pieces_are_learnt_from_the_texts() -> None:
    assert learnt().tokenizer.get_vocab_size() == 600
    few = train_tokenizer(["a big cow"], vocabulary=600, lowercase=False)
    assert few.tokenizer.get_vocab_size() == LEAST_PIECES == len(SPECIALS) + 256, "no pair comes twice"
    often = train_tokenizer(["teapot"] * 5, vocabulary=600, lowercase=False)
    assert len(often([Example(text="teapot")])[0].ids) == 1
    assert digest(train_tokenizer(texts(1), vocabulary=600, lowercase=False)) != digest(learnt())


@pytest.mark.parametrize("text", ["abc hgf.", "Ünknown wörds", "日本語 😀", "e\u0301te\u0301", "a  b\tc", "don't; (x)"])
def test_nothing_is_unknown_and_words_have_the_pieces_of_raw_text(text: str) -> None:
    import unicodedata

    tokenizer = learnt()
    raw, split = tokenizer([Example(text=text), Example(words=tuple(text.split()))])
    assert tokenizer.unknown not in raw.ids
    assert raw.ids.tolist() == split.ids.tolist() and len(split.starts) == len(text.split())
    decoded = tokenizer.tokenizer.decode(raw.ids.tolist())
    assert decoded.replace(" ", "") == unicodedata.normalize("NFC", "".join(text.split()))


def test_lower_case_keeps_capitals_apart() -> None:
    assert not learnt().lowers
    tokenizer = learnt(lowercase=True)
    assert tokenizer.lowers
    small, large = tokenizer([Example(text="abc def"), Example(text="Abc DEF")])
    assert small.ids.tolist() == large.ids.tolist()
    assert small.case is None and large.case is not None and set(large.case.tolist()) == {1, 2}
    assert build_encoder(texts(), SHAPE, 0).case is None


def state(encoder: Encoder) -> dict[str, torch.Tensor]:
    return encoder.state_dict()


def test_weights_depend_on_the_seed_alone() -> None:
    one = build_encoder(texts(), SHAPE, 1)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again, other = build_encoder(texts(), SHAPE, 1), build_encoder(texts(), SHAPE, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(state(again)[name], tensor) for name, tensor in state(one).items())
    assert not torch.equal(state(other)["transformer.embeddings.word_embeddings.weight"], next(iter(one.parameters())))


def test_the_encoder_has_the_shape_that_was_asked_for() -> None:
    encoder = build_encoder(texts(), SHAPE, 1)
    assert (encoder.width, encoder.depth, encoder.window) == (32, 3, 16)
    assert encoder.layer_weights == 2 * (4 * (32 * 32 + 32) + 2 * (32 * 64) + 64 + 32 + 4 * 32)
    batch = encoder.collate(encoder.tokenise([Example(text=" ".join(texts()[:3])), Example(text="a", pair="b")]))
    assert batch.ids.shape[1] == 16 and len(encoder(batch, all_layers=True).layers) == 3


def test_transformers_opens_what_was_saved(tmp_path: Path) -> None:
    encoder = build_encoder(texts(), SHAPE, 1).eval()
    encoder.save(tmp_path)
    model, tokenizer = AutoModel.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.model_max_length == 16 and tokenizer.pad_token == "[PAD]"
    given = tokenizer("abc hgf!", return_tensors="pt")
    example = Example(text="abc hgf!")
    again = load_saved_encoder(tmp_path, encoder.describe()).eval()
    with torch.no_grad():
        found = encoder(encoder.collate(encoder.tokenise([example]))).hidden
        torch.testing.assert_close(model(**given).last_hidden_state, found)
        assert torch.equal(again(again.collate(again.tokenise([example]))).hidden, found)
