"""Biaffine scores between words (Dozat and Manning 2017), written as matrix products."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polyhead.nn.dropout import Dropout


class Perceptron(nn.Sequential):
    """A linear layer, a leaky ReLU and dropout.

    Args:
        width: The size of the input.
        size: The size of the output.
        dropout: The share of values dropped in training.
    """

    def __init__(self, width: int, size: int, dropout: float) -> None:
        super().__init__(nn.Linear(width, size), nn.LeakyReLU(0.1), Dropout(dropout))


class ArcScorer(nn.Module):
    """A score for every pair of dependent and head.

    Args:
        size: The size of both representations.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size + 1, size))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, dependents: Tensor, heads: Tensor) -> Tensor:
        """Scores [dependent, head], with a bias for each head.

        Args:
            dependents: Shape (batch, words, size).
            heads: Shape (batch, words + 1, size).

        Returns:
            Shape (batch, words, words + 1).
        """
        rotated = dependents @ self.weight[:-1] + self.weight[-1]  # (batch, words, size)
        return rotated @ heads.transpose(1, 2)


class RelationScorer(nn.Module):
    """A score of every relation for given pairs of dependent and head.

    ``torch.nn.Bilinear`` computes the same, fifty times slower backwards on a CPU.

    Args:
        size: The size of both representations.
        relations: The number of relations.
    """

    def __init__(self, size: int, relations: int) -> None:
        super().__init__()
        self.relations = relations
        self.weight = nn.Parameter(torch.zeros(size, relations * size))
        nn.init.xavier_uniform_(self.weight.view(size * relations, size))
        self.linear = nn.Linear(2 * size, relations)

    def forward(self, dependents: Tensor, heads: Tensor) -> Tensor:
        """Scores of relations.

        Args:
            dependents: Shape (arcs, size).
            heads: Shape (arcs, size).

        Returns:
            Shape (arcs, relations).
        """
        rotated = (dependents @ self.weight).view(dependents.shape[0], self.relations, heads.shape[1])
        paired = torch.bmm(rotated, heads.to(rotated.dtype)[:, :, None])[:, :, 0]
        linear: Tensor = self.linear(torch.cat([dependents, heads], dim=1))
        return paired + linear
