"""Gold and predicted values in, figures out: the field's scores, one function for each kind of value.

Accuracies, precisions, recalls and F1 are fractions in [0, 1], correlations lie in [-1, 1], and ``rmse`` has
the unit of the values; whoever prints them turns fractions into per cent. Every function raises
``ValueError`` when gold and predictions differ in length (texts, or words of a text) and when there is
nothing to score (no texts, no gold words): a score over nothing is no number, and 0.0 would pass for a bad
model. A ratio whose denominator is empty although there are texts (F1 where no span is gold or predicted)
is 0.0, as in scikit-learn, seqeval and the CoNLL scorer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.metrics import f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from polyhead.data.example import Labels, Spans, Tree, WordLabels

CONTENT_RELATIONS = frozenset(
    {
        *("nsubj", "obj", "iobj", "csubj", "ccomp", "xcomp", "obl", "vocative", "expl", "dislocated"),
        *("advcl", "advmod", "discourse", "nmod", "appos", "nummod", "acl", "amod", "conj", "fixed", "flat"),
        *("compound", "list", "parataxis", "orphan", "goeswith", "reparandum", "root", "dep"),
    }
)
"""The relations that CLAS counts, as the CoNLL 2018 scorer lists them: neither function words nor ``punct``."""


def accuracy_and_f1(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """One label per text.

    Returns:
        ``accuracy``; ``macro_f1``, the plain mean of the F1 of each label that is gold or predicted anywhere
        (scikit-learn's default): a label that occurs in neither does not count.

    Raises:
        ValueError: No texts, or not as many predictions as gold labels.
    """
    _check_texts(gold, predicted)
    return {
        "accuracy": _share_equal(gold, predicted),
        "macro_f1": float(f1_score(list(gold), list(predicted), average="macro", zero_division=0.0)),
    }


def multilabel(gold: Sequence[Labels], predicted: Sequence[Labels]) -> dict[str, float]:
    """Several labels per text.

    Returns:
        ``accuracy``, the share of texts whose labels are all right and none too many (subset accuracy);
        ``micro_f1`` over all pairs of text and label; ``macro_f1``, the plain mean of the F1 of each label
        that is gold or predicted anywhere. Both F1 are 0.0 where no text has a label, gold or predicted.

    Raises:
        ValueError: No texts, or not as many predictions as gold values.
    """
    _check_texts(gold, predicted)
    figures = {"accuracy": _share_equal(gold, predicted), "micro_f1": 0.0, "macro_f1": 0.0}
    labels = sorted(frozenset[str]().union(*gold, *predicted))
    if labels:
        # Sparse, since label sets of thousands occur and a text has a few. One column more, which does not count: a
        # single one would not be taken for several labels.
        binarizer = MultiLabelBinarizer(classes=[*labels, None], sparse_output=True).fit(gold)
        pair = binarizer.transform(gold), binarizer.transform(predicted)  # each (texts, labels + 1)
        counted = list(range(len(labels)))
        for average in ("micro", "macro"):
            figures[f"{average}_f1"] = float(f1_score(*pair, labels=counted, average=average, zero_division=0.0))
    return figures


def regression(gold: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """One number per text.

    Returns:
        ``pearson`` and ``spearman`` (ties get their mean rank) in [-1, 1], 0.0 where either side is constant
        and so cannot be correlated with anything; ``rmse``, the root mean squared error.

    Raises:
        ValueError: No texts, not as many predictions as gold values, or a value that is not finite.
    """
    _check_texts(gold, predicted)
    x, y = _finite(gold, "gold"), _finite(predicted, "predicted")  # (texts,)
    return {
        "pearson": _correlation(x, y),
        "spearman": _correlation(rankdata(x), rankdata(y)),
        "rmse": float(np.sqrt(np.mean((x - y) ** 2))),
    }


def word_accuracy(gold: Sequence[WordLabels], predicted: Sequence[WordLabels]) -> dict[str, float]:
    """A label per word.

    Returns:
        ``accuracy`` over the words of all texts that have a gold label; words whose gold is ``None`` do not
        count, and a prediction of ``None`` for a word with gold is wrong.

    Raises:
        ValueError: No texts, no word with gold, or lengths that differ (texts, or words of a text).
    """
    _check_texts(gold, predicted)
    right = total = 0
    for index, (wanted, given) in enumerate(zip(gold, predicted, strict=True)):
        _check_words(index, len(wanted), len(given))
        right += sum(w is not None and w == g for w, g in zip(wanted, given, strict=True))
        total += sum(w is not None for w in wanted)
    if total == 0:
        raise ValueError("nothing to score: no word has a gold label")
    return {"accuracy": right / total}


def span_f1(gold: Sequence[Spans], predicted: Sequence[Spans]) -> dict[str, float]:
    """Labelled spans; a span is right if start, end and label are (the CoNLL 2003 measure).

    The figures equal seqeval's with ``mode="strict", scheme=IOB2``. They are counted here because values are
    spans already: seqeval would need them as tags again, and takes some twenty times as long to read those.

    Returns:
        ``precision``, ``recall`` and ``f1`` over the spans of all texts (micro), and ``f1/LABEL`` for each
        label that is gold or predicted anywhere, in alphabetical order.

    Raises:
        ValueError: No texts, or not as many predictions as gold values.
    """
    _check_texts(gold, predicted)
    counts = _Counts()
    for wanted, given in zip(gold, predicted, strict=True):
        counts.add(set(wanted), set(given))
    right, n_gold, n_predicted = counts.right.total(), counts.gold.total(), counts.predicted.total()
    figures = {
        "precision": _ratio(right, n_predicted),
        "recall": _ratio(right, n_gold),
        "f1": _ratio(2 * right, n_gold + n_predicted),
    }
    for label in sorted(counts.gold | counts.predicted):
        total = counts.gold[label] + counts.predicted[label]
        figures[f"f1/{label}"] = _ratio(2 * counts.right[label], total)
    return figures


def attachment(gold: Sequence[Tree], predicted: Sequence[Tree]) -> dict[str, float]:
    """Dependency trees over the same words; every word counts, punctuation too.

    ``uas``, ``las_universal`` and ``clas`` equal UAS, LAS and CLAS of the CoNLL 2018 scorer (Zeman et al. 2018,
    https://universaldependencies.org/conll18/evaluation.html) on gold segmentation, where words align one to
    one; hence neither forms nor tags are needed. That the predictions are trees is not checked.

    Returns:
        ``uas``: share of words with the right head. ``las``: right head and relation, subtype included
        (``nsubj:pass`` is not ``nsubj``). ``las_universal``: the same without subtypes; this is the official
        LAS. ``clas``: the F1 of the latter over content relations only: gold words whose gold relation is
        functional (aux, case, cc, clf, cop, det, mark), ``punct`` or no universal relation are left out of
        recall, predicted ones out of precision. So a functional word that gains a content relation costs
        precision, and CLAS says nothing about attaching function words.

    Raises:
        ValueError: No texts, no words, or lengths that differ (texts, or words of a text).
    """
    _check_texts(gold, predicted)
    words = heads = exact = universal = content = content_right = 0
    for index, (wanted, given) in enumerate(zip(gold, predicted, strict=True)):
        _check_words(index, len(wanted.heads), len(given.heads))
        pairs = zip(wanted.heads, wanted.relations, given.heads, given.relations, strict=True)
        for head, relation, given_head, given_relation in pairs:
            base, given_base = relation.partition(":")[0], given_relation.partition(":")[0]
            same_head = head == given_head
            same_arc = same_head and base == given_base
            words += 1
            heads += same_head
            exact += same_head and relation == given_relation
            universal += same_arc
            content += (base in CONTENT_RELATIONS) + (given_base in CONTENT_RELATIONS)
            content_right += same_arc and base in CONTENT_RELATIONS
    if words == 0:
        raise ValueError("nothing to score: the trees have no words")
    return {
        "uas": heads / words,
        "las": exact / words,
        "las_universal": universal / words,
        "clas": _ratio(2 * content_right, content),
    }


@dataclass(slots=True)
class _Counts:
    """How many spans each label has: in gold, in the predictions, in both at the same place."""

    gold: Counter[str] = field(default_factory=Counter)
    predicted: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)

    def add(self, gold: set[tuple[int, int, str]], predicted: set[tuple[int, int, str]]) -> None:
        """Count the spans of one text."""
        self.gold.update(_labels(gold))
        self.predicted.update(_labels(predicted))
        self.right.update(_labels(gold & predicted))


def _labels(spans: Iterable[tuple[int, int, str]]) -> Iterable[str]:
    return (label for _, _, label in spans)


def _check_texts(gold: Sequence[object], predicted: Sequence[object]) -> None:
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold values but {len(predicted)} predictions")
    if not gold:
        raise ValueError("nothing to score: there are no texts")


def _check_words(index: int, gold: int, predicted: int) -> None:
    if gold != predicted:
        raise ValueError(f"text {index} has {gold} gold words but {predicted} predicted ones")


def _share_equal(gold: Sequence[object], predicted: Sequence[object]) -> float:
    return sum(g == p for g, p in zip(gold, predicted, strict=True)) / len(gold)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _finite(values: Sequence[float], side: str) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        index = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"the {side} value of text {index} is {array[index]}, not a finite number")
    return array


def _correlation(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Pearson's r of two vectors of one length; 0.0 where either is constant."""
    # Compare the ends, not the variance: the mean of equal floats may be off by a rounding error.
    if x.min() == x.max() or y.min() == y.max():
        return 0.0
    return float(np.clip(_unit(x) @ _unit(y), -1.0, 1.0))


def _unit(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``x`` centred and scaled to length 1; scaled twice, since squares of tiny or huge numbers leave the range."""
    centred: npt.NDArray[np.float64] = x / np.abs(x).max()
    centred = centred - centred.mean()
    centred /= np.abs(centred).max()
    centred /= np.linalg.norm(centred)
    return centred
