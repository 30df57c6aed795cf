"""Reads parallel files: line n of one file and line n of the others are the same text, in other words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from polyhead.data.braces import checked_parts, part_names
from polyhead.data.example import KIND_NAMES, WORDS, Example, Text
from polyhead.data.spec import PAIR, TEXT, UNUSED, DataSpec
from polyhead.data.text import ONE_SIDED, Notes, Source, counted, lines, missing_file, name_of, read_text
from polyhead.errors import PolyheadError, nearest

TARGET = "target"
"""What the second of two parts is called where nobody names it."""

_BLANK = ("line that is empty in all parts left out of", "lines that are empty in all parts left out of")
_ROLES = 'layers = ["text", "target"]'


def read_parallel(source: Source, spec: DataSpec, kinds: Mapping[str, type], notes: Notes) -> Iterator[Example]:
    """Each line of files that one path with braces names: a text, and the other parts' lines as its layers.

    An example's ``file`` is the path with its braces. Lines that are empty on a side teach nothing: they are left out,
    and a note names them. Where texts want answers, only the part that holds the text is read.

    Raises:
        PolyheadError: A part is missing, the parts have not as many lines each, or a layer is none of the parts.
    """
    file = name_of(source)
    if not isinstance(source, str | Path) or str(source) == "-":
        remedy = "Name the files in one path, as train.{en,fr}."
        raise PolyheadError("parallel files cannot be read from one stream", remedy=remedy, file=file)
    paths = checked_parts(source)
    names = _names(spec, source, file)
    if spec.wants_answers:
        yield from read_text(paths[names.index(TEXT)], spec, kinds, notes)
        return
    layers = _wanted(names, kinds, file)
    for path in paths:
        if not path.exists():
            raise PolyheadError(
                f"no such file, which {file} names as a part", remedy=missing_file(path).remedy, file=path
            )
    for number, row in _rows(paths):
        sides = dict(zip(names, row, strict=True))
        found = {layer: Text(sides[layer]) for layer in layers if not _is_blank(sides[layer])}
        if _is_blank(sides[TEXT]) or (layers and not found):
            notes.add(file, *(_BLANK if all(map(_is_blank, row)) else ONE_SIDED), line=number)
            continue
        for layer in layers:
            if layer not in found:
                here = f"of {layer!r} left out of"
                notes.add(file, f"empty line {here}", f"empty lines {here}", line=number)
        yield Example(text=sides[TEXT], layers=dict(found), file=file, line=number)


def _is_blank(line: str) -> bool:
    return not line or line.isspace()


def _names(spec: DataSpec, source: str | Path, file: str) -> list[str]:
    """What each part is: the text, a layer, or not used."""
    parts = part_names(source)
    if spec.layers and not isinstance(spec.layers, list):
        what, remedy = "`layers` is a table, and parts have no names", f"List them in their order, as {_ROLES}."
        raise PolyheadError(what, remedy=remedy, file=file)
    if spec.pair is not None or spec.text != TEXT:
        key = "text" if spec.pair is None else "pair"
        what = f"`{key}` names a column, and parallel files have none"
        raise PolyheadError(what, remedy=f"Take it out; `layers` says what the parts are, as {_ROLES}.", file=file)
    if not spec.layers and len(parts) > 2 and not spec.wants_answers:
        names = [TEXT, *parts[1:]]
        shown = ", ".join(f'"{name}"' for name in names)
        what = f"nothing says what the {len(parts)} parts are"
        remedy = f"List them in their order, as layers = [{shown}]; _ stands for a part that is not used."
        raise PolyheadError(what, remedy=remedy, file=file)
    names = list(spec.layers) or [TEXT, *([TARGET] if len(parts) == 2 else [UNUSED] * (len(parts) - 1))]
    if len(names) != len(parts):
        what = f"`layers` lists {counted(len(names), 'name')} for {len(parts)} parts, {', '.join(parts)}"
        raise PolyheadError(what, remedy="Name each part, in their order; _ is one that is not used.", file=file)
    wrong = [name for name in names if name in (WORDS, PAIR)]
    if wrong or TEXT not in names:
        what = (
            f"`layers` has {wrong[0]!r}, which no part can be"
            if wrong
            else "`layers` does not say which part is the text"
        )
        raise PolyheadError(
            what, remedy=f"Name the part that is read text, and the others freely, as {_ROLES}.", file=file
        )
    return names


def _wanted(names: Sequence[str], kinds: Mapping[str, type], file: str) -> list[str]:
    """The layers to read: those that tasks learn, or all where there is no task."""
    layers = [name for name in names if name not in (TEXT, UNUSED)]
    for layer, kind in kinds.items():
        if layer not in layers:
            remedy = f"{nearest(layer, layers)} `layers` of the dataset names the parts in their order."
            raise PolyheadError(f"no part is called {layer!r}", remedy=remedy, file=file)
        if kind is not Text:
            what = f"layer {layer!r} is a text, and a task wants {KIND_NAMES.get(kind, kind.__name__)}"
            raise PolyheadError(what, remedy="Give the task another layer, or another type.", file=file)
    return [layer for layer in layers if not kinds or layer in kinds]


def _rows(paths: Sequence[Path]) -> Iterator[tuple[int, list[str]]]:
    """The lines of the parts that have one number, with that number.

    Raises:
        PolyheadError: A part ends before the others.
    """
    sides = [lines(path) for path in paths]
    for number, found in enumerate(zip_longest(*sides), start=1):
        if None in found:
            left = (0 if one is None else 1 + sum(1 for _ in side) for one, side in zip(found, sides, strict=True))
            raise _uneven(paths, [number - 1 + more for more in left])
        yield number, [line for _, line in found]


def _uneven(paths: Sequence[Path], counts: Sequence[int]) -> PolyheadError:
    longest = counts.index(max(counts))
    having = ", ".join(f"{path} has {counted(count, 'line')}" for path, count in zip(paths, counts, strict=True))
    return PolyheadError(
        f"from here on lines have no partner: {having}",
        remedy="Line n of each part belongs to line n of the others: find where they come apart (a line break inside a "
        "text, a line that was left out), or make the files anew.",
        file=paths[longest],
        line=min(counts) + 1,
    )
