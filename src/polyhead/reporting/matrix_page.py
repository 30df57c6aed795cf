"""The page of studies of several targets: which task helps which, and a link to the page of each."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote

from polyhead.drawing.html import document, section, table
from polyhead.drawing.rows import MARKS
from polyhead.errors import PolyheadError
from polyhead.files import check_place, write_text
from polyhead.reporting.study_page import PAGE
from polyhead.studies.matrix import Matrix, matrix_lines, matrix_picture
from polyhead.studies.several import Studies
from polyhead.studies.words import size_name, way_name

HOW = (
    "A gain is what a way has more than fine-tuning alone on as many of the target's examples, a mean over seeds; "
    "below it stands its 95 % interval, over seeds and test examples together.",
    "Tests are corrected for all comparisons of the target's own study (Holm 1979).",
    "A source is learnt from all of its data, whatever the number of the target's examples.",
)


def matrix_report(studies: Studies, output: str | Path | None = None) -> Path:
    """Write the page of studies of several targets; it loads nothing from elsewhere.

    Args:
        studies: Of which at least one can be compared with fine-tuning alone.
        output: The file to write; by default ``report.html`` in their folder.

    Raises:
        PolyheadError: There is nothing to compare yet, or matplotlib is not installed.
    """
    found = studies.matrix()
    if found is None:
        raise PolyheadError(
            "Nothing can be compared yet: it takes runs of fine-tuning and of a way that learns from other tasks.",
            remedy="Give the same command again, or add ways: fine-tuned,from:TASK",
        )
    path = Path(output) if output is not None else studies.folder / PAGE
    check_place(path)
    write_text(path, matrix_page(studies, found))
    return path


def matrix_page(studies: Studies, found: Matrix) -> str:
    """The page as HTML. Whatever comes from data or recipe is escaped."""
    title = "Which task helps which?"
    lines = list(matrix_lines(found))
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(lines[0])}</p>',
        *(f"<p>{escape(line)}</p>" for line in lines[1:]),
        *(
            section(f"gains-{which}", f"With the {which} examples", [matrix_picture(found, place).html()])
            for place, which in found.places
        ),
        section("tables", "In figures", _tables(found)),
        section("studies", "Each target by itself", _links(studies)),
        section("how", "How this was measured", ["<ul>", *(f"<li>{escape(one)}</li>" for one in HOW), "</ul>"]),
    ]
    return document(title, body)


def _tables(found: Matrix) -> Iterator[str]:
    for target in found.targets:
        here = [one for one in found.gains if one.target == target]
        sizes = sorted({one.size for one in here})
        cells = {(one.way, one.size): one for one in here}
        rows = [
            [
                way_name(way),
                *(
                    f"{one.said} {MARKS[one.sign]}\n{one.ends}" if (one := cells.get((way, size))) else ""
                    for size in sizes
                ),
            ]
            for way in found.ways
            if any(one.way == way for one in here)
        ]
        caption = f"{target}: what it gains in {here[0].metric}; ▲ helps, ▼ harms, ? the data cannot tell"
        yield table(caption, ["learnt before or beside", *map(size_name, sizes)], rows)


def _links(studies: Studies) -> Iterator[str]:
    yield "<ul>"
    for known in studies.studies:
        page = known.folder / PAGE
        name = escape(known.question.target)
        if page.exists():
            name = f'<a href="{quote(known.folder.name)}/{PAGE}">{name}</a>'
        left = len(known.points) - len(known.results) - len(known.failures)
        yield f"<li>{name}{f': {left:,} runs left' if left else ''}</li>"
    yield "</ul>"
