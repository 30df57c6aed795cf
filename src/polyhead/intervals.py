"""How sure a score is: the percentile bootstrap over the examples of a split (Efron and Tibshirani 1993).

The examples are drawn anew, as many as there are and with replacement, and scored; what lies between the 2.5th and the
97.5th percentile of the figures so found is the interval. It says how far the figure might be off on other examples
of the same kind, not how much another seed would change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

AT_ONCE = 2_000_000
"""The most numbers of a table of resamples that are held at once."""


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
    tally = task.tally(examples, predicted)
    if tally is not None:
        found = _of_tally(tally, seed)
        count = RESAMPLES
    else:
        count = int(np.clip(SLOW_EXAMPLES // len(examples), SLOW_RESAMPLES, RESAMPLES))
        found = _of_scores(task, examples, predicted, draws(len(examples), count, seed))
    return Intervals(len(examples), count, {name: ends for name, values in found.items() if (ends := _ends(values))})


def draws(examples: int, resamples: int, seed: int = SEED) -> NDArray[np.int64]:
    """Which examples each resample holds. Shape (resamples, examples)."""
    return np.random.default_rng(seed).integers(examples, size=(resamples, examples))


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


def _of_scores(
    task: Task, examples: Sequence[Example], predicted: Sequence[Value], rows: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Each figure of every resample that has it, by the task's own score."""
    found: dict[str, list[float]] = {}
    for row in rows.tolist():
        try:
            figures = task.score([examples[i] for i in row], [predicted[i] for i in row])
        except Exception:  # a user's own score may stumble over what few examples lack; no run shall end of that
            continue
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    return {name: np.asarray(values, dtype=np.float64) for name, values in found.items()}


def _ends(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """The percentiles of what is a number."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
