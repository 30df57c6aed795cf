"""How answers are written: in which format, as text or as Parquet, and what stays of an output that broke off."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Protocol

from polyhead.answering.annotator import Annotator
from polyhead.data import DataSpec, Example
from polyhead.data.spec import TEXT
from polyhead.data.write_parquet import ParquetWriter, answer_types, columns_of, sentence_type
from polyhead.data.write_tables import TableWriter, text_line
from polyhead.doc import Doc
from polyhead.errors import PolyheadError, nearest, refused
from polyhead.files import is_device, real, whole

OUTPUTS = {
    "conllu": ".conllu",
    "columns": ".conll",
    "jsonl": ".jsonl",
    "csv": ".csv",
    "tsv": ".tsv",
    "text": ".txt",
    "parquet": ".parquet",
}
"""The formats that answers are written in, and their files' endings."""

PARTIAL = ".partial"
"""The ending of what was finished when the work ended before its end: a broken input, a full disk, Ctrl-C."""

SENTENCES = ("conllu", "columns")
"""The formats that are made of sentences."""

_AS_THEY_CAME = ("conllu", "columns", "jsonl")  # formats of inputs whose answers have the same one if none is named
_BY_LINES = ("text", "parallel")
_WITHOUT_CONFIDENCE = ("text", "columns")


def output_format(wanted: str | None, output: Path | None) -> str | None:
    """The format of the answers; None where neither the user nor the output's ending says it.

    Raises:
        PolyheadError: It is none that answers are written in.
    """
    if wanted is not None:
        if wanted not in OUTPUTS:
            raise PolyheadError(f"--to {wanted} is no format for answers.", remedy=nearest(wanted, OUTPUTS))
        return wanted
    if output is None:
        return None
    ending = output.suffix.lower()
    if ending == ".gz":
        raise PolyheadError(
            f"Answers are not written as {ending} files.", file=output, remedy=f"Take {', '.join(OUTPUTS.values())}."
        )
    found = {ending: name for name, ending in OUTPUTS.items()} | {".iob": "columns", ".bio": "columns"}
    return None if ending == OUTPUTS["text"] else found.get(ending)


def fitting(annotator: Annotator, source: str, output: Path | None) -> str:
    """The format for answers where the user names none: the input's, or what can hold all that the heads say.

    Texts go into a file of lines if it is called so, or if the input is lines and the file's ending says nothing.
    """
    if annotator.writers and output is not None and (output.suffix == OUTPUTS["text"] or source in _BY_LINES):
        return "text"
    if source in _AS_THEY_CAME:
        return source
    about_words = any(annotator.backend.tasks[name].words for name in annotator.names)
    return "conllu" if source in _BY_LINES and about_words else "jsonl"


def check_answers(annotator: Annotator, target: str, *, confidence: bool, several: bool) -> None:
    """See that a format can hold what the model says.

    Args:
        annotator: The model.
        target: The format.
        confidence: Whether to write how sure each answer is.
        several: Whether there are several texts for each.

    Raises:
        PolyheadError: It cannot.
    """
    if target == "text" and len(annotator.writers) != 1:
        if annotator.writers:
            what, remedy = "Several tasks answer with a text", "Choose one: --task"
            raise PolyheadError(f"{what}, and a line holds one.", remedy=f"{remedy} {' or '.join(annotator.writers)}.")
        rest = ", ".join(ending for ending in OUTPUTS.values() if ending != OUTPUTS["text"])
        what = f"No answer is a text, as plain text would have it: the tasks are {', '.join(annotator.names)}."
        raise PolyheadError(what, remedy=f"Take {rest}.")
    if target in ("csv", "tsv") and annotator.about_parts:
        name = annotator.about_parts[0]
        others = [one for one in annotator.names if one not in annotator.about_parts]
        choice = f"Choose another task, --task {' or '.join(others)}, or write" if others else "Write"
        what = f"tasks.{name} answers for words or sentences, which a row of {target.upper()} cannot hold."
        raise PolyheadError(what, remedy=f"{choice} JSONL.")
    if target != "jsonl" and several:
        raise PolyheadError("Several texts for each have room in JSONL alone.", remedy="Add --to jsonl.")
    if confidence and target in _WITHOUT_CONFIDENCE:
        what = f"--confidence has no room in {OUTPUTS[target]} files."
        raise PolyheadError(what, remedy="Add --to jsonl, or leave it out.")


def check_source(path: Path, kind: str, target: str) -> None:
    """See that answers of a format can be written for an input of a format.

    Raises:
        PolyheadError: Parquet is wanted for an input that has no columns of its own.
    """
    if target == "parquet" and kind != "parquet":
        what = f"Answers are written as Parquet beside the columns of a Parquet file, and this one is {kind}."
        raise PolyheadError(what, remedy="Take --to jsonl, or give a Parquet file.", file=path)


class Writer:
    """Writes the answers for texts, in one format.

    Args:
        target: The format.
        annotator: Gives the answers.
        confidence: Whether to write how sure each answer is.
    """

    def __init__(self, target: str, annotator: Annotator, *, confidence: bool) -> None:
        self.target, self.annotator, self.confidence = target, annotator, confidence
        self.table: TableWriter | None = None
        if target in ("csv", "tsv"):
            self.table = TableWriter("," if target == "csv" else "\t", confidence=confidence)

    @property
    def keeps_blank(self) -> bool:
        """Whether a blank line of a plain text has a place of its own among the answers."""
        return self.target == "text"

    def docs(self, examples: Iterator[Example]) -> Iterator[Doc]:
        """The answers, with sentences where the format is made of them."""
        return self.annotator.stream(examples, split=True if self.target in SENTENCES else None)

    def __call__(self, doc: Doc, spec: DataSpec) -> str:
        """What to write for a text of an input that was read so."""
        if self.table is not None:
            return self.table(doc.example, doc.whole_answers())
        if self.target == "text":
            layer = self.annotator.names[self.annotator.writers[0]]
            return text_line(doc.example, doc.whole_answers(), layer)
        if self.target == "conllu":
            return doc.to_conllu(confidence=self.confidence)
        if self.target == "columns":
            names = spec.layers if spec.format == "columns" and isinstance(spec.layers, list) else ["words"]
            return doc.to_columns(names)
        return json.dumps(doc.to_dict(confidence=self.confidence), ensure_ascii=False) + "\n"


class Sink(Protocol):
    """Where answers go."""

    def begin(self, path: Path, spec: DataSpec, first: int = 0) -> None:
        """The answers that follow are for this input, from this example on, counted from 0."""

    def add(self, doc: Doc) -> str:
        """Write the answers for a text, and give what was written; of a row something that is no text."""


class _Lines:
    """Answers as text, into a stream."""

    def __init__(self, write: Writer, stream: IO[str]) -> None:
        self.write, self.stream = write, stream
        self.spec = DataSpec()

    def begin(self, path: Path, spec: DataSpec, first: int = 0) -> None:  # noqa: ARG002
        """The answers that follow are for an input that was read so."""
        self.spec = spec

    def add(self, doc: Doc) -> str:
        """Write the answers for a text."""
        answers = self.write(doc, self.spec)
        self.stream.write(answers)
        return answers


class _Rows:
    """Answers beside the columns of Parquet files."""

    def __init__(self, write: Writer, path: Path) -> None:
        self.write, self.rows = write, ParquetWriter(path)

    def begin(self, path: Path, spec: DataSpec, first: int = 0) -> None:
        """The answers that follow are for the rows of this file."""
        annotator, sure = self.write.annotator, self.write.confidence
        kinds = {layer: annotator.backend.tasks[name].kind for name, layer in annotator.names.items()}
        parted = {annotator.names[name]: kinds[annotator.names[name]] for name in annotator.about_sentences}
        columns = columns_of(path)
        if spec.column("words") not in columns:  # a text that came as words is one sentence, whose answers are its own
            kinds = {layer: kind for layer, kind in kinds.items() if layer not in parted}
        types = answer_types(kinds, confidence=sure)
        if parted and spec.column(TEXT) in columns:
            types["sentences"] = sentence_type(parted, confidence=sure)
        self.rows.begin(path, types, first)

    def add(self, doc: Doc) -> str:
        """Write the answers for the next row."""
        self.rows.add(doc.to_dict(confidence=self.write.confidence))
        return "a row"


@contextmanager
def sink_to(path: Path, write: Writer) -> Iterator[Sink]:
    """Answers into a new file; at the block's end, however it ends, the file holds what was finished."""
    if write.target == "parquet":
        rows = _Rows(write, path)
        try:
            yield rows
        except BaseException:
            with suppress(OSError, PolyheadError):  # the first error says more
                rows.rows.close()
            if not rows.rows.finished:
                path.unlink(missing_ok=True)
            raise
        rows.rows.close()
        return
    stream = path.open("w", encoding="utf-8", newline="\n")
    try:
        yield _Lines(write, stream)
        stream.close()
    except BaseException:
        with suppress(OSError):
            stream.close()
        _cut(path, b"\n\n" if write.target in SENTENCES else b"\n", quoted=write.table is not None)
        raise


@contextmanager
def opened(output: Path | None, write: Writer) -> Iterator[Sink]:
    """Answers to standard output, a pipe or device, or into a file that gets its name when it is whole.

    Raises:
        PolyheadError: Parquet is wanted where no file is.
    """
    if write.target == "parquet" and (output is None or is_device(output)):
        raise PolyheadError("Parquet is written to a file.", remedy="Name one with --output, or take --to jsonl.")
    if output is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        yield _Lines(write, sys.stdout)
        sys.stdout.flush()
    elif is_device(output):
        with output.open("a", encoding="utf-8", newline="\n") as stream:
            yield _Lines(write, stream)
    else:
        with whole(output) as draft, _kept(draft, output), sink_to(draft, write) as sink:
            yield sink


@contextmanager
def _kept(draft: Path, output: Path) -> Iterator[None]:
    """What is finished of a draft of the output is kept under another name if the work ends before its end."""
    try:
        yield
    except BaseException as error:
        if not (draft.exists() and draft.stat().st_size):
            raise
        partial = draft.with_name(real(output).name + PARTIAL)
        draft.replace(partial)
        fault = refused(error, output, "Cannot write") if isinstance(error, OSError) else error
        if isinstance(fault, PolyheadError):
            fault.remedy += f"\n  What was finished before the fault is in {partial}."
            fault.args = (str(fault),)
            raise fault from error.__cause__
        said = f"What was finished is in {partial}."
        if isinstance(error, KeyboardInterrupt):
            error.args = (said,)
        else:
            error.add_note(said)
        raise


def _cut(draft: Path, end: bytes, *, quoted: bool) -> int:
    """Cut off what comes after the last finished answers; returns how many bytes are left.

    Args:
        draft: The file.
        end: What the answers for a text end with.
        quoted: Whether that may also stand between quotes, where nothing ends.
    """
    with draft.open("r+b") as stream:
        length = stream.seek(0, os.SEEK_END)
        if length:
            with mmap(stream.fileno(), 0, access=ACCESS_READ) as content:
                last = content.rfind(end)
                while quoted and last >= 0 and sum(1 for _ in re.finditer(b'"', content[:last])) % 2:
                    last = content.rfind(end, 0, last)  # it stood in a cell whose closing quote was not written
            length = last + len(end) if last >= 0 else 0
            stream.truncate(length)
    return length
