"""What tasks have in common that write texts: a decoder over the shared encoder as their head, and its vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from polyhead.answering.chooser import Chooser
from polyhead.data.example import Example, Prediction, Text
from polyhead.errors import PolyheadError
from polyhead.nn.decoders import (
    DecoderShape,
    build_decoder,
    describe_decoder,
    fresh_decoder,
    pretrained_decoder,
    warm_decoder,
)
from polyhead.nn.decoding import Decoder
from polyhead.nn.encoder import Encoder, Encoding
from polyhead.nn.searching import Search
from polyhead.nn.targets import SPECIALS, TargetVocabulary, learn_vocabulary, restore_vocabulary
from polyhead.tasks.base import Task, learnt
from polyhead.tasks.head import Head
from polyhead.tasks.writing_head import LONGEST, Seq2SeqHead

LEAST_PIECES = 256 + len(SPECIALS)
"""The smallest vocabulary: the bytes and the special pieces."""

LAYERS = 2
"""The layers of a fresh decoder: a deep encoder and a shallow decoder write as well, and faster (Kasai et al. 2021)."""

ROOM = 16
"""How many pieces may be written however short a text is."""

PER_HEAD = 64
"""The usual width of an attention head."""


@dataclass(kw_only=True)
class Writing(Task):
    """What tasks have in common whose head is a decoder that writes a text; each may share the head of any other.

    Attributes:
        decoder: Where the decoder begins: with random weights (fresh); with the encoder's own layers and new attention
            to what it reads (warm, Rothe et al. 2020); or as the decoder of the pretrained encoder-decoder whose
            encoder is the recipe's (pretrained).
        layers: The decoder's layers; of a fresh one 2, of a warm one by default as many as the encoder has.
        width: The size of a piece's vector in a fresh decoder; by default the encoder's.
        heads: The attention heads of a layer of a fresh decoder; by default one for each 64 of the width.
        feed_forward: The inner size of a layer of a fresh decoder; by default 4 times the width.
        vocabulary: How many pieces are learnt from the target texts at most; or encoder, for the encoder's own pieces.
            A pretrained decoder has its own.
        longest: The most pieces of a target: longer ones are left out in training, and no longer ones are written.
        stretch: How many pieces are written at most for each piece that is read, beside 16: a decoder that knows little
            yet would go on until longest.
        label_smoothing: The share of a piece's probability that is spread over all others in training (Szegedy et al.
            2016).
        language: The language to write, for a decoder that writes several: tasks that share a head each name their own,
            and it stands at the beginning of each text. Of mBART or NLLB it is their code, as fra_Latn; the language
            that is read is the dataset's language_code.
    """

    kind: ClassVar[type] = Text
    words: ClassVar[bool] = False
    own: ClassVar[frozenset[str]] = Task.own | {"layer", "language"}
    learns_from: ClassVar[str] = "pair of texts"

    dropout: float = 0.1
    decoder: Literal["fresh", "warm", "pretrained"] = "fresh"
    layers: Annotated[int, Field(ge=1, le=128)] | None = None
    width: Annotated[int, Field(ge=8, le=16384)] | None = None
    heads: Annotated[int, Field(ge=1)] | None = None
    feed_forward: Annotated[int, Field(ge=1, le=65536)] | None = None
    vocabulary: Annotated[int, Field(ge=LEAST_PIECES, le=1_000_000)] | Literal["encoder"] = 8000
    longest: Annotated[int, Field(ge=4, le=4096)] = LONGEST
    stretch: Annotated[float, Field(gt=0, le=1000)] = 3.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    language: Annotated[str, Field(pattern=r"^\S+$")] | None = None
    pieces: str = learnt(str)
    languages: list[str] = learnt()
    architecture: dict[str, Any] = learnt(dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("width", "heads", "feed_forward") if self.decoder == "warm" else ():
            self._refuse(key, "the encoder's layers have a shape of their own")
        for key in ("layers", "width", "heads", "feed_forward") if self.decoder == "pretrained" else ():
            self._refuse(key, "a pretrained decoder has a shape of its own")
        self._vocabulary: TargetVocabulary | None = None
        self._first: Decoder | None = None

    def _refuse(self, key: str, why: str) -> None:
        if getattr(self, key) is not None:
            what = f"tasks.{self.name}.{key} = {getattr(self, key)!r} stands beside decoder = {self.decoder!r}"
            raise PolyheadError(f"{what}: {why}.", remedy=f"Leave {key} out.")

    def prepare(self, examples: Sequence[Example]) -> None:
        """Learn the vocabulary from the target texts, unless it is a pretrained one or the run's is kept."""
        if not examples:
            raise PolyheadError(f"tasks.{self.name}: no {self.learns_from} is in the training split.")
        self.languages = sorted({one for one in (self.language, *self.languages) if one is not None})
        if isinstance(self.earlier, Writing):
            self.pieces, self.architecture = self.earlier.pieces, self.earlier.architecture
            self.languages = self.earlier.languages
            if self.languages and self.language is None:
                raise PolyheadError(
                    f"tasks.{self.name} names no language, but its decoder was told which to write: "
                    f"{', '.join(self.languages)}.",
                    remedy=f"Add language = {self.languages[0]!r}.".replace("'", '"'),
                )
        elif self.decoder != "pretrained" and self.vocabulary != "encoder":
            texts = map(self.gold, examples)
            learnt_here = learn_vocabulary(texts, self.vocabulary, self.languages)
            self.pieces = learnt_here.tokenizer.to_str()

    @property
    def writes_encoder_pieces(self) -> bool:
        """Whether the vocabulary is that of the encoder, or of the decoder that it was pretrained with."""
        return self.decoder == "pretrained" or self.vocabulary == "encoder"

    @classmethod
    def can_share(cls, other: type[Task]) -> bool:
        """A decoder learns from all tasks that write."""
        return issubclass(other, Writing)

    def lesson(self, example: Example, owner: Task) -> Example | None:
        """The example, its text to write as the owner's layer."""
        if not self.carries(example):
            return None
        return example if owner.layer == self.layer else replace(example, layers={owner.layer: self.gold(example)})

    def shared_with(self, others: Sequence[Task]) -> None:
        """Take note of the languages that the tasks which share this head write.

        Raises:
            PolyheadError: Some name a language, others none.
        """
        sharing = [self, *(one for one in others if isinstance(one, Writing))]
        self.languages = [one.language for one in sharing if one.language is not None]
        silent = next((one.name for one in sharing if one.language is None), None)
        if self.languages and silent is not None:
            raise PolyheadError(
                f"tasks.{silent} names no language, but shares a decoder that is told which to write: "
                f"{', '.join(dict.fromkeys(self.languages))}.",
                remedy=f"Say which one it writes: language in [tasks.{silent}].",
            )

    def bind(self, encoder: Encoder) -> None:
        """Fit vocabulary and decoder to the encoder.

        Raises:
            PolyheadError: The encoder has no decoder to go with it, or cannot be made into one; or the vocabulary has
                no piece for the language.
        """
        if not self.architecture:
            self._first = self._begin(encoder)
            self.architecture = describe_decoder(self._first)
            self._see_rows(encoder)
        vocabulary = self.target_vocabulary(encoder)
        if self.language is not None and vocabulary.language(self.language) is None:
            raise PolyheadError(
                f"tasks.{self.name}.language = {self.language!r} is no language of the decoder's vocabulary.",
                remedy="Take the code that the pretrained model has for it; or, of a vocabulary that is learnt here, "
                "begin with all languages that will be written.",
            )

    def _see_rows(self, encoder: Encoder) -> None:
        if self.decoder == "pretrained":
            most = max(encoder.tokenizer.tokenizer.get_vocab(with_added_tokens=True).values())
            if most >= int(self.architecture["config"]["vocab_size"]):
                raise PolyheadError(
                    f"tasks.{self.name}.decoder = 'pretrained' has no vectors for the new pieces of encoder.extend.",
                    remedy='Leave extend out, or take decoder = "fresh".',
                )

    def gold(self, example: Example) -> Text:
        """The text to write of an example that has the layer."""
        return Text(example.layers[self.layer])

    def target_vocabulary(self, encoder: Encoder | None = None) -> TargetVocabulary:
        """The pieces of target texts; those of the encoder are known when it is bound."""
        if self._vocabulary is None and self.pieces:
            self._vocabulary = restore_vocabulary(self.pieces)
        if self._vocabulary is None:
            assert encoder is not None, "the task is not bound to an encoder yet"
            ids = self.architecture["config"] if self.decoder == "pretrained" else _ids_of(encoder)
            start, end = ids.get("decoder_start_token_id"), int(ids["eos_token_id"])
            self._vocabulary = TargetVocabulary(
                encoder.tokenizer.tokenizer,
                start=end if start is None else int(start),
                end=end,
                padding=int(ids["pad_token_id"]),
            )
        return self._vocabulary

    def _begin(self, encoder: Encoder) -> Decoder:
        """The decoder before it learns."""
        if self.decoder == "pretrained":
            try:
                return pretrained_decoder(encoder.source)
            except Exception as error:  # broken files make safetensors raise bare Exceptions
                raise PolyheadError(
                    f"tasks.{self.name}.decoder = 'pretrained': the encoder {encoder.name!r} brings none: {error}.",
                    remedy='Take an encoder-decoder (T5, mBART, Marian, NLLB) as encoder, or decoder = "fresh".',
                ) from error
        if self.decoder == "warm":
            depth = encoder.depth - 1
            if self.layers is not None and self.layers > depth:
                raise PolyheadError(
                    f"tasks.{self.name}.layers = {self.layers}, but the encoder {encoder.name!r} has {depth}.",
                    remedy=f"Take {depth} or fewer.",
                )
            try:
                return warm_decoder(encoder.transformer, self._shape(encoder, self.layers or depth))
            except ValueError as error:
                raise PolyheadError(
                    f"tasks.{self.name}.decoder = 'warm': {error}.",
                    remedy='Take BERT, RoBERTa or ELECTRA as encoder, or decoder = "fresh".',
                ) from error
        return fresh_decoder(self._shape(encoder, self.layers or LAYERS), encoder.width)

    def _shape(self, encoder: Encoder, layers: int) -> DecoderShape:
        vocabulary = self.target_vocabulary(encoder)
        width = self.width or encoder.width
        heads = self.heads or next(n for n in range(max(1, width // PER_HEAD), 0, -1) if width % n == 0)
        if width % heads:
            raise PolyheadError(
                f"tasks.{self.name}.heads = {heads} does not divide the width {width}.", remedy="Take one that does."
            )
        return DecoderShape(
            layers=layers,
            width=width,
            heads=heads,
            feed_forward=self.feed_forward or 4 * width,
            pieces=len(vocabulary.pieces),
            longest=self.longest + 2,
            dropout=self.dropout,
            padding=vocabulary.padding,
            end=vocabulary.end,
        )

    def head(self, encoder: Encoder) -> Head:
        """A decoder; the first one made begins as the settings say, any other with random weights.

        Raises:
            PolyheadError: It has no room for texts of so many pieces.
        """
        decoder, self._first = self._first or build_decoder(self.architecture, encoder.width), None
        if decoder.room is not None and decoder.room < len(self.prompt) + self.longest:
            raise PolyheadError(
                f"tasks.{self.name}.longest = {self.longest} is more than the decoder has room for.",
                remedy=f"Take {decoder.room - len(self.prompt)} or fewer.",
            )
        return Seq2SeqHead(decoder, self.target_vocabulary(encoder), smoothing=self.label_smoothing)

    def framed(self, ids: Iterable[int]) -> NDArray[np.int64]:
        """The pieces of a text, from its start to its end. Shape (pieces,)."""
        return np.asarray([*self.prompt, *ids, self.target_vocabulary().end], dtype=np.int64)

    @property
    def prompt(self) -> list[int]:
        """What each target begins with, before its first piece."""
        vocabulary = self.target_vocabulary()
        if self.language is None:
            return [vocabulary.start]
        language = vocabulary.language(self.language)
        assert language is not None, "bind has seen to it"
        return [language] if self.pieces else [vocabulary.start, language]

    def steps(self, target: NDArray[np.int64]) -> int:
        """The pieces that a decoder reads."""
        return len(target) - 1

    @property
    def found_by(self) -> Search:
        """How a text is looked for."""
        return Search()

    def answer(self, head: Head, encoding: Encoding, *, sure: bool = True) -> list[Prediction]:
        """A text for each, in the task's language."""
        assert isinstance(head, Seq2SeqHead)
        read = encoding.memory[1].sum(1).tolist()
        longest = [min(self.longest, ROOM + round(self.stretch * pieces)) for pieces in read]
        return head.write(encoding, self.prompt, replace(self.found_by, sure=sure), longest)

    def chooser(self, head: Head) -> Chooser:
        """As ``answer``, for an exported model."""
        assert isinstance(head, Seq2SeqHead)
        return head.writer(self.prompt, self.found_by, self.longest, ROOM, self.stretch)


def _ids_of(encoder: Encoder) -> dict[str, int]:
    """The special pieces of an encoder's tokenizer that begin, end and fill up a text."""
    tokenizer = encoder.tokenizer
    codes = set(tokenizer.codes.values())  # they tell the language of what is read
    frame = tokenizer.single
    before, after = ([piece for piece in part if piece not in codes] for part in (frame.before, frame.after))
    end = after[-1] if after else tokenizer.padding
    start = before[0] if before else end
    return {"decoder_start_token_id": start, "eos_token_id": end, "pad_token_id": tokenizer.padding}
