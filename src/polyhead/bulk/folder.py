"""The folder of answers: what was asked, of which files, and which answers are there."""

from __future__ import annotations

import json
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

_LOG = "log.jsonl"  # What became known of inputs since the manifest was written, a line for each.
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
        if (folder / MANIFEST).exists():
            self._read()
        elif any(path.name != STATE and not _is_draft(path) for path in folder.iterdir()):
            what = "This folder is not empty, and does not hold answers of an earlier call."
            raise PolyheadError(what, remedy="Take a new one as --output.", file=folder)
        for draft in folder.rglob(f"*{UNFINISHED}"):  # of a worker that was killed
            draft.unlink(missing_ok=True)

    def _read(self) -> None:
        found = read_json(self.folder / MANIFEST, "asked", "inputs")
        for key in sorted(found["asked"].keys() | self.asked.keys()):
            if found["asked"].get(key) != self.asked.get(key):
                what = f"The answers in this folder were asked for with other options: {_NAMES.get(key, key)} differs."
                if key == "model":
                    what = "The answers in this folder are another model's."
                remedy = "Take a new --output, or call it as before."
                raise PolyheadError(what, remedy=remedy, file=self.folder)
        self.inputs = found["inputs"]
        with suppress(FileNotFoundError):
            for line in (self.state / _LOG).read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):  # the last one of a process that was killed
                    name, facts = json.loads(line)
                    self.inputs[name] |= facts

    def expect(self, inputs: Iterable[Input], names: Mapping[str, str]) -> None:
        """Note the inputs and what their answers are called, before anything is answered.

        Raises:
            PolyheadError: An input has changed since some of it was answered, or a file stands where answers go.
        """
        for one in inputs:
            known = self.inputs.get(one.name)
            place = self.folder / names[one.name]
            if known is None and place.exists():
                what = f"The answers for {one.name} would go here, and this file is none of an earlier call's."
                raise PolyheadError(what, remedy="Move it away, or take a new --output.", file=place)
            if known is not None and (known["size"], known["modified"]) != (one.size, one.modified):
                same = known["size"] == one.size and known.get("sha256") == digest(one.path)
                if not same and (place.exists() or self.parts(one.name).exists()):
                    what = f"This file has changed since it was answered; its answers are in {place}."
                    remedy = f"To have it answered anew delete them (rm -rf {place} {self.parts(one.name)}), or take a "
                    raise PolyheadError(what, remedy=f"{remedy}new --output.", file=one.path)
                known = known if same else None
            facts = {"size": one.size, "modified": one.modified, "answers": names[one.name]}
            self.inputs[one.name] = (known or {}) | facts
        self.save()

    def save(self) -> None:
        """Write the manifest."""
        write_json(self.folder / MANIFEST, {"asked": self.asked, "inputs": self.inputs})
        (self.state / _LOG).unlink(missing_ok=True)

    def learn(self, name: str, **facts: Any) -> None:
        """Note what became known of an input, at once and for later calls."""
        self.inputs[name] |= facts
        with (self.state / _LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps([name, facts], ensure_ascii=False) + "\n")

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
