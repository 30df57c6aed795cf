"""What a study answers, as pictures: for its page, and for notebooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from polyhead.drawing.figures import Picture, short
from polyhead.drawing.lines import Line, Plot, Point, draw_lines
from polyhead.drawing.rows import Gain, Saving, draw_gains, draw_savings
from polyhead.errors import PolyheadError, nearest
from polyhead.scoring import figure, scale, signed
from polyhead.studies.answers import Answers, Saved
from polyhead.studies.effects import Estimate
from polyhead.studies.ways import SCRATCH, TUNED
from polyhead.studies.words import estimate_words, learns_from_tasks, needed_words, saved_words, way_name


def learning(found: Answers) -> Picture | None:
    """The figure of each way by the number of examples."""
    lines = [Line(way_name(way), found.ways.index(way), _measured(found, way)) for way in found.ways]
    plot = Plot("training examples", f"{found.metric} on {found.scored}", logarithmic=True)
    caption = f"{found.metric} on {found.scored} by the number of training examples; bars are 95 % intervals"
    told = "; ".join(f"{way_name(way)}: {_told(found, way)}" for way in found.ways)
    return _picture(lines, plot, caption, told)


def foretold(found: Answers) -> Picture | None:
    """The same, and what more examples would bring; ``None`` with too few sizes to foretell anything."""
    factor = scale(found.metric)
    lines = []
    for way, one in found.forecasts.items():
        beyond = [
            Point(size, *(factor * end for end in ends))
            for size, *ends in zip(one.sizes, one.values, one.low, one.high, strict=True)
        ]
        lines.append(Line(way_name(way), found.ways.index(way), _measured(found, way), beyond))
    if not lines:
        return None
    plot = Plot("training examples", f"{found.metric} on {found.scored}", logarithmic=True)
    caption = "Measured: filled marks. Foretold by a power law through each curve: open marks, dotted, 95 % intervals"
    told = "; ".join(
        f"{way_name(way)}: {figure(found.metric, one.values[0])} with {one.sizes[0]:,}"
        for way, one in found.forecasts.items()
    )
    return _picture(lines, plot, caption, f"Foretold, {told}")


def minutes(found: Answers) -> Picture | None:
    """The figure on dev over minutes of training; ``None`` without a dev split."""
    factor = scale(found.metric)
    lines = [
        Line(
            way_name(way),
            found.ways.index(way),
            [Point(place, *(factor * value for value in values)) for place, *values in points],
        )
        for way, points in found.learning.items()
    ]
    if not lines:
        return None
    goal = found.minutes[0].score if found.minutes else None
    marked = None if goal is None else (factor * goal, f"{found.metric} {figure(found.metric, goal)}")
    plot = Plot("minutes of training", f"{found.metric} on dev", bands=True, goal=marked)
    largest = f"{found.sizes[-1]:,}"
    caption = f"{found.metric} on dev after each epoch with {largest} examples; bands are the range over seeds"
    told = "; ".join(
        f"{way_name(way)}: {figure(found.metric, points[-1][1])} after {points[-1][0]:.1f} minutes"
        for way, points in found.learning.items()
    )
    return _picture(lines, plot, caption, told)


def saved(found: Answers) -> Picture | None:
    """How many examples others need for what the best way has; ``None`` where there is nobody to compare with."""
    shown = [one for one in found.saved if one.way == found.best(one.size)]
    shown = [one for one in shown if one.size < found.sizes[-1]] or shown
    shown.sort(key=lambda one: (one.other != SCRATCH, one.size))
    if not shown:
        return None
    rows = [
        Saving(_row(one), one.size, one.needed.value, one.needed.low, one.needed.high, _factor(one)) for one in shown
    ]
    xlabel = "training examples"
    most = float(found.sizes[-1])
    caption = (
        "Filled: how many examples the best way of a size has. Open: how many another way needs for as much, with its "
        "95 % interval in grey; an arrow is more than all"
    )
    told = " ".join(f"With {one.size:,}, {way_name(one.way)}: {saved_words(one)}" for one in shown)
    wide, narrow = (draw_savings(rows, xlabel, most, narrow=one) for one in (False, True))
    return Picture(wide, narrow, caption, told)


def transfer(found: Answers) -> Picture | None:
    """What learning from other tasks adds to fine-tuning; ``None`` without such ways."""
    ways = [way for way in found.ways if learns_from_tasks(way)]
    cells, told = {}, []
    for way in ways:
        for size in found.sizes:
            test = found.between(TUNED, way, size)
            if test is None:
                continue
            sign = test.sign(way)
            value = signed(found.metric, test.estimate.value)
            cells[way_name(way), f"{size:,}"] = Gain(found.sign * test.estimate.value, value, sign)
            told.append(f"{way_name(way)} with {size:,}: {value}, {SIGNS[sign]}")
    if not cells:
        return None
    rows = [way_name(way) for way in ways if any(row == way_name(way) for row, _ in cells)]
    columns = [f"{size:,}" for size in found.sizes]
    wide, narrow = (draw_gains(rows, columns, cells, narrow=one) for one in (False, True))
    caption = (
        f"What {found.target} gains beside {way_name(TUNED)} alone, by the number of its examples. ▲ helps; ▼ and a "
        "frame mark negative transfer, which harms; ? the data cannot tell"
    )
    return Picture(wide, narrow, caption, "; ".join(told))


SIGNS = {1: "it helps", -1: "it harms", 0: "the data cannot tell"}

PICTURES: dict[str, Callable[[Answers], Picture | None]] = {
    "learning": learning,
    "saved": saved,
    "minutes": minutes,
    "transfer": transfer,
    "forecast": foretold,
}
"""By the names that :meth:`polyhead.studies.answers.Answers.picture` knows."""


def draw(found: Answers, name: str) -> Picture:
    """A picture by its name.

    Raises:
        PolyheadError: There is no such picture, the study has nothing to draw for it, or matplotlib is not installed.
    """
    if name not in PICTURES:
        raise PolyheadError(f"There is no picture {name!r}.", remedy=nearest(name, PICTURES))
    made = PICTURES[name](found)
    if made is None:
        raise PolyheadError(
            f"This study has nothing to draw for {name!r}.", remedy="See docs/study.md for what each picture needs."
        )
    return made


def _picture(lines: Sequence[Line], plot: Plot, caption: str, told: str) -> Picture:
    wide, narrow = (draw_lines(lines, plot, narrow=one) for one in (False, True))
    return Picture(wide, narrow, caption, f"{caption}. {told}.")


def _measured(found: Answers, way: str) -> list[Point]:
    factor = scale(found.metric)
    here = [(size, one) for size in found.sizes if (one := found.means.get((way, size))) is not None]
    return [Point(size, factor * one.value, factor * one.low, factor * one.high) for size, one in here]


def _told(found: Answers, way: str) -> str:
    here: list[tuple[int, Estimate]] = [
        (size, found.means[way, size]) for size in found.sizes if (way, size) in found.means
    ]
    return ", ".join(f"{estimate_words(found, one)} with {size:,}" for size, one in here)


def _row(one: Saved) -> str:
    return f"{way_name(one.way)}, {one.size:,}"


def _factor(one: Saved) -> str:
    """How many times as many examples the other needs."""
    many, other = one.needed.value, short(way_name(one.other))
    if many is None or one.needed.below:
        return f"{other}: {needed_words(one.needed).partition(' (')[0]}"  # the interval is drawn
    return f"{other}: {many / one.size:.1f} times"
