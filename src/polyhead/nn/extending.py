"""More pieces for a pretrained encoder, learnt from the training texts; each begins as the mean of its old pieces."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer
from torch import nn

from polyhead.nn.encoder import Encoder
from polyhead.nn.merging import learn_merges
from polyhead.nn.pieces import PieceTokenizer

READ = 50_000_000
"""The characters of texts that pieces are learnt from; of more texts the first."""

LONGEST_WORD = 1000
"""The most letters of a word that a tokenizer is made to read which gave up earlier."""


@dataclass(frozen=True, slots=True)
class Extension:
    """The pieces that an encoder gets beside its own.

    Attributes:
        tokenizer: The tokenizer with all pieces, as JSON.
        first: The id of the first new piece; the others follow it.
        parts: For each new piece the ids of the old ones that it was cut into.
    """

    tokenizer: str
    first: int
    parts: list[list[int]]


@dataclass(frozen=True, slots=True)
class Reach:
    """How a tokenizer cuts words.

    Attributes:
        pieces: The mean number of pieces of a word.
        unknown: The share of words with an unknown piece.
    """

    pieces: float
    unknown: float


def learn_extension(tokenizer: PieceTokenizer, texts: Iterable[str], most: int) -> tuple[Extension, Reach, Reach]:
    """Find the pieces that make most of texts shorter, by going on with byte pair encoding (Sennrich et al. 2016).

    Letters that the tokenizer does not know come first, the most frequent before others, so that nothing is unknown if
    there is room. Then the two pieces that most often stand beside each other inside a word become one, again and
    again. Where words begin and end stays as it was. The same texts give the same pieces.

    Args:
        tokenizer: An encoder's; its pieces keep their ids.
        texts: The texts; at most :data:`READ` characters of them are read.
        most: How many pieces are added at most.

    Returns:
        The pieces, and how the words of the texts were cut without and with them. A word is what the tokenizer first
        cuts texts into, and has a letter.
    """
    words = _words(tokenizer.tokenizer, _beginning(texts))
    model = _Model(tokenizer.tokenizer)
    before = _reach(model.tokenizer, tokenizer.unknown, words)
    letters = model.letters(words)[:most]
    longest = max(map(len, words), default=0)
    with_letters = model.grown(letters, [], longest)
    cut = [([t.value for t in with_letters.model.tokenize(word)], n) for word, n in sorted(words.items())]
    known = set(with_letters.get_vocab(with_added_tokens=True))
    pairs = learn_merges(
        [run for pieces, n in cut for run in model.runs(pieces, n, known)],
        most=most - len(letters),
        known=known,
        join=model.join,
        steps=model.kind == "BPE",
    )
    parts = {piece: [number] for piece, number in model.vocabulary.items()}
    parts |= zip(letters, model.old_parts(letters, tokenizer.unknown), strict=True)
    for pair in pairs.merges:
        parts.setdefault(model.join(*pair), [i for piece in pair for i in parts[piece]])
    chosen = [*letters, *pairs.pieces]
    grown = model.grown(chosen, pairs.merges, longest)
    extension = Extension(grown.to_str(), model.first, [parts[piece] for piece in chosen])
    return extension, before, _reach(grown, tokenizer.unknown, words)


def extend(encoder: Encoder, extension: Extension) -> None:
    """Give an encoder the new pieces; each begins as the mean of the vectors of its old ones (Hewitt 2021).

    Args:
        encoder: Changed in place.
        extension: What :func:`learn_extension` found for its tokenizer.
    """
    module: nn.Embedding = encoder.transformer.get_input_embeddings()  # type: ignore[operator]
    old = module.weight.detach()
    rows = max(len(old), extension.first + len(extension.parts))  # some encoders have vectors to spare
    grown = torch.zeros(rows, old.shape[1], dtype=old.dtype)
    grown[: len(old)] = old
    for number, parts in enumerate(extension.parts, extension.first):
        grown[number] = old[parts].mean(0)
    module.weight = nn.Parameter(grown)  # the module stays: BART's scales its vectors
    module.num_embeddings = encoder.config.vocab_size = rows
    own = encoder.tokenizer
    backend = Tokenizer.from_str(extension.tokenizer)
    encoder.tokenizer = PieceTokenizer(backend, unknown=own.unknown, padding=own.padding)


class _Token(Protocol):
    id: int
    value: str


class _Model:
    """The model inside a tokenizer, which cuts words into pieces, as JSON: WordPiece, BPE or Unigram.

    Pieces are added to the model's own vocabulary, not as the "added tokens" that the library looks for in raw text:
    so words begin and end where they did, and a piece for an ending is possible.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.saved: dict[str, Any] = json.loads(tokenizer.to_str())
        self.vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
        self.first = max(self.vocabulary.values()) + 1
        model = self.saved["model"]
        self.kind: str = model["type"]
        self.inner: str = model.get("continuing_subword_prefix") or ""
        self.last: str = model.get("end_of_word_suffix") or ""
        self.in_bytes = "ByteLevel" in json.dumps(self.saved["pre_tokenizer"])

    def join(self, first: str, second: str) -> str:
        """The piece that two make which follow each other."""
        return first + second[len(self.inner) :] if self.inner and second.startswith(self.inner) else first + second

    def letters(self, words: Counter[str]) -> list[str]:
        """The pieces of single letters that the words need and that there are not, the most frequent first."""
        if self.saved["model"].get("byte_fallback"):
            return []
        counts: Counter[str] = Counter()
        for word, count in words.items():
            for piece in self._singles(word):
                if piece not in self.vocabulary:
                    counts[piece] += count
        return sorted(counts, key=lambda piece: (-counts[piece], piece))

    def _singles(self, word: str) -> Iterator[str]:
        for i, letter in enumerate(word):
            yield (self.inner if i else "") + letter + (self.last if i == len(word) - 1 else "")

    def old_parts(self, letters: Sequence[str], unknown: int) -> Iterator[list[int]]:
        """For each new letter the old pieces that it begins as: the same letter at another place of a word, or the
        letter without its marks; else the unknown piece, as which it was read.
        """
        for piece in letters:
            bare = piece.removeprefix(self.inner).removesuffix(self.last)
            similar = (bare, *unicodedata.normalize("NFKD", bare))
            forms = (f"{a}{one}{b}" for one in similar for a in ("", self.inner) for b in ("", self.last))
            yield [next((self.vocabulary[form] for form in forms if form in self.vocabulary), unknown)]

    def runs(self, pieces: list[str], count: int, known: set[str]) -> Iterator[tuple[list[str], int]]:
        """The stretches of a word's pieces that may become one: known pieces of letters."""
        run: list[str] = []
        if self.in_bytes and not any(map(str.isalpha, _of_bytes("".join(pieces)))):
            return
        for piece in pieces:
            if piece in known and (self.in_bytes or all(map(_is_letter, piece.removeprefix(self.inner)))):
                run.append(piece)
                continue
            if len(run) > 1:
                yield run, count
            run = []
        if len(run) > 1:
            yield run, count

    @cached_property
    def scores(self) -> dict[str, float]:
        """Of a Unigram model how likely each piece is."""
        return dict(self.saved["model"]["vocab"])

    def grown(self, pieces: Sequence[str], merges: Sequence[tuple[str, str]], longest: int) -> Tokenizer:
        """The tokenizer with these pieces, whose ids follow on the last one."""
        model = self.saved["model"]
        ids = {piece: i for i, piece in enumerate(pieces, self.first)}
        # Loading gives an added token the first free id unless the model knows it, and these would not be free then.
        added = {token["content"]: token["id"] for token in self.saved["added_tokens"]}
        if self.kind == "Unigram":
            changed: dict[str, Any] = {"vocab": self._scored(added, pieces, merges)}
        else:
            changed = {"vocab": {**model["vocab"], **added, **ids}}
            if self.kind == "BPE":
                changed["merges"] = [*model["merges"], *map(list, merges)]
            else:
                least = model["max_input_chars_per_word"]
                changed["max_input_chars_per_word"] = max(least, min(longest, LONGEST_WORD))
        return Tokenizer.from_str(json.dumps({**self.saved, "model": {**model, **changed}}, ensure_ascii=False))

    def _scored(
        self, added: dict[str, int], pieces: Sequence[str], merges: Sequence[tuple[str, str]]
    ) -> list[list[Any]]:
        """A Unigram model's vocabulary, in which a place is an id. A new piece is as likely as the less likely one of
        the two that it is made of, and so likelier than both together; a letter as the least likely piece.
        """
        found = [list(entry) for entry in self.saved["model"]["vocab"]]
        least = min(self.scores.values())
        names = {i: content for content, i in added.items()}
        found += [[names.get(i, f"\0{i}"), least] for i in range(len(found), self.first)]
        scores = dict(self.scores)
        for one, other in merges:
            scores.setdefault(self.join(one, other), min(scores.get(one, least), scores.get(other, least)))
        return [*found, *([piece, scores.get(piece, least)] for piece in pieces)]


def _is_letter(character: str) -> bool:
    return character == "▁" or unicodedata.category(character)[0] in "LM"


def _of_bytes(word: str) -> str:
    """A word of which each character stands for a byte, as the library's byte-level tokenizers write it."""
    from tokenizers.decoders import ByteLevel

    text: str = ByteLevel().decode([word])
    return text


def _beginning(texts: Iterable[str]) -> Iterator[str]:
    left = READ
    for text in texts:
        yield text
        left -= len(text)
        if left <= 0:
            return


def _words(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """How often each word comes, as the model inside a tokenizer gets it."""
    words: Counter[str] = Counter()
    for text in texts:
        plain = text if tokenizer.normalizer is None else tokenizer.normalizer.normalize_str(text)
        if tokenizer.pre_tokenizer is None:
            words.update(re.findall("▁*[^▁]+|▁+", plain))
        else:
            words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain))
    return words


def _reach(tokenizer: Tokenizer, unknown: int, words: Counter[str]) -> Reach:
    total = pieces = lost = 0
    in_bytes = "ByteLevel" in str(tokenizer.pre_tokenizer)
    for word, count in words.items():
        if not any(map(str.isalpha, _of_bytes(word) if in_bytes else word)):
            continue
        cut: list[_Token] = tokenizer.model.tokenize(word)
        total += count
        pieces += max(1, len(cut)) * count
        lost += count * any(token.id == unknown for token in cut)
    return Reach(pieces / max(1, total), lost / max(1, total))
