"""Rows of pieces: what is where, checked against slow readings of the same rules."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from polyhead.nn.batch import Batch, collate, cut_batches, padded_length, rows_of, windows
from polyhead.nn.pieces import Pieces, PieceTokenizer

WINDOW = 16


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder: Path) -> PieceTokenizer:
    backend = Tokenizer.from_file(str(tiny_encoder / "tokenizer.json"))
    return PieceTokenizer(backend, unknown=1, padding=0)


def text(rng: np.random.Generator, words: int, longest: int = 4) -> Pieces:
    """Words of 1 to ``longest`` pieces, each piece with an id of its own."""
    sizes = rng.integers(1, longest + 1, words)
    starts = np.cumsum(sizes) - sizes
    ids = np.arange(int(sizes.sum())) + 1000 * int(rng.integers(1, 9))
    return Pieces(ids, starts.astype(np.int64), words=tuple(f"w{i}" for i in range(words)))


@pytest.mark.parametrize("room", [1, 2, 3, 4, 7, 14, 100])
def test_windows_cover_everything_and_overlap(room: int) -> None:
    for length in range(1, 70):
        cuts = windows(length, room)
        assert cuts[0][0] == 0 and cuts[-1][1] == length
        if length <= room:
            assert cuts == [(0, length)]
            continue
        assert all(end - start == room for start, end in cuts)
        for (a, _), (b, _) in itertools.pairwise(cuts):
            assert 0 < b - a <= max(1, room - room // 4)  # at least a quarter is read twice
        assert len(set(cuts)) == len(cuts)


def slow_place(start: int, cuts: list[tuple[int, int]]) -> tuple[int, int]:
    """The window in which a piece stands furthest from an edge where text is missing, and its place there."""
    best, best_margin = -1, -1
    for number, (left, right) in enumerate(cuts):
        if not left <= start < right:
            continue
        margins = []
        if number > 0:
            margins.append(start - left)
        if number < len(cuts) - 1:
            margins.append(right - 1 - start)
        margin = min(margins, default=10**9)
        if margin > best_margin:
            best, best_margin = number, margin
    return best, start - cuts[best][0]


@pytest.mark.parametrize("seed", range(6))
def test_every_word_is_where_the_slow_reading_says(tokenizer: PieceTokenizer, seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = [text(rng, int(n)) for n in rng.permutation([1, 3, 12, 25, 60, 2])]
    batch = collate(items, tokenizer, WINDOW)
    room, before = WINDOW - 2, 1
    expected, ids, row = [], [], 0
    for item in items:
        cuts = windows(len(item.ids), room)
        for start in item.starts.tolist():
            window, column = slow_place(start, cuts)
            expected.append((row + window) * batch.ids.shape[1] + column + before)
            ids.append(item.ids[start])
        row += len(cuts)
    assert batch.words.tolist() == expected
    assert batch.ids.flatten()[batch.words].tolist() == ids  # and there stands the word's own first piece
    assert batch.texts == tuple(item.words for item in items) and len(batch) == len(items)


def test_rows_hold_frame_pieces_and_filling(tokenizer: PieceTokenizer) -> None:
    rng = np.random.default_rng(9)
    items = [text(rng, 2), text(rng, 30), text(rng, 1)]
    batch = collate(items, tokenizer, WINDOW)
    (cls,), (sep,) = tokenizer.single.before, tokenizer.single.after
    assert batch.owners is not None and batch.mask is not None and batch.types is None
    row = 0
    for number, item in enumerate(items):
        for left, right in windows(len(item.ids), WINDOW - 2):
            expected = [cls, *item.ids[left:right].tolist(), sep]
            assert batch.ids[row].tolist() == expected + [0] * (batch.ids.shape[1] - len(expected))
            assert batch.mask[row].tolist() == [i < len(expected) for i in range(batch.ids.shape[1])]
            assert int(batch.owners[row]) == number
            row += 1
    assert row == len(batch.ids) and batch.ids.shape[1] <= WINDOW


def test_what_is_not_needed_is_left_out(tokenizer: PieceTokenizer) -> None:
    same = [Pieces(np.arange(5, 9)), Pieces(np.arange(15, 19))]
    batch = collate(same, tokenizer, WINDOW)
    assert batch.mask is None and batch.types is None and batch.owners is None
    assert batch.words.shape == (0,) and batch.texts == ((), ())


@pytest.mark.parametrize("first", [1, 4, 6, 7, 20])
@pytest.mark.parametrize("second", [1, 4, 6, 7, 20])
def test_pairs_fit_the_window_and_the_longer_text_is_cut(tokenizer: PieceTokenizer, first: int, second: int) -> None:
    item = Pieces(np.arange(100, 100 + first), pair=np.arange(200, 200 + second))
    batch = collate([item, Pieces(np.arange(50, 53))], tokenizer, WINDOW)
    row = [int(i) for i in batch.ids[0] if i != 0]
    left, right = first, second
    while left + right > WINDOW - 3:  # piece by piece off the longer one
        left, right = (left - 1, right) if left > right else (left, right - 1)
    (cls,), (sep,) = tokenizer.double.before, tokenizer.double.after
    kept = [len([i for i in row if 100 <= i < 150]), len([i for i in row if i >= 200])]
    assert sum(kept) == left + right and abs(kept[0] - left) <= 1
    assert row == [cls, *range(100, 100 + kept[0]), sep, *range(200, 200 + kept[1]), sep]
    assert batch.types is not None
    assert batch.types[0, : len(row)].tolist() == [0] * (kept[0] + 2) + [1] * (kept[1] + 1)
    assert not batch.types[1, :5].any()  # filling is masked and may have any type
    assert padded_length(item, tokenizer, WINDOW) == len(row) and rows_of(item, tokenizer, WINDOW) == 1


def test_words_of_a_pair_have_places_even_where_it_was_cut(tokenizer: PieceTokenizer) -> None:
    rng = np.random.default_rng(2)
    words = text(rng, 12, longest=1)
    item = Pieces(words.ids, words.starts, np.arange(200, 220), words.words)
    batch = collate([item], tokenizer, WINDOW)
    found = batch.ids.flatten()[batch.words].tolist()
    kept = sum(i in words.ids for i in batch.ids[0].tolist())
    assert found[:kept] == words.ids[:kept].tolist()
    assert found[kept:] == [tokenizer.double.between[0]] * (12 - kept)


def test_lengths_and_rows_are_those_of_the_batch(tokenizer: PieceTokenizer) -> None:
    rng = np.random.default_rng(4)
    for words in (1, 5, 9, 14, 40):
        item = text(rng, words, longest=2)
        batch = collate([item], tokenizer, WINDOW)
        assert batch.ids.shape == (rows_of(item, tokenizer, WINDOW), padded_length(item, tokenizer, WINDOW))


@pytest.mark.parametrize("seed", range(5))
def test_batches_keep_the_order_and_the_budget(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths, rows = rng.integers(1, 30, 200), rng.integers(1, 4, 200)
    order = rng.permutation(200)[:150]
    batches = cut_batches(order, lengths, rows, 100)
    assert np.concatenate(batches).tolist() == order.tolist()
    for batch in batches:
        size = int(lengths[batch].max() * rows[batch].sum())
        assert size <= 100 or len(batch) == 1
    for one, following in itertools.pairwise(batches):
        more = np.append(one, following[0])  # no batch has room for the next one's first example
        assert int(lengths[more].max() * rows[more].sum()) > 100


def test_no_examples_no_batches() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert cut_batches(none, none, none, 10) == []


def test_moving_keeps_everything(tokenizer: PieceTokenizer) -> None:
    rng = np.random.default_rng(5)
    batch = collate([text(rng, 2), text(rng, 30)], tokenizer, WINDOW)
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    assert isinstance(moved, Batch) and moved.texts == batch.texts and moved.types is None
    assert moved.ids.device.type == moved.words.device.type == "meta"
    assert moved.mask is not None and moved.owners is not None and moved.owners.device.type == "meta"


@pytest.mark.parametrize("seed", range(3))
def test_case_lies_where_its_pieces_lie(tokenizer: PieceTokenizer, seed: int) -> None:
    """With a case that is a function of the piece, the batch's case is that function of its ids."""
    rng = np.random.default_rng(seed)
    items = [text(rng, int(n)) for n in (3, 40, 1)]
    second = np.arange(3001, 3031)
    items += [Pieces(items[0].ids, items[0].starts, second, items[0].words), Pieces(np.arange(11, 14), pair=second)]
    cased = [replace(i, case=np.concatenate([i.ids, i.pair]) % 5) if n != 2 else i for n, i in enumerate(items)]
    batch = collate(cased, tokenizer, WINDOW)
    assert collate(items, tokenizer, WINDOW).case is None and batch.case is not None
    owners = batch.owners.tolist() if batch.owners is not None else range(len(batch.ids))
    for row, cases, owner in zip(batch.ids.tolist(), batch.case.tolist(), owners, strict=True):
        own = {*items[owner].ids.tolist(), *items[owner].pair.tolist()} if owner != 2 else set()
        frame = {0, *tokenizer.double.pieces}
        assert cases == [i % 5 if i in own and i not in frame else 0 for i in row]
