"""The transformer of BERT's family for prediction: fewer and larger steps than the transformers library takes, which is
not even imported. That alone takes two to three seconds of a command that answers for one sentence.

BERT (Devlin et al. 2019), RoBERTa, XLM-RoBERTa, CamemBERT and ELECTRA are the same network but for where positions
begin. Weights have the names that the library gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from polyhead.files import read_json
from polyhead.nn.packed import PackedLinear, filled_up, join_linear
from polyhead.nn.unpadded import Unpadded

_FAMILIES = {"bert": False, "electra": False, "roberta": True, "xlm-roberta": True, "camembert": True}
"""By ``model_type`` whether positions begin after the padding's id."""

_NEEDED = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"),
    *("max_position_embeddings", "type_vocab_size", "layer_norm_eps", "hidden_act", "pad_token_id"),
)

META = "meta"
"""Where weights have a shape and no values yet. As a context it would make torch import its compiler, a second."""


def knows(config: Mapping[str, Any]) -> bool:
    """Whether a configuration, as in ``config.json``, is of a network that :class:`Bert` is."""
    plain = config.get("position_embedding_type", "absolute") == "absolute" and not config.get("pruned_heads")
    alone = not config.get("is_decoder") and not config.get("add_cross_attention")
    same = config.get("embedding_size", config.get("hidden_size")) == config.get("hidden_size")
    whole = all(config.get(name) is not None for name in _NEEDED) and config["hidden_act"] == "gelu"
    return config.get("model_type") in _FAMILIES and plain and alone and same and whole


def read_bert(folder: Path) -> Bert | None:
    """The transformer in a folder that the transformers library wrote; ``None`` if it is of another kind.

    Raises:
        OSError, SafetensorError: A file is missing or broken.
        ValueError: Weights are missing.
        RuntimeError: Weights have other shapes than the configuration says.
    """
    from safetensors.torch import load_file

    config = read_json(folder / "config.json")
    if not knows(config) or not (folder / "model.safetensors").is_file():  # large ones lie in several files
        return None
    bert = Bert(SimpleNamespace(**config))
    weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    missing = bert.load_state_dict(weights, strict=False, assign=True).missing_keys
    if missing:
        raise ValueError(f"{len(missing)} of its weights are missing, such as {missing[0]}")
    return bert.eval()


class Bert(nn.Module):
    """The transformer, in evaluation mode, before it has weights; it cannot be trained.

    Args:
        config: What ``config.json`` holds.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))

    def get_input_embeddings(self) -> nn.Embedding:
        """The vectors of pieces."""
        return self.embeddings.word_embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> SimpleNamespace:
        """As transformers: ``last_hidden_state``, (batch, pieces, width), and if wanted all ``hidden_states``; any
        vectors where a row is filled up.

        Args:
            input_ids: The ids of pieces. Shape (batch, pieces).
            attention_mask: True where there is a piece; filling comes last in a row. Shape (batch, pieces).
            token_type_ids: Which part of its text a piece is of. Shape (batch, pieces).
            inputs_embeds: The vectors of pieces in place of their ids. Shape (batch, pieces, width).
            output_hidden_states: Whether all layers are wanted, the embeddings first.
        """
        given = input_ids if inputs_embeds is None else inputs_embeds
        assert given is not None
        packed = any(layer.joined for layer in self.encoder.layer)  # type: ignore[union-attr]
        # What packed products want is laid out once for all layers, and not in each product.
        rows = _rows(given, attention_mask, filled_up if packed else int)
        flat = rows.flat(given)
        vectors = flat if inputs_embeds is not None else self.embeddings.word_embeddings(flat)
        types = None if token_type_ids is None else rows.flat(token_type_ids)
        places = self._places(input_ids, attention_mask)
        within = rows.within + self.embeddings.first if places is None else rows.flat(places)
        hidden = self.embeddings(vectors, types, within)
        states = [hidden]
        for layer in self.encoder.layer:  # type: ignore[union-attr]
            hidden = layer(hidden, rows)
            states = [*states, hidden] if output_hidden_states else [hidden]
        wanted = [rows.filled(state) for state in states]
        return SimpleNamespace(
            last_hidden_state=wanted[-1], hidden_states=tuple(wanted) if output_hidden_states else None
        )

    def _places(self, ids: Tensor | None, mask: Tensor | None) -> Tensor | None:
        """The positions of pieces where a text holds the padding's own piece, which RoBERTa's families do not count;
        else ``None``, for positions in order."""
        if ids is None or not self.embeddings.first:
            return None
        real = ids != self.config.pad_token_id
        if bool((real if mask is None else real | ~mask.bool()).all()):
            return None
        places: Tensor = real.cumsum(1) * real + self.config.pad_token_id
        return places

    def fuse(self) -> None:
        """Compute queries, keys and values in one product, and the activation with the product before it; once the
        weights have been packed (see :mod:`polyhead.nn.packed`)."""
        for layer in self.encoder.layer:  # type: ignore[union-attr]
            layer.fuse()


class _Embeddings(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        self.word_embeddings = _vectors(config.vocab_size, width)
        self.position_embeddings = _vectors(config.max_position_embeddings, width)
        self.token_type_embeddings = _vectors(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps, device=META)
        self.first = config.pad_token_id + 1 if _FAMILIES[config.model_type] else 0

    def forward(self, vectors: Tensor, types: Tensor | None, places: Tensor) -> Tensor:
        """(all pieces, width), from vectors of that shape, and (all pieces,) twice."""
        near = self.position_embeddings(places)
        parts = self.token_type_embeddings.weight[0] if types is None else self.token_type_embeddings(types)
        found: Tensor = self.LayerNorm(vectors + (parts + near))
        return found


class _Layer(nn.Module):
    """A layer; its parts are there for the names of their weights."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.heads = config.num_attention_heads
        self.attention = _Attention(config)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner, device=META)})
        self.output = _Output(inner, config)
        self.joined: list[PackedLinear] = []  # in a list, so that its weights are not this module's

    def fuse(self) -> None:
        """See :meth:`Bert.fuse`."""
        inner = self.intermediate["dense"]
        if isinstance(inner, PackedLinear):
            self.joined = [join_linear(self.attention.self.all())]
            inner.after = "gelu"

    def forward(self, hidden: Tensor, rows: Unpadded) -> Tensor:
        """(all pieces, width) to the same."""
        if self.joined:
            query, key, value = self.joined[0](hidden).chunk(3, dim=-1)
        else:
            query, key, value = (linear(hidden) for linear in self.attention.self.all())
        seen = rows.attend(query, key, value, self.heads)
        between = self.attention.output(seen, hidden)
        inner = self.intermediate["dense"]
        wide = inner(between)
        if not isinstance(inner, PackedLinear) or inner.after == "none":
            wide = nn.functional.gelu(wide)
        found: Tensor = self.output(wide, between)
        return found


class _Attention(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        self.self = _Asked(width)
        self.output = _Output(width, config)


class _Asked(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width, device=META) for _ in range(3))

    def all(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        """The layers."""
        return self.query, self.key, self.value


class _Output(nn.Module):
    def __init__(self, width: int, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size, device=META)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, device=META)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """(all pieces, inner width) and what went into the sublayer, (all pieces, width), which is returned."""
        found: Tensor = self.LayerNorm(self.dense(x) + before)
        return found


def _vectors(count: int, width: int) -> nn.Embedding:
    return nn.Embedding(count, width, _weight=torch.empty(count, width, device=META))  # none are drawn


def _rows(given: Tensor, mask: Tensor | None, total: Callable[[int], int]) -> Unpadded:
    """How the pieces of (rows, pieces, ...) lie; the mask is False where rows are filled up, at their end."""
    count, pieces = given.shape[:2]
    lengths = [pieces] * count if mask is None else mask.bool().sum(1).tolist()
    return Unpadded(lengths, pieces, given.device, total)
