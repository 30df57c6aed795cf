"""Tagging: a label for each word, such as a part of speech or morphological features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from polyhead.answering.chooser import Chooser
from polyhead.answering.words import ChooseWordLabels
from polyhead.data.example import Example, Value, WordLabels
from polyhead.errors import PolyheadError
from polyhead.metrics import Tally, tally_words
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.soft import Soft, keep, per_example, soft_loss, translate
from polyhead.nn.tempered import surprises
from polyhead.nn.words import IGNORE, WordClassifier, word_loss
from polyhead.tasks.base import Task, learnt
from polyhead.tasks.head import Head, LossSum
from polyhead.tasks.labels import linear_axes, unknown_label, unseen_note

OPEN_LAYERS = ("feats", "xpos")
"""Layers whose labels are combinations, so that a new text may well show a new one."""


@dataclass(kw_only=True)
class Tagging(Task):
    """A label for each word, by a linear layer on the word's first piece.

    Attributes:
        unseen: What to do when the dev or test split has a label that training never showed: ``error`` or ``count``
            (as words that cannot be right). By default ``count`` for features and XPOS, else ``error``.
        labels: The labels, sorted.
    """

    kind: ClassVar[type] = WordLabels
    inventory: ClassVar[str] = "labels"

    unseen: Literal["error", "count"] | None = None
    labels: list[str] = learnt()

    def prepare(self, examples: Sequence[Example]) -> None:
        """Collect the labels."""
        found = {label for example in examples for label in self._gold(example) if label is not None}
        self.labels = sorted(found | self.earlier_labels())
        if not self.labels:
            raise PolyheadError(
                f"tasks.{self.name}: layer {self.layer!r} has no label in the training split.",
                file=examples[0].file if examples else None,
                remedy="Check which layer the task names.",
            )

    def head(self, encoder: Encoder) -> Head:
        """A linear layer on each word."""
        return TaggingHead(encoder.width, self.labels, dropout=self.dropout)

    def target(self, example: Example) -> NDArray[np.int64] | None:
        """The label of each word, or ``IGNORE``. Shape (words,)."""
        if not self.carries(example):
            return None
        index = self._index
        gold = (IGNORE if label is None else index.get(label, IGNORE) for label in self._gold(example))
        return np.fromiter(gold, dtype=np.int64, count=len(example.words))

    def unit_gold(self, example: Example) -> NDArray[np.int64] | None:
        """The label of each word."""
        return self.target(example)

    def check(self, examples: Sequence[Example], split: str) -> list[str]:
        """A label that training never shows is an error; in an open layer it is counted in a note."""
        strict = (self.unseen or ("count" if self.layer in OPEN_LAYERS else "error")) == "error"
        unseen = 0
        for example in examples:
            for word, label in enumerate(self._gold(example)):
                if label is None or label in self._index:
                    continue
                if strict:
                    error = unknown_label(self, example, label, split, self.labels, word)
                    error.remedy += f' Or set tasks.{self.name}.unseen = "count".'
                    raise error
                unseen += 1
        return unseen_note(self, unseen, "a label", split)

    def choices(self) -> list[str]:
        """The labels."""
        return self.labels

    def tally(self, examples: Sequence[Example], predicted: Sequence[Value]) -> Tally:
        """Of ``accuracy`` over words that have gold."""
        return tally_words([self._gold(example) for example in examples], cast(Sequence[WordLabels], predicted))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.labels)}

    def _gold(self, example: Example) -> WordLabels:
        return cast(WordLabels, example.layers.get(self.layer, WordLabels()))


class TaggingHead(Head):
    """A linear layer on each word.

    Args:
        width: The encoder's width.
        labels: What to choose from.
        dropout: The share of values dropped in training.
    """

    def __init__(self, width: int, labels: Sequence[str], *, dropout: float) -> None:
        super().__init__()
        self.labels = list(labels)
        self.classify = WordClassifier(width, len(labels), dropout)

    def loss(self, encoding: Encoding, targets: Sequence[NDArray[np.int64]]) -> LossSum:
        """Cross entropy over words that have gold."""
        return LossSum(*word_loss(self.classify(encoding), targets))

    def soft(self, encoding: Encoding, choices: Sequence[str], temperature: float) -> list[Soft]:
        """The probabilities of each word's labels."""
        chances = torch.softmax(self.classify(encoding) / temperature, dim=1)
        return per_example(keep(translate(chances, self.labels, choices)), encoding.counts)

    def distil(self, encoding: Encoding, soft: Sequence[Soft], temperature: float) -> LossSum:
        """The Kullback-Leibler divergence from the teacher, summed over words."""
        total = soft_loss(self.classify(encoding), soft, temperature)
        return LossSum(total, sum(encoding.counts))

    def surprise(
        self, encoding: Encoding, targets: Sequence[NDArray[np.int64]], temperatures: Sequence[float]
    ) -> torch.Tensor:
        """Cross entropies over words that have gold, of logits over each temperature."""
        logits = self.classify(encoding)
        gold = torch.from_numpy(np.concatenate(targets)).to(logits.device)
        return surprises(logits, gold, encoding.counts, temperatures)

    def chances(self, encoding: Encoding, targets: Sequence[object]) -> list[NDArray[np.float32]]:  # noqa: ARG002
        """The probability of each label of each word, (words, labels)."""
        found = torch.softmax(self.classify(encoding), dim=1).numpy(force=True)
        return np.split(found, np.cumsum(encoding.counts)[:-1])

    def scores(self, encoding: Encoding) -> dict[str, torch.Tensor]:
        """The logits. Shape (all words, labels)."""
        return {"logits": self.classify(encoding)}

    def chooser(self) -> Chooser:
        """The most probable label of each word."""
        return ChooseWordLabels(self.labels)

    def label_axes(self) -> dict[str, dict[int, list[str]]]:
        """A row for each label."""
        return linear_axes("classify.linear", self.labels)
