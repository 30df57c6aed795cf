"""Our figures are the field's figures: scikit-learn's, SciPy's, seqeval's and the CoNLL 2018 scorer's."""

import io
import math
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score, f1_score
from udtools import udeval

from polyhead import metrics
from polyhead.data.example import Labels, Span, Spans, Tree, WordLabels

SUBTYPES = ["nsubj:pass", "nmod:poss", "nmod:desc", "aux:pass", "cc:preconj", "det:predet", "acl:relcl", "unheard:of"]
RELATIONS = [*sorted(udeval.CONTENT_DEPRELS | udeval.FUNCTIONAL_DEPRELS), "punct", *SUBTYPES]
LABELS = ["person", "group", "creative-work"]


@pytest.mark.parametrize("seed", range(10))
def test_labels_agree_with_scikit_learn(seed: int) -> None:
    rng = random.Random(seed)
    gold, predicted = ([rng.choice("abcd"[: 2 + seed % 3]) for _ in range(30)] for _ in range(2))
    predicted[0] = "never gold"
    assert metrics.accuracy_and_f1(gold, predicted) == {
        "accuracy": accuracy_score(gold, predicted),
        "macro_f1": f1_score(gold, predicted, average="macro"),
    }


def test_label_in_neither_gold_nor_predictions_does_not_count() -> None:
    # a: 2 of 2, b: never predicted (0), c: never gold (0); nothing else is known of.
    figures = metrics.accuracy_and_f1(["a", "a", "b"], ["a", "a", "c"])
    assert figures == {"accuracy": pytest.approx(2 / 3), "macro_f1": pytest.approx(1 / 3)}


@pytest.mark.parametrize("seed", range(10))
def test_several_labels_agree_with_scikit_learn(seed: int) -> None:
    rng = random.Random(seed)
    names = ["joy", "anger", "fear"]
    gold, predicted = ([Labels(n for n in names if rng.random() < 0.4) for _ in range(25)] for _ in range(2))
    matrices = [np.array([[n in value for n in names] for value in side]) for side in (gold, predicted)]
    figures = metrics.multilabel(gold, predicted)
    assert figures["accuracy"] == pytest.approx(accuracy_score(*matrices))
    assert figures["micro_f1"] == pytest.approx(f1_score(*matrices, average="micro"))
    assert figures["macro_f1"] == pytest.approx(f1_score(*matrices, average="macro"))


def test_a_single_label_in_all_texts() -> None:
    """One column alone is not several labels to scikit-learn."""
    figures = metrics.multilabel([Labels("a"), Labels(), Labels("a")], [Labels("a"), Labels("a"), Labels()])
    assert figures == {"accuracy": pytest.approx(1 / 3), "micro_f1": 0.5, "macro_f1": 0.5}


def test_texts_without_any_label() -> None:
    figures = metrics.multilabel([Labels(), Labels()], [Labels(), Labels()])
    assert figures == {"accuracy": 1.0, "micro_f1": 0.0, "macro_f1": 0.0}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e150])
def test_regression_agrees_with_scipy(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    # Rounding makes ties, which Spearman must rank by their mean.
    gold, predicted = (rng.normal(size=(2, 20)).round(seed % 3) + 5 * (seed % 2)) * scale
    figures = metrics.regression(gold.tolist(), predicted.tolist())
    assert figures["pearson"] == pytest.approx(stats.pearsonr(gold, predicted).statistic)
    assert figures["spearman"] == pytest.approx(stats.spearmanr(gold, predicted).statistic)
    if scale >= 1:
        assert figures["rmse"] == pytest.approx(math.sqrt(((gold - predicted) ** 2).mean()))


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.7])
def test_constant_values_correlate_with_nothing(constant: float) -> None:
    varied = [float(i) for i in range(11)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for gold, predicted in (([constant] * 11, varied), (varied, [constant] * 11), ([constant], [2.0])):
            figures = metrics.regression(gold, predicted)
            assert (figures["pearson"], figures["spearman"]) == (0.0, 0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_named(value: float) -> None:
    with pytest.raises(ValueError, match="predicted value of text 1"):
        metrics.regression([1.0, 2.0], [1.0, value])


def test_word_accuracy_counts_words_with_gold_only() -> None:
    gold = [WordLabels(("DET", None, "NOUN")), WordLabels((None,)), WordLabels(("VERB", "ADV"))]
    predicted = [WordLabels(("DET", "ADJ", "VERB")), WordLabels((None,)), WordLabels(("VERB", None))]
    assert metrics.word_accuracy(gold, predicted) == {"accuracy": 2 / 4}


def strict_spans(tags: Sequence[str]) -> Spans:
    """What strict IOB2 sees in any tags: a span opens with B and goes on while I of the same label follows."""
    spans: list[Span] = []
    for start, tag in enumerate(tags):
        if tag.startswith("B-"):
            end = start + 1
            while end < len(tags) and tags[end] == f"I-{tag[2:]}":
                end += 1
            spans.append(Span(start, end, tag[2:]))
    return Spans(spans)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_spans_agree_with_seqeval(seed: int) -> None:
    rng = random.Random(seed)
    alphabet = ["O", *(f"{prefix}-{label}" for prefix in "BI" for label in LABELS)]
    gold = [rng.choices(alphabet, k=rng.randint(1, 12)) for _ in range(10)]
    # Predictions near gold, broken sequences such as O I-person on both sides.
    predicted = [[tag if rng.random() < 0.8 else rng.choice(alphabet) for tag in tags] for tags in gold]
    report: dict[str, Any] = classification_report(gold, predicted, mode="strict", scheme=IOB2, output_dict=True)
    figures = metrics.span_f1([strict_spans(t) for t in gold], [strict_spans(t) for t in predicted])
    assert figures.pop("precision") == pytest.approx(report["micro avg"]["precision"])
    assert figures.pop("recall") == pytest.approx(report["micro avg"]["recall"])
    assert figures.pop("f1") == pytest.approx(report["micro avg"]["f1-score"])
    of_labels = {f"f1/{name}": scores["f1-score"] for name, scores in report.items() if " avg" not in name}
    assert figures == pytest.approx(of_labels)


def test_span_of_another_label_or_length_is_wrong_on_both_sides() -> None:
    gold = [Spans((Span(0, 2, "person"), Span(3, 4, "group")))]
    predicted = [Spans((Span(0, 1, "person"), Span(3, 4, "person"), Span(5, 6, "person")))]
    figures = metrics.span_f1(gold, predicted)
    assert figures == dict.fromkeys(("precision", "recall", "f1", "f1/group", "f1/person"), 0.0)


def test_no_span_at_all_is_zero_as_in_seqeval() -> None:
    assert metrics.span_f1([Spans()], [Spans()]) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def random_tree(rng: random.Random, n: int) -> Tree:
    """A tree with one root; relations of every sort, ``root`` at the root as UD has it."""
    order = rng.sample(range(1, n + 1), n)
    heads = {order[0]: 0} | {word: rng.choice(order[:i]) for i, word in enumerate(order) if i}
    words = range(1, n + 1)
    return Tree(tuple(heads[w] for w in words), tuple("root" if not heads[w] else rng.choice(RELATIONS) for w in words))


def near(rng: random.Random, tree: Tree) -> Tree:
    """Mostly the same tree: some relations or their subtypes change, and in every other tree all heads may."""
    heads = tree.heads if rng.random() < 0.5 else random_tree(rng, len(tree.heads)).heads
    relations = (rng.choice([r, r, r, rng.choice(RELATIONS), f"{r.split(':')[0]}:other"]) for r in tree.relations)
    return Tree(heads, tuple(relations))


def conllu(trees: Sequence[Tree]) -> str:
    blocks = []
    for tree in trees:
        arcs = enumerate(zip(tree.heads, tree.relations, strict=True), start=1)
        blocks.append("".join(f"{i}\tw\t_\t_\t_\t_\t{head}\t{rel}\t_\t_\n" for i, (head, rel) in arcs) + "\n")
    return "".join(blocks)


def without_colons(tree: Tree) -> Tree:
    return Tree(tree.heads, tuple(relation.replace(":", ".") for relation in tree.relations))


def official(gold: Sequence[Tree], predicted: Sequence[Tree]) -> dict[str, Any]:
    gold_ud, system_ud = (udeval.load_conllu(io.StringIO(conllu(side)), "trees", {}) for side in (gold, predicted))
    scores: dict[str, Any] = udeval.evaluate(gold_ud, system_ud)
    return scores


@pytest.mark.parametrize("seed", range(30))
def test_attachment_agrees_with_the_conll_2018_scorer(seed: int) -> None:
    rng = random.Random(seed)
    gold = [random_tree(rng, rng.randint(1, 20)) for _ in range(8)]
    predicted = [near(rng, tree) for tree in gold]
    figures, scores = metrics.attachment(gold, predicted), official(gold, predicted)
    # The scorer cuts relations at the colon; without colons its LAS tells subtypes apart.
    with_subtypes = official(*([without_colons(tree) for tree in side] for side in (gold, predicted)))
    assert figures["uas"] == pytest.approx(scores["UAS"].f1)
    assert figures["las"] == pytest.approx(with_subtypes["LAS"].f1)
    assert figures["las_universal"] == pytest.approx(scores["LAS"].f1)
    assert figures["clas"] == pytest.approx(scores["CLAS"].f1)
    assert 0 < figures["las"] < figures["las_universal"] < figures["uas"] < 1


def test_content_relations_are_the_scorers() -> None:
    assert metrics.CONTENT_RELATIONS == udeval.CONTENT_DEPRELS


def test_subtypes_functional_relations_and_punctuation() -> None:
    gold = Tree((2, 0, 2, 2), ("nsubj:pass", "root", "aux", "punct"))
    subtype = Tree((2, 0, 2, 2), ("nsubj", "root", "aux", "punct"))
    assert metrics.attachment([gold], [subtype]) == {"uas": 1.0, "las": 0.75, "las_universal": 1.0, "clas": 1.0}
    functional = Tree((2, 0, 1, 1), ("nsubj:pass", "root", "aux", "punct"))
    assert metrics.attachment([gold], [functional]) == {"uas": 0.5, "las": 0.5, "las_universal": 0.5, "clas": 1.0}
    # The auxiliary taken for a content word: 2 right, 2 gold, 3 predicted.
    content = Tree((2, 0, 2, 2), ("nsubj:pass", "root", "advmod", "punct"))
    assert metrics.attachment([gold], [content])["clas"] == pytest.approx(4 / 5)


def test_no_content_relation_at_all() -> None:
    tree = Tree((0,), ("punct",))
    assert metrics.attachment([tree], [tree]) == {"uas": 1.0, "las": 1.0, "las_universal": 1.0, "clas": 0.0}


SCORERS: list[tuple[Callable[..., dict[str, float]], Sequence[Any]]] = [
    (metrics.accuracy_and_f1, ["a", "b"]),
    (metrics.multilabel, [Labels("ab"), Labels("b")]),
    (metrics.regression, [1.0, 2.0]),
    (metrics.word_accuracy, [WordLabels(("DET", "NOUN")), WordLabels(("VERB",))]),
    (metrics.span_f1, [Spans((Span(0, 1, "person"),)), Spans()]),
    (metrics.attachment, [Tree((0, 1), ("root", "obj")), Tree((0,), ("root",))]),
]


@pytest.mark.parametrize(("score", "values"), SCORERS, ids=lambda x: getattr(x, "__name__", ""))
def test_every_scorer(score: Callable[..., dict[str, float]], values: Sequence[Any]) -> None:
    perfect = score(values, values)
    assert all(type(figure) is float for figure in perfect.values())
    assert perfect == pytest.approx({name: 0.0 if name == "rmse" else 1.0 for name in perfect})
    with pytest.raises(ValueError, match="2 gold values but 1 predictions"):
        score(values, values[:1])
    with pytest.raises(ValueError, match="no texts"):
        score([], [])


@pytest.mark.parametrize("score", [metrics.word_accuracy, metrics.attachment])
def test_word_scorers_refuse_other_words_and_no_words(score: Callable[..., dict[str, float]]) -> None:
    one, two = {
        metrics.word_accuracy: (WordLabels(("X",)), WordLabels(("X", "Y"))),
        metrics.attachment: (Tree((0,), ("root",)), Tree((0, 1), ("root", "obj"))),
    }[score]
    with pytest.raises(ValueError, match="text 1 has 2 gold words but 1 predicted"):
        score([one, two], [one, one])
    empty = WordLabels((None,)) if score is metrics.word_accuracy else Tree((), ())
    with pytest.raises(ValueError, match="nothing to score"):
        score([empty], [empty])
