"""The pieces that a decoder writes: a vocabulary learnt from the target texts, or that of a pretrained model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PADDING, START, END, UNKNOWN = range(4)
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
"""The special pieces of a vocabulary that was learnt here, by their ids; after them come those of languages."""


class TargetVocabulary:
    """From a target text to pieces, and back.

    Args:
        tokenizer: A tokenizer of the tokenizers library; truncation and padding in it are switched off.
        start: The id that a text begins with.
        end: The id that it ends with.
        padding: The id that fills up shorter ones.
    """

    def __init__(self, tokenizer: Tokenizer, *, start: int, end: int, padding: int) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.start = start
        self.end = end
        self.padding = padding

    def encode(self, text: str) -> list[int]:
        """The ids of a text's pieces, without special ones."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """As :meth:`encode`, of several texts at once, which is faster."""
        return [one.ids for one in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these pieces; special ones are left out, and line breaks and tabs become spaces.

        A decoder that knows little yet may write any byte: of those, NUL is in no text that could be read again.
        """
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True).replace("\0", "")
        return " ".join(text.split()) if "\n" in text or "\t" in text else text.strip()

    def language(self, name: str) -> int | None:
        """The id of the piece that says which language to write; ``None`` if there is none.

        It is one of the pieces that were added beside those of words, some of which, as "de", may be called as it is.
        """
        names = (language_piece(name), name, f"__{name}__")  # here; NLLB and mBART; M2M100
        return next((self._added[piece] for piece in names if piece in self._added), None)

    @cached_property
    def _added(self) -> dict[str, int]:
        """The ids of the pieces that were added beside those of words; each text to learn from asks for one."""
        return {token.content: number for number, token in self.tokenizer.get_added_tokens_decoder().items()}

    @cached_property
    def pieces(self) -> list[str]:
        """All pieces, by their ids."""
        known = self.tokenizer.get_vocab(with_added_tokens=True)
        names = [f"<{i}>" for i in range(max(known.values()) + 1)]  # ids that no piece has
        for piece, number in known.items():
            names[number] = piece
        return names

    def parts(self, piece: str) -> list[int]:
        """The ids of the pieces that make up another vocabulary's piece, as far as this one can make it."""
        return [token.id for token in self.tokenizer.model.tokenize(piece)]


def language_piece(name: str) -> str:
    """The piece that stands at the beginning of a text in a language."""
    return f"<2{name}>"


def learn_vocabulary(texts: Iterable[str], size: int, languages: Sequence[str] = ()) -> TargetVocabulary:
    """Learn pieces from target texts by byte pair encoding (Sennrich et al. 2016) over bytes.

    Case, accents, spaces and punctuation all are in the pieces, so that a text comes back as it was, but for being
    composed (NFC). The same texts give the same pieces.

    Args:
        texts: The texts.
        size: The most pieces, special ones included; pairs that come only once are not joined.
        languages: For each of these there is a piece to begin a text with.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[*SPECIALS, *map(language_piece, languages)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _learnt(tokenizer)


def restore_vocabulary(saved: str) -> TargetVocabulary:
    """A vocabulary that :func:`learn_vocabulary` made, from its tokenizer as JSON."""
    return _learnt(Tokenizer.from_str(saved))


def _learnt(tokenizer: Tokenizer) -> TargetVocabulary:
    tokenizer.encode_special_tokens = True  # a text may hold "</s>", as HTML does, and means just that
    return TargetVocabulary(tokenizer, start=START, end=END, padding=PADDING)
