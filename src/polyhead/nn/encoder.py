"""The encoder: a transformer and its tokenizer; and its output, an encoding, with views for each kind of head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polyhead.data.example import Example
from polyhead.errors import PolyheadError
from polyhead.nn.adapt import adapter_names
from polyhead.nn.batch import Batch, collate, padded_length, rows_of
from polyhead.nn.dropout import replace_dropout, set_rates
from polyhead.nn.features import Features, KeptLayers
from polyhead.nn.halves import STATES, Inputs
from polyhead.nn.layers import EMBEDDINGS, layers_prefix, level_of
from polyhead.nn.mix import LayerMix
from polyhead.nn.pieces import CASES, Ints, Pieces, PieceTokenizer

AT_ONCE = 8192
"""The most pieces, filling included, that the transformer takes at once."""


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
        self.texts: Sequence[tuple[str, ...]] = batch.texts
        self.counts: Sequence[int] = [len(words) for words in batch.texts]

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.counts)

    def select(self, chosen: Sequence[int], mix: LayerMix | None = None) -> Encoding:
        """The encoding of some of the examples, in the given order; nothing is encoded again.

        Args:
            chosen: The examples, by their place in the batch.
            mix: What makes one layer of all; without it views are of the last one.
        """
        everything = list(chosen) == list(range(len(self)))
        return self if everything and mix is None else _Selection(self, chosen, mix)

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
    def flat_words(self) -> Tensor:
        """The first piece of every word, one text after the other, nothing filled up. Shape (all words, width)."""
        return self._first_pieces(self.layers[-1])

    @cached_property
    def sentence_layers(self) -> Tensor:
        """As ``sentence``, of every layer. Shape (layers, batch, width)."""
        return torch.stack([self._mean(layer) for layer in self.layers])

    @cached_property
    def flat_word_layers(self) -> Tensor:
        """As ``flat_words``, of every layer. Shape (layers, all words, width)."""
        if isinstance(self.layers, KeptLayers):
            return self.layers.words()
        return torch.stack([self._first_pieces(layer) for layer in self.layers])

    @cached_property
    def word_mask(self) -> Tensor:
        """True where there is a word. Shape (batch, words)."""
        counts = torch.tensor(self.counts, device=self.device)
        return torch.arange(max(self.counts), device=self.device) < counts[:, None]

    @cached_property
    def words(self) -> Tensor:
        """The first piece of every word, filled up to the longest text. Shape (batch, words, width)."""
        return self.pad(self.flat_words)

    def pad(self, flat: Tensor) -> Tensor:
        """Lay (all words, n) out as (batch, words, n), filled up with zeros."""
        if len(set(self.counts)) == 1:
            return flat.view(len(self), self.counts[0], flat.shape[-1])
        out = flat.new_zeros(len(self), max(self.counts), flat.shape[-1])
        return out.masked_scatter(self.word_mask[:, :, None], flat)

    def _first_pieces(self, layer: Tensor) -> Tensor:
        return layer.reshape(-1, layer.shape[-1]).index_select(0, self.batch.words)

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
    """Some examples of an encoding, or another mix of its layers."""

    def __init__(self, whole: Encoding, chosen: Sequence[int], mix: LayerMix | None) -> None:
        super().__init__(whole.layers, whole.batch)
        self.whole = whole
        self.mix = mix
        self.chosen = list(chosen)
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
            return self.whole.flat_words.index_select(0, self._words)
        mixed: Tensor = self.mix(self.flat_word_layers)
        return mixed

    @cached_property
    def flat_word_layers(self) -> Tensor:
        everything = self.chosen == list(range(len(self.whole)))
        if isinstance(self.layers, KeptLayers) and not everything:
            return self.layers.words(self._words)
        layers = self.whole.flat_word_layers
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


class Encoder(nn.Module):
    """A transformer of the transformers library with its fast tokenizer.

    Args:
        transformer: A model whose output has ``last_hidden_state``.
        tokenizer: The pieces that the transformer was trained on.
        window: The most pieces that a row may have, special ones included.
        name: Where it came from, for messages and the model card.
    """

    def __init__(self, transformer: nn.Module, tokenizer: PieceTokenizer, *, window: int, name: str) -> None:
        super().__init__()
        self.transformer = transformer
        self.tokenizer = tokenizer
        self.window = window
        self.name = name
        self._own_rates: dict[tuple[nn.Module, str], Any] = {}
        self.frozen = -1
        """The highest level that does not learn, see :meth:`freeze`."""
        self.features: Features | None = None
        """What the frozen layers made of texts that come again."""
        self.at_once = 0
        """Pieces that must be encoded at once even if they are more than ``AT_ONCE``: a stage's batch."""
        # A tokenizer that lower-cases takes away what marks names; vectors that start at 0 give it back.
        self.case: nn.Embedding | None = None
        if tokenizer.lowers:
            pieces = transformer.get_input_embeddings()  # type: ignore[operator]
            self.case = nn.Embedding(CASES, pieces.weight.shape[1])  # small ELECTRA and ALBERT embed more narrowly
            nn.init.zeros_(self.case.weight)

    @property
    def width(self) -> int:
        """The size of a piece's vector."""
        return int(self.config.hidden_size)

    @property
    def depth(self) -> int:
        """The number of layers, the embeddings included."""
        return int(self.config.num_hidden_layers) + 1

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def layer_weights(self) -> int:
        """The number of weights in the transformer's layers, which each piece is multiplied with."""
        return sum(p.numel() for name, p in self.transformer.named_parameters() if "embeddings" not in name)

    @property
    def config(self) -> Any:
        """The transformer's configuration."""
        return self.transformer.config

    @property
    def layers(self) -> nn.ModuleList:
        """The transformer's layers.

        Raises:
            PolyheadError: They cannot be told apart.
        """
        found = self.transformer.get_submodule(self._layers_prefix.removesuffix("."))
        assert isinstance(found, nn.ModuleList)
        return found

    def set_dropout(self, rate: float | None) -> None:
        """Let the transformer drop hidden values at ``rate`` (``None``: at its own rate), attention weights never.

        Dropout on attention weights keeps torch from using its fused attention, which costs more than it brings.
        """
        replace_dropout(self.transformer, rate)
        set_rates(self.transformer, rate, self._own_rates)

    @property
    def added(self) -> set[str]:
        """The names of the weights that an adapter adds; none where none is attached."""
        return {f"transformer.{name}" for name in adapter_names(self.transformer)}

    def levels(self) -> dict[str, int]:
        """For each of the transformer's weights, by its name inside it, 0 if it belongs to the embeddings, else the
        number of its layer.

        Raises:
            PolyheadError: The layers cannot be told apart.
        """
        return {name: self._level(name) for name, _ in self.transformer.named_parameters()}

    def freeze(self, level: int) -> None:
        """Stop the weights up to a level from learning, and let the others learn.

        Nothing is dropped in what is frozen, and where nothing below learns no backward pass goes there. Where an
        adapter is attached, it alone learns.

        Args:
            level: 0 freezes the embeddings, n also the first n layers; -1 nothing.

        Raises:
            PolyheadError: The layers cannot be told apart.
        """
        added = adapter_names(self.transformer)
        whole = level >= self.depth - 1
        for name, weight in self.transformer.named_parameters():
            learns = level < EMBEDDINGS or (not whole and self._level(name) > level)
            weight.requires_grad_(learns and (not added or name in added))
        if self.case is not None:
            self.case.requires_grad_(level < EMBEDDINGS)
        self.frozen = level
        self.train(self.training)

    def train(self, mode: bool = True) -> Encoder:
        """Turn training on or off; what is frozen stays as in evaluation."""
        super().train(mode)
        if mode and self.frozen >= self.depth - 1:
            self.transformer.eval()
        elif mode and self.frozen >= EMBEDDINGS:
            for name, module in self.transformer.named_modules():
                if self._level(f"{name}.") <= self.frozen:
                    module.training = False
        return self

    def _level(self, name: str) -> int:
        return level_of(name, self._layers_prefix, self.depth - 1)

    @cached_property
    def _layers_prefix(self) -> str:
        try:
            return layers_prefix(self.transformer, self.depth - 1)
        except ValueError as error:
            raise PolyheadError(
                f"The layers of the encoder {self.name!r} cannot be told apart: they share their weights.",
                remedy='Leave layer_decay out, and take freeze = "nothing" or "encoder" without thaw.',
            ) from error

    def tokenise(self, examples: Sequence[Example]) -> list[Pieces]:
        """The pieces of each example."""
        return self.tokenizer(examples)

    def collate(self, items: Sequence[Pieces]) -> Batch:
        """The batch that ``forward`` takes."""
        batch = collate(items, self.tokenizer, self.window)
        return batch if self.features is None else replace(batch, slots=self.features.find(items, batch))

    def measure(self, items: Sequence[Pieces]) -> tuple[Ints, Ints]:
        """The length of each example's longest row, in pieces, and its number of rows. Shapes (examples,)."""
        lengths = [padded_length(item, self.tokenizer, self.window) for item in items]
        rows = [rows_of(item, self.tokenizer, self.window) for item in items]
        return np.asarray(lengths, dtype=np.int64), np.asarray(rows, dtype=np.int64)

    def forward(self, batch: Batch, *, all_layers: bool = False) -> Encoding:
        """Encode a batch, once for all heads; with ``all_layers`` the encoding holds all of them, to be mixed."""
        kept, slots = self.features, batch.slots
        if kept is None or slots is None or not kept.serve(self.frozen, all_layers=all_layers):
            return Encoding(self.run(self.inputs(batch), all_layers=all_layers), batch)
        below = kept.below(slots, partial(self.inputs, batch), all_layers=all_layers)
        if kept.halves is None:
            return Encoding(below, batch)
        run = partial(kept.halves.above, all_layers=all_layers)
        above = self.in_parts(run, self.inputs(batch) | {STATES: below[-1]})
        return Encoding([*below, *above] if all_layers else above, batch)

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """What the transformer takes, by its own names."""
        inputs: dict[str, Tensor] = {"input_ids": batch.ids}
        if self.case is not None and batch.case is not None:
            embedded = self.transformer.get_input_embeddings()(batch.ids)  # type: ignore[operator]
            inputs = {"inputs_embeds": embedded + self.case(batch.case)}
        if batch.mask is not None:
            inputs["attention_mask"] = batch.mask
        if batch.types is not None and getattr(self.config, "type_vocab_size", 0) > 1:  # DistilBERT, say, knows none
            inputs["token_type_ids"] = batch.types
        return inputs

    def run(self, inputs: Inputs, *, all_layers: bool) -> Sequence[Tensor]:
        """The layers of the whole transformer, or the last one alone. (rows, pieces, width) each."""
        return self.in_parts(partial(self._layers, all_layers=all_layers), inputs)

    def in_parts(self, run: Callable[[Inputs], Sequence[Tensor]], inputs: Inputs) -> Sequence[Tensor]:
        """What ``run`` gives. Only a very long text makes more rows than are taken at once: they are then taken in
        parts, and what the backward pass needs of them is computed again there, so that memory is bounded.
        """
        rows, pieces = inputs["input_ids"].shape if "input_ids" in inputs else inputs["inputs_embeds"].shape[:2]
        at_once = max(1, max(AT_ONCE, self.at_once) // pieces)
        if rows <= at_once:
            return run(inputs)
        parts = [{k: v[i : i + at_once] for k, v in inputs.items()} for i in range(0, rows, at_once)]
        if torch.is_grad_enabled():
            found = [checkpoint(run, part, use_reentrant=False) for part in parts]
        else:
            found = [run(part) for part in parts]
        return [torch.cat(layer) for layer in zip(*found, strict=True)]

    def _layers(self, inputs: Inputs, all_layers: bool) -> Sequence[Tensor]:
        out = self.transformer(**inputs, output_hidden_states=all_layers)
        last: Tensor = out.last_hidden_state
        if not all_layers:
            return (last,)
        layers = [*(layer[:, : last.shape[1]] for layer in out.hidden_states[:-1]), last]  # BigBird's are filled up
        if len(layers) != self.depth or any(layer.shape != last.shape for layer in layers):
            raise PolyheadError(
                f"The layers of the encoder {self.name!r} cannot be mixed: they differ in number or shape.",
                remedy='Set encoder_layers = "last" for each task.',
            )
        return layers

    def describe(self) -> dict[str, Any]:
        """What a saved model needs to know beside transformers' own configuration; plain data for JSON."""
        return {
            "name": self.name,
            "window": self.window,
            "unknown": self.tokenizer.unknown,
            "padding": self.tokenizer.padding,
        }

    def save(self, folder: Path) -> None:
        """Write weights, configuration and tokenizer as transformers does: ``AutoModel.from_pretrained`` opens it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.transformer.save_pretrained(folder)  # type: ignore[operator]
        self.tokenizer.save(folder)
