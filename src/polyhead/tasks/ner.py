"""Named entities: labelled spans of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyhead.answering.chooser import Chooser
from polyhead.answering.spans import ChooseSpans
from polyhead.data.example import Example, Spans, Value
from polyhead.errors import PolyheadError, nearest
from polyhead.metrics import Tally, tally_spans
from polyhead.nn.crf import Crf, iob2_transitions
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.soft import Soft, divergence, keep, per_example, soft_loss, translate
from polyhead.nn.tempered import surprises
from polyhead.nn.words import IGNORE, WordClassifier, word_loss
from polyhead.tasks.base import Task, learnt
from polyhead.tasks.head import Head, LossSum
from polyhead.tasks.labels import linear_axes, unknown_label

IMPOSSIBLE = -1e4
"""The score of a tag that a word cannot have: its probability is 0, and gradients stay finite (of -inf they do not)."""


@dataclass(kw_only=True)
class Ner(Task):
    """Spans such as names of people and places, by a tag for each word and decoding that allows valid spans only.

    Attributes:
        crf: Whether transitions between tags are learnt too (a conditional random field).
        only: The labels that the dataset marks; where it marks no span, there may still be one of another label. By
            default it marks all.
        labels: The span labels, sorted.
    """

    kind: ClassVar[type] = Spans
    metric: ClassVar[str] = "f1"
    inventory: ClassVar[str] = "labels"

    own: ClassVar[frozenset[str]] = Task.own | {"only"}

    crf: bool = False
    only: list[str] = field(default_factory=list)
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

    def target(self, example: Example) -> NDArray[Any] | None:
        """The tag of each word, shape (words,); where not all labels are marked, which tags it may have, as truth
        values of shape (words, tags).

        Raises:
            PolyheadError: A span has a label that is not among those that the task says are marked.
        """
        if not self.carries(example):
            return None
        self._see_marked(example)
        tags = self._tags(example)
        return self._possible(tags) if self.only else tags

    def unit_gold(self, example: Example) -> NDArray[np.int64] | None:
        """The tag of each word; where not all labels are marked, words without a mark have none."""
        if not self.carries(example):
            return None
        tags = self._tags(example)
        return np.where(tags == 0, IGNORE, tags) if self.only else tags

    def _tags(self, example: Example) -> NDArray[np.int64]:
        """The index of each word's tag. Shape (words,)."""
        tags = np.zeros(len(example.words), dtype=np.int64)
        for span in self._gold(example):
            if span.label in self.labels:
                begin = 1 + 2 * self.labels.index(span.label)
                tags[span.start] = begin
                tags[span.start + 1 : span.end] = begin + 1
        return tags

    def _possible(self, tags: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where nothing is marked there may be a span of another label than those that are."""
        possible: NDArray[np.bool_] = np.eye(len(self.tags), dtype=bool)[tags]
        unmarked = [tag != "O" and tag[2:] not in self.only for tag in self.tags]
        possible[tags == 0] |= np.asarray(unmarked)
        return possible

    def check(self, examples: Sequence[Example], split: str) -> list[str]:
        """A span label that training never shows is an error, and so is one that should not be marked."""
        for label in self.only:
            if label not in self.labels:
                raise PolyheadError(
                    f"tasks.{self.name}.only names {label!r}, but no span of the training splits has it.",
                    remedy=nearest(label, self.labels),
                )
        for example in examples:
            self._see_marked(example)
            for span in self._gold(example):
                if span.label not in self.labels:
                    raise unknown_label(self, example, span.label, split, self.labels, span.start)
        return []

    def choices(self) -> list[str]:
        """The tags."""
        return self.tags

    def marks(self, target: NDArray[Any]) -> NDArray[np.int64]:
        """The tags; where not all labels are marked, those of words that can have one tag only."""
        return _single(target)

    def tally(self, examples: Sequence[Example], predicted: Sequence[Value]) -> Tally:
        """Of strict ``precision``, ``recall`` and ``f1`` over spans, and ``f1/LABEL``; of labels that are marked."""
        answers = cast(Sequence[Spans], predicted)
        if self.only:
            answers = [Spans(span for span in spans if span.label in self.only) for spans in answers]
        return tally_spans([self._gold(example) for example in examples], answers)

    def _see_marked(self, example: Example) -> None:
        for span in self._gold(example) if self.only else ():
            if span.label not in self.only:
                raise PolyheadError(
                    f"There is a span {span.label!r}, but tasks.{self.name}.only = {self.only} says which are marked.",
                    file=example.file,
                    line=example.lines[span.start] if example.lines else example.line,
                    remedy="Add the label to only, or leave only out if all spans are marked.",
                )

    def _gold(self, example: Example) -> Spans:
        return cast(Spans, example.layers.get(self.layer, Spans()))


def _single(target: NDArray[Any]) -> NDArray[np.int64]:
    """The tag of each word, or ``IGNORE`` where several are possible. Shape (words,)."""
    if target.ndim == 1:
        return np.asarray(target, dtype=np.int64)
    return np.where(target.sum(axis=1) == 1, target.argmax(axis=1), IGNORE).astype(np.int64)


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
        self.crf = Crf(*iob2_transitions(self.tags)) if crf else None

    def loss(self, encoding: Encoding, targets: Sequence[NDArray[np.int64]]) -> LossSum:
        """Cross entropy over words; with a CRF the negative log likelihood of whole sequences.

        Where several tags are possible it is that of any of them (with a CRF: of all sequences that have only possible
        tags; Tsuboi et al. 2008).
        """
        logits = self.classify(encoding)
        if targets and targets[0].ndim == 2:
            return self._possible_loss(encoding, logits, torch.from_numpy(np.concatenate(targets)).to(logits.device))
        if self.crf is None:
            return LossSum(*word_loss(logits, targets))
        gold = torch.from_numpy(np.concatenate(targets)).to(logits.device)
        padded = encoding.pad(gold[:, None])[:, :, 0]
        return LossSum(self.crf.loss(encoding.pad(logits), encoding.word_mask, padded), len(gold))

    def _possible_loss(self, encoding: Encoding, logits: Tensor, possible: Tensor) -> LossSum:
        """As ``loss``, given which tags each word may have. Shape (all words, tags)."""
        within = logits.masked_fill(~possible, IMPOSSIBLE)
        if self.crf is None:
            gap = torch.logsumexp(logits, dim=1) - torch.logsumexp(within, dim=1)  # (all words,)
            return LossSum(gap.sum(), len(logits))
        mask = encoding.word_mask
        return LossSum(self.crf.likelihood(encoding.pad(logits), encoding.pad(within), mask), len(logits))

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

    def surprise(self, encoding: Encoding, targets: Sequence[NDArray[Any]], temperatures: Sequence[float]) -> Tensor:
        """Cross entropies of tags, with a CRF of their probabilities given the whole text, over each temperature."""
        found = self._log_chances(encoding, self.classify(encoding))
        gold = torch.from_numpy(np.concatenate([_single(target) for target in targets])).to(found.device)
        return surprises(found, gold, encoding.counts, temperatures)

    def chances(self, encoding: Encoding, targets: Sequence[object]) -> list[NDArray[np.float32]]:  # noqa: ARG002
        """The probability of each tag of each word, (words, tags)."""
        found = self._chances(encoding, self.classify(encoding)).numpy(force=True)
        return np.split(found, np.cumsum(encoding.counts)[:-1])

    def scores(self, encoding: Encoding) -> dict[str, Tensor]:
        """The logits of tags. Shape (all words, tags)."""
        return {"logits": self.classify(encoding)}

    def chooser(self) -> Chooser:
        """The spans of the best valid sequence."""
        if self.crf is None:
            return ChooseSpans(self.tags)
        learnt = (self.crf.soft_follow, self.crf.soft_first)
        return ChooseSpans(self.tags, *(weight.detach().float().tolist() for weight in learnt))

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

    def _log_chances(self, encoding: Encoding, logits: Tensor) -> Tensor:
        """The logarithms of the same; without a CRF the logits themselves. Shape (all words, tags)."""
        if self.crf is None or not len(logits):
            return logits
        return self.crf.log_marginals(encoding.pad(logits), encoding.word_mask)[encoding.word_mask]
