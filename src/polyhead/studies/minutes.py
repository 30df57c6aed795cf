"""How long the ways of a study train: until a score, epoch by epoch, and in all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polyhead.intervals import by_student
from polyhead.studies.folder import Result


@dataclass(frozen=True, slots=True)
class Minutes:
    """How long a way trains until a score on dev.

    Attributes:
        way, size: What is trained.
        score: The figure on dev.
        minutes: For each seed; ``None`` where it never gets there.
        mean: Over the seeds, as a geometric mean; ``None`` if one of them never gets there.
        low, high: Its 95 % interval; ``None`` likewise, and where no way has two seeds.
    """

    way: str
    size: int
    score: float
    minutes: list[float | None]
    mean: float | None = None
    low: float | None = None
    high: float | None = None


def until_equal(results: Sequence[Result], *, lower: bool) -> list[Minutes]:
    """At the largest size, until the score on dev that the way with the lowest end has in the end.

    Times of seeds differ by a share, not by an amount, so that intervals are of the logarithm; how far seeds differ is
    taken from all ways together, since two or three seeds hardly tell.

    Args:
        results: Of one study.
        lower: Whether less of the figure is better.
    """
    sign = -1 if lower else 1
    largest = max(result.size for result in results)
    here = [result for result in results if result.size == largest and result.curve]
    ends: dict[str, list[float]] = {}
    for result in here:
        ends.setdefault(result.way, []).append(sign * result.curve[-1][1])
    if len(ends) < 2:
        return []
    goal = min(float(np.mean(found)) for found in ends.values())
    reached = {
        way: [
            next((seconds / 60 for seconds, score in result.curve if sign * score >= goal - 1e-12), None)
            for result in here
            if result.way == way
        ]
        for way in ends
    }
    intervals = _intervals({way: found for way, times in reached.items() if (found := _all(times))})
    return [Minutes(way, largest, sign * goal, reached[way], *intervals.get(way, ())) for way in ends]


def _all(times: Sequence[float | None]) -> list[float] | None:
    """The times, if there is one of each seed that is above nothing."""
    found = [time for time in times if time]
    return found if len(found) == len(times) else None


def _intervals(times: dict[str, list[float]]) -> dict[str, tuple[float, float | None, float | None]]:
    """For each way the geometric mean and its interval."""
    logs = {way: np.log(found) for way, found in times.items()}
    freedom = sum(len(one) - 1 for one in logs.values())
    if not freedom:
        return {way: (math.exp(float(one.mean())), None, None) for way, one in logs.items()}
    spread = math.sqrt(sum(float(((one - one.mean()) ** 2).sum()) for one in logs.values()) / freedom)
    found: dict[str, tuple[float, float | None, float | None]] = {}
    for way, one in logs.items():
        middle = float(one.mean())
        low, high, _ = by_student(middle, spread / math.sqrt(len(one)), freedom)
        found[way] = math.exp(middle), math.exp(low), math.exp(high)
    return found


def by_epoch(results: Sequence[Result]) -> dict[str, list[tuple[float, float, float, float]]]:
    """At the largest size, epoch by epoch while all seeds of a way are still learning: minutes, and the mean, the least
    and the most of the figure on dev."""
    largest = max(result.size for result in results)
    found = {}
    for way in dict.fromkeys(result.way for result in results):
        runs = [result.curve for result in results if (result.way, result.size) == (way, largest) and result.curve]
        epochs = min(map(len, runs), default=0)
        if epochs:
            table = np.array([run[:epochs] for run in runs])  # (seeds, epochs, seconds and score)
            minutes, scores = table[:, :, 0].mean(0) / 60, table[:, :, 1]
            found[way] = list(
                zip(*(part.tolist() for part in (minutes, scores.mean(0), scores.min(0), scores.max(0))), strict=True)
            )
    return found


def in_all(results: Sequence[Result]) -> dict[tuple[str, int], float]:
    """The minutes of a run of each way and size, with all that it begins from; means over seeds."""
    found: dict[tuple[str, int], list[float]] = {}
    for result in results:
        found.setdefault((result.way, result.size), []).append(result.seconds / 60)
    return {place: float(np.mean(minutes)) for place, minutes in found.items()}
