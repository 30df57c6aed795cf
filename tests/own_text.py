"""A task type of a user's own that answers with whole texts: with that one of those it knows that fits best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import nn

from polyhead.data.example import Example, Prediction, Text, Value
from polyhead.metrics import Tally
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.tasks import Head, LossSum, Task, learnt
from polyhead.text_metrics import tally_texts, text_signatures


@dataclass(kw_only=True)
class Recall(Task):
    """A whole text as the answer, one of those of the training split."""

    words: ClassVar[bool] = False
    metric: ClassVar[str] = "bleu"

    language: str | None = None
    known: list[str] = learnt()

    def prepare(self, examples: Sequence[Example]) -> None:
        self.known = sorted({self._gold(example) for example in examples})

    def head(self, encoder: Encoder) -> Head:
        return RecallHead(encoder.width, self.known)

    def target(self, example: Example) -> Any | None:
        gold = self._gold(example) if self.carries(example) else None
        return self.known.index(gold) if gold in self.known else None

    def tally(self, examples: Sequence[Example], predicted: Sequence[Value]) -> Tally:
        gold = [self._gold(example) for example in examples]
        return tally_texts(gold, cast(Sequence[str], predicted), self.language)

    def signatures(self) -> dict[str, str]:
        return text_signatures(self.language)

    def _gold(self, example: Example) -> str:
        return cast(str, example.layers[self.layer])


class RecallHead(Head):
    """A linear layer over the texts that are known."""

    def __init__(self, width: int, known: Sequence[str]) -> None:
        super().__init__()
        self.known = list(known)
        self.linear = nn.Linear(width, len(known))

    def loss(self, encoding: Encoding, targets: Sequence[Any]) -> LossSum:
        logits = self.linear(encoding.sentence)
        return LossSum(nn.functional.cross_entropy(logits, torch.tensor(targets), reduction="sum"), len(targets))

    def predict(self, encoding: Encoding) -> list[Prediction]:
        best, index = self.linear(encoding.sentence).softmax(1).max(1)
        return [Prediction(Text(self.known[i]), c) for i, c in zip(index.tolist(), best.tolist(), strict=True)]
