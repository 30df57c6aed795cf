"""Sequences of IOB2 tags in numpy: which are valid, the best one, and the probability of each tag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Mask: TypeAlias = NDArray[np.bool_]

FORBIDDEN = -np.inf
"""The score of an impossible transition: below any sum of scores, however large they are."""


def transitions(tags: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Which tags may follow which in IOB2, and which may come first.

    Args:
        tags: ``O``, ``B-x`` and ``I-x``.

    Returns:
        Scores 0 or ``FORBIDDEN``: of tag i before tag j, shape (tags, tags), and of a first tag, shape (tags,).
    """
    follow = np.zeros((len(tags), len(tags)), dtype=np.float32)
    first = np.zeros(len(tags), dtype=np.float32)
    for j, tag in enumerate(tags):
        if tag.startswith("I-"):
            first[j] = FORBIDDEN
            for i, before in enumerate(tags):
                if before not in (tag, "B-" + tag[2:]):
                    follow[i, j] = FORBIDDEN
    return follow, first


def viterbi(scores: Floats, mask: Mask, follow: Floats, first: Floats) -> NDArray[np.int64]:
    """The best sequence of tags of each text (Viterbi 1967).

    Args:
        scores: Of each tag for each word. Shape (batch, words, tags).
        mask: True where there is a word; words come first. Shape (batch, words).
        follow: Of tag i before tag j. Shape (tags, tags).
        first: Of each tag at the start. Shape (tags,).

    Returns:
        Tag indices; 0 where there is no word. Shape (batch, words).
    """
    batch, length, _ = scores.shape
    best = scores[:, 0] + first  # (batch, tags)
    pointers: list[NDArray[np.int64]] = []
    for step in range(1, length):
        ways = best[:, :, None] + follow  # (batch, tags before, tags)
        pointers.append(ways.argmax(axis=1))
        best = np.where(mask[:, step, None], ways.max(axis=1) + scores[:, step], best)
    out = np.zeros((batch, length), dtype=np.int64)
    last = best.argmax(axis=1)  # (batch,)
    for step in range(length - 1, -1, -1):
        out[:, step] = np.where(mask[:, step], last, 0)
        if step:
            came = np.take_along_axis(pointers[step - 1], last[:, None], axis=1)[:, 0]
            last = np.where(mask[:, step], came, last)
    return out


def log_marginals(scores: Floats, mask: Mask, follow: Floats, first: Floats) -> Floats:
    """The logarithm of the probability of each tag at each word, given the whole text (Rabiner 1989).

    Args:
        scores: Shape (batch, words, tags).
        mask: Shape (batch, words).
        follow: Shape (tags, tags).
        first: Shape (tags,).

    Returns:
        Shape (batch, words, tags); of no meaning where there is no word.
    """
    before = [scores[:, 0] + first]  # (batch, tags) each: all ways up to a word
    for step in range(1, scores.shape[1]):
        reach = _log_sum(before[-1][:, :, None] + follow, 1) + scores[:, step]
        before.append(np.where(mask[:, step, None], reach, before[-1]))
    after = [np.zeros_like(before[0])]  # all ways on from a word
    for step in range(scores.shape[1] - 1, 0, -1):
        onward = _log_sum(follow + (scores[:, step] + after[-1])[:, None], 2)
        after.append(np.where(mask[:, step, None], onward, after[-1]))
    total = np.stack(before, 1) + np.stack(after[::-1], 1)
    found: Floats = total - _log_sum(total, 2)[:, :, None]
    return found


def _log_sum(values: Floats, axis: int) -> Floats:
    """The logarithm of a sum of exponentials; -inf where all are."""
    most = values.max(axis=axis, keepdims=True)
    most = np.where(np.isfinite(most), most, 0)
    with np.errstate(divide="ignore"):
        found: Floats = np.log(np.exp(values - most).sum(axis=axis)) + most.squeeze(axis)
    return found
