"""Answers with labelled spans of words, by a tag for each word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyhead.answering.chooser import Array, Chooser, Given, cuts, laid_out, log_softmax, softmax
from polyhead.data.example import Prediction, Span, Spans
from polyhead.nn.tags import log_marginals, transitions, viterbi


@dataclass(frozen=True)
class ChooseSpans(Chooser):
    """The spans of the best valid sequence of IOB2 tags, from ``logits``, (all words, tags).

    Attributes:
        tags: ``O`` first, then ``B-x`` and ``I-x`` for each label.
        follow: Learnt scores of tag i before tag j (a conditional random field), (tags, tags); none if none were.
        first: Learnt scores of first tags, (tags,).
    """

    tags: list[str]
    follow: list[list[float]] | None = None
    first: list[float] | None = None

    def choose(self, given: Given) -> list[Prediction]:
        """The spans; a span's confidence is the product of its tags' probabilities.

        With learnt transitions these are the tags' probabilities given the whole text.
        """
        logits, counts = given.scores["logits"], given.counts
        if not len(logits):
            return [Prediction(Spans(), ()) for _ in counts]
        follow, first = transitions(self.tags)
        if self.follow is None or self.first is None:
            chosen = self._valid(logits, counts, follow, first)
            chances = softmax(logits / np.float32(given.temperature))
        else:
            follow, first = (
                hard + np.asarray(soft, dtype=np.float32) for hard, soft in ((follow, self.follow), (first, self.first))
            )
            padded, mask = laid_out(logits, counts)
            chosen = viterbi(padded, mask, follow, first)[mask]
            found = log_marginals(padded, mask, follow, first)[mask]
            chances = np.exp(log_softmax(found / np.float32(given.temperature)))
        return self._spans(chosen, np.take_along_axis(chances, chosen[:, None], axis=1)[:, 0], counts)

    def _valid(self, logits: Array, counts: Sequence[int], follow: Array, first: Array) -> NDArray[np.int64]:
        """Tags of all words, (all words,). Each word's own best tags are kept where they are valid together."""
        free: NDArray[np.int64] = logits.argmax(axis=1)
        starts = np.zeros(len(free), dtype=bool)
        starts[[begin for begin, end in cuts(counts) if end > begin]] = True
        before = follow[np.roll(free, 1), free]
        if not (np.where(starts, first[free], before) < 0).any():
            return free
        padded, mask = laid_out(log_softmax(logits), counts)
        return viterbi(padded, mask, follow, first)[mask]

    def _spans(self, tags: NDArray[np.int64], chances: Array, counts: Sequence[int]) -> list[Prediction]:
        out = []
        for begin, end in cuts(counts):
            spans: list[Span] = []
            sure: list[float] = []
            for word in np.flatnonzero(tags[begin:end]).tolist():
                tag, chance = self.tags[tags[begin + word]], float(chances[begin + word])
                if tag.startswith("B-"):
                    spans.append(Span(word, word + 1, tag[2:]))
                    sure.append(chance)
                else:  # decoding lets I-x follow B-x or I-x only
                    spans[-1] = spans[-1]._replace(end=word + 1)
                    sure[-1] *= chance
            out.append(Prediction(Spans(spans), tuple(sure)))
        return out
