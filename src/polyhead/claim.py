"""A folder that work goes on in belongs to one process at a time."""

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
"""Held while work goes on in a folder, so that two calls do not do the same."""


@contextmanager
def claimed(folder: Path, what: str = "study") -> Iterator[None]:
    """Hold a folder for this process; the system lets go when the process ends, however it ends.

    Args:
        folder: The folder, made if it is not there.
        what: What lies in it, for the error.

    Raises:
        PolyheadError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as stream:
        if fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise PolyheadError(
                    f"Another process works on the {what} {str(folder)!r}.", remedy="Wait for it, or end it first."
                ) from error
            except OSError:  # some network file systems know no locks
                pass
        yield
