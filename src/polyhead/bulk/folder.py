"""The folder of answers: what was asked, of which files, and which answers are there."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polyhead.bulk.inputs import Input
from polyhead.bulk.jobs import part_place
from polyhead.bulk.work import digest
from polyhead.data.sections import Section
from polyhead.data.write_parquet import join_parquet
from polyhead.errors import PolyheadError
from polyhead.files import UNFINISHED, read_json, whole, write_json

MANIFEST = "manifest.json"
"""What was asked, and of each input its size, its time, its SHA-256 once it was read, and how many texts it holds."""

STATE = ".polyhead"
"""The folder beside the answers where parts of files wait for the others."""

_LOG = "log-{}.jsonl"  # What became known of inputs since the manifest of this number was written, a line for each.
_TRIED = "*.tried"  # What workers of a cluster have begun.
_NAMES = {
    "model": "the model",
    "precision": "the precision",
    "text": "--text",
    "pair": "--pair",
    "to": "--to",
    "from": "--from",
    "best": "--best",
    "task": "--task",
    "confidence": "--confidence",
    "search": "--beams, --n-best or --temperature",
}


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What an earlier call wrote down in a folder of answers; None if there was none.

    Raises:
        PolyheadError: The folder is no folder of answers, or what it says of them is damaged.
    """
    place = folder / MANIFEST
    try:
        found = read_json(place, "asked", "inputs")
    except FileNotFoundError:
        if folder.is_dir() and any(path.name != STATE and not _is_draft(path) for path in folder.iterdir()):
            what = "This folder is not empty, and does not hold answers of an earlier call."
            raise PolyheadError(what, remedy="Take a new one as --output.", file=folder) from None
        return None
    except PolyheadError as error:
        if isinstance(error.__cause__, OSError):
            raise
        raise _no_manifest(place) from error
    facts = found["inputs"].values() if isinstance(found["inputs"], dict) else [None]
    wanted = {"size", "modified", "answers"}
    right = isinstance(found["asked"], dict) and isinstance(found.get("log", 0), int)
    if not right or not all(isinstance(one, dict) and wanted <= one.keys() for one in facts):
        raise _no_manifest(place)
    return found


def _no_manifest(place: Path) -> PolyheadError:
    what = "This file is not what polyhead writes beside its answers, or it is damaged."
    return PolyheadError(what, remedy="Put it back from a copy, or take a new folder as --output.", file=place)


def is_there(path: Path) -> bool:
    """Whether there are answers; what no file can be called is none, and writing says so."""
    try:
        return path.is_file()
    except OSError:
        return False


def _is_draft(path: Path) -> bool:
    """Whether this is a first manifest that a killed call was writing."""
    return path.name.startswith(MANIFEST) and path.name.endswith(UNFINISHED)


class Answers:
    """A folder of answers that grows, call by call.

    Args:
        folder: The folder; it must be new, empty, or one that this made.
        asked: What is asked of each text, in plain data.

    Raises:
        PolyheadError: The folder holds something else, or answers to something else.
    """

    def __init__(self, folder: Path, asked: Mapping[str, Any]) -> None:
        self.folder, self.state = folder, folder / STATE
        self.asked = dict(asked)
        self.inputs: dict[str, dict[str, Any]] = {}
        self.number = 0
        found = read_manifest(folder)
        if found is not None:
            self._take(found)
        # Of workers that were killed, and of calls that were: what these had begun no worker was ended by.
        for left in [*folder.rglob(f"*{UNFINISHED}"), *self.state.rglob(_TRIED)]:
            if left.is_file():
                left.unlink(missing_ok=True)

    def _take(self, found: dict[str, Any]) -> None:
        for key in sorted(found["asked"].keys() | self.asked.keys()):
            if found["asked"].get(key) != self.asked.get(key):
                what = f"The answers in this folder were asked for with other options: {_NAMES.get(key, key)} differs."
                if key == "model":
                    what = "The answers in this folder are another model's."
                remedy = "Take a new --output, or call it as before."
                raise PolyheadError(what, remedy=remedy, file=self.folder)
        self.inputs, self.number = found["inputs"], found.get("log", 0)
        with suppress(FileNotFoundError):
            for line in self._log().read_bytes().split(b"\n"):
                with suppress(ValueError, TypeError, KeyError):  # the last one of a process that was killed
                    name, facts = json.loads(line)
                    self.inputs[name] |= facts

    def _log(self) -> Path:
        return self.state / _LOG.format(self.number)

    def expect(self, inputs: Iterable[Input], names: Mapping[str, str]) -> None:
        """Note the inputs and what their answers are called, before anything is answered.

        Raises:
            PolyheadError: An input has changed since some of it was answered, or a file stands where answers go.
        """
        for one in inputs:
            known = self.inputs.get(one.name)
            place = self.folder / names[one.name]
            if known is None and is_there(place):
                what = f"The answers for {one.name} would go here, and this file is none of an earlier call's."
                raise PolyheadError(what, remedy="Move it away, or take a new --output.", file=place)
            if known is not None and (known["size"], known["modified"]) != (one.size, one.modified):
                same = known["size"] == one.size and known.get("sha256") == digest(one.path)
                answers = [f"rm {shlex.quote(str(place))}"] if is_there(place) else []
                if self.parts(one.name).exists():
                    answers.append(f"rm -r {shlex.quote(str(self.parts(one.name)))}")
                if answers and not same:
                    what = f"This file has changed since it was answered; its answers are in {place}."
                    remedy = f"To have it answered anew delete them ({' && '.join(answers)}), or take a new --output."
                    raise PolyheadError(what, remedy=remedy, file=one.path)
                known = known if same else None
            facts = {"size": one.size, "modified": one.modified, "answers": names[one.name]}
            self.inputs[one.name] = (known or {}) | facts
        self.save()

    def save(self) -> None:
        """Write the manifest, with a number of its own: so the log of an earlier one is never taken for its."""
        self.number += 1
        write_json(self.folder / MANIFEST, {"asked": self.asked, "inputs": self.inputs, "log": self.number})
        for old in self.state.glob(_LOG.format("*")):
            old.unlink(missing_ok=True)

    def learn(self, name: str, **facts: Any) -> None:
        """Note what became known of an input, at once and for later calls."""
        self.inputs[name] |= facts
        with self._log().open("a", encoding="utf-8") as log:
            log.write(json.dumps([name, facts]) + "\n")  # in ASCII: no sign in a name ends a line, or is cut in two

    def place(self, name: str) -> Path:
        """Where the answers for an input go."""
        return self.folder / str(self.inputs[name]["answers"])

    def parts(self, name: str) -> Path:
        """Where the answers for the parts of an input wait."""
        return self.state / "parts" / name

    def sections(self, name: str) -> list[Section]:
        """The parts of an input, where it was cut."""
        return [Section(**one) for one in self.inputs[name].get("sections", ())]

    def cut(self, name: str, sections: Sequence[Section], sha256: str | None) -> None:
        """Note the parts of an input."""
        self.learn(name, sha256=sha256, sections=[asdict(one) for one in sections])

    def missing(self, name: str, target: str) -> list[int]:
        """The parts of an input that are not answered, by number."""
        folder = self.parts(name)
        return [i for i in range(len(self.sections(name))) if not part_place(folder, i, target).exists()]

    def join(self, name: str, target: str) -> None:
        """Make the answers for an input's parts one file, whole or not at all, and clear the parts away."""
        folder = self.parts(name)
        places = [part_place(folder, i, target) for i in range(len(self.sections(name)))]
        with whole(self.place(name)) as draft:
            if target == "parquet":
                join_parquet(places, draft)
            else:
                with draft.open("wb") as stream:
                    for place in places:
                        with place.open("rb") as part:
                            shutil.copyfileobj(part, stream, 2**20)
        self.clear(name)

    def clear(self, name: str) -> None:
        """Clear away the parts of an input whose answers are whole."""
        shutil.rmtree(self.parts(name), ignore_errors=True)
        self.inputs[name].pop("sections", None)

    def close(self) -> None:
        """Write down what became known, and clear empty folders away."""
        self.save()
        parts = self.state / "parts"
        for path in sorted(parts.rglob("*"), reverse=True):
            with suppress(OSError):  # parts of a file that is not finished
                path.rmdir()
        with suppress(OSError):
            parts.rmdir()
