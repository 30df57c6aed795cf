"""Decoders give what transformers' own models give, each weight has one name, and they can be built again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from polyhead.nn.decoders import (
    DecoderShape,
    build_decoder,
    describe_decoder,
    fresh_decoder,
    pretrained_decoder,
    warm_decoder,
)
from polyhead.nn.decoding import Decoder, Ends
from polyhead.nn.searching import Search

PIECES, WIDTH, LONGEST = 60, 32, 12
HALF = {
    "vocab_size": PIECES,
    "d_model": WIDTH,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "max_position_embeddings": 40,
}
T5 = {"vocab_size": PIECES, "d_model": WIDTH, "d_ff": 48, "d_kv": 16, "num_layers": 2, "num_heads": 2}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "t5": ("T5ForConditionalGeneration", "T5Config", T5 | {"decoder_start_token_id": 0}),
    "t5 v1.1": (
        "T5ForConditionalGeneration",
        "T5Config",
        T5 | {"decoder_start_token_id": 0, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "bart": ("BartForConditionalGeneration", "BartConfig", HALF),
    "mbart": ("MBartForConditionalGeneration", "MBartConfig", HALF | {"decoder_start_token_id": 2}),
    "marian": ("MarianMTModel", "MarianConfig", HALF | {"pad_token_id": 59, "decoder_start_token_id": 59}),
    "nllb": ("M2M100ForConditionalGeneration", "M2M100Config", HALF),
}
SHAPE = DecoderShape(
    layers=2, width=48, heads=2, feed_forward=64, pieces=PIECES, longest=20, dropout=0.1, padding=0, end=2
)


def network(family: str) -> Any:
    """A whole encoder-decoder with random weights, large enough to prefer some pieces clearly."""
    model, config, settings = FAMILIES[family]
    torch.manual_seed(5)
    made = getattr(transformers, model)(getattr(transformers, config)(**settings)).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "embed_positions" not in name:  # Marian's are a formula, which is not saved
                parameter.mul_(4)
    return made


def bert() -> Any:
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=WIDTH, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64
    )
    torch.manual_seed(3)
    return transformers.AutoModel.from_config(config).eval()


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def both(family: str, tmp_path: Path) -> tuple[Any, Decoder]:
    """Transformers' own model, and our decoder of the same folder."""
    whole = network(family)
    whole.save_pretrained(tmp_path)
    return whole, pretrained_decoder(str(tmp_path)).eval()


def texts() -> tuple[Tensor, Tensor]:
    ids = torch.randint(5, 58, (3, 6), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[1, 4:] = False
    return ids, mask


def encoded(whole: Any) -> tuple[Tensor, Tensor]:
    ids, mask = texts()
    with torch.no_grad():
        return whole.get_encoder()(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask


def test_logits_and_loss_are_those_of_transformers(both: tuple[Any, Decoder]) -> None:
    whole, decoder = both
    ids, mask = texts()
    labels = torch.randint(5, 58, (3, 5), generator=torch.Generator().manual_seed(2))
    start = whole.config.decoder_start_token_id
    given = torch.cat([torch.full((3, 1), start), labels[:, :-1]], dim=1)
    with torch.no_grad():
        expected = whole(input_ids=ids, attention_mask=mask.long(), decoder_input_ids=given, labels=labels)
        logits = decoder(*encoded(whole), given)
    assert torch.allclose(logits, expected.logits, atol=1e-5)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert loss.item() == pytest.approx(expected.loss.item(), abs=1e-5)


@pytest.mark.parametrize("beams", [1, 3])
def test_texts_are_those_of_transformers(both: tuple[Any, Decoder], beams: int) -> None:
    whole, decoder = both
    ids, mask = texts()
    start, padding, end = whole.config.decoder_start_token_id, whole.config.pad_token_id, 7
    # random weights like to repeat the start, which is the usual end of some families
    settings = transformers.GenerationConfig(
        num_beams=beams,
        max_length=LONGEST + 1,
        early_stopping=beams > 1,
        decoder_start_token_id=start,
        eos_token_id=end,
        pad_token_id=padding,
        suppress_tokens=[padding],
    )
    whole.generation_config.forced_eos_token_id = None  # Marian's own end, in the place of the last piece
    expected = whole.generate(input_ids=ids, attention_mask=mask.long(), generation_config=settings)[:, 1:].tolist()
    found = decoder.write(*encoded(whole), [start], Search(beams=beams), Ends(end, padding, [LONGEST] * 3))
    for row, (text,) in zip(expected, found, strict=True):
        assert text.ids == (row[: row.index(end)] if end in row else row)
        assert 0 < text.chance <= 1
    assert {"".join(map(str, text.ids)) for (text,) in found} != {""}


@pytest.mark.parametrize("search", [Search(), Search(beams=3)], ids=["greedy", "beams"])
def test_a_folders_own_search_is_not_taken(both: tuple[Any, Decoder], search: Search, tmp_path: Path) -> None:
    """No saved model would know of it: what is scored in training is what is predicted later."""
    whole, decoder = both
    whole.generation_config.update(
        min_length=LONGEST, repetition_penalty=5.0, no_repeat_ngram_size=1, forced_bos_token_id=9, bad_words_ids=[[7]]
    )
    whole.generation_config.save_pretrained(tmp_path)
    again = pretrained_decoder(str(tmp_path)).eval()
    ends = Ends(7, whole.config.pad_token_id, [LONGEST] * 3)
    states, mask = encoded(whole)
    start = [whole.config.decoder_start_token_id]
    assert again.write(states, mask, start, search, ends) == decoder.write(states, mask, start, search, ends)


@pytest.mark.parametrize("search", [Search(), Search(beams=3), Search(temperature=1.0)], ids=["one", "beams", "drawn"])
def test_what_fills_up_is_never_written(search: Search) -> None:
    decoder = fresh_decoder(SHAPE, WIDTH).eval()
    decoder.network.final_logits_bias[0, SHAPE.padding] = 1e3
    states, mask = torch.randn(2, 4, WIDTH), torch.ones(2, 4, dtype=torch.bool)
    for (text,) in decoder.write(states, mask, [1], search, Ends(SHAPE.end, SHAPE.padding, [LONGEST] * 2)):
        assert SHAPE.padding not in text.ids and text.chance < 0.01


def decoders() -> dict[str, Decoder]:
    return {"fresh": fresh_decoder(SHAPE, WIDTH), "warm": warm_decoder(bert(), SHAPE)}


@pytest.mark.parametrize("kind", ["fresh", "warm", *FAMILIES])
def test_each_weight_has_one_name_and_the_shape_can_be_built_again(kind: str, tmp_path: Path) -> None:
    if kind in FAMILIES:
        network(kind).save_pretrained(tmp_path)
    decoder = (pretrained_decoder(str(tmp_path)) if kind in FAMILIES else decoders()[kind]).eval()
    weights = decoder.state_dict()
    places = [value.data_ptr() for value in weights.values() if value.numel()]
    assert len(places) == len(set(places))
    assert not any("encoder.layers" in name or "shared" in name for name in weights), "there is no encoder in it"
    again = build_decoder(describe_decoder(decoder), WIDTH).eval()
    again.load_state_dict(weights)
    states, mask, given = torch.randn(2, 5, WIDTH), torch.ones(2, 5, dtype=torch.bool), torch.randint(3, 50, (2, 4))
    assert torch.equal(decoder(states, mask, given), again(states, mask, given))


def test_a_warm_decoder_begins_as_the_encoder() -> None:
    source = bert()
    decoder = warm_decoder(source, SHAPE)
    ours, theirs = decoder.network.decoder.base_model.state_dict(), source.state_dict()
    for new, old in ((0, 0), (1, 3)):  # the lowest and the highest of four layers
        name = "encoder.layer.{}.attention.self.query.weight"
        assert torch.equal(ours[name.format(new)], theirs[name.format(old)])
    assert any("crossattention" in name for name in ours)


def test_no_decoder_is_made_of_a_family_that_has_no_attention_to_another_text() -> None:
    config = transformers.ModernBertConfig(
        vocab_size=50,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        pad_token_id=0,
    )
    with pytest.raises(ValueError, match="modernbert"):
        warm_decoder(transformers.AutoModel.from_config(config), SHAPE)


def test_nothing_is_read_where_the_mask_is_off() -> None:
    decoder = fresh_decoder(SHAPE, WIDTH).eval()
    states, mask = torch.randn(2, 5, WIDTH), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    given = torch.randint(3, 50, (2, 4))
    other = states.clone()
    other[1, 3:] = 100.0
    assert torch.allclose(decoder(states, mask, given), decoder(other, mask, given), atol=1e-5)


def test_a_decoder_of_another_width_has_a_bridge() -> None:
    assert fresh_decoder(SHAPE, WIDTH).bridge is not None and decoders()["warm"].bridge is None


@pytest.mark.parametrize("search", [Search(beams=4, best=3), Search(temperature=1.0, best=3)])
def test_several_texts_for_each(search: Search) -> None:
    torch.manual_seed(0)
    decoder = fresh_decoder(SHAPE, WIDTH).eval()
    states, mask = torch.randn(2, 5, WIDTH), torch.ones(2, 5, dtype=torch.bool)
    found = decoder.write(states, mask, [1], search, Ends(2, 0, [LONGEST] * len(states)))
    assert [len(several) for several in found] == [3, 3]
    assert all(len({tuple(text.ids) for text in several}) == 3 for several in found)
    assert all(len(text.ids) <= LONGEST for several in found for text in several)


@pytest.mark.parametrize("search", [Search(), Search(beams=3), Search(beams=3, length_penalty=0.3)])
def test_a_text_and_its_chance_are_the_same_beside_others(search: Search) -> None:
    """Also where others may be longer, and where the batch is written in parts."""
    torch.manual_seed(2)
    decoder = fresh_decoder(SHAPE, WIDTH).eval()
    states, mask = torch.randn(6, 5, WIDTH), torch.ones(6, 5, dtype=torch.bool)
    limits = [3, 12, 5, 9, 3, 1]
    together = decoder.write(states, mask, [1], search, Ends(2, 0, limits))
    for i, limit in enumerate(limits):
        ((alone,),) = decoder.write(states[i : i + 1], mask[i : i + 1], [1], search, Ends(2, 0, [limit]))
        assert alone.ids == together[i][0].ids and len(alone.ids) <= limit
        assert alone.chance == pytest.approx(together[i][0].chance, rel=1e-4)


def test_much_at_once_is_written_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    decoder = fresh_decoder(SHAPE, WIDTH).eval()
    states, mask = torch.randn(5, 5, WIDTH), torch.ones(5, 5, dtype=torch.bool)
    ends = Ends(2, 0, [4, 8, 5, 9, 3])
    together = decoder.write(states, mask, [1], Search(beams=2, best=2), ends)
    monkeypatch.setattr("polyhead.nn.decoding.AT_ONCE", 4 * PIECES)
    parts = decoder.write(states, mask, [1], Search(beams=2, best=2), ends)
    for whole, part in zip(together, parts, strict=True):
        assert [one.ids for one in part] == [one.ids for one in whole]
        assert [one.chance for one in part] == pytest.approx([one.chance for one in whole], rel=1e-4)


def test_how_likely_a_text_is_costs_nothing_where_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = fresh_decoder(SHAPE, WIDTH).eval()
    states, mask = torch.randn(1, 5, WIDTH), torch.ones(1, 5, dtype=torch.bool)
    ((text,),) = decoder.write(states, mask, [1], Search(), Ends(2, 0, [6]))
    monkeypatch.setattr(Decoder, "forward", None)
    monkeypatch.setattr(Tensor, "logsumexp", None)
    ((silent,),) = decoder.write(states, mask, [1], Search(sure=False), Ends(2, 0, [6]))
    assert silent.ids == text.ids and math.isnan(silent.chance)


@pytest.mark.parametrize(
    "search",
    [
        Search(),
        Search(temperature=2.0, best=3),
        Search(beams=4, best=3),
        Search(beams=4, best=4, length_penalty=0.2),
        Search(beams=4, best=2, temperature=2.0),
    ],
    ids=["greedy", "drawn", "beams", "beams with a length penalty", "drawn beams"],
)
def test_how_likely_a_text_is(search: Search) -> None:
    """The mean probability of a text's pieces, piece by piece, by the decoder itself, whatever they were drawn by."""
    torch.manual_seed(5)
    decoder = fresh_decoder(SHAPE, WIDTH).eval()
    with torch.no_grad():
        decoder.embedding.weight[2] *= 2  # so that some texts end
    states, mask = 8 * torch.randn(12, 5, WIDTH), torch.ones(12, 5, dtype=torch.bool)
    mask[1, 3:] = False
    limits = [6, 12, 1, 9] * 3
    found = decoder.write(states, mask, [1, 3], search, Ends(2, 0, limits))
    seen = set()
    for row, limit in enumerate(limits):
        assert len(found[row]) == search.best
        for text in found[row]:
            pieces = text.ids if len(text.ids) == limit else [*text.ids, 2]
            seen.add(len(text.ids) < limit)
            with torch.no_grad():
                logits = decoder(states[row, None], mask[row, None], torch.tensor([[1, 3, *pieces]]))[0, 1:-1]
            logs = logits.log_softmax(1)[range(len(pieces)), pieces]
            assert text.chance == pytest.approx(logs.mean().exp().item(), rel=1e-4)
    assert seen == {True, False}, "some texts end, and some are cut off"
