"""What is special about tagging and lemmatisation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from polyhead.answering.words import lemma_of
from polyhead.data.example import Example, WordLabels
from polyhead.errors import PolyheadError
from polyhead.model import Model
from polyhead.nn.loading import load_encoder
from polyhead.nn.words import IGNORE, word_loss
from polyhead.predict import answer
from polyhead.tasks.labels import unseen_note
from polyhead.tasks.lemmatization import Lemmatization
from polyhead.tasks.tagging import Tagging


def sentence(words: str, labels: str, layer: str = "upos") -> Example:
    """``-`` stands for a word without a label; words' lines start at 10."""
    forms = tuple(words.split())
    gold = WordLabels(None if label == "-" else label for label in labels.split())
    return Example(words=forms, layers={layer: gold}, file="x.conllu", lines=tuple(range(10, 10 + len(forms))))


def test_targets_leave_words_without_gold_out() -> None:
    task = Tagging(name="it", data="d", layer="upos")
    task.prepare([sentence("the cat", "DET NOUN")])
    target = task.target(sentence("a cat ! so", "DET - NOUN PUNCT"))
    assert target is not None and target.tolist() == [0, IGNORE, 1, IGNORE]


def test_the_loss_counts_words_with_gold_alone() -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, -1.0]])
    total, units = word_loss(logits, [np.asarray([0, IGNORE]), np.asarray([1])])
    expected = -float(logits[0].log_softmax(0)[0] + logits[2].log_softmax(0)[1])
    assert units == 2 and float(total) == pytest.approx(expected)
    total, units = word_loss(logits.requires_grad_(), [np.full(3, IGNORE)])
    assert units == 0 and float(total.detach()) == 0
    total.backward()
    assert logits.grad is not None and not logits.grad.any()


@pytest.mark.parametrize(
    ("layer", "unseen", "refused"),
    [
        ("upos", None, True),
        ("upos", "count", False),
        ("feats", None, False),
        ("xpos", None, False),
        ("feats", "error", True),
    ],
)
def test_labels_that_training_never_showed(layer: str, unseen: str | None, refused: bool) -> None:
    task = Tagging(name="it", data="d", layer=layer, unseen=unseen)  # type: ignore[arg-type]
    task.prepare([sentence("the cat", "DET NOUN", layer)])
    odd = [Example(words=("a",)), sentence("a cat !", "DET - PUNC", layer)]
    if not refused:
        task.check(odd, "test")
        return
    with pytest.raises(PolyheadError, match=r"x\.conllu:12: .*'PUNC'.*test split.*\n.*DET, NOUN.*unseen = \"count\""):
        task.check(odd, "test")


def test_a_long_text_gets_an_answer_for_every_word(tiny_encoder: Path) -> None:
    task = Tagging(name="it", data="d", layer="upos", labels=["A", "B", "C"])
    torch.manual_seed(0)
    model = Model(load_encoder(str(tiny_encoder)), {"it": task}).eval()
    examples = [Example(words=tuple(f"w{i}" for i in range(n))) for n in (150, 3, 400)]
    for example, given in zip(examples, answer(model, model.encoder.tokenise(examples), ["it"]), strict=True):
        assert len(given["it"].value) == len(given["it"].confidence) == len(example.words)  # type: ignore[arg-type]
    assert answer(model, model.encoder.tokenise([Example(text="raw")]), ["it"]) == [{}]


def test_the_answer_is_the_most_probable_label() -> None:
    from polyhead.nn.encoder import Encoding
    from polyhead.tasks.tagging import TaggingHead

    class Given(Encoding):
        empty = ()

        def __init__(self) -> None:
            self.flat_words = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 3.0]])
            self.counts, self.texts = [1, 0, 2], [("a",), (), ("b", "c")]

    head = TaggingHead(2, ["X", "Y"], dropout=0.0).eval()
    with torch.no_grad():
        head.classify.linear.weight.copy_(torch.eye(2))
        head.classify.linear.bias.zero_()
    found = head.predict(Given())
    assert [p.value for p in found] == [("Y",), (), ("X", "Y")]
    sure = [1 / (1 + math.exp(-x)) for x in (1, 2, 3)]
    assert found[0].confidence == pytest.approx((sure[0],)) and found[2].confidence == pytest.approx(tuple(sure[1:]))


def test_scripts_carry_lemmas_over_to_new_words() -> None:
    task = Lemmatization(name="it", data="d")
    assert task.layer == "lemma"
    task.prepare([sentence("Dogs ran home", "dog run -", "lemma")])
    assert len(task.scripts) == 2
    target = task.target(sentence("Cats sing Dogs", "cat sung dog", "lemma"))
    assert target is not None and target[0] == target[2] != IGNORE and target[1] == IGNORE


def test_memory_of_words_does_not_grow_without_bound() -> None:
    most = lemma_of.cache_info().maxsize
    assert most is not None
    for i in range(most + 1):
        assert lemma_of("l|-", f"Word{i}s") == f"word{i}"
    assert lemma_of.cache_info().currsize == most


@pytest.mark.parametrize(("count", "words"), [(1, "1 word "), (2, "2 words "), (12345, "12,345 words ")])
def test_a_note_counts_as_all_other_notes_do(count: int, words: str) -> None:
    (note,) = unseen_note(Tagging(name="pos", data="d", layer="upos"), count, "a label", "dev")
    assert note.startswith(f"tasks.pos: {words}of the dev split with a label ")
