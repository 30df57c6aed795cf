"""Advice as tables and sentences for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from polyhead.advice.affinity import Together
from polyhead.advice.measures import Sure
from polyhead.advice.ranking import ALPHA, Advice, Ranked
from polyhead.data.text import counted
from polyhead.studies.words import listed

CAVEAT = (
    "Intervals are over the examples that were looked at. They do not hold what fine-tuning makes of an encoder, nor "
    "what another seed would: of close ones a study decides."
)


def advice_lines(found: Advice) -> Iterator[RenderableType]:
    """What was found, table by table, with what is sure of it and what is not."""
    on = f"{counted(found.units, found.unit)} of {found.examples:,} examples"
    if found.encoders:
        yield _table(found.encoders, f"encoders for {found.target}: LogME over {on}")
        yield from _sentences(found.encoders, "the better start")
        yield ""
    if found.sources:
        yield _table(found.sources, f"sources for {found.target}: what LogME gains, from {found.base}, over {on}")
        yield from _sentences(found.sources, "the better source")
        yield from _gains(found.sources, found.base)
        yield ""
    if found.together is not None:
        yield _affinities(found.together)
        yield from _groups(found.together)
        yield ""
    if found.encoders or found.sources:
        yield CAVEAT


def _table(ranked: Sequence[Ranked], title: str) -> Table:
    table = Table(title=escape(title), title_justify="left", show_edge=False)
    gains = ranked[0].gain is not None
    table.add_column("name")
    table.add_column("gain" if gains else "LogME", justify="right")
    table.add_column("95 % interval")
    if ranked[0].h_score is not None:
        table.add_column("H-score", justify="right")
    table.add_column("behind", justify="right")
    table.add_column("p", justify="right")
    for one in ranked:
        row = [escape(one.name), *_figure(one)]
        row += [] if one.h_score is None else [f"{one.h_score:.3f}"]
        row += ["", ""] if one.behind is None else [f"{one.behind.value:.4f}", f"{one.behind.p:.3f}"]
        table.add_row(*row)
    return table


def _figure(one: Ranked) -> tuple[str, str]:
    """What it is ranked by, and the interval: of a source what LogME has gained."""
    if one.gain is None:
        return f"{one.logme.value:.4f}", _ends(one.logme)
    return f"{one.gain.value:+.4f}", _ends(one.gain, "+")


def _sentences(ranked: Sequence[Ranked], what: str) -> Iterator[str]:
    """Which of them can be told from the first."""
    first = ranked[0].name
    told = [one.name for one in ranked[1:] if not one.tied]
    if told:
        yield f"{first} looks {what} than {listed(told)}."
    for one in ranked[1:]:
        if one.tied:
            yield f"These examples cannot tell {first} and {one.name} apart."


def _gains(ranked: Sequence[Ranked], base: str) -> Iterator[str]:
    """Which sources make the features better than they are."""
    for one in ranked:
        if one.gain is None:
            continue
        if one.gain.p >= ALPHA:
            yield f"It cannot be told whether {one.name} helps or harms: {base} is about as good without it."
        elif one.gain.value < 0:
            yield f"{one.name} makes features worse for this target: learnt before it, it may harm."
        else:
            yield f"{one.name} makes features better for this target."


def _affinities(found: Together) -> Table:
    title = "affinity: by what share a step for the task of a row lowers the loss of that of a column, in %"
    table = Table(title=title, title_justify="left", show_edge=False)
    names = sorted({one.source for one in found.affinities})
    table.add_column("a step for")
    for name in names:
        table.add_column(escape(name), justify="right")
    known = {(one.source, one.onto): one.share for one in found.affinities}
    for row in names:
        table.add_row(escape(row), *(_share(known.get((row, column))) for column in names))
    return table


def _share(share: Sure | None) -> str:
    """A share in percent; in brackets if it cannot be told from none."""
    if share is None:
        return "-"
    shown = f"{100 * share.value:+.2f}"
    return shown if share.p < ALPHA else f"({shown})"


def _groups(found: Together) -> Iterator[str]:
    yield "In brackets: cannot be told from no effect."
    groups = "; ".join(listed(group) if len(group) > 1 else f"{group[0]} alone" for group in found.groups)
    yield f"Train together: {groups}."
    alone, joint = found.over_alone, found.over_joint
    if len(found.groups) < sum(map(len, found.groups)) and alone.p >= ALPHA:
        yield f"The {found.measured} measurements cannot tell these groups and each task alone apart."
    if len(found.groups) > 1 and joint.p >= ALPHA:
        yield f"The {found.measured} measurements cannot tell these groups and all tasks together apart."
    if alone.p < ALPHA and (len(found.groups) == 1 or joint.p < ALPHA):
        yield f"The {found.measured} measurements of a run of {found.steps} steps are sure of it; a study decides."


def _ends(of: Sure, sign: str = "") -> str:
    return f"{of.low:{sign}.4f} to {of.high:{sign}.4f}"
