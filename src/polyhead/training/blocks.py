"""Blocks: texts as rows of pieces for tasks that learn from text alone, in a memory-mapped file, not in memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from polyhead.data import Example
from polyhead.errors import PolyheadError
from polyhead.files import whole
from polyhead.nn.pieces import Ints, Pieces, PieceTokenizer

Codes: TypeAlias = NDArray[np.uint32]
"""Pieces as they are written: the id in the lower bits, above it the word's case, above that whether a word starts."""

LAYOUT = 1
"""Of the files; raised when what is written changes."""

BLOCKS = "blocks"
"""The folder of an unfinished run that holds its texts as blocks."""

_CASE, _START, _ID = 24, 27, (1 << 24) - 1

CHUNK_TEXTS, CHUNK_CHARACTERS = 2000, 200_000
"""How many texts, and how much of them, are tokenised together: a tokenizer needs a hundred bytes for a character."""

_PIECES, _LENGTHS = "pieces.u32", "lengths.u32"


@dataclass(frozen=True, eq=False)
class Blocks(Sequence[Pieces]):
    """Blocks of text, read from the file when they are asked for. Only their lengths are in memory.

    Attributes:
        codes: The pieces of all blocks. Shape (all pieces,).
        ends: Where each block ends in ``codes``. Shape (blocks,).
    """

    codes: Codes
    ends: Ints

    @classmethod
    def open(cls, folder: Path) -> Blocks:
        """The blocks that ``write`` put into a folder."""
        lengths = np.fromfile(folder / _LENGTHS, dtype=np.uint32)
        return cls(np.memmap(folder / _PIECES, dtype=np.uint32, mode="r"), np.cumsum(lengths, dtype=np.int64))

    @property
    def lengths(self) -> Ints:
        """The number of pieces of each block, special ones around it left out. Shape (blocks,)."""
        return np.diff(self.ends, prepend=0)

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> Pieces: ...

    @overload
    def __getitem__(self, index: slice) -> list[Pieces]: ...

    def __getitem__(self, index: int | slice) -> Pieces | list[Pieces]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        start = self.ends[index - 1] if index else 0
        codes = np.asarray(self.codes[start : self.ends[index]])
        case = ((codes >> _CASE) & 7).astype(np.int64)
        starts = np.flatnonzero(codes >> _START)
        return Pieces((codes & _ID).astype(np.int64), starts, case=case if case.any() else None)


def write(texts: Iterable[Example], tokenizer: PieceTokenizer, folder: Path, *, room: int, joined: bool) -> None:
    """Tokenise texts in chunks of bounded size and write them into a new folder as blocks.

    Args:
        texts: Gone through once.
        tokenizer: Makes pieces of them.
        folder: Gets its name only when all is written.
        room: The most pieces of a block, special ones around it left out.
        joined: Whether texts share blocks.

    Raises:
        PolyheadError: A text is at fault, there is no piece in any, or the file system refuses.
    """
    lengths = array("I")
    with whole(folder) as draft:
        draft.mkdir(parents=True)
        with (draft / _PIECES).open("wb") as stream:
            for block in pack(_codes(texts, tokenizer), _separator(tokenizer), room=room, joined=joined):
                block.tofile(stream)
                lengths.append(len(block))
        np.asarray(lengths, dtype=np.uint32).tofile(draft / _LENGTHS)
        if not lengths:
            raise PolyheadError("The encoder's tokenizer leaves nothing of these texts.", remedy="Check the files.")


def pack(texts: Iterable[Codes], separator: Codes, *, room: int, joined: bool) -> Iterator[Codes]:
    """Lay texts out in blocks.

    Joined texts fill blocks one after the other, a separator between two of them; a text is cut where a block is full,
    but not inside a word, if the word fits into a block at all (FULL-SENTENCES in Liu et al. 2019).

    Args:
        texts: The pieces of each text.
        separator: What stands between two texts; may be empty.
        room: The most pieces of a block.
        joined: Whether texts share blocks; else each has its own.
    """
    block: list[Codes] = []
    free = room
    for text in texts:
        if block and not joined:
            yield _whole(block)
            block, free = [], room
        while len(text):
            gap = separator if block else separator[:0]
            cut = _cut(text, free - len(gap), at_word=bool(block))
            if cut:
                block += [gap, text[:cut]]
                free -= len(gap) + cut
                text = text[cut:]
            if len(text):
                yield _whole(block)
                block, free = [], room
    if block:
        yield _whole(block)


def _cut(text: Codes, free: int, *, at_word: bool) -> int:
    """How many pieces of a text go into what is free of a block; where ``at_word`` none rather than part of a word."""
    if len(text) <= free:
        return len(text)
    starts = np.flatnonzero(text[1 : max(1, free + 1)] >> _START)
    if len(starts):
        return int(starts[-1]) + 1
    return 0 if at_word else free


def _whole(parts: list[Codes]) -> Codes:
    """A block, whose first piece starts a word, if only the rest of one."""
    block = np.concatenate(parts)
    block[0] |= 1 << _START
    return block


def _codes(texts: Iterable[Example], tokenizer: PieceTokenizer) -> Iterator[Codes]:
    """The pieces of each text."""
    for chunk in _chunks(texts):
        for pieces in tokenizer.running(chunk):
            codes = pieces.ids.astype(np.uint32)
            if pieces.case is not None:
                codes |= pieces.case.astype(np.uint32) << _CASE
            codes[pieces.starts] |= 1 << _START
            yield codes


def _separator(tokenizer: PieceTokenizer) -> Codes:
    """What the encoder knows as the end of a text."""
    return np.asarray(tokenizer.single.after[:1], dtype=np.uint32) | np.uint32(1 << _START)


def _chunks(texts: Iterable[Example]) -> Iterator[list[Example]]:
    """Groups of texts that are worth tokenising together, yet small."""
    chunk: list[Example] = []
    size = 0
    for example in texts:
        for part in _parts(example):
            chunk.append(part)
            size += sum(map(len, part.words)) + len(part.text or "") + len(part.pair or "")
            if len(chunk) >= CHUNK_TEXTS or size >= CHUNK_CHARACTERS:
                yield chunk
                chunk, size = [], 0
    if chunk:
        yield chunk


def _parts(example: Example) -> Iterator[Example]:
    """A text; one of very many characters, such as a whole book on one line, in parts, cut at white space."""
    text = example.text or ""
    if example.words or len(text) <= CHUNK_CHARACTERS:
        yield example
        return
    start = 0
    while start < len(text):
        end = start + CHUNK_CHARACTERS
        if end < len(text):
            end = max((text.rfind(space, start, end) for space in " \t"), default=-1) + 1 or end
        yield replace(example, text=text[start:end], pair=example.pair if end >= len(text) else None)
        start = end
