"""What encoders make of a target's examples: a vector for each word or text, the mean of all layers.

The mean over layers is what measures without training say most with (Garbas et al. 2024): which layer suits a task is
not known beforehand, and fine-tuning is free to use any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polyhead.advice.measures import GROUPS, Floats
from polyhead.data import Example
from polyhead.errors import PolyheadError
from polyhead.nn.batch import cut_batches
from polyhead.nn.cache import Cache
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.features import digest
from polyhead.nn.keeping import level_keys
from polyhead.nn.pieces import Pieces
from polyhead.nn.precision import Precision, autocast
from polyhead.tasks import Task

BUDGET = 2048
"""The most pieces encoded at once, filling included."""

MOST_WORDS = 30_000
"""Texts are taken until they have so many words together, so that long ones do not take an hour."""

MOST_UNITS = 5_000
"""So many words are enough for any measure here; more are drawn from."""

FORMAT = 1
"""Raised when vectors that older versions kept could differ from those that would be computed now."""


@dataclass(frozen=True)
class Sample:
    """The units of a target that all encoders are measured on.

    Attributes:
        task: The target, prepared.
        examples: Those drawn of its training split.
        kept: Which of their units count, by their place among all of them. Shape (units,).
        gold: A 0 or 1 for each class, or numbers. Shape (units, columns).
        groups: The group of each unit; those of one example share theirs. Shape (units,).
        classes: Whether each unit has one class of several.
        language: The code of the texts' language, if the recipe says one.
    """

    task: Task
    examples: list[Example]
    kept: NDArray[np.int64]
    gold: Floats
    groups: NDArray[np.int64]
    classes: bool
    language: str | None = None


def sample(task: Task, examples: Sequence[Example], most: int, seed: int, language: str | None = None) -> Sample:
    """Draw examples of a task's training split.

    Args:
        task: Prepared.
        examples: The split.
        most: How many examples at most.
        seed: Of the draw; with the same seed a larger draw holds the smaller one.
        language: The code of the texts' language.

    Raises:
        PolyheadError: The task's type has no measure, or what was drawn cannot tell encoders apart.
    """
    carrying = [example for example in examples if task.carries(example)]
    order = np.random.default_rng(seed).permutation(len(carrying))[:most]
    order = np.sort(order[: _few_words([carrying[place] for place in order])])
    chosen, gold, owners = _gold(task, [carrying[place] for place in order])
    classes = gold.ndim == 1
    known = np.flatnonzero(gold >= 0 if classes else np.isfinite(gold).all(1))
    if len(known) > MOST_UNITS:
        known = np.sort(np.random.default_rng(seed).choice(known, MOST_UNITS, replace=False))
    columns = _columns(gold[known]) if classes else gold[known].astype(np.float64)
    if len(columns) < 2 or not (columns != columns[0]).any():
        raise PolyheadError(
            f"tasks.{task.name}: {len(chosen):,} examples were drawn, and all have the same {task.layer!r}.",
            remedy="Draw more of them (--examples), or add training examples that differ.",
        )
    groups = owners[known] * min(GROUPS, len(chosen)) // len(chosen)
    return Sample(task, chosen, known, columns, groups, classes, language)


def _few_words(examples: Sequence[Example]) -> int:
    """How many of some examples, at least two, have no more words together than are read."""
    counts = np.cumsum([len(example.words) or len(example.running.split()) for example in examples])
    return max(2, int(np.searchsorted(counts, MOST_WORDS, side="right")))


def _gold(task: Task, examples: Sequence[Example]) -> tuple[list[Example], NDArray[Any], NDArray[np.int64]]:
    """The examples that have gold, the gold of all their units, and the example of each."""
    try:
        found = [(example, part) for example in examples if (part := task.unit_gold(example)) is not None]
    except NotImplementedError as error:
        raise PolyheadError(
            f"tasks.{task.name} cannot be advised on before training: its type has no classes or numbers to set "
            "features beside.",
            remedy="Compare encoders by a study: polyhead study; or give a type of your own the method unit_gold.",
        ) from error
    for example, part in found:
        if len(part) != (len(example.words) if task.words else 1):
            raise PolyheadError(f"tasks.{task.name}: unit_gold gives {len(part)} classes for {example!r}.")
    owners = np.repeat(np.arange(len(found)), [len(part) for _, part in found])
    none = np.zeros(0, dtype=np.int64)
    return [one for one, _ in found], np.concatenate([part for _, part in found]) if found else none, owners


def _columns(classes: NDArray[Any]) -> Floats:
    """A 0 or 1 for each class that some unit has. Shape (units, classes)."""
    known, index = np.unique(classes, return_inverse=True)
    found: Floats = np.eye(len(known))[index]
    return found


def features(encoder: Encoder, of: Sample, cache: Cache | None = None, precision: Precision = "fp32") -> Floats:
    """What an encoder makes of each unit: the mean over its layers of the word's piece, or of the text's mean.

    Args:
        encoder: On its device. An encoder whose layers cannot be put together gives its last layer.
        of: The examples.
        cache: Where vectors are kept for the next time.
        precision: What to compute in.

    Returns:
        Shape (units, width).
    """
    encoder.eval()
    items = encoder.tokenise(of.examples, of.language)
    name = _name(encoder, of.task, items, precision)
    found = None if cache is None else cache.read(name)
    if found is None:
        with autocast(encoder.device, precision):
            found = _compute(encoder, of.task, items)
        if cache is not None:
            _keep(cache, name, found)
    kept: Floats = found[torch.from_numpy(of.kept)].numpy(force=True).astype(np.float64)
    if not np.isfinite(kept).all():
        raise PolyheadError(f"The encoder {encoder.name!r} makes numbers of the texts that are not finite.")
    return kept


def _compute(encoder: Encoder, task: Task, items: Sequence[Pieces]) -> Tensor:
    """The vectors of all units of some texts, in their order. Shape (all units, width)."""
    lengths, rows = encoder.measure(items)
    parts: list[Tensor] = [torch.empty(0)] * len(items)
    with torch.inference_mode():
        for chosen in cut_batches(np.argsort(lengths, kind="stable"), lengths, rows, BUDGET):
            batch = encoder.collate([items[i] for i in chosen]).to(encoder.device)
            try:
                encoding = encoder(batch, all_layers=True)
            except PolyheadError:  # its layers differ in shape
                encoding = encoder(batch)
            vectors = _vectors(encoding, task).float().cpu()
            counts = list(encoding.counts) if task.words else [1] * len(encoding)
            for place, part in zip(chosen, torch.split(vectors, counts), strict=True):
                parts[place] = part
    return torch.cat(parts)


def _vectors(encoding: Encoding, task: Task) -> Tensor:
    """The mean over layers. Shape (units of the batch, width)."""
    layers = encoding.word_layers_view(task.word) if task.words else encoding.sentence_layers
    return layers.mean(0)


def _name(encoder: Encoder, task: Task, items: Sequence[Pieces], precision: Precision) -> str:
    """What vectors are kept under: all that they depend on."""
    view = f"units {FORMAT} {task.word if task.words else 'text'}"
    texts = b"".join(digest(item) + item.starts.tobytes() for item in items)
    told = f"{view} {level_keys(encoder, precision)[-1]} ".encode() + texts
    return hashlib.sha256(told).hexdigest()[:40]


def _keep(cache: Cache, name: str, vectors: Tensor) -> None:
    """Write vectors down for the next time, if there is room."""
    with suppress(OSError, PolyheadError):
        if cache.make_room(vectors.numel() * vectors.element_size(), [name]):
            with cache.write(name, len(vectors)) as write:
                write(vectors)
