"""From files to files: read as a stream, annotate, write as a stream."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Any

from polyhead.answering.annotator import Annotator
from polyhead.data import FORMATS, DataSpec, Example, format_of, lines, read
from polyhead.data.braces import checked_parts, is_braced, part_names
from polyhead.data.example import WordLabels
from polyhead.data.readers import suffix_format
from polyhead.data.text import Notes, is_stream, name_of
from polyhead.data.write_tables import TableWriter, text_line
from polyhead.doc import Doc
from polyhead.errors import PolyheadError, nearest, refused
from polyhead.files import check_place, is_device, real, whole
from polyhead.loading import load

OUTPUTS = {
    "conllu": ".conllu",
    "columns": ".conll",
    "jsonl": ".jsonl",
    "csv": ".csv",
    "tsv": ".tsv",
    "text": ".txt",
}
"""The formats that answers are written in, and their files' endings."""

_AS_THEY_CAME = ("conllu", "columns", "jsonl")  # formats of inputs whose answers have the same one if none is named
_BY_LINES = ("text", "parallel")
_WITHOUT_CONFIDENCE = ("text", "columns")

PARTIAL = ".partial"
"""The ending of what was finished when the work ended before its end: a broken input, a full disk, Ctrl-C."""


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
    told = [_input_format(path, from_format) for path in inputs]
    target = _output_format(to_format, output)
    _check_inputs(inputs, output)
    if output is not None:
        check_place(output)
    if (text or pair) and not any(kind in _TABLES for kind in told):
        what = f"--text and --pair name columns or fields, and {told[0] or 'plain text'} has none."
        raise PolyheadError(what, remedy="Leave them out, or say the input's format with --from.")
    annotator = load(run, best=best)
    annotator = annotator if task is None else annotator.only(task)
    if search:
        annotator.searching(**search)
    formats = [kind or _as_text(annotator, path, tell) for path, kind in zip(inputs, told, strict=True)]
    target = target or _fitting(annotator, formats[0], output)
    _check_answers(annotator, target)
    if target != "jsonl" and (search or {}).get("best", 1) > 1:
        raise PolyheadError("Several texts for each have room in JSONL alone.", remedy="Add --to jsonl.")
    if confidence and target in _WITHOUT_CONFIDENCE:
        what = f"--confidence has no room in {OUTPUTS[target]} files."
        raise PolyheadError(what, remedy="Add --to jsonl, or leave it out.")
    write = _Writer(target, annotator, confidence=confidence)
    with _opened(output, b"\n\n" if target in _SENTENCES else b"\n", quoted=write.table is not None) as stream:
        for path, kind in zip(inputs, formats, strict=True):
            _annotate_file(path, spec_for(annotator, path, kind, text, pair), write, stream, tell)


def _annotate_file(path: Path, spec: DataSpec, write: _Writer, stream: IO[str], tell: Callable[[str], None]) -> None:
    """Write the answers for one input, and tell what is worth knowing of it."""
    notes, count = Notes(), 0
    for doc in write.docs(unlabelled(path, spec, notes, keep_blank=write.target == "text")):
        answers = write(doc, spec)
        stream.write(answers)
        _note(notes, doc, name_of(path), write.annotator, answers)
        count += 1
    for note in notes:
        tell(note)
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


def _note(notes: Notes, doc: Doc, file: str, annotator: Annotator, answers: str) -> None:
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
    wishes = dict.fromkeys(("lemma", "upos", "xpos", "feats"), WordLabels) if spec.format == "conllu" else {}
    return read("-" if str(path) == "-" else path, spec.for_answers(keep_blank=keep_blank), wishes, notes)


def _input_format(path: Path, wanted: str | None) -> str | None:
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


def _output_format(wanted: str | None, output: Path | None) -> str | None:
    if wanted is not None:
        if wanted not in OUTPUTS:
            raise PolyheadError(f"--to {wanted} is no format for answers.", remedy=nearest(wanted, OUTPUTS))
        return wanted
    if output is None:
        return None
    ending = output.suffix.lower()
    if ending in (".parquet", ".gz"):
        raise PolyheadError(
            f"Answers are not written as {ending} files.", file=output, remedy=f"Take {', '.join(OUTPUTS.values())}."
        )
    found = {ending: name for name, ending in OUTPUTS.items()} | {".iob": "columns", ".bio": "columns"}
    return None if ending == OUTPUTS["text"] else found.get(ending)


def _fitting(annotator: Annotator, source: str, output: Path | None) -> str:
    """The format for answers where the user names none: the input's, or what can hold all that the heads say.

    Texts go into a file of lines if it is called so, or if the input is lines and the file's ending says nothing.
    """
    if annotator.writers and output is not None and (output.suffix == OUTPUTS["text"] or source in _BY_LINES):
        return "text"
    if source in _AS_THEY_CAME:
        return source
    about_words = any(annotator.backend.tasks[name].words for name in annotator.names)
    return "conllu" if source in _BY_LINES and about_words else "jsonl"


def _check_answers(annotator: Annotator, target: str) -> None:
    """See that a format can hold what the model says."""
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


def spec_for(annotator: Annotator, path: Path, kind: str, text: str | None, pair: str | None) -> DataSpec:
    """How to read an input: as the model's own dataset of this format was read, but for the gold, which need not be."""
    known = _known(annotator, kind)
    given: dict[str, Any] = {"format": kind}
    if kind == "columns":
        given["layers"] = _columns(path, known)
    elif kind == "parallel":
        names = known.get("layers") or []
        given["layers"] = names if is_braced(path) and len(names) == len(part_names(path)) else []
    elif kind in _TABLES:
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


_SENTENCES = ("conllu", "columns")
_TABLES = ("csv", "tsv", "jsonl", "parquet")


def _known(annotator: Annotator, kind: str) -> dict[str, Any]:
    """How the model's own data of this format was read; of another kind of table what names its columns."""
    data = annotator.backend.info.get("data", {})
    wanted = {annotator.backend.tasks[name].data for name in annotator.names}  # not those of texts without labels
    specs: list[dict[str, Any]] = [spec for name, spec in data.items() if name in wanted]
    same = next((spec for spec in specs if spec.get("format") == kind), None)
    if same is not None:
        return same
    alike = next((spec for spec in specs if kind in _TABLES and spec.get("format") in _TABLES), {})
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


class _Writer:
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

    def docs(self, examples: Iterator[Example]) -> Iterator[Doc]:
        """The answers, with sentences where the format is made of them."""
        return self.annotator.stream(examples, split=True if self.target in _SENTENCES else None)

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


@contextmanager
def _opened(output: Path | None, end: bytes, *, quoted: bool = False) -> Iterator[IO[str]]:
    """Standard output, a pipe or device, or a file that gets its name when it is whole.

    Args:
        output: The file; ``None`` is standard output.
        end: What the answers for a text end with.
        quoted: Whether that may also stand between quotes, where nothing ends.
    """
    if output is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        yield sys.stdout
        sys.stdout.flush()
    elif is_device(output):
        with output.open("a", encoding="utf-8", newline="\n") as stream:
            yield stream
    else:
        with whole(output) as draft, _kept(draft, output, end, quoted) as stream:
            yield stream


@contextmanager
def _kept(draft: Path, output: Path, end: bytes, quoted: bool) -> Iterator[IO[str]]:
    """The draft of the output, of which what is finished is kept under another name if the work ends before its end."""
    stream = draft.open("w", encoding="utf-8", newline="\n")
    try:
        yield stream
        stream.close()
    except BaseException as error:
        with suppress(OSError):  # the first error says more
            stream.close()
        if not _cut(draft, end, quoted):
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


def _cut(draft: Path, end: bytes, quoted: bool) -> int:
    """Cut off what comes after the last finished answers; returns how many bytes are left."""
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
