"""Which examples an epoch goes through, in which order, in which batches. Pure functions of a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from polyhead.nn.batch import cut_batches

Sampling: TypeAlias = Literal["proportional", "uniform"] | float

CHUNK = 64
"""How many batches' worth of shuffled examples are sorted by length together: enough to fill batches well."""


def draws(sizes: Sequence[int], sampling: Sampling) -> list[int]:
    """How many examples an epoch takes from each dataset; about ``sum(sizes)`` together.

    Args:
        sizes: The number of training examples of each dataset.
        sampling: ``proportional`` takes each example once. A temperature T draws from a dataset of n examples in
            proportion to n ** (1 / T) (Arivazhagan et al. 2019); ``uniform`` draws from each alike.
    """
    if sampling == "proportional":
        return list(sizes)
    power = 0.0 if sampling == "uniform" else 1.0 / float(sampling)
    shares = np.asarray(sizes, dtype=np.float64) ** power * (np.asarray(sizes) > 0)
    counts = np.round(shares / shares.sum() * sum(sizes)).astype(int)
    return [max(1, int(count)) if size else 0 for count, size in zip(counts, sizes, strict=True)]


def epoch_order(sizes: Sequence[int], sampling: Sampling, rng: np.random.Generator) -> NDArray[np.int64]:
    """The examples of one epoch, shuffled; examples of all datasets are numbered through.

    A dataset that is drawn from more often than it has examples is gone through whole as often as it goes, and the
    rest is drawn without repetition.
    """
    parts = []
    first = 0
    for size, count in zip(sizes, draws(sizes, sampling), strict=True):
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
) -> list[NDArray[np.int64]]:
    """The batches of one epoch: examples of all datasets mixed, those of like length together, batches shuffled.

    Args:
        sizes: The number of training examples of each dataset; examples are numbered through.
        lengths: For each example the length of its longest row, in pieces.
        rows: For each example its number of rows.
        budget: The most pieces in a batch, filling included.
        sampling: Each dataset's share.
        seed: Numbers that the order depends on and on nothing else, such as run, stage and epoch.
    """
    rng = np.random.default_rng(list(seed))
    order = epoch_order(sizes, sampling, rng)
    ends = np.cumsum(lengths[order] * rows[order]) // (CHUNK * budget)
    batches: list[NDArray[np.int64]] = []
    for chunk in np.split(order, np.flatnonzero(np.diff(ends)) + 1):
        batches += cut_batches(chunk[np.argsort(lengths[chunk], kind="stable")], lengths, rows, budget)
    return [batches[i] for i in rng.permutation(len(batches))]
