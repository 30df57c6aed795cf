"""A decoder step by step, with cached states given and taken as tensors: what an exported model runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from polyhead.answering.writing import FIRST, NEXT, PAST, PRESENT, READ
from polyhead.nn.decoding import Decoder
from polyhead.tasks.head import Network


def stepping(decoder: Decoder, start: int) -> dict[str, Network]:
    """The first step of a decoder, and each further one; :mod:`polyhead.answering.writing` says what they take and
    give.

    Args:
        decoder: In evaluation mode.
        start: The id that a text may begin with.
    """

    steps = _Steps(decoder)
    device = decoder.embedding.weight.device
    mask = torch.ones(2, 3, dtype=torch.bool, device=device)
    ids = torch.full((2, 1), start, device=device)
    example = {"states": torch.zeros(2, 3, decoder.reads, device=device), "mask": mask, "ids": ids}
    with torch.inference_mode():
        begun = {name: tensor for name, tensor in steps.first(example).items() if name != "logits"}
    cached = {PAST + name.removeprefix(PRESENT) if name.startswith(PRESENT) else name: begun[name] for name in begun}
    grows = {PAST: "written", PRESENT: "written + 1"}
    axes: dict[str, dict[int, str]] = {
        "states": {0: "texts", 1: "memory"},
        "mask": {0: "texts", 1: "memory"},
        "logits": {0: "texts"},
        **{name: {0: "texts", 2: grows.get(name.partition(".")[0] + ".", "memory")} for name in (*begun, *cached)},
    }
    begin = {name: {0: "texts", 2: "begin"} for name in begun if name.startswith(PRESENT)}
    return {
        FIRST: Network(steps.first, example, axes | begin | {"ids": {0: "texts", 1: "begin"}}),
        NEXT: Network(steps.further, {"mask": mask, "ids": ids, **cached}, axes | {"ids": {0: "texts"}}),
    }


class _Steps(nn.Module):
    """Both networks, which share their weights."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def first(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The first step."""
        return _step(self.decoder, given["states"], given["mask"], given["ids"], _caches({}))

    def further(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each further one."""
        texts, memory = given["mask"].shape
        states = given["mask"].new_zeros(texts, memory, self.decoder.reads, dtype=torch.float32)  # all is cached
        found = _step(self.decoder, states, given["mask"], given["ids"], _caches(given))
        return {name: tensor for name, tensor in found.items() if not name.startswith(READ)}


def _caches(given: Mapping[str, Tensor]) -> Any:
    """transformers' cache of a decoder, with the states that are given by their names."""
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache

    past, read = DynamicCache(), DynamicCache()
    for cache, begin in ((past, PAST), (read, READ)):
        layers = sum(name.startswith(begin) for name in given) // 2
        for layer in range(layers):
            cache.update(given[f"{begin}{layer}.key"], given[f"{begin}{layer}.value"], layer)
    both = EncoderDecoderCache(past, read)
    both.is_updated = dict.fromkeys(range(len(read.layers)), True)
    return both


def _step(decoder: Decoder, states: Tensor, mask: Tensor, ids: Tensor, caches: Any) -> dict[str, Tensor]:
    out = decoder.network(
        encoder_outputs=decoder.memory(states),
        attention_mask=mask.long(),
        decoder_input_ids=ids,
        past_key_values=caches,
        use_cache=True,
    )
    found = {"logits": out.logits[:, -1].float()}
    kept = out.past_key_values
    for cache, begin in ((kept.self_attention_cache, PRESENT), (kept.cross_attention_cache, READ)):
        for number, layer in enumerate(cache.layers):
            found |= {f"{begin}{number}.key": layer.keys, f"{begin}{number}.value": layer.values}
    return found
