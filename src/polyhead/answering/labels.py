"""Answers for whole texts: a label, several labels, a number."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from polyhead.answering.chooser import Chooser, Given, best_of
from polyhead.data.example import Labels, Prediction


@dataclass(frozen=True)
class ChooseLabel(Chooser):
    """The most probable label of each text, from ``logits``, (texts, labels).

    Attributes:
        labels: What to choose from.
    """

    labels: list[str]

    def choose(self, given: Given) -> list[Prediction]:
        """The label and its probability."""
        best, sure = best_of(given.scores["logits"], given.temperature)
        return [Prediction(self.labels[i], chance) for i, chance in zip(best.tolist(), sure.tolist(), strict=True)]


@dataclass(frozen=True)
class ChooseLabels(Chooser):
    """The labels of each text that are more likely than not, each decided on its own, from ``logits``, (texts, labels).

    Attributes:
        labels: What to choose from.
    """

    labels: list[str]

    def choose(self, given: Given) -> list[Prediction]:
        """The labels; the confidence is the probability that all decisions are right, taken as independent."""
        logits = given.scores["logits"] / np.float32(given.temperature)
        sure = np.exp(-np.log1p(np.exp(-np.abs(logits))).sum(axis=1)).tolist()  # the likelier side of each
        rows = (logits > 0).tolist()
        values = [Labels(label for label, on in zip(self.labels, row, strict=True) if on) for row in rows]
        return [Prediction(value, confidence) for value, confidence in zip(values, sure, strict=True)]


@dataclass(frozen=True)
class ReadNumber(Chooser):
    """A number for each text, from ``number`` and ``log_variance``, (texts,) each, in spreads of the training numbers.

    Attributes:
        mean: Of the training split's numbers.
        spread: Their standard deviation.
    """

    mean: float
    spread: float

    def choose(self, given: Given) -> list[Prediction]:
        """The number; its confidence is the chance that the truth lies within half a spread of the training data."""
        found = given.scores["number"] * np.float32(self.spread) + np.float32(self.mean)
        numbers = [float(f"{number:.7g}") for number in found.tolist()]  # the digits that fp32 holds
        deviations = (given.temperature * np.exp(0.5 * given.scores["log_variance"])).tolist()
        return [
            Prediction(number, math.erf(0.5 / (deviation * math.sqrt(2))))
            for number, deviation in zip(numbers, deviations, strict=True)
        ]
