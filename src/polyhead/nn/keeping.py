"""Computing what frozen layers make of texts, and keeping it in files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyhead.errors import PolyheadError
from polyhead.files import sized
from polyhead.nn.batch import cut_batches
from polyhead.nn.cache import Cache, raw
from polyhead.nn.encoder import Encoder
from polyhead.nn.features import Features, Lower, Texts
from polyhead.nn.halves import Halves
from polyhead.nn.pieces import Pieces
from polyhead.nn.precision import Precision, autocast

FORMAT = 1
"""Raised when vectors of older files could differ from those that would be computed now."""

BUDGET = 2048
"""The most pieces encoded at once, filling included."""

Tell = Callable[[str], object]


def keep_features(
    encoder: Encoder,
    splits: Sequence[Sequence[Pieces]],
    *,
    all_layers: bool,
    precision: Precision,
    cache: Cache,
    tell: Tell,
) -> Features | None:
    """The outputs of the frozen layers for all texts of some splits, from files where there are any, else computed.

    Args:
        encoder: With some layer frozen; it must have no features yet.
        splits: The texts, each split kept in files of its own, those that matter most first.
        all_layers: Whether heads mix the layers, so that each one's output is needed.
        precision: What is computed with.
        cache: Where the files lie.
        tell: Called with a note on what is computed, and on why something is not kept.

    Returns:
        ``None`` if nothing could be kept.
    """
    encoder.eval()
    level = min(encoder.frozen, encoder.depth - 1)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), autocast(encoder.device, precision):
        halves = None
        lower: Lower = partial(encoder.run, all_layers=all_layers)
        if level < encoder.depth - 1:
            halves = _halves(encoder, level, splits[0])
            if halves is None:
                tell(f"the encoder {encoder.name!r} cannot begin above its frozen layers, so they run at each step")
                return None
            lower = partial(encoder.in_parts, halves.below)
        features = Features(level, lower, halves, encoder.device)
        wanted = list(range(level + 1)) if all_layers else [level]
        keys = level_keys(encoder, precision)
        keeper = _Keeper(encoder, lower, [keys[i] for i in wanted], cache, tell)
        for texts in [Texts.of(items, encoder.tokenizer, encoder.window) for items in splits]:
            levels = keeper.levels(texts)
            if levels is not None:
                features.add(texts, levels)
    return features if features.files else None


class _Keeper:
    """Reads the levels of texts from files, and computes and writes those that are not there.

    Args:
        encoder: In evaluation mode.
        lower: Computes the levels, those that are wanted last.
        keys: What each wanted level depends on.
        cache: Where the files lie.
        tell: Called with each note.
    """

    def __init__(self, encoder: Encoder, lower: Lower, keys: Sequence[str], cache: Cache, tell: Tell) -> None:
        self.encoder = encoder
        self.lower = lower
        self.keys = keys
        self.cache = cache
        self.tell = tell
        self.used: set[str] = set()

    def levels(self, texts: Texts) -> list[Tensor] | None:
        """The wanted levels of texts, (pieces, width) each; ``None``, after a note, if they cannot be kept."""
        names = [hashlib.sha256(f"{key} {texts.key}".encode()).hexdigest()[:40] for key in self.keys]
        self.used.update(names)
        found = [self.cache.read(name) for name in names]
        lost = [number for number, states in enumerate(found) if states is None]
        if not lost:
            return [states for states in found if states is not None]
        count = f"{len(texts.items):,} texts"
        size = texts.pieces * self.encoder.width * 4 * len(lost)
        try:
            if not self.cache.make_room(size, self.used):
                self.tell(
                    f"the frozen layers' outputs for {count} are not kept: they take {sized(size)}, "
                    f"which is more than {self.cache.folder} may or can hold"
                )
                return None
            self.tell(f"the frozen layers' outputs for {count} are computed once and kept: {sized(size)}")
            self._write(texts, {names[number]: number for number in lost})
        except (OSError, PolyheadError) as error:  # or another process was faster, and Windows keeps what it reads
            said = error.what if isinstance(error, PolyheadError) else str(error)
            found = [self.cache.read(name) for name in names]
            if None in found:
                self.tell(f"the frozen layers' outputs for {count} are not kept: {said}")
        else:
            found = [self.cache.read(name) for name in names]
        return None if any(states is None for states in found) else [states for states in found if states is not None]

    def _write(self, texts: Texts, places: dict[str, int]) -> None:
        """Compute the levels of texts, and write some of them: by name, each one's place among those wanted."""
        encoder = self.encoder
        lengths, rows = encoder.measure(texts.items)
        with ExitStack() as stack:
            writers = {place: stack.enter_context(self.cache.write(n, texts.pieces)) for n, place in places.items()}
            for chosen in cut_batches(np.arange(len(lengths)), lengths, rows, BUDGET):
                batch = encoder.collate([texts.items[i] for i in chosen]).to(encoder.device)
                states = self.lower(encoder.inputs(batch))[-len(self.keys) :]
                for place, write in writers.items():
                    layer = states[place]
                    write(layer.flatten(0, 1) if batch.mask is None else layer[batch.mask])


def level_keys(encoder: Encoder, precision: Precision) -> list[str]:
    """For each level what its vectors depend on, the texts aside: all weights up to it, and how they are computed.

    Sums differ in their last bits between machines, versions and numbers of threads, and a run that goes on after a
    kill must find the very same vectors; so these count, too.
    """
    names = dict(encoder.transformer.named_parameters())
    try:
        levels = encoder.levels()
    except PolyheadError:  # layers share weights, which then count for each
        levels = dict.fromkeys(names, 0)
    running = hashlib.sha256(json.dumps(_circumstances(encoder, precision), sort_keys=True, default=str).encode())
    if encoder.case is not None:
        running.update(raw(encoder.case.weight))
    keys = []
    for level in range(encoder.depth):
        for name in sorted(name for name, own in levels.items() if own == level):
            running.update(f"{name} {names[name].dtype} {tuple(names[name].shape)} ".encode())
            running.update(raw(names[name]))
        keys.append(running.copy().hexdigest())
    return keys


def _circumstances(encoder: Encoder, precision: Precision) -> dict[str, Any]:
    import transformers

    tokenizer, config, device = encoder.tokenizer, encoder.config, encoder.device
    return {
        "format": FORMAT,
        "config": {name: value for name, value in config.to_dict().items() if name != "_name_or_path"},
        "attention": getattr(config, "_attn_implementation", None),
        "window": encoder.window,
        "frames": [asdict(tokenizer.single), asdict(tokenizer.double), tokenizer.padding],
        "precision": precision,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "versions": [torch.__version__, transformers.__version__],
    }


def _halves(encoder: Encoder, level: int, items: Sequence[Pieces]) -> Halves | None:
    """The encoder in halves, if it works so; tried on short, middling and long ones of these texts."""
    halves = Halves(encoder.transformer, list(encoder.layers), level)
    lengths, _ = encoder.measure(items)
    order = np.argsort(lengths, kind="stable")
    chosen = sorted({int(order[place * (len(order) - 1) // 4]) for place in range(4)})
    batch = encoder.collate([items[i] for i in chosen]).to(encoder.device)
    inputs = encoder.inputs(batch)

    def whole() -> Sequence[Tensor]:
        try:
            return encoder.run(inputs, all_layers=True)
        except PolyheadError:  # its layers cannot be mixed, so only the last one will be wanted
            return encoder.run(inputs, all_layers=False)

    return halves if halves.fit(inputs, batch.mask, whole) else None
