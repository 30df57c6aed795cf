"""Lemmatisation: for each word the edit script that turns it into its lemma."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from polyhead.answering.chooser import Chooser
from polyhead.answering.words import ChooseLemmas
from polyhead.data.example import Example, Value, WordLabels
from polyhead.errors import PolyheadError
from polyhead.metrics import Tally, tally_words
from polyhead.nn.edits import apply, script
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.soft import Soft
from polyhead.nn.words import IGNORE
from polyhead.tasks.base import Task, learnt
from polyhead.tasks.head import Head, LossSum
from polyhead.tasks.labels import unseen_note
from polyhead.tasks.tagging import TaggingHead


@dataclass(kw_only=True)
class Lemmatization(Task):
    """The lemma of each word, chosen among the edit scripts of the training split.

    Attributes:
        scripts: The edit scripts, sorted.
    """

    kind: ClassVar[type] = WordLabels
    default_layer: ClassVar[str | None] = "lemma"
    inventory: ClassVar[str] = "scripts"

    scripts: list[str] = learnt()

    def prepare(self, examples: Sequence[Example]) -> None:
        """Collect the edit scripts."""
        pairs = {
            (word, lemma)
            for example in examples
            for word, lemma in zip(example.words, self._gold(example), strict=True)
            if lemma is not None
        }
        self.scripts = sorted({script(word, lemma) for word, lemma in pairs} | self.earlier_labels())
        if not self.scripts:
            raise PolyheadError(
                f"tasks.{self.name}: layer {self.layer!r} has no lemma in the training split.",
                file=examples[0].file if examples else None,
                remedy="Check which layer the task names.",
            )

    def head(self, encoder: Encoder) -> Head:
        """A linear layer over edit scripts on each word."""
        return LemmatizationHead(encoder.width, self.scripts, dropout=self.dropout)

    def target(self, example: Example) -> NDArray[np.int64] | None:
        """The edit script of each word, or ``IGNORE``. Shape (words,)."""
        if not self.carries(example):
            return None
        pairs = zip(example.words, self._gold(example), strict=True)
        gold = (IGNORE if lemma is None else self._script(word, lemma) for word, lemma in pairs)
        return np.fromiter(gold, dtype=np.int64, count=len(example.words))

    def unit_gold(self, example: Example) -> NDArray[np.int64] | None:
        """The edit script of each word."""
        return self.target(example)

    def check(self, examples: Sequence[Example], split: str) -> list[str]:
        """Lemmas whose edit script training never shows are counted in a note."""
        golds = (target for target in map(self.target, examples) if target is not None)
        lacking = sum(lemma is None for e in examples if self.carries(e) for lemma in self._gold(e))
        unseen = sum(int((gold == IGNORE).sum()) for gold in golds) - lacking
        return unseen_note(self, unseen, "an edit script", split)

    def choices(self) -> list[str]:
        """The edit scripts."""
        return self.scripts

    def reading(self, example: Example, unit: int, choice: int) -> str:
        """The lemma that an edit script makes of the word."""
        return apply(self.scripts[choice], example.words[unit])

    def tally(self, examples: Sequence[Example], predicted: Sequence[Value]) -> Tally:
        """Of ``accuracy`` over words that have a lemma."""
        return tally_words([self._gold(example) for example in examples], cast(Sequence[WordLabels], predicted))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {rule: i for i, rule in enumerate(self.scripts)}

    @cached_property
    def _memory(self) -> dict[tuple[str, str], int]:
        return {}

    def _script(self, word: str, lemma: str) -> int:
        if (word, lemma) not in self._memory:
            self._memory[word, lemma] = self._index.get(script(word, lemma), IGNORE)
        return self._memory[word, lemma]

    def _gold(self, example: Example) -> WordLabels:
        return cast(WordLabels, example.layers[self.layer])


class LemmatizationHead(Head):
    """A linear layer over edit scripts, whose choice is applied to the word.

    Args:
        width: The encoder's width.
        scripts: What to choose from.
        dropout: The share of values dropped in training.
    """

    def __init__(self, width: int, scripts: Sequence[str], *, dropout: float) -> None:
        super().__init__()
        self.scripts = list(scripts)
        self.choose = TaggingHead(width, scripts, dropout=dropout)

    def loss(self, encoding: Encoding, targets: Sequence[NDArray[np.int64]]) -> LossSum:
        """Cross entropy over words that have a lemma."""
        return self.choose.loss(encoding, targets)

    def soft(self, encoding: Encoding, choices: Sequence[str], temperature: float) -> list[Soft]:
        """The probabilities of each word's edit scripts: the largest, and the sum of the others."""
        return self.choose.soft(encoding, choices, temperature)

    def distil(self, encoding: Encoding, soft: Sequence[Soft], temperature: float) -> LossSum:
        """The Kullback-Leibler divergence from the teacher, summed over words."""
        return self.choose.distil(encoding, soft, temperature)

    def surprise(
        self, encoding: Encoding, targets: Sequence[NDArray[np.int64]], temperatures: Sequence[float]
    ) -> torch.Tensor:
        """Cross entropies over words that have a lemma, of logits over each temperature."""
        return self.choose.surprise(encoding, targets, temperatures)

    def chances(self, encoding: Encoding, targets: Sequence[object]) -> list[NDArray[np.float32]]:
        """The probability of each edit script of each word, (words, edit scripts)."""
        return self.choose.chances(encoding, targets)

    def scores(self, encoding: Encoding) -> dict[str, torch.Tensor]:
        """The logits of edit scripts. Shape (all words, scripts)."""
        return self.choose.scores(encoding)

    def chooser(self) -> Chooser:
        """The lemma of each word."""
        return ChooseLemmas(self.scripts)

    def label_axes(self) -> dict[str, dict[int, list[str]]]:
        """A row for each edit script."""
        return {f"choose.{name}": axes for name, axes in self.choose.label_axes().items()}
