"""Answers for each word: a label, or a lemma by its edit script."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from polyhead.answering.chooser import Chooser, Given, best_of, cuts
from polyhead.data.example import Prediction, WordLabels
from polyhead.nn.edits import apply

lemma_of = lru_cache(maxsize=1 << 16)(apply)
"""Remembered, since most words come often."""


@dataclass(frozen=True)
class ChooseWordLabels(Chooser):
    """The most probable label of each word, from ``logits``, (all words, labels).

    Attributes:
        labels: What to choose from.
    """

    labels: list[str]

    def choose(self, given: Given) -> list[Prediction]:
        """The labels and their probabilities."""
        best, sure = best_of(given.scores["logits"], given.temperature)
        chosen, chances = [self.labels[i] for i in best.tolist()], sure.tolist()
        return [Prediction(WordLabels(chosen[a:b]), tuple(chances[a:b])) for a, b in cuts(given.counts)]


@dataclass(frozen=True)
class ChooseLemmas(Chooser):
    """The lemma of each word: the most probable edit script, from ``logits``, (all words, scripts), applied to it.

    Attributes:
        scripts: What to choose from (see :mod:`polyhead.nn.edits`).
    """

    scripts: list[str]

    def choose(self, given: Given) -> list[Prediction]:
        """The lemmas, and the probabilities of their scripts."""
        best, sure = best_of(given.scores["logits"], given.temperature)
        rules, chances = [self.scripts[i] for i in best.tolist()], sure.tolist()
        return [
            Prediction(WordLabels(map(lemma_of, rules[a:b], words)), tuple(chances[a:b]))
            for (a, b), words in zip(cuts(given.counts), given.texts, strict=True)
        ]
