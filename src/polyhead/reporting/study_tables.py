"""The tables of a study's page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

from polyhead.drawing.html import table
from polyhead.scoring import figure, signed
from polyhead.studies import Answers, Study
from polyhead.studies.minutes import Minutes
from polyhead.studies.words import change_ends, estimate_words, few_digits, minutes_words, needed_words, way_name


def tables(study: Study, found: Answers) -> Iterator[str]:
    """All of them, those first that the pictures show."""
    yield "<h3>Each way and size</h3>"
    yield _by_size(found, f"{found.metric} on {found.scored}, with its 95 % interval", found.ways, _score(found))
    yield from _saved(found)
    yield from _minutes(found)
    yield from _tests(found)
    yield from _forecasts(found)
    yield from _failures(study)


Cell = Callable[[str, int], str]


def _by_size(found: Answers, caption: str, ways: Sequence[str], cell: Cell) -> str:
    rows = [[way_name(way), *(cell(way, size) for size in found.sizes)] for way in ways]
    return table(caption, ["way", *(f"{size:,}" for size in found.sizes)], rows)


def _score(found: Answers) -> Cell:
    def cell(way: str, size: int) -> str:
        one = found.means.get((way, size))
        return "" if one is None else _two_lines(estimate_words(found, one))

    return cell


def _two_lines(said: str) -> str:
    """An interval below its figure."""
    value, bracket, ends = said.partition(" (")
    return f"{value}\n{ends.removesuffix(')')}" if bracket else said


def _saved(found: Answers) -> Iterator[str]:
    others = list(dict.fromkeys(one.other for one in found.saved))
    if others:
        yield "<h3>Labels saved</h3>"
    for other in others:
        here = {(one.way, one.size): one.needed for one in found.saved if one.other == other}

        def cell(way: str, size: int, here: dict = here) -> str:  # type: ignore[type-arg]
            return _two_lines(needed_words(here[way, size])) if (way, size) in here else ""

        ways = list(dict.fromkeys(way for way, _ in here))
        yield _by_size(found, f"how many examples {way_name(other)} needs for what a way has with so many", ways, cell)


def _minutes(found: Answers) -> Iterator[str]:
    if not found.took:
        return
    yield "<h3>Minutes</h3>"
    if found.minutes:
        goal = figure(found.metric, found.minutes[0].score)
        rows = [[way_name(one.way), *_reached(one)] for one in found.minutes]
        caption = f"until {found.metric} {goal} on dev, with {found.sizes[-1]:,} examples, and a 95 % interval"
        yield table(caption, ["way", "minutes", "seeds that reach it"], rows)

    def cell(way: str, size: int) -> str:
        return few_digits(found.took[way, size]) if (way, size) in found.took else ""

    caption = "minutes of a run in all, with its scoring and with what it begins from counted whole, mean over seeds"
    yield _by_size(found, caption, found.ways, cell)


def _reached(one: Minutes) -> list[str]:
    return [minutes_words(one), f"{sum(time is not None for time in one.minutes)} of {len(one.minutes)}"]


def _tests(found: Answers) -> Iterator[str]:
    if not found.verdicts:
        return
    yield "<h3>Can the data tell them apart?</h3>"

    def cell(first: str, second: str, size: int) -> str:
        test = found.between(first, second, size)
        if test is None:
            return ""
        mark = "? cannot tell" if test.winner is None else "▲ second" if test.winner == second else "▼ first"
        change = signed(found.metric, test.estimate.value)
        return f"{change} {mark}\n{change_ends(found, test.estimate)}; p {_p(test.p)}"

    rows = [
        [f"{way_name(first)} → {way_name(second)}", *cells]
        for first, second in combinations(found.ways, 2)
        if any(cells := [cell(first, second, size) for size in found.sizes])
    ]
    many = f"{len(found.verdicts):,} test{'s'[: len(found.verdicts) != 1]}"
    caption = (
        f"what the second way has more in {found.metric}, which is better, and a 95 % interval; p is corrected "
        f"for {many}. “cannot tell”: the data cannot tell the two apart"
    )
    yield table(caption, ["ways", *(f"{size:,}" for size in found.sizes)], rows)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _forecasts(found: Answers) -> Iterator[str]:
    if not found.forecasts:
        return
    yield "<h3>What more labels would bring</h3>"
    rows = []
    for way, one in found.forecasts.items():
        cells = [
            f"{figure(found.metric, value)}\n{figure(found.metric, low)} to {figure(found.metric, high)}"
            for value, low, high in zip(one.values, one.low, one.high, strict=True)
        ]
        tested = "" if one.tested is None else figure(found.metric, one.tested)
        rows.append([way_name(way), *cells, tested, figure(found.metric, one.seen)])
    sizes = next(iter(found.forecasts.values())).sizes
    last = f"{found.sizes[-1]:,}"
    head = ["way", *(f"{size:,}" for size in sizes), f"{last}, foretold", f"{last}, seen"]
    caption = (
        f"{found.metric} by a power law through each way's curve, with its 95 % interval; the last two columns say how "
        "well the smaller sizes foretell the largest one"
    )
    yield table(caption, head, rows)


def _failures(study: Study) -> Iterator[str]:
    failures = study.failures
    if not failures:
        return
    yield "<h3>What could not be had</h3>"
    rows = [[way_name(point.way), f"{point.size:,}", str(point.seed), why] for point, why in failures]
    yield table("runs that ended in an error", ["way", "examples", "seed", "why"], rows)
