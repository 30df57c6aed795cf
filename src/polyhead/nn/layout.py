"""Examples laid out as rows of pieces, long texts as several overlapping rows: what goes into an encoder, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polyhead.nn.pieces import Ints, Pieces, PieceTokenizer

OVERLAP = 0.25
"""The share of a window that it has in common with the next one."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Examples as rows of pieces. A text longer than the encoder's window takes several rows.

    Attributes:
        ids: Piece ids. Shape (rows, pieces).
        mask: True where there is a piece; ``None`` if no row is filled up. Shape (rows, pieces).
        types: Type ids; ``None`` if all are 0. Shape (rows, pieces).
        owners: The example of each row; ``None`` if row i is example i. Shape (rows,).
        words: For each word of the batch the index of its first piece in ``ids.flatten()``. Shape (all words,).
        lasts: For each word likewise the index of its last piece, in the same row. Shape (all words,).
        texts: The words of each example (none for raw text).
        case: How the word of each piece is capitalised, where the tokenizer drops that; ``None`` if no word is.
            Shape (rows, pieces).
        blanks: For each example whether the tokenizer leaves nothing of it: an unknown piece stands there alone.
    """

    ids: Ints
    mask: NDArray[np.bool_] | None
    types: Ints | None
    owners: Ints | None
    words: Ints
    lasts: Ints
    texts: tuple[tuple[str, ...], ...]
    case: Ints | None = None
    blanks: tuple[bool, ...] = ()


def measure(items: Sequence[Pieces], tokenizer: PieceTokenizer, window: int) -> tuple[Ints, Ints]:
    """The length of each example's longest row, in pieces, and its number of rows. Shapes (examples,)."""
    lengths = [padded_length(item, tokenizer, window) for item in items]
    rows = [rows_of(item, tokenizer, window) for item in items]
    return np.asarray(lengths, dtype=np.int64), np.asarray(rows, dtype=np.int64)


def windows(length: int, room: int) -> list[tuple[int, int]]:
    """Where to cut ``length`` pieces into windows of at most ``room`` that overlap by a quarter."""
    if length <= room:
        return [(0, length)]
    step = max(1, room - int(room * OVERLAP))
    starts = [*list(range(0, length - room, step)), length - room]
    return [(start, start + room) for start in starts]


def cut_batches(order: Ints, lengths: Ints, rows: Ints, budget: int) -> list[Ints]:
    """Cut a sequence of examples into batches of at most ``budget`` pieces, filling included.

    A text longer than the budget makes a batch of its own.

    Args:
        order: Examples; neighbours share a batch.
        lengths: For each example the length of its longest row.
        rows: For each example its number of rows.
        budget: The most pieces in a batch.
    """
    batches, start, longest, height = [], 0, 0, 0
    for i, example in enumerate(order):
        longest_now = max(longest, int(lengths[example]))
        height_now = height + int(rows[example])
        if i > start and longest_now * height_now > budget:
            batches.append(order[start:i])
            start, longest_now, height_now = i, int(lengths[example]), int(rows[example])
        longest, height = longest_now, height_now
    if start < len(order):
        batches.append(order[start:])
    return batches


def rows_of(pieces: Pieces, tokenizer: PieceTokenizer, window: int) -> int:
    """How many rows an example takes in a batch."""
    return len(windows(len(pieces.ids), window - tokenizer.single.size)) if not len(pieces.pair) else 1


def laid_out(pieces: Pieces, tokenizer: PieceTokenizer, window: int) -> int:
    """How many pieces all rows of an example have together, special ones included, filling left out."""
    if len(pieces.pair):
        return padded_length(pieces, tokenizer, window)
    frame = tokenizer.single.size
    return sum(end - start + frame for start, end in windows(len(pieces.ids), window - frame))


def padded_length(pieces: Pieces, tokenizer: PieceTokenizer, window: int) -> int:
    """The length of an example's longest row, special pieces included."""
    return min(pieces.length + tokenizer.around(pieces).size, window)


def lay_out(items: Sequence[Pieces], tokenizer: PieceTokenizer, window: int) -> Rows:
    """Lay examples out as rows.

    A word of a text with several windows is read in the window where it stands furthest from an edge. The texts of a
    pair that do not fit are cut, the longer one first.

    Args:
        items: The pieces of each example.
        tokenizer: Gives the special pieces.
        window: The most pieces a row may have, special ones included.
    """
    blanks = tuple(item.length == 1 and item.ids[:1].tolist() == [tokenizer.unknown] for item in items)
    if all(not len(item.pair) and len(item.ids) + tokenizer.single.size <= window for item in items):
        return replace(_one_row_each(items, tokenizer), blanks=blanks)
    rows: list[_Row] = []
    owners: list[int] = []
    places: list[Ints] = []  # per example: row, first and last column of each word, shape (words, 3)
    for index, item in enumerate(items):
        if len(item.pair):
            row = _pair_row(item, tokenizer, window)
            spans = np.stack([item.starts, item.lasts], axis=1) + len(tokenizer.double.before)
            spans = np.minimum(spans, row.second - 1)
            places.append(np.column_stack([np.full(len(spans), len(rows)), spans]))
            rows.append(row)
            owners.append(index)
        else:
            cuts = windows(len(item.ids), window - tokenizer.single.size)
            places.append(_places(item, cuts, len(rows), len(tokenizer.single.before)))
            rows += [_single_row(item, tokenizer, start, end) for start, end in cuts]
            owners += [index] * len(cuts)
    return replace(_fill(rows, owners, places, tokenizer, tuple(item.words for item in items)), blanks=blanks)


def _one_row_each(items: Sequence[Pieces], tokenizer: PieceTokenizer) -> Rows:
    """What most batches are, laid out without a look at each row: single texts that fit the window."""
    frame = tokenizer.single
    first = len(frame.before)
    ends = np.fromiter((first + len(item.ids) for item in items), dtype=np.int64, count=len(items))  # (rows,)
    width = int(ends.max()) + len(frame.after)
    columns = np.arange(width)
    inside = (columns >= first) & (columns < ends[:, None])  # (rows, pieces), without special pieces
    ids = np.full(inside.shape, tokenizer.padding, dtype=np.int64)
    around = [tokenizer.around(item) for item in items]
    ids[:, :first] = [one.before for one in around]
    ids[inside] = np.concatenate([item.ids for item in items])
    rows = np.arange(len(items))
    for place in range(len(frame.after)):
        ids[rows, ends + place] = [one.after[place] for one in around]
    case = None
    if any(item.case is not None for item in items):
        case = np.zeros_like(ids)
        case[inside] = np.concatenate([np.zeros_like(i.ids) if i.case is None else i.case for i in items])
    lengths = ends + len(frame.after)
    counts = [len(item.starts) for item in items]
    begin = np.repeat(rows * width + first, counts)
    words, lasts = (np.concatenate(parts) + begin for parts in zip(*((i.starts, i.lasts) for i in items), strict=True))
    return Rows(
        ids=ids,
        mask=None if (lengths == width).all() else columns < lengths[:, None],
        types=None,
        owners=None,
        words=words,
        lasts=lasts,
        texts=tuple(item.words for item in items),
        case=case,
    )


class _Row(NamedTuple):
    """A row before it is filled up.

    Attributes:
        ids: Piece ids, special ones included. Shape (pieces,).
        second: Where the second text starts; the row's length where there is none.
        case: The case of each piece's word, if any has a capital. Shape (pieces,).
    """

    ids: Ints
    second: int
    case: Ints | None


def _fill(
    rows: list[_Row],
    owners: list[int],
    places: list[Ints],
    tokenizer: PieceTokenizer,
    texts: tuple[tuple[str, ...], ...],
) -> Rows:
    lengths = np.fromiter((len(row.ids) for row in rows), dtype=np.int64, count=len(rows))
    width = int(lengths.max())
    ids = np.full((len(rows), width), tokenizer.padding, dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = row.ids
    case = None
    if any(row.case is not None for row in rows):
        case = np.zeros_like(ids)
        for i, row in enumerate(rows):
            if row.case is not None:
                case[i, : len(row.case)] = row.case
    columns = np.arange(width)
    mask = None if (lengths == width).all() else columns < lengths[:, None]
    types = None
    if any(row.second < len(row.ids) for row in rows):
        first_type, second_type = tokenizer.double.types
        types = np.where(columns < np.asarray([row.second for row in rows])[:, None], first_type, second_type)
        types = None if not types.any() else types
    place = np.concatenate(places)
    return Rows(
        ids=ids,
        mask=mask,
        types=types,
        owners=None if len(owners) == len(places) else np.asarray(owners, dtype=np.int64),
        words=place[:, 0] * width + place[:, 1],
        lasts=place[:, 0] * width + place[:, 2],
        texts=texts,
        case=case,
    )


def _single_row(item: Pieces, tokenizer: PieceTokenizer, start: int, end: int) -> _Row:
    frame = tokenizer.around(item)
    before, after = (np.asarray(part, dtype=np.int64) for part in (frame.before, frame.after))
    ids = np.concatenate([before, item.ids[start:end], after])
    case = None
    if item.case is not None:
        case = np.concatenate([np.zeros_like(before), item.case[start:end], np.zeros_like(after)])
    return _Row(ids, len(ids), case)


def _pair_row(item: Pieces, tokenizer: PieceTokenizer, window: int) -> _Row:
    frame = tokenizer.around(item)
    room = window - frame.size
    first, second = len(item.ids), len(item.pair)
    if first + second > room:
        shorter = min(first, second, room // 2)
        first, second = (shorter, room - shorter) if first <= second else (room - shorter, shorter)
    before, between, after = (np.asarray(part, dtype=np.int64) for part in (frame.before, frame.between, frame.after))
    ids = np.concatenate([before, item.ids[:first], between, item.pair[:second], after])
    case = None
    if item.case is not None:
        left, right = item.case[:first], item.case[len(item.ids) :][:second]
        zeros = [np.zeros_like(part) for part in (before, between, after)]
        case = np.concatenate([zeros[0], left, zeros[1], right, zeros[2]])
    return _Row(ids, len(before) + first + len(between), case)


def _places(item: Pieces, cuts: list[tuple[int, int]], first_row: int, before: int) -> Ints:
    """The row of each word, and the columns of its first and last piece there. Shape (words, 3)."""
    starts, lasts = item.starts, item.lasts
    if len(cuts) == 1:
        return np.stack([np.full_like(starts, first_row), starts + before, lasts + before], axis=1)
    bounds = np.asarray(cuts)  # (windows, 2)
    margin = np.minimum(starts[:, None] - bounds[:, 0], bounds[:, 1] - 1 - starts[:, None])  # (words, windows)
    margin[:, 0] = np.where(starts < bounds[0, 1], bounds[0, 1] - 1 - starts, -1)  # no text is missing at the left
    margin[:, -1] = np.where(starts >= bounds[-1, 0], starts - bounds[-1, 0], -1)  # nor at the right
    best = margin.argmax(axis=1)
    left = bounds[best, 0]
    lasts = np.minimum(lasts, bounds[best, 1] - 1)  # of a word longer than half a window some pieces may be elsewhere
    return np.stack([first_row + best, starts - left + before, lasts - left + before], axis=1)
