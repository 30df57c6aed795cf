"""From examples to pieces: what a tokenizer makes of words, raw text or a text pair, done once for each example."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from polyhead.data.example import Example
from polyhead.errors import PolyheadError
from polyhead.nn.codes import language_codes, with_code

Ints: TypeAlias = NDArray[np.int64]

MASKS = ("[MASK]", "<mask>")
"""What families of encoders call the piece that stands for a masked one."""

FEW = 6
"""How many codes of languages are named where one is wrong."""

_EMPTY: Ints = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Pieces:
    """One example as an encoder reads it, without special pieces.

    Attributes:
        ids: Piece ids of the text. Shape (pieces,).
        starts: For each word the index of its first piece in ``ids``. Shape (words,); empty for raw text.
        pair: Piece ids of the second text of a pair, else empty. Shape (pieces of the second text,).
        words: The words; empty for raw text.
        case: How the word of each piece is capitalised (see :func:`case_of`), where the tokenizer drops that;
            ``None`` where no word has a capital. Shape (pieces of both texts,).
        target: The same text in the pieces of a decoder, where a block of text has them alongside. Shape
            (pieces of the decoder,).
        code: The id of the piece that tells the text's language, where that is not the tokenizer's usual one.
    """

    ids: Ints
    starts: Ints = field(default_factory=lambda: _EMPTY)
    pair: Ints = field(default_factory=lambda: _EMPTY)
    words: tuple[str, ...] = ()
    case: Ints | None = None
    target: Ints | None = None
    code: int | None = None

    @property
    def length(self) -> int:
        """The number of pieces of both texts, without special pieces."""
        return len(self.ids) + len(self.pair)

    @property
    def lasts(self) -> Ints:
        """For each word the index of its last piece in ``ids``, the one before the next word's. Shape (words,)."""
        return np.append(self.starts[1:], len(self.ids))[: len(self.starts)] - 1


@dataclass(frozen=True, slots=True)
class Specials:
    """The special pieces around one text, or around and between two, and the type ids of each part."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[int, int]

    @property
    def pieces(self) -> tuple[int, ...]:
        """All special pieces, in order."""
        return self.before + self.between + self.after

    @property
    def size(self) -> int:
        """How many special pieces there are."""
        return len(self.pieces)

    def changed(self, old: int, new: int) -> Specials:
        """The same with another piece in the place of one."""
        before, between, after = (
            tuple(new if piece == old else piece for piece in part) for part in (self.before, self.between, self.after)
        )
        return Specials(before, between, after, self.types)


class PieceTokenizer:
    """A fast tokenizer with truncation and padding off, and its special pieces known.

    Args:
        tokenizer: A tokenizer of the tokenizers library; truncation and padding in it are switched off.
        unknown: The id of the unknown piece; it stands for a word of which the tokenizer leaves nothing.
        padding: The id that fills rows up.

    Attributes:
        mask: The id of the piece that stands for a masked one, if there is such a piece.
    """

    def __init__(self, tokenizer: Tokenizer, *, unknown: int, padding: int) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.unknown = unknown
        self.padding = padding
        self.single = _specials_of(tokenizer, pair=False)
        self.double = _specials_of(tokenizer, pair=True)
        self.mask = next((i for i in map(tokenizer.token_to_id, MASKS) if i is not None), None)
        self.gap = _gap_of(tokenizer)
        self.lowers = tokenizer.encode("Hat HAT").ids == tokenizer.encode("hat hat").ids

    def __call__(self, examples: Sequence[Example], language: str | None = None) -> list[Pieces]:
        """The pieces of each example: from its words where it has words, else from its raw text.

        Args:
            examples: What is read.
            language: The code of their language, where the tokenizer has several; by default its usual one.
        """
        code = self.code_of(language)
        split = [i for i, example in enumerate(examples) if example.words]
        raw = [i for i, example in enumerate(examples) if not example.words]
        out: list[Pieces] = [Pieces(_EMPTY)] * len(examples)
        for i, pieces in zip(split, self._words([examples[i].words for i in split]), strict=True):
            out[i] = pieces
        for i, (ids, case) in zip(raw, self._raw([examples[i].text or "" for i in raw]), strict=True):
            out[i] = Pieces(ids, case=case)
        pairs = [i for i, example in enumerate(examples) if example.pair is not None]
        for i, (ids, case) in zip(pairs, self._raw([examples[i].pair or "" for i in pairs]), strict=True):
            out[i] = replace(out[i], pair=ids, case=_joined(out[i], ids, case))
        return out if code is None else [replace(pieces, code=code) for pieces in out]

    @cached_property
    def codes(self) -> dict[str, int]:
        """The ids of the pieces that tell a text's language, by the language's code; none where texts have no such."""
        return language_codes(self.tokenizer) if self._usual_code is not None else {}

    @cached_property
    def _usual_code(self) -> int | None:
        """The piece around texts that tells their language, if there is one."""
        known = set(language_codes(self.tokenizer).values())
        return next((piece for piece in self.single.pieces if piece in known), None)

    def code_of(self, language: str | None) -> int | None:
        """The id of the piece that tells a language; ``None`` where that is what the tokenizer puts at a text anyway.

        Raises:
            PolyheadError: The tokenizer has no such code, or none at all.
        """
        if language is None:
            return None
        if not self.codes:
            raise PolyheadError(
                f"{language!r} is no language of the encoder's tokenizer, which puts no such code at texts.",
                remedy="Leave language_code out; it is for encoders such as mBART, M2M100 and NLLB.",
            )
        found = self.codes.get(language.strip("_"))
        if found is None:
            raise PolyheadError(
                f"{language!r} is no language of the encoder's tokenizer.",
                remedy=f"It has {len(self.codes)}, such as {', '.join(self._some(language))}.",
            )
        return None if found == self._usual_code else found

    def language_of(self, pieces: Pieces) -> str | None:
        """The code of the language that a text is taken for; ``None`` where texts have no such."""
        told = self._usual_code if pieces.code is None else pieces.code
        return next((name for name, code in self.codes.items() if code == told), None)

    def taken_for(self, pieces: Pieces, language: str | None) -> Pieces:
        """A text, taken for one in this language, where the tokenizer knows it."""
        known = language is not None and language in self.codes
        return replace(pieces, code=self.code_of(language)) if known else pieces

    def _some(self, like: str) -> list[str]:
        """A few codes, those that begin as a wrong one does before others."""
        begin = like.strip("_").casefold()[:2]
        return sorted(self.codes, key=lambda code: (not code.startswith(begin), code))[:FEW]

    def reading(self, language: str) -> PieceTokenizer:
        """The tokenizer that takes all texts for texts in this language, if nothing else is said.

        Raises:
            PolyheadError: See :meth:`code_of`.
        """
        code = self.code_of(language)
        if code is None:
            return self
        assert self._usual_code is not None, "else no language has a code"
        changed = with_code(self.tokenizer, self._usual_code, code)
        return PieceTokenizer(changed, unknown=self.unknown, padding=self.padding)

    def around(self, pieces: Pieces) -> Specials:
        """The special pieces around a text, or around and between the two of a pair."""
        usual = self.double if len(pieces.pair) else self.single
        if pieces.code is None:
            return usual
        assert self._usual_code is not None, "else no text has a code"
        return usual.changed(self._usual_code, pieces.code)

    @cached_property
    def ordinary(self) -> NDArray[np.bool_]:
        """Whether a piece is one of texts: neither special nor the unknown piece. Shape (pieces,)."""
        ids = list(self.tokenizer.get_vocab(with_added_tokens=True).values())
        special = [i for i, token in self.tokenizer.get_added_tokens_decoder().items() if token.special]
        kinds = np.zeros(max(ids) + 1, dtype=np.bool_)
        kinds[ids] = True
        kinds[[*special, *self.single.pieces, *self.double.pieces, self.unknown, self.padding]] = False
        return kinds

    def running(self, examples: Sequence[Example]) -> Iterator[Pieces]:
        """The pieces of texts with the first piece of each word, for raw text too; the words themselves are left out.

        The words of raw text are what the tokenizer first cuts it into; if it cuts nothing, each piece is one. A text
        pair gives two texts.
        """
        split = iter(self._words([example.words for example in examples if example.words]))
        texts = [part for example in examples for part in _raw_parts(example)]
        raw = iter(self.tokenizer.encode_batch(texts, add_special_tokens=False) if texts else [])
        for example in examples:
            if example.words:
                yield replace(next(split), words=())
            for text in _raw_parts(example):
                found = next(raw)
                ids = np.asarray(found.ids, dtype=np.int64)
                owners = np.asarray(found.word_ids if self._cuts else np.arange(len(ids)), dtype=np.int64)
                case = _case_of_raw(found, text) if self.lowers and not text.islower() else None
                yield Pieces(ids, np.flatnonzero(np.diff(owners, prepend=-1)), case=case)

    @cached_property
    def _cuts(self) -> bool:
        """Whether the tokenizer cuts a text into words before it cuts these into pieces."""
        return len(set(self.tokenizer.encode("a b a b", add_special_tokens=False).word_ids)) > 1

    def save(self, folder: Path, window: int) -> None:
        """Write ``tokenizer.json`` into ``folder``, and what lets ``AutoTokenizer`` take it as it is.

        Without the latter transformers would build the tokenizer that is usual for the encoder's family.
        """
        self.tokenizer.save(str(folder / "tokenizer.json"))
        ids = {"pad_token": self.padding, "unk_token": self.unknown, "mask_token": self.mask}
        if len(self.single.before) == 1 and len(self.single.after) == 1:
            ids |= {"cls_token": self.single.before[0], "sep_token": self.single.after[0]}
        special = self.tokenizer.get_added_tokens_decoder()  # any other piece would become a special one by its name
        named = {name: special[number].content for name, number in ids.items() if number in special}
        kind = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": window}
        text = json.dumps(kind | named, indent=2, ensure_ascii=False)
        (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")

    def _raw(self, texts: list[str]) -> list[tuple[Ints, Ints | None]]:
        """The piece ids of raw texts, and the case of their words."""
        if not texts:
            return []
        seen = [self.lowers and not text.islower() for text in texts]  # whether there are capitals to tell of
        encode = self.tokenizer.encode_batch if any(seen) else self.tokenizer.encode_batch_fast
        encodings = encode(texts, add_special_tokens=False)
        return [
            (np.asarray(e.ids or [self.unknown], dtype=np.int64), _case_of_raw(e, text) if tell else None)
            for e, text, tell in zip(encodings, texts, seen, strict=True)
        ]

    def _words(self, texts: list[tuple[str, ...]]) -> list[Pieces]:
        if not texts:
            return []
        encodings = self.tokenizer.encode_batch(
            [[words[0], *(self.gap + word for word in words[1:])] if self.gap else list(words) for words in texts],
            is_pretokenized=True,
            add_special_tokens=False,
        )
        return [
            self._aligned(np.asarray(e.ids, dtype=np.int64), np.asarray(e.word_ids, dtype=np.int64), words)
            for e, words in zip(encodings, texts, strict=True)
        ]

    def _aligned(self, ids: Ints, owners: Ints, words: tuple[str, ...]) -> Pieces:
        """Pieces with the first piece of every word; ``owners`` gives the word of each piece."""
        starts = np.searchsorted(owners, np.arange(len(words)))
        missing = starts >= len(owners)
        missing[~missing] = owners[starts[~missing]] != np.flatnonzero(~missing)
        if missing.any():  # the tokenizer left nothing of these words: an unknown piece stands for each
            ids = np.insert(ids, starts[missing], self.unknown)
            owners = np.insert(owners, starts[missing], np.flatnonzero(missing))
            starts = starts + np.cumsum(missing) - missing
        case = None
        if self.lowers and not all(map(str.islower, words)):
            found = np.fromiter(map(case_of, words), dtype=np.int64, count=len(words))
            case = found[owners] if found.any() else None
        return Pieces(ids, starts, words=words, case=case)


def _raw_parts(example: Example) -> Iterator[str]:
    """The raw texts of an example: its text unless that is split into words, and the second text of a pair."""
    if not example.words:
        yield example.text or ""
    if example.pair is not None:
        yield example.pair


CASES = 5
"""How many kinds of :func:`case_of` there are."""


def case_of(word: str) -> int:
    """How a word is capitalised: 0 not at all, 1 first letter, 2 all letters, 3 its only letter, 4 otherwise."""
    if word.islower() or word == word.lower():
        return 0
    if word.isupper():
        return 2 if sum(map(str.isalpha, word)) > 1 else 3
    return 1 if word[:1].isupper() and word[1:] == word[1:].lower() else 4


def _case_of_raw(encoding: Encoding, text: str) -> Ints | None:
    """The case of the word of each piece, words being what the tokenizer first cuts a text into."""
    owners, offsets = encoding.word_ids, encoding.offsets
    bounds: dict[int | None, list[int]] = {}
    for owner, (start, end) in zip(owners, offsets, strict=True):
        bounds.setdefault(owner, [start, end])[1] = end
    cases = {owner: case_of(text[start:end]) for owner, (start, end) in bounds.items()}
    return np.asarray([cases[owner] for owner in owners], dtype=np.int64) if any(cases.values()) else None


def _joined(first: Pieces, second: Ints, case: Ints | None) -> Ints | None:
    """The case of the pieces of both texts of a pair."""
    if first.case is None and case is None:
        return None
    left = np.zeros_like(first.ids) if first.case is None else first.case
    return np.concatenate([left, np.zeros_like(second) if case is None else case])


def _gap_of(tokenizer: Tokenizer) -> str:
    """What to put before a word that follows another one, so that its pieces are those of running text.

    RoBERTa's tokenizer marks words by the space before them, and adds none to words that are given one by one.
    """

    def ids(words: str | list[str]) -> list[int]:
        found: list[int] = tokenizer.encode(
            words, is_pretokenized=isinstance(words, list), add_special_tokens=False
        ).ids
        return found

    running = ids("a a")
    return " " if ids(["a", "a"]) != running and ids(["a", " a"]) == running else ""


def _specials_of(tokenizer: Tokenizer, *, pair: bool) -> Specials:
    """The special pieces that the tokenizer's own post-processor puts around one text or two."""
    encoding = tokenizer.encode("a", "b") if pair else tokenizer.encode("a")
    owner = encoding.sequence_ids  # None for special pieces
    first = [i for i, o in enumerate(owner) if o == 0]
    second = [i for i, o in enumerate(owner) if o == 1]
    last = (second or first)[-1]
    return Specials(
        before=tuple(encoding.ids[: first[0]]),
        between=tuple(encoding.ids[first[-1] + 1 : second[0]]) if second else (),
        after=tuple(encoding.ids[last + 1 :]),
        types=(encoding.type_ids[first[0]], encoding.type_ids[last]),
    )
