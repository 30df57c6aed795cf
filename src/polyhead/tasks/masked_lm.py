"""Masked language modelling: pieces of plain text are hidden, and the encoder learns to find out which they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from polyhead.data.example import Example, Prediction, Value, WordLabels
from polyhead.errors import PolyheadError
from polyhead.metrics import perplexity
from polyhead.nn.dropout import Dropout
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.pieces import Ints, Pieces, PieceTokenizer
from polyhead.tasks.base import Task
from polyhead.tasks.head import Head, LossSum
from polyhead.tasks.packing import Packing

MASKED, REPLACED = 0.8, 0.1
"""The shares of hidden pieces that become the mask, and any piece; the rest stay as they are (Devlin et al. 2019)."""


@dataclass(kw_only=True)
class MaskedLm(Task):
    """Pretraining on plain text, from scratch or to get to know a domain: pieces are hidden, and the encoder learns to
    tell which they were.

    Masks are drawn anew for each step (Liu et al. 2019), those of the dev and test splits once and for all. The encoder
    is not told how hidden words were capitalised.

    Attributes:
        share: The share of pieces that are hidden.
        whole_words: Whether all pieces of a word are hidden together.
        block: The most pieces of a row, special ones included; at most the encoder's window.
        joined: Whether short texts share a row, with a separator between them; a text that does not fit goes on in the
            next row. Otherwise each text has rows of its own.
    """

    metric: ClassVar[str] = "perplexity"
    lower_is_better: ClassVar[bool] = True
    kind: ClassVar[type] = WordLabels
    words: ClassVar[bool] = False
    annotates: ClassVar[bool] = False

    dropout: float = 0.0
    share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    whole_words: bool = True
    block: Annotated[int, Field(ge=8)] = 128
    joined: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.word != "first":
            raise PolyheadError(f"tasks.{self.name}.word = {self.word!r}: hidden pieces are told one by one.")

    @property
    def packing(self) -> Packing:
        """Rows of text."""
        return Packing(self.block, self.joined)

    def prepare(self, examples: Sequence[Example]) -> None:
        """There is nothing to learn beforehand, but there must be texts."""
        if not examples:
            raise PolyheadError(f"tasks.{self.name}: data.{self.data} has no text in the training split.")

    def head(self, encoder: Encoder) -> Head:
        """The usual transform, and the encoder's own piece embeddings as output weights.

        Raises:
            PolyheadError: The tokenizer has no piece that stands for a masked one.
        """
        if encoder.tokenizer.mask is None:
            raise PolyheadError(
                f"tasks.{self.name}: the tokenizer of the encoder {encoder.name!r} has no mask.",
                remedy="Take an encoder whose tokenizer has a piece [MASK] or <mask>.",
            )
        return MaskedLmHead(encoder, dropout=self.dropout)

    def target(self, example: Example) -> None:  # noqa: ARG002
        """A text has no gold: what is to be found out comes with the masks."""
        return

    def score(self, examples: Sequence[Example], predicted: Sequence[Value]) -> dict[str, float]:  # noqa: ARG002
        """Nothing: there is no gold to hold answers against. See ``figures``."""
        return {}

    def corrupt(self, pieces: Pieces, tokenizer: PieceTokenizer, rng: np.random.Generator) -> tuple[Pieces, Ints]:
        """Hide some pieces; the head reads their places as words, and the target is which they were. Shape (hidden,).

        Special and unknown pieces are never hidden.
        """
        places = self._chosen(pieces, tokenizer, rng)
        gold = pieces.ids[places]
        ids, case = pieces.ids.copy(), pieces.case
        fate = rng.random(len(places))
        known = np.flatnonzero(tokenizer.ordinary)
        others = known[rng.integers(len(known), size=len(places))]
        mask = np.int64(-1 if tokenizer.mask is None else tokenizer.mask)  # ``head`` sees that there is one
        ids[places] = np.where(fate < MASKED, mask, np.where(fate < MASKED + REPLACED, others, gold))
        if case is not None:  # capitals would give much away
            case = case.copy()
            case[places] = 0
        return Pieces(ids, places, words=("",) * len(places), case=case, code=pieces.code), gold

    def _chosen(self, pieces: Pieces, tokenizer: PieceTokenizer, rng: np.random.Generator) -> Ints:
        """The places of the pieces to hide, in order: at least one if there is any that may be. Shape (hidden,)."""
        allowed = tokenizer.ordinary[pieces.ids]  # (pieces,)
        if self.whole_words:
            first = np.zeros(len(pieces.ids), dtype=np.int64)
            first[pieces.starts] = 1
            units = np.cumsum(first)  # the word of each piece
            units = np.where(allowed, units, 0)
        else:
            units = np.where(allowed, np.arange(1, len(pieces.ids) + 1), 0)
        names, sizes = np.unique(units[units > 0], return_counts=True)
        order = rng.permutation(len(names))
        budget = self.block_units(int(allowed.sum()))
        # A word is taken if at least half of it fits, so that as many pieces are hidden as were asked for on average.
        taken = np.cumsum(sizes[order]) - sizes[order] / 2 <= budget
        taken[:1] = True
        return np.flatnonzero(np.isin(units, names[order[taken]]))

    def block_units(self, pieces: int) -> int:
        """How many of so many pieces are hidden, about."""
        return max(1, round(self.share * pieces))

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """``perplexity`` of the hidden pieces, and the ``accuracy`` of the likeliest one."""
        return perplexity(sums["loss"], sums["right"], sums["units"])


class MaskedLmHead(Head):
    """A dense layer with GELU and normalisation, then the product with the encoder's piece vectors and a bias, as in
    BERT (Devlin et al. 2019); for hidden pieces only.

    The output weights are tied to the input's (Press and Wolf 2017): they belong to the encoder, and learn from both.

    Args:
        encoder: Whose pieces to tell.
        dropout: The share of values dropped in training.
    """

    def __init__(self, encoder: Encoder, *, dropout: float) -> None:
        super().__init__()
        self.encoder = [encoder]  # in a list, so that its weights are not this module's
        pieces, width = self.embedding.shape
        self.dropout = Dropout(dropout)
        self.dense = nn.Linear(encoder.width, width)  # small ELECTRA and ALBERT embed more narrowly
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(pieces))
        with torch.no_grad():  # Where piece vectors are long, as T5's, the first logits would be huge.
            self.norm.weight.div_(self.embedding.detach().float().norm(dim=1).mean().clamp(min=1.0))

    @property
    def embedding(self) -> Tensor:
        """The encoder's piece vectors. Shape (pieces, width)."""
        (encoder,) = self.encoder
        found: Tensor = encoder.transformer.get_input_embeddings().weight  # type: ignore[operator]
        return found

    def forward(self, encoding: Encoding) -> Tensor:
        """Logits of each hidden piece, one text after the other. Shape (hidden, pieces)."""
        hidden = self.dropout(encoding.flat_words)
        transformed = self.norm(nn.functional.gelu(self.dense(hidden)))  # (hidden, width)
        return nn.functional.linear(transformed, self.embedding).float() + self.bias

    def loss(self, encoding: Encoding, targets: Sequence[Ints]) -> LossSum:
        """Cross entropy over hidden pieces."""
        gold = self._gold(targets)
        return LossSum(nn.functional.cross_entropy(self(encoding), gold, reduction="sum"), len(gold))

    def measure(self, encoding: Encoding, targets: Sequence[Ints]) -> dict[str, float]:
        """The loss, how many pieces are hidden, and for how many of them the likeliest piece is right."""
        gold, logits = self._gold(targets), self(encoding)
        total = nn.functional.cross_entropy(logits, gold, reduction="sum")
        right = (logits.argmax(dim=1) == gold).sum() if len(gold) else 0
        return {"loss": float(total), "units": len(gold), "right": int(right)}

    def predict(self, encoding: Encoding) -> list[Prediction]:
        """The likeliest piece at each place that is read as a word."""
        (encoder,) = self.encoder
        chances, ids = torch.softmax(self(encoding), dim=1).max(dim=1)
        names = [encoder.tokenizer.tokenizer.id_to_token(i) or "" for i in ids.tolist()]
        ends = np.cumsum(encoding.counts).tolist()
        bounds = zip([0, *ends[:-1]], ends, strict=True)
        sure = chances.tolist()
        return [Prediction(WordLabels(names[a:b]), tuple(sure[a:b])) for a, b in bounds]

    def _gold(self, targets: Sequence[Ints]) -> Tensor:
        return torch.from_numpy(np.concatenate(targets)).to(self.bias.device)
