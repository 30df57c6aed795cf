"""The encoder: a transformer and its tokenizer; and its output, an encoding, with views for each kind of head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polyhead.data.example import Example
from polyhead.errors import PolyheadError
from polyhead.nn.adapt import adapter_names
from polyhead.nn.batch import Batch, collate, padded_length, rows_of
from polyhead.nn.dropout import replace_dropout
from polyhead.nn.layers import EMBEDDINGS, layers_prefix, level_of
from polyhead.nn.mix import LayerMix
from polyhead.nn.pieces import CASES, Ints, Pieces, PieceTokenizer

AT_ONCE = 8192
"""The most pieces, filling included, that the transformer takes at once."""

_NEVER_DROPPED = ("attention_dropout", "attention_probs_dropout_prob", "dropout_prob", "layerdrop")
"""Rates that are set to 0: of attention weights, and of whole layers, which heads may want to mix."""

_QUERIES = ("query", "q_lin", "query_proj", "q_proj", "q")
"""What the families call the projection that only an attention module has."""


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
        return self._view(f"{piece} of layers", lambda: torch.stack([self._words_of(x, piece) for x in self.layers]))

    def _view(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        if name not in self._views:
            self._views[name] = make()
        return self._views[name]

    @cached_property
    def word_mask(self) -> Tensor:
        """True where there is a word. Shape (batch, words)."""
        device = self.layers[-1].device
        counts = torch.tensor(self.counts, device=device)
        return torch.arange(max(self.counts), device=device) < counts[:, None]

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
        layers = self.whole.word_layers_view(piece)
        everything = self.chosen == list(range(len(self.whole)))
        return layers if everything else layers.index_select(1, self._words)

    @property
    def _rows(self) -> Tensor:
        """The chosen examples. Shape (chosen,)."""
        return torch.tensor(self.chosen, device=self.layers[-1].device)

    @property
    def _words(self) -> Tensor:
        """The words of the chosen examples, by their place among all words. Shape (their words,)."""
        ends = np.cumsum(self.whole.counts)
        ranges = [np.arange(ends[i] - self.whole.counts[i], ends[i]) for i in self.chosen]
        return torch.from_numpy(np.concatenate(ranges)).to(self.layers[-1].device)


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
        return int(self._config.hidden_size)

    @property
    def depth(self) -> int:
        """The number of layers, the embeddings included."""
        return int(self._config.num_hidden_layers) + 1

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def layer_weights(self) -> int:
        """The number of weights in the transformer's layers, which each piece is multiplied with."""
        return sum(p.numel() for name, p in self.transformer.named_parameters() if "embeddings" not in name)

    @property
    def _config(self) -> Any:
        return self.transformer.config

    def set_dropout(self, rate: float | None) -> None:
        """Let the transformer drop hidden values at ``rate`` (``None``: at its own rate), attention weights never.

        Dropout on attention weights keeps torch from using its fused attention, which costs more than it brings.
        """
        replace_dropout(self.transformer, rate)
        for module in self.transformer.modules():
            for name in _NEVER_DROPPED:
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)
            self._set_plain_rates(module, rate)
            # BERT's family, DistilBERT and DeBERTa keep the rate in a module.
            if any(hasattr(module, name) for name in _QUERIES) and isinstance(
                getattr(module, "dropout", None), nn.Module
            ):
                module.dropout = nn.Dropout(0.0)

    def _set_plain_rates(self, module: nn.Module, rate: float | None) -> None:
        """Set rates that a module keeps as numbers, as those of BART's family do."""
        for name in ("dropout", "activation_dropout"):
            own = self._own_rates.setdefault((module, name), getattr(module, name, None))
            if isinstance(own, float):
                attention = any(hasattr(module, query) for query in _QUERIES)
                setattr(module, name, 0.0 if attention else own if rate is None else rate)

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
        return collate(items, self.tokenizer, self.window)

    def measure(self, items: Sequence[Pieces]) -> tuple[Ints, Ints]:
        """The length of each example's longest row, in pieces, and its number of rows. Shapes (examples,)."""
        lengths = [padded_length(item, self.tokenizer, self.window) for item in items]
        rows = [rows_of(item, self.tokenizer, self.window) for item in items]
        return np.asarray(lengths, dtype=np.int64), np.asarray(rows, dtype=np.int64)

    def forward(self, batch: Batch, *, all_layers: bool = False) -> Encoding:
        """Encode a batch, once for all heads; with ``all_layers`` the encoding holds all of them, to be mixed."""
        inputs: dict[str, Tensor] = {"input_ids": batch.ids}
        if self.case is not None and batch.case is not None:
            embedded = self.transformer.get_input_embeddings()(batch.ids)  # type: ignore[operator]
            inputs = {"inputs_embeds": embedded + self.case(batch.case)}
        if batch.mask is not None:
            inputs["attention_mask"] = batch.mask
        if batch.types is not None and getattr(self._config, "type_vocab_size", 0) > 1:  # DistilBERT, say, knows none
            inputs["token_type_ids"] = batch.types
        return Encoding(self._transform(inputs, all_layers), batch)

    def _transform(self, inputs: dict[str, Tensor], all_layers: bool) -> Sequence[Tensor]:
        """The transformer's layers. Only a very long text makes more rows than are taken at once: they are then
        taken in parts, and what the backward pass needs of them is computed again there, so that memory is bounded.
        """
        rows, pieces = inputs["input_ids"].shape if "input_ids" in inputs else inputs["inputs_embeds"].shape[:2]
        at_once = max(1, max(AT_ONCE, self.at_once) // pieces)
        if rows <= at_once:
            return self._layers(inputs, all_layers)
        parts = [{k: v[i : i + at_once] for k, v in inputs.items()} for i in range(0, rows, at_once)]
        if torch.is_grad_enabled():
            found = [checkpoint(self._layers, part, all_layers, use_reentrant=False) for part in parts]
        else:
            found = [self._layers(part, all_layers) for part in parts]
        return [torch.cat(layer) for layer in zip(*found, strict=True)]

    def _layers(self, inputs: dict[str, Tensor], all_layers: bool) -> Sequence[Tensor]:
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
