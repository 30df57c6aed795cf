"""From files to files: read as a stream, annotate, write as a stream."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from polyhead.answering.annotator import Annotator
from polyhead.data import FORMATS, DataSpec, Example, format_of, lines, read
from polyhead.data.braces import checked_parts, is_braced, part_names
from polyhead.data.example import WordLabels
from polyhead.data.readers import suffix_format
from polyhead.data.text import Notes, is_stream, name_of
from polyhead.doc import Doc
from polyhead.errors import PolyheadError, nearest
from polyhead.files import check_place
from polyhead.loading import load
from polyhead.output import Sink, Writer, check_answers, check_source, fitting, opened, output_format

TABLES = ("csv", "tsv", "jsonl", "parquet")
"""The formats of inputs whose columns or fields have names."""


def annotate(
    run: Path,
    inputs: Sequence[Path],
    output: Path | None,
    *,
    from_format: str | None = None,
    to_format: str | None = None,
    text: str | None = None,
    pair: str | None = None,
    confidence: bool = False,
    best: str | None = None,
    task: str | None = None,
    search: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Annotate files with a run's model.

    Args:
        run: A run, or a model folder.
        inputs: Files; ``-`` is standard input.
        output: The file to write whole; ``None`` is standard output. If the work ends before its end, what was
            finished is kept beside it, with the ending ``.partial``. A pipe or a device is written to as the work goes.
        from_format: The inputs' format; by default each file's suffix says, and standard input is text. A file whose
            suffix says nothing is text, too, if the model answers with texts.
        to_format: The output's format; by default the output's suffix says, else the input's, else what fits the model.
        text: The column or field that holds the text.
        pair: The column or field that holds the second text.
        confidence: Whether to write how sure each answer is.
        best: A task whose own best weights to take.
        task: The only task whose answers to write; by default all.
        search: How texts are looked for: ``beams``, ``best`` and ``temperature`` of ``Annotator.searching``.
        tell: Is called with what is worth knowing: what was left out, and texts that are empty.

    Raises:
        PolyheadError: There is no such model, a format is unknown, or an input is broken.
    """
    told = [input_format(path, from_format) for path in inputs]
    target = output_format(to_format, output)
    _check_inputs(inputs, output)
    if output is not None:
        check_place(output)
    check_columns([kind or "plain text" for kind in told], text, pair)
    annotator = opened_model(load(run, best=best), task, search)
    formats = [kind or _as_text(annotator, path, tell) for path, kind in zip(inputs, told, strict=True)]
    target = target or fitting(annotator, formats[0], output)
    check_answers(annotator, target, confidence=confidence, several=(search or {}).get("best", 1) > 1)
    for path, kind in zip(inputs, formats, strict=True):
        check_source(path, kind, target)
    write = Writer(target, annotator, confidence=confidence)
    with opened(output, write) as sink:
        for path, kind in zip(inputs, formats, strict=True):
            spec = spec_for(annotator, path, kind, text, pair)
            sink.begin(path, spec)
            _annotate_file(path, spec, write, sink, tell)


def opened_model(annotator: Annotator, task: str | None, search: Mapping[str, Any] | None) -> Annotator:
    """A model that answers as the user wants: for one task alone, looking for texts so."""
    annotator = annotator if task is None else annotator.only(task)
    if search:
        annotator.searching(**search)
    return annotator


def check_columns(kinds: Sequence[str], text: str | None, pair: str | None) -> None:
    """See that there are columns or fields where the user names some.

    Raises:
        PolyheadError: None of the inputs is of such a format.
    """
    if (text or pair) and not any(kind in TABLES for kind in kinds):
        what = f"--text and --pair name columns or fields, and {kinds[0]} has none."
        raise PolyheadError(what, remedy="Leave them out, or say the input's format with --from.")


def _annotate_file(path: Path, spec: DataSpec, write: Writer, sink: Sink, tell: Callable[[str], None]) -> None:
    """Write the answers for one input, and tell what is worth knowing of it."""
    notes, count = Notes(), 0
    for doc in write.docs(unlabelled(path, spec, notes, keep_blank=write.keeps_blank)):
        answers = sink.add(doc)
        note(notes, doc, name_of(path), write.annotator, answers)
        count += 1
    for one in notes:
        tell(one)
    if not count:
        tell(f"there is no text in {name_of(path)}")


def _check_inputs(inputs: Sequence[Path], output: Path | None) -> None:
    """A wrong name should not cost the time that a model takes to load."""
    names = [str(path) for path in inputs]
    if names.count("-") > 1:
        raise PolyheadError("Standard input, -, is named twice.", remedy="It can be read only once.")
    for path in inputs:
        if str(path) == "-":
            if sys.stdin is None:
                raise PolyheadError("Standard input is closed.", remedy="Name a file with texts.")
            continue
        braced = is_braced(path) and not path.exists()
        for part in checked_parts(path) if braced else [path]:
            if part.is_dir():
                raise PolyheadError("This is a folder, not a file.", file=part, remedy="Name a file in it.")
            if not part.exists() and not braced:  # a named pipe will do, too; of parts only the text is read
                raise PolyheadError("There is no such file.", file=part, remedy="Check the path.")
            if output is not None and output.is_file() and part.exists() and output.samefile(part):
                raise PolyheadError("This is both an input and the output.", file=part, remedy="Take another --output.")


def note(notes: Notes, doc: Doc, file: str, annotator: Annotator, answers: str) -> None:
    """Count what is worth knowing about a text and its answers."""
    if doc.example.blank:
        what = ", whose answers mean nothing, in" if answers else " left out of the answers for"
        what = ", whose line of the answers is empty too, in" if answers == "\n" else what
        notes.add(file, f"empty text{what}", f"empty texts{what}")
    if annotator.about_pairs and doc.example.pair is None:
        what = f"without the second text that tasks.{annotator.about_pairs[0]} learnt from, in"
        notes.add(file, f"text {what}", f"texts {what}")


def unlabelled(path: Path, spec: DataSpec, notes: Notes, *, keep_blank: bool) -> Iterator[Example]:
    """The examples of an input; blank lines of plain text, too, if they should be kept.

    What it has of trees is left in the file's rows: it may be unfinished or wrong.
    """
    return read("-" if str(path) == "-" else path, spec.for_answers(keep_blank=keep_blank), passed_on(spec), notes)


def passed_on(spec: DataSpec) -> dict[str, type]:
    """The layers that are read of an input without labels, to be written as they came."""
    return dict.fromkeys(("lemma", "upos", "xpos", "feats"), WordLabels) if spec.format == "conllu" else {}


def input_format(path: Path, wanted: str | None) -> str | None:
    """The format of an input; None where the suffix says nothing, and the model must tell."""
    if wanted is not None:
        if wanted not in FORMATS:
            raise PolyheadError(f"--from {wanted} is no format.", remedy=nearest(wanted, FORMATS))
        return wanted
    return "text" if str(path) == "-" else suffix_format(path)


def _as_text(annotator: Annotator, path: Path, tell: Callable[[str], None]) -> str:
    """A file such as mono.fr is plain text to a model that answers with texts; to others its suffix is a fault."""
    if not annotator.writers:
        return format_of(path)
    tell(f"read as plain text, a text on each line: {path}")
    return "text"


def spec_for(annotator: Annotator, path: Path, kind: str, text: str | None, pair: str | None) -> DataSpec:
    """How to read an input: as the model's own dataset of this format was read, but for the gold, which need not be."""
    known = _known(annotator, kind)
    given: dict[str, Any] = {"format": kind}
    if kind == "columns":
        given["layers"] = _columns(path, known)
    elif kind == "parallel":
        names = known.get("layers") or []
        given["layers"] = names if is_braced(path) and len(names) == len(part_names(path)) else []
    elif kind in TABLES:
        given["text"] = text or known.get("text", "text")
        layers = known.get("layers")
        roles = ("text", "pair", "words")
        if isinstance(layers, dict):
            given["layers"] = {role: column for role, column in layers.items() if role in roles}
        elif text is None and layers:
            given["layers"] = [name if name in roles else "_" for name in layers]
        if pair or known.get("pair"):
            given["pair"] = pair or known.get("pair")
    return DataSpec(**given)


def _known(annotator: Annotator, kind: str) -> dict[str, Any]:
    """How the model's own data of this format was read; of another kind of table what names its columns."""
    data = annotator.backend.info.get("data", {})
    wanted = {annotator.backend.tasks[name].data for name in annotator.names}  # not those of texts without labels
    specs: list[dict[str, Any]] = [spec for name, spec in data.items() if name in wanted]
    same = next((spec for spec in specs if spec.get("format") == kind), None)
    if same is not None:
        return same
    alike = next((spec for spec in specs if kind in TABLES and spec.get("format") in TABLES), {})
    return {key: value for key, value in alike.items() if key in ("text", "pair") or isinstance(value, dict)}


def _columns(path: Path, known: dict[str, Any]) -> list[str]:
    """The columns of an input: as in the model's data if there are as many, else words and columns passed through."""
    names: list[str] = list(known.get("layers") or ["words"])
    if is_stream(path):
        return names  # What is looked at is gone.
    row = next((line for _, line in islice(lines(path), 100) if line.strip() and not line.startswith("# ")), "")
    width = len(row.split("\t")) if "\t" in row else len(row.split())
    if width == len(names):
        return names
    place = min(names.index("words"), max(width - 1, 0))
    return ["words" if i == place else "_" for i in range(max(width, 1))]
