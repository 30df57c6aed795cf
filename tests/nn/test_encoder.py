"""Encodings and their views against slow readings, window by window and word by word."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import polyhead.nn.encoder
from polyhead.data.example import Example
from polyhead.nn.batch import windows
from polyhead.nn.encoder import Encoder
from polyhead.nn.encoding import Piece
from polyhead.nn.loading import load_encoder
from polyhead.nn.mix import LayerMix

SHORT = Example(words=("The", "cat", "sat", "."))
LONG = Example(words=tuple(f"word{i}" for i in range(40)))  # some 230 pieces in windows of 64
PAIR = Example(text="a good cat", pair="a bad one")
RAW = Example(text="see the cats")
MIXED = [RAW, LONG, SHORT, PAIR, Example(words=("one",))]


@pytest.fixture(scope="module")
def encoder(tiny_encoder: Path) -> Encoder:
    made = load_encoder(str(tiny_encoder)).eval()
    made.requires_grad_(False)
    return made


def slow_rows(encoder: Encoder, example: Example) -> list[torch.Tensor]:
    """The vectors of each row of an example, one row at a time straight from transformers: (pieces, width) each."""
    (pieces,) = encoder.tokenise([example])
    frame = encoder.tokenizer.double if example.pair is not None else encoder.tokenizer.single
    if example.pair is not None:
        ids = [*frame.before, *pieces.ids, *frame.between, *pieces.pair, *frame.after]
        first = len(frame.before) + len(pieces.ids) + len(frame.between)
        types = [0] * first + [1] * (len(ids) - first)
        given = {"input_ids": torch.tensor([ids]), "token_type_ids": torch.tensor([types])}
        return [encoder.transformer(**given).last_hidden_state[0]]
    cuts = windows(len(pieces.ids), encoder.window - frame.size)
    rows = [[*frame.before, *pieces.ids[a:b].tolist(), *frame.after] for a, b in cuts]
    return [encoder.transformer(input_ids=torch.tensor([row])).last_hidden_state[0] for row in rows]


def test_sentence_is_the_mean_over_pieces_of_all_windows(encoder: Encoder) -> None:
    found = encoder(encoder.collate(encoder.tokenise(MIXED))).sentence
    assert found.shape == (len(MIXED), encoder.width)
    for vector, example in zip(found, MIXED, strict=True):
        torch.testing.assert_close(vector, torch.cat(slow_rows(encoder, example)).mean(0), rtol=1e-4, atol=1e-5)


def test_sentence_without_filling(encoder: Encoder) -> None:
    examples = [Example(text="the cat"), Example(text="bad cats")]
    batch = encoder.collate(encoder.tokenise(examples))
    assert batch.mask is None
    for vector, example in zip(encoder(batch).sentence, examples, strict=True):
        torch.testing.assert_close(vector, torch.cat(slow_rows(encoder, example)).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_a_text_of_many_windows_is_encoded_in_parts(
    tiny_encoder: Path, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same vectors and gradients, but never many rows at once."""
    encoder = load_encoder(str(tiny_encoder)).train(training)
    encoder.set_dropout(0.0)
    batch = encoder.collate(encoder.tokenise(MIXED))
    seen: list[int] = []
    encoder.transformer.register_forward_pre_hook(
        lambda _, __, given: seen.append(len(given["input_ids"])), with_kwargs=True
    )

    def run() -> tuple[torch.Tensor, list[torch.Tensor]]:
        encoder.zero_grad()
        hidden = encoder(batch).hidden
        hidden.square().sum().backward()
        return hidden.detach(), [p.grad.clone() for p in encoder.parameters() if p.grad is not None]

    expected, gradients = run()
    assert seen == [len(batch.ids)]
    monkeypatch.setattr(polyhead.nn.encoder, "AT_ONCE", 3 * batch.ids.shape[1])
    seen.clear()
    found, others = run()
    assert max(seen) == 3 and sum(seen) == 2 * len(batch.ids), "each row forward, and again for the backward pass"
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(other, one, atol=1e-4, rtol=1e-4)
    seen.clear()
    with torch.no_grad():
        torch.testing.assert_close(encoder(batch).hidden, expected, atol=1e-5, rtol=1e-5)
    assert sum(seen) == len(batch.ids)


def test_words_are_their_first_pieces(encoder: Encoder) -> None:
    examples = [LONG, SHORT, Example(words=("one",))]
    encoding = encoder(encoder.collate(encoder.tokenise(examples)))
    assert encoding.words.shape == (3, 40, encoder.width)
    assert encoding.word_mask.sum(1).tolist() == [40, 4, 1]
    assert not encoding.words[~encoding.word_mask].any()
    torch.testing.assert_close(encoding.words[encoding.word_mask], encoding.flat_words)
    (pieces,) = encoder.tokenise([SHORT])
    (row,) = slow_rows(encoder, SHORT)
    torch.testing.assert_close(encoding.words[1, :4], row[pieces.starts + 1], rtol=1e-4, atol=1e-5)


def test_every_word_of_a_long_text_has_a_vector_from_one_of_its_windows(encoder: Encoder) -> None:
    (pieces,) = encoder.tokenise([LONG])
    cuts = windows(len(pieces.ids), encoder.window - 2)
    assert len(cuts) > 3
    rows = slow_rows(encoder, LONG)
    encoding = encoder(encoder.collate([pieces]))
    for vector, start in zip(encoding.flat_words, pieces.starts.tolist(), strict=True):
        here = [row[start - a + 1] for row, (a, b) in zip(rows, cuts, strict=True) if a <= start < b]
        assert any(torch.allclose(vector, one, rtol=1e-4, atol=1e-5) for one in here)


@pytest.mark.parametrize("piece", ["last", "mean"])
def test_words_by_their_last_piece_or_the_mean_of_all(encoder: Encoder, piece: Piece) -> None:
    """Against rows encoded one by one and words written out piece by piece."""
    texts = [SHORT, Example(words=("unbelievably", "sat", "x")), LONG]
    encoding = encoder(encoder.collate(encoder.tokenise(texts)), all_layers=True)
    found = encoding.select([0, 1], piece=piece)
    several = 0
    for vectors, example in zip(found.words, texts[:2], strict=True):
        (pieces,) = encoder.tokenise([example])
        (row,) = slow_rows(encoder, example)
        ends = [*pieces.starts[1:].tolist(), len(pieces.ids)]
        for vector, start, end in zip(vectors, pieces.starts.tolist(), ends, strict=False):
            own = row[start + 1 : end + 1]
            several += len(own) > 1
            expected = own[-1] if piece == "last" else own.mean(0)
            torch.testing.assert_close(vector, expected, rtol=1e-4, atol=1e-5)
    assert several, "some words have several pieces"
    assert torch.equal(
        encoding.select([2, 1], piece=piece).select([1]).flat_words, found.words[1, : len(texts[1].words)]
    )
    mix = LayerMix(encoder.depth)
    with torch.no_grad():
        mix.shares.copy_(torch.tensor([-100.0] * (encoder.depth - 1) + [100.0]))
        mixed = encoding.select([0, 1], mix, piece).flat_words
    torch.testing.assert_close(mixed, found.flat_words, rtol=1e-4, atol=1e-5)


def test_pieces_of_a_word_in_a_long_text_come_from_its_own_row(encoder: Encoder) -> None:
    (pieces,) = encoder.tokenise([LONG])
    batch = encoder.collate([pieces])
    width = batch.ids.shape[1]
    assert torch.equal(batch.words // width, batch.lasts // width), "first and last piece are in one row"
    assert bool((batch.lasts >= batch.words).all())
    ids = batch.ids.flatten()
    assert ids[batch.words].tolist() == pieces.ids[pieces.starts].tolist()
    assert ids[batch.lasts].tolist() == pieces.ids[pieces.lasts].tolist()


@pytest.mark.parametrize("chosen", [[0], [4, 2], [1], [3, 0, 2], [2, 1, 4], [0, 1, 2, 3, 4]])
def test_a_selection_is_the_same_as_its_parts(encoder: Encoder, chosen: list[int]) -> None:
    whole = encoder(encoder.collate(encoder.tokenise(MIXED)))
    part = whole.select(chosen)
    assert len(part) == len(chosen) and list(part.texts) == [MIXED[i].words for i in chosen]
    assert torch.equal(part.sentence, whole.sentence[chosen])
    expected = [whole.words[i, : len(MIXED[i].words)] for i in chosen]
    assert torch.equal(part.flat_words, torch.cat(expected))
    assert part.words.shape[1] == max(len(MIXED[i].words) for i in chosen)
    for vectors, wanted in zip(part.words, expected, strict=True):
        assert torch.equal(vectors[: len(wanted)], wanted)
    last = part.select([len(chosen) - 1])
    assert torch.equal(last.sentence[0], whole.sentence[chosen[-1]])


def test_choosing_all_in_order_makes_nothing_new(encoder: Encoder) -> None:
    whole = encoder(encoder.collate(encoder.tokenise(MIXED)))
    assert whole.select(range(len(MIXED))) is whole
    assert whole.select([1, 0, 2, 3, 4]) is not whole


def test_padding_lays_out_any_values(encoder: Encoder) -> None:
    encoding = encoder(encoder.collate(encoder.tokenise([SHORT, Example(words=("a", "cat"))])))
    flat = torch.arange(12, dtype=torch.long).view(6, 2)
    padded = encoding.pad(flat)
    assert padded.tolist() == [flat[:4].tolist(), [*flat[4:].tolist(), [0, 0], [0, 0]]]


def test_gradients_reach_the_encoder_through_every_view(tiny_encoder: Path) -> None:
    encoder = load_encoder(str(tiny_encoder))
    for view in ("sentence", "flat_words", "words"):
        encoding = encoder(encoder.collate(encoder.tokenise(MIXED))).select([1, 2])
        encoder.zero_grad()
        getattr(encoding, view).square().sum().backward()
        grad = encoder.transformer.get_input_embeddings().weight.grad  # type: ignore[operator]
        assert grad is not None and bool(grad.any()), view


def test_dropout_of_hidden_values_but_never_of_attention(tiny_encoder: Path) -> None:
    encoder = load_encoder(str(tiny_encoder))
    batch = encoder.collate(encoder.tokenise([SHORT]))
    encoder.set_dropout(0.0)
    still = encoder.train()(batch).hidden
    assert torch.equal(still, encoder(batch).hidden)  # no dropout left anywhere
    encoder.set_dropout(0.5)
    assert not torch.allclose(encoder(batch).hidden, still)
    torch.testing.assert_close(encoder.eval()(batch).hidden, still)
    attention = [m for m in encoder.modules() if hasattr(m, "query")]
    assert attention and all(m.dropout.p == 0 for m in attention)


def test_width_and_sizes(encoder: Encoder) -> None:
    assert (encoder.width, encoder.window) == (32, 64)
    per_layer = 4 * (32 * 32 + 32) + 2 * (32 * 64) + 64 + 32 + 4 * 32
    assert encoder.layer_weights == 2 * per_layer
