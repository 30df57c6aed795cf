"""How far a folder is: what comes of jobs is written down, and the answers for parts become whole files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from polyhead.annotate import spec_for
from polyhead.answering.annotator import Annotator
from polyhead.bulk.folder import Answers, is_there
from polyhead.bulk.inputs import Input
from polyhead.bulk.jobs import How, Job, Outcome, parts_of
from polyhead.bulk.work import changed, digest, failed, stamp
from polyhead.data.text import Notes
from polyhead.errors import PolyheadError

SMALL = 2**20
"""The bytes of a file that is not cut into parts."""


@dataclass
class Progress:
    """How far a folder is.

    Attributes:
        files: How many there are.
        done: How many have all their answers.
        before: How many of these had them before this call.
        texts, words: How many were answered by this call.
        size: The bytes of the files to be answered.
        read: How many of these are answered.
    """

    files: int = 0
    done: int = 0
    before: int = 0
    texts: int = 0
    words: int = 0
    size: int = 0
    read: float = 0.0


@dataclass
class Summary(Progress):
    """What came of a folder.

    Attributes:
        seconds: What it took.
        failed: What is wrong with each file that has no answers, by name.
    """

    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)


class Following:
    """Keeps a folder of answers up with what workers do.

    Args:
        answers: The folder.
        inputs: The files to be answered.
        targets: The format of the answers for each format of inputs.
        watch: Is called after each step.

    Attributes:
        summary: What is done.
        notes: What is worth knowing of the files.
    """

    def __init__(
        self,
        answers: Answers,
        inputs: Sequence[Input],
        targets: Mapping[str, str],
        watch: Callable[[Progress], None],
    ) -> None:
        self.answers, self.targets, self.watch = answers, targets, watch
        self.inputs = {one.name: one for one in inputs}
        self.left: dict[str, set[int]] = {}
        self.spoilt: set[str] = set()
        self.summary = Summary(files=len(inputs))
        self.notes = Notes()

    def jobs(self, annotator: Annotator, how: How) -> list[Job]:
        """What is to be done first; files whose parts are all there are joined at once."""
        jobs: list[Job] = []
        for one in self.inputs.values():
            if is_there(self.answers.place(one.name)):
                self._before(one)
                continue
            self.summary.size += one.size
            try:
                jobs += self._of(one, self._job(one, annotator, how))
            except PolyheadError as error:  # some files are looked into for how to read them
                self.summary.failed[one.name] = str(error)
                self.summary.read += one.size
                self.answers.clear(one.name)
        self._clear_spoilt()
        self.watch(self.summary)
        return jobs

    def _before(self, one: Input) -> None:
        """Count a file whose answers are there."""
        self.answers.clear(one.name)
        self.summary.done += 1
        self.summary.before += 1
        if not self.answers.inputs[one.name].get("sha256"):  # the call was killed before it could note it
            with suppress(PolyheadError):  # then it is not known again once it is touched
                self.answers.learn(one.name, sha256=digest(one.path))

    def _job(self, one: Input, annotator: Annotator, how: How) -> Job:
        """The job that would answer for all of a file."""
        spec = spec_for(annotator, one.path, one.kind, how.text, how.pair)
        answers, target = self.answers, self.targets[one.kind]
        places = str(answers.place(one.name)), str(answers.parts(one.name))
        return Job(one.name, str(one.path), spec.model_dump(exclude_defaults=True), target, *places)

    def _of(self, one: Input, job: Job) -> list[Job]:
        """What is to be done of a file: cut it, answer all of it, or the parts that are missing."""
        sections = self.answers.sections(one.name)
        if not sections:
            return [Job(**(vars(job) | {"cut": True}))] if one.size > SMALL else [job]
        parts = parts_of(Outcome(Job(**(vars(job) | {"cut": True})), sections))
        self.left[one.name] = {part.number for part in parts}
        texts = sum(section.count for section in sections)
        answered = texts - sum(part.section.count for part in parts if part.section is not None)
        self.summary.read += one.size * answered / max(texts, 1)
        self._join(job)
        return parts

    def follow(self, outcomes: Iterable[Outcome]) -> None:
        """Write down what comes of jobs.

        Raises:
            PolyheadError: Answers cannot be written.
        """
        for outcome in outcomes:
            self.notes.take(outcome.notes)
            if outcome.fatal:
                raise PolyheadError(outcome.error or "")
            if outcome.error is not None:
                self._fail(outcome)
            elif outcome.job.cut:
                self._cut(outcome)
            else:
                self._answered(outcome)
            self.watch(self.summary)
        self._clear_spoilt()

    def _clear_spoilt(self) -> None:
        for name in self.spoilt:  # they are to be mended, and then cut anew
            self.answers.clear(name)

    def _fail(self, outcome: Outcome) -> None:
        name = outcome.job.name
        if name not in self.summary.failed:
            self.summary.failed[name] = outcome.error or ""
        if outcome.job.section is None:
            self.summary.read += self.inputs[name].size
        if not outcome.killed:
            self.spoilt.add(name)

    def _cut(self, outcome: Outcome) -> None:
        name = outcome.job.name
        if len(outcome.sections) > 1:
            self.answers.learn(name, size=outcome.size, modified=outcome.modified)
            self.answers.cut(name, outcome.sections, outcome.sha256)
            self.left[name] = set(self.answers.missing(name, outcome.job.target))
            self._join(outcome.job)

    def _answered(self, outcome: Outcome) -> None:
        job, summary = outcome.job, self.summary
        summary.texts += outcome.texts
        summary.words += outcome.words
        if job.section is None:
            summary.read += self.inputs[job.name].size
            summary.done += 1
            read = {"size": outcome.size, "modified": outcome.modified}
            self.answers.learn(job.name, sha256=outcome.sha256, texts=outcome.texts, **read)
            return
        texts = sum(section.count for section in self.answers.sections(job.name))
        summary.read += self.inputs[job.name].size * job.section.count / max(texts, job.section.count)
        if job.name in self.left:
            self.left[job.name].discard(job.number)
            self._join(job)

    def _join(self, job: Job) -> None:
        """Make a file's answers whole, if none is missing, and if it is still what was cut.

        Raises:
            PolyheadError: Answers cannot be written.
        """
        name = job.name
        if self.left[name] or name in self.summary.failed:
            return
        texts = sum(section.count for section in self.answers.sections(name))
        try:
            read = self._as_cut(self.inputs[name])
            self.answers.join(name, job.target)
        except PolyheadError as error:
            outcome = failed(replace(job, cut=False, section=None), error)
            if outcome.fatal:
                raise
            self.summary.failed[name] = outcome.error or ""
            self.spoilt.add(name)
            return
        self.answers.learn(name, texts=texts, **read)
        self.summary.done += 1

    def _as_cut(self, one: Input) -> dict[str, int]:
        """The size and time of a file that is what it was when it was cut.

        Raises:
            PolyheadError: It is not, or cannot be read.
        """
        known = self.answers.inputs[one.name]
        size, modified = stamp(one.path)
        touched = (size, modified) != (known["size"], known["modified"])
        if touched and digest(one.path) != known.get("sha256"):
            raise changed(one.path)
        return {"size": size, "modified": modified}
