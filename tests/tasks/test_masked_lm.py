"""Masked language modelling: what is hidden, and that the loss is the one of BERT's own head."""

from __future__ import annotations

from pathlib import Path

import families
import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from polyhead.data import Example
from polyhead.errors import PolyheadError
from polyhead.model import Model, Targets
from polyhead.nn.loading import load_encoder
from polyhead.nn.pieces import Pieces, PieceTokenizer
from polyhead.tasks import make_task
from polyhead.tasks.masked_lm import MaskedLm, MaskedLmHead

TEXT = Example(text="the cats sat in the garden and was incomprehensibly good , see ? " * 5)


def task(**settings: object) -> MaskedLm:
    made = make_task("it", {"type": "masked-lm", "data": "d", **settings})
    assert isinstance(made, MaskedLm)
    return made


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder: Path) -> PieceTokenizer:
    return load_encoder(str(tiny_encoder)).tokenizer


@pytest.fixture(scope="module")
def block(tokenizer: PieceTokenizer) -> Pieces:
    (found,) = tokenizer.running([TEXT])
    return found


def owners(pieces: Pieces) -> np.ndarray:
    first = np.zeros(len(pieces.ids), dtype=int)
    first[pieces.starts] = 1
    return first.cumsum() - 1


def test_whole_words_are_hidden(block: Pieces, tokenizer: PieceTokenizer) -> None:
    words = owners(block)
    for seed in range(50):
        hidden, gold = task().corrupt(block, tokenizer, np.random.default_rng(seed))
        assert (block.ids[hidden.starts] == gold).all()
        assert (np.diff(hidden.starts) > 0).all()
        chosen = np.isin(words, words[hidden.starts])
        assert np.flatnonzero(chosen).tolist() == hidden.starts.tolist()
        others = np.setdiff1d(np.arange(len(block.ids)), hidden.starts)
        assert (hidden.ids[others] == block.ids[others]).all()
        assert len(hidden.words) == len(gold)


@pytest.mark.parametrize("whole_words", [True, False])
def test_shares_are_those_that_were_asked_for(block: Pieces, tokenizer: PieceTokenizer, whole_words: bool) -> None:
    made = task(share=0.2, whole_words=whole_words)
    drawn = [made.corrupt(block, tokenizer, np.random.default_rng(seed)) for seed in range(400)]
    counts = np.array([len(gold) for _, gold in drawn])
    assert counts.mean() / len(block.ids) == pytest.approx(0.2, abs=0.015)
    if not whole_words:
        assert set(counts) == {made.block_units(len(block.ids))}
    now = np.concatenate([hidden.ids[hidden.starts] for hidden, _ in drawn])
    gold = np.concatenate([found for _, found in drawn])
    assert (now == tokenizer.mask).mean() == pytest.approx(0.8, abs=0.02)
    ordinary = int(tokenizer.ordinary.sum())
    assert (now == gold).mean() == pytest.approx(0.1 + 0.1 / ordinary, abs=0.02)
    others = now[(now != gold) & (now != tokenizer.mask)]
    assert tokenizer.ordinary[others].all()
    assert len(set(others.tolist())) == ordinary, "any piece may stand there"


def test_masks_depend_on_the_seed_alone(block: Pieces, tokenizer: PieceTokenizer) -> None:
    def draw(*seed: int) -> list[int]:
        return task().corrupt(block, tokenizer, np.random.default_rng(seed))[0].ids.tolist()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert draw(1, 2, 3) != draw(1, 2, 4)


def test_special_and_unknown_pieces_are_never_hidden(tokenizer: PieceTokenizer) -> None:
    index = tokenizer.tokenizer.token_to_id
    ids = np.array([index(name) for name in ("[SEP]", "the", "[UNK]", "[MASK]", "[PAD]", "cat")])
    pieces = Pieces(ids, np.arange(len(ids)))
    for seed in range(20):
        hidden, gold = task(share=0.9).corrupt(pieces, tokenizer, np.random.default_rng(seed))
        assert hidden.starts.tolist() == [1, 5]
        assert gold.tolist() == [index("the"), index("cat")]
    nothing, gold = task().corrupt(Pieces(ids[[0, 2]], np.arange(2)), tokenizer, np.random.default_rng(0))
    assert len(gold) == 0 and nothing.ids.tolist() == ids[[0, 2]].tolist()


def test_capitals_of_hidden_words_are_not_told(block: Pieces, tokenizer: PieceTokenizer) -> None:
    case = np.full(len(block.ids), 2)
    shown = Pieces(block.ids, block.starts, case=case)
    hidden, _ = task().corrupt(shown, tokenizer, np.random.default_rng(0))
    assert hidden.case is not None
    assert np.flatnonzero(hidden.case == 0).tolist() == hidden.starts.tolist()
    assert (case == 2).all(), "the block stays as it is"


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_the_loss_is_that_of_the_familys_own_head(family: str, tmp_path: Path) -> None:
    """The reference is transformers' model for masked language modelling, with our weights."""
    encoder = load_encoder(str(families.build(family, tmp_path / "e")))
    torch.manual_seed(1)
    model = Model(encoder, {"it": task()}).eval()
    head = model.head("it")
    assert isinstance(head, MaskedLmHead)
    torch.nn.init.normal_(head.bias)
    reference = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(tmp_path / "e")).eval()
    base = getattr(reference, reference.base_model_prefix)
    base.load_state_dict(encoder.transformer.state_dict())
    own = reference.cls.predictions if family == "bert" else reference.lm_head
    parts = (own.transform.dense, own.transform.LayerNorm) if family == "bert" else (own.dense, own.layer_norm)
    for theirs, ours in zip(parts, (head.dense, head.norm), strict=True):
        theirs.load_state_dict(ours.state_dict())
        if isinstance(theirs, torch.nn.LayerNorm):
            head.norm.eps = theirs.eps
    with torch.no_grad():
        own.bias.copy_(head.bias)
        own.decoder.bias.copy_(head.bias)
    reference.tie_weights()
    texts = [Example(text="a cat sat, Ann."), Example(text="see the cat")]
    drawn = [
        task(share=0.4).corrupt(b, encoder.tokenizer, np.random.default_rng(3))
        for b in encoder.tokenizer.running(texts)
    ]
    batch = encoder.collate([pieces for pieces, _ in drawn])
    gold = [target for _, target in drawn]
    labels = torch.full_like(batch.ids, -100).flatten()
    labels[batch.words] = torch.from_numpy(np.concatenate(gold))
    expected = reference(batch.ids, attention_mask=batch.mask, labels=labels.view(batch.ids.shape)).loss
    total, units = model.loss(batch, {"it": Targets([0, 1], gold)})["it"]
    assert units == sum(map(len, gold))
    assert total.item() / units == pytest.approx(expected.item(), rel=1e-5)
    sums = model.measure(batch, "it", gold)
    assert sums["loss"] == pytest.approx(total.item(), rel=1e-5)
    figures = task().figures(sums)
    assert figures["perplexity"] == pytest.approx(expected.exp().item(), rel=1e-4)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_every_family_learns_what_is_hidden(family: str, tmp_path: Path) -> None:
    encoder = load_encoder(str(families.build(family, tmp_path / "e")))
    torch.manual_seed(1)
    model = Model(encoder, {"it": task()})
    texts = [Example(text="a cat sat, Ann."), Example(text="see the cat sleep in the sun " * 4)]
    drawn = [task().corrupt(b, encoder.tokenizer, np.random.default_rng(3)) for b in encoder.tokenizer.running(texts)]
    batch, gold = encoder.collate([pieces for pieces, _ in drawn]), [target for _, target in drawn]
    first = model.loss(batch, {"it": Targets([0, 1], gold)})["it"]
    pieces = encoder.transformer.get_input_embeddings().weight
    assert first.total.item() / first.units < 2 * np.log(len(pieces)), "the first logits are of a moderate size"
    first.total.backward()
    assert pieces.grad is not None
    unused = np.setdiff1d(np.arange(len(pieces)), batch.ids.numpy())
    assert (pieces.grad[unused].norm(dim=1) > 0).all(), "the output weights are the embeddings"
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(15):
        optimizer.zero_grad()
        loss = model.loss(batch, {"it": Targets([0, 1], gold)})["it"]
        loss.total.backward()
        optimizer.step()
    assert loss.total.item() < 0.7 * first.total.item()
    assert not any("embed" in name for name in model.heads.state_dict())


def test_an_encoder_without_a_mask_is_refused(tmp_path: Path) -> None:
    encoder = load_encoder(str(families.build("t5", tmp_path / "e")))
    with pytest.raises(PolyheadError, match=r"tasks\.it: the tokenizer .* has no mask"):
        Model(encoder, {"it": task()})


@pytest.mark.parametrize(("setting", "value"), [("share", 0.0), ("share", 1.0), ("block", 4)])
def test_settings_that_make_no_sense_are_refused(setting: str, value: float) -> None:
    with pytest.raises(PolyheadError, match=rf"tasks\.it\.{setting} = {value}"):
        task(**{setting: value})


def test_figures_are_finite_however_wrong_the_head() -> None:
    assert np.isfinite(task().figures({"loss": 1e6, "units": 10, "right": 0})["perplexity"])
