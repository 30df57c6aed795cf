"""A linear layer over words, shared by every head that labels words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from polyhead.nn.dropout import Dropout
from polyhead.nn.encoder import Encoding

IGNORE = -100
"""The target of a word that has no gold."""


class WordClassifier(nn.Module):
    """Dropout and a linear layer on each word.

    Args:
        width: The encoder's width.
        labels: The number of labels.
        dropout: The share of values dropped in training.
    """

    def __init__(self, width: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(width, labels)

    def forward(self, encoding: Encoding) -> Tensor:
        """Logits of every word, one text after the other. Shape (all words, labels)."""
        logits: Tensor = self.linear(self.dropout(encoding.flat_words))
        return logits.float()


def word_loss(logits: Tensor, targets: Sequence[NDArray[np.int64]]) -> tuple[Tensor, int]:
    """Cross entropy summed over the words that have gold, and their number.

    Args:
        logits: Shape (all words, labels).
        targets: For each example the label of each word or ``IGNORE``. Shape (words,) each.
    """
    gold = np.concatenate(targets)
    units = int((gold != IGNORE).sum())
    total = nn.functional.cross_entropy(
        logits, torch.from_numpy(gold).to(logits.device), ignore_index=IGNORE, reduction="sum"
    )
    return total, units
