"""Gold beside an answer, unit by unit: what was right, what was taken for what, and scores by label.

Each kind of value has its own units: a text, a label of several, a word, a span, an arc.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from polyhead.data.example import Labels, Span, Spans, Text, Tree, Value, WordLabels


class Outcome(NamedTuple):
    """One unit of gold beside one of the answer.

    Attributes:
        gold, given: Its labels; ``None`` where one side has nothing there.
        right: Whether it counts as right. Two equal labels are not always: a span may have other bounds, a word
            another head.
        first, last: The first word, and the one after the last; 0 and 0 for a whole text.
    """

    gold: str | None
    given: str | None
    right: bool
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How a label fares.

    Attributes:
        label: The label.
        gold: How often it is in gold.
        given: How often it was answered.
        right: How often both agree.
    """

    label: str
    gold: int
    given: int
    right: int

    @property
    def precision(self) -> float | None:
        """The share of answers that are right; ``None`` if there are none."""
        return self.right / self.given if self.given else None

    @property
    def recall(self) -> float | None:
        """The share of gold that was answered; ``None`` if there is none."""
        return self.right / self.gold if self.gold else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both; ``None`` where there is neither gold nor an answer."""
        both = self.gold + self.given
        return 2 * self.right / both if both else None


def outcomes(gold: Value, given: Value) -> list[Outcome]:
    """The units of a value beside those of an answer of the same kind; none for numbers and texts.

    Words without gold are left out. Of several labels and of spans, what both lack is no unit.
    """
    if isinstance(gold, Labels) and isinstance(given, Labels):
        both = [(x if x in gold else None, x if x in given else None) for x in sorted(gold | given)]
        return [Outcome(one, other, one == other) for one, other in both]
    if isinstance(gold, WordLabels) and isinstance(given, WordLabels):
        pairs = enumerate(zip(gold, given, strict=True))
        return [Outcome(one, other, one == other, i, i + 1) for i, (one, other) in pairs if one is not None]
    if isinstance(gold, Spans) and isinstance(given, Spans):
        return _spans(gold, given)
    if isinstance(gold, Tree) and isinstance(given, Tree):
        arcs = zip(gold.heads, gold.relations, given.heads, given.relations, strict=True)
        return [
            Outcome(one, other, (head, one) == (found, other), i, i + 1)
            for i, (head, one, found, other) in enumerate(arcs)
        ]
    if isinstance(gold, str) and isinstance(given, str) and not isinstance(gold, Text):
        return [Outcome(gold, given, gold == given)]
    return []


def _spans(gold: Spans, given: Spans) -> list[Outcome]:
    """Spans of the same bounds belong together; of the others those that overlap, each with one at most."""
    theirs = {(span.start, span.end): span for span in given}
    found = []
    alone: list[Span] = []
    for span in gold:
        same = theirs.pop((span.start, span.end), None)
        if same is None:
            alone.append(span)
        else:
            found.append(Outcome(span.label, same.label, span.label == same.label, span.start, span.end))
    for span in alone:
        over = next((one for one in theirs.values() if one.start < span.end and span.start < one.end), None)
        if over is not None:
            del theirs[over.start, over.end]
        ends = (span.start, span.end) if over is None else (min(span.start, over.start), max(span.end, over.end))
        found.append(Outcome(span.label, None if over is None else over.label, False, *ends))
    found += [Outcome(None, span.label, False, span.start, span.end) for span in theirs.values()]
    return found


def hits(gold: Value, given: Value) -> list[bool | None]:
    """Whether an answer is right, for each number that its confidence has; ``None`` where gold does not say."""
    if isinstance(gold, WordLabels) and isinstance(given, WordLabels):
        return [None if one is None else one == other for one, other in zip(gold, given, strict=True)]
    if isinstance(gold, Spans) and isinstance(given, Spans):
        return [span in set(gold) for span in given]
    if isinstance(gold, Tree) and isinstance(given, Tree):
        return [one.right for one in outcomes(gold, given)]
    if isinstance(gold, float | Text):
        return [None]
    return [gold == given]


def label_scores(found: Iterable[Outcome]) -> list[LabelScore]:
    """How each label fares, the most frequent in gold first."""
    gold: Counter[str] = Counter()
    given: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for one in found:
        if one.gold is not None:
            gold[one.gold] += 1
            right[one.gold] += one.right
        if one.given is not None:
            given[one.given] += 1
    labels = sorted({*gold, *given}, key=lambda label: (-gold[label], label))
    return [LabelScore(label, gold[label], given[label], right[label]) for label in labels]


def confusions(found: Iterable[Outcome]) -> list[tuple[str | None, str | None, int]]:
    """What was taken for what, and how often, the most frequent first; only what is wrong."""
    counts = Counter((one.gold, one.given) for one in found if not one.right)
    ordered: Sequence[tuple[tuple[str | None, str | None], int]] = sorted(
        counts.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or "")
    )
    return [(gold, given, count) for (gold, given), count in ordered]
