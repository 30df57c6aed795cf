"""From examples to pieces: every word has its place, whatever the tokenizer makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import families
import numpy as np
import pytest
from tokenizers import Tokenizer, models

from polyhead.data.example import Example
from polyhead.nn.pieces import CASES, PieceTokenizer, case_of

GHOST = "\u200b"  # BERT's normaliser leaves nothing of a zero-width space


@pytest.fixture(scope="module")
def backend(tiny_encoder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_encoder / "tokenizer.json"))


@pytest.fixture(scope="module")
def tokenizer(backend: Tokenizer) -> PieceTokenizer:
    return PieceTokenizer(backend, unknown=backend.token_to_id("[UNK]"), padding=backend.token_to_id("[PAD]"))


@pytest.mark.parametrize(
    "words",
    [
        ("The", "cats", "sat", "."),
        ("catsing", "x.y-z", "(a)"),
        (GHOST,),
        (GHOST, GHOST),
        (GHOST, "cat", GHOST, GHOST, "sat", GHOST),
        ("cat", "", "sat"),
        ("日本", "日", "cat"),
        ("a" * 120, "b"),
    ],
)
def test_words_have_the_pieces_that_they_have_alone(tokenizer: PieceTokenizer, words: tuple[str, ...]) -> None:
    """The slow way: each word by itself, an unknown piece where nothing is left of it."""
    ids: list[int] = []
    starts = []
    for word in words:
        starts.append(len(ids))
        ids += tokenizer.tokenizer.encode(word, add_special_tokens=False).ids or [tokenizer.unknown]
    (pieces,) = tokenizer([Example(words=words)])
    assert pieces.ids.tolist() == ids
    assert pieces.starts.tolist() == starts
    assert pieces.words == words
    assert pieces.ids.dtype == pieces.starts.dtype == np.int64


def test_examples_of_all_shapes_keep_their_order(tokenizer: PieceTokenizer) -> None:
    raw, words = Example(text="the cat"), Example(words=("bad", "cat"))
    pair, empty = Example(text="a cat", pair="a bad cat"), Example(text="")
    found = tokenizer([raw, words, pair, empty, words])

    def ids(text: str) -> list[int]:
        return tokenizer.tokenizer.encode(text, add_special_tokens=False).ids

    assert [p.ids.tolist() for p in found] == [
        *(ids("the cat"), ids("bad cat"), ids("a cat")),
        *([tokenizer.unknown], ids("bad cat")),
    ]
    assert found[2].pair.tolist() == ids("a bad cat") and found[2].length == 5
    assert [len(p.starts) for p in found] == [0, 2, 0, 0, 2]
    assert not len(found[0].pair)


def test_words_come_before_text(tokenizer: PieceTokenizer) -> None:
    (pieces,) = tokenizer([Example(words=("bad", "cat"), text="something else")])
    assert len(pieces.ids) == 2


def test_nothing_gives_nothing(tokenizer: PieceTokenizer) -> None:
    assert tokenizer([]) == []


def test_special_pieces_are_the_tokenizers_own(tokenizer: PieceTokenizer) -> None:
    cls, sep = tokenizer.tokenizer.token_to_id("[CLS]"), tokenizer.tokenizer.token_to_id("[SEP]")
    assert (tokenizer.single.before, tokenizer.single.between, tokenizer.single.after) == ((cls,), (), (sep,))
    assert (tokenizer.double.before, tokenizer.double.between, tokenizer.double.after) == ((cls,), (sep,), (sep,))
    assert tokenizer.double.types == (0, 1) and tokenizer.double.size == 3


def test_truncation_and_padding_are_switched_off(tiny_encoder: Path) -> None:
    backend = Tokenizer.from_file(str(tiny_encoder / "tokenizer.json"))
    backend.enable_truncation(8)
    backend.enable_padding(length=8)
    tokenizer = PieceTokenizer(backend, unknown=1, padding=0)
    long, short = tokenizer([Example(text="cat " * 50), Example(text="cat")])
    assert (len(long.ids), len(short.ids)) == (50, 1)


@pytest.mark.parametrize("family", ["roberta", "modernbert", "xlm-roberta", "deberta-v2"])
def test_words_read_as_running_text(family: str, tmp_path: Path) -> None:
    """Families that mark a word by the space before it get that space between words given one by one too."""
    families.build(family, tmp_path)
    tokenizer = PieceTokenizer(Tokenizer.from_file(str(tmp_path / "tokenizer.json")), unknown=3, padding=1)
    words, running = tokenizer([Example(words=("a", "cat", "cc")), Example(text="a cat cc")])
    assert words.ids.tolist() == running.ids.tolist()
    places = [int(start) for start in words.starts]
    alone = [len(tokenizer([Example(words=w)])[0].ids) for w in (("a",), ("a", "cat"))]
    assert places == [0, *alone]


@pytest.fixture(scope="module")
def lowering() -> PieceTokenizer:
    return PieceTokenizer(families._wordpiece("BertTokenizer", lower=True).backend_tokenizer, unknown=1, padding=0)


@pytest.mark.parametrize(
    ("word", "case"),
    [
        *(("cat", 0), ("Cat", 1), ("CAT", 2), ("A", 3), ("cAt", 4), ("iPhone", 4), ("McKay", 4)),
        *((".", 0), ("", 0), ("42", 0), ("U.S.", 2), ("A1", 3), ("Éa", 1), ("日本", 0)),
    ],
)
def test_case_of_a_word(word: str, case: int) -> None:
    assert case_of(word) == case < CASES


def test_case_goes_with_every_piece_of_its_word(lowering: PieceTokenizer) -> None:
    assert lowering.lowers
    words = ("Cat", GHOST, "sat", "NEW", GHOST, "cAt", "A")
    (pieces,) = lowering([Example(words=words)])
    sizes = np.diff([*pieces.starts, len(pieces.ids)])
    assert pieces.case is not None
    assert pieces.case.tolist() == [case_of(word) for word, size in zip(words, sizes, strict=True) for _ in range(size)]
    (raw,) = lowering([Example(text="Cat sat NEW cAt A")])
    assert raw.case is not None
    assert raw.case.tolist() == [case_of(word) for word in ["Cat", "sat", "NEW", "cAt", "A"] for _ in word]


def test_case_of_pairs_is_that_of_both_texts(lowering: PieceTokenizer) -> None:
    given = [Example(text=a, pair=b) for a, b in (("Ab", "cd"), ("ab", "Cd"), ("ab", "cd"), ("Ab", "CD"))]
    found = [pieces.case for pieces in lowering(given)]
    assert [None if case is None else case.tolist() for case in found] == [
        *([1, 1, 0, 0], [0, 0, 1, 1], None, [1, 1, 2, 2]),
    ]


def test_no_case_where_no_capital_is_lost(tokenizer: PieceTokenizer, lowering: PieceTokenizer) -> None:
    assert not tokenizer.lowers
    (cased,) = tokenizer([Example(words=("The", "CAT"))])
    lower, digits = lowering([Example(words=("the", "cat")), Example(text="1. cat")])
    assert cased.case is lower.case is digits.case is None


def test_only_special_pieces_are_named_as_such(tokenizer: PieceTokenizer, tmp_path: Path) -> None:
    """A tokenizer without padding gets some id for it; its piece must stay the ordinary one that it is."""
    tokenizer.save(tmp_path, 64)
    saved = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    assert saved == {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64} | names
    plain = PieceTokenizer(Tokenizer(models.BPE({"!": 0, "a": 1, "b": 2}, [])), unknown=0, padding=0)
    plain.save(tmp_path, 64)
    saved = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert not any(name.endswith("_token") for name in saved)
