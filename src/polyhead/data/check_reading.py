"""What a look at texts says of the tokenizer that reads or writes them: unknown letters, lost marks, long cuts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from polyhead.data.braces import name_without_folder

UNKNOWN = 0.05
"""The share of words with an unknown piece from which it is told."""

STRIPPED = 0.02
"""The share of words that lose marks from which it is told: English has a few accents, too."""

LOST = 0.005
"""The share of words from which it is told where what is lost cannot be written."""

FEW = 3
"""Fewer words are never told of."""

LONG = 2.0
"""How many times as many pieces as usual a word takes from which it is told."""


@dataclass(frozen=True, slots=True)
class Words:
    """Words with some fault: how many, the first ones and what they are read as, and where they stand."""

    count: int = 0
    named: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """How a tokenizer reads the texts of one side of a dataset, or of a sample of them.

    Attributes:
        words: How many words they have; of scripts without spaces each letter is one.
        pieces: The mean number of pieces of a word.
        usual: How many pieces such words take in a language that a tokenizer knows.
        unknown: Words with an unknown piece.
        stripped: Words that lose accents or other marks.
        lowered: Words that lose their capitals.
        written: Whether the texts are written with the tokenizer, not read.
        sampled: How many texts were looked at.
    """

    words: int
    pieces: float
    usual: float
    unknown: Words
    stripped: Words
    lowered: Words
    written: bool
    sampled: int


def sentences(side: str, reading: Reading) -> Iterator[str]:
    """What is worth telling, with a remedy.

    Args:
        side: What the texts are called.
        reading: How they are read.
    """
    yield from (_written if reading.written else _read)(side, reading)
    if reading.pieces > LONG * reading.usual:
        word = "letter" if reading.usual < 1 else "word"
        yield (
            f"{side}: a {word} takes {reading.pieces:.1f} pieces of the encoder's tokenizer, about {reading.usual:.1f} "
            "are usual: texts are long, and little is known of their words; an encoder for the language or a "
            "multilingual one helps, or encoder.extend"
        )


def _read(side: str, reading: Reading) -> Iterator[str]:
    if _many(reading.unknown, UNKNOWN, reading):
        yield (
            f"{side}: {_share(reading.unknown, reading)} of the words hold what the encoder's tokenizer does not know "
            f"({_named(reading.unknown)}): take an encoder for the language or a multilingual one, or let "
            "encoder.extend make pieces of it"
        )
    if _many(reading.stripped, STRIPPED, reading):
        yield (
            f"{side}: {_share(reading.stripped, reading)} of the words lose accents or other marks before the encoder "
            f"reads them ({_named(reading.stripped)}): words that differ in them alone are one to it; take an encoder "
            "that keeps them, as cased and multilingual ones do (encoder.extend does not help)"
        )


def _written(side: str, reading: Reading) -> Iterator[str]:
    for words, what in (
        (reading.unknown, "hold what the encoder's pieces cannot write"),
        (reading.stripped, "lose accents or other marks"),
        (reading.lowered, "lose their capitals"),
    ):
        if _many(words, LOST, reading):
            yield (
                f"{side}: {_share(words, reading)} of the words {what} ({_named(words)}), and what is lost is never "
                'written: learn pieces from the targets (no vocabulary = "encoder"), or take a model that knows the '
                "language"
            )


def _many(words: Words, share: float, reading: Reading) -> bool:
    return words.count >= FEW and words.count > share * reading.words


def _share(words: Words, reading: Reading) -> str:
    return f"{words.count / reading.words:.1%}"


def _named(words: Words) -> str:
    return f"{', '.join(words.named)}; {', '.join(map(name_without_folder, words.places))}"
