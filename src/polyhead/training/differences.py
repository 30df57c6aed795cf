"""What a comparison of two models says: rows of a table, and a sentence for each task."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from polyhead.data.text import counted
from polyhead.drawing.frames import frame
from polyhead.drawing.html import table
from polyhead.intervals import Comparison
from polyhead.scoring import figure, signed

if TYPE_CHECKING:
    import pandas

FEW = 30
"""Examples below which the bootstrap takes too much for sure."""

HEAD = ("task", "figure", "A", "B", "B - A", "95 % interval", "p")
RIGHT = ("A", "B", "B - A", "p")

MEANING = (
    "Interval and p of B - A are of a paired bootstrap over the examples: they tell what other examples of the "
    "same kind might change, not what another seed would."
)


class Comparisons(dict[str, Comparison]):
    """Two models, A and B, on the same examples: for each task its comparison. A notebook shows it as a table.

    Attributes:
        places: Where A and B are.
    """

    places: tuple[str, str] = ("", "")

    def rows(self) -> list[list[str]]:
        """A row for each task and figure, as ``HEAD`` says; figures by label are left to :meth:`to_pandas`."""
        rows = []
        for task, one in self.items():
            first = task
            for name, both in one.figures.items():
                if "/" not in name:
                    ends = " to ".join(signed(name, end) for end in both.interval or ())
                    values = [figure(name, both.first), figure(name, both.second), signed(name, both.difference)]
                    rows.append([first, name, *values, ends, "" if both.p is None else f"{both.p:.3f}"])
                    first = ""
        return rows

    def verdict(self, task: str) -> str:
        """What the comparison says of a task's main figure, in a sentence."""
        found = self[task]
        both = found.figures.get(found.main)
        if both is None or both.p is None:
            return f"{task}: nothing can be said, since A and B have no {found.main} in common."
        few = f" {counted(found.examples, 'example')} are few: interval and p are surer of it than they should be."
        few = few if found.examples < FEW else ""
        size = figure(found.main, abs(both.difference))
        if not both.difference:
            return f"{task}: A and B have the same {found.main}."
        if not both.sure:
            return (
                f"{task}: no sure difference: chance alone may make one of {size} in {found.main} "
                f"(p = {both.p:.3f}).{few}"
            )
        better = "B" if (both.difference < 0) == found.lower_is_better else "A"
        worse = "A" if better == "B" else "B"
        return f"{task}: {better} is better than {worse} by {size} in {found.main} (p = {both.p:.3f}).{few}"

    def to_pandas(self) -> pandas.DataFrame:
        """A row for each task and figure, those of single labels, too; figures as they are, shares from 0 to 1.

        Raises:
            PolyheadError: pandas is not installed.
        """
        return frame(
            [
                {"task": task, "figure": name, "first": both.first, "second": both.second}
                | {"difference": both.difference}
                | dict(zip(("low", "high"), both.interval or (None, None), strict=True))
                | {"p": both.p, "examples": one.examples}
                for task, one in self.items()
                for name, both in one.figures.items()
            ]
        )

    def _repr_html_(self) -> str:
        named = [f"{name}: {place}" for name, place in zip("AB", self.places, strict=True) if place]
        lines = "".join(f"<p>{escape(line)}</p>" for line in (*named, *map(self.verdict, self)))
        return lines + table(MEANING, HEAD, self.rows())
