"""Regression: a number for each text or text pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from polyhead.answering.chooser import Chooser
from polyhead.answering.labels import ReadNumber
from polyhead.data.example import Example, Value
from polyhead.errors import PolyheadError
from polyhead.metrics import regression
from polyhead.nn.dropout import Dropout
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.soft import Soft
from polyhead.tasks.base import Task, learnt
from polyhead.tasks.head import Head, LossSum

LOG_BOUND = 6.0
"""The log variance of an error, in spreads of the training numbers, stays within plus and minus this."""


@dataclass(kw_only=True)
class Regression(Task):
    """A number for each text, such as a rating or the similarity of two texts.

    Attributes:
        mean: The mean of the training split's numbers.
        spread: Their standard deviation.
    """

    kind: ClassVar[type] = float
    metric: ClassVar[str] = "pearson"
    words: ClassVar[bool] = False
    gentle: ClassVar[bool] = True

    mean: float = learnt(float)
    spread: float = learnt(float)

    def prepare(self, examples: Sequence[Example]) -> None:
        """Measure the mean and the spread, so that the head learns numbers around 0 of size 1.

        A head that goes on from a previous run keeps its own: they are what its weights mean.
        """
        gold = [cast(float, example.layers[self.layer]) for example in examples]
        if len(set(gold)) < 2:
            raise PolyheadError(
                f"tasks.{self.name}: layer {self.layer!r} holds no two different numbers in the training split.",
                file=examples[0].file if examples else None,
                remedy="Regression needs texts with different numbers.",
            )
        self.mean, self.spread = float(np.mean(gold)), float(np.std(gold))
        if isinstance(self.earlier, Regression):
            self.mean, self.spread = self.earlier.mean, self.earlier.spread

    def head(self, encoder: Encoder) -> Head:
        """Two outputs on the mean of each text's pieces: the number, and how far off it may be."""
        return RegressionHead(encoder.width, mean=self.mean, spread=self.spread, dropout=self.dropout)

    def target(self, example: Example) -> float | None:
        """The number, in spreads from the mean."""
        if not self.carries(example):
            return None
        return (cast(float, example.layers[self.layer]) - self.mean) / self.spread

    def hits(self, example: Example, given: Value) -> list[bool | None]:
        """Whether the number is within half a spread of the training numbers, which the confidence is about."""
        return [abs(cast(float, example.layers[self.layer]) - cast(float, given)) <= 0.5 * self.spread]

    def unit_gold(self, example: Example) -> NDArray[np.float64] | None:
        """The number, in spreads from the mean."""
        target = self.target(example)
        return None if target is None else np.asarray([[target]])

    def score(self, examples: Sequence[Example], predicted: Sequence[Value]) -> dict[str, float]:
        """``pearson``, ``spearman`` and ``rmse``."""
        gold = [cast(float, example.layers[self.layer]) for example in examples]
        return regression(gold, cast(Sequence[float], predicted))


class RegressionHead(Head):
    """Squared error for the number; beside it a Gaussian's log variance, learnt without a pull on the number.

    Args:
        width: The encoder's width.
        mean: Of the training split's numbers.
        spread: Their standard deviation.
        dropout: The share of values dropped in training.
    """

    def __init__(self, width: int, *, mean: float, spread: float, dropout: float) -> None:
        super().__init__()
        self.mean = mean
        self.spread = spread
        self.dropout = Dropout(dropout)
        self.number = nn.Linear(width, 1)
        self.doubt = nn.Linear(width, 1)

    def loss(self, encoding: Encoding, targets: Sequence[float]) -> LossSum:
        """Squared error plus the negative log likelihood of the error's size."""
        sentence = self.dropout(encoding.sentence)
        number = self.number(sentence)[:, 0].float()  # (batch,)
        log_variance = self._log_variance(sentence.detach())
        squared = (number - torch.tensor(targets, dtype=torch.float32, device=number.device)).square()
        likelihood = 0.5 * (log_variance + squared.detach() * torch.exp(-log_variance))
        return LossSum((squared + likelihood).sum(), len(targets))

    def _log_variance(self, sentence: Tensor) -> Tensor:
        """Bounded, so that one outlier after a good fit cannot swamp every other gradient. Shape (batch,)."""
        log_variance: Tensor = self.doubt(sentence)[:, 0].float()
        return log_variance.clamp(-LOG_BOUND, LOG_BOUND)

    def soft(self, encoding: Encoding, choices: Sequence[str], temperature: float) -> list[Soft]:  # noqa: ARG002
        """The number, and the logarithm of its error's variance, both in the data's own unit; no temperature."""
        sentence = encoding.sentence
        number = self.number(sentence)[:, 0].float() * self.spread + self.mean
        log_variance = self._log_variance(sentence) + 2 * math.log(self.spread)
        return [(row,) for row in torch.stack([number, log_variance], dim=1).numpy(force=True)]

    def distil(self, encoding: Encoding, soft: Sequence[Soft], temperature: float) -> LossSum:  # noqa: ARG002
        """Squared error to the teacher's number, plus the divergence of its Gaussian from the teacher's.

        As in ``loss`` the second learns how far off the number may be, without a pull on the number.
        """
        sentence = self.dropout(encoding.sentence)
        number = self.number(sentence)[:, 0].float()  # (batch,)
        log_variance = self._log_variance(sentence.detach())
        taught = torch.from_numpy(np.stack([one[0] for one in soft])).to(number.device)  # (batch, 2)
        squared = (number - (taught[:, 0] - self.mean) / self.spread).square()
        log_ratio = taught[:, 1] - 2 * math.log(self.spread) - log_variance
        doubt = 0.5 * (log_ratio.exp() - 1 - log_ratio + squared.detach() * torch.exp(-log_variance))
        return LossSum((squared + doubt).sum(), len(soft))

    def surprise(self, encoding: Encoding, targets: Sequence[float], temperatures: Sequence[float]) -> Tensor:
        """The negative log likelihood of a Gaussian, whose deviation is multiplied with the temperature.

        In spreads of the training numbers, so that it is below 0 where the density is above 1.
        """
        sentence = encoding.sentence
        number = self.number(sentence)[:, 0].float()  # (batch,)
        log_variance = self._log_variance(sentence)[:, None] + 2 * torch.tensor(temperatures).log().to(number.device)
        squared = (number - torch.tensor(targets, dtype=torch.float32, device=number.device)).square()[:, None]
        found: Tensor = 0.5 * (log_variance + squared * torch.exp(-log_variance) + math.log(2 * math.pi))
        return found

    def scores(self, encoding: Encoding) -> dict[str, Tensor]:
        """The number and the log variance of its error, in spreads of the training numbers. Shapes (batch,)."""
        sentence = encoding.sentence
        return {"number": self.number(sentence)[:, 0].float(), "log_variance": self._log_variance(sentence)}

    def chooser(self) -> Chooser:
        """The number; its confidence is the chance that the truth lies within half a spread of the training data."""
        return ReadNumber(self.mean, self.spread)
