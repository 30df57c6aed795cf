"""Blocks: texts as rows of pieces for tasks that learn from text alone, in a memory-mapped file, not in memory."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from polyhead.data import Example
from polyhead.errors import PolyheadError
from polyhead.files import whole
from polyhead.nn.pieces import Ints, Pieces, PieceTokenizer
from polyhead.tasks import Packing

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
_TARGETS, _TARGET_LENGTHS = "targets.u32", "target-lengths.u32"


@dataclass(frozen=True, eq=False)
class Blocks(Sequence[Pieces]):
    """Blocks of text, read from the file when they are asked for. Only their lengths are in memory.

    Attributes:
        codes: The pieces of all blocks. Shape (all pieces,).
        ends: Where each block ends in ``codes``. Shape (blocks,).
        targets: The pieces of the same texts in a decoder's vocabulary, if there are any. Shape (all of these,).
        target_ends: Where each block ends in ``targets``. Shape (blocks,).
        code: The id of the piece that tells the texts' language, see :class:`polyhead.nn.pieces.Pieces`.
    """

    codes: Codes
    ends: Ints
    targets: Codes | None = None
    target_ends: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    code: int | None = None

    @classmethod
    def open(cls, folder: Path) -> Blocks:
        """The blocks that ``write`` put into a folder."""
        blocks = cls(*_open(folder, _PIECES, _LENGTHS))
        if not (folder / _TARGETS).exists():
            return blocks
        targets, ends = _open(folder, _TARGETS, _TARGET_LENGTHS)
        return replace(blocks, targets=targets, target_ends=ends)

    @property
    def lengths(self) -> Ints:
        """The number of pieces of each block, special ones around it left out. Shape (blocks,)."""
        return np.diff(self.ends, prepend=0)

    @property
    def target_lengths(self) -> Ints:
        """The number of a decoder's pieces of each block, special ones around them left out. Shape (blocks,)."""
        return np.zeros_like(self.ends) if self.targets is None else np.diff(self.target_ends, prepend=0)

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> Pieces: ...

    @overload
    def __getitem__(self, index: slice) -> list[Pieces]: ...

    def __getitem__(self, index: int | slice) -> Pieces | list[Pieces]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        codes = _part(self.codes, self.ends, index)
        case = ((codes >> _CASE) & 7).astype(np.int64)
        starts = np.flatnonzero(codes >> _START)
        target = None if self.targets is None else _part(self.targets, self.target_ends, index).astype(np.int64)
        ids = (codes & _ID).astype(np.int64)
        return Pieces(ids, starts, case=case if case.any() else None, target=target, code=self.code)


def _part(codes: Codes, ends: Ints, index: int) -> Codes:
    start = ends[index - 1] if index % len(ends) else 0
    return np.asarray(codes[start : ends[index]])


def _open(folder: Path, codes: str, lengths: str) -> tuple[Codes, Ints]:
    ends = np.cumsum(np.fromfile(folder / lengths, dtype=np.uint32), dtype=np.int64)
    return np.memmap(folder / codes, dtype=np.uint32, mode="r"), ends


def write(texts: Iterable[Example], tokenizer: PieceTokenizer, folder: Path, packing: Packing) -> None:
    """Tokenise texts in chunks of bounded size and write them into a new folder as blocks.

    Args:
        texts: Gone through once.
        tokenizer: Makes pieces of them.
        folder: Gets its name only when all is written.
        packing: How they become blocks; its ``block`` is the most pieces without special ones around them.

    Raises:
        PolyheadError: A text is at fault, there is no piece in any, or the file system refuses.
    """
    rows = [_Rows(_PIECES, _LENGTHS), _Rows(_TARGETS, _TARGET_LENGTHS)][: 1 if packing.vocabulary is None else 2]
    with whole(folder) as draft, ExitStack() as stack:
        draft.mkdir(parents=True)
        streams = [stack.enter_context((draft / one.codes).open("wb")) for one in rows]
        for block in _blocks(texts, tokenizer, packing):
            for one, stream, codes in zip(rows, streams, block, strict=True):
                codes.tofile(stream)
                one.counts.append(len(codes))
        for one in rows:
            np.asarray(one.counts, dtype=np.uint32).tofile(draft / one.lengths)
        if not rows[0].counts:
            raise PolyheadError("The encoder's tokenizer leaves nothing of these texts.", remedy="Check the files.")


class _Rows:
    """Two files: the pieces of all blocks, and how many each has."""

    def __init__(self, codes: str, lengths: str) -> None:
        self.codes, self.lengths = codes, lengths
        self.counts = array("I")


def _blocks(
    texts: Iterable[Example], tokenizer: PieceTokenizer, packing: Packing
) -> Iterator[tuple[Codes] | tuple[Codes, Codes]]:
    """The pieces of each block, and those of a decoder, if there is one."""
    if packing.vocabulary is not None:
        for chunk in _chunks(replace(example, words=(), text=example.raw) for example in texts):
            found = [text for example in chunk for text in (example.text, example.pair) if text]
            yield from _alongside(found, tokenizer, packing)
        return
    codes = _codes(_chunks(texts), tokenizer)
    for block in pack(codes, _separator(tokenizer), room=packing.block, joined=packing.joined):
        yield (block,)


def _alongside(texts: list[str], tokenizer: PieceTokenizer, packing: Packing) -> Iterator[tuple[Codes, Codes]]:
    """Each text as the encoder's pieces and as the decoder's; one that has too many of either in halves."""
    assert packing.vocabulary is not None
    read = _codes([[Example(text=text) for text in texts]], tokenizer)
    for text, codes, ids in zip(texts, read, packing.vocabulary.encode_all(texts), strict=True):
        if not len(codes) or not ids:
            continue
        if len(codes) <= packing.block and len(ids) <= packing.longest:
            yield codes, np.asarray(ids, dtype=np.uint32)
        elif len(text.strip()) > 1:
            yield from _alongside(halves(text.strip()), tokenizer, packing)


_ENDS, _SPACES = re.compile(r"(?<=[.!?…])\s+"), re.compile(r"\s+")


def halves(text: str) -> list[str]:
    """A text of at least two characters, without white space around it, in two: at the end of a sentence in its middle
    half, else at white space, else anywhere; of these places at the one nearest the middle."""
    middle = len(text) / 2
    for pattern, reach in ((_ENDS, len(text) / 4), (_SPACES, middle)):
        found = [one.span() for one in pattern.finditer(text)]
        near = min(found, key=lambda span: abs(sum(span) / 2 - middle), default=None)
        if near is not None and abs(sum(near) / 2 - middle) < reach:
            return [text[: near[0]], text[near[1] :]]
    return [text[: len(text) // 2], text[len(text) // 2 :]]


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


def _codes(chunks: Iterable[list[Example]], tokenizer: PieceTokenizer) -> Iterator[Codes]:
    """The pieces of each text."""
    for chunk in chunks:
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
