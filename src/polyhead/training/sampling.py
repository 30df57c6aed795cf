"""Which examples an epoch goes through, in which order, in which batches. Pure functions of a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from polyhead.nn.batch import cut_batches

Sampling: TypeAlias = Literal["proportional", "uniform"] | float

CHUNK = 64
"""How many batches' worth of shuffled examples are sorted by length together: enough to fill batches well."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Datasets of earlier tasks that a later stage goes on seeing.

    Attributes:
        datasets: Their places among the stage's datasets.
        share: What part of the examples drawn comes from them together; each by its size.
    """

    datasets: frozenset[int] = frozenset()
    share: float = 0.0


def draws(sizes: Sequence[int], sampling: Sampling, replay: Replay = Replay()) -> list[int]:
    """How many examples an epoch takes from each dataset; about ``sum(sizes)`` together, without those replayed.

    Args:
        sizes: The number of training examples of each dataset.
        sampling: ``proportional`` takes each example once. A temperature T draws from a dataset of n examples in
            proportion to n ** (1 / T) (Arivazhagan et al. 2019); ``uniform`` draws from each alike.
        replay: Which datasets are replayed; they come on top of the others.
    """
    own = [0 if i in replay.datasets else size for i, size in enumerate(sizes)]
    counts = _shared_out(sum(own), own, sampling)
    if replay.datasets:
        again = [size if i in replay.datasets else 0 for i, size in enumerate(sizes)]
        wanted = round(sum(own) * replay.share / (1 - replay.share))
        counts = [a + b for a, b in zip(counts, _shared_out(wanted, again, 1.0), strict=True)]
    return counts


def _shared_out(total: int, sizes: Sequence[int], sampling: Sampling) -> list[int]:
    """Share a number of examples out to datasets, each that has any getting at least one."""
    if sampling == "proportional":
        return list(sizes)
    power = 0.0 if sampling == "uniform" else 1.0 / float(sampling)
    shares = np.asarray(sizes, dtype=np.float64) ** power * (np.asarray(sizes) > 0)
    counts = np.round(shares / shares.sum() * total).astype(int)
    return [max(1, int(count)) if size else 0 for count, size in zip(counts, sizes, strict=True)]


def epoch_order(
    sizes: Sequence[int], sampling: Sampling, rng: np.random.Generator, replay: Replay = Replay()
) -> NDArray[np.int64]:
    """The examples of one epoch, shuffled; examples of all datasets are numbered through.

    A dataset that is drawn from more often than it has examples is gone through whole as often as it goes, and the
    rest is drawn without repetition.
    """
    parts = []
    first = 0
    for size, count in zip(sizes, draws(sizes, sampling, replay), strict=True):
        whole, rest = divmod(count, size) if size else (0, 0)
        part = np.concatenate([np.tile(np.arange(size), whole), rng.permutation(size)[:rest]])
        parts.append(part.astype(np.int64) + first)
        first += size
    return rng.permutation(np.concatenate(parts))


def epoch_batches(
    sizes: Sequence[int],
    lengths: NDArray[np.int64],
    rows: NDArray[np.int64],
    *,
    budget: int,
    sampling: Sampling,
    seed: Sequence[int],
    mixed: bool = True,
    replay: Replay = Replay(),
) -> list[NDArray[np.int64]]:
    """The batches of one epoch: examples of like length together, batches shuffled.

    Args:
        sizes: The number of training examples of each dataset; examples are numbered through.
        lengths: For each example the length of its longest row, in pieces.
        rows: For each example its number of rows.
        budget: The most pieces in a batch, filling included.
        sampling: Each dataset's share.
        seed: Numbers that the order depends on and on nothing else, such as run, stage and epoch.
        mixed: Whether a batch mixes examples of all datasets; else each holds those of one.
        replay: Datasets of earlier tasks, and their share.
    """
    rng = np.random.default_rng(list(seed))
    order = epoch_order(sizes, sampling, rng, replay)
    bounds = [0, len(lengths)] if mixed else [0, *np.cumsum(sizes)]
    batches: list[NDArray[np.int64]] = []
    for first, end in pairwise(bounds):
        here = order[(order >= first) & (order < end)]
        batches += _cut(here, lengths, rows, budget)
    return [batches[i] for i in rng.permutation(len(batches))]


def _cut(
    order: NDArray[np.int64], lengths: NDArray[np.int64], rows: NDArray[np.int64], budget: int
) -> list[NDArray[np.int64]]:
    """Cut shuffled examples into batches, stretches of them sorted by length."""
    ends = np.cumsum(lengths[order] * rows[order]) // (CHUNK * budget)
    batches: list[NDArray[np.int64]] = []
    for chunk in np.split(order, np.flatnonzero(np.diff(ends)) + 1):
        batches += cut_batches(chunk[np.argsort(lengths[chunk], kind="stable")], lengths, rows, budget)
    return batches


def share_out(
    rows: NDArray[np.int64], lengths: NDArray[np.int64], heights: NDArray[np.int64], parts: int
) -> list[NDArray[np.int64]]:
    """Cut a batch into parts for several processes, so that the largest has as few pieces as can be, filling included.

    Nothing comes twice and nothing is left out; where there are fewer examples than parts, some parts are empty. A part
    is a stretch of the batch, whose examples are sorted by length, so that little of it is filling.

    Args:
        rows: The batch: examples of rising length.
        lengths: For each example the length of its longest row, in pieces.
        heights: For each example its number of rows.
        parts: How many.
    """
    longest = np.maximum.accumulate(lengths[rows])  # (examples,)
    ends = np.cumsum(heights[rows])
    sizes = longest * heights[rows]
    low = max(int(sizes.max()), -(-int(sizes.sum()) // parts))  # no way of cutting has less in its largest part
    high = int(longest[-1] * ends[-1])
    best = _stretches(longest, ends, high, parts)
    while low < high - low // 100:  # a hundredth more or less is not worth the search
        middle = min((low + high) // 2, low + low // 8)
        found = _stretches(longest, ends, middle, parts)
        if found is None:
            low = middle + 1
        else:
            best, high = found, middle
    assert best is not None, "one stretch holds the whole batch"
    bounds = [0, *best]
    return [rows[start:end] for start, end in pairwise(bounds)] + [rows[:0]] * (parts + 1 - len(bounds))


def _stretches(longest: NDArray[np.int64], ends: NDArray[np.int64], budget: int, parts: int) -> list[int] | None:
    """Where to end stretches of at most so many pieces; ``None`` if they are more than ``parts``."""
    bounds: list[int] = []
    start = done = 0
    while start < len(ends):
        if len(bounds) == parts:
            return None
        sizes = longest[start:] * (ends[start:] - done)  # of a stretch that ends with each example
        start += max(1, int(np.searchsorted(sizes, budget, side="right")))
        done = int(ends[start - 1])
        bounds.append(start)
    return bounds
