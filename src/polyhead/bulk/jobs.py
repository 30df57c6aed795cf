"""What workers are asked to do, and what they say of it: plain data, so that it can be sent anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from polyhead.data import DataSpec
from polyhead.data.sections import Section
from polyhead.nn.precision import Precision
from polyhead.output import OUTPUTS


@dataclass(frozen=True)
class How:
    """How texts are to be answered; the same for all of a folder.

    Attributes:
        run: The run or model, or its id on the Hub.
        best: A task whose own best weights to take.
        task: The only task whose answers to write.
        search: How texts are looked for.
        text, pair: The columns or fields that hold the texts.
        confidence: Whether to write how sure each answer is.
        precision: What to compute in; None where each machine chooses.
        threads: How many each worker computes with; None is as torch has it.
        chunks: How many chunks of texts a part of a file has; see ``polyhead.predict.chunks``.
    """

    run: str
    best: str | None = None
    task: str | None = None
    search: Mapping[str, Any] | None = None
    text: str | None = None
    pair: str | None = None
    confidence: bool = False
    precision: Precision | None = None
    threads: int | None = None
    chunks: int = 4

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> How:
        """What ``to_json`` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Job:
    """Cut a file into parts, or answer for a file or one of its parts.

    Attributes:
        name: The file, from the folder of inputs.
        source: The same, from anywhere.
        spec: How it is read; it names its format.
        target: The format of the answers.
        output: Where the answers of the whole file go.
        parts: The folder where those of its parts wait.
        section: The part; None is the whole file.
        number: Which part it is, from 0.
        cut: Whether to cut the file, and not to answer.
    """

    name: str
    source: str
    spec: Mapping[str, Any]
    target: str
    output: str
    parts: str
    section: Section | None = None
    number: int = 0
    cut: bool = False

    @property
    def place(self) -> Path:
        """Where its answers go."""
        return Path(self.output) if self.section is None else part_place(Path(self.parts), self.number, self.target)

    @property
    def key(self) -> tuple[str, int, bool]:
        """What tells it from all other jobs."""
        return self.name, self.number, self.cut

    def how_read(self) -> DataSpec:
        """How the file is read."""
        return DataSpec(**self.spec)

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """What ``to_json`` wrote."""
        return cls(**_with_section(json.loads(text)))


def part_place(folder: Path, number: int, target: str) -> Path:
    """Where the answers of a file's part wait for the others."""
    return folder / f"part-{number:06d}{OUTPUTS[target]}"


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        job: The job.
        sections: The parts of a file that was cut.
        sha256: Of the file, where all of it was read.
        texts, words: How many were answered.
        notes: What is worth knowing, as ``Notes.entries`` gives it.
        error: What is wrong with the file, for people.
        fatal: Whether the fault is not the file's own, such as a full disk, so that no other would fare better.
        killed: Whether its worker was ended from outside again and again, which may be no fault at all.
        size, modified: Of the file that was read, as in ``Input``.
    """

    job: Job
    sections: Sequence[Section] = ()
    sha256: str | None = None
    texts: int = 0
    words: int = 0
    notes: Sequence[Sequence[Any]] = field(default_factory=list)
    error: str | None = None
    fatal: bool = False
    killed: bool = False
    size: int = 0
    modified: int = 0

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """What ``to_json`` wrote."""
        found = json.loads(text)
        job, sections = Job(**_with_section(found.pop("job"))), [Section(**one) for one in found.pop("sections")]
        return cls(job, sections, **found)


def parts_of(outcome: Outcome) -> list[Job]:
    """What is to be done after a file was cut: its parts, but for those whose answers are there; or all of it at once
    if one part is all of it."""
    if not outcome.job.cut or outcome.error is not None:
        return []
    whole = replace(outcome.job, cut=False)
    if len(outcome.sections) < 2:
        return [whole]
    parts = [replace(whole, section=section, number=i) for i, section in enumerate(outcome.sections)]
    return [part for part in parts if not part.place.exists()]


def _with_section(plain: dict[str, Any]) -> dict[str, Any]:
    return plain | {"section": None if plain["section"] is None else Section(**plain["section"])}
