"""Train only the piece vectors that the training texts use: the others have no gradient, yet cost like the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

ROWS = "rows"
"""What the weight of a narrowed embedding is called, in place of ``weight``."""


class NarrowEmbedding(nn.Module):
    """An embedding of which only some rows are trained; it saves and loads like the whole.

    An optimizer that passes over every weight spends half its time on a vocabulary of which a training set of a few
    thousand sentences uses a third. Rows without a gradient do not move under Adam, so leaving them out changes
    nothing (but for weight decay, which embeddings are spared).

    Args:
        whole: The embedding.
        used: The rows to train, sorted. Shape (used,).
    """

    def __init__(self, whole: nn.Embedding, used: Tensor) -> None:
        super().__init__()
        self.whole = [whole]  # in a list, so that its weights are not this module's
        self.used = used
        self.places = torch.full((whole.num_embeddings,), -1, dtype=torch.long, device=used.device)
        self.places[used] = torch.arange(len(used), device=used.device)
        self.rows = nn.Parameter(whole.weight.detach()[used].clone())

    @property
    def weight(self) -> Tensor:
        """The whole embedding as it stands now. Shape (vocabulary, width)."""
        return self.widened().weight

    def widened(self) -> nn.Embedding:
        """The whole embedding, with the trained rows put back."""
        (whole,) = self.whole
        with torch.no_grad():
            whole.weight[self.used] = self.rows
        return whole

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors of pieces. In training all must be among the used ones. Shape (..., width)."""
        if self.training:
            return nn.functional.embedding(self.places[ids], self.rows)
        (whole,) = self.whole  # no gradient: where embeddings are frozen for now, it would stay there until widened
        return nn.functional.embedding(ids, whole.weight.detach())

    def train(self, mode: bool = True) -> NarrowEmbedding:
        """Turn training on or off; when it ends, the whole embedding learns of the trained rows."""
        if self.training and not mode:
            self.widened()
        return super().train(mode)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:  # noqa: ARG002
        destination[prefix + "weight"] = self.weight.detach()

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ARG002
        (whole,) = self.whole
        with torch.no_grad():
            whole.weight.copy_(state_dict[prefix + "weight"])
            self.rows.copy_(whole.weight[self.used])


def narrowable(transformer: nn.Module) -> str | None:
    """The name of the weight that :func:`narrow` would narrow; ``None`` if it would leave it as it is."""
    embedding = transformer.get_input_embeddings()  # type: ignore[operator]
    if type(embedding) is not nn.Embedding:
        return None
    return next(name for name, weight in transformer.named_parameters() if weight is embedding.weight)


def narrow(transformer: nn.Module, used: Tensor) -> None:
    """Let a transformer train only these rows of its piece embedding, until :func:`widen`."""
    embedding = transformer.get_input_embeddings()  # type: ignore[operator]
    if type(embedding) is nn.Embedding:  # some families scale or factor theirs; those stay as they are
        narrowed = NarrowEmbedding(embedding, used.to(embedding.weight.device))
        transformer.set_input_embeddings(narrowed.train(embedding.training))  # type: ignore[operator]


def widen(transformer: nn.Module) -> None:
    """Put the whole embedding back."""
    embedding = transformer.get_input_embeddings()  # type: ignore[operator]
    if isinstance(embedding, NarrowEmbedding):
        transformer.set_input_embeddings(embedding.widened())  # type: ignore[operator]
