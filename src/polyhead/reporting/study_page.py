"""The page of a study: first the answer, then pictures, then tables."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

from polyhead.drawing.figures import Picture
from polyhead.drawing.html import document, jumps, section, tiles
from polyhead.errors import PolyheadError
from polyhead.files import check_place, write_text
from polyhead.reporting.best_page import best_sections
from polyhead.reporting.study_tables import tables
from polyhead.scoring import figure, signed
from polyhead.studies import Answers, Best, Study, answers
from polyhead.studies.pictures import foretold, learning, minutes, saved, transfer
from polyhead.studies.words import (
    best_words,
    estimate_words,
    harm_words,
    headline,
    more_lines,
    needed_words,
    saved_words,
    size_name,
    time_line,
    way_name,
)

PAGE = "report.html"

PAUSE, IDLE = 20.0, 30.0
"""While a study runs its page is written anew after so many seconds at least, and so many times what writing took."""

HOW = (
    "Figures are means over seeds; each seed draws other training examples and trains with other random numbers, and "
    "all ways see the same draws.",
    "Intervals are for 95 in 100, over seeds and test examples together (a two-way layout with random seeds and "
    "examples, Satterthwaite's degrees of freedom); of two ways the difference is taken on the same examples and "
    "seeds. Figures that lie between 0 and 1 have intervals within that.",
    "Tests are corrected for their number (Holm 1979): of all studies without any difference, at most one in twenty "
    "calls one.",
    "Numbers of examples are read off the curves, which are lines over the logarithm of the size, made never to fall.",
    "Minutes of training are those of the last run of a way, on the machine that it ran on; what it begins from, such "
    "as a source learnt first, is counted in the table of minutes in all. Minutes until a score are geometric means; "
    "how far seeds differ is taken from all ways together.",
)
"""How the figures came about."""


def study_report(
    study: Study, output: str | Path | None = None, best: Best | None = None, unseen: str | None = None
) -> Path:
    """Write the page of a study, finished or not; it loads nothing from elsewhere.

    Args:
        study: With at least one finished run.
        output: The file to write; by default ``report.html`` in the study's folder.
        best: A closer look at its best run.
        unseen: Why there is none, if there should be one.

    Raises:
        PolyheadError: No run is finished, or matplotlib is not installed.
    """
    found = answers(study)
    if found is None:
        raise PolyheadError("No run of the study is finished yet.", remedy="Give the same command again.")
    path = Path(output) if output is not None else study.folder / PAGE
    check_place(path)
    write_text(path, study_page(study, found, best, unseen))
    return path


class LivePage:
    """Keeps a study's page up to date while it runs, without taking much of the time that the runs need.

    Args:
        tell: Called with each note.

    Attributes:
        study: As it was last seen.
        best: A closer look at its best run, once there is one.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        self.tell = tell
        self.study: Study | None = None
        self.best: Best | None = None
        self.next = 0.0
        self.told = False

    def __call__(self, study: Study) -> None:
        """Write the page, unless it was written shortly before."""
        self.study = study
        if study.results and time.monotonic() >= self.next:
            self.finish()

    def finish(self) -> Path | None:
        """Write the page as the study is now.

        Returns:
            Its path; ``None`` if no run is finished, or it cannot be written, which is told once.
        """
        if self.study is None or not self.study.results:
            return None
        began = time.monotonic()
        try:
            path = study_report(self.study, best=self.best)
        except PolyheadError as error:
            if not self.told:
                self.tell(f"no page is written: {error}")
            self.told, self.next = True, math.inf
            return None
        if not self.told:
            self.tell(f"what there is so far is in {path}")
            self.told = True
        now = time.monotonic()
        self.next = now + max(PAUSE, IDLE * (now - began))
        return path


def study_page(study: Study, found: Answers, best: Best | None = None, unseen: str | None = None) -> str:
    """The page as HTML. Whatever comes from data or recipe is escaped."""
    title = f"What did transfer buy for {found.target}?"
    parts = [
        ("sizes", "More labels, better ways", _learning(found)),
        ("saved", "Labels saved", _saved(found)),
        ("minutes", "Minutes", _minutes(found)),
        ("sources", "Which tasks help", _sources(found)),
        ("forecast", "What more labels would bring", _forecast(found)),
        ("best", "The best run", best_sections(best) if best is not None else _unseen(unseen)),
        ("tables", "In figures", tables(study, found)),
        ("how", "How this was measured", ["<ul>", *(f"<li>{escape(one)}</li>" for one in HOW), "</ul>"]),
    ]
    made = [(name, heading, body) for name, heading, part in parts if (body := list(part))]
    lines = [headline(found), *more_lines(found)]
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(lines[0])}</p>',
        *(f"<p>{escape(line)}</p>" for line in lines[1:]),
        *_unfinished(study),
        tiles(list(_cards(found))),
        f'<p class="note">{escape(_facts(study, found))}</p>',
        jumps([(name, heading) for name, heading, _ in made]),
        *(section(name, heading, inner) for name, heading, inner in made),
    ]
    return document(title, body)


def _unseen(why: str | None) -> Iterator[str]:
    if why is not None:
        yield f'<p class="note">It could not be looked at closely: {escape(why)}</p>'


def _unfinished(study: Study) -> Iterator[str]:
    """How far the study is, while it is not finished."""
    failed, points = len(study.failures), len(study.points)
    left = points - len(study.results) - failed
    if left:
        yield (
            f'<p class="warning">Unfinished: {points - left:,} of {points:,} runs. The figures are what there is so '
            "far. Give the same command again to go on, and load this page anew to see more.</p>"
        )
    if failed:
        many = "1 run ended in an error" if failed == 1 else f"{failed:,} runs ended in an error"
        yield f'<p class="warning">{many}: see <a href="#tables">what could not be had</a>.</p>'


def _facts(study: Study, found: Answers) -> str:
    """What there is to see, in a line."""
    seeds = sorted({result.seed for result in study.results})
    sizes = ", ".join(f"{size:,}" for size in found.sizes)
    return (
        f"{len(study.results):,} runs: {len(found.ways)} way{'s'[: len(found.ways) != 1]}, "
        f"{sizes} training examples, {len(seeds)} seed{'s'[: len(seeds) != 1]}; {found.metric} on {found.scored}."
    )


def _cards(found: Answers) -> Iterator[tuple[str, str, str]]:
    """The figures to remember."""
    first, last = found.sizes[0], found.sizes[-1]
    for size in dict.fromkeys((first, last)):
        best = found.best(size)
        value, _, ends = estimate_words(found, found.means[best, size]).partition(" (")
        which = "Lowest" if found.lower_is_better else "Highest"
        yield f"{which} with {size_name(size)}", value, f"{found.metric}, {way_name(best)} ({ends}"
    best, base = found.best(first), found.base(first)
    for one in found.saved:
        if (one.way, one.size, one.other) == (best, first, base):
            many = one.needed.value
            times = f"over {last / first:.0f} times" if many is None else f"{many / first:.1f} times"
            value = "none" if one.needed.below else times
            about = f"{way_name(base)} needs {needed_words(one.needed)} for what {way_name(best)} has with {first:,}"
            yield "Labels saved", value, about
    best = found.best(last)
    more = found.forecasts.get(best)
    if more is not None:
        gain = signed(found.metric, more.values[0] - found.means[best, last].value)
        ends = f"{figure(found.metric, more.low[0])} to {figure(found.metric, more.high[0])}"
        yield "Twice as many labels", gain, f"{way_name(best)}, to {figure(found.metric, more.values[0])} ({ends})"
    if found.verdicts:
        called = sum(test.called for test in found.verdicts)
        about = "pairs of ways at a size that the data can tell apart"
        yield "Sure differences", f"{called:,} of {len(found.verdicts):,}", about


def _minutes(found: Answers) -> Iterator[str]:
    made = minutes(found)
    if made is None:
        return
    yield from (f"<p>{escape(line)}</p>" for line in time_line(found))
    yield made.html()


def _shown(found: Answers, draw: Callable[[Answers], Picture | None]) -> Iterator[str]:
    made = draw(found)
    if made is not None:
        yield made.html()


def _learning(found: Answers) -> Iterator[str]:
    yield from _shown(found, learning)
    yield "<ul>"
    yield from (f"<li>{escape(best_words(found, size))}</li>" for size in found.sizes)
    yield "</ul>"


def _saved(found: Answers) -> Iterator[str]:
    made = saved(found)
    if made is None:
        return
    first = min((one for one in found.saved if one.way == found.best(one.size)), key=lambda one: one.size)
    yield f"<p>{escape(f'{way_name(first.way)} with {size_name(first.size)}: {saved_words(first)}')}</p>"
    yield made.html()


def _sources(found: Answers) -> Iterator[str]:
    made = transfer(found)
    if made is None:
        return
    harms = list(harm_words(found))
    if harms:
        yield '<div class="warning"><p><strong>Negative transfer:</strong> it surely harms here.</p><ul>'
        yield from (f"<li>{escape(harm)}</li>" for harm in harms)
        yield "</ul></div>"
    yield made.html()


def _forecast(found: Answers) -> Iterator[str]:
    made = foretold(found)
    if made is None:
        return
    tested = [
        f"{way_name(way)} {figure(found.metric, one.tested)}, seen {figure(found.metric, one.seen)}"
        for way, one in found.forecasts.items()
        if one.tested is not None
    ]
    if tested:
        last = f"{found.sizes[-1]:,}"
        said = f"How far to trust it: from the smaller sizes it foretells for {last}: {'; '.join(tested)}."
        yield f"<p>{escape(said)}</p>"
    yield made.html()
