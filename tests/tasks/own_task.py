"""A task type as a user would write it: whether some word of a text is loud, by the strongest of its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from polyhead.data.example import Example, Prediction, Value
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.soft import Soft, keep, per_example, soft_loss, translate
from polyhead.tasks import Head, LossSum, Task, learnt


@dataclass(kw_only=True)
class Loudness(Task):
    """A label of each text, read off the word that shows it most."""

    scale: float = 1.0
    counts: dict[str, int] = learnt(dict)

    def prepare(self, examples: Sequence[Example]) -> None:
        gold = [str(example.layers[self.layer]) for example in examples]
        self.counts = {label: gold.count(label) for label in sorted(set(gold))}

    def head(self, encoder: Encoder) -> Head:
        return LoudnessHead(encoder.width, list(self.counts), self.scale)

    def target(self, example: Example) -> Any | None:
        return list(self.counts).index(str(example.layers[self.layer])) if self.carries(example) else None

    def choices(self) -> list[str]:
        return list(self.counts)

    def score(self, examples: Sequence[Example], predicted: Sequence[Value]) -> dict[str, float]:
        right = sum(e.layers[self.layer] == p for e, p in zip(examples, predicted, strict=True))
        return {"accuracy": right / len(examples)}


class LoudnessHead(Head):
    """The maximum over words of a linear layer."""

    def __init__(self, width: int, labels: Sequence[str], scale: float) -> None:
        super().__init__()
        self.labels = list(labels)
        self.scale = scale
        self.linear = nn.Linear(width, len(labels))

    def forward(self, encoding: Encoding) -> torch.Tensor:
        logits = self.linear(encoding.words) * self.scale  # (batch, words, labels)
        return logits.masked_fill(~encoding.word_mask[:, :, None], -torch.inf).amax(1)

    def loss(self, encoding: Encoding, targets: Sequence[Any]) -> LossSum:
        gold = torch.tensor(targets)
        return LossSum(nn.functional.cross_entropy(self(encoding), gold, reduction="sum"), len(targets))

    def predict(self, encoding: Encoding) -> list[Prediction]:
        best, index = self(encoding).softmax(1).max(1)
        return [Prediction(self.labels[i], c) for i, c in zip(index.tolist(), best.tolist(), strict=True)]

    def soft(self, encoding: Encoding, choices: Sequence[str], temperature: float) -> list[Soft]:
        chances = torch.softmax(self(encoding) / temperature, dim=1)
        return per_example(keep(translate(chances, self.labels, choices)), [1] * len(encoding))

    def distil(self, encoding: Encoding, soft: Sequence[Soft], temperature: float) -> LossSum:
        return LossSum(soft_loss(self(encoding), soft, temperature), len(soft))
