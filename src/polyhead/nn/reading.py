"""How a tokenizer reads the words of texts: what it does not know, what it takes away, how long its cuts are."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from polyhead.data.check_reading import Reading, Words
from polyhead.nn.pieces import PieceTokenizer

USUAL = 1.5
"""The pieces of a word in a language that a tokenizer knows, about."""

USUAL_UNSPACED = 0.75
"""The same for a letter of a script without spaces: mostly a piece of its own, or one of two."""

_NAMED = 3

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNSPACED += "\U00020000-\U0003134f"
"""Thai, Lao, Burmese, Khmer, kana and Han."""

_BETWEEN = (
    r"\s\d!-/:-@\[-`{-~\u00a1-\u00bf\u2000-\u200b\u2010-\u206f\u3000-\u303f\uff00-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_WORD = re.compile(f"[{_UNSPACED}]|[^{_BETWEEN}{_UNSPACED}]+")


class Place(NamedTuple):
    """A text and where it stands."""

    where: str
    text: str


class _Fate(NamedTuple):
    """What becomes of a word."""

    pieces: int
    plain: str
    unknown: bool
    stripped: bool
    lowered: bool


def words_of(text: str) -> Iterator[str]:
    """The words of a text, without digits and punctuation; of scripts without spaces each letter."""
    for word in _WORD.findall(text):
        if any(map(str.isalpha, word)):
            yield word


def read_texts(tokenizer: PieceTokenizer, texts: Iterable[Place], *, written: bool = False) -> Reading | None:
    """Find out how a tokenizer reads texts; ``None`` if they have no words.

    Args:
        tokenizer: An encoder's.
        texts: The texts.
        written: Whether the texts are to be written with the tokenizer.
    """
    reader = _Reader(tokenizer)
    unknown, stripped, lowered = _Found(), _Found(), _Found()
    words = pieces = sampled = 0
    usual = 0.0
    for where, text in texts:
        sampled += 1
        found = list(words_of(text))
        for word, fate in zip(found, reader(found), strict=True):
            words += 1
            pieces += fate.pieces
            usual += USUAL_UNSPACED if re.match(f"[{_UNSPACED}]", word) else USUAL
            if fate.unknown:
                unknown.add(word, where)
            if fate.stripped:
                stripped.add(f'"{word}" is read as "{fate.plain}"', where)
            if fate.lowered:
                lowered.add(f'"{word}" is read as "{fate.plain}"', where)
    if not words:
        return None
    return Reading(words, pieces / words, usual / words, unknown.words, stripped.words, lowered.words, written, sampled)


@dataclass
class _Found:
    """Words with a fault."""

    count: int = 0
    named: dict[str, None] = field(default_factory=dict)
    places: dict[str, None] = field(default_factory=dict)

    def add(self, named: str, place: str) -> None:
        self.count += 1
        for names, name in ((self.named, named), (self.places, place)):
            if len(names) < _NAMED:
                names.setdefault(name)

    @property
    def words(self) -> Words:
        return Words(self.count, tuple(self.named), tuple(self.places))


class _Reader:
    """Reads words one by one, each but once."""

    def __init__(self, tokenizer: PieceTokenizer) -> None:
        self.tokenizer = tokenizer
        self.known: dict[str, _Fate] = {}

    def __call__(self, words: Sequence[str]) -> list[_Fate]:
        new = list(dict.fromkeys(word for word in words if word not in self.known))
        if new:
            cut = self.tokenizer.tokenizer.encode_batch(
                [self.tokenizer.gap + word for word in new], add_special_tokens=False
            )
            for word, encoding in zip(new, cut, strict=True):
                self.known[word] = self._fate(word, encoding.ids)
        return [self.known[word] for word in words]

    def _fate(self, word: str, ids: list[int]) -> _Fate:
        normaliser = self.tokenizer.tokenizer.normalizer
        plain = word if normaliser is None else normaliser.normalize_str(word)
        plain = unicodedata.normalize("NFC", plain.replace("▁", " ")).strip()
        return _Fate(
            pieces=max(1, len(ids)),
            plain=plain,
            unknown=not ids or self.tokenizer.unknown in ids,
            stripped=_marks(plain) < _marks(word),
            lowered=plain != plain.upper() and _capitals(plain) < _capitals(word),
        )


def _marks(word: str) -> int:
    return 0 if word.isascii() else sum(unicodedata.category(c) == "Mn" for c in unicodedata.normalize("NFD", word))


def _capitals(word: str) -> int:
    return sum(map(str.isupper, word))
