"""A study in a notebook: tables of pandas, and what it shows of itself."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from polyhead.drawing.frames import frame
from polyhead.drawing.html import table
from polyhead.errors import PolyheadError, nearest
from polyhead.studies.answers import Answers
from polyhead.studies.folder import Study
from polyhead.studies.matrix import Matrix
from polyhead.studies.words import estimate_words, headline, more_lines, way_name

if TYPE_CHECKING:
    import pandas

TABLES = ("figures", "tests", "saved")
"""What answers can be had as a table."""


def runs_table(study: Study) -> pandas.DataFrame:
    """A row for each finished run: way, size, seed, each figure, the seconds that it took."""
    rows = [
        {"way": one.way, "size": one.size, "seed": one.seed, **one.figures, "seconds": one.seconds, "run": one.key}
        for one in study.results
    ]
    return frame(rows)


def answers_table(found: Answers, what: str) -> pandas.DataFrame:
    """See :meth:`polyhead.studies.answers.Answers.to_pandas`."""
    if what not in TABLES:
        raise PolyheadError(f"There is no table {what!r} of a study.", remedy=nearest(what, TABLES))
    if what == "figures":
        return frame(
            [
                {
                    "way": way,
                    "size": size,
                    found.metric: one.value,
                    "low": one.low,
                    "high": one.high,
                    "seeds": one.seeds,
                }
                for (way, size), one in found.means.items()
            ]
        )
    if what == "saved":
        return frame(
            [
                {"way": one.way, "size": one.size, "other": one.other, "needs": one.needed.value}
                | {"low": one.needed.low, "high": one.needed.high, "at_most": one.needed.below}
                for one in found.saved
            ]
        )
    return frame(
        [
            {"first": one.first, "second": one.second, "size": one.size, "difference": one.estimate.value}
            | {"low": one.estimate.low, "high": one.estimate.high, "p": one.p, "better": one.winner or "cannot tell"}
            for one in found.verdicts
        ]
    )


def matrix_table(found: Matrix | None) -> pandas.DataFrame:
    """See :meth:`polyhead.studies.several.Studies.to_pandas`."""
    return frame(
        [
            {"target": one.target, "way": one.way, "size": one.size, "metric": one.metric}
            | {"gain": one.test.estimate.value, "low": one.test.estimate.low, "high": one.test.estimate.high}
            | {"p": one.test.p, "verdict": {1: "helps", -1: "harms", 0: "cannot tell"}[one.sign]}
            for one in (found.gains if found else ())
        ]
    )


def html(found: Answers) -> str:
    """The answer, the learning curves, and each way and size."""
    rows = [
        [way_name(way)]
        + [estimate_words(found, found.means[way, size]) if (way, size) in found.means else "" for size in found.sizes]
        for way in found.ways
    ]
    lines = "".join(f"<p>{escape(line)}</p>" for line in (headline(found), *more_lines(found)))
    caption = f"{found.metric} on {found.scored}, with its 95 % interval"
    try:
        drawn = found.picture("learning").wide
    except PolyheadError as error:  # matplotlib is an extra, and a notebook shows what it can
        drawn = f"<p>{escape(str(error))}</p>"
    return lines + drawn + table(caption, ["way", *(f"{size:,}" for size in found.sizes)], rows)
