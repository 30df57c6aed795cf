"""Named entities: only valid spans, whatever the scores say."""

from __future__ import annotations

import itertools
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from polyhead.data.bio import to_spans, to_tags
from polyhead.data.example import Example, Span, Spans
from polyhead.errors import PolyheadError
from polyhead.nn.encoder import Encoding
from polyhead.nn.loading import load_encoder
from polyhead.tasks.ner import Ner, NerHead

TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
COUNTS = [5, 1, 0, 9, 3]


class Flat(Encoding):
    """An encoding whose words are given: the vector of a word is its scores."""

    device = torch.device("cpu")
    empty = ()

    def __init__(self, scores: Tensor, counts: list[int]) -> None:
        self.layers = [scores]
        self.flat_words = scores
        self.texts = [("w",) * count for count in counts]
        self.counts = counts


def head(*, crf: bool) -> NerHead:
    """A head that takes the words' vectors as scores of tags."""
    made = NerHead(len(TAGS), TAGS, crf=crf, dropout=0.0)
    with torch.no_grad():
        made.classify.linear.weight.copy_(torch.eye(len(TAGS)))
        made.classify.linear.bias.zero_()
    return made.eval()


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("size", [1.0, 30.0, 1e4, 1e6, 1e30])
def test_spans_are_valid_whatever_the_scores(crf: bool, size: float) -> None:
    generator = torch.Generator().manual_seed(int(size) % 97)
    for trial in range(20):
        scores = torch.randn(sum(COUNTS), len(TAGS), generator=generator) * size
        if trial % 2:
            scores[:, [2, 4]] += 3 * size  # I-x wherever it can
        for count, prediction in zip(COUNTS, head(crf=crf).predict(Flat(scores, COUNTS)), strict=True):
            spans = prediction.value
            assert isinstance(spans, Spans) and isinstance(prediction.confidence, tuple)
            ends = [0, *(end for _, end, _ in spans)]
            assert all(before <= s.start < s.end <= count for before, s in zip(ends, spans, strict=False))
            assert to_spans(to_tags(spans, count), "IOB2") == spans
            assert len(prediction.confidence) == len(spans) and all(0 <= c <= 1 for c in prediction.confidence)


def slow_best(scores: Tensor) -> float:
    """The highest sum of log-probabilities that a valid sequence of tags reaches, by dynamic programming in Python."""
    logs = torch.log_softmax(scores, dim=1).tolist()
    best = {tag: logs[0][i] for i, tag in enumerate(TAGS) if not tag.startswith("I-")}
    for row in logs[1:]:
        best = {
            tag: row[i] + max(v for b, v in best.items() if not tag.startswith("I-") or b[1:] == tag[1:] != "")
            for i, tag in enumerate(TAGS)
            if not tag.startswith("I-") or any(b[1:] == tag[1:] for b in best)
        }
    return max(best.values())


def test_the_best_valid_sequence_is_taken() -> None:
    generator = torch.Generator().manual_seed(5)
    for _ in range(30):
        scores = torch.randn(6, len(TAGS), generator=generator) * 3
        (prediction,) = head(crf=False).predict(Flat(scores, [6]))
        index = [TAGS.index(tag) for tag in to_tags(prediction.value, 6)]  # type: ignore[arg-type]
        found = torch.log_softmax(scores, dim=1)[range(6), index].sum()
        assert float(found) == pytest.approx(slow_best(scores), abs=1e-4)


def test_confidence_is_the_product_of_the_tags_probabilities() -> None:
    scores = torch.full((4, len(TAGS)), -20.0)
    for word, tag, chance in ((0, 3, 0.8), (1, 4, 0.6), (2, 0, 0.9), (3, 1, 0.7)):
        scores[word, tag], scores[word, 0 if tag else 1] = np.log(chance), np.log(1 - chance)
    (prediction,) = head(crf=False).predict(Flat(scores, [4]))
    assert prediction.value == (Span(0, 2, "PER"), Span(3, 4, "LOC"))
    assert prediction.confidence == pytest.approx((0.8 * 0.6, 0.7), abs=1e-4)


def test_neighbouring_entities_of_one_label_stay_two() -> None:
    scores = torch.full((4, len(TAGS)), -5.0)
    scores[[0, 1, 2, 3], [3, 4, 3, 4]] = 5.0
    (prediction,) = head(crf=False).predict(Flat(scores, [4]))
    assert prediction.value == (Span(0, 2, "PER"), Span(2, 4, "PER"))


@pytest.mark.parametrize("crf", [False, True])
def test_texts_do_not_touch_each_other(crf: bool) -> None:
    """A text that ends inside an entity lets the next one start with no inside."""
    scores = torch.full((4, len(TAGS)), -5.0)
    scores[[0, 1, 2, 3], [3, 4, 4, 0]] = 5.0
    first, second = head(crf=crf).predict(Flat(scores, [2, 2]))
    assert first.value == (Span(0, 2, "PER"),)
    assert Span(0, 1, "PER") in second.value or second.value == ()  # type: ignore[operator]
    alone = head(crf=crf).predict(Flat(scores[2:], [2]))
    assert second.value == alone[0].value


def test_targets_are_iob2_tags() -> None:
    task = Ner(name="it", data="d", layer="e", labels=["LOC", "PER"])
    spans = Spans([Span(0, 2, "PER"), Span(2, 3, "PER"), Span(4, 5, "LOC")])
    target = task.target(Example(words=("a",) * 6, layers={"e": spans}))
    assert target is not None
    assert [TAGS[i] for i in target] == list(to_tags(spans, 6)) and task.tags == TAGS


def test_a_text_without_words_has_no_spans(tiny_encoder: Path) -> None:
    encoder = load_encoder(str(tiny_encoder))
    task = Ner(name="it", data="d", layer="e", labels=["LOC", "PER"])
    encoding = encoder(encoder.collate(encoder.tokenise([Example(text="")])))
    (prediction,) = task.head(encoder).eval().predict(encoding)
    assert prediction.value == Spans() and prediction.confidence == ()


def test_a_label_of_dev_alone_is_an_error_with_the_words_line() -> None:
    task = Ner(name="it", data="d", layer="e")
    task.prepare([Example(words=("a", "b"), layers={"e": Spans([Span(0, 1, "PER")])})])
    odd = Example(words=("a", "b"), layers={"e": Spans([Span(1, 2, "PRE")])}, file="dev.conll", lines=(7, 8))
    with pytest.raises(PolyheadError, match=r"dev\.conll:8: .*'PRE'.*dev split.*\n.*PER"):
        task.check([odd], "dev")


def partly(scores: Tensor, spans: Spans, only: list[str], *, crf: bool) -> float:
    """The loss of a text in which only these labels are marked."""
    task = Ner(name="it", data="d", layer="e", labels=["LOC", "PER"], only=only)
    target = task.target(Example(words=("a",) * len(scores), layers={"e": spans}))
    loss = head(crf=crf).loss(Flat(scores, [len(scores)]), [target])
    assert loss.units == len(scores)
    return loss.total.item()


@pytest.mark.parametrize("crf", [False, True])
def test_what_is_not_marked_may_be_anything(crf: bool) -> None:
    """The loss is that of any of the possible sequences, by listing them all."""
    scores = torch.randn(4, len(TAGS), generator=torch.Generator().manual_seed(3)) * 2
    gold = Spans([Span(1, 3, "LOC")])
    tags = [[0, 3, 4], [1], [2], [0, 3, 4]]  # where LOC is marked, a word outside may be of a PER
    every = list(itertools.product(range(len(TAGS)), repeat=4))
    if crf:
        follow, first = head(crf=True).crf.follow, head(crf=True).crf.first  # type: ignore[union-attr]
        every = [way for way in every if first[way[0]] == 0 and all(follow[a, b] == 0 for a, b in pairwise(way))]
    weights = {way: math.exp(sum(float(scores[i, tag]) for i, tag in enumerate(way))) for way in every}
    possible = sum(weight for way, weight in weights.items() if all(t in tags[i] for i, t in enumerate(way)))
    assert partly(scores, gold, ["LOC"], crf=crf) == pytest.approx(
        -math.log(possible / sum(weights.values())), rel=1e-4
    )


@pytest.mark.parametrize("crf", [False, True])
def test_where_all_labels_are_marked_the_loss_is_the_usual_one(crf: bool) -> None:
    scores = torch.randn(5, len(TAGS), generator=torch.Generator().manual_seed(4))
    gold = Spans([Span(0, 2, "PER"), Span(3, 4, "LOC")])
    usual = partly(scores, gold, [], crf=crf)
    assert partly(scores, gold, ["LOC", "PER"], crf=crf) == pytest.approx(usual, rel=1e-5)


@pytest.mark.parametrize("crf", [False, True])
def test_gradients_stay_finite_where_little_is_possible(crf: bool) -> None:
    scores = (torch.randn(6, len(TAGS)) * 30).requires_grad_()
    task = Ner(name="it", data="d", layer="e", labels=["LOC", "PER"], only=["LOC"])
    target = task.target(Example(words=("a",) * 6, layers={"e": Spans([Span(0, 3, "LOC"), Span(3, 6, "LOC")])}))
    head(crf=crf).loss(Flat(scores, [6]), [target]).total.backward()
    assert scores.grad is not None and torch.isfinite(scores.grad).all()


def test_only_marked_labels_are_scored() -> None:
    task = Ner(name="it", data="d", layer="e", labels=["LOC", "PER"], only=["LOC"])
    example = Example(words=("a",) * 4, layers={"e": Spans([Span(0, 1, "LOC")])})
    found = task.score([example], [Spans([Span(0, 1, "LOC"), Span(2, 3, "PER")])])
    assert found["f1"] == 1.0, "a PER may well be there"
    assert task.score([example], [Spans([Span(0, 1, "LOC"), Span(2, 3, "LOC")])])["precision"] == 0.5


def test_a_span_that_should_not_be_marked_is_an_error_with_its_line() -> None:
    task = Ner(name="it", data="d", layer="e", labels=["LOC", "PER"], only=["LOC"])
    odd = Example(words=("a", "b"), layers={"e": Spans([Span(1, 2, "PER")])}, file="x.conll", lines=(7, 8))
    for see in (task.target, lambda example: task.check([example], "train")):
        with pytest.raises(PolyheadError, match=r"x\.conll:8: .*'PER'.*only = \['LOC'\]"):
            see(odd)


def test_a_label_that_nothing_has_is_no_marked_one() -> None:
    task = Ner(name="it", data="d", layer="e", labels=["LOC", "PER"], only=["LOK"])
    with pytest.raises(PolyheadError, match=r"tasks\.it\.only names 'LOK'[^?]*\n.*LOC"):
        task.check([], "train")
