"""Gold and predicted values in, figures out: the field's scores, one function for each kind of value.

Accuracies, precisions, recalls and F1 are fractions in [0, 1], correlations lie in [-1, 1], and ``rmse`` has
the unit of the values; whoever prints them turns fractions into per cent. Every function raises
``ValueError`` when gold and predictions differ in length (texts, or words of a text) and when there is
nothing to score (no texts, no gold words): a score over nothing is no number, and 0.0 would pass for a bad
model. A ratio whose denominator is empty although there are texts (F1 where no span is gold or predicted)
is 0.0, as in scikit-learn, seqeval and the CoNLL scorer.

Most figures are made of counts that add up over texts. A :class:`Tally` holds the counts of each text and says what
figures any sums of them make, so that a score and its interval (see ``intervals.py``) are one computation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, hstack

from polyhead.data.example import Labels, Spans, Tree, WordLabels

_OVERFLOW = 700.0
"""Beyond this exp is infinite, which JSON does not know."""

CONTENT_RELATIONS = frozenset(
    {
        *("nsubj", "obj", "iobj", "csubj", "ccomp", "xcomp", "obl", "vocative", "expl", "dislocated"),
        *("advcl", "advmod", "discourse", "nmod", "appos", "nummod", "acl", "amod", "conj", "fixed", "flat"),
        *("compound", "list", "parataxis", "orphan", "goeswith", "reparandum", "root", "dep"),
    }
)
"""The relations that CLAS counts, as the CoNLL 2018 scorer lists them: neither function words nor ``punct``."""


Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tally:
    """What each text counts, and what figures sums of these counts make.

    Attributes:
        counts: Shape (texts, counts), sparse: a label set may be of thousands, of which a text has a few.
        figures_of: From sums of counts, shape (samples, counts), to each figure, shape (samples,). A figure that a
            sample says nothing of, such as the F1 of a label that is not in it, is NaN.
    """

    counts: csr_array
    figures_of: Callable[[Floats], dict[str, Floats]]

    def figures(self) -> dict[str, float]:
        """The figures of all texts together."""
        sums = np.asarray(self.counts.sum(axis=0), dtype=np.float64).reshape(1, -1)
        return {name: float(values[0]) for name, values in self.figures_of(sums).items()}


def accuracy_and_f1(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """One label per text.

    Returns:
        ``accuracy``; ``macro_f1``, the plain mean of the F1 of each label that is gold or predicted anywhere
        (scikit-learn's default): a label that occurs in neither does not count.

    Raises:
        ValueError: No texts, or not as many predictions as gold labels.
    """
    return tally_labels(gold, predicted).figures()


def tally_labels(gold: Sequence[str], predicted: Sequence[str]) -> Tally:
    """The counts behind ``accuracy_and_f1``: texts, right ones, and for each label how often it is where."""
    check_texts(gold, predicted)
    pairs = list(zip(gold, predicted, strict=True))
    found, counts = _count_labels([([wanted], [given]) for wanted, given in pairs])
    right = [wanted == given for wanted, given in pairs]

    def figures_of(sums: Floats) -> dict[str, Floats]:
        texts, hits, labels = _split(sums, len(found))
        return {"accuracy": _share(hits, texts), "macro_f1": _macro(labels)}

    return Tally(_with_first(right, counts), figures_of)


def multilabel(gold: Sequence[Labels], predicted: Sequence[Labels]) -> dict[str, float]:
    """Several labels per text.

    Returns:
        ``accuracy``, the share of texts whose labels are all right and none too many (subset accuracy);
        ``micro_f1`` over all pairs of text and label; ``macro_f1``, the plain mean of the F1 of each label
        that is gold or predicted anywhere. Both F1 are 0.0 where no text has a label, gold or predicted.

    Raises:
        ValueError: No texts, or not as many predictions as gold values.
    """
    return tally_label_sets(gold, predicted).figures()


def tally_label_sets(gold: Sequence[Labels], predicted: Sequence[Labels]) -> Tally:
    """The counts behind ``multilabel``: as ``tally_labels`` has them."""
    check_texts(gold, predicted)
    pairs = list(zip(gold, predicted, strict=True))
    found, counts = _count_labels(pairs)
    right = [wanted == given for wanted, given in pairs]

    def figures_of(sums: Floats) -> dict[str, Floats]:
        texts, hits, labels = _split(sums, len(found))
        micro = _ratio(2 * labels[:, 2].sum(-1), labels[:, :2].sum((1, 2)))
        return {"accuracy": _share(hits, texts), "micro_f1": micro, "macro_f1": _macro(labels)}

    return Tally(_with_first(right, counts), figures_of)


def regression(gold: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """One number per text.

    Returns:
        ``pearson`` and ``spearman`` (ties get their mean rank) in [-1, 1], 0.0 where either side is constant
        and so cannot be correlated with anything; ``rmse``, the root mean squared error.

    Raises:
        ValueError: No texts, not as many predictions as gold values, or a value that is not finite.
    """
    from scipy.stats import rankdata  # takes half a second, which those who predict need not wait for

    check_texts(gold, predicted)
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
    return tally_words(gold, predicted).figures()


def tally_words(gold: Sequence[WordLabels], predicted: Sequence[WordLabels]) -> Tally:
    """The counts behind ``word_accuracy``: words with gold, and right ones."""
    check_texts(gold, predicted)
    rows = []
    for index, (wanted, given) in enumerate(zip(gold, predicted, strict=True)):
        _check_words(index, len(wanted), len(given))
        right = sum(w is not None and w == g for w, g in zip(wanted, given, strict=True))
        rows.append((len(wanted) - wanted.count(None), right))
    if not any(total for total, _ in rows):
        raise ValueError("nothing to score: no word has a gold label")
    return Tally(_dense(rows), lambda sums: {"accuracy": _share(sums[:, 1], sums[:, 0])})


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
    return tally_spans(gold, predicted).figures()


def tally_spans(gold: Sequence[Spans], predicted: Sequence[Spans]) -> Tally:
    """The counts behind ``span_f1``: for each label its spans in gold, in the predictions, and right ones."""
    check_texts(gold, predicted)
    found, counts = _count_labels(list(zip(gold, predicted, strict=True)), label_of=lambda span: span[2])

    def figures_of(sums: Floats) -> dict[str, Floats]:
        labels = sums.reshape(len(sums), 3, len(found))
        n_gold, n_predicted, right = labels.sum(-1).T
        figures = {
            "precision": _ratio(right, n_predicted),
            "recall": _ratio(right, n_gold),
            "f1": _ratio(2 * right, n_gold + n_predicted),
        }
        return figures | {f"f1/{label}": _f1_of(labels[..., i]) for i, label in enumerate(found)}

    return Tally(counts, figures_of)


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
    return tally_trees(gold, predicted).figures()


def tally_trees(gold: Sequence[Tree], predicted: Sequence[Tree]) -> Tally:
    """The counts behind ``attachment``: words, right heads, right arcs with and without subtypes, content arcs."""
    check_texts(gold, predicted)
    rows = []
    for index, (wanted, given) in enumerate(zip(gold, predicted, strict=True)):
        _check_words(index, len(wanted.heads), len(given.heads))
        rows.append(_attached(wanted, given))
    if not any(row[0] for row in rows):
        raise ValueError("nothing to score: the trees have no words")

    def figures_of(sums: Floats) -> dict[str, Floats]:
        words, heads, exact, universal, content, content_right = sums.T
        return {
            "uas": _share(heads, words),
            "las": _share(exact, words),
            "las_universal": _share(universal, words),
            "clas": _ratio(2 * content_right, content),
        }

    return Tally(_dense(rows), figures_of)


def _attached(gold: Tree, predicted: Tree) -> tuple[int, ...]:
    """What one tree counts; content arcs of both sides are counted together."""
    heads = exact = universal = content = content_right = 0
    pairs = zip(gold.heads, gold.relations, predicted.heads, predicted.relations, strict=True)
    for head, relation, given_head, given_relation in pairs:
        base, given_base = relation.partition(":")[0], given_relation.partition(":")[0]
        same_head = head == given_head
        same_arc = same_head and base == given_base
        heads += same_head
        exact += same_head and relation == given_relation
        universal += same_arc
        content += (base in CONTENT_RELATIONS) + (given_base in CONTENT_RELATIONS)
        content_right += same_arc and base in CONTENT_RELATIONS
    return len(gold.heads), heads, exact, universal, content, content_right


def _count_labels(
    pairs: Sequence[tuple[Iterable[Any], Iterable[Any]]], label_of: Callable[[Any], str] = str
) -> tuple[list[str], csr_array]:
    """How many things of each label a text has in gold, in the predictions, and in both.

    Args:
        pairs: The things of each text, gold and predicted: labels, or spans.
        label_of: The label of a thing.

    Returns:
        The labels that are anywhere, in alphabetical order, and counts of shape (texts, 3 * labels).
    """
    sets = [(set(gold), set(predicted)) for gold, predicted in pairs]
    labels = sorted({label_of(thing) for gold, predicted in sets for thing in gold | predicted})
    index = {label: i for i, label in enumerate(labels)}
    rows: list[int] = []
    columns: list[int] = []
    for row, (gold, predicted) in enumerate(sets):
        for part, things in enumerate((gold, predicted, gold & predicted)):
            columns += [part * len(labels) + index[label_of(thing)] for thing in things]
            rows += [row] * len(things)
    ones = np.ones(len(rows), dtype=np.int64)
    return labels, csr_array((ones, (rows, columns)), shape=(len(sets), 3 * len(labels)))


def _with_first(right: Sequence[bool], counts: csr_array) -> csr_array:
    """Counts with two more before them: each text itself, and whether it is right."""
    first = np.column_stack([np.ones(len(right), dtype=np.int64), np.asarray(right, dtype=np.int64)])
    return csr_array(hstack([csr_array(first), counts]))


def _dense(rows: Sequence[tuple[int, ...]]) -> csr_array:
    return csr_array(np.asarray(rows, dtype=np.int64))


def _split(sums: Floats, labels: int) -> tuple[Floats, Floats, Floats]:
    """What ``_with_first`` joined: texts and right ones (samples,), and counts of labels (samples, 3, labels)."""
    return sums[:, 0], sums[:, 1], sums[:, 2:].reshape(len(sums), 3, labels)


def _f1_of(counts: Floats) -> Floats:
    """The F1 of labels from their counts in gold, in the predictions and in both, (samples, 3, ...); NaN if in none."""
    total = counts[:, 0] + counts[:, 1]
    return np.divide(2 * counts[:, 2], total, out=np.full_like(total, np.nan), where=total > 0)


def _macro(labels: Floats) -> Floats:
    """The plain mean of the F1 of each label that is gold or predicted; 0.0 where none is. Shape (samples,)."""
    f1 = _f1_of(labels)
    there = ~np.isnan(f1)
    return _ratio(np.where(there, f1, 0.0).sum(-1), there.sum(-1).astype(np.float64))


def check_texts(gold: Sequence[object], predicted: Sequence[object]) -> None:
    """See that there are texts, and a prediction for each.

    Raises:
        ValueError: There are none, or not as many.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold values but {len(predicted)} predictions")
    if not gold:
        raise ValueError("nothing to score: there are no texts")


def perplexity(loss: float, right: float, units: float) -> dict[str, float]:
    """``perplexity`` and ``accuracy`` of a language model over so many pieces.

    Args:
        loss: Their cross entropy, summed up.
        right: For how many of them the likeliest piece is right.
        units: How many they are; no figure is beyond all bounds even where it is 0.
    """
    units = max(1.0, units)
    return {"perplexity": math.exp(min(loss / units, _OVERFLOW)), "accuracy": right / units}


def _check_words(index: int, gold: int, predicted: int) -> None:
    if gold != predicted:
        raise ValueError(f"text {index} has {gold} gold words but {predicted} predicted ones")


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def _share(part: Floats, whole: Floats) -> Floats:
    """The share of the texts or words that there are; without any it is no number."""
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)


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
