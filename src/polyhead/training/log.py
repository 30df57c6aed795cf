"""The log of a run: what the training loop says, in JSON lines."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from polyhead.errors import PolyheadError
from polyhead.training.checkpoint import Progress
from polyhead.training.records import Record, StageStarted, Stepped

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOG_EVERY = 20
"""Steps between two lines of the log."""


class Log:
    """The log in JSON lines. What a killed run wrote after its last checkpoint is cut off, to be written again."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self.progress = progress
        path.parent.mkdir(parents=True, exist_ok=True)
        self.stream = path.open("a", encoding="utf-8", newline="\n")
        self._claim(path.parent)
        os.truncate(path, min(progress.log, path.stat().st_size))

    def _claim(self, run: Path) -> None:
        """Hold the run for this process; the system lets go when the process ends, however it ends."""
        if fcntl is None:
            return
        try:
            fcntl.flock(self.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.stream.close()
            raise PolyheadError(
                f"Another process is training the run {str(run)!r}.", remedy="Wait for it, or end it first."
            ) from error
        except OSError:  # some network file systems know no locks
            return

    def write(self, record: Record) -> None:
        """One line; of steps only every twentieth and the last, and of a stage gone on with none: it has begun."""
        if isinstance(record, Stepped) and record.step % LOG_EVERY and record.step != record.steps:
            return
        if isinstance(record, StageStarted) and record.done:
            return
        line = {"record": type(record).__name__, "time": round(time.time(), 3), **asdict(record)}
        with self._refusals():
            self.stream.write(json.dumps(_without_nan(line), allow_nan=False) + "\n")
            self.stream.flush()  # for whoever follows it

    def flush(self) -> None:
        """Hand the log to the system and note its length."""
        with self._refusals():
            self.stream.flush()
            self.progress.log = self.stream.tell()

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError) if error else self._refusals():  # the first error says more than one from closing
            self.stream.close()

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PolyheadError(f"Cannot write the log: {error.strerror}.", file=self.stream.name) from error


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
