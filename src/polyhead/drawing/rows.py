"""Pictures with a row for each name: what is saved, and a matrix of gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from polyhead.drawing.figures import COLOURS, NARROW, WIDE, new_figure, short, svg


@dataclass(frozen=True, slots=True)
class Saving:
    """How far two numbers of examples are apart.

    Attributes:
        name: The row's, plain text.
        few: The smaller number.
        many: The larger one; ``None`` if it is beyond all that there is.
        low, high: The interval of ``many``; ``None`` likewise.
        said: What stands beside it, as :func:`polyhead.drawing.figures.shown` gives it.
    """

    name: str
    few: float
    many: float | None
    low: float | None
    high: float | None
    said: str


def draw_savings(rows: Sequence[Saving], xlabel: str, most: float, *, narrow: bool = False) -> str:
    """A row for each saving: from a filled mark to an open one, over the logarithm of the number.

    Args:
        rows: From the top.
        xlabel: What the numbers are.
        most: All that there is: what is beyond becomes an arrow there.
        narrow: For a phone.
    """
    figure, axes = new_figure(NARROW if narrow else WIDE, 0.9 + (0.52 if narrow else 0.4) * len(rows))
    axes.set_xscale("log")
    colour = COLOURS[0]
    for place, row in enumerate(rows):
        end = most * 1.25 if row.many is None else row.many
        low = end if row.low is None else row.low
        high = most * 1.25 if row.high is None else row.high
        axes.plot([low, high], [place, place], color="0.72", linewidth=5, solid_capstyle="butt")
        axes.plot([row.few, end], [place, place], color=colour, linewidth=1.4)
        axes.plot([row.few], [place], marker="o", color=colour, markersize=7)
        if row.many is None:
            axes.plot([end], [place], marker=">", color=colour, markersize=8)
        else:
            axes.plot([end], [place], marker="D", color=colour, markerfacecolor="white", markersize=6.5)
        if row.high is None and row.many is not None:
            axes.plot([high], [place], marker=">", color="0.55", markersize=6)
        axes.annotate(
            row.said, (1.0, place), (0, 9), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", va="center", fontsize=8.5,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [short(row.name) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.8)
    numbers = sorted({row.few for row in rows} | {most})
    axes.set_xlim(min([numbers[0], *(row.low for row in rows if row.low is not None)]) / 1.3, most * 1.6)
    shown = [most]  # what there is in all, and before it what is not too near to the next
    for number in reversed(numbers):
        if shown[0] / number > (2.2 if narrow else 1.3):
            shown.insert(0, number)
    if len(shown) == 1 and numbers[0] < most / 1.2:
        shown.insert(0, numbers[0])
    axes.set_xticks(shown, [f"{number:,.0f}" for number in shown])
    axes.minorticks_off()
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(xlabel)
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    return svg(figure)


MARKS = {1: "▲", -1: "▼", 0: "?"}
"""By the signs of gains."""


@dataclass(frozen=True, slots=True)
class Gain:
    """A cell of a matrix of gains.

    Attributes:
        value: The gain; colours the cell where it is sure.
        said: What stands in it.
        sign: 1 where it surely helps, -1 where it surely harms, 0 where the data cannot tell.
    """

    value: float
    said: str
    sign: int


CROWDED = 90
"""So many letters stand beside each other above a wide picture, each column as wide as its longest name."""


def draw_gains(
    rows: Sequence[str], columns: Sequence[str], cells: Mapping[tuple[str, str], Gain], *, narrow: bool = False
) -> str:
    """A matrix of gains: written out, with a mark; coloured where sure, with a frame where it surely harms.

    Args:
        rows, columns: Names, plain text, each once.
        cells: By row and column; others stay empty.
        narrow: For a phone.
    """
    names = [short(name) for name in columns]
    crowded = max(map(len, names), default=0) * len(names) > (CROWDED if not narrow else CROWDED * NARROW / WIDE)
    figure, axes = new_figure(NARROW if narrow else WIDE, 0.75 + 0.5 * len(rows) + (0.6 if crowded else 0.0))
    values = np.full((len(rows), len(columns)), np.nan)
    for (row, column), gain in cells.items():
        values[rows.index(row), columns.index(column)] = gain.value if gain.sign else 0.0  # chance has no colour
    bound = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 0.0
    axes.pcolormesh(values, cmap="RdBu", vmin=-2 * (bound or 1), vmax=2 * (bound or 1), edgecolors="white")
    for (row, column), gain in cells.items():
        i, j = rows.index(row), columns.index(column)
        weight = "bold" if gain.sign else "normal"
        axes.text(
            j + 0.5, i + 0.5, gain.said + ("\n" if narrow else " ") + MARKS[gain.sign], ha="center", va="center",
            fontsize=7.5 if narrow else 10, fontweight=weight, color="black",
        )  # fmt: skip
        if gain.sign < 0:
            axes.plot(
                [j + 0.04, j + 0.96, j + 0.96, j + 0.04, j + 0.04],
                [i + 0.06, i + 0.06, i + 0.94, i + 0.94, i + 0.06],
                color="black", linewidth=1.8,
            )  # fmt: skip
    axes.invert_yaxis()
    axes.xaxis.tick_top()
    turned = {"rotation": 40, "ha": "left", "rotation_mode": "anchor"} if crowded else {}
    axes.set_xticks([j + 0.5 for j in range(len(columns))], names, **turned)
    axes.set_yticks([i + 0.5 for i in range(len(rows))], [short(name) for name in rows])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return svg(figure)
