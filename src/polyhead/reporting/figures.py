"""The pictures of a report, as SVG that stands inside a page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polyhead.errors import PolyheadError

MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Lines differ by their marks, too: a page must be legible without colour."""

LINES = ("-", "--", "-.", ":")
"""And by how they are drawn."""


def curves(series: Mapping[str, Sequence[float | None]], bounds: Sequence[int], ylabel: str) -> str:
    """Lines over epochs, one for each name.

    Args:
        series: For each name a value for each epoch, ``None`` where there is none.
        bounds: After how many epochs a stage ends, the last one left out; drawn as upright lines.
        ylabel: What the values are.
    """
    figure, axes = _figure(7.0, 3.2)
    for number, (name, values) in enumerate(series.items()):
        points = [(i, value) for i, value in enumerate(values, 1) if value is not None]
        epochs, heights = zip(*points, strict=True) if points else ((), ())
        axes.plot(epochs, heights, marker=MARKS[number % len(MARKS)], markersize=4, linewidth=1.2, label=_shown(name))
    for bound in bounds:
        axes.axvline(bound + 0.5, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(figure)


def by_size(
    series: Mapping[str, Sequence[tuple[float, float, float, float]]], ylabel: str, xlabel: str, *, logarithmic: bool
) -> str:
    """Lines over numbers of examples, or minutes, with an interval at each point, one line for each name.

    Args:
        series: For each name its points: place, value, lower and upper end of its interval.
        ylabel, xlabel: What the values and the places are.
        logarithmic: Whether equal factors of the places are equally far apart.
    """
    figure, axes = _figure(7.0, 3.8)
    for number, (name, points) in enumerate(series.items()):
        places, values, low, high = (np.array(column) for column in zip(*points, strict=True))
        reach = np.vstack([np.maximum(values - low, 0), np.maximum(high - values, 0)])
        axes.errorbar(
            places,
            values,
            reach,
            marker=MARKS[number % len(MARKS)],
            markersize=4,
            linewidth=1.2,
            elinewidth=0.8,
            capsize=2,
            linestyle=LINES[number % len(LINES)],
            label=_shown(name),
        )
    if logarithmic:
        axes.set_xscale("log")
        ticks = sorted({float(point[0]) for points in series.values() for point in points})
        axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        axes.minorticks_off()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(figure)


def matrix(names: Sequence[str], cells: Mapping[tuple[str, str], float], marked: Sequence[tuple[str, str]]) -> str:
    """A symmetric matrix of numbers from -1 to 1, coloured and written out.

    Args:
        names: Rows and columns.
        cells: A number for each two of them; others stay empty.
        marked: Pairs that get an asterisk.
    """
    size = 1.6 + 0.75 * len(names)
    figure, axes = _figure(size + 0.6, size)
    values = np.full((len(names), len(names)), np.nan)
    for (one, other), value in cells.items():
        i, j = names.index(one), names.index(other)
        values[i, j] = values[j, i] = value
    axes.pcolormesh(values, cmap="RdBu", vmin=-1, vmax=1, edgecolors="white")  # not imshow, which makes a bitmap
    axes.set_aspect("equal")
    axes.invert_yaxis()
    pairs = {frozenset(pair) for pair in marked}
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            if np.isfinite(values[i, j]):
                star = "*" if frozenset((one, other)) in pairs else ""
                colour = "white" if abs(values[i, j]) > 0.6 else "black"
                axes.text(
                    j + 0.5, i + 0.5, f"{values[i, j]:+.2f}{star}", ha="center", va="center", color=colour, fontsize=9
                )
    middles = [i + 0.5 for i in range(len(names))]
    axes.set_xticks(middles, [_shown(name) for name in names], rotation=30, ha="right")
    axes.set_yticks(middles, [_shown(name) for name in names])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return _svg(figure)


def reliability(series: Mapping[str, Sequence[tuple[int, float, float]]]) -> str:
    """How often answers are right, by how sure they were; on the dotted line confidences mean what they say.

    Args:
        series: For each name its bins: how many answers, their mean confidence, the share that is right.
    """
    figure, axes = _figure(4.6, 3.6)
    axes.plot([0, 100], [0, 100], color="0.6", linewidth=0.8, linestyle=":")
    for number, (name, bins) in enumerate(series.items()):
        sure, right = [100 * one[1] for one in bins], [100 * one[2] for one in bins]
        marks = {"marker": MARKS[number % len(MARKS)], "linestyle": LINES[number % len(LINES)]}
        axes.plot(sure, right, markersize=5, linewidth=1.2, label=_shown(name), **marks)
    axes.set_xlabel("mean confidence, %")
    axes.set_ylabel("answers that are right, %")
    axes.set_xlim(0, 101)
    axes.set_ylim(0, 101)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return _svg(figure)


def scatter(points: Sequence[tuple[float, float]], xlabel: str, ylabel: str) -> str:
    """Points, and a dotted line where both numbers are the same."""
    figure, axes = _figure(4.6, 3.6)
    ends = [min(min(point) for point in points), max(max(point) for point in points)]
    axes.plot(ends, ends, color="0.6", linewidth=0.8, linestyle=":")
    axes.plot([one for one, _ in points], [other for _, other in points], "o", markersize=3, alpha=0.5)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PolyheadError("Reports need matplotlib.", remedy="Install it: pip install 'polyhead[report]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _shown(name: str) -> str:
    """A name as it is: matplotlib would take dollar signs for mathematics, and leave out a leading underscore."""
    return "\u200b" + name.replace("$", r"\$")


def _svg(figure: Any) -> str:
    """A figure as an SVG element, the same bytes for the same figure."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "polyhead", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = stream.getvalue()
    return text[text.index("<svg") :]
