"""Named entities: labelled spans of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyhead.data.example import Example, Prediction, Span, Spans, Value
from polyhead.errors import PolyheadError
from polyhead.metrics import Tally, tally_spans
from polyhead.nn.crf import Crf, iob2_transitions, viterbi
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.soft import Soft, divergence, keep, per_example, soft_loss, translate
from polyhead.nn.words import WordClassifier, word_loss
from polyhead.tasks.base import Head, LossSum, Task, learnt, linear_axes, unknown_label


@dataclass(kw_only=True)
class Ner(Task):
    """Spans such as names of people and places, by a tag for each word and decoding that allows valid spans only.

    Attributes:
        crf: Whether transitions between tags are learnt too (a conditional random field).
        labels: The span labels, sorted.
    """

    kind: ClassVar[type] = Spans
    metric: ClassVar[str] = "f1"
    inventory: ClassVar[str] = "labels"

    crf: bool = False
    labels: list[str] = learnt()

    @property
    def tags(self) -> list[str]:
        """The IOB2 tags that the head chooses from; ``O`` is first."""
        return ["O", *(f"{mark}-{label}" for label in self.labels for mark in "BI")]

    def prepare(self, examples: Sequence[Example]) -> None:
        """Collect the labels of spans."""
        found = {span.label for example in examples for span in self._gold(example)}
        self.labels = sorted(found | self.earlier_labels())
        if not self.labels:
            raise PolyheadError(
                f"tasks.{self.name}: layer {self.layer!r} has no span in the training split.",
                file=examples[0].file if examples else None,
                remedy="Check which layer the task names.",
            )

    def head(self, encoder: Encoder) -> Head:
        """A linear layer over tags on each word, and constrained decoding."""
        return NerHead(encoder.width, self.tags, crf=self.crf, dropout=self.dropout)

    def target(self, example: Example) -> NDArray[np.int64] | None:
        """The tag of each word. Shape (words,)."""
        if not self.carries(example):
            return None
        tags = np.zeros(len(example.words), dtype=np.int64)
        for span in self._gold(example):
            if span.label in self.labels:
                begin = 1 + 2 * self.labels.index(span.label)
                tags[span.start] = begin
                tags[span.start + 1 : span.end] = begin + 1
        return tags

    def check(self, examples: Sequence[Example], split: str) -> list[str]:
        """A span label that training never shows is an error."""
        for example in examples:
            for span in self._gold(example):
                if span.label not in self.labels:
                    raise unknown_label(self, example, span.label, split, self.labels, span.start)
        return []

    def choices(self) -> list[str]:
        """The tags."""
        return self.tags

    def tally(self, examples: Sequence[Example], predicted: Sequence[Value]) -> Tally:
        """Of strict ``precision``, ``recall`` and ``f1`` over spans, and ``f1/LABEL``."""
        return tally_spans([self._gold(example) for example in examples], cast(Sequence[Spans], predicted))

    def _gold(self, example: Example) -> Spans:
        return cast(Spans, example.layers.get(self.layer, Spans()))


class NerHead(Head):
    """A linear layer over tags, decoded so that only valid sequences can come out.

    Args:
        width: The encoder's width.
        tags: IOB2 tags, ``O`` first, then ``B-x`` and ``I-x`` for each label.
        crf: Whether to learn transitions.
        dropout: The share of values dropped in training.
    """

    def __init__(self, width: int, tags: Sequence[str], *, crf: bool, dropout: float) -> None:
        super().__init__()
        self.tags = list(tags)
        self.classify = WordClassifier(width, len(tags), dropout)
        follow, first = iob2_transitions(self.tags)
        self.crf = Crf(follow, first) if crf else None
        self.register_buffer("follow", follow, persistent=False)
        self.register_buffer("first", first, persistent=False)

    def loss(self, encoding: Encoding, targets: Sequence[NDArray[np.int64]]) -> LossSum:
        """Cross entropy over words; with a CRF the negative log likelihood of whole sequences."""
        logits = self.classify(encoding)
        if self.crf is None:
            return LossSum(*word_loss(logits, targets))
        gold = torch.from_numpy(np.concatenate(targets)).to(logits.device)
        padded = encoding.pad(gold[:, None])[:, :, 0]
        return LossSum(self.crf.loss(encoding.pad(logits), encoding.word_mask, padded), len(gold))

    def soft(self, encoding: Encoding, choices: Sequence[str], temperature: float) -> list[Soft]:
        """The probabilities of each word's tags; with a CRF given the whole text, its scores over the temperature."""
        chances = self._chances(encoding, self.classify(encoding), temperature)
        return per_example(keep(translate(chances, self.tags, choices)), encoding.counts)

    def distil(self, encoding: Encoding, soft: Sequence[Soft], temperature: float) -> LossSum:
        """The Kullback-Leibler divergence from the teacher, summed over words.

        With a CRF the student's tags have their probabilities given the whole text, too, with gradients through the
        forward and backward sums (posterior distillation of structures, Wang et al. 2020).
        """
        logits = self.classify(encoding)
        if self.crf is None or not len(logits):
            return LossSum(soft_loss(logits, soft, temperature), len(logits))
        found = self.crf.log_marginals(encoding.pad(logits), encoding.word_mask, temperature)[encoding.word_mask]
        return LossSum(temperature**2 * divergence(found, soft), len(logits))

    def predict(self, encoding: Encoding) -> list[Prediction]:
        """The spans of the best valid sequence; a span's confidence is the product of its tags' probabilities.

        With a CRF these are the tags' probabilities given the whole text.
        """
        logits = self.classify(encoding)
        if not len(logits):
            return [Prediction(Spans(), ()) for _ in encoding.counts]
        _best, free = logits.max(dim=1)
        chosen = self._decode(encoding, torch.log_softmax(logits, dim=1), free)
        chances = self._chances(encoding, logits).gather(1, chosen[:, None])[:, 0]
        return self._spans(encoding, chosen.numpy(force=True), chances.numpy(force=True))

    def label_axes(self) -> dict[str, dict[int, list[str]]]:
        """A row for each tag, and with a CRF the transitions between two."""
        axes = linear_axes("classify.linear", self.tags)
        if self.crf is not None:
            axes |= {"crf.soft_follow": {0: self.tags, 1: self.tags}, "crf.soft_first": {0: self.tags}}
        return axes

    def _chances(self, encoding: Encoding, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """The probability of each tag of each word. Shape (all words, tags)."""
        if self.crf is None or not len(logits):
            return torch.softmax(logits / temperature, dim=1)
        mask = encoding.word_mask
        return self.crf.log_marginals(encoding.pad(logits), mask, temperature)[mask].exp()

    def _decode(self, encoding: Encoding, scores: Tensor, free: Tensor) -> Tensor:
        """Tags of all words, (all words,). Each word's own best tags are kept where they are valid together."""
        follow, first = cast(Tensor, self.follow), cast(Tensor, self.first)
        if self.crf is not None:
            return self.crf.decode(encoding.pad(scores), encoding.word_mask)[encoding.word_mask]
        starts = torch.zeros(len(free), dtype=torch.bool, device=free.device)
        ends = np.cumsum([0, *encoding.counts])[:-1]
        starts[torch.from_numpy(ends[np.asarray(encoding.counts) > 0]).to(free.device)] = True
        before = follow[free.roll(1), free]
        if not bool((torch.where(starts, first[free], before) < 0).any()):
            return free
        return viterbi(encoding.pad(scores), encoding.word_mask, follow, first)[encoding.word_mask]

    def _spans(self, encoding: Encoding, tags: NDArray[Any], chances: NDArray[Any]) -> list[Prediction]:
        out, start = [], 0
        for count in encoding.counts:
            spans: list[Span] = []
            sure: list[float] = []
            inside = np.flatnonzero(tags[start : start + count])
            for word in inside.tolist():
                tag, chance = self.tags[tags[start + word]], float(chances[start + word])
                if tag.startswith("B-"):
                    spans.append(Span(word, word + 1, tag[2:]))
                    sure.append(chance)
                else:  # decoding lets I-x follow B-x or I-x only
                    spans[-1] = spans[-1]._replace(end=word + 1)
                    sure[-1] *= chance
            out.append(Prediction(Spans(spans), tuple(sure)))
            start += count
        return out
