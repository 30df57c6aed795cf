"""The pictures of a report, as SVG that stands inside a page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from polyhead.drawing.html import picture
from polyhead.errors import PolyheadError

MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Lines differ by their marks, too: a page must be legible without colour."""

DASHES = ("-", "--", "-.", ":")
"""And by how they are drawn."""

COLOURS = ("#0b4f9e", "#a8440a", "#1b6e33", "#7a2a8c", "#a3122f", "#00666e", "#6b5600", "#404040")
"""All of them dark enough to be read on white."""

WIDE, NARROW = 9.0, 3.7
"""The width of a picture in inches, for a screen and for a phone; letters have the same size in both."""

LONGEST = 26
"""So many letters of a name are drawn at most."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing that shows itself in a notebook.

    Attributes:
        wide, narrow: The drawing as SVG, for a screen and for a phone.
        caption: What it shows.
        told: The same for who cannot see it, with what can be read off.
    """

    wide: str
    narrow: str
    caption: str
    told: str

    def html(self) -> str:
        """The picture as a part of a page."""
        return picture(self.wide, self.caption, narrow=self.narrow, told=self.told)

    def _repr_svg_(self) -> str:
        return self.wide


def curves(series: Mapping[str, Sequence[float | None]], bounds: Sequence[int], ylabel: str) -> str:
    """Lines over epochs, one for each name.

    Args:
        series: For each name a value for each epoch, ``None`` where there is none.
        bounds: After how many epochs a stage ends, the last one left out; drawn as upright lines.
        ylabel: What the values are.
    """
    figure, axes = new_figure(7.0, 3.2)
    for number, (name, values) in enumerate(series.items()):
        points = [(i, value) for i, value in enumerate(values, 1) if value is not None]
        epochs, heights = zip(*points, strict=True) if points else ((), ())
        axes.plot(epochs, heights, marker=MARKS[number % len(MARKS)], markersize=4, linewidth=1.2, label=shown(name))
    for bound in bounds:
        axes.axvline(bound + 0.5, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return svg(figure)


def matrix(names: Sequence[str], cells: Mapping[tuple[str, str], float], marked: Sequence[tuple[str, str]]) -> str:
    """A symmetric matrix of numbers from -1 to 1, coloured and written out.

    Args:
        names: Rows and columns.
        cells: A number for each two of them; others stay empty.
        marked: Pairs that get an asterisk.
    """
    size = 1.6 + 0.75 * len(names)
    figure, axes = new_figure(size + 0.6, size)
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
    axes.set_xticks(middles, [shown(name) for name in names], rotation=30, ha="right")
    axes.set_yticks(middles, [shown(name) for name in names])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return svg(figure)


def reliability(series: Mapping[str, Sequence[tuple[int, float, float]]]) -> str:
    """How often answers are right, by how sure they were; on the dotted line confidences mean what they say.

    Args:
        series: For each name its bins: how many answers, their mean confidence, the share that is right.
    """
    figure, axes = new_figure(4.6, 3.6)
    axes.plot([0, 100], [0, 100], color="0.6", linewidth=0.8, linestyle=":")
    for number, (name, bins) in enumerate(series.items()):
        sure, right = [100 * one[1] for one in bins], [100 * one[2] for one in bins]
        marks = {"marker": MARKS[number % len(MARKS)], "linestyle": DASHES[number % len(DASHES)]}
        axes.plot(sure, right, markersize=5, linewidth=1.2, label=shown(name), **marks)
    axes.set_xlabel("mean confidence, %")
    axes.set_ylabel("answers that are right, %")
    axes.set_xlim(0, 101)
    axes.set_ylim(0, 101)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return svg(figure)


def scatter(points: Sequence[tuple[float, float]], xlabel: str, ylabel: str) -> str:
    """Points, and a dotted line where both numbers are the same."""
    figure, axes = new_figure(4.6, 3.6)
    ends = [min(min(point) for point in points), max(max(point) for point in points)]
    axes.plot(ends, ends, color="0.6", linewidth=0.8, linestyle=":")
    axes.plot([one for one, _ in points], [other for _, other in points], "o", markersize=3, alpha=0.5)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    return svg(figure)


def new_figure(width: float, height: float) -> tuple[Any, Any]:
    """An empty figure and its axes, in inches.

    Raises:
        PolyheadError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PolyheadError("Reports need matplotlib.", remedy="Install it: pip install 'polyhead[report]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def shown(name: str) -> str:
    """A name as it is: matplotlib would take dollar signs for mathematics, and leave out a leading underscore."""
    return "\u200b" + name.replace("$", r"\$")


def short(name: str) -> str:
    """The same, cut where it is long."""
    name = " ".join(name.split())
    return shown(name if len(name) <= LONGEST else name[: LONGEST - 1].rstrip() + "…")


def svg(figure: Any) -> str:
    """A figure as an SVG element, the same bytes for the same figure."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "polyhead", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    text = stream.getvalue()
    return _named_apart(text[text.index("<svg") :])


def _named_apart(text: str) -> str:
    """Names of parts that no other drawing of the page has: all figures call theirs the same."""
    own = f"p{sha256(text.encode()).hexdigest()[:8]}-"

    def rename(tag: re.Match[str]) -> str:
        return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{own}", tag[0])

    return re.sub(r"<[^>]+>", rename, text)
