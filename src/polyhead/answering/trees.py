"""Answers with a dependency tree over the words of each text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyhead.answering.chooser import Array, Chooser, Given, cuts, log_softmax, softmax
from polyhead.data.example import Prediction, Tree
from polyhead.nn.mst import decode

ROOT = "root"
"""The relation of the word that hangs on the root."""

RELATIONS = "relations"
"""The network that scores relations: from ``dependents`` and ``heads``, (arcs, size) each, to ``logits``, (arcs,
relations)."""


@dataclass(frozen=True)
class ChooseTree(Chooser):
    """The best tree with one root, and a relation for each of its arcs.

    It reads ``arcs``, (all words, longest + 1), the score of each head, the root first, -inf beyond each text;
    ``dependents``, (all words, size); and ``heads``, (all words + 1, size), the root first, for the network
    ``relations``, which scores the relations of chosen arcs.

    Attributes:
        relations: What to choose from.
    """

    relations: list[str]

    def choose(self, given: Given) -> list[Prediction]:
        """The tree; a word's confidence is the probability of its arc and relation."""
        counts = given.counts
        if not sum(counts):
            return [Prediction(Tree((), ()), ()) for _ in counts]
        log_chances = log_softmax(given.scores["arcs"])  # (all words, longest + 1)
        chosen = _best_heads(log_chances, counts)
        starts = np.repeat([begin for begin, _ in cuts(counts)], counts)
        places = np.where(chosen == 0, 0, chosen + starts)  # the root is first
        heads = given.scores["heads"][places]
        logits = given.ask(RELATIONS, {"dependents": given.scores["dependents"], "heads": heads})["logits"]
        chances = softmax(self._allowed(logits, chosen) / np.float32(given.temperature))
        index = chances.argmax(axis=1)
        if given.temperature != 1:
            log_chances = log_softmax(log_chances / np.float32(given.temperature))
        arcs = np.exp(np.take_along_axis(log_chances, chosen[:, None], axis=1)[:, 0])
        sure = (arcs * np.take_along_axis(chances, index[:, None], axis=1)[:, 0]).tolist()
        names, ends = [self.relations[i] for i in index.tolist()], chosen.tolist()
        return [Prediction(Tree(tuple(ends[a:b]), tuple(names[a:b])), tuple(sure[a:b])) for a, b in cuts(counts)]

    def _allowed(self, logits: Array, heads: NDArray[np.int64]) -> Array:
        """Logits of relations in which ``root`` goes with the root and with nothing else, as UD demands."""
        if ROOT not in self.relations or len(self.relations) == 1:
            return logits
        is_root = np.asarray([relation == ROOT for relation in self.relations])
        return np.where((heads == 0)[:, None] != is_root, np.float32(-np.inf), logits)


def _best_heads(log_chances: Array, counts: Sequence[int]) -> NDArray[np.int64]:
    """The head of each word in the best tree of its text. Shape (all words,)."""
    found = []
    for (begin, end), count in zip(cuts(counts), counts, strict=True):
        square = np.zeros((count + 1, count + 1), dtype=log_chances.dtype)
        square[1:] = log_chances[begin:end, : count + 1]
        found.append(decode(square)[0])
    return np.concatenate(found)
