"""How sure a score is, and the difference of two: the bootstrap over the examples of a split.

The examples are drawn anew, as many as there are and with replacement, and scored; what lies between the 2.5th and the
97.5th percentile of the figures so found is the interval (Efron and Tibshirani 1993). It says how far the figure might
be off on other examples of the same kind, not how much another seed would change it.

Two models that answered the same examples are compared on the same resamples (the paired bootstrap, Koehn 2004): what
makes an example hard or easy for both then cancels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from polyhead.data.example import Example, Value
from polyhead.metrics import Tally
from polyhead.tasks import Task

METHOD = "percentile bootstrap over the examples of the split"
LEVEL = 0.95
"""The share of resamples whose figures lie in the interval."""

RESAMPLES = 1000
SLOW_RESAMPLES, SLOW_EXAMPLES = 100, 400_000
"""Without a tally each resample is scored on its own: at least so many, and more while they hold no more examples."""

SEED = 1
"""Of the resamples; fixed, so that the same answers get the same intervals."""

ROUNDING = 1e-12
"""Figures that differ by less are the same; the same counts, added up in another order, give another last bit."""

AT_ONCE = 2_000_000
"""The most numbers of a table of resamples that are held at once."""


def by_student(value: float, error: float, freedom: float) -> tuple[float, float, float]:
    """The ends of the interval around an estimate, and p, by Student's t.

    Args:
        value: The estimate.
        error: Its standard error; 0 where it cannot vary.
        freedom: The degrees of freedom of the error.

    Returns:
        The ends, and how likely an estimate at least so far from 0 would be if the truth were 0, on both sides.
    """
    if error <= 0:
        return value, value, 0.0 if value else 1.0
    reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    return value - reach, value + reach, float(2 * stats.t.sf(abs(value) / error, freedom))


@dataclass(frozen=True, slots=True)
class Intervals:
    """The intervals of a task's figures on a split.

    Attributes:
        examples: How many examples were scored.
        resamples: How often they were drawn anew.
        figures: For each figure the lower and the upper end.
    """

    examples: int
    resamples: int
    figures: dict[str, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> Intervals:
        """The inverse of ``to_dict``, from JSON too."""
        ends = {name: (float(low), float(high)) for name, (low, high) in table["figures"].items()}
        return cls(table["examples"], table["resamples"], ends)


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of two models.

    Attributes:
        first, second: The figure of each.
        interval: The lower and the upper end of the interval of ``difference``; ``None`` if no resample has the figure.
        p: How likely resamples are on the other side of zero, on both sides together: twice the share of those whose
            difference is 0 or has the other sign, at least 1 / resamples, at most 1. ``None`` as ``interval``.
    """

    first: float
    second: float
    interval: tuple[float, float] | None
    p: float | None

    @property
    def difference(self) -> float:
        """What the second has more than the first; what rounding makes is none."""
        return float(_rounded(self.second - self.first))

    @property
    def sure(self) -> bool:
        """Whether chance alone would seldom make such a difference: in at most one of twenty cases."""
        return self.p is not None and self.p <= 1 - LEVEL

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        figures = {"first": self.first, "second": self.second, "difference": self.difference}
        return figures | {"interval": self.interval, "p": self.p}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A task of two models on the same examples.

    Attributes:
        examples: How many there are.
        resamples: How often they were drawn anew.
        figures: Those that both have.
        signatures: How figures are computed exactly, where their scorer says so.
        main: The name of the task's main figure.
        lower_is_better: Whether the less of it, the better.
    """

    examples: int
    resamples: int
    figures: dict[str, Difference]
    signatures: dict[str, str]
    main: str
    lower_is_better: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"figures": {name: one.to_dict() for name, one in self.figures.items()}}


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model answered in a task.

    Attributes:
        task: The task.
        examples: Examples that carry its layer, at least one.
        predicted: The answer for each.
    """

    task: Task
    examples: Sequence[Example]
    predicted: Sequence[Value]


def intervals(task: Task, examples: Sequence[Example], predicted: Sequence[Value], *, seed: int = SEED) -> Intervals:
    """The intervals of what ``task.score`` says of these answers.

    Figures that are a sum of counts are exact for each resample, as if it were scored; those of other types are
    scored indeed, on fewer resamples if there are many examples.

    Args:
        task: The task.
        examples: Examples that carry its layer, at least one.
        predicted: The answer for each.
        seed: Of the resamples.
    """
    count, (found,) = _resampled([Answered(task, examples, predicted)], seed)
    return Intervals(len(examples), count, {name: ends for name, values in found.items() if (ends := _ends(values))})


def compare(first: Answered, second: Answered, *, seed: int = SEED) -> Comparison:
    """The figures of two models that answered the same examples, and how sure their differences are.

    Figures that only one of them has, and those that they compute in different ways, are left out.

    Args:
        first: The answers of one, which the other is compared with.
        second: The answers of the other.
        seed: Of the resamples, which are the same for both.
    """
    scores = [one.task.score(one.examples, one.predicted) for one in (first, second)]
    ways = [one.task.signatures() for one in (first, second)]
    names = [name for name in scores[0] if name in scores[1] and ways[0].get(name) == ways[1].get(name)]
    count, drawn = _resampled([first, second], seed)
    nothing = np.full(count, np.nan)
    figures = {}
    for name in names:
        one, other = (found.get(name, nothing) for found in drawn)
        figures[name] = _difference(scores[0][name], scores[1][name], other - one)
    same = {name: way for name, way in ways[0].items() if name in names}
    return Comparison(len(first.examples), count, figures, same, first.task.metric, first.task.lower_is_better)


def _difference(first: float, second: float, drawn: NDArray[np.float64]) -> Difference:
    """A figure of two models, from its differences on the resamples."""
    drawn = _rounded(drawn[np.isfinite(drawn)])
    if not len(drawn) or not np.isfinite(second - first):
        return Difference(first, second, None, None)
    seen = np.sign(_rounded(second - first))
    other = float(np.mean(drawn * seen <= 0))  # all of them where no difference is seen
    return Difference(first, second, _ends(drawn), min(1.0, max(2 * other, 1 / len(drawn))))


def draws(examples: int, resamples: int, seed: int = SEED) -> NDArray[np.int64]:
    """Which examples each resample holds. Shape (resamples, examples)."""
    return np.random.default_rng(seed).integers(examples, size=(resamples, examples))


def _resampled(sides: Sequence[Answered], seed: int) -> tuple[int, list[dict[str, NDArray[np.float64]]]]:
    """How often the examples are drawn anew, and for each side its figures on these resamples, the same for all."""
    tallies = [side.task.tally(side.examples, side.predicted) for side in sides]
    counted = [tally for tally in tallies if tally is not None]
    if len(counted) == len(sides):
        return RESAMPLES, [_of_tally(tally, seed) for tally in counted]
    examples = len(sides[0].examples)
    count = int(np.clip(SLOW_EXAMPLES // examples, SLOW_RESAMPLES, RESAMPLES))
    rows = draws(examples, count, seed)
    return count, [_of_scores(side, rows) for side in sides]


def _of_tally(tally: Tally, seed: int) -> dict[str, NDArray[np.float64]]:
    """Each figure of every resample: counts are multiplied with how often an example was drawn."""
    texts, width = tally.counts.shape
    rng = np.random.default_rng(seed)
    transposed = tally.counts.T.tocsr().astype(np.float64)  # (counts, texts)
    at_once = max(1, AT_ONCE // max(texts, width))
    parts = []
    for first in range(0, RESAMPLES, at_once):
        here = min(at_once, RESAMPLES - first)
        rows = rng.integers(texts, size=(here, texts)) + np.arange(here)[:, None] * texts
        times = np.bincount(rows.ravel(), minlength=here * texts).reshape(here, texts)
        parts.append(tally.figures_of(np.ascontiguousarray((transposed @ times.T.astype(np.float64)).T)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _of_scores(given: Answered, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Each figure of every resample by the task's own score, NaN where it has none."""
    found: dict[str, NDArray[np.float64]] = {}
    for number, row in enumerate(rows.tolist()):
        try:
            figures = given.task.score([given.examples[i] for i in row], [given.predicted[i] for i in row])
        except Exception:  # a user's own score may stumble over what few examples lack; no run shall end of that
            continue
        for name, value in figures.items():
            found.setdefault(name, np.full(len(rows), np.nan))[number] = value
    return found


def _rounded(values: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Differences without those that only rounding makes."""
    return np.where(np.abs(values) < ROUNDING, 0.0, values)


def _ends(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """The percentiles of what is a number."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
