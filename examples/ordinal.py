"""A task type of one's own: labels that have an order, such as one to five stars.

Named in a recipe by its dotted path, ``type = "ordinal.Ordinal"``, where Python can import this file:
``PYTHONPATH=examples polyhead train examples/ordinal.toml --output runs/stars``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from polyhead.data.example import Example, Prediction, Value
from polyhead.errors import PolyheadError
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.tasks import Head, LossSum, Task, learnt
from polyhead.tasks.labels import unknown_label


@dataclass(kw_only=True)
class Ordinal(Task):
    """A label of each text, where labels have an order: to take 4 stars for 5 is a smaller mistake than 1 for 5.

    Attributes:
        order: The labels from lowest to highest; without it they must be numbers.
        labels: The labels, in order.
    """

    kind: ClassVar[type] = str
    metric: ClassVar[str] = "kappa"
    words: ClassVar[bool] = False

    order: list[str] = field(default_factory=list)
    labels: list[str] = learnt()

    def prepare(self, examples: Sequence[Example]) -> None:
        """Collect the labels and put them in order."""
        found = {self._gold(example) for example in examples}
        try:
            self.labels = self.order or sorted(found, key=float)
        except ValueError as error:
            raise PolyheadError(
                f"tasks.{self.name}: the labels are no numbers, so their order is unknown: {', '.join(sorted(found))}.",
                remedy='Give it, lowest first: order = ["low", "high"].',
            ) from error
        left = sorted(found - set(self.labels))
        if left or len(self.labels) < 2:
            raise PolyheadError(
                f"tasks.{self.name}: order = {self.labels} does not fit the labels of the training split.",
                remedy=f"Name at least two labels, {', '.join(left)} too." if left else "Name at least two labels.",
            )

    def head(self, encoder: Encoder) -> Head:
        """One number for each text, and a bound between any two neighbouring labels."""
        return OrdinalHead(encoder.width, self.labels, dropout=self.dropout)

    def target(self, example: Example) -> int | None:
        """The label's place in the order."""
        return self.labels.index(self._gold(example)) if self.carries(example) else None

    def check(self, examples: Sequence[Example], split: str) -> list[str]:
        """A label that is not in the order is an error."""
        for example in examples:
            if self.carries(example) and self._gold(example) not in self.labels:
                raise unknown_label(self, example, self._gold(example), split, self.labels)
        return []

    def score(self, examples: Sequence[Example], predicted: Sequence[Value]) -> dict[str, float]:
        """``accuracy``, and ``kappa`` with quadratic weights (Cohen 1968)."""
        gold = np.asarray([self.labels.index(self._gold(example)) for example in examples])
        ours = np.asarray([self.labels.index(cast(str, value)) for value in predicted])
        chance = gold.var() + ours.var() + (gold.mean() - ours.mean()) ** 2  # what unrelated answers would differ by
        kappa = 1 - ((gold - ours) ** 2).mean() / chance if chance else 1.0
        return {"accuracy": float((gold == ours).mean()), "kappa": float(kappa)}

    def _gold(self, example: Example) -> str:
        return cast(str, example.layers[self.layer])


class OrdinalHead(Head):
    """For each bound the chance that the label lies above it, from one number (Cao et al. 2020, CORAL).

    Args:
        width: The encoder's width.
        labels: From lowest to highest.
        dropout: The share of values dropped in training.
    """

    def __init__(self, width: int, labels: Sequence[str], *, dropout: float) -> None:
        super().__init__()
        self.labels = list(labels)
        self.dropout = nn.Dropout(dropout)
        self.height = nn.Linear(width, 1, bias=False)
        self.bounds = nn.Parameter(torch.linspace(1, -1, len(labels) - 1))

    def forward(self, encoding: Encoding) -> Tensor:
        """Logits of lying above each bound. Shape (batch, labels - 1)."""
        height: Tensor = self.height(self.dropout(encoding.sentence))
        return height.float() + self.bounds

    def loss(self, encoding: Encoding, targets: Sequence[int]) -> LossSum:
        """Binary cross entropy, summed over bounds and texts."""
        logits = self(encoding)
        bounds = torch.arange(len(self.labels) - 1, device=logits.device)
        above = (torch.tensor(targets, device=logits.device)[:, None] > bounds).float()  # (batch, labels - 1)
        total = nn.functional.binary_cross_entropy_with_logits(logits, above, reduction="sum")
        return LossSum(total, len(targets))

    def predict(self, encoding: Encoding) -> list[Prediction]:
        """The highest label that the text reaches more likely than not, and the chance of just this label."""
        above = torch.sigmoid(self(encoding)).cummin(dim=1).values  # (batch, labels - 1), falling
        places = (above > 0.5).sum(dim=1)
        ends = nn.functional.pad(nn.functional.pad(above, (1, 0), value=1.0), (0, 1))  # (batch, labels + 1)
        chances = (ends[:, :-1] - ends[:, 1:]).gather(1, places[:, None])[:, 0]
        chosen = zip(places.tolist(), chances.tolist(), strict=True)
        return [Prediction(self.labels[place], chance) for place, chance in chosen]
