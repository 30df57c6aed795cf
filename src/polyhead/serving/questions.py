"""What goes to a model's process and comes back: questions, wishes about their answers, answers, failures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

OVERHEAD = 16
"""What a text costs beside its characters, in characters: even an empty one is encoded and answered."""


@dataclass(frozen=True, slots=True)
class Question:
    """One text.

    Attributes:
        text: Raw text; ``None`` if words are given.
        pair: The second text of a pair.
        words: The words of one sentence.
    """

    text: str | None = None
    pair: str | None = None
    words: tuple[str, ...] | None = None

    @property
    def cost(self) -> int:
        """About how much work it is, in characters."""
        own = len(self.text) if self.text is not None else sum(map(len, self.words or ())) + len(self.words or ())
        return OVERHEAD + own + len(self.pair or "")


@dataclass(frozen=True, slots=True)
class Wish:
    """How texts are to be answered; those with the same wish are answered together.

    Attributes:
        tasks: The tasks that answer; ``None`` for all.
        confidence: Whether it is wanted how sure answers are.
        format: JSON, as ``polyhead predict --to jsonl`` writes it, or CoNLL-U.
    """

    tasks: tuple[str, ...] | None = None
    confidence: bool = False
    format: Literal["json", "conllu"] = "json"


@dataclass(frozen=True, slots=True)
class Failure:
    """What comes instead of an answer.

    Attributes:
        refused: Whether the question is at fault, and not the model.
        what: What is wrong; of a model's fault nothing that only its owner should know.
        remedy: What would help.
        trace: Where a model failed, for the log: types of errors and lines of code, nothing of the text.
        said: The error's own words, which may hold some of the text.
    """

    refused: bool
    what: str
    remedy: str = ""
    trace: str = ""
    said: str = ""


Answer: TypeAlias = bytes | Failure
"""An answer as it is sent, in UTF-8."""

Group: TypeAlias = tuple[Wish, list[Question]]
"""Questions with the same wish."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a task of a model answers.

    Attributes:
        task: Its name, by which it is asked for.
        layer: What its answers are called.
        kind: The kind of its answers, in a word: see :data:`polyhead.serving.work.KINDS`.
        pair: Whether it learnt from pairs of texts.
    """

    task: str
    layer: str
    kind: str
    pair: bool
