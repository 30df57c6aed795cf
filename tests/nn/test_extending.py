"""More pieces for an encoder of each family: what they are, how they begin, and that what was there stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from nn.families import ALL, build
from polyhead.data.example import Example
from polyhead.nn.encoder import Encoder
from polyhead.nn.extending import Extension, extend, learn_extension
from polyhead.nn.loading import load_encoder, load_saved_encoder
from polyhead.nn.merging import LONGEST

TEXTS = ["a cat sat on that mat", "the cats chat about hats", "Ἰθάκη is δ and д", "cat, hat; 2019 cats"] * 6
"""Words that come often, letters that no tiny tokenizer knows, and punctuation."""

SPLIT_IN_LETTERS = "bart"
"""The family whose tiny tokenizer makes a word of each letter, so that nothing can be joined."""


@pytest.fixture(scope="module", params=list(ALL))
def extended(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Encoder, Extension]:
    """A family's name, its folder, and its encoder with pieces learnt from the texts."""
    folder = build(request.param, tmp_path_factory.mktemp(request.param))
    encoder = load_encoder(str(folder))
    extension, _, _ = learn_extension(encoder.tokenizer, TEXTS, 60)
    extend(encoder, extension)
    return request.param, folder, encoder, extension


Extended = tuple[str, Path, Encoder, Extension]


def test_old_pieces_keep_their_ids_and_vectors(extended: Extended) -> None:
    _, folder, encoder, extension = extended
    old = load_encoder(str(folder))
    before = old.tokenizer.tokenizer.get_vocab(with_added_tokens=True)
    after = encoder.tokenizer.tokenizer.get_vocab(with_added_tokens=True)
    assert before.items() <= after.items()
    assert extension.first == max(before.values()) + 1
    ours, theirs = (one.transformer.get_input_embeddings().weight for one in (encoder, old))
    assert torch.equal(ours[: len(theirs)], theirs)
    assert len(ours) == encoder.config.vocab_size == extension.first + len(extension.parts)
    assert encoder.tokenizer.single == old.tokenizer.single
    assert encoder.tokenizer.mask == old.tokenizer.mask


def test_words_take_fewer_pieces_and_none_is_unknown(extended: Extended) -> None:
    family, folder, encoder, _ = extended
    examples = [Example(text=text) for text in TEXTS]
    old, new = load_encoder(str(folder)).tokenise(examples), encoder.tokenise(examples)
    if family != SPLIT_IN_LETTERS:
        assert sum(len(p.ids) for p in new) < 0.7 * sum(len(p.ids) for p in old)
    assert all(encoder.tokenizer.unknown not in p.ids for p in new)


def test_words_begin_where_they_did(extended: Extended) -> None:
    _, folder, encoder, _ = extended
    old = load_encoder(str(folder))
    for text in ("that cat, about the mats", "acatalogue of cathedrals", "cat"):
        words = tuple(text.split())
        for one in (old, encoder):
            (pieces,) = one.tokenise([Example(words=words)])
            assert len(pieces.starts) == len(words)
        first, second = (
            [one.tokenizer.tokenizer.decode([int(i)]).strip() for i in one.tokenise([Example(text=text)])[0].ids]
            for one in (old, encoder)
        )
        strip = str.maketrans("", "", " #▁")
        assert "".join(first).translate(strip) == "".join(second).translate(strip)


def test_a_new_piece_begins_as_the_mean_of_its_old_ones(extended: Extended) -> None:
    family, folder, encoder, extension = extended
    old = load_encoder(str(folder))
    vectors = encoder.transformer.get_input_embeddings().weight
    names = {i: piece for piece, i in encoder.tokenizer.tokenizer.get_vocab().items()}
    (pieces,) = old.tokenise([Example(words=("a", "about"))])
    cut = pieces.ids[pieces.starts[1] :].tolist()
    seen = 0
    for number, parts in enumerate(extension.parts, extension.first):
        torch.testing.assert_close(vectors[number], vectors[parts].mean(0))
        if names[number].strip("Ġ▁") == "about":
            assert parts == cut
            seen += 1
    assert seen == 1 or family == SPLIT_IN_LETTERS


def test_the_saved_encoder_opens_with_the_same_pieces(extended: Extended, tmp_path: Path) -> None:
    _, _, encoder, _ = extended
    encoder.save(tmp_path)
    again = load_saved_encoder(tmp_path, encoder.describe())
    wrapper = AutoTokenizer.from_pretrained(tmp_path)
    examples = [Example(text=text) for text in TEXTS]
    for example, ours, theirs in zip(examples, encoder.tokenise(examples), again.tokenise(examples), strict=True):
        assert ours.ids.tolist() == theirs.ids.tolist()
        assert wrapper(example.text, add_special_tokens=False)["input_ids"] == ours.ids.tolist()
    ours, theirs = (one.transformer.get_input_embeddings().weight for one in (encoder, again))
    assert torch.equal(ours, theirs)
    assert AutoModel.from_pretrained(tmp_path).get_input_embeddings().weight.shape == ours.shape


def test_the_same_texts_give_the_same_pieces(extended: Extended) -> None:
    _, folder, _, extension = extended
    assert learn_extension(load_encoder(str(folder)).tokenizer, TEXTS, 60)[0] == extension


def test_there_are_no_more_pieces_than_were_asked_for(extended: Extended) -> None:
    family, folder, _, _ = extended
    for most in (1, 3, 20):
        extension, before, after = learn_extension(load_encoder(str(folder)).tokenizer, TEXTS, most)
        assert 0 < len(extension.parts) <= most
        if most == 20 and family != SPLIT_IN_LETTERS:
            assert len(extension.parts) == most
            assert after.pieces <= before.pieces


def test_letters_come_first(tmp_path: Path) -> None:
    tokenizer = load_encoder(str(build("bert", tmp_path))).tokenizer
    extension, before, after = learn_extension(tokenizer, ["д cat"] * 9 + ["ж cat"], 1)
    grown = load_encoder(str(tmp_path))
    extend(grown, extension)
    assert grown.tokenizer.tokenizer.token_to_id("д") == extension.first
    assert (before.unknown, after.unknown) == (0.5, 0.05)


def test_a_letter_with_a_mark_begins_as_the_letter(tmp_path: Path) -> None:
    encoder = load_encoder(str(build("bert", tmp_path)))
    extension, _, _ = learn_extension(encoder.tokenizer, ["é xé x\u0142"] * 3, 9)
    extend(encoder, extension)
    known = encoder.tokenizer.tokenizer.token_to_id
    assert extension.parts[known("é") - extension.first] == [known("e")]
    assert extension.parts[known("##é") - extension.first] == [known("e")]
    assert extension.parts[known("##\u0142") - extension.first] == [encoder.tokenizer.unknown]


def test_long_words_of_a_script_without_spaces_are_read(tmp_path: Path) -> None:
    encoder = load_encoder(str(build("bert", tmp_path)))
    text = "ไทย" * 60
    extension, _, after = learn_extension(encoder.tokenizer, [text], 50)
    extend(encoder, extension)
    assert after.unknown == 0
    assert encoder.tokenizer.unknown not in encoder.tokenise([Example(text=text)])[0].ids


def test_a_repeated_sentence_of_a_script_without_spaces_is_no_piece(tmp_path: Path) -> None:
    encoder = load_encoder(str(build("bert", tmp_path)))
    extension, _, after = learn_extension(encoder.tokenizer, ["ภาษาไทยเป็นภาษาที่ใช้กันในประเทศไทย" * 8] * 3, 60)
    extend(encoder, extension)
    new = [encoder.tokenizer.tokenizer.id_to_token(extension.first + i) for i in range(len(extension.parts))]
    assert max(map(len, new)) > 9
    assert max(map(len, new)) <= LONGEST
    assert after.pieces < 40


def test_texts_that_ask_for_nothing_get_nothing(tmp_path: Path) -> None:
    tokenizer = load_encoder(str(build("bert", tmp_path))).tokenizer
    assert learn_extension(tokenizer, ["", "a b c"], 9)[0].parts == []
