"""What the encoder made of a batch, with views for each kind of head: whole texts, words, pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from polyhead.nn.batch import Batch
from polyhead.nn.features import KeptLayers
from polyhead.nn.mix import LayerMix

Piece: TypeAlias = Literal["first", "last", "mean"]
"""Which of its pieces stands for a word."""


class Encoding:
    """What the encoder made of a batch. Views are made when first asked for.

    Args:
        layers: The encoder's layers, the last one last; the others only if some head mixes them. Shape of each
            (rows, pieces, width).
        batch: What was encoded.
    """

    def __init__(self, layers: Sequence[Tensor], batch: Batch) -> None:
        self.layers = layers
        self.batch = batch
        self.piece: Piece = "first"
        self._views: dict[str, Tensor] = {}
        self.places: Sequence[int] = range(len(batch.texts))
        """The place of each example in the batch."""
        self.texts: Sequence[tuple[str, ...]] = batch.texts
        self.counts: Sequence[int] = [len(words) for words in batch.texts]

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.counts)

    def select(self, chosen: Sequence[int], mix: LayerMix | None = None, piece: Piece | None = None) -> Encoding:
        """The encoding of some of the examples, in the given order; nothing is encoded again.

        Args:
            chosen: The examples, by their place in the batch.
            mix: What makes one layer of all; without it views are of the last one.
            piece: Which of its pieces a word's vector is; by default as here, which at first is the first.
        """
        everything = list(chosen) == list(range(len(self)))
        same = everything and mix is None and piece in (None, self.piece)
        return self if same else _Selection(self, chosen, mix, piece)

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.batch.ids.device

    @cached_property
    def hidden(self) -> Tensor:
        """The vector of each piece. Shape (rows, pieces, width)."""
        return self.layers[-1]

    @cached_property
    def sentence(self) -> Tensor:
        """The mean over all pieces of each text, over all its windows. Shape (batch, width)."""
        return self._mean(self.layers[-1])

    @cached_property
    def memory(self) -> tuple[Tensor, Tensor]:
        """The vectors of each text's pieces, special ones included, and where there are any. Shapes (batch, pieces,
        width) and (batch, pieces). The rows of a long text follow each other, what they have in common twice."""
        hidden, mask, owners = self.hidden, self.batch.mask, self.batch.owners
        mask = torch.ones(hidden.shape[:2], dtype=torch.bool, device=self.device) if mask is None else mask.bool()
        places = torch.tensor(list(self.places), device=self.device)
        if owners is None:
            hidden, mask = hidden.index_select(0, places), mask.index_select(0, places)
            most = int(mask.sum(1).max())
            return hidden[:, :most], mask[:, :most]
        parts = [hidden[owners == place][mask[owners == place]] for place in places]  # (pieces of the text, width) each
        there = [torch.ones(len(part), dtype=torch.bool, device=self.device) for part in parts]
        pad = torch.nn.utils.rnn.pad_sequence
        return pad(parts, batch_first=True), pad(there, batch_first=True)

    @cached_property
    def empty(self) -> list[bool]:
        """For each text whether the tokenizer leaves nothing of it but an unknown piece, or nothing at all."""
        return [self.batch.blanks[place] for place in self.places]

    @cached_property
    def flat_words(self) -> Tensor:
        """The vector of every word, one text after the other, nothing filled up: its first piece, if nothing else was
        selected. Shape (all words, width)."""
        return self.word_view("first")

    @cached_property
    def sentence_layers(self) -> Tensor:
        """As ``sentence``, of every layer. Shape (layers, batch, width)."""
        return torch.stack([self._mean(layer) for layer in self.layers])

    def word_view(self, piece: Piece) -> Tensor:
        """Every word of the batch by one of its pieces, or their mean. Shape (all words, width)."""
        return self._view(piece, lambda: self._words_of(self.layers[-1], piece))

    def word_layers_view(self, piece: Piece) -> Tensor:
        """As ``word_view``, of every layer. Shape (layers, all words, width)."""
        if isinstance(self.layers, KeptLayers) and piece == "first":
            return self.layers.words()  # reads nothing else
        return self._view(f"{piece} of layers", lambda: torch.stack([self._words_of(x, piece) for x in self.layers]))

    def _view(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        if name not in self._views:
            self._views[name] = make()
        return self._views[name]

    @cached_property
    def word_mask(self) -> Tensor:
        """True where there is a word. Shape (batch, words)."""
        counts = torch.tensor(self.counts, device=self.device)
        return torch.arange(max(self.counts), device=self.device) < counts[:, None]

    @cached_property
    def words(self) -> Tensor:
        """The vector of every word, filled up to the longest text. Shape (batch, words, width)."""
        return self.pad(self.flat_words)

    def pad(self, flat: Tensor) -> Tensor:
        """Lay (all words, n) out as (batch, words, n), filled up with zeros."""
        if len(set(self.counts)) == 1:
            return flat.view(len(self), self.counts[0], flat.shape[-1])
        out = flat.new_zeros(len(self), max(self.counts), flat.shape[-1])
        return out.masked_scatter(self.word_mask[:, :, None], flat)

    def _words_of(self, layer: Tensor, piece: Piece) -> Tensor:
        flat = layer.reshape(-1, layer.shape[-1])
        if piece != "mean":
            return flat.index_select(0, self.batch.words if piece == "first" else self.batch.lasts)
        counts = self.batch.lasts - self.batch.words + 1
        owners = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        within = torch.arange(len(owners), device=counts.device) - (counts.cumsum(0) - counts)[owners]
        pieces = flat.index_select(0, self.batch.words[owners] + within)
        total = flat.new_zeros(len(counts), flat.shape[1]).index_add(0, owners, pieces)
        return total / counts[:, None].to(total.dtype)

    def _mean(self, layer: Tensor) -> Tensor:
        hidden, mask, owners = layer.float(), self.batch.mask, self.batch.owners  # sums want full precision
        if mask is None:
            total = hidden.sum(1)  # (rows, width)
            counts = torch.full((len(hidden), 1), float(hidden.shape[1]), device=hidden.device)
        else:
            weights = mask.to(hidden.dtype)  # (rows, pieces)
            total = (hidden * weights[:, :, None]).sum(1)
            counts = mask.sum(1, keepdim=True)
        if owners is not None:
            total = total.new_zeros(len(self), total.shape[1]).index_add(0, owners, total)
            counts = counts.new_zeros(len(self), 1).index_add(0, owners, counts)
        return total / counts.to(total.dtype)


class _Selection(Encoding):
    """Some examples of an encoding, another mix of its layers, or other pieces of its words."""

    def __init__(self, whole: Encoding, chosen: Sequence[int], mix: LayerMix | None, piece: Piece | None) -> None:
        super().__init__(whole.layers, whole.batch)
        self.whole = whole
        self.mix = mix
        self.own_piece = piece
        self.piece = piece or whole.piece
        self.chosen = list(chosen)
        self.places = [whole.places[i] for i in self.chosen]
        self.texts = [whole.texts[i] for i in self.chosen]
        self.counts = [whole.counts[i] for i in self.chosen]

    @cached_property
    def hidden(self) -> Tensor:
        return self.whole.hidden if self.mix is None else self.mix(torch.stack(list(self.layers)))

    @cached_property
    def sentence(self) -> Tensor:
        if self.mix is None:
            return self.whole.sentence.index_select(0, self._rows)
        mixed: Tensor = self.mix(self.sentence_layers)
        return mixed

    @cached_property
    def sentence_layers(self) -> Tensor:
        return self.whole.sentence_layers.index_select(1, self._rows)

    @cached_property
    def flat_words(self) -> Tensor:
        if self.mix is None:
            words = self.whole.flat_words if self.own_piece is None else self.whole.word_view(self.own_piece)
            return words.index_select(0, self._words)
        mixed: Tensor = self.mix(self.word_layers_view(self.piece))
        return mixed

    def word_view(self, piece: Piece) -> Tensor:
        return self._view(piece, lambda: self.whole.word_view(piece).index_select(0, self._words))

    def word_layers_view(self, piece: Piece) -> Tensor:
        everything = self.chosen == list(range(len(self.whole)))
        kept = isinstance(self.layers, KeptLayers) and not isinstance(self.whole, _Selection)
        if kept and piece == "first" and not everything:
            return cast(KeptLayers, self.layers).words(self._words)
        layers = self.whole.word_layers_view(piece)
        return layers if everything else layers.index_select(1, self._words)

    @property
    def _rows(self) -> Tensor:
        """The chosen examples. Shape (chosen,)."""
        return torch.tensor(self.chosen, device=self.device)

    @property
    def _words(self) -> Tensor:
        """The words of the chosen examples, by their place among all words. Shape (their words,)."""
        ends = np.cumsum(self.whole.counts)
        ranges = [np.arange(ends[i] - self.whole.counts[i], ends[i]) for i in self.chosen]
        return torch.from_numpy(np.concatenate(ranges)).to(self.device)
