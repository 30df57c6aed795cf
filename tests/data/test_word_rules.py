"""Words by our own code are those of spaCy's tokenizer with the same rules, which are kept once they were asked for."""

from __future__ import annotations

import builtins
import random
from pathlib import Path
from typing import Any

import pytest

from polyhead.data.segment import word_cutter, word_rules
from polyhead.data.spacy_rules import rules_of_spacy, spacy_tokenizer
from polyhead.errors import PolyheadError

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


def test_words_are_those_of_spacy() -> None:
    rules = rules_of_spacy()
    theirs, ours = spacy_tokenizer(), word_cutter(rules)
    listed, draw = sorted(rules["listed"]), random.Random(0)
    sample = (ROOT / "src/polyhead/sample/reviews-train.conllu").read_text(encoding="utf-8")
    texts = [line.removeprefix("# text = ") for line in sample.splitlines() if line.startswith("# text = ")]
    assert len(texts) > 200
    texts += listed
    for _ in range(4000):
        pick = (lambda: draw.choice(listed), lambda: draw.choice(SIGNS), lambda: draw.choice(PARTS))
        texts.append("".join(draw.choice(pick)() for _ in range(draw.randint(1, 9))))
    for text in texts:
        assert ours(text) == [(w.idx, w.idx + len(w)) for w in theirs(text) if not w.is_space], repr(text)


def test_rules_are_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYHEAD_CACHE", str(tmp_path / "cache"))
    first = word_rules()
    (kept,) = (tmp_path / "cache").iterdir()
    real = builtins.__import__

    def without_spacy(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "spacy":
            raise ImportError("no spacy here")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_spacy)
    assert word_rules() == first
    kept.write_text("{", encoding="utf-8")  # damaged, so that spaCy is asked again
    with pytest.raises(PolyheadError, match="needs spaCy"):
        word_rules()


def test_rules_that_cannot_be_kept_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file, no folder", encoding="utf-8")
    monkeypatch.setenv("POLYHEAD_CACHE", str(tmp_path / "cache"))
    assert word_cutter(word_rules())("don't") == [(0, 2), (2, 5)]


def test_words_without_end_are_not_remembered_without_end() -> None:
    """A server meets new names and links for years."""
    cut = word_cutter(word_rules())
    most = cut.remembered.cache_info().maxsize
    assert most is not None
    expected = cut("Ann's e-mail, sent w/o thought.")
    for i in range(most + 100):
        cut(f"w{i}")
    assert cut.remembered.cache_info().currsize == most
    assert cut("Ann's e-mail, sent w/o thought.") == expected, "what is forgotten changes nothing"
