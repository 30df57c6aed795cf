"""Words by our own code are those of spaCy's tokenizer with the same rules, and the rules are those of spaCy."""

from __future__ import annotations

import random
import runpy
from pathlib import Path
from typing import Any

import pytest

from polyhead.data.segment import WHOLE
from polyhead.data.word_rules import WordRules, read_rules

ROOT = Path(__file__).parents[2]
PARTS = [
    "don",
    "can",
    "n't",
    "'ll",
    " ",
    "  ",
    "\t",
    "\n",
    "well-known",
    "http://a.b/c",
    "x@y.com",
    "10km",
    "U.S.",
    "A.Com",
]
SIGNS = "()!?.,:;-'\"/\\’“$%&*+<>=[]{}aB1é😀…"


@pytest.fixture(scope="module")
def maker() -> dict[str, Any]:
    pytest.importorskip("spacy")
    return runpy.run_path(str(ROOT / "docs" / "make_word_rules.py"))


def test_the_rules_are_up_to_date(maker: dict[str, Any]) -> None:
    assert read_rules() == maker["rules"](), "write them anew: python docs/make_word_rules.py"


def test_words_are_those_of_spacy(maker: dict[str, Any]) -> None:
    theirs, ours = maker["spacy_tokenizer"](), WordRules(read_rules(), WHOLE.fullmatch)
    listed, draw = sorted(read_rules()["listed"]), random.Random(0)
    sample = (ROOT / "src/polyhead/sample/reviews-train.conllu").read_text(encoding="utf-8")
    texts = [line.removeprefix("# text = ") for line in sample.splitlines() if line.startswith("# text = ")]
    assert len(texts) > 200
    texts += listed
    for _ in range(4000):
        pick = (lambda: draw.choice(listed), lambda: draw.choice(SIGNS), lambda: draw.choice(PARTS))
        texts.append("".join(draw.choice(pick)() for _ in range(draw.randint(1, 9))))
    for text in texts:
        assert ours(text) == [(w.idx, w.idx + len(w)) for w in theirs(text) if not w.is_space], repr(text)
