"""Reads one file of any format into examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from polyhead.data.braces import checked_parts, is_braced
from polyhead.data.columns import read_columns
from polyhead.data.conllu import read_conllu
from polyhead.data.example import Example, Spans
from polyhead.data.parallel import read_parallel
from polyhead.data.spec import PARALLEL, DataSpec
from polyhead.data.tables import read_csv, read_jsonl, read_parquet, read_tsv
from polyhead.data.tags import Tagging, recognise, tagged, with_spans
from polyhead.data.text import Notes, Source, name_of, read_text
from polyhead.errors import PolyheadError, nearest

Reader: TypeAlias = Callable[[Source, DataSpec, Mapping[str, type], Notes], Iterator[Example]]
"""Reads a source: what it holds, what the tasks want of its layers, and where to count what is left out."""

FORMATS: Mapping[str, Reader] = {
    "conllu": read_conllu,
    "columns": read_columns,
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "parallel": read_parallel,
    "text": read_text,
}

SUFFIXES: Mapping[str, str] = {
    ".conllu": "conllu",
    ".conll": "columns",
    ".iob": "columns",
    ".iob2": "columns",
    ".bio": "columns",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
}

# Fields of a spec that mean something only in some formats.
_ONLY = {
    "layers": ("columns", "csv", "tsv", "jsonl", "parquet", "parallel"),
    "header": ("csv", "tsv"),
    "delimiter": ("columns", "csv", "tsv"),
    "misc": ("conllu",),
    "comments": ("conllu",),
}


def format_of(path: str | Path) -> str:
    """The format of a file by its suffix, ``.gz`` aside; ``parallel`` for a path with braces.

    Raises:
        PolyheadError: The suffix is of no format.
    """
    found = suffix_format(path)
    if found is None:
        suffix = _suffix(path)
        if "{" in suffix or "}" in suffix:
            checked_parts(path)  # says what is wrong with them
        known = nearest(suffix, SUFFIXES) if suffix else f"Known suffixes: {', '.join(SUFFIXES)}."
        raise PolyheadError(
            f"the suffix {suffix!r} does not say which format the file has",
            remedy=f"{known} Or say it: format = one of {', '.join(FORMATS)}.",
            file=path,
        )
    return found


def suffix_format(path: str | Path) -> str | None:
    """The format that a file's suffix names, ``.gz`` aside, or braces in its path; None if it is of none."""
    if is_braced(path):
        return PARALLEL
    return SUFFIXES.get(_suffix(path))


def _suffix(path: str | Path) -> str:
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read(
    path: Source, spec: DataSpec, kinds: Mapping[str, type] | None = None, notes: Notes | None = None
) -> Iterator[Example]:
    """Each example of one file, streamed.

    Where a task wants spans and the file has tags for words, the scheme of the tags is ``spec.scheme``, or else
    recognised over this file, which is then read as a whole before the first example comes.

    Args:
        path: The file; ``-`` or an open binary file is streamed, and needs ``spec.format``.
        spec: What the file holds; its own file names do not matter here.
        kinds: What the tasks want of a layer: ``str``, ``Text``, ``Labels``, ``float``, ``WordLabels``, ``Spans``,
            ``Tree``.
            A layer without a wish has the kind natural to the file.
        notes: Where to count what is left out or done by choice.

    Raises:
        PolyheadError: Names the file, the line, what is wrong and the remedy.
    """
    kinds = kinds or {}
    examples = read_raw(path, spec, kinds, notes)
    if Spans not in kinds.values():
        yield from examples
    elif spec.scheme is not None:
        wished = [layer for layer, kind in kinds.items() if kind is Spans]
        taggings = {layer: Tagging(spec.scheme, filled=layer not in spec.misc) for layer in wished}
        for example in examples:
            yield with_spans(example, taggings)
    else:
        whole = list(examples)
        taggings = {layer: recognise(whole, layer, None) for layer in tagged(whole, kinds)}
        for example in whole:
            yield with_spans(example, taggings)


def read_raw(path: Source, spec: DataSpec, kinds: Mapping[str, type], notes: Notes | None = None) -> Iterator[Example]:
    """As :func:`read`, but span tags stay labels for words: the caller recognises their scheme.

    Raises:
        PolyheadError: As :func:`read`.
    """
    if spec.format is not None:
        format_ = str(spec.format)
    elif not isinstance(path, str | Path) or str(path) == "-":
        raise PolyheadError(
            "nothing says which format the stream has", remedy='Say it, as format = "jsonl".', file=name_of(path)
        )
    else:
        format_ = format_of(path)
    for field, formats in _ONLY.items():
        if getattr(spec, field) not in (None, [], {}) and format_ not in formats:
            raise PolyheadError(
                f"`{field}` means nothing for {format_} files, only for {', '.join(formats)}",
                remedy=f"Take `{field}` out, or correct `format`.",
                file=name_of(path),
            )
    if format_ != PARALLEL and isinstance(path, str | Path) and is_braced(path) and not Path(path).exists():
        remedy = 'Leave `format` out, or say format = "parallel": then each part is a side of its texts.'
        raise PolyheadError(f"no such file; braces name no {format_} files", remedy=remedy, file=name_of(path))
    if format_ == "text" and kinds:
        raise PolyheadError(
            f"plain text holds no layer {min(kinds)!r}",
            remedy="Use CSV, TSV, JSONL, Parquet or parallel files.",
            file=name_of(path),
        )
    return FORMATS[format_](path, spec, kinds, Notes() if notes is None else notes)
