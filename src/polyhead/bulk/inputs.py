"""Which files of a folder are read, and what their answers are called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from polyhead.annotate import input_format
from polyhead.data.spec import PARALLEL
from polyhead.data.text import counted
from polyhead.errors import PolyheadError, refused
from polyhead.files import UNFINISHED
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
    for path in _files(folder):
        kind = from_format and input_format(path, from_format)
        kind = kind or input_format(path, None)
        name = path.relative_to(folder).as_posix()
        if kind is None or kind == PARALLEL:
            left_out.append(name)
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
    return found, notes


def _files(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise refused(error, doing="Cannot read")

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith((".", "_")) and not name.endswith((UNFINISHED, PARTIAL)) and path.is_file():
                yield path


def output_names(inputs: list[Input], targets: Mapping[str, str]) -> dict[str, str]:
    """What the answers for each input are called: as the input, with the ending of their format.

    Args:
        inputs: The files.
        targets: The format of the answers for each format of inputs.

    Raises:
        PolyheadError: Those of two inputs would be called the same.
    """
    owners: dict[str, Input] = {}
    for one in inputs:
        stem = one.name.removesuffix(".gz")
        suffix = Path(stem).suffix
        name = stem.removesuffix(suffix) + OUTPUTS[targets[one.kind]]
        if name in owners:
            what = f"Its answers would be called {name}, and so would those of {owners[name].name}."
            raise PolyheadError(what, remedy="Rename one of them, or take one out.", file=one.path)
        owners[name] = one
    return {one.name: name for name, one in owners.items()}
