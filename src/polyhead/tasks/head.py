"""The weights of a task: what every type's head gives, and what it may give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from polyhead.answering.chooser import Chooser, Given
from polyhead.data.example import Prediction
from polyhead.nn.encoder import Encoding
from polyhead.nn.soft import Soft


class LossSum(NamedTuple):
    """The loss of a head over the examples of a batch that carry its layer.

    Attributes:
        total: Summed over units. A scalar.
        units: How many units it was summed over: words for word-level heads, texts for text-level ones. Where gold
            and a teacher both count, those of each by its share, perhaps no whole number.
    """

    total: Tensor
    units: float


class Network(NamedTuple):
    """A part of a head that runs on its own.

    Attributes:
        run: From tensors by name to tensors by name; it is traced for export as ``Head.scores`` is.
        example: Tensors that it could be given, of any size.
        axes: For each input and each output the names of its axes, where they may have any size.
    """

    run: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    example: Mapping[str, Tensor]
    axes: Mapping[str, Mapping[int, str]]


class Head(nn.Module, ABC):
    """The weights of one task."""

    temperature: float = 1.0
    """What ``predict`` divides logits by before they become confidences (see :mod:`polyhead.calibration`)."""

    @abstractmethod
    def loss(self, encoding: Encoding, targets: Sequence[Any]) -> LossSum:
        """The loss over examples that all carry the layer.

        Args:
            encoding: The encoding of these examples.
            targets: What ``Task.target`` gave for each.
        """

    def scores(self, encoding: Encoding) -> dict[str, Tensor]:
        """What :meth:`chooser` chooses from, by name; numbers as fp32.

        It is traced for export, so it keeps to tensors and to the encoding's views: no list of counts or words, no
        branch on a value, no ``len`` of a tensor. See ``docs/task-types.md``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no scores")

    def chooser(self) -> Chooser:
        """What turns the scores into answers, as plain data, without torch."""
        raise NotImplementedError(f"{type(self).__name__} has no chooser")

    def networks(self) -> Mapping[str, Network]:
        """Further networks that a chooser asks by their names, once it has chosen something; mostly none."""
        return {}

    def predict(self, encoding: Encoding) -> list[Prediction]:
        """An answer, with its confidence, for each example: by default what the chooser makes of the scores.

        A type that has another way cannot be exported.
        """
        return self.answer_by(self.chooser(), encoding)

    def answer_by(self, chooser: Chooser, encoding: Encoding, *, sure: bool = True) -> list[Prediction]:
        """What a chooser makes of this head's scores."""
        scores = {name: found.numpy(force=True) for name, found in self.scores(encoding).items()}
        networks = self.networks()

        def ask(name: str, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            tensors = {key: torch.from_numpy(array).to(encoding.device) for key, array in given.items()}
            return {key: found.numpy(force=True) for key, found in networks[name].run(tensors).items()}

        return chooser.choose(Given(scores, encoding.texts, encoding.empty, self.temperature, sure, ask))

    def measure(self, encoding: Encoding, targets: Sequence[Any]) -> dict[str, float]:
        """What to sum up over the blocks of a split for ``Task.figures``, for a task that does not annotate."""
        total, units = self.loss(encoding, targets)
        return {"loss": float(total), "units": units}

    def surprise(self, encoding: Encoding, targets: Sequence[Any], temperatures: Sequence[float]) -> Tensor:
        """The negative log likelihood of each example's gold, summed over its units, where logits are divided by each
        of these temperatures. Confidences of a type without it are left as they are.

        Returns:
            Shape (examples, temperatures).
        """
        raise NotImplementedError(f"{type(self).__name__} is not calibrated")

    def chances(self, encoding: Encoding, targets: Sequence[Any]) -> list[NDArray[np.float32]]:
        """The probability of each choice, for each unit of each example. Label errors are looked for in types that have
        it (see ``Task.marks``); the last column may stand for what ``Task.choices`` has no name for.

        Returns:
            For each example an array of shape (units, choices).
        """
        raise NotImplementedError(f"{type(self).__name__} gives no probabilities")

    def settle(self, earlier: Head) -> None:
        """After weights of an earlier head were copied (see :meth:`label_axes`): begin well with labels new to it."""

    def label_axes(self) -> dict[str, dict[int, list[str]]]:
        """Which labels the rows, columns or other slices of each parameter stand for, in their order.

        By parameter name and axis; where an axis is longer than its labels, each label has a stretch of it. A head that
        goes on from one of a previous run takes these slices by the labels that both have. Parameters that are not
        named stand for no labels, and are taken whole.
        """
        return {}

    def soft(self, encoding: Encoding, choices: Sequence[str], temperature: float) -> list[Soft]:
        """What a student may learn from this head: for each example the same number of arrays.

        A type that has neither this nor :meth:`distil` can be neither teacher nor student.

        Args:
            encoding: The encoding of some examples, with or without gold.
            choices: The ``Task.choices`` of the student, in whose order its soft labels must be.
            temperature: What logits are divided by: above 1, soft labels are softer.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no soft labels")

    def distil(self, encoding: Encoding, soft: Sequence[Soft], temperature: float) -> LossSum:
        """As :meth:`loss`, with a teacher's soft labels in the place of gold: 0 where the two agree.

        Args:
            encoding: The encoding of some examples, with or without gold.
            soft: What :meth:`soft` of the teacher's head gave for each.
            temperature: The same as then.
        """
        raise NotImplementedError(f"{type(self).__name__} learns from no soft labels")
