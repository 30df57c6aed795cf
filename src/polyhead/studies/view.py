"""A study in the terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from polyhead.data.text import counted
from polyhead.studies.answers import Answers
from polyhead.studies.best import Best, Choice
from polyhead.studies.best_words import best_words, choice_words
from polyhead.studies.matrix import Matrix, matrix_lines
from polyhead.studies.words import (
    estimate_words,
    headline,
    needed_words,
    size_name,
    time_line,
    verdict_words,
    way_name,
)
from polyhead.views import show


def show_answers(found: Answers) -> None:
    """The answer, the ways by size, what they save, and where the data cannot tell two ways apart."""
    show(headline(found))
    show("")
    show(_scores(found))
    for other in dict.fromkeys(saved.other for saved in found.saved):
        show("")
        show(_saved(found, other))
    for line in time_line(found):
        show("")
        show(line)
    show("")
    for size in found.sizes:
        sentences = list(verdict_words(found, size))
        if sentences:
            show(f"With {size_name(size)} (p corrected for {counted(len(found.verdicts), 'test')}):")
        for sentence in sentences:
            show(f"  {sentence}")


def show_matrix(found: Matrix) -> None:
    """Which task helps which: in words, then as a table for the fewest and the most examples."""
    marks = {1: "helps", -1: "harms", 0: "?"}
    for line in matrix_lines(found):
        show(line)
    for place, which in found.places:
        title = f"gain beside fine-tuning alone with the {which} examples (? the data cannot tell)"
        table = Table(title=escape(title), title_justify="left", show_edge=False)
        for name in ("target", *map(way_name, found.ways)):
            table.add_column(escape(name))
        here = found.at(place)
        for target in found.targets:
            cells = [here.get((target, way)) for way in found.ways]
            said = ["" if one is None else f"{one.said} {marks[one.sign]}" for one in cells]
            table.add_row(escape(target), *said)
        show("")
        show(table)


def show_best(best: Best) -> None:
    """The best run: what it gets wrong, whether it knows, and which labels to look at."""
    show("")
    show("The best run:")
    for sentence in best_words(best):
        show(f"  {sentence}")


def show_choice(choice: Choice | None) -> None:
    """Which texts to label next, if any were chosen."""
    if choice is not None:
        show(f"  {choice_words(choice)}")


def _scores(found: Answers) -> Table:
    title = f"{found.target}: {found.metric} on {found.scored}, mean over seeds (95 % interval over seeds and examples)"
    table = _by_size(found, title)
    for way in found.ways:
        cells = [found.means.get((way, size)) for size in found.sizes]
        table.add_row(escape(way_name(way)), *("" if one is None else estimate_words(found, one) for one in cells))
    return table


def _saved(found: Answers, other: str) -> Table:
    table = _by_size(found, f"examples that {way_name(other)} needs for as much (95 % interval)")
    for way in dict.fromkeys(saved.way for saved in found.saved if saved.other == other):
        here = {saved.size: saved for saved in found.saved if saved.way == way and saved.other == other}
        cells = [needed_words(here[size].needed) if size in here else "" for size in found.sizes]
        table.add_row(escape(way_name(way)), *cells)
    return table


def _by_size(found: Answers, title: str) -> Table:
    table = Table(title=escape(title), title_justify="left", show_edge=False)
    table.add_column("way")
    for size in found.sizes:
        table.add_column(f"{size:,}", justify="right")
    return table
