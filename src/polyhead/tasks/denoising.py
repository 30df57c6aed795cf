"""Denoising: parts of plain text are replaced by masks, and a decoder learns to write the text as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from polyhead.data.example import Example, Text, Value
from polyhead.errors import PolyheadError
from polyhead.metrics import perplexity
from polyhead.nn.pieces import Ints, Pieces, PieceTokenizer
from polyhead.tasks.base import Task
from polyhead.tasks.packing import Packing
from polyhead.tasks.writing import Writing


@dataclass(kw_only=True)
class Denoising(Writing):
    """Pretraining of a decoder on plain text, before or beside a seq2seq task: parts of a text are replaced by masks,
    and the decoder learns to write the whole text (Lewis et al. 2020, BART's text infilling).

    What is replaced is drawn anew for each step, on the dev and test splits once and for all. The text to write is
    the text itself, with its capitals and accents, whatever the encoder's tokenizer drops of it.

    Attributes:
        share: The share of words that are replaced, on average.
        span: How many words in a row one mask stands for, on average (of a Poisson distribution): it may also stand
            for none.
        longest: The most pieces of a text, in the encoder's vocabulary or the decoder's; a longer text becomes several.
    """

    metric: ClassVar[str] = "perplexity"
    lower_is_better: ClassVar[bool] = True
    annotates: ClassVar[bool] = False
    learns_from: ClassVar[str] = "text"

    share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    span: Annotated[float, Field(ge=1, le=100)] = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.word != "first":
            raise PolyheadError(f"tasks.{self.name}.word = {self.word!r}: a decoder reads pieces, not words.")

    @property
    def packing(self) -> Packing:
        """A row for each text, with what the decoder is to write."""
        return Packing(self.longest, joined=False, vocabulary=self.target_vocabulary(), longest=self.longest)

    def lesson(self, example: Example, owner: Task) -> Example:
        """The text, as what is to be written for it."""
        text = example.raw if example.pair is None else f"{example.raw} {example.pair}"
        return replace(example, layers={owner.layer: Text(text)})

    def target(self, example: Example) -> None:  # noqa: ARG002
        """A text has no gold beside itself; that comes with the masks."""
        return

    def score(self, examples: Sequence[Example], predicted: Sequence[Value]) -> dict[str, float]:  # noqa: ARG002
        """Nothing: see ``figures``."""
        return {}

    def corrupt(
        self, pieces: Pieces, tokenizer: PieceTokenizer, rng: np.random.Generator
    ) -> tuple[Pieces, NDArray[np.int64]]:
        """Replace spans of words by a mask each; never more pieces than before. The target is the whole text.

        Where the tokenizer has no mask, its unknown piece stands for one.
        """
        assert pieces.target is not None, "blocks of such a task have it"
        mask = tokenizer.unknown if tokenizer.mask is None else tokenizer.mask
        bounds = np.append(pieces.starts, len(pieces.ids))
        bounds[0] = 0
        spans = [(bounds[first], bounds[first + count]) for first, count in self._spans(len(bounds) - 1, rng)]
        ids = _replaced(pieces.ids, spans, mask)
        case = None if pieces.case is None else _replaced(pieces.case, spans, 0)
        return Pieces(ids, case=case, code=pieces.code), self.framed(pieces.target)

    def _spans(self, words: int, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Which of so many words to replace: the first of each span and how many they are, in order.

        Lengths are drawn until there are enough words; the last span is cut. Between two spans a word stays, if enough
        words stay at all.
        """
        left = hidden = int(self.share * words + rng.random())
        lengths = []
        while left:
            lengths.append(min(int(rng.poisson(self.span)), left))
            left -= lengths[-1]
        spare = hidden - sum(length > 0 for length in lengths)  # so many masks may stand for nothing: no row grows
        empty = np.cumsum([length == 0 for length in lengths])
        lengths = [length for length, before in zip(lengths, empty, strict=True) if length or before <= spare]
        lengths = [lengths[i] for i in rng.permutation(len(lengths))]  # the one that was cut may be anywhere
        gaps = words - hidden + 1
        places = np.sort(rng.choice(gaps, size=len(lengths), replace=len(lengths) > gaps))
        spans: dict[int, int] = {}  # how many words are replaced at each gap between those that stay
        for place, length in zip(places.tolist(), lengths, strict=True):
            spans[place] = spans.get(place, 0) + length
        before = np.cumsum([0, *spans.values()]).tolist()
        return [(place + gone, length) for (place, length), gone in zip(spans.items(), before, strict=False)]

    def block_units(self, pieces: int) -> int:
        """The pieces that the decoder writes, its end and its language included."""
        return pieces + len(self.prompt)

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """``perplexity`` of the decoder's pieces, and the ``accuracy`` of the likeliest one, each after the right ones
        before it."""
        return perplexity(sums["loss"], sums["right"], sums["units"])


def _replaced(values: Ints, spans: Sequence[tuple[int, int]], by: int) -> Ints:
    """An array with one value in the place of each span."""
    parts, at = [], 0
    for start, end in spans:
        parts += [values[at:start], np.asarray([by], dtype=values.dtype)]
        at = end
    return np.concatenate([*parts, values[at:]])
