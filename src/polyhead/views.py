"""What the command line shows: progress, scores, notes. All of it goes through rich; figures also go to JSON files."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from polyhead.data.text import counted
from polyhead.errors import from_here
from polyhead.files import write_json
from polyhead.intervals import Intervals
from polyhead.scoring import Scores, figure, signature_lines, stage_rows
from polyhead.training.conflicts import AGGREGATORS
from polyhead.training.differences import HEAD, MEANING, RIGHT, Comparisons
from polyhead.training.records import EpochEnded, Record, StageEnded, StageStarted, Stepped
from polyhead.training.run import Run


def show(what: RenderableType) -> None:
    """Print to standard output."""
    plain = isinstance(what, str)  # a text may hold square brackets, which rich would take for markup
    console = Console(soft_wrap=not sys.stdout.isatty())
    if isinstance(what, Table) and not console.is_terminal:
        console.width = max(console.width, _width(console, what))  # in a file no figure need be cut off
    console.print(what, markup=not plain, highlight=not plain)


def _width(console: Console, table: Table) -> int:
    """The columns of a terminal that a table wants."""
    return console.measure(table, options=console.options.update(width=10_000)).maximum


def write_figures(path: Path | None, figures: Any) -> None:
    """Write figures as JSON, if a path is given."""
    if path is not None:
        write_json(path, figures)


def scores_table(scores: Scores, title: str, intervals: Mapping[str, Intervals]) -> Table:
    """A row for each task and figure; figures by label (``f1/person``) are left to the JSON file."""
    table = Table(title=title, title_justify="left", show_edge=False)
    table.add_column("task")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("95 % interval")
    for task, figures in scores.items():
        sure = intervals[task].figures if task in intervals else {}
        first = task
        for name, value in figures.items():
            if "/" not in name:
                ends = " to ".join(figure(name, end) for end in sure.get(name, ()))
                table.add_row(first, name, figure(name, value), ends)
                first = ""
    return table


def show_signatures(signatures: Mapping[str, Mapping[str, str]]) -> None:
    """How figures are computed exactly, below their table."""
    for line in signature_lines(signatures):
        show(line)


def show_comparison(found: Comparisons, title: str) -> None:
    """Two models side by side: a table, what it says of each task's main figure, and of what it says nothing."""
    for name, place in zip("AB", found.places, strict=True):
        show(f"{name}: {place}")
    table = Table(title=escape(title), title_justify="left", show_edge=False)
    for column in HEAD:
        table.add_column(column, justify="right" if column in RIGHT else "left")
    for row in found.rows():
        table.add_row(*map(escape, row))
    show(table)
    show_signatures({task: one.signatures for task, one in found.items()})
    for task in found:
        show(found.verdict(task))
    show(MEANING)


def stages_table(stages: list[dict[str, Any]], main: Mapping[str, str]) -> Table:
    """What each stage gained and forgot: a row for each task, a column for each stage.

    Args:
        stages: What a run's ``stages.json`` holds.
        main: The name of each task's main figure.
    """
    table = _stages_table("task")
    for stage in stages:
        table.add_column(stage["stage"], justify="right")
    for row in stage_rows(stages, main, "-"):
        table.add_row(*row)
    return table


def long_stages_table(stages: list[dict[str, Any]], main: Mapping[str, str]) -> Table:
    """The same with a row for each task and stage, where a terminal is too narrow for a column for each stage."""
    table = _stages_table("task", "stage")
    table.add_column("dev", justify="right")
    for first, *values in stage_rows(stages, main, "-"):
        for stage, value in zip(stages, values, strict=True):
            table.add_row(first, stage["stage"], value)
            first = ""
    return table


def _stages_table(*columns: str) -> Table:
    title = "dev after each stage, and what it gained or lost"
    return Table(*columns, title=title, title_justify="left", show_edge=False)


def show_stages(stages: list[dict[str, Any]], main: Mapping[str, str]) -> None:
    """What each stage gained and forgot, in whichever table the terminal has room for."""
    table, console = stages_table(stages, main), Console()
    narrow = console.is_terminal and _width(console, table) > console.width
    show(long_stages_table(stages, main) if narrow else table)


class Watcher:
    """Shows a run as it goes: a bar with loss, words per second and time left, and a line for each epoch.

    Args:
        silent: Whether to show nothing after all, in a process that is not the first.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self.console = Console(stderr=True, quiet=silent)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("step {task.completed}/{task.total}  loss {task.fields[loss]}  {task.fields[speed]} words/s"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.bar: TaskID | None = None
        self.loss: float | None = None
        self.speed: float | None = None
        self.started = time.monotonic()

    def tell(self, text: str) -> None:
        """A note on the data."""
        self.console.print(f"note: {from_here(text)}", markup=False, highlight=False, soft_wrap=True)

    def __call__(self, record: Record) -> None:
        """Show a record."""
        if isinstance(record, StageStarted):
            self._stage(record)
        elif isinstance(record, Stepped):
            self._step(record)
        elif isinstance(record, EpochEnded):
            self._epoch(record)
        else:
            self._end(record)

    def finish(self, run: Run) -> None:
        """The scores of the finished run, and what can be done with it."""
        for split, scores in run.scores.items():
            show(scores_table(scores, f"scores on {split}", run.intervals.get(split, {})))
        show_signatures(run.signatures)
        if len(run.stages) > 1 and run.stages[-1]["scores"]:
            show_stages(run.stages, run.main_figures)
        took = time.monotonic() - self.started
        note = f"Finished in {took:.0f} s. The model is in {run.folder}: try polyhead predict {run.folder}"
        self.console.print(note, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Watcher:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def _stage(self, record: StageStarted) -> None:
        tasks = ", ".join(record.tasks)
        left = f"; {record.left_out} more teach them nothing" if record.left_out else ""
        epochs = counted(record.epochs, "epoch")
        learning, whole = record.learning["encoder"], record.learning["of"]
        part = "" if learning == whole else f"; {learning:,} weights of the encoder learn, of {whole:,}"
        self._say(f"stage {record.stage}: {tasks}; {record.examples} examples{left}; {epochs}{part}")
        if self.bar is not None:
            self.progress.remove_task(self.bar)
        self.bar = self.progress.add_task(record.stage, total=record.steps, completed=record.done, loss="-", speed="-")

    def _step(self, record: Stepped) -> None:
        loss, speed = sum(record.losses.values()), record.words / record.seconds
        self.loss = loss if self.loss is None else 0.95 * self.loss + 0.05 * loss
        self.speed = speed if self.speed is None else 0.95 * self.speed + 0.05 * speed
        if self.bar is not None:
            self.progress.update(self.bar, completed=record.step, loss=f"{self.loss:.3f}", speed=f"{self.speed:,.0f}")

    def _epoch(self, record: EpochEnded) -> None:
        scores = []
        for task, figures in record.scores.items():
            name = record.main[task]
            scores.append(f"{task} {name} {figure(name, figures[name])}")
        losses = "  ".join(f"{name} {value:.3f}" for name, value in record.losses.items())
        result = "  ".join(scores) if scores else f"loss {losses}"
        mark = " *" if record.best else ""
        self._say(f"epoch {record.epoch}: {result}  ({record.words_per_second:,.0f} words/s){mark}")

    def _end(self, record: StageEnded) -> None:
        for pair in record.against:
            first, second = pair.split()
            cosine = record.cosines[pair]
            joined = f" before {record.combine} joins them" if record.combine in AGGREGATORS else ""
            other = "" if joined else 'combine = "upgrad" or "pcgrad", '
            self.tell(
                f"{first} and {second} pull the encoder apart: the cosine of their gradients is {cosine.mean:.2f}"
                f"{joined} (standard error {cosine.error:.2f}, {cosine.measured} steps). "
                f"If one loses by the other, try {other}other weights, or a stage for each"
            )
        early = " (no better mean for a while)" if record.stopped_early else ""
        epochs = counted(record.epochs, "epoch")
        self._say(f"stage {record.stage} ended after {epochs}{early}; kept epoch {record.kept}")

    def _say(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
