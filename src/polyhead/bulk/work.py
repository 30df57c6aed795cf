"""What a worker does: cuts files into parts, and writes the answers for a part whole."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

from polyhead.annotate import note, opened_model, passed_on, unlabelled
from polyhead.answering.annotator import Annotator, chunks
from polyhead.bulk.jobs import How, Job, Outcome
from polyhead.data import DataSpec, Example
from polyhead.data.sections import SectionReader, cut
from polyhead.data.text import Notes
from polyhead.doc import Doc
from polyhead.errors import PolyheadError, refused
from polyhead.files import whole
from polyhead.loading import load
from polyhead.output import Writer, sink_to
from polyhead.processes import limit_threads

KEEPS_BLANK = "text"
"""The format of answers in which a blank line of plain text has a place of its own."""

# What is wrong with the name of a file of answers, so that others fare better.
_OF_NAME = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


class Answerer:
    """A worker with its model.

    Args:
        how: How texts are to be answered.
        annotator: The model, if it is loaded already.
        device: Where to compute.
    """

    def __init__(self, how: How, annotator: Annotator | None = None, device: str = "auto") -> None:
        import torch

        if how.threads is not None:
            limit_threads(how.threads)  # of libraries that are not loaded yet
            torch.set_num_threads(how.threads)
        self.how, self.read_section = how, SectionReader()
        self.annotator = annotator or opened_model(
            load(how.run, best=how.best, device=device, precision=how.precision), how.task, how.search
        )

    def __call__(self, job: Job) -> Outcome:
        """Do a job. A fault of its file is part of the outcome."""
        try:
            return cut_file(job, self.how.chunks) if job.cut else self._answer(job)
        except PolyheadError as error:
            return failed(job, error)

    def _answer(self, job: Job) -> Outcome:
        source, spec = Path(job.source), job.how_read()
        write = Writer(job.target, self.annotator, confidence=self.how.confidence)
        notes, texts, words = Notes(), 0, 0
        sha256 = digest(source) if job.section is None else None
        with whole(job.place) as draft, sink_to(draft, write) as sink:
            sink.begin(source, spec, job.section.first if job.section else 0)
            if write.table is not None and job.number:
                self._name_columns(source, spec, write)
            for doc in write.docs(self._examples(job, spec, notes)):
                note(notes, doc, job.source, self.annotator, sink.add(doc))
                texts += 1
                words += _words(doc)
            if job.section is not None and texts != job.section.count:
                raise changed(source, f"{texts:,} texts where {job.section.count:,} were: ")
            size, modified = stamp(source)  # between two digests that are the same, so it is of what was answered
            if sha256 is not None and digest(source) != sha256:
                raise changed(source)
        return Outcome(job, (), sha256, texts, words, notes.entries(), size=size, modified=modified)

    def _examples(self, job: Job, spec: DataSpec, notes: Notes) -> Iterator[Example]:
        source, keep_blank = Path(job.source), job.target == KEEPS_BLANK
        if job.section is None:
            return unlabelled(source, spec, notes, keep_blank=keep_blank)
        # What is worth knowing of a file as a whole was noted when it was cut.
        spec = spec.for_answers(keep_blank=keep_blank)
        return self.read_section(source, spec, job.section, passed_on(spec), Notes())

    def _name_columns(self, source: Path, spec: DataSpec, write: Writer) -> None:
        """A table has the columns of its file's first text, and names them in its first part alone."""
        first = next(unlabelled(source, spec, Notes(), keep_blank=write.keeps_blank))
        write(next(write.docs(iter([first]))), spec)


def cut_file(job: Job, most: int) -> Outcome:
    """The parts of a file: stretches of whole chunks, so that each is answered as it would be among all others.

    Raises:
        PolyheadError: Something in the file is wrong, or it cannot be read.
    """
    source, spec, notes = Path(job.source), job.how_read(), Notes()
    try:
        size, modified = stamp(source)
        sha256 = digest(source)
        texts = unlabelled(source, spec, notes, keep_blank=job.target == KEEPS_BLANK)
        sections = cut(source, spec, chunks(texts), most)
    except OSError as error:  # nothing is written here
        raise refused(error, source, "Cannot read") from None
    return Outcome(job, sections, sha256, notes=notes.entries(), size=size, modified=modified)


def failed(job: Job, error: PolyheadError) -> Outcome:
    """What came of a job whose file is at fault, or whose answers cannot be written."""
    ours = error.file == str(job.place)
    of_name = ours and getattr(error.__cause__, "errno", None) in _OF_NAME
    return Outcome(
        job, error=f"{job.source}: its answers: {error}" if of_name else str(error), fatal=ours and not of_name
    )


def stamp(path: Path) -> tuple[int, int]:
    """The size of a file, and when it was last changed.

    Raises:
        PolyheadError: It is not there, or may not be seen.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise refused(error, path, "Cannot read") from None
    return about.st_size, about.st_mtime_ns


def changed(path: Path, found: str = "") -> PolyheadError:
    """The error for a file that is not any more what was answered, and how that was found."""
    what = f"{found}the file was changed while it was answered"
    return PolyheadError(what, remedy="Give the same command again.", file=path)


def digest(path: Path) -> str:
    """The SHA-256 of a file.

    Raises:
        PolyheadError: It cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise PolyheadError(
            f"cannot read the file: {error.strerror}",
            remedy="See that it is there and that you may read it.",
            file=path,
        ) from error


def _words(doc: Doc) -> int:
    """The words of a text, or what white space divides where it was not split into words."""
    return sum(len(sentence.words) for sentence in doc.sentences) or len(doc.example.raw.split())
