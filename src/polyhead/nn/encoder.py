"""The encoder: a transformer and its tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polyhead.data.example import Example
from polyhead.errors import PolyheadError
from polyhead.nn.adapt import adapter_names
from polyhead.nn.batch import Batch, collate
from polyhead.nn.dropout import replace_dropout, set_rates
from polyhead.nn.encoding import Encoding
from polyhead.nn.features import Features
from polyhead.nn.halves import STATES, Inputs
from polyhead.nn.layers import EMBEDDINGS, layers_prefix, level_of
from polyhead.nn.layout import measure
from polyhead.nn.pieces import CASES, Ints, Pieces, PieceTokenizer

__all__ = ["Encoder", "Encoding"]

AT_ONCE = 8192
"""The most pieces, filling included, that the transformer takes at once."""


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
        self.source = ""
        """The folder, or the id on the Hub, that it was loaded from; empty if it was not."""
        self._own_rates: dict[tuple[nn.Module, str], Any] = {}
        self.frozen = -1
        """The highest level that does not learn, see :meth:`freeze`."""
        self.features: Features | None = None
        """What the frozen layers made of texts that come again."""
        self.root: Callable[..., Sequence[Tensor]] | None = None
        """What runs the transformer where its weights are divided among processes (see :mod:`polyhead.nn.sharding`)."""
        self.at_once = 0
        """Pieces that must be encoded at once even if they are more than ``AT_ONCE``: a stage's batch."""
        # A tokenizer that lower-cases takes away what marks names; vectors that start at 0 give it back.
        self.case: nn.Embedding | None = None
        if tokenizer.lowers:
            pieces = transformer.get_input_embeddings()  # type: ignore[operator]
            # Small ELECTRA and ALBERT embed more narrowly. The vector of what has no capital stays 0: a text is
            # answered alike whether or not a neighbour in its batch has capitals.
            self.case = nn.Embedding(CASES, pieces.weight.shape[1], padding_idx=0)
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

    def tokenise(self, examples: Sequence[Example], language: str | None = None) -> list[Pieces]:
        """The pieces of each example; the language is told by the encoder's own code, where it has such."""
        return self.tokenizer(examples, language)

    def collate(self, items: Sequence[Pieces]) -> Batch:
        """The batch that ``forward`` takes."""
        batch = collate(items, self.tokenizer, self.window)
        return batch if self.features is None else replace(batch, slots=self.features.find(items, batch))

    def measure(self, items: Sequence[Pieces]) -> tuple[Ints, Ints]:
        """The length of each example's longest row, in pieces, and its number of rows. Shapes (examples,)."""
        return measure(items, self.tokenizer, self.window)

    def forward(self, batch: Batch, *, all_layers: bool = False) -> Encoding:
        """Encode a batch, once for all heads; with ``all_layers`` the encoding holds all of them, to be mixed."""
        if self.root is not None:
            return Encoding(self.root(partial(self._run, batch, all_layers)), batch)
        kept, slots = self.features, batch.slots
        if kept is None or slots is None or not kept.serve(self.frozen, all_layers=all_layers):
            return Encoding(self.run(self.inputs(batch), all_layers=all_layers), batch)
        below = kept.below(slots, partial(self.inputs, batch), all_layers=all_layers)
        if kept.halves is None:
            return Encoding(below, batch)
        run = partial(kept.halves.above, all_layers=all_layers)
        above = self.in_parts(run, self.inputs(batch) | {STATES: below[-1]})
        return Encoding([*below, *above] if all_layers else above, batch)

    def _run(self, batch: Batch, all_layers: bool) -> Sequence[Tensor]:
        """All of a batch at once: processes that share a transformer must run it equally often."""
        return self._layers(self.inputs(batch), all_layers)

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
        """Write weights, configuration and tokenizer as transformers does: ``AutoModel.from_pretrained`` opens it.

        Of an encoder-decoder there is the half that encodes: ``AutoModel.from_pretrained(folder).get_encoder()``.
        """
        folder.mkdir(parents=True, exist_ok=True)
        weights = None
        if getattr(self.config, "is_encoder_decoder", False):
            weights = {f"encoder.{name}": tensor for name, tensor in self.transformer.state_dict().items()}
        self.transformer.save_pretrained(folder, state_dict=weights)  # type: ignore[operator]
        self.tokenizer.save(folder, self.window)
