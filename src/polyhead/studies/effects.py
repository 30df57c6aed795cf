"""What a study may conclude: means over seeds, differences between ways, and how sure each is.

Every run of a way answers the same test examples, so what is seen varies with two things at once: the seed (order,
heads, and which training examples were drawn) and the examples. A figure is taken apart into what each example
contributes to it, and the variance of a mean over seeds is that of a two-way layout with random seeds and random
examples (Searle, Casella and McCulloch 1992). Its degrees of freedom are Satterthwaite's (1946), so that three seeds
that happen to agree do not make an interval narrow, as resampling three seeds would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from polyhead.intervals import LEVEL, Answered

BLOCKS = 200
"""Where a figure is not made of counts, examples are left out in at most so many groups, each scored anew."""

AT_ONCE = 4_000_000
"""The most numbers of a table of counts that are held at once."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Contributions:
    """A run's main figure, and what each test example contributes to it.

    Attributes:
        figure: The figure.
        of: For each example, or group of neighbours, how far the figure would be from its mean, if all were such:
            jackknife pseudo-values (Efron 1982) less the figure. Their mean is near 0. Shape (examples,).
    """

    figure: float
    of: Floats


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds, or a difference of two.

    Attributes:
        value: The estimate.
        low, high: Its interval at the level of ``polyhead.intervals``.
        p: How likely at least such a value would be if the truth were 0, from Student's t on both sides.
        seeds: Over how many seeds.
        freedom: The degrees of freedom.
    """

    value: float
    low: float
    high: float
    p: float
    seeds: int
    freedom: float

    @property
    def sure(self) -> bool:
        """Whether the interval leaves 0 out."""
        return not self.low <= 0 <= self.high


def contributions(given: Answered) -> Contributions:
    """What each example contributes to the main figure of a task.

    Figures made of counts are exact for each example left out; those of other types, such as BLEU or a correlation, are
    scored anew without one group of neighbouring examples at a time, at most ``BLOCKS`` groups.

    Args:
        given: A task, its test examples and what a run answered.
    """
    tally = given.task.tally(given.examples, given.predicted)
    name = given.task.metric
    count = len(given.examples)
    if tally is None:
        figure = float(given.task.score(given.examples, given.predicted)[name])
        groups = np.array_split(np.arange(count), min(count, BLOCKS))
        without = np.array([_scored_without(given, name, group, figure) for group in groups])
    else:
        figure = tally.figures()[name]
        total = np.asarray(tally.counts.sum(axis=0), dtype=np.float64).reshape(1, -1)
        step = max(1, AT_ONCE // tally.counts.shape[1])
        parts = []
        for first in range(0, count, step):
            rows = tally.counts[first : first + step].toarray().astype(np.float64)
            parts.append(tally.figures_of(total - rows)[name])
        without = np.concatenate(parts)
    without = np.where(np.isfinite(without), without, figure)  # of the only example nothing is left to score
    own = (len(without) - 1) * (figure - without)
    return Contributions(figure, own - own.mean() if len(own) > 1 else np.zeros(1))


def _scored_without(given: Answered, name: str, group: NDArray[np.int64], figure: float) -> float:
    left = np.setdiff1d(np.arange(len(given.examples)), group).tolist()
    if not left:
        return figure
    try:
        scores = given.task.score([given.examples[i] for i in left], [given.predicted[i] for i in left])
    except Exception:  # a user's own score may stumble over what fewer examples lack; no study shall end of that
        return figure
    return float(scores.get(name, figure))


@dataclass(frozen=True, slots=True)
class Spread:
    """The runs of a way at one size.

    Attributes:
        mean: Of their figures.
        seeds: How many there are.
        of_seeds: The variance that seeds alone bring to a figure: without what too few test examples bring.
    """

    mean: float
    seeds: int
    of_seeds: float


def spread(runs: Sequence[Contributions]) -> Spread:
    """How far the runs of several seeds are from each other, beyond what the test examples explain."""
    figures, own = np.array([run.figure for run in runs]), np.stack([run.of for run in runs])
    seeds, examples = own.shape
    if seeds < 2 or examples < 2:
        return Spread(float(figures.mean()), seeds, float(figures.var(ddof=1)) if seeds > 1 else 0.0)
    of_seeds, _, rest = _squares(figures, own)
    return Spread(float(figures.mean()), seeds, max(0.0, of_seeds - rest) / examples)


def mean(runs: Sequence[Contributions]) -> Estimate:
    """The mean figure over seeds.

    Args:
        runs: One for each seed, at least one, over the same examples.
    """
    return _estimate(np.array([run.figure for run in runs]), np.stack([run.of for run in runs]))


def difference(first: Mapping[int, Contributions], second: Mapping[int, Contributions]) -> Estimate | None:
    """What the second way has more than the first, in the mean over the seeds that both have; ``None`` if none is.

    Args:
        first: The runs of one way by seed.
        second: Those of the other, over the same examples.
    """
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    gains = np.array([second[seed].figure - first[seed].figure for seed in seeds])
    return _estimate(gains, np.stack([second[seed].of - first[seed].of for seed in seeds]))


def holm(ps: Sequence[float]) -> list[float]:
    """The p values of several tests, raised so that one in twenty of all such families has a false one (Holm 1979)."""
    order = np.argsort(ps)
    raised = np.maximum.accumulate([min(1.0, (len(ps) - rank) * ps[i]) for rank, i in enumerate(order)])
    out = np.empty(len(ps))
    out[order] = raised
    return [float(p) for p in out]


def _estimate(figures: Floats, own: Floats) -> Estimate:
    """Args: figures of each seed (seeds,); contributions (seeds, examples), each row with a mean of about 0."""
    value = float(figures.mean())
    variance, freedom = _variance(figures, own)
    if variance <= 0:
        return Estimate(value, value, value, 1.0 if value == 0 else 0.0, len(figures), freedom)
    error = math.sqrt(variance)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(value) / error, freedom))
    return Estimate(value, value - reach, value + reach, p, len(figures), freedom)


def _variance(figures: Floats, own: Floats) -> tuple[float, float]:
    """The variance of the mean over seeds and examples, and its degrees of freedom.

    With one seed, or one example, what the other direction varies by cannot be known, and is left out.
    """
    seeds, examples = own.shape
    if seeds == 1 or examples == 1:
        values = own + figures[:, None]
        return float(values.var(ddof=1)) / values.size if values.size > 1 else 0.0, float(max(1, values.size - 1))
    of_seeds, of_examples, rest = _squares(figures, own)
    # Both squares hold the rest, so it is once too often in their sum. But few seeds may agree by chance, and then the
    # variance and its degrees of freedom come out wrong together; so a share of the rest is kept in both (how often
    # intervals then hold the truth: benchmarks/intervals.py).
    kept = rest / (seeds - 1) ** 2
    total = max(of_seeds + of_examples - rest + kept, rest / 2)
    if total <= 0:
        return 0.0, float(seeds - 1)
    parts = (of_seeds + kept) ** 2 / (seeds - 1) + of_examples**2 / (examples - 1)
    parts += rest**2 / ((seeds - 1) * (examples - 1))
    return float(total / own.size), float(max(1.0, total**2 / parts))


def _squares(figures: Floats, own: Floats) -> tuple[float, float, float]:
    """The mean squares of a two-way layout: of seeds, of examples, and of what is left."""
    seeds, examples = own.shape
    values = own + figures[:, None]  # (seeds, examples): what each example would make of the figure
    by_seed, by_example, all_ = values.mean(1), values.mean(0), values.mean()
    of_seeds = examples * by_seed.var(ddof=1)
    of_examples = seeds * by_example.var(ddof=1)
    rest = ((values - by_seed[:, None] - by_example[None] + all_) ** 2).sum() / ((seeds - 1) * (examples - 1))
    return float(of_seeds), float(of_examples), float(rest)
