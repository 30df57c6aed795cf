"""An encoding as heads see it while they are traced: every view is made of tensors alone, of any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from polyhead.nn.encoding import Encoding, Piece
from polyhead.nn.mix import LayerMix

INPUTS: dict[str, tuple[str, ...]] = {
    "ids": ("rows", "pieces"),
    "mask": ("rows", "pieces"),
    "types": ("rows", "pieces"),
    "case": ("rows", "pieces"),
    "owners": ("rows",),
    "counts": ("texts",),
    "words": ("words",),
    "lasts": ("words",),
    "parts": ("parts",),
    "part_of": ("parts",),
    "memory": ("texts", "memory"),
}
"""What a graph may read, and the axes of each; all are int64. ``docs/export.md`` says what they are."""


class Reads(dict[str, Tensor]):
    """Inputs by name, which notes what is read."""

    def __init__(self, given: Mapping[str, Tensor]) -> None:
        super().__init__(given)
        self.read: dict[str, None] = {}

    def __getitem__(self, name: str) -> Tensor:
        self.read[name] = None
        return super().__getitem__(name)


class TracedEncoding(Encoding):
    """What a head reads of the encoder's layers.

    Args:
        layers: (rows, pieces, width) each; of a head without a mix only the last is read.
        given: The graph's inputs.
        mix: The head's mix of layers, if it has one.
        piece: Which of its pieces stands for a word.
    """

    def __init__(
        self, layers: Sequence[Tensor], given: Mapping[str, Tensor], mix: LayerMix | None, piece: Piece
    ) -> None:
        self.layers = layers
        self.given = given
        self.mix = mix
        self.piece = piece

    def __len__(self) -> int:
        return self.given["counts"].shape[0]

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.layers[-1].device

    @cached_property
    def hidden(self) -> Tensor:
        """The vector of each piece. Shape (rows, pieces, width)."""
        return self.layers[-1] if self.mix is None else self.mix(torch.stack(list(self.layers)))

    @cached_property
    def sentence(self) -> Tensor:
        """The mean over all pieces of each text. Shape (texts, width)."""
        if self.mix is None:
            return self._mean(self.layers[-1])
        mixed: Tensor = self.mix(self.sentence_layers)
        return mixed

    @cached_property
    def flat_words(self) -> Tensor:
        """The vector of every word. Shape (words, width)."""
        if self.mix is None:
            return self._words_of(self.layers[-1], self.piece)
        mixed: Tensor = self.mix(torch.stack([self._words_of(layer, self.piece) for layer in self.layers]))
        return mixed

    @cached_property
    def memory(self) -> tuple[Tensor, Tensor]:
        """The vectors of each text's pieces, and where there are any. (texts, memory, width), (texts, memory)."""
        places = self.given["memory"]
        hidden = self.hidden
        flat = hidden.reshape(-1, hidden.shape[-1])
        return torch.nn.functional.embedding(places.clamp(min=0), flat), places >= 0

    @cached_property
    def word_mask(self) -> Tensor:
        """True where there is a word. Shape (texts, longest)."""
        counts = self.given["counts"]
        found: Tensor = self._columns < counts[:, None]
        return found

    @cached_property
    def _columns(self) -> Tensor:
        """The numbers of words, from 0 on. Shape (longest,)."""
        counts: Any = self.given["counts"]
        found: Tensor = torch.arange(counts.max(), device=counts.device)  # a tensor, so that any length will do
        return found

    @cached_property
    def _grid(self) -> Tensor:
        """Where each word stands among all, 0 where there is none. Shape (texts, longest)."""
        counts = self.given["counts"]
        starts = counts.cumsum(0) - counts
        places = starts[:, None] + self._columns
        return torch.where(self.word_mask, places, 0)

    def pad(self, flat: Tensor) -> Tensor:
        """Lay (words, n) out as (texts, longest, n), filled up with zeros."""
        padded = torch.nn.functional.embedding(self._grid, flat)
        return padded * self.word_mask[:, :, None].to(flat.dtype)

    def _words_of(self, layer: Tensor, piece: Piece) -> Tensor:
        flat = layer.reshape(-1, layer.shape[-1])
        if piece != "mean":
            return flat.index_select(0, self.given["words" if piece == "first" else "lasts"])
        owners, pieces = self.given["part_of"], flat.index_select(0, self.given["parts"])
        counts = (self.given["lasts"] - self.given["words"] + 1)[:, None].to(flat.dtype)
        total = torch.zeros_like(counts).expand(-1, flat.shape[1])
        return total.scatter_add(0, owners[:, None].expand(-1, flat.shape[1]), pieces) / counts

    def _mean(self, layer: Tensor) -> Tensor:
        weights = self.given["mask"].to(layer.dtype)  # (rows, pieces)
        total = (layer * weights[:, :, None]).sum(1)  # (rows, width)
        texts = torch.arange(self.given["counts"].shape[0], device=layer.device)
        mine = (texts[:, None] == self.given["owners"]).to(layer.dtype)  # (texts, rows)
        return (mine @ total) / (mine @ weights.sum(1, keepdim=True))
