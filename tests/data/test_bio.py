import random
from itertools import pairwise

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from polyhead.data.bio import recognise, to_spans, to_tags
from polyhead.data.example import Span, Spans
from polyhead.data.spec import Scheme

TWO_TOUCH = Spans([Span(0, 2, "PER"), Span(2, 3, "PER"), Span(4, 5, "LOC")])


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("B-PER I-PER B-PER O B-LOC", "IOB2"),
        ("I-PER I-PER B-PER O I-LOC", "IOB1"),
        ("B-PER E-PER S-PER O S-LOC", "BIOES"),
        ("B-PER L-PER U-PER O U-LOC", "BIOES"),
        ("B-PER E-PER W-PER O W-LOC", "BIOES"),
    ],
)
def test_every_scheme_is_recognised_and_gives_the_same_spans(tags: str, scheme: Scheme) -> None:
    assert recognise([tags.split()]) == scheme
    assert to_spans(tags.split(), scheme) == TWO_TOUCH


def test_long_spans_of_bioes() -> None:
    assert to_spans(["B-A", "I-A", "E-A"], "BIOES") == to_spans(["B-A", "M-A", "E-A"], "BIOES") == ((0, 3, "A"),)


@pytest.mark.parametrize("tags", ["NN VB", "O B-PER X-PER", "B-", "Beta O", "O o", "B_PER", ""])
def test_other_labels_are_no_span_tags(tags: str) -> None:
    assert recognise([["O"], tags.split() or [""]]) is None


def test_outside_alone_is_iob2() -> None:
    assert recognise([["O", "O"]]) == "IOB2"


def test_majority_decides_where_tags_contradict() -> None:
    assert recognise([["B-A", "O", "B-A", "O", "I-A"]]) == "IOB2"
    assert recognise([["I-A", "O", "I-A", "O", "B-A"]]) == "IOB1"


def test_a_stray_end_does_not_make_a_scheme() -> None:
    assert recognise([["B-A", "I-A", "O", "B-B"], ["S-A"]]) == "IOB2"
    assert recognise([["I-A", "I-A", "O", "I-B"], ["E-A"]]) == "IOB1"
    assert recognise([["B-A", "I-A", "E-A", "S-A"], ["B-B", "O"]]) == "BIOES"


def test_change_of_label_ends_a_span_of_iob1() -> None:
    assert to_spans(["I-A", "I-B", "I-B"], "IOB1") == ((0, 1, "A"), (1, 3, "B"))


def test_spans_without_labels() -> None:
    assert to_spans(["B", "I", "O", "B"], "IOB2") == ((0, 2, ""), (3, 4, ""))
    assert to_tags(to_spans(["B", "I", "O", "B"], "IOB2"), 4) == ("B", "I", "O", "B")


@pytest.mark.parametrize(
    ("tags", "scheme", "word"),
    [
        ("O I-PER", "IOB2", 1),
        ("B-PER I-LOC", "IOB2", 1),
        ("O O S-PER", "IOB2", 2),
        ("O PER", "IOB1", 1),
        ("O E-PER", "BIOES", 1),
        ("B-PER O", "BIOES", 1),
        ("B-PER B-PER E-PER", "BIOES", 1),
        ("B-PER S-PER", "BIOES", 1),
        ("O B-PER", "BIOES", 1),
        ("B-PER I-LOC E-LOC", "BIOES", 1),
    ],
)
def test_invalid_sequences_name_the_word(tags: str, scheme: Scheme, word: int) -> None:
    with pytest.raises(ValueError) as error:
        to_spans(tags.split(), scheme)
    index, what = error.value.args
    assert index == word
    assert scheme in what


def test_to_tags_refuses_spans_that_do_not_fit() -> None:
    for spans in ([Span(0, 3, "A")], [Span(1, 1, "A")], [Span(0, 2, "A"), Span(1, 2, "B")]):
        with pytest.raises(ValueError):
            to_tags(spans, 2)


def test_spans_survive_the_way_through_tags() -> None:
    chance = random.Random(1)
    for _ in range(200):
        n = chance.randint(1, 12)
        edges = sorted(chance.sample(range(n + 1), chance.randint(0, n + 1)))
        spans = Spans(Span(a, b, chance.choice("AB")) for a, b in pairwise(edges) if chance.random() < 0.6)
        assert to_spans(to_tags(spans, n), "IOB2") == spans


def test_iob1_agrees_with_seqeval_on_any_sequence() -> None:
    chance = random.Random(2)
    for _ in range(300):
        tags = chance.choices(["O", "I-A", "B-A", "I-B", "B-B"], k=chance.randint(1, 10))
        expected = [(start, end + 1, label) for label, start, end in get_entities(tags)]
        assert list(to_spans(tags, "IOB1")) == expected
