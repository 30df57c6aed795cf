"""From texts to documents: sentences and words, every head's answers, streams in bounded memory; without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Literal, Protocol

from polyhead.data.example import Example, Prediction, Text
from polyhead.data.segment import split as split_text
from polyhead.data.spec import CONLLU_LAYERS
from polyhead.data.word_rules import WordRules
from polyhead.data.writers import set_apart
from polyhead.doc import Doc, Sentence
from polyhead.errors import PolyheadError, nearest
from polyhead.nn.pieces import Pieces

CHUNK_TEXTS, CHUNK_CHARACTERS = 1024, 200_000
"""How many texts, and how much of them, are read before they are answered."""

LONGEST = 500
"""The most words of a sentence cut from raw text: what runs on for longer is a list or no prose, and a parser's work
grows with the square of it."""


class Answering(Protocol):
    """What an annotator knows of a task.

    Attributes:
        data, layer: Its dataset and layer.
        kind: The kind of value that it answers with.
        words: Whether it is about words.
        annotates, answers: Whether it has a layer, and an answer of its own beside those of others.
    """

    data: str
    layer: str

    @property
    def kind(self) -> type:
        """See above."""

    @property
    def words(self) -> bool:
        """See above."""

    @property
    def annotates(self) -> bool:
        """See above."""

    @property
    def answers(self) -> bool:
        """See above."""

    def search(self, *, beams: int | None, best: int, temperature: float | None) -> None:
        """Look for texts in another way from now on."""


class Backend(Protocol):
    """What computes answers.

    Attributes:
        tasks: The tasks by name.
        info: What is kept beside the weights, such as the datasets' formats.
        precision: What it was told to compute in; ``None`` where that cannot be chosen.
        cutter: Cuts raw text into words; ``None`` for the usual rules.
    """

    @property
    def tasks(self) -> Mapping[str, Answering]:
        """See above."""

    @property
    def info(self) -> Mapping[str, Any]:
        """See above."""

    @property
    def precision(self) -> Literal["fp32", "bf16"] | None:
        """See above."""

    @property
    def cutter(self) -> WordRules | None:
        """See above."""

    def tokenise(self, examples: Sequence[Example], language: str | None = None) -> Sequence[Pieces]:
        """The pieces of each example, as texts in this language."""

    def answer(
        self, items: Sequence[Pieces], tasks: Sequence[str], *, sure: bool = True
    ) -> list[dict[str, Prediction]]:
        """The answers of some tasks for each example; tasks about words do not answer for raw text."""


class Annotator:
    """A trained model that answers for texts: what :func:`polyhead.load` gives.

    Args:
        backend: Computes the answers: torch, or onnxruntime for an exported model.

    Attributes:
        about_pairs: The tasks that learnt from text pairs.

    Raises:
        PolyheadError: No head annotates: the model was only pretrained.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._answer_with(output_names(backend.tasks))
        if not self.names:
            raise PolyheadError(
                f"This model annotates nothing: it learnt only {', '.join(backend.tasks)}, from text without labels.",
                remedy="Train it further with tasks that have labels.",
            )
        self.keys = _keys(backend)

    def _answer_with(self, names: Mapping[str, str]) -> None:
        """Set the tasks that answer, and what their answers are called."""
        self.names = dict(names)
        units = self.backend.info.get("units", {})
        tasks = {name: self.backend.tasks[name] for name in names}
        self._whole = [name for name, task in tasks.items() if not task.words and units.get(name) != "words"]
        self._rest = [name for name in tasks if name not in self._whole]
        data = self.backend.info.get("data", {})
        self._by_language: dict[str | None, list[str]] = {}
        for name, task in tasks.items():
            self._by_language.setdefault(data.get(task.data, {}).get("language_code"), []).append(name)
        self.about_pairs = [name for name in self._whole if units.get(name) == "pair"]

    def only(self, *tasks: str) -> Annotator:
        """The same, with the answers of some tasks alone, one or more; they keep the model's order.

        Raises:
            PolyheadError: No task is named, or none that annotates has such a name.
        """
        if not tasks:
            raise PolyheadError("No task is named.", remedy=f"Known: {', '.join(self.names)}.")
        for task in tasks:
            if task not in self.names:
                raise PolyheadError(
                    f"No task of the model that annotates is called {task!r}.", remedy=nearest(task, self.names)
                )
        narrowed = copy(self)
        narrowed._answer_with({name: shown for name, shown in self.names.items() if name in tasks})
        return narrowed

    def searching(self, *, beams: int | None = None, best: int = 1, temperature: float | None = None) -> Annotator:
        """The same, with texts looked for in another way than the model was trained to; the model itself changes.

        Args:
            beams: How many hypotheses are kept; by default as the task says, and at least ``best``.
            best: How many texts are wanted; those after the first are ``Prediction.others``.
            temperature: Texts are drawn by their pieces' probabilities, with logits divided by this.

        Raises:
            PolyheadError: The model writes no texts, or a number is out of bounds.
        """
        if not self.writers:
            raise PolyheadError("No task of the model writes texts.", remedy="Leave beams, n-best and temperature out.")
        for name in self.writers:
            self.backend.tasks[name].search(beams=beams, best=best, temperature=temperature)
        return self

    @property
    def writers(self) -> list[str]:
        """The tasks whose answers are texts."""
        return [name for name in self.names if self.backend.tasks[name].kind is Text]

    @property
    def about_parts(self) -> list[str]:
        """The tasks whose answers are not for a text as a whole, but for its words or sentences; texts are joined."""
        return [name for name in self._rest if name not in self.writers]

    @property
    def about_sentences(self) -> list[str]:
        """The tasks that answer for each sentence of a raw text, and not for the whole."""
        return list(self._rest)

    def __call__(self, text: str) -> Doc:
        """Every head's answer for a raw text.

        Raises:
            TypeError: Something else was given.
        """
        if not isinstance(text, str):
            raise TypeError(f"a text is a string, not {type(text).__name__}; see .texts, .words and .pairs for several")
        return self.texts([text])[0]

    def texts(self, texts: Iterable[str]) -> list[Doc]:
        """Every head's answer for each of several raw texts."""
        return list(self.stream(Example(text=text) for text in texts))

    def words(self, texts: Iterable[Sequence[str]]) -> list[Doc]:
        """Every head's answer for texts that are split into words already, one sentence each."""
        return list(self.stream(Example(words=tuple(words)) for words in texts))

    def pairs(self, pairs: Iterable[tuple[str, str]]) -> list[Doc]:
        """The answers of heads about text pairs."""
        return list(self.stream(Example(text=first, pair=second) for first, second in pairs))

    def stream(self, examples: Iterable[Example], *, split: bool | None = None) -> Iterator[Doc]:
        """Answer for a stream of examples in bounded memory, in their order.

        Args:
            examples: With words, or raw text.
            split: Whether raw text is split into sentences and words; by default only if some head is about words.
        """
        split = bool(self._rest) if split is None else split
        for chunk in chunks(examples):
            yield from self._answer(chunk, split)

    def _answer(self, examples: Sequence[Example], split: bool) -> Iterator[Doc]:
        """Lay out what is to be encoded: each sentence once, and a whole text only if it has several sentences."""
        units: list[Example] = []
        layout: list[tuple[Example, range, int]] = []  # text, its sentences, and where its whole is encoded
        for example in examples:
            parts = (
                [example]
                if example.words or example.pair is not None or not split
                else cut(example, self.backend.cutter)
            )
            first = len(units)
            units += parts
            if len(parts) != 1:
                units.append(example)
            layout.append((example, range(first, first + len(parts)), len(units) - 1))
        alone = [whole for _, sentences, whole in layout if whole not in sentences]
        given = self._all_answers(units, set(alone))
        for example, places, whole in layout:
            named = {self.names[task]: given[whole][task] for task in self._whole}
            sentences = tuple(
                Sentence(
                    units[i],
                    {self.names[task]: answer for task, answer in given[i].items() if task not in self._whole},
                    self.keys,
                )
                for i in places
            )
            yield Doc(example, sentences if split or example.words else (), named, self.keys)

    def _all_answers(self, units: Sequence[Example], wholes: set[int]) -> list[dict[str, Prediction]]:
        everything = [i for i in range(len(units)) if i not in wholes]
        out: list[dict[str, Prediction]] = [{} for _ in units]
        for language, names in self._by_language.items():  # each task reads texts as those that it learnt from
            items = self.backend.tokenise(units, language)
            parts = [(everything, names), (sorted(wholes), [name for name in self._whole if name in names])]
            for rows, tasks in parts:
                for row, answers in zip(rows, self.backend.answer([items[i] for i in rows], tasks), strict=True):
                    out[row] |= answers
        return out


def output_names(tasks: Mapping[str, Answering]) -> dict[str, str]:
    """What the answers of each task that answers are called: its layer, or its own name where two would be called the
    same."""
    return set_apart({name: task.layer for name, task in tasks.items() if task.answers})


def _keys(model: Backend) -> dict[str, str]:
    """The CoNLL-U key of a layer, where its dataset has one of its own."""
    specs = model.info.get("data", {})
    tasks = [task for task in model.tasks.values() if task.annotates]
    wishes = {layer: layer for layer in sorted({task.layer for task in tasks} - set(CONLLU_LAYERS))}
    for task in tasks:
        spec = specs.get(task.data, {})
        wishes |= {k: v for table in ("misc", "comments") for k, v in spec.get(table, {}).items() if k == task.layer}
    return {layer: key for layer, key in set_apart(wishes).items() if key != layer}


def cut(example: Example, cutter: WordRules | None = None) -> list[Example]:
    """A raw text as sentences with words; none for white space. By default the usual rules cut words."""
    text = example.text or ""
    sentences = []
    found = (words[i : i + LONGEST] for words in split_text(text, cutter) for i in range(0, len(words), LONGEST))
    for words in found:
        start, end = words[0][0], words[-1][1]
        sentences.append(
            Example(
                words=tuple(text[a:b] for a, b in words),
                text=text[start:end],
                offsets=tuple((a - start, b - start) for a, b in words),
                file=example.file,
                line=example.line,
            )
        )
    return sentences


def chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Groups of examples that are worth sorting by length, yet small. What was read before a fault comes before it."""
    chunk: list[Example] = []
    size = 0
    try:
        for example in examples:
            chunk.append(example)
            size += (len(example.words) * 6 or len(example.text or "")) + len(example.pair or "")
            if len(chunk) >= CHUNK_TEXTS or size >= CHUNK_CHARACTERS:
                yield chunk
                chunk, size = [], 0
    except Exception:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk
