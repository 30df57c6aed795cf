"""A task that answers with a text: the ids of the pieces that it was given, on two lines. It learns nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from polyhead.data.example import Example, Prediction, Text, Value
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.tasks import Head, LossSum, Task


@dataclass(kw_only=True)
class Echo(Task):
    """Its gold is a text, and one answer is as good as another."""

    kind: ClassVar[type] = Text
    metric: ClassVar[str] = "same"
    words: ClassVar[bool] = False

    def prepare(self, examples: Sequence[Example]) -> None:
        assert all(type(example.layers[self.layer]) is Text for example in examples)

    def head(self, encoder: Encoder) -> Head:
        return EchoHead(encoder.width)

    def target(self, example: Example) -> Any | None:
        return str(example.layers[self.layer]) if self.carries(example) else None

    def score(self, examples: Sequence[Example], predicted: Sequence[Value]) -> dict[str, float]:
        right = sum(example.layers[self.layer] == one for example, one in zip(examples, predicted, strict=True))
        return {"same": right / len(examples)}


class EchoHead(Head):
    """One linear layer, which a run needs to have something to train."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def loss(self, encoding: Encoding, targets: Sequence[Any]) -> LossSum:
        lengths = torch.tensor([float(len(target)) for target in targets])
        return LossSum((self.linear(encoding.sentence)[:, 0] - lengths).square().sum() / 1000, len(targets))

    def predict(self, encoding: Encoding) -> list[Prediction]:
        batch = encoding.batch
        mask = torch.ones_like(batch.ids, dtype=torch.bool) if batch.mask is None else batch.mask
        rows = [ids[seen].tolist() for ids, seen in zip(batch.ids, mask, strict=True)]
        return [Prediction(Text(f"{' '.join(map(str, row[:-1]))}\n{row[-1]}"), 0.5) for row in rows]
