"""Lines over numbers of examples or minutes, with intervals, for many names at once; legible without colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from polyhead.drawing.figures import COLOURS, DASHES, MARKS, NARROW, WIDE, new_figure, short, svg

APART = 0.012
"""By how much lines are moved sideways, so that intervals at the same place do not hide each other."""

MOST_MARKS = 8
"""A line over time has at most so many marks."""


class Point(NamedTuple):
    """A value at a place, and the ends of its interval."""

    place: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line with a name.

    Attributes:
        name: Plain text.
        style: A number; lines of the same number look the same in all drawings.
        points: At least one.
        beyond: What is foretold, further to the right: drawn dotted, with open marks.
    """

    name: str
    style: int
    points: Sequence[Point]
    beyond: Sequence[Point] = ()


@dataclass(frozen=True, slots=True)
class Plot:
    """What lines stand in.

    Attributes:
        xlabel, ylabel: What places and values are.
        logarithmic: Whether equal factors of the places are equally far apart; then each place has its number.
        bands: Whether an interval is a band around the line, not a bar at each point.
        goal: A value to mark, and what it is.
    """

    xlabel: str
    ylabel: str
    logarithmic: bool = False
    bands: bool = False
    goal: tuple[float, str] | None = None


def draw_lines(lines: Sequence[Line], plot: Plot, *, narrow: bool = False) -> str:
    """Draw lines as SVG; with ``narrow`` for a phone."""
    rows = -(-len(lines) // (1 if narrow else len(lines)))
    figure, axes = new_figure(NARROW, 2.9 + 0.19 * rows) if narrow else new_figure(WIDE, 4.1)
    if plot.logarithmic:
        axes.set_xscale("log")
        places = {point.place for line in lines for point in (*line.points, *line.beyond)}
        if len(places) == 1:  # from which matplotlib cannot tell how far an axis goes
            axes.set_xlim(min(places) / 2, max(places) * 2)
    for number, line in enumerate(lines):
        offset = APART * (number - (len(lines) - 1) / 2) * (1 if narrow else 0.6)
        _draw(axes, line, plot, offset if plot.logarithmic and len(lines) > 1 else 0.0)
    if plot.goal is not None:
        value, said = plot.goal
        axes.axhline(value, color="0.35", linewidth=0.9, linestyle=(0, (1, 2)))
        axes.annotate(
            short(said), (1, value), (0, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", fontsize=8, color="0.25",
        )  # fmt: skip
    if plot.logarithmic:
        _number_places(axes, lines, narrow)
    axes.set_xlabel(plot.xlabel)
    axes.set_ylabel(plot.ylabel)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    place = "outside lower center" if narrow else "outside right upper"
    figure.legend(frameon=False, fontsize=9, loc=place, handlelength=3.4, borderaxespad=0.2)
    return svg(figure)


def _draw(axes: Any, line: Line, plot: Plot, offset: float) -> None:
    colour, mark = COLOURS[line.style % len(COLOURS)], MARKS[line.style % len(MARKS)]
    dash = DASHES[line.style % len(DASHES)]
    look = {"color": colour, "marker": mark, "markersize": 5, "linewidth": 1.4}
    places, values, low, high = _columns(line.points)
    places = places * np.exp(offset * 4) if offset else places
    if plot.bands:
        axes.fill_between(places, low, high, color=colour, alpha=0.12, linewidth=0)
        every = max(1, round(len(places) / MOST_MARKS))
        axes.plot(places, values, linestyle=dash, label=short(line.name), markevery=every, **look)
        return
    reach = np.vstack([np.maximum(values - low, 0), np.maximum(high - values, 0)])
    axes.errorbar(
        places, values, reach, linestyle=dash, label=short(line.name), elinewidth=0.9, capsize=2.5, **look
    )  # fmt: skip
    if line.beyond:
        more, foretold, least, most = _columns(line.beyond)
        more = more * np.exp(offset * 4) if offset else more
        axes.plot([places[-1], *more], [values[-1], *foretold], color=colour, linewidth=1.1, linestyle=":")
        reach = np.vstack([np.maximum(foretold - least, 0), np.maximum(most - foretold, 0)])
        look |= {"markerfacecolor": "white", "linestyle": "none", "elinewidth": 0.9, "capsize": 2.5}
        axes.errorbar(more, foretold, reach, **look)


def _columns(points: Sequence[Point]) -> list[Any]:
    return [np.array(column, dtype=float) for column in zip(*points, strict=True)]


def _number_places(axes: Any, lines: Sequence[Line], narrow: bool) -> None:
    """A number at each place, left out where it would run into the one before."""
    places = sorted({point.place for line in lines for point in (*line.points, *line.beyond)})
    if not places:
        return
    span = np.log(places[-1] / places[0]) or 1.0
    shown: list[float] = []
    for place in places:
        if not shown or np.log(place / shown[-1]) / span > (0.13 if narrow else 0.055):
            shown.append(place)
    axes.set_xticks(shown, [f"{place:,.0f}" for place in shown])
    axes.minorticks_off()
