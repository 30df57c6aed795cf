"""Which files of a folder are read, and what their answers are called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from polyhead.annotate import input_format
from polyhead.data.readers import SUFFIXES
from polyhead.data.spec import PARALLEL
from polyhead.data.text import counted
from polyhead.errors import PolyheadError, refused
from polyhead.files import UNFINISHED, is_utf8
from polyhead.output import OUTPUTS, PARTIAL


@dataclass(frozen=True)
class Input:
    """A file of the folder.

    Attributes:
        name: Its path from the folder, with / between.
        path: Its path from anywhere.
        kind: Its format.
        size: Its bytes.
        modified: When it was last changed, in nanoseconds.
    """

    name: str
    path: Path
    kind: str
    size: int
    modified: int


def inputs_of(folder: Path, from_format: str | None) -> tuple[list[Input], list[str]]:
    """The files of a folder and its folders that are read, in order, and notes of others.

    Files and folders whose names begin with a dot or an underscore are no data, by custom.

    Raises:
        PolyheadError: The folder is none or cannot be read, or no file in it is of a format that is read.
    """
    if from_format == PARALLEL:
        what = "--from parallel is of single files: which of a folder's files belong together is not known."
        raise PolyheadError(what, remedy="Give the pairs one by one, as texts.{en,fr}, or the texts alone as text.")
    found: list[Input] = []
    left_out: list[str] = []
    unnamed: list[str] = []
    links: list[str] = []
    for path in _files(folder, links):
        kind = from_format and input_format(path, from_format)
        kind = kind or input_format(path, None)
        name = path.relative_to(folder).as_posix()
        if kind is None or kind == PARALLEL:
            left_out.append(name)
            continue
        if not is_utf8(Path(name)):  # the manifest could not name it
            unnamed.append(name)
            continue
        about = path.stat()
        found.append(Input(name, path, kind, about.st_size, about.st_mtime_ns))
    if not found:
        others = f" The suffix of {left_out[0]} is of none." if left_out else ""
        what = f"There is no file in this folder that can be read.{others}"
        remedy = "Take another folder, or say which format all of its files have: --from text."
        raise PolyheadError(what, remedy=remedy, file=folder)
    notes = []
    if left_out:
        what = f"{counted(len(left_out), 'file')} whose suffix is of no format left out, as {left_out[0]}"
        notes.append(f"{what} (--from reads all files as of one)")
    if unnamed:
        notes.append(f"{counted(len(unnamed), 'file')} whose name is not UTF-8 left out, as {_shown(unnamed[0])}")
    if links:
        what = f"{counted(len(links), 'link')} to folders or to nothing left out, as {_shown(links[0])}"
        notes.append(f"{what} (links to files are read)")
    return found, notes


def _shown(name: str) -> str:
    """A name as a terminal can show it."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _files(folder: Path, links: list[str]) -> Iterator[Path]:
    """Each file, in order; links that are not followed go into the list."""

    def refuse(error: OSError) -> None:
        raise refused(error, doing="Cannot read")

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        links += [
            Path(place, name).relative_to(folder).as_posix() for name in folders if Path(place, name).is_symlink()
        ]
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith((".", "_")) or name.endswith((UNFINISHED, PARTIAL)):
                continue
            if path.is_file():
                yield path
            elif path.is_symlink() and not path.exists():
                links.append(path.relative_to(folder).as_posix())


def output_names(inputs: list[Input], targets: Mapping[str, str]) -> dict[str, str]:
    """What the answers for each input are called: as the input, with the ending of their format instead of its own.

    Args:
        inputs: The files.
        targets: The format of the answers for each format of inputs.

    Raises:
        PolyheadError: Those of two inputs would be called the same.
    """
    owners: dict[str, Input] = {}
    for one in inputs:
        stem = one.name[:-3] if one.name.lower().endswith(".gz") else one.name
        suffix = Path(stem).suffix
        # What follows the dot of v1.2 or mono.fr is no ending, but part of the name.
        name = (stem.removesuffix(suffix) if suffix.lower() in SUFFIXES else stem) + OUTPUTS[targets[one.kind]]
        if name in owners:
            what = f"Its answers would be called {name}, and so would those of {owners[name].name}."
            raise PolyheadError(what, remedy="Rename one of them, or take one out.", file=one.path)
        owners[name] = one
    return {one.name: name for name, one in owners.items()}
