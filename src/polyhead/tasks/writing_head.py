"""The head of tasks that write texts: a decoder over the shared encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from polyhead.answering.chooser import Chooser
from polyhead.answering.writing import WriteText
from polyhead.data.example import Prediction, Text
from polyhead.nn.decoding import IGNORE, Decoder, Ends
from polyhead.nn.encoder import Encoding
from polyhead.nn.searching import Search
from polyhead.nn.targets import TargetVocabulary
from polyhead.tasks.head import Head, LossSum, Network
from polyhead.tasks.stepping import stepping

LONGEST = 128
"""The most pieces of a text, unless the recipe says otherwise."""


class Seq2SeqHead(Head):
    """A decoder and its vocabulary.

    Args:
        decoder: Reads the encoder's pieces.
        vocabulary: Its pieces.
        smoothing: The share of a piece's probability that is spread over all others.
    """

    def __init__(self, decoder: Decoder, vocabulary: TargetVocabulary, *, smoothing: float) -> None:
        super().__init__()
        self.decoder = decoder
        self.vocabulary = vocabulary
        self.smoothing = smoothing

    def loss(self, encoding: Encoding, targets: Sequence[NDArray[np.int64]]) -> LossSum:
        """Cross entropy over the pieces of the targets, with label smoothing."""
        logits, gold = self._logits(encoding, targets)
        total = nn.functional.cross_entropy(
            logits, gold, ignore_index=IGNORE, reduction="sum", label_smoothing=self.smoothing
        )
        return LossSum(total, sum(len(target) - 1 for target in targets))

    def measure(self, encoding: Encoding, targets: Sequence[NDArray[np.int64]]) -> dict[str, float]:
        """The loss without smoothing, how many pieces there are, and for how many the likeliest one is right."""
        logits, gold = self._logits(encoding, targets)
        total = nn.functional.cross_entropy(logits, gold, ignore_index=IGNORE, reduction="sum")
        units = sum(len(target) - 1 for target in targets)
        return {"loss": float(total), "units": units, "right": int((logits.argmax(dim=1) == gold).sum())}

    def write(
        self, encoding: Encoding, prompt: Sequence[int], search: Search, longest: Sequence[int]
    ) -> list[Prediction]:
        """A text for each text, and others if the search is for several, with the mean probability of their pieces.

        A text of which the encoder's tokenizer leaves nothing is answered with an empty one.

        Args:
            encoding: What is read.
            prompt: What each text begins with.
            search: How they are looked for.
            longest: The most pieces of each.
        """
        states, mask = encoding.memory
        vocabulary = self.vocabulary
        ends = Ends(vocabulary.end, vocabulary.padding, longest)
        found = self.decoder.write(states, mask, prompt, search, ends)
        answers = []
        for several, empty in zip(found, encoding.empty, strict=True):
            texts = [(Text(vocabulary.decode(one.ids)), one.chance) for one in several]
            answers.append(Prediction(Text(), 1.0) if empty else Prediction(*texts[0], others=tuple(texts[1:])))
        return answers

    exports: ClassVar[bool] = True  # predict writes as the chooser does, with transformers' own search

    def predict(self, encoding: Encoding) -> list[Prediction]:
        """The likeliest text for each, of a decoder that writes one language."""
        return self.write(encoding, [self.vocabulary.start], Search(), [LONGEST] * len(encoding))

    def scores(self, encoding: Encoding) -> dict[str, Tensor]:
        """What the decoder reads: ``states``, (batch, pieces, width), and ``mask``, (batch, pieces)."""
        states, mask = encoding.memory
        return {"states": states.float(), "mask": mask}

    def chooser(self) -> Chooser:
        """As ``predict``; a task that writes has one of its own."""
        return self.writer([self.vocabulary.start], Search(), LONGEST, LONGEST, 0.0)

    def writer(self, prompt: Sequence[int], search: Search, longest: int, room: int, stretch: float) -> WriteText:
        """What writes texts that begin with ``prompt``; see :class:`WriteText`."""
        vocabulary = self.vocabulary
        return WriteText(
            vocabulary=vocabulary.tokenizer.to_str(),
            literal=vocabulary.tokenizer.encode_special_tokens,
            prompt=list(prompt),
            end=vocabulary.end,
            padding=vocabulary.padding,
            longest=longest,
            room=room,
            stretch=stretch,
            beams=search.beams,
            length_penalty=search.length_penalty,
            temperature=search.temperature,
            best=search.best,
        )

    def networks(self) -> Mapping[str, Network]:
        """The decoder's first step, and each further one."""
        return stepping(self.decoder, self.vocabulary.start)

    def label_axes(self) -> dict[str, dict[int, list[str]]]:
        """A row for each piece of the vocabulary, in the piece vectors and in what is added to the logits."""
        pieces = self.vocabulary.pieces
        axes: dict[str, dict[int, list[str]]] = {}
        for name, value in self.state_dict().items():
            vectors = name.endswith(("embed_tokens.weight", "word_embeddings.weight", "lm_head.weight"))
            if vectors and value.shape[0] == len(pieces):
                axes[name] = {0: pieces}
            elif name.endswith("bias") and value.shape[-1] == len(pieces):
                axes[name] = {value.dim() - 1: pieces}
        return axes

    def settle(self, earlier: Head) -> None:
        """Give a piece that is new to the vocabulary the mean vector of the earlier pieces that it is made of."""
        assert isinstance(earlier, Seq2SeqHead)
        known = set(earlier.vocabulary.pieces)
        ours, theirs = self.decoder.embedding.weight, earlier.decoder.embedding.weight
        with torch.no_grad():
            for number, piece in enumerate(self.vocabulary.pieces):
                parts = [] if piece in known else earlier.vocabulary.parts(piece)
                if parts:
                    ours[number] = theirs[parts].mean(0)

    def _logits(self, encoding: Encoding, targets: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
        """Logits of each piece after the right ones, and its id. Shapes (batch x steps, pieces), (batch x steps,)."""
        states, mask = encoding.memory
        most = max(len(target) for target in targets) - 1
        given = np.full((len(targets), most), self.vocabulary.padding, dtype=np.int64)
        gold = np.full((len(targets), most), IGNORE, dtype=np.int64)
        for row, target in enumerate(targets):
            given[row, : len(target) - 1] = target[:-1]
            gold[row, : len(target) - 1] = target[1:]
        read, expected = (torch.from_numpy(ids).to(states.device) for ids in (given, gold))
        return self.decoder(states, mask, read).flatten(0, 1), expected.flatten()
