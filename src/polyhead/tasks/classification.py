"""Classification: one label, or several, of a text or a text pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from polyhead.answering.chooser import Chooser
from polyhead.answering.labels import ChooseLabel, ChooseLabels
from polyhead.data.example import Example, Labels, Value
from polyhead.errors import PolyheadError
from polyhead.metrics import Tally, tally_label_sets, tally_labels
from polyhead.nn.dropout import Dropout
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.soft import Soft, binary_soft_loss, keep, per_example, soft_loss, translate
from polyhead.nn.tempered import surprises
from polyhead.tasks.base import Task, learnt
from polyhead.tasks.head import Head, LossSum
from polyhead.tasks.labels import linear_axes, unknown_label


@dataclass(kw_only=True)
class Classification(Task):
    """A label of each text; with ``several = true`` a set of labels, which may be empty.

    Attributes:
        several: Whether a text may have several labels.
        labels: The labels, sorted.
    """

    words: ClassVar[bool] = False
    gentle: ClassVar[bool] = True
    inventory: ClassVar[str] = "labels"

    several: bool = False
    labels: list[str] = learnt()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kind = Labels if self.several else str  # type: ignore[misc]
        self.metric = "micro_f1" if self.several else "accuracy"  # type: ignore[misc]
        self.separate = self.several  # type: ignore[misc]

    def prepare(self, examples: Sequence[Example]) -> None:
        """Collect the labels."""
        found = {label for example in examples for label in self._gold(example)}
        self.labels = sorted(found | self.earlier_labels())
        least = 1 if self.several else 2
        if len(self.labels) < least:
            raise PolyheadError(
                f"tasks.{self.name}: layer {self.layer!r} has only {self.labels or 'no labels'} in the training split.",
                file=examples[0].file if examples else None,
                remedy="Classification needs texts of at least two labels.",
            )

    def head(self, encoder: Encoder) -> Head:
        """A linear layer on the mean of each text's pieces."""
        return ClassificationHead(encoder.width, self.labels, several=self.several, dropout=self.dropout)

    def target(self, example: Example) -> NDArray[np.float32] | int | None:
        """The label's index; for several labels a 0 or 1 for each, shape (labels,)."""
        if not self.carries(example):
            return None
        if not self.several:
            return self.labels.index(next(iter(self._gold(example))))
        gold = self._gold(example)
        return np.asarray([label in gold for label in self.labels], dtype=np.float32)

    def unit_gold(self, example: Example) -> NDArray[Any] | None:
        """The label; for several labels a 0 or 1 for each."""
        target = self.target(example)
        return None if target is None else np.asarray(target)[None]

    def check(self, examples: Sequence[Example], split: str) -> list[str]:
        """A label that training never shows is an error."""
        known = set(self.labels)
        for example in examples:
            for label in self._gold(example) if self.carries(example) else ():
                if label not in known:
                    raise unknown_label(self, example, label, split, self.labels)
        return []

    def choices(self) -> list[str]:
        """The labels."""
        return self.labels

    def reading(self, example: Example, unit: int, choice: int) -> str:
        """The label; of several labels that it is one of them, or not."""
        if not self.several:
            return super().reading(example, unit, choice)
        return self.labels[unit] if choice else f"not {self.labels[unit]}"

    def tally(self, examples: Sequence[Example], predicted: Sequence[Value]) -> Tally:
        """Of ``accuracy`` and ``macro_f1``; for several labels also ``micro_f1``."""
        gold = [example.layers[self.layer] for example in examples]
        if self.several:
            return tally_label_sets(cast(list[Labels], gold), cast(list[Labels], predicted))
        return tally_labels(cast(list[str], gold), cast(list[str], predicted))

    def _gold(self, example: Example) -> frozenset[str]:
        value = example.layers[self.layer]
        return value if isinstance(value, Labels) else frozenset([cast(str, value)])


class ClassificationHead(Head):
    """Dropout and a linear layer on the mean of the pieces.

    Args:
        width: The encoder's width.
        labels: What to choose from.
        several: Whether each label is decided on its own.
        dropout: The share of values dropped in training.
    """

    def __init__(self, width: int, labels: Sequence[str], *, several: bool, dropout: float) -> None:
        super().__init__()
        self.labels = list(labels)
        self.several = several
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(width, len(labels))

    def forward(self, encoding: Encoding) -> torch.Tensor:
        """Logits. Shape (batch, labels)."""
        logits: torch.Tensor = self.linear(self.dropout(encoding.sentence))
        return logits.float()

    def loss(self, encoding: Encoding, targets: Sequence[NDArray[np.float32] | int]) -> LossSum:
        """Cross entropy; for several labels the sum over labels of binary cross entropies."""
        logits = self(encoding)
        if self.several:
            gold = torch.from_numpy(np.stack(cast(Sequence[NDArray[np.float32]], targets))).to(logits.device)
            total = nn.functional.binary_cross_entropy_with_logits(logits, gold, reduction="sum")
        else:
            index = torch.tensor(targets, device=logits.device)
            total = nn.functional.cross_entropy(logits, index, reduction="sum")
        return LossSum(total, len(targets))

    def soft(self, encoding: Encoding, choices: Sequence[str], temperature: float) -> list[Soft]:
        """The probabilities of labels; of several labels that of each, NaN for those that are not known here."""
        logits = self(encoding) / temperature
        if not self.several:
            return per_example(keep(translate(logits.softmax(1), self.labels, choices)), [1] * len(logits))
        known = torch.tensor([label in self.labels for label in choices], device=logits.device)
        chances = translate(torch.sigmoid(logits), self.labels, choices).masked_fill(~known, torch.nan)
        return [(row,) for row in chances.numpy(force=True)]

    def distil(self, encoding: Encoding, soft: Sequence[Soft], temperature: float) -> LossSum:
        """The Kullback-Leibler divergence from the teacher; of several labels its sum over labels."""
        logits = self(encoding)
        if not self.several:
            return LossSum(soft_loss(logits, soft, temperature), len(soft))
        target = torch.from_numpy(np.stack([one[0] for one in soft])).to(logits.device)
        total = binary_soft_loss(logits, target, temperature)
        return LossSum(total, len(soft))

    def surprise(
        self, encoding: Encoding, targets: Sequence[NDArray[np.float32] | int], temperatures: Sequence[float]
    ) -> torch.Tensor:
        """Cross entropies, of several labels summed over labels, of logits over each temperature."""
        logits = self(encoding)
        if not self.several:
            return surprises(logits, torch.tensor(targets, device=logits.device), [1] * len(logits), temperatures)
        gold = torch.from_numpy(np.stack(cast(Sequence[NDArray[np.float32]], targets))).to(logits.device).long()
        pairs = torch.stack([torch.zeros_like(logits), logits], dim=-1)  # of each label: no, or yes
        return surprises(pairs.flatten(0, 1), gold.flatten(), [logits.shape[1]] * len(logits), temperatures)

    def chances(self, encoding: Encoding, targets: Sequence[object]) -> list[NDArray[np.float32]]:  # noqa: ARG002
        """The labels' probabilities, (1, labels); of several labels those of no and yes for each, (labels, 2)."""
        logits = self(encoding)
        if self.several:
            found = torch.stack([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=-1)
        else:
            found = logits.softmax(1)[:, None]
        return list(found.numpy(force=True))

    def scores(self, encoding: Encoding) -> dict[str, torch.Tensor]:
        """The logits. Shape (batch, labels)."""
        return {"logits": self(encoding)}

    def chooser(self) -> Chooser:
        """The most probable label and its probability; for several labels those above one half."""
        return ChooseLabels(self.labels) if self.several else ChooseLabel(self.labels)

    def label_axes(self) -> dict[str, dict[int, list[str]]]:
        """A row for each label."""
        return linear_axes("linear", self.labels)
