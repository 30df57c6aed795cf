"""An exported model as what computes answers: pieces to rows, one graph for all heads, choosers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from polyhead.answering.batches import in_batches
from polyhead.answering.chooser import Array, Chooser, Given
from polyhead.answering.kinds import restore
from polyhead.answering.writing import WriteText
from polyhead.data.example import KIND_NAMES, Example, Prediction
from polyhead.data.segment import word_cutter
from polyhead.data.word_rules import WordRules
from polyhead.errors import PolyheadError
from polyhead.files import read_json
from polyhead.nn.layout import Rows, lay_out, measure
from polyhead.nn.pieces import Pieces, PieceTokenizer
from polyhead.runtime.folder import CONFIG, MAIN, TOKENIZER, WORDS, read_config
from polyhead.runtime.sessions import Graphs

KINDS = {name: kind for kind, name in KIND_NAMES.items()}
"""The kinds of values by the names that config.json has for them."""


@dataclass
class Answers:
    """What an exported model knows of a task.

    Attributes:
        head: The head that it asks.
        data, layer: Its dataset and layer.
        kind: The kind of value that it answers with.
        words: Whether it is about words.
        annotates, answers: Whether it has a layer, and an answer of its own.
        chooser: Makes the answers.
    """

    head: str
    data: str
    layer: str
    kind: type
    words: bool
    annotates: bool
    answers: bool
    chooser: Chooser

    def search(self, *, beams: int | None, best: int, temperature: float | None) -> None:
        """Look for texts in another way from now on.

        Raises:
            PolyheadError: A number is out of bounds.
        """
        if isinstance(self.chooser, WriteText):
            self.chooser = self.chooser.searching(beams=beams, best=best, temperature=temperature)


class OnnxBackend:
    """An exported model, for an :class:`polyhead.answering.annotator.Annotator`.

    Args:
        folder: What ``polyhead export`` wrote.

    Raises:
        PolyheadError: A file is missing or broken, or a newer polyhead wrote the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_config(folder)
        try:
            pieces = self.config["pieces"]
            self.window = int(pieces["window"])
            backend = Tokenizer.from_file(str(folder / TOKENIZER))
            self.tokenizer = PieceTokenizer(backend, unknown=pieces["unknown"], padding=pieces["padding"])
        except Exception as error:  # tokenizers raises bare Exceptions
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise PolyheadError(f"The tokenizer cannot be read: {said}", file=folder / TOKENIZER) from error
        self.heads: Mapping[str, Any] = self.config["heads"]
        self.tasks = self._answers()
        self.info: Mapping[str, Any] = self.config["info"]
        self.graphs = Graphs(folder, self.config["graphs"])
        self.graphs.open(MAIN)

    def _answers(self) -> dict[str, Answers]:
        try:
            return {
                name: Answers(
                    head=one["head"],
                    data=one["data"],
                    layer=one["layer"],
                    kind=KINDS[one["kind"]],
                    words=one["words"],
                    annotates=one["annotates"],
                    answers=one["answers"],
                    chooser=restore(one["chooser"], self._read),
                )
                for name, one in self.config["answers"].items()
            }
        except (KeyError, TypeError) as error:
            what = f"This file of the exported model is damaged: {error!r}."
            raise PolyheadError(what, file=self.folder / CONFIG, remedy="Put it back from a copy.") from error

    @cached_property
    def cutter(self) -> WordRules:
        """Cuts raw text into words, by the rules that were exported with the model."""
        return word_cutter(read_json(self.folder / WORDS))

    @property
    def precision(self) -> None:
        """An exported model computes in what it was exported in."""

    def _read(self, name: str) -> str:
        if name not in self.config["files"]:
            raise KeyError(name)
        return (self.folder / name).read_text(encoding="utf-8")

    def tokenise(self, examples: Sequence[Example], language: str | None = None) -> list[Pieces]:
        """The pieces of each example."""
        return self.tokenizer(examples, language)

    def answer(
        self, items: Sequence[Pieces], tasks: Sequence[str], *, sure: bool = True
    ) -> list[dict[str, Prediction]]:
        """The answers of some tasks for each example; tasks about words do not answer for raw text."""

        def answers(some: Sequence[Pieces], wanted: Mapping[str, Sequence[int]]) -> dict[str, list[Prediction]]:
            rows = lay_out(some, self.tokenizer, self.window)
            found = self.graphs.run(MAIN, feeds(rows, self.graphs.inputs(MAIN)))
            return {name: self._choose(name, rows, found, asked, sure) for name, asked in wanted.items() if len(asked)}

        about_words = {name: self.tasks[name].words for name in tasks}
        return in_batches(items, measure(items, self.tokenizer, self.window), about_words, answers)

    def _choose(
        self, name: str, rows: Rows, found: Mapping[str, Array], asked: Sequence[int], sure: bool
    ) -> list[Prediction]:
        """What a task answers for some examples of a batch."""
        task = self.tasks[name]
        head = self.heads[task.head]
        scores = {key: found[output] for key, output in head["scores"].items()}

        def ask(network: str, given: Mapping[str, Array]) -> dict[str, Array]:
            return self.graphs.run(head["networks"][network], given)

        given = Given(scores, rows.texts, rows.blanks, float(head["temperature"]), sure, ask)
        answers = task.chooser.choose(given)
        return [answers[i] for i in asked]


def feeds(rows: Rows, wanted: Sequence[str]) -> dict[str, Array]:
    """What the main graph reads, by name; docs/export.md says what each is."""
    mask = np.ones(rows.ids.shape, dtype=np.int64) if rows.mask is None else rows.mask.astype(np.int64)
    texts = len(rows.texts)
    out: dict[str, Array] = {"ids": rows.ids, "mask": mask, "words": rows.words, "lasts": rows.lasts}
    out["counts"] = np.asarray([len(words) for words in rows.texts], dtype=np.int64)
    out["owners"] = np.arange(texts) if rows.owners is None else rows.owners
    for name, array in (("types", rows.types), ("case", rows.case)):
        out[name] = np.zeros_like(rows.ids) if array is None else array.astype(np.int64)
    if "parts" in wanted:
        counts = rows.lasts - rows.words + 1
        out["part_of"] = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(out["part_of"])) - (np.cumsum(counts) - counts)[out["part_of"]]
        out["parts"] = rows.words[out["part_of"]] + within
    if "memory" in wanted:
        out["memory"] = _memory(mask, out["owners"], texts)
    return {name: out[name] for name in wanted}


def _memory(mask: Array, owners: Array, texts: int) -> Array:
    """For each text where its pieces are among those of all rows, -1 behind the last. Shape (texts, pieces)."""
    rows, columns = np.nonzero(mask)
    owner = owners[rows]
    counts = np.bincount(owner, minlength=texts)
    out = np.full((texts, max(1, int(counts.max()))), -1, dtype=np.int64)
    order = np.argsort(owner, kind="stable")
    starts = np.cumsum(counts) - counts
    places = np.arange(len(owner)) - np.repeat(starts, counts)
    out[owner[order], places] = (rows * mask.shape[1] + columns)[order]
    return out
