"""What a study may conclude: means over seeds, differences between ways, and how sure each is.

Every run of a way answers the same test examples, so what is seen varies with two things at once: the seed (order,
heads, and which training examples were drawn) and the examples. A figure is taken apart into what each example
contributes to it, and the variance of a mean over seeds is that of a two-way layout with random seeds and random
examples (Searle, Casella and McCulloch 1992). Its degrees of freedom are Satterthwaite's (1946), so that three seeds
that happen to agree do not make an interval narrow, as resampling three seeds would. What the other sizes of a study
say of how far seeds differ is taken into account.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma

from polyhead.intervals import Answered, by_student

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
    found = sample(runs)
    seeds, examples = found.own.shape
    value = float(found.figures.mean())
    if seeds < 2 or examples < 2:
        return Spread(value, seeds, float(found.figures.var(ddof=1)) if seeds > 1 else 0.0)
    of_seeds, _, rest = _squares(found)
    return Spread(value, seeds, max(0.0, of_seeds - rest) / examples)


@dataclass(frozen=True, slots=True)
class Sample:
    """What an estimate is made from.

    Attributes:
        figures: One for each seed. Shape (seeds,).
        own: What each test example contributes to it; rows have a mean of about 0. Shape (seeds, examples).
    """

    figures: Floats
    own: Floats


def sample(runs: Sequence[Contributions]) -> Sample:
    """The figures of a way's runs.

    Args:
        runs: One for each seed, at least one, over the same examples.
    """
    return Sample(np.array([run.figure for run in runs]), np.stack([run.of for run in runs]))


def gains(first: Mapping[int, Contributions], second: Mapping[int, Contributions]) -> Sample | None:
    """What the second way has more than the first with each seed that both have; ``None`` if they have none in common.

    Args:
        first: The runs of one way by seed.
        second: Those of the other, over the same examples.
    """
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    differences = np.array([second[seed].figure - first[seed].figure for seed in seeds])
    return Sample(differences, np.stack([second[seed].of - first[seed].of for seed in seeds]))


def mean(runs: Sequence[Contributions]) -> Estimate:
    """The mean figure over seeds, from these runs alone."""
    return _estimate(sample(runs), None)


def difference(first: Mapping[int, Contributions], second: Mapping[int, Contributions]) -> Estimate | None:
    """The mean of :func:`gains`, from these runs alone."""
    found = gains(first, second)
    return None if found is None else _estimate(found, None)


Series = TypeVar("Series", bound=Hashable)


def estimates(samples: Mapping[Series, Mapping[int, Sample]]) -> dict[Series, dict[int, Estimate]]:
    """The means of many samples, which tell each other how far seeds differ.

    Three seeds hardly say how far seeds differ. But a way, or a pair of ways, is there at several sizes, and how far
    its seeds differ changes smoothly with the size; so the other sizes say it, too, as far as the study as a whole is
    that smooth (moderated t statistics, after Smyth 2004).

    Args:
        samples: For each way, or pair of ways, a sample at each size.
    """
    priors = _priors({(one, size): found for one, sizes in samples.items() for size, found in sizes.items()})
    return {
        one: {size: _estimate(found, priors.get((one, size))) for size, found in sizes.items()}
        for one, sizes in samples.items()
    }


def holm(ps: Sequence[float]) -> list[float]:
    """The p values of several tests, raised so that one in twenty of all such families has a false one (Holm 1979)."""
    order = np.argsort(ps)
    raised = np.maximum.accumulate([min(1.0, (len(ps) - rank) * ps[i]) for rank, i in enumerate(order)])
    out = np.empty(len(ps))
    out[order] = raised
    return [float(p) for p in out]


@dataclass(frozen=True, slots=True)
class _Prior:
    """What other samples say of a sample's mean square of seeds: its level, worth so many degrees of freedom."""

    level: float
    freedom: float


def _priors(samples: Mapping[tuple[Series, int], Sample]) -> dict[tuple[Series, int], _Prior]:
    """For each sample what the others of its series say.

    The logarithm of a mean square is taken for a level of its series, plus a slope over the logarithm of the size that
    all series share. What is left beyond what so few seeds explain says how far that is to be trusted.
    """
    known = {
        place: square
        for place, found in samples.items()
        if min(found.own.shape) > 1 and (square := _squares(found)[0]) > 0
    }
    if not known:
        return {}
    squares, sizes = np.array(list(known.values())), np.log([float(size) for _, size in known])
    freedom = np.array([len(samples[place].figures) - 1.0 for place in known])
    names = list(dict.fromkeys(one for one, _ in known))
    series = np.array([names.index(one) for one, _ in known])
    logs = np.log(squares) - digamma(freedom / 2) + np.log(freedom / 2)  # their mean is the logarithm of the level
    within = [values - (np.bincount(series, values) / np.bincount(series))[series] for values in (logs, sizes)]
    spread_of_sizes = float(within[1] @ within[1])
    slope = float(within[0] @ within[1]) / spread_of_sizes if spread_of_sizes > 0 else 0.0
    left = len(squares) - len(names) - (spread_of_sizes > 0)
    beyond = 0.0
    if left > 0:
        rest = within[0] - slope * within[1]
        beyond = max(0.0, float(rest @ rest) / left - float(polygamma(1, freedom / 2).mean()))
    trusted = 2 * _inverse_trigamma(beyond) if beyond > 0 else math.inf
    priors = {}
    for i, place in enumerate(known):
        others = (series == series[i]) & (np.arange(len(squares)) != i)
        if others.any() and left > 0:
            here = squares[others] * np.exp(slope * (sizes[i] - sizes[others]))
            total = float(freedom[others].sum())
            priors[place] = _Prior(float(freedom[others] @ here) / total, min(trusted, total))
    return priors


def _inverse_trigamma(value: float) -> float:
    """Where the trigamma function has this value, by Newton's method (Smyth 2004, appendix)."""
    if value > 1e7:
        return 1 / math.sqrt(value)
    found = 0.5 + 1 / value
    for _ in range(50):
        here = float(polygamma(1, found))
        step = here * (1 - here / value) / float(polygamma(2, found))
        found += step
        if abs(step) < 1e-9 * found:
            break
    return found


def _estimate(given: Sample, prior: _Prior | None) -> Estimate:
    value = float(given.figures.mean())
    seeds = len(given.figures)
    variance, freedom = _variance(given, prior)
    return Estimate(value, *by_student(value, math.sqrt(max(0.0, variance)), freedom), seeds, freedom)


def _variance(given: Sample, prior: _Prior | None) -> tuple[float, float]:
    """The variance of the mean over seeds and examples, and its degrees of freedom.

    With one seed, or one example, what the other direction varies by cannot be known, and is left out.
    """
    seeds, examples = given.own.shape
    if seeds == 1 or examples == 1:
        values = given.own + given.figures[:, None]
        return float(values.var(ddof=1)) / values.size if values.size > 1 else 0.0, float(max(1, values.size - 1))
    of_seeds, of_examples, rest = _squares(given)
    freedom = seeds - 1.0
    if prior is not None:
        of_seeds = (freedom * of_seeds + prior.freedom * prior.level) / (freedom + prior.freedom)
        freedom += prior.freedom
    # Both squares hold the rest, so it is once too often in their sum. But few seeds may agree by chance, and then the
    # variance and its degrees of freedom come out wrong together; so a share of the rest is kept in both (how often
    # intervals then hold the truth: benchmarks/intervals.py).
    kept = rest / freedom**2
    total = max(of_seeds + of_examples - rest + kept, rest / 2)
    if total <= 0:
        return 0.0, freedom
    parts = (of_seeds + kept) ** 2 / freedom + of_examples**2 / (examples - 1)
    parts += rest**2 / ((seeds - 1) * (examples - 1))
    return float(total / given.own.size), float(max(1.0, total**2 / parts))


def _squares(given: Sample) -> tuple[float, float, float]:
    """The mean squares of a two-way layout: of seeds, of examples, and of what is left."""
    seeds, examples = given.own.shape
    values = given.own + given.figures[:, None]  # (seeds, examples): what each example would make of the figure
    by_seed, by_example, all_ = values.mean(1), values.mean(0), values.mean()
    of_seeds = examples * by_seed.var(ddof=1)
    of_examples = seeds * by_example.var(ddof=1)
    rest = ((values - by_seed[:, None] - by_example[None] + all_) ** 2).sum() / ((seeds - 1) * (examples - 1))
    return float(of_seeds), float(of_examples), float(rest)
