"""Pretraining as a stage: alone, beside tasks with labels, killed and gone on with."""

from __future__ import annotations

import gzip
import tomllib
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
import torch

import killing
import polyhead
import runs
from conftest import SENTENCES, cells
from killing import KILLED, Moment
from polyhead import PolyheadError
from polyhead.nn.vocabulary import NarrowEmbedding
from polyhead.recipe import load_recipe, make_recipe
from polyhead.scoring import mean_score
from polyhead.training.blocks import BLOCKS
from polyhead.training.loop import Training
from polyhead.training.prepare import Material, load_datasets, prepare_tasks

DATA = (
    runs.DATA
    + """
[data.raw]
train = ["raw.txt", "more.txt.gz"]
dev = 0.1
"""
)
TASKS = """\
[tasks.pos]
type = "tagging"
data = "ud"
layer = "upos"

[tasks.text]
type = "masked-lm"
data = "raw"
block = 32

[tasks.sentences]
type = "masked-lm"
data = "ud"
joined = false
"""
STAGES = """\
[[stages]]
name = "pretraining"
tasks = ["text"]
epochs = 2
learning_rate = 0.003
head_learning_rate = 0.01
batch_pieces = 128

[[stages]]
name = "joint"
tasks = ["pos", "sentences", "text"]
epochs = 1
batch_pieces = 128
accumulate = 2

[[stages]]
name = "tags"
tasks = ["pos"]
epochs = 1
replay = 0.5
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    folder = runs.write_data(tmp_path_factory.mktemp("data"))
    texts = "".join(" ".join(word[0] for word in cells(sentence)) + "\n" for sentence, _ in SENTENCES)
    (folder / "raw.txt").write_text(texts * 3, encoding="utf-8")
    (folder / "more.txt.gz").write_bytes(gzip.compress(texts.encode() * 2))
    return runs.write_recipe(folder, tiny_encoder, STAGES, data=DATA, tasks=TASKS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, context: ForkServerContext, recipe: Path) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "run"
    ended = killing.run(context, recipe, folder)
    assert ended.status == 0, ended.error
    return folder


def training(recipe: Path, folder: Path) -> Training:
    """A run that was set up and has not begun."""
    from polyhead.model import Model
    from polyhead.nn.loading import load_encoder

    loaded = load_recipe(recipe)
    loaded = loaded.model_copy(
        update={"stages": [stage.model_copy(update={"learning_rate": 1e-3}) for stage in loaded.stages]}
    )
    tasks = loaded.make_tasks()
    datasets = load_datasets(loaded, tasks, ("train", "dev"))
    prepare_tasks(tasks, datasets)
    encoder = load_encoder(str(loaded.encoder_spec.name))
    return Training(loaded, Model(encoder, tasks), Material(encoder, datasets, folder / BLOCKS), folder)


def test_a_run_is_scored_and_cleared_up(run: Path) -> None:
    records = {(r["record"], r["stage"], r.get("epoch")): r for r in runs.log(run)}
    first = records["EpochEnded", "pretraining", 1]["scores"]["text"]["perplexity"]
    second = records["EpochEnded", "pretraining", 2]["scores"]["text"]["perplexity"]
    assert second < first, "it learns"
    scores = polyhead.training.Run.open(run).scores
    assert set(scores["dev"]) == {"pos", "text", "sentences"}
    assert set(scores["dev"]["text"]) == {"perplexity", "accuracy"}
    assert set(scores["test"]) == {"pos", "sentences"}
    assert not (run / BLOCKS).exists()


def test_evaluate_gives_the_figures_of_the_run(run: Path, light: None) -> None:
    assert polyhead.evaluate(run, split="dev") == polyhead.training.Run.open(run).scores["dev"]


def test_evaluate_gives_the_figures_of_the_run_in_half_precision(recipe: Path, tmp_path: Path, light: None) -> None:
    half = recipe.with_name("half.toml")
    half.write_text(recipe.read_text(encoding="utf-8").replace('"fp32"', '"bf16"'), encoding="utf-8")
    scores = polyhead.train(half, tmp_path / "run").scores["dev"]
    assert polyhead.evaluate(tmp_path / "run", split="dev") == scores


def test_predict_leaves_it_out(run: Path, light: None) -> None:
    doc = polyhead.load(run)("The cats slept.")
    assert [list(sentence.answers) for sentence in doc.sentences] == [["upos"]]
    assert not doc.answers
    assert doc.to_conllu()


def test_the_head_is_kept_with_the_model(run: Path) -> None:
    from transformers import AutoModel

    model = polyhead.training.Run.open(run).model()
    assert set(model.head("text").state_dict()) == {*("dense.weight", "dense.bias", "norm.weight", "norm.bias", "bias")}
    embedding = model.encoder.transformer.get_input_embeddings().weight
    opened = AutoModel.from_pretrained(run / "model" / "encoder")
    assert torch.equal(opened.get_input_embeddings().weight, embedding)


def test_a_model_that_was_only_pretrained_says_so(
    recipe: Path, tiny_encoder: Path, tmp_path: Path, light: None
) -> None:
    stage = "[[stages]]\nepochs = 1\nbatch_pieces = 512\n"
    tasks = TASKS[TASKS.index("[tasks.text]") :]
    data = recipe.parent
    only = runs.write_recipe(data, tiny_encoder, stage, data=DATA, tasks=tasks).rename(data / "only.toml")
    runs.write_recipe(data, tiny_encoder, STAGES, data=DATA, tasks=TASKS)
    done = polyhead.train(only, tmp_path / "run")
    assert set(done.scores["dev"]) == {"text", "sentences"}
    with pytest.raises(PolyheadError, match="annotates nothing: it learnt only text, sentences"):
        polyhead.load(tmp_path / "run")


def test_texts_without_labels_are_streams(recipe: Path) -> None:
    loaded = load_recipe(recipe)
    datasets = load_datasets(loaded, loaded.make_tasks(), ("train", "dev"))
    assert (datasets["raw"].streamed, datasets["ud"].streamed) == (True, False)


def test_no_labelled_example_is_read_masked(recipe: Path, tmp_path: Path) -> None:
    made = training(recipe, tmp_path)
    tokenizer = made.model.encoder.tokenizer
    tasks = [made.model.tasks[name] for name in ("pos", "sentences", "text")]
    examples = made.material.training_set(tasks)
    assert examples.sizes == [8, 8, len(made.material.blocks(tasks[2], "train"))]
    assert len(examples.items) == sum(examples.sizes) == len(examples.lengths) == len(examples.rows)
    everything = range(len(examples.items))
    items, targets = examples.draw(everything, tokenizer, (1, 2, 3))
    plain = made.model.encoder.tokenise(made.material.datasets["ud"].splits["train"])
    for row in everything:
        carried = [name for name, gold in targets.items() if gold[row] is not None]
        assert carried == [["pos"], ["sentences"], ["text"]][(row >= 8) + (row >= 16)]
        if row < 8:
            assert np.array_equal(items[row].ids, plain[row].ids) and items[row].words == plain[row].words
        else:
            gold = targets[carried[0]][row]
            assert np.array_equal(examples.items[row].ids[items[row].starts], gold)
            assert tokenizer.mask in items[row].ids or len(gold) < 8
        assert all((examples.units[name][row] > 0) == (name in carried) for name in targets)
    again = examples.draw(everything, tokenizer, (1, 2, 3)).items
    assert all(np.array_equal(a.ids, b.ids) for a, b in zip(again, items, strict=True))
    other = examples.draw(everything, tokenizer, (1, 2, 4)).items
    assert any(not np.array_equal(a.ids, b.ids) for a, b in zip(other, items, strict=True)), "each step its own masks"


def test_embeddings_are_whole_where_any_piece_may_be_asked_for(recipe: Path, tmp_path: Path) -> None:
    made = training(recipe, tmp_path)
    kinds = {}
    for record in made.records():
        embedding = made.model.encoder.transformer.get_input_embeddings()
        kinds.setdefault(getattr(record, "stage", ""), type(embedding) is NarrowEmbedding)
    assert kinds == {"pretraining": False, "joint": False, "tags": False}  # the last one replays
    stages = [stage.model_copy(update={"replay": 0.0}) for stage in made.recipe.stages[-1:]]
    alone = training(recipe, tmp_path / "alone")
    alone.recipe = alone.recipe.model_copy(update={"stages": stages})
    next(alone.records())
    assert isinstance(alone.model.encoder.transformer.get_input_embeddings(), NarrowEmbedding)


def test_perplexity_chooses_weights_only_where_nothing_else_does(recipe: Path) -> None:
    tasks = load_recipe(recipe).make_tasks()
    scores = {"pos": {"accuracy": 0.5}, "text": {"perplexity": 9.0, "accuracy": 0.1}}
    assert mean_score(scores, tasks) == 0.5
    assert mean_score({"text": scores["text"]}, tasks) == -9.0


@pytest.mark.parametrize(
    "moments",
    [
        [r"open blocks/\w+.unfinished/pieces", r"os.rename blocks/\w+.unfinished", "record Stepped pretraining 2"],
        ["record Stepped pretraining 4", "record StageEnded pretraining", "record Stepped joint 1"],
        ["before final scores", "os.rename scores.json", "shutil.rmtree blocks"],
    ],
)
def test_killed_and_resumed(
    moments: list[str], tmp_path: Path, context: ForkServerContext, recipe: Path, run: Path
) -> None:
    start: Path | None = recipe
    for pattern in moments:
        killed = killing.run(context, start, tmp_path / "run", Moment(pattern))
        assert killed.status == KILLED, f"{pattern}: {killed.error or killed.events}"
        start = None
    ended = killing.run(context, None, tmp_path / "run")
    assert ended.status == 0, ended.error
    assert runs.differences(runs.outcome(tmp_path / "run"), runs.outcome(run)) == []
    assert not (tmp_path / "run" / BLOCKS).exists()


def test_what_was_frozen_leaves_nothing_for_plain_text_to_learn(
    tmp_path: Path, context: ForkServerContext, recipe: Path
) -> None:
    """Embeddings wait for their turn in one stage, of which the next, on plain text, knows no gradient."""
    stages = (
        '[[stages]]\nname = "slow"\ntasks = ["pos"]\nepochs = 3\nbatch_pieces = 64\nfreeze = 1\nthaw = 0.5\n'
        '[[stages]]\nname = "text"\ntasks = ["text"]\nepochs = 1\nbatch_pieces = 128\nlearning_rate = 0.003\n'
    )
    data = tomllib.loads(recipe.read_text(encoding="utf-8"))
    path = runs.write_recipe(recipe.parent, Path(data["encoder"]), stages, data=DATA, tasks=TASKS, name="slow.toml")
    straight = killing.run(context, path, tmp_path / "straight")
    assert straight.status == 0, straight.error
    killed = killing.run(context, path, tmp_path / "run", Moment("record StageEnded slow"))
    assert killed.status == KILLED, killed.error
    assert killing.run(context, None, tmp_path / "run").error == ""
    assert runs.differences(runs.outcome(tmp_path / "run"), runs.outcome(tmp_path / "straight")) == []


def test_a_recipe_gives_it_no_layer() -> None:
    table = {"data": {"d": {"train": "x.txt"}}, "tasks": {"t": {"type": "masked-lm", "data": "d"}}}
    assert make_recipe(table).make_tasks()["t"].layer == ""
    table["tasks"]["t"]["layer"] = "upos"
    with pytest.raises(PolyheadError, match=r"tasks\.t\.layer = 'upos'"):
        make_recipe(table)


def test_an_encoder_from_scratch_is_pretrained_and_gone_on_with(recipe: Path, tmp_path: Path, light: None) -> None:
    folder = runs.write_data(tmp_path / "data")
    for name in ("raw.txt", "more.txt.gz"):
        (folder / name).write_bytes((recipe.parent / name).read_bytes())
    top = 'precision = "fp32"\ndevice = "cpu"\n'
    text = TASKS[TASKS.index("[tasks.text]") : TASKS.index("[tasks.sentences]")]
    stage = "[[stages]]\nepochs = 1\nbatch_pieces = 256\n"
    scratch = "[encoder]\nlayers = 1\nwidth = 16\nheads = 2\nvocabulary = 300\nwindow = 48\n"
    (folder / "one.toml").write_text("\n".join([top, scratch, DATA, text, stage]))
    polyhead.train(folder / "one.toml", tmp_path / "one")
    start = f'[start]\nrun = "{tmp_path / "one"}"\n'
    pos = TASKS[: TASKS.index("[tasks.text]")]
    (folder / "two.toml").write_text(
        "\n".join(
            [
                top,
                start,
                DATA,
                pos,
                text,
                "[[stages]]\nlearning_rate = 0.0\nhead_learning_rate = 0.0\nweight_decay = 0.0\nepochs = 1\n",
            ]
        )
    )
    told: list[str] = []
    polyhead.train(folder / "two.toml", tmp_path / "two", tell=told.append)
    assert "tasks.text: the run's head" in told
    one, two = (polyhead.training.Run.open(tmp_path / name) for name in ("one", "two"))
    assert two.scores["dev"]["text"] == pytest.approx(one.scores["dev"]["text"]), "nothing was learnt, nothing lost"
    assert [*polyhead.load(tmp_path / "two")("The cats slept.").sentences[0].answers] == ["upos"]
