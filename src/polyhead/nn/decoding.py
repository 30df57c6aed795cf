"""Decoders: they read what the encoder made of a text, and write another text piece by piece.

The networks and the search for the best sequence are transformers' own: an encoder-decoder whose encoder is left out,
since its work is done by the shared encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from polyhead.nn.searching import AT_ONCE, Search

IGNORE = -100
"""The target where a shorter text of a batch has ended."""


@dataclass(frozen=True, slots=True)
class Ends:
    """How texts end.

    Attributes:
        end: The id of the piece that ends a text.
        padding: The id that fills up shorter ones.
        longest: The most pieces of each text, its end left out.
    """

    end: int
    padding: int
    longest: Sequence[int]


@dataclass(frozen=True, slots=True)
class Written:
    """A text that a decoder wrote.

    Attributes:
        ids: Its pieces, without special ones.
        chance: The geometric mean of its pieces' probabilities, that of its end included unless it was cut off; no
            number if nobody asked for it.
    """

    ids: list[int]
    chance: float


class _Output(nn.Module):
    """The product with the piece vectors, which belong to another module (tied weights; Press and Wolf 2017)."""

    def __init__(self, embedding: nn.Module, bias: Tensor | None) -> None:
        super().__init__()
        self.embedding = [embedding]  # in a list, so that its weights are not this module's
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    @property
    def weight(self) -> Tensor:
        """Shape (pieces, width)."""
        (embedding,) = self.embedding
        return cast(Tensor, embedding.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits. Shape (..., width) to (..., pieces)."""
        return nn.functional.linear(hidden, self.weight, self.bias)


class Absent(nn.Module):
    """Stands where transformers expects an encoder; it has nothing to do."""

    main_input_name = "input_ids"

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config


class Decoder(nn.Module):
    """A decoder over the pieces of an encoder.

    Args:
        network: An encoder-decoder of the transformers library; its encoder is taken away.
        width: The encoder's width; where the decoder has another one, a linear layer stands between.
    """

    def __init__(self, network: Any, width: int) -> None:
        from transformers import GenerationConfig

        super().__init__()
        self.network = _alone(network)
        # transformers fills up a search with what the network's folder says of one (repeats, least lengths, forced
        # pieces), which no saved model and no export would know of.
        self.network.generation_config = GenerationConfig()
        self.network.eval()
        own = decoder_width(network.config)
        self.bridge = nn.Linear(width, own) if width != own else None

    @property
    def config(self) -> Any:
        """The network's configuration."""
        return self.network.config

    @property
    def embedding(self) -> nn.Embedding:
        """The vectors of the pieces that it writes."""
        return _embedding(self.network)

    @property
    def reads(self) -> int:
        """The size of the vectors that it reads."""
        return decoder_width(self.config) if self.bridge is None else self.bridge.in_features

    @property
    def room(self) -> int | None:
        """The most pieces that it reads, those before the first one included; ``None`` if it knows no bound."""
        for name, module in self.network.named_modules():
            if name.endswith(("embed_positions", "position_embeddings")) and isinstance(module, nn.Embedding):
                before = 0 if module.padding_idx is None else module.padding_idx + 1  # RoBERTa's begin after it
                return module.num_embeddings - int(getattr(module, "offset", before))
        return None

    def forward(self, states: Tensor, mask: Tensor, given: Tensor) -> Tensor:
        """The logits of each next piece.

        Args:
            states: What the encoder made of each text. Shape (batch, pieces, width).
            mask: True where there is a piece. Shape (batch, pieces).
            given: The pieces so far, which begin with the start. Shape (batch, steps).

        Returns:
            Shape (batch, steps, pieces of the vocabulary).
        """
        out = self.network(
            encoder_outputs=self.memory(states), attention_mask=mask.long(), decoder_input_ids=given, use_cache=False
        )
        return cast(Tensor, out.logits).float()

    def write(
        self, states: Tensor, mask: Tensor, start: Sequence[int], search: Search, ends: Ends
    ) -> list[list[Written]]:
        """A text for each encoded text, or several, the best first. None depends on what else is in the batch, unless
        they are drawn.

        Args:
            states: Shape (batch, pieces, width).
            mask: Shape (batch, pieces).
            start: The pieces that each text begins with; they are not part of it.
            search: How to look for it.
            ends: How it ends.
        """
        kept = max(search.beams, search.best) * self.embedding.num_embeddings
        rows = max(1, AT_ONCE // kept)
        texts: list[list[Written]] = []
        for i in range(0, len(states), rows):
            part = replace(ends, longest=ends.longest[i : i + rows])
            texts += self._write(states[i : i + rows], mask[i : i + rows], start, search, part)
        return texts

    def _write(
        self, states: Tensor, mask: Tensor, start: Sequence[int], search: Search, ends: Ends
    ) -> list[list[Written]]:
        from polyhead.nn.watching import Watching  # it imports transformers

        prompt = torch.tensor([list(start)] * len(states), device=states.device)
        best = search.best if search.temperature is not None else min(search.best, search.beams)
        limits = torch.tensor(list(ends.longest), device=states.device)
        never = None if ends.padding == ends.end else ends.padding
        watching = Watching(limits, len(start), ends.end, never, several=search.beams > 1, sure=search.sure)
        found = self.network.generate(
            encoder_outputs=self.memory(states),
            attention_mask=mask.long(),
            decoder_input_ids=prompt,
            generation_config=_settings(search, best, start, ends),
            **watching.settings(),
        )
        written = found.sequences[:, len(start) :]  # (batch * best, steps)
        own = (written == ends.end).cumsum(1) == 0
        chances = watching.chances(own.sum(1), getattr(found, "beam_indices", None)).tolist()
        texts = [Written(row[kept].tolist(), chance) for row, kept, chance in zip(written, own, chances, strict=True)]
        return [texts[i : i + best] for i in range(0, len(texts), best)]

    def memory(self, states: Tensor) -> Any:
        """What the encoder made of texts, as the network takes it."""
        from transformers.modeling_outputs import BaseModelOutput

        read = states if self.bridge is None else self.bridge(states)
        return BaseModelOutput(last_hidden_state=read)


def _settings(search: Search, best: int, start: Sequence[int], ends: Ends) -> Any:
    """A search in transformers' words."""
    from transformers import GenerationConfig

    drawn = search.temperature is not None
    return GenerationConfig(
        max_length=max(ends.longest) + len(start) + 1,
        num_beams=search.beams,
        length_penalty=search.length_penalty if search.beams > 1 else None,
        early_stopping=search.beams > 1,
        do_sample=drawn,
        temperature=search.temperature if drawn else None,
        top_k=0 if drawn else None,
        num_return_sequences=best,
        return_dict_in_generate=True,
        decoder_start_token_id=start[0],
        eos_token_id=ends.end,
        pad_token_id=ends.padding,
    )


def decoder_width(config: Any) -> int:
    """The size of a vector in the decoder of an encoder-decoder with this configuration."""
    inner = getattr(config, "decoder", config)
    return int(getattr(inner, "d_model", None) or inner.hidden_size)


def _alone(network: Any) -> Any:
    """An encoder-decoder without its encoder, each weight of which has one name."""
    output = network.get_output_embeddings()
    embedding = _embedding(network)
    if output.weight.data_ptr() == embedding.weight.data_ptr():
        _put_output(network, output, _Output(embedding, getattr(output, "bias", None)))
    base = network.model if hasattr(network, "model") else network
    if not isinstance(base.encoder, Absent):
        base.encoder = Absent(network.config)
    if "shared" in base._modules:  # the piece vectors under another name
        del base._modules["shared"]
        base.__dict__["shared"] = embedding
    return network


def _put_output(network: Any, old: nn.Module, new: nn.Module) -> None:
    """Put another output layer into the place of a network's own, and take away a second name of its bias."""
    for module in network.modules():
        for name, child in module._modules.items():
            if child is old:
                module._modules[name] = new
                if getattr(module, "bias", None) is not None and "bias" in module._parameters:
                    module._parameters["bias"] = None


def _embedding(network: Any) -> nn.Embedding:
    inner = network.decoder if hasattr(network, "decoder") else network.model.decoder
    found = inner.get_input_embeddings()
    return cast(nn.Embedding, found)
