"""A learnt mix of an encoder's layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LayerMix(nn.Module):
    """A weighted sum of layers: weights that add up to 1, and a factor on their sum (Peters et al. 2018, "ELMo").

    Grammar is best read in an encoder's middle layers, meaning in its last ones (Tenney et al. 2019): a head with a mix
    of its own takes what it needs and leaves the last layers to the others.

    Args:
        layers: The number of layers, the embeddings included.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.shares = nn.Parameter(torch.zeros(layers))
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, layers: Tensor) -> Tensor:
        """The mix. Shape (layers, ...) to (...)."""
        weights = torch.softmax(self.shares, dim=0) * self.factor
        with torch.autocast(layers.device.type, enabled=False):  # the sum has the precision of the layers
            return (weights.to(layers.dtype) @ layers.flatten(1)).view(layers.shape[1:])

    def extra_repr(self) -> str:
        """The shares, for ``repr``."""
        return ", ".join(f"{share:.2f}" for share in torch.softmax(self.shares, dim=0).tolist())
