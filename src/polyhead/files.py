"""Writing files whole: to a new name, then renamed, so that a kill or a full disk leaves the old file as it was."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polyhead.errors import PolyheadError

UNFINISHED = ".unfinished"
"""The ending of a file or folder that is still being written."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write a file or folder to; it gets its name only when the block ends without an error.

    Raises:
        PolyheadError: The file system refuses, such as a full disk.
    """
    if not path.name:
        raise PolyheadError(f"{str(path)!r} is no name for a file.", remedy="Give a file, not a folder.")
    draft = path.with_name(f"{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        _sync(draft)
        if draft.is_dir() and path.exists():
            shutil.rmtree(path)
        draft.replace(path)
    except BaseException as error:
        _remove(draft)
        if not _refused(error):
            raise
        said = getattr(error, "strerror", None) or error
        raise PolyheadError(
            f"Cannot write: {said}.", file=path, remedy="See that there is room and permission."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, in UTF-8."""
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """A JSON object that ``write_json`` wrote, with at least these keys.

    Raises:
        FileNotFoundError: There is no such file.
        PolyheadError: It is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        lost = [key for key in keys if key not in found]
        if not isinstance(found, dict) or lost:
            raise ValueError(f"it has no {lost[0]!r}" if lost else "it is no object")
    except (ValueError, TypeError) as error:
        remedy = "Put the file back from a copy, or train anew."
        raise PolyheadError(f"This file of the run is damaged: {error}.", file=path, remedy=remedy) from error
    return found


def remove_unfinished(folder: Path) -> None:
    """Clear away what a killed process left half-written in ``folder``."""
    for path in folder.glob(f"*{UNFINISHED}"):
        _remove(path)


def _sync(draft: Path) -> None:
    """Ask the system to put the content on the disk before the name points to it."""
    for path in [draft] if draft.is_file() else [p for p in draft.rglob("*") if p.is_file()]:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def _refused(error: BaseException) -> bool:
    """Whether an error is the file system's. Libraries written in Rust say so in errors of their own."""
    return isinstance(error, OSError) or re.search(r"\(os error \d+\)", str(error)) is not None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
