"""Texts that want labels, as a file in the format of a dataset: once annotated it is read as one more training file.

Labels and numbers of whole texts are left open, since what is filled in already would be waved through; where a file
has a header, what the model says stands in columns of their own. What is about words (tags, spans, trees, lemmas) and
texts are filled in with the model's answers, which are corrected faster than written.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyhead.data.bio import to_tags
from polyhead.data.braces import files_of, is_braced
from polyhead.data.example import WORDS, Example, Labels, Prediction, Spans, Text, WordLabels
from polyhead.data.readers import read_raw, suffix_format
from polyhead.data.records import roles
from polyhead.data.spec import PAIR, TEXT, DataSpec
from polyhead.data.tags import recognise
from polyhead.data.writers import to_dict, write_columns, write_conllu
from polyhead.files import write_text

SUGGESTED, SURE = "_suggested", "_confidence"
"""The ends of the names of columns and fields with what the model says, and how sure it is."""

_ENDINGS = {
    "conllu": ".conllu",
    "columns": ".conll",
    "csv": ".csv",
    "tsv": ".tsv",
    "jsonl": ".jsonl",
    "parquet": ".jsonl",
    "text": ".jsonl",
}
_ONE_LINE = str.maketrans("\t\r\n", "   ")


@dataclass(frozen=True, slots=True)
class Form:
    """Where texts that want labels go.

    Attributes:
        spec: How the dataset is read.
        train: Its first training file.
        layer: What is to be annotated.
        keys: The CoNLL-U key of a layer, where that is not its name.
    """

    spec: DataSpec
    train: Path
    layer: str
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        path: The file, as a recipe names it: of parallel files with braces.
        filled: Whether the model's answers are filled in.
        same: Whether the file has the format of the dataset.
    """

    path: Path
    filled: bool
    same: bool


def write_forms(stem: Path, form: Form, given: Sequence[tuple[Example, Prediction]]) -> Written:
    """Write texts that want labels.

    Args:
        stem: The file, without its ending.
        form: What the dataset is like.
        given: The texts, at least one, with what a model answers.
    """
    kind = form.spec.format or suffix_format(form.train) or "jsonl"
    about_words = isinstance(given[0][1].value, WordLabels | Spans) or bool(given[0][0].words)
    if kind == "parallel":
        return _parallel(stem, form, given)
    if kind in ("csv", "tsv") and about_words:
        kind = "jsonl"
    path = stem.with_name(stem.name + _ENDINGS[kind])
    if kind in ("conllu", "columns"):
        write_text(path, "".join(_sentence(kind, form, *one) for one in _with_scheme(form, given)))
        return Written(path, filled=True, same=True)
    if kind in ("csv", "tsv"):
        write_text(path, _table(kind, form, given))
        return Written(path, filled=_filled_cells(given), same=True)
    write_text(path, "".join(json.dumps(_record(form, *one), ensure_ascii=False) + "\n" for one in given))
    own = form.spec.format or suffix_format(form.train)
    return Written(path, filled=_closed(given) or about_words, same=own == "jsonl")


def _closed(given: Sequence[tuple[Example, Prediction]]) -> bool:
    """Whether answers are filled in: not where they are a label, labels or a number."""
    value = given[0][1].value
    return not isinstance(value, Labels | float) and (not isinstance(value, str) or isinstance(value, Text))


def _filled_cells(given: Sequence[tuple[Example, Prediction]]) -> bool:
    """The same in a table, where an empty cell of several labels would mean that there are none."""
    return _closed(given) or isinstance(given[0][1].value, Labels)


def _sentence(kind: str, form: Form, example: Example, answer: Prediction) -> str:
    bare = Example(example.words, example.text, offsets=example.offsets)
    if kind == "conllu":
        return write_conllu(bare, {form.layer: answer}, form.keys, separator=form.spec.separator)
    names = [name if name in (WORDS, form.layer) else "_" for name in form.spec.layers]
    return write_columns(bare, {form.layer: answer}, names, delimiter=form.spec.delimiter or "\t")


def _with_scheme(form: Form, given: Sequence[tuple[Example, Prediction]]) -> list[tuple[Example, Prediction]]:
    """Spans as tags of the dataset's own scheme, so that its files can be read together."""
    if not isinstance(given[0][1].value, Spans):
        return list(given)
    read = list(read_raw(form.train, form.spec, {form.layer: Spans}))
    scheme = recognise(read, form.layer, form.spec.scheme).scheme
    return [
        (example, Prediction(_tags(answer.value, len(example.words), scheme), ()))
        for example, answer in given
        if isinstance(answer.value, Spans)
    ]


def _tags(spans: Spans, n: int, scheme: str) -> WordLabels:
    """The tags of spans under IOB2, BIOES or IOB1."""
    tags = list(to_tags(spans, n))
    for start, end, label in spans:
        joined = f"-{label}" if label else ""
        if scheme == "BIOES":
            tags[end - 1] = ("S" if end - start == 1 else "E") + joined
        elif scheme == "IOB1" and not (start and tags[start - 1][1:] == joined):
            tags[start] = "I" + joined  # B is for a span that follows one of its own label at once
    return WordLabels(tags)


def _table(kind: str, form: Form, given: Sequence[tuple[Example, Prediction]]) -> str:
    """Rows with an open cell for the label; what the model says has columns where a header names them."""
    spec, closed = form.spec, _filled_cells(given)
    listed = isinstance(spec.layers, list) and bool(spec.layers)
    names = roles(spec) if listed else [TEXT, *([PAIR] if spec.column(PAIR) else []), form.layer]
    header = [_named(spec, name) for name in names] if not listed else list(spec.layers)
    rows: list[list[str]] = []
    if not listed or spec.header:
        rows.append([*header, *([] if listed or closed else [f"{header[-1]}{SUGGESTED}", f"{header[-1]}{SURE}"])])
    for example, answer in given:
        said = str(answer.value) if not isinstance(answer.value, Labels) else spec.separator.join(sorted(answer.value))
        cells = {TEXT: example.text or " ".join(example.words), PAIR: example.pair or ""}
        cells[form.layer] = said if closed else ""
        row = [cells.get(name, "") for name in names]
        sure = answer.confidence if isinstance(answer.confidence, float) else 0.0
        rows.append([*row, *([] if listed or closed else [said, f"{sure:.4f}"])])
    delimiter = spec.delimiter or ("," if kind == "csv" else "\t")
    if kind == "tsv":
        return "".join(delimiter.join(cell.translate(_ONE_LINE) for cell in row) + "\n" for row in rows)
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _named(spec: DataSpec, role: str) -> str:
    """What the column or field of a role is called."""
    return (spec.column(role) or role) if role in (TEXT, PAIR, WORDS) else spec.named.get(role, role)


def _record(form: Form, example: Example, answer: Prediction) -> dict[str, Any]:
    """A JSON object; an open label is null."""
    bare = Example(example.words, example.text, example.pair, offsets=example.offsets)
    made = to_dict(bare, {form.layer: answer}, confidence=False)
    listed = isinstance(form.spec.layers, list)
    name = form.layer if listed else _named(form.spec, form.layer)
    fields = {
        (_named(form.spec, role) if not listed else role): made[role] for role in (TEXT, PAIR, WORDS) if role in made
    }
    said = made.get(form.layer, made.get(f"{form.layer}_"))
    if _closed([(example, answer)]):
        return {**fields, name: said}
    return {**fields, name: None, f"{name}{SUGGESTED}": said, f"{name}{SURE}": answer.confidence}


def _parallel(stem: Path, form: Form, given: Sequence[tuple[Example, Prediction]]) -> Written:
    """A file for each part, named by the same braces; the model's text stands in that of the layer."""
    name = form.train.name
    braces = name[name.index("{") : name.index("}") + 1] if is_braced(form.train) and "{" in name else "{text,target}"
    path = stem.with_name(f"{stem.name}.{braces}")
    files = files_of(path)
    names = list(form.spec.layers) or [TEXT, form.layer]
    for place, file in enumerate(files):
        role = names[place] if place < len(names) else "_"
        lines = [
            example.raw if role == TEXT else str(answer.value) if role == form.layer else ""
            for example, answer in given
        ]
        write_text(file, "".join(" ".join(line.split()) + "\n" for line in lines))
    return Written(path, filled=True, same=True)
