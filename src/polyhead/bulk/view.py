"""A folder of answers on the terminal: a bar as it grows, and a line when it is done."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from polyhead.bulk.following import Progress as Step
from polyhead.bulk.following import Summary
from polyhead.data.text import counted


class Bar:
    """Shows files and texts done, words per second and the time left."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.fields[files]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[texts]} texts  {task.fields[speed]} words/s"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("", total=None, files="", texts="-", speed="-")
        self.started = time.monotonic()

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def __call__(self, step: Step) -> None:
        """Show how far it is."""
        took = max(time.monotonic() - self.started, 1e-9)
        self.progress.update(
            self.task,
            total=step.size,
            completed=step.read,
            files=f"file {step.done:,}/{step.files:,}",
            texts=f"{step.texts:,}",
            speed=f"{step.words / took:,.0f}",
        )


def summary_line(found: Summary, output: str) -> str:
    """What was done, in a sentence."""
    done = found.done - found.before
    before = f" {counted(found.before, 'file')} had been answered before." if found.before else ""
    if not done and not found.texts:
        return f"Nothing was left to do.{before} The answers are in {output}"
    speed = found.words / max(found.seconds, 1e-9)
    counts = f"{counted(done, 'file')}, {counted(found.texts, 'text')}, {counted(found.words, 'word')}"
    return f"Answered {counts} in {found.seconds:.0f} s ({speed:,.0f} words/s).{before} The answers are in {output}"
