"""Gold beside answers: known cases of each kind of value, and agreement with the scores of ``metrics``."""

from __future__ import annotations

import pytest

from polyhead.data.example import Labels, Span, Spans, Text, Tree, WordLabels
from polyhead.metrics import attachment, span_f1
from polyhead.outcomes import Outcome, confusions, hits, label_scores, outcomes

GOLD = Spans([Span(0, 1, "PER"), Span(2, 4, "LOC"), Span(5, 6, "ORG"), Span(8, 9, "PER")])
GIVEN = Spans([Span(0, 1, "PER"), Span(3, 4, "LOC"), Span(5, 6, "PER"), Span(7, 8, "ORG")])


def test_spans_of_one_place_belong_together() -> None:
    assert outcomes(GOLD, GIVEN) == [
        Outcome("PER", "PER", True, 0, 1),
        Outcome("ORG", "PER", False, 5, 6),
        Outcome("LOC", "LOC", False, 2, 4),
        Outcome("PER", None, False, 8, 9),
        Outcome(None, "ORG", False, 7, 8),
    ]


def test_scores_of_labels_are_those_of_the_scorer() -> None:
    figures = span_f1([GOLD], [GIVEN])
    for one in label_scores(outcomes(GOLD, GIVEN)):
        assert one.f1 == pytest.approx(figures[f"f1/{one.label}"])
    gold, given = Tree((2, 0, 2), ("nsubj", "root", "obj")), Tree((2, 0, 1), ("obj", "root", "obj"))
    right = sum(one.right for one in label_scores(outcomes(gold, given)))
    assert right / 3 == pytest.approx(attachment([gold], [given])["las"])
    assert hits(gold, given) == [False, True, False]


def test_words_without_gold_are_no_units() -> None:
    gold, given = WordLabels(["A", None, "B"]), WordLabels(["A", "B", "A"])
    assert outcomes(gold, given) == [Outcome("A", "A", True, 0, 1), Outcome("B", "A", False, 2, 3)]
    assert hits(gold, given) == [True, None, False]


def test_several_labels_are_units_of_their_own() -> None:
    found = outcomes(Labels(["a", "b"]), Labels(["b", "c"]))
    assert found == [Outcome("a", None, False), Outcome("b", "b", True), Outcome(None, "c", False)]
    assert hits(Labels(["a"]), Labels(["a"])) == [True] and hits(Labels(["a"]), Labels()) == [False]


def test_numbers_and_texts_have_none() -> None:
    assert outcomes(1.0, 2.0) == outcomes(Text("a"), Text("b")) == []
    assert hits(1.0, 1.0) == hits(Text("a"), Text("a")) == [None]
    assert outcomes("a", "b") == [Outcome("a", "b", False)] and hits("a", "a") == [True]


def test_confusions_are_counted() -> None:
    found = outcomes("a", "b") * 3 + outcomes("b", "a") * 5 + outcomes("a", "a")
    assert confusions(found) == [("b", "a", 5), ("a", "b", 3)]
    (first, second) = label_scores(found)
    assert (first.label, first.gold, first.given, first.right) == ("b", 5, 3, 0) and first.precision == 0
    assert (second.label, second.gold, second.given, second.right) == ("a", 4, 6, 1)
