"""What a study answers: how good each way is at each size, what it saves, and where the data cannot tell two apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from polyhead.study.curves import Curve, Forecast, Needed, curves, forecast, needed
from polyhead.study.effects import Contributions, Estimate, difference, holm, mean
from polyhead.study.study import Result, Study
from polyhead.study.ways import FROM, SCRATCH, TUNED

TIMES_MORE = (2, 5, 10)
"""For how many times the largest size the curve foretells."""

Runs = Mapping[str, Mapping[int, Mapping[int, Contributions]]]
"""By way, size and seed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Two ways at one size.

    Attributes:
        first, second: The ways; the estimate is what the second has more.
        size: Of both.
        estimate: With its own interval and p.
        p: Raised for the number of tests (Holm 1979).
        better: Whether more of the figure is better.
    """

    first: str
    second: str
    size: int
    estimate: Estimate
    p: float
    better: bool = True

    @property
    def called(self) -> bool:
        """Whether the data can tell the two apart, among all the tests of the study."""
        return self.p <= 0.05

    @property
    def winner(self) -> str | None:
        """The better way; ``None`` where the data cannot tell."""
        if not self.called:
            return None
        return self.second if (self.estimate.value > 0) == self.better else self.first


@dataclass(frozen=True, slots=True)
class Saved:
    """What a way saves at a size: how many examples another way needs for the same figure.

    Attributes:
        way, size: What is reached, with how many examples.
        other: The way that is asked for as much.
        needed: How many examples it needs.
    """

    way: str
    size: int
    other: str
    needed: Needed


@dataclass(frozen=True, slots=True)
class Minutes:
    """How long a way trains until a score on dev.

    Attributes:
        way, size: What is trained.
        score: The figure on dev.
        minutes: For each seed; ``None`` where it never gets there.
    """

    way: str
    size: int
    score: float
    minutes: list[float | None]


@dataclass(frozen=True, slots=True)
class Answers:
    """All that a study says.

    Attributes:
        target, metric, scored: The task, its main figure, and the split.
        lower_is_better: Whether less of the figure is better.
        ways, sizes: What there are results of, in order.
        means: The figure of each way and size.
        verdicts: Between all ways of a size.
        saved: Against training from scratch, and against fine-tuning.
        minutes: Until what the slowest learner ends with, at the largest size.
        curves, forecasts: By way.
    """

    target: str
    metric: str
    scored: str
    lower_is_better: bool
    ways: list[str]
    sizes: list[int]
    means: dict[tuple[str, int], Estimate]
    verdicts: list[Verdict]
    saved: list[Saved]
    minutes: list[Minutes]
    curves: dict[str, Curve]
    forecasts: dict[str, Forecast]

    def gain_from(self, source: str, size: int) -> Verdict | None:
        """What learning a source first brings beside fine-tuning; an entry of the transfer matrix."""
        wanted = {TUNED, FROM + source}
        return next((test for test in self.verdicts if test.size == size and {test.first, test.second} == wanted), None)


def answers(study: Study) -> Answers | None:
    """What a study's finished runs say; ``None`` while there is none."""
    results = study.results
    if not results:
        return None
    order = list(dict.fromkeys(point.way for point in study.points))
    task = study.question.recipe.make_tasks()[study.question.target]
    runs = _by_way(study, results, order)
    found = curves(_rising(runs, lower=task.lower_is_better))
    return Answers(
        target=study.question.target,
        metric=study.metric,
        scored=study.question.scored,
        lower_is_better=task.lower_is_better,
        ways=list(runs),
        sizes=sorted({result.size for result in results}),
        means={(way, size): mean(list(of.values())) for way, sizes in runs.items() for size, of in sizes.items()},
        verdicts=_verdicts(runs, better=not task.lower_is_better),
        saved=_saved(found),
        minutes=_minutes(results, lower=task.lower_is_better),
        curves=found,
        forecasts={way: one for way, curve in found.items() if (one := _forecast(curve))},
    )


def _by_way(
    study: Study, results: Sequence[Result], order: Sequence[str]
) -> dict[str, dict[int, dict[int, Contributions]]]:
    runs: dict[str, dict[int, dict[int, Contributions]]] = {}
    for way in order:
        for result in results:
            if result.way == way:
                runs.setdefault(way, {}).setdefault(result.size, {})[result.seed] = study.contributions(result)
    return runs


def _rising(runs: Runs, *, lower: bool) -> Runs:
    """The same, with more being better."""
    if not lower:
        return runs
    return {
        way: {
            size: {seed: Contributions(-run.figure, -run.of) for seed, run in of.items()} for size, of in sizes.items()
        }
        for way, sizes in runs.items()
    }


def _verdicts(runs: Runs, *, better: bool) -> list[Verdict]:
    """All pairs of ways at each size, with ps raised for their number."""
    found = [
        (first, second, size, estimate)
        for first, second in combinations(runs, 2)
        for size in sorted(set(runs[first]) & set(runs[second]))
        if (estimate := difference(runs[first][size], runs[second][size])) is not None
    ]
    raised = holm([estimate.p for *_, estimate in found])
    return [Verdict(*one, p, better) for one, p in zip(found, raised, strict=True)]


def _saved(found: Mapping[str, Curve]) -> list[Saved]:
    return [
        Saved(way, int(size), other, needed(found[other], curve, size))
        for other in (SCRATCH, TUNED)
        if other in found
        for way, curve in found.items()
        if way not in (SCRATCH, other)
        for size in curve.sizes
    ]


def _minutes(results: Sequence[Result], *, lower: bool) -> list[Minutes]:
    """At the largest size, until the score on dev that the way with the lowest end has in the end."""
    sign = -1 if lower else 1
    largest = max(result.size for result in results)
    here = [result for result in results if result.size == largest and result.curve]
    ends: dict[str, list[float]] = {}
    for result in here:
        ends.setdefault(result.way, []).append(sign * result.curve[-1][1])
    if len(ends) < 2:
        return []
    goal = min(float(np.mean(found)) for found in ends.values())
    return [
        Minutes(
            way,
            largest,
            sign * goal,
            [
                next((seconds / 60 for seconds, score in result.curve if sign * score >= goal - 1e-12), None)
                for result in here
                if result.way == way
            ],
        )
        for way in ends
    ]


def _forecast(curve: Curve) -> Forecast | None:
    largest = int(curve.sizes[-1])
    return forecast(curve, [times * largest for times in TIMES_MORE], best=max(1.0, float(curve.values.max())))
