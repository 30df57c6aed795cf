"""Text to text: translation, normalisation, summaries. The head is a decoder over the shared encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from polyhead.data.dataset import TRAIN
from polyhead.data.example import Example, Value
from polyhead.data.text import counted, listed
from polyhead.metrics import Tally
from polyhead.nn.searching import COLDEST, HOTTEST, MOST_BEAMS, Search, changed
from polyhead.tasks.writing import Writing
from polyhead.text_metrics import tally_texts, text_signatures


@dataclass(kw_only=True)
class Seq2Seq(Writing):
    """A text for each text, such as its translation, written by a decoder that reads the shared encoder's pieces.

    Attributes:
        beams: How many hypotheses are kept as a text is written; 1 takes the likeliest piece each time.
        length_penalty: With several beams: above 1 longer texts are preferred, below it shorter ones.
        temperature: Texts are drawn by their pieces' probabilities, with logits divided by this, in place of the
            likeliest.
        choose: The figure that says which weights are best.
    """

    metric: ClassVar[str] = "bleu"
    default_layer: ClassVar[str | None] = "target"

    beams: Annotated[int, Field(ge=1, le=MOST_BEAMS)] = 1
    length_penalty: Annotated[float, Field(ge=-10, le=10)] = 1.0
    temperature: Annotated[float, Field(ge=COLDEST, le=HOTTEST)] | None = None
    choose: Literal["bleu", "chrf"] = "bleu"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.metric = self.choose  # type: ignore[misc]
        self._too_long: list[str] = []
        self._best = 1

    def target(self, example: Example) -> NDArray[np.int64] | None:
        """The pieces of the target text, from its start to its end. Shape (pieces,)."""
        if not self.carries(example):
            return None
        ids = self.target_vocabulary().encode(self.gold(example))
        if len(ids) > self.longest:
            self._too_long.append(_place(example))
            return None
        return self.framed(ids)

    def units(self, example: Example, target: NDArray[np.int64]) -> int:  # noqa: ARG002
        """The pieces that are to be told: those of the target, but for its start."""
        return len(target) - 1

    def check(self, examples: Sequence[Example], split: str) -> list[str]:
        """Note gold texts that are longer than what is written; with the encoder's own pieces that is not known yet."""
        if split == TRAIN or not self.pieces:  # what training leaves out, remarks say
            return []
        found = [example for example in examples if self.carries(example)]
        coded = self.target_vocabulary().encode_all([self.gold(example) for example in found])
        places = [_place(example) for example, ids in zip(found, coded, strict=True) if len(ids) > self.longest]
        if not places:
            return []
        these = f"{counted(len(places), 'target')} of the {split} split ({listed(places)})"
        return [f"tasks.{self.name}: {these} of more pieces than are ever written: longest = {self.longest}"]

    def tally(self, examples: Sequence[Example], predicted: Sequence[Value]) -> Tally:
        """Of ``bleu`` and ``chrf``, as sacrebleu computes them, and ``length_ratio``."""
        gold = [self.gold(example) for example in examples]
        return tally_texts(gold, [str(text) for text in predicted], self.language)

    def signatures(self) -> dict[str, str]:
        """What exactly ``bleu`` and ``chrf`` are."""
        return text_signatures(self.language)

    def remarks(self) -> list[str]:
        """Which pairs were left out, because the target has too many pieces."""
        places, self._too_long = list(dict.fromkeys(self._too_long)), []
        if not places:
            return []
        left_out = f"{counted(len(places), 'pair')} left out ({listed(places)})"
        return [f"tasks.{self.name}: {left_out}: their targets have more than longest = {self.longest} pieces"]

    @property
    def answers(self) -> bool:
        """A task that shares a head answers in its own language."""
        return self.head_of is None or self.language is not None

    @property
    def found_by(self) -> Search:
        """As the settings say, or as was asked for."""
        return Search(self.beams, self.length_penalty, self.temperature, self._best)

    def search(self, *, beams: int | None, best: int, temperature: float | None) -> None:
        """Keep so many hypotheses, give so many texts, or draw them, in place of what the settings say."""
        found = changed(self.found_by, beams=beams, best=best, temperature=temperature)
        self.beams, self._best, self.temperature = found.beams, found.best, found.temperature


def _place(example: Example) -> str:
    return f"{example.file}:{example.line}"
