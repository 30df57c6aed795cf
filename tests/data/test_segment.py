import io
import itertools
import os
import random
import sys
from pathlib import Path

import pytest

from polyhead.data.segment import split


def cut(text: str) -> list[str]:
    """The sentences of a text, each as its words with a space between."""
    return [" ".join(text[start:end] for start, end in words) for words in split(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't know.", "I do n't know ."),
        ("I DON'T and CAN’T", "I DO N'T and CA N’T"),
        ("She's here, they'll wait", "She 's here , they 'll wait"),
        ("gonna wanna cannot", "gon na wan na can not"),
        ("a well-known, non-smoking e-mail", "a well - known , non-smoking e-mail"),
        ("F-16 and AK-47", "F - 16 and AK - 47"),
        ("and/or his/her, b/c of AT&T", "and / or his / her , b/c of AT&T"),
        ("Call 713-853-3989 today", "Call 713-853-3989 today"),
        ("at 5pm for 10k", "at 5 pm for 10 k"),
        ("in the 1980's Bob's car", "in the 1980's Bob 's car"),
        ("No way!!! What?!", "No way !!! What ?!"),
        ("see notes_v2-1.doc (draft)", "see notes_v2-1.doc ( draft )"),
        ("http://a.org/b?c=d me@x.org", "http://a.org/b?c=d me@x.org"),
        ("$5.20 (about 3%)", "$ 5.20 ( about 3 % )"),
        ("word- --and *** ====", "word - -- and *** ===="),
    ],
)
def test_words(text: str, words: str) -> None:
    assert " ".join(cut(text)) == words


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One .", "Two !", "Three ?", "Four"]),
        ("Dr. Smith met Mr. Jones at 5 p.m. in St. Louis.", ["Dr. Smith met Mr. Jones at 5 p.m. in St. Louis ."]),
        ("It works. but why?", ["It works .", "but why ?"]),
        ("He left... and came back. Good... Fine.", ["He left ... and came back .", "Good ...", "Fine ."]),
        ('"Really?" she asked. "Yes." He left.', ['" Really ? " she asked .', '" Yes . "', "He left ."]),
        ("(It rained.) We stayed.", ["( It rained . )", "We stayed ."]),
        ("Thanks! :) See you.", ["Thanks ! :)", "See you ."]),
        ("See No. 5 and Fig. 3.", ["See No . 5 and Fig . 3 ."]),
        ("1. Rinse. 2. Dry.", ["1 . Rinse .", "2 . Dry ."]),
        ("A title\n\nThen text\nthat goes on", ["A title", "Then text that goes on"]),
        ("A title\r\n \r\nThen text", ["A title", "Then text"]),
        ("above\n----------\nbelow", ["above", "----------", "below"]),
        ("Apples, pears, etc. We sell them.", ["Apples , pears , etc.", "We sell them ."]),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert cut(text) == sentences


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\t \r\n\n \n"])
def test_white_space_holds_no_sentence(text: str) -> None:
    assert split(text) == []


def test_words_hold_every_character_once_and_in_order() -> None:
    draw = random.Random(1)
    pieces = ["Mr.", "don't", "e-mail", "...", "!?", '"', "(", ")", "'s", " ", "  ", "\n", "\n\n", "\r\n", "\t", "5pm"]
    pieces += ["\u00a0", "\u200b", "\u2028", "\x1c", "😀", "é", "中文", "e\u0301", "-", "--", "http://x.y", ":)", "1."]
    for _ in range(300):
        text = "".join(draw.choices(pieces, k=12))
        words = [word for sentence in split(text) for word in sentence]
        assert all(sentence for sentence in split(text))
        assert "".join(text[a:b] for a, b in words) == "".join(text.split())
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(words))


@pytest.mark.parametrize("sign", ["(", "!", "'s", "😀", ".!"])
def test_time_stays_linear_where_no_space_comes(sign: str) -> None:
    text = sign * 6000  # many seconds each if the tokenizer got them whole
    assert "".join(text[a:b] for words in split(text) for a, b in words) == text


@pytest.mark.corpora
def test_agrees_with_the_english_web_treebank() -> None:
    """The bounds lie a little below what the benchmark measures: 98.95 and 87.01 on dev."""
    if "POLYHEAD_DATA" not in os.environ:
        pytest.skip("POLYHEAD_DATA is not set")
    from udtools.udeval import evaluate, load_conllu, load_conllu_file

    benchmarks = Path(__file__).parents[2] / "benchmarks"
    sys.path.insert(0, str(benchmarks))
    try:
        from segmentation import as_conllu, raw_text
    finally:
        sys.path.remove(str(benchmarks))
    treebank = Path(os.environ["POLYHEAD_DATA"]) / "ewt" / "en_ewt-ud-dev.conllu"
    text = raw_text(treebank)
    predicted = load_conllu(io.StringIO(as_conllu(text, split(text))), "predicted", {})
    scores = evaluate(load_conllu_file(str(treebank)), predicted)
    assert scores["Words"].f1 > 0.985
    assert scores["Sentences"].f1 > 0.86
