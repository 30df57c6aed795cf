"""What turns the scores of a head into answers: plain data and numpy, for torch and for exported models alike."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from polyhead.data.example import Prediction

Array: TypeAlias = NDArray[Any]

Ask: TypeAlias = Callable[[str, Mapping[str, Array]], dict[str, Array]]
"""Calls another network of the head by its name, with arrays by their names; see ``Head.networks``."""


def _nothing_to_ask(name: str, given: Mapping[str, Array]) -> dict[str, Array]:
    raise LookupError(f"the head has no network {name!r} for {', '.join(given)}")


@dataclass(frozen=True, slots=True)
class Given:
    """What a chooser chooses from.

    Attributes:
        scores: What the head's ``scores`` gave, by name; numbers are fp32.
        texts: The words of each example; none for raw text.
        blanks: For each example whether the tokenizer leaves nothing of it.
        temperature: What logits are divided by before they become confidences.
        sure: Whether it is wanted how sure the answers are, if that takes work of its own.
        ask: Calls another network of the head.
    """

    scores: Mapping[str, Array]
    texts: Sequence[tuple[str, ...]]
    blanks: Sequence[bool] = ()
    temperature: float = 1.0
    sure: bool = True
    ask: Ask = _nothing_to_ask

    @property
    def counts(self) -> list[int]:
        """The number of words of each example."""
        return [len(words) for words in self.texts]


@dataclass(frozen=True)
class Chooser(ABC):
    """Turns scores into answers. A dataclass whose fields are plain data, so that JSON can hold it.

    A subclass imports no torch, so that an exported model needs none.
    """

    filed: ClassVar[tuple[str, ...]] = ()
    """The fields, texts all, that are long: an exported model keeps each in a file of its own."""

    @abstractmethod
    def choose(self, given: Given) -> list[Prediction]:
        """An answer, with its confidence, for each example."""

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return dataclasses.asdict(self)


def softmax(logits: Array) -> Array:
    """Probabilities over the last axis, for finite logits and such as are -inf. Same shape."""
    shifted: Array = logits - logits.max(axis=-1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=-1, keepdims=True)
    return shifted


def log_softmax(logits: Array) -> Array:
    """The logarithms of :func:`softmax`. Same shape."""
    shifted: Array = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def best_of(logits: Array, temperature: float) -> tuple[Array, Array]:
    """The likeliest choice of each row, and its probability over a temperature. (rows, choices) to (rows,) twice."""
    best = logits.argmax(axis=1)
    shifted = logits - np.take_along_axis(logits, best[:, None], axis=1)
    if temperature != 1:
        shifted /= np.float32(temperature)
    np.exp(shifted, out=shifted)
    return best, 1 / shifted.sum(axis=1)


def cuts(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Where the words of each example begin and end among all words."""
    ends = np.cumsum([0, *counts]).tolist()
    return list(pairwise(ends))


def laid_out(flat: Array, counts: Sequence[int]) -> tuple[Array, NDArray[np.bool_]]:
    """Lay (all words, n) out as (examples, words, n), filled up with zeros, and say where words are."""
    mask = np.arange(max(counts, default=0)) < np.asarray(counts)[:, None]
    out = np.zeros((*mask.shape, flat.shape[1]), dtype=flat.dtype)
    out[mask] = flat
    return out, mask
