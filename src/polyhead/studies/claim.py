"""A study's folder belongs to one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polyhead.errors import PolyheadError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
"""Held while a study runs, so that two calls do not train the same."""


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a study's folder for this process; the system lets go when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as stream:
        if fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise PolyheadError(
                    f"Another process works on the study {str(folder)!r}.", remedy="Wait for it, or end it first."
                ) from error
            except OSError:  # some network file systems know no locks
                pass
        yield
