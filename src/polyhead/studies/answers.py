"""What a study answers: how good each way is at each size, what it saves, and where the data cannot tell two apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from polyhead.drawing.figures import Picture
from polyhead.scoring import within
from polyhead.studies.curves import Curve, Forecast, Needed, curves, forecast, needed
from polyhead.studies.effects import Contributions, Estimate, estimates, gains, holm, sample
from polyhead.studies.folder import Result, Study
from polyhead.studies.minutes import Minutes, by_epoch, in_all, until_equal
from polyhead.studies.ways import SCRATCH, TUNED

if TYPE_CHECKING:
    import pandas

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

    def turned(self) -> Verdict:
        """The same with the two ways in the other order."""
        one = self.estimate
        estimate = replace(one, value=-one.value, low=-one.high, high=-one.low)
        return replace(self, first=self.second, second=self.first, estimate=estimate)

    @property
    def called(self) -> bool:
        """Whether the data can tell the two apart, among all the tests of the study."""
        return self.p <= 0.05

    def sign(self, way: str) -> int:
        """1 where a way surely is the better one, -1 where it surely is the worse one, 0 where the data cannot tell."""
        return 0 if self.winner is None else 1 if self.winner == way else -1

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
        curves: By way; where less of the figure is better, of its negative.
        forecasts: By way, of the figure itself.
        learning: For each way the minutes of training, the mean figure on dev after each epoch at the largest size, and
            the least and the most of it over seeds.
        took: The minutes of a run of each way and size, with all that it begins from.
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
    learning: dict[str, list[tuple[float, float, float, float]]]
    took: dict[tuple[str, int], float]

    @property
    def sign(self) -> int:
        """-1 where less of the figure is better, else 1."""
        return -1 if self.lower_is_better else 1

    def best(self, size: int) -> str:
        """The way with the best mean at a size."""
        here = [way for way in self.ways if (way, size) in self.means]
        return max(here, key=lambda way: self.sign * self.means[way, size].value)

    def base(self, size: int) -> str:
        """What transfer is measured against at a size: training from scratch, or else fine-tuning."""
        here = [way for way in self.ways if (way, size) in self.means]
        return next((way for way in (SCRATCH, TUNED) if way in here), here[0])

    def picture(self, name: str) -> Picture:
        """A picture that shows itself in a notebook.

        Args:
            name: ``learning``, ``saved``, ``minutes``, ``transfer`` or ``forecast``.

        Raises:
            PolyheadError: There is no such picture, or nothing to draw, or matplotlib is not installed.
        """
        from polyhead.studies.pictures import draw  # which imports this module

        return draw(self, name)

    def to_pandas(self, what: str = "figures") -> pandas.DataFrame:
        """A table of pandas, with figures as they are, shares from 0 to 1.

        Args:
            what: ``figures`` for each way and size; ``tests`` of two ways; ``saved`` numbers of examples.

        Raises:
            PolyheadError: There is no such table, or pandas is not installed.
        """
        from polyhead.studies.notebook import answers_table

        return answers_table(self, what)

    def _repr_html_(self) -> str:
        from polyhead.studies.notebook import html

        return html(self)

    def between(self, first: str, second: str, size: int) -> Verdict | None:
        """The test of two ways, turned so that its estimate is what the second has more; ``None`` if there is none."""
        for test in self.verdicts:
            if test.size == size and {test.first, test.second} == {first, second}:
                return test if test.first == first else test.turned()
        return None


def answers(study: Study) -> Answers | None:
    """What a study's finished runs say; ``None`` while there is none."""
    results = study.results
    if not results:
        return None
    order = list(dict.fromkeys(point.way for point in study.points))
    task = study.question.recipe.make_tasks()[study.question.target]
    runs = _by_way(study, results, order)
    found = curves(_rising(runs, lower=task.lower_is_better))
    metric, lower = study.metric, task.lower_is_better
    return Answers(
        target=study.question.target,
        metric=metric,
        scored=study.question.scored,
        lower_is_better=lower,
        ways=list(runs),
        sizes=sorted({result.size for result in results}),
        means=_means(runs, metric),
        verdicts=_verdicts(runs, metric, better=not lower),
        saved=_saved(found),
        minutes=until_equal(results, lower=lower),
        curves=found,
        forecasts={way: one for way, curve in found.items() if (one := _forecast(curve, metric, lower=lower))},
        learning=by_epoch(results),
        took=in_all(results),
    )


def _possible(metric: str, one: Estimate, least: float = 0.0) -> Estimate:
    """An estimate whose interval ends where its figure does."""
    return replace(one, low=within(metric, one.low, least), high=within(metric, one.high, least))


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


def _means(runs: Runs, metric: str) -> dict[tuple[str, int], Estimate]:
    """The figure of each way and size."""
    samples = {way: {size: sample(list(of.values())) for size, of in sizes.items()} for way, sizes in runs.items()}
    return {
        (way, size): _possible(metric, one) for way, sizes in estimates(samples).items() for size, one in sizes.items()
    }


def _verdicts(runs: Runs, metric: str, *, better: bool) -> list[Verdict]:
    """All pairs of ways at each size, with ps raised for their number."""
    pairs = {
        (first, second): {
            size: gained
            for size in sorted(set(runs[first]) & set(runs[second]))
            if (gained := gains(runs[first][size], runs[second][size])) is not None
        }
        for first, second in combinations(runs, 2)
    }
    found = [
        (first, second, size, _possible(metric, estimate, -1.0))
        for (first, second), sizes in estimates(pairs).items()
        for size, estimate in sizes.items()
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


def _forecast(curve: Curve, metric: str, *, lower: bool) -> Forecast | None:
    """What is foretold of the figure itself; the curve's is the negative where less is better, and at best 0."""
    largest = int(curve.sizes[-1])
    best = 0.0 if lower else max(1.0, float(curve.values.max()))
    one = forecast(curve, [times * largest for times in TIMES_MORE], best=best)
    if one is None:
        return None
    if lower:
        tested = None if one.tested is None else -one.tested
        values, low, high = ([-value for value in part] for part in (one.values, one.high, one.low))
        one = replace(one, values=values, low=low, high=high, tested=tested, seen=-one.seen)
    ends = [[within(metric, value) for value in part] for part in (one.values, one.low, one.high)]
    return replace(one, values=ends[0], low=ends[1], high=ends[2])
