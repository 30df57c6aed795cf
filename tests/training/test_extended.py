"""Runs whose encoder gets more pieces: training, resuming, going on from them, and what does not fit."""

from __future__ import annotations

from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import killing
import polyhead
import runs
from killing import KILLED, Moment
from nn.families import build
from polyhead import PolyheadError
from polyhead.data.example import Example
from polyhead.nn.loading import load_encoder
from polyhead.recipe import load_recipe
from polyhead.training.look import look

pytestmark = pytest.mark.usefixtures("one_thread")

EXTEND = '[encoder]\nname = "{}"\nextend = 20\n'
POS = '[tasks.pos]\ntype = "tagging"\ndata = "ud"\nlayer = "upos"\n'
LM = '[tasks.texts]\ntype = "masked-lm"\ndata = "ud"\n'
UD = '[data.ud]\ntrain = "ud-train.conllu"\ndev = "ud-dev.conllu"\n'
STAGE = "[[stages]]\nepochs = {}\nlearning_rate = 0.003\nhead_learning_rate = 0.01\nbatch_pieces = 96\n"
STILL = "[[stages]]\nepochs = 1\nlearning_rate = 0.0\nhead_learning_rate = 0.0\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that cuts every word into its letters."""
    return build("bert", tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The tiny runs' data, the training texts twice as long."""
    folder = runs.write_data(tmp_path / "files")
    runs.write_conllu(folder / "ud-train.conllu", list(range(8)) * 5)
    return folder


def write(folder: Path, origin: str, rest: str, stages: str, name: str = "recipe") -> Path:
    path = folder / f"{name}.toml"
    path.write_text("\n".join(['precision = "fp32"\ndevice = "cpu"\n', origin, UD, rest, stages]), encoding="utf-8")
    return path


def test_a_run_with_more_pieces_learns_and_opens_in_transformers(folder: Path, tmp_path: Path, tiny: Path) -> None:
    told: list[str] = []
    recipe = write(folder, EXTEND.format(tiny), POS + LM, STAGE.format(12))
    run = polyhead.train(recipe, tmp_path / "run", tell=told.append)
    (note,) = (note for note in told if "pieces were added" in note)
    assert note.startswith("20 pieces were added to the encoder's: a word of the training texts takes 1."), note
    assert "pieces, 3." in note or "pieces, 4." in note, note
    assert polyhead.evaluate(run.folder, split="train")["pos"]["accuracy"] > 0.9
    text = (run.folder / "recipe.toml").read_text(encoding="utf-8")
    assert "extend = 20" in text
    saved = run.folder / "model" / "encoder"
    own = run.model().encoder.tokenizer
    pieces = len(own.tokenizer.get_vocab())
    assert pieces == load_encoder(str(tiny)).tokenizer.tokenizer.get_vocab_size() + 20
    assert AutoModel.from_pretrained(saved).config.vocab_size == pieces
    (cut,) = own([Example(text="The cats slept in Oslo.")])
    found = AutoTokenizer.from_pretrained(saved)("The cats slept in Oslo.", add_special_tokens=False)
    assert found["input_ids"] == cut.ids.tolist()
    assert run.model().head("texts").bias.shape == (pieces,)  # type: ignore[union-attr]
    assert not (run.folder / "start").exists()
    again = polyhead.train(run.folder / "recipe.toml", tmp_path / "again")
    assert runs.differences(runs.outcome(run.folder), runs.outcome(again.folder)) == []


def test_a_killed_run_with_more_pieces_is_gone_on_with(
    folder: Path, tmp_path: Path, tiny: Path, context: ForkServerContext
) -> None:
    recipe = write(folder, EXTEND.format(tiny), POS + LM, STAGE.format(2))
    reference = killing.run(context, recipe, tmp_path / "reference")
    assert reference.status == 0, reference.error
    start: Path | None = recipe
    for pattern in ("record Stepped stage-1 1", "record EpochEnded", "record StageEnded"):
        killed = killing.run(context, start, tmp_path / "run", Moment(pattern))
        assert killed.status == KILLED, killed.error
        start = None
    ended = killing.run(context, None, tmp_path / "run")
    assert ended.status == 0, ended.error
    assert runs.differences(runs.outcome(tmp_path / "run"), runs.outcome(tmp_path / "reference")) == []


def test_damaged_new_pieces_are_told(folder: Path, tmp_path: Path, tiny: Path, context: ForkServerContext) -> None:
    recipe = write(folder, EXTEND.format(tiny), POS, STAGE.format(1))
    assert killing.run(context, recipe, tmp_path / "run", Moment("record EpochEnded")).status == KILLED
    (tmp_path / "run" / "start" / "encoder" / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(PolyheadError, match=r"tokenizer\.json: The run's tokenizer cannot be read"):
        polyhead.resume(tmp_path / "run")


def test_another_run_goes_on_from_one_with_more_pieces(folder: Path, tmp_path: Path, tiny: Path) -> None:
    first = polyhead.train(write(folder, EXTEND.format(tiny), POS + LM, STAGE.format(2)), tmp_path / "first")
    start = write(folder, f'[start]\nrun = "{first.folder}"\n', POS + LM, STILL, "start")
    second = polyhead.train(start, tmp_path / "second")
    ours, theirs = (one.model().encoder for one in (second, first))
    assert ours.tokenizer.tokenizer.to_str() == theirs.tokenizer.tokenizer.to_str()
    weights = theirs.transformer.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in ours.transformer.state_dict().items())


def test_random_weights_may_have_more_pieces(folder: Path, tmp_path: Path, tiny: Path) -> None:
    table = EXTEND.format(tiny) + 'weights = "random"\n'
    one, two = (polyhead.train(write(folder, table, POS, STILL), tmp_path / name) for name in ("one", "two"))
    assert runs.differences(runs.outcome(one.folder), runs.outcome(two.folder)) == []
    pretrained = polyhead.train(write(folder, EXTEND.format(tiny), POS, STILL), tmp_path / "three").model().encoder
    twin = one.model().encoder
    assert twin.tokenizer.tokenizer.to_str() == pretrained.tokenizer.tokenizer.to_str()
    vectors = [encoder.transformer.get_input_embeddings().weight for encoder in (twin, pretrained)]
    assert vectors[0].shape == vectors[1].shape and not torch.equal(*vectors)


def test_data_can_be_checked_with_more_pieces(folder: Path, tiny: Path) -> None:
    pieces = [
        next(look(load_recipe(write(folder, table, POS, STILL)))).splits["train"].pieces.total
        for table in (f'[encoder]\nname = "{tiny}"\n', EXTEND.format(tiny))
    ]
    assert pieces[1] < 0.7 * pieces[0]


def test_targets_that_are_written_with_the_encoder_s_pieces_are_learnt_from(
    folder: Path, tmp_path: Path, tiny: Path
) -> None:
    (folder / "pairs.tsv").write_text("text\ttarget\n" + "a cat\tжук жук\n" * 8, encoding="utf-8")
    data = '[data.pairs]\ntrain = "pairs.tsv"\nlayers = { text = "text", target = "target" }\n'
    task = '[tasks.mt]\ntype = "seq2seq"\ndata = "pairs"\nwidth = 16\nlayers = 1\n'
    for vocabulary, known in (('"encoder"', True), ("300", False)):
        recipe = write(folder, EXTEND.format(tiny), f"{data}{task}vocabulary = {vocabulary}\n", STILL)
        run = polyhead.train(recipe, tmp_path / f"run{known}")
        assert (run.model().encoder.tokenizer.tokenizer.token_to_id("жук") is not None) is known


def test_a_pretrained_decoder_has_no_vectors_for_new_pieces(folder: Path, tmp_path: Path) -> None:
    from transformers import MBartConfig, MBartForConditionalGeneration

    from nn.families import ALL

    (folder / "pairs.tsv").write_text("text\ttarget\n" + "a cat\tthat cat\n" * 8, encoding="utf-8")
    _, settings, tokenizer = ALL["mbart"]
    made = tokenizer()
    MBartForConditionalGeneration(MBartConfig(vocab_size=len(made), **settings)).save_pretrained(tmp_path / "mbart")
    made.save_pretrained(tmp_path / "mbart")
    data = '[data.pairs]\ntrain = "pairs.tsv"\nlayers = { text = "text", target = "target" }\n'
    task = '[tasks.mt]\ntype = "seq2seq"\ndata = "pairs"\ndecoder = "pretrained"\n'
    recipe = write(folder, EXTEND.format(tmp_path / "mbart"), data + task, STILL)
    with pytest.raises(PolyheadError, match=r"has no vectors for the new pieces of encoder\.extend"):
        polyhead.train(recipe, tmp_path / "run")
