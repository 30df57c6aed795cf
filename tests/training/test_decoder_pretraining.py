"""A decoder that learns from plain text before, or beside, the pairs of a seq2seq task."""

from __future__ import annotations

from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch

import killing
import polyhead
import runs
from killing import KILLED, Moment
from polyhead.model import Model, load_model
from polyhead.nn.loading import load_encoder
from polyhead.recipe import load_recipe
from polyhead.training.blocks import BLOCKS
from polyhead.training.prepare import Material, load_datasets, prepare_tasks

PAIRS = [
    ("the dog sleeps", "Le chien dort."),
    ("the cat sleeps", "Le chat dort."),
    ("a dog eats", "Un chien mange à midi."),
    ("a cat eats", "Un chat mange à midi."),
    ("the dog eats", "Le chien mange à midi."),
    ("a cat sleeps", "Un chat dort."),
]
MONO = ["Zoé préfère l'été.", "L'élève préfère Noël.", "Où dort le chien ?", "Le chat mange, puis il dort.", "À midi."]
DATA = """\
[data.pairs]
train = "pairs.{en,fr}"
dev = "pairs.{en,fr}"

[data.mono]
format = "text"
train = "mono.fr"
dev = "mono.fr"
"""
SHAPE = "layers = 1\nvocabulary = 320\nlongest = 40\n"
FRENCH = f'[tasks.french]\ntype = "seq2seq"\ndata = "pairs"\n{SHAPE}'
NOISE = '[tasks.noise]\ntype = "denoising"\ndata = "mono"\n'
SHARED = FRENCH + NOISE + 'head_of = "french"\n'
FIRST = """\
[[stages]]
name = "noise"
tasks = ["noise"]
epochs = 3
learning_rate = 0.003
head_learning_rate = 0.01
batch_pieces = 96
keep = "last"
"""
STILL = """\
[[stages]]
name = "pairs"
tasks = ["french"]
epochs = 1
learning_rate = 0.0
head_learning_rate = 0.0
weight_decay = 0.0
"""
BOTH = """\
[[stages]]
name = "both"
tasks = ["french", "noise"]
epochs = 2
learning_rate = 0.001
batch_pieces = 96
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for side, suffix in enumerate(("en", "fr")):
        (folder / f"pairs.{suffix}").write_text("".join(pair[side] + "\n" for pair in PAIRS), encoding="utf-8")
    (folder / "mono.fr").write_text("\n".join(MONO) + "\n", encoding="utf-8")
    return folder


def recipe(data: Path, name: str, tasks: str, stages: str, origin: str) -> Path:
    path = data / f"{name}.toml"
    path.write_text(f"{origin}\n{DATA}\n{tasks}\n{stages}", encoding="utf-8")
    return path


@pytest.fixture
def origin(tiny_encoder: Path) -> str:
    return f'encoder = "{tiny_encoder}"\nprecision = "fp32"\ndevice = "cpu"\n'


def weights(model: Model) -> dict[str, torch.Tensor]:
    return model.head("french" if "french" in model.heads else "noise").state_dict()


def test_the_second_stage_begins_with_the_decoder_of_the_first(data: Path, tmp_path: Path, origin: str) -> None:
    one = polyhead.train(recipe(data, "one", SHARED, FIRST, origin), tmp_path / "one")
    two = polyhead.train(recipe(data, "two", SHARED, FIRST + STILL, origin), tmp_path / "two")
    first, second = one.model(), two.model()
    assert list(first.heads) == ["french"]
    for name, weight in weights(first).items():
        assert torch.equal(weights(second)[name], weight), name
    log = [record for record in runs.log(tmp_path / "one") if record["record"] == "EpochEnded"]
    perplexities = [record["scores"]["noise"]["perplexity"] for record in log]
    assert perplexities[-1] < perplexities[0], "it learns"
    assert set(one.scores["dev"]["noise"]) == {"perplexity", "accuracy"}
    pieces = first.head("french").vocabulary.pieces  # type: ignore[union-attr]
    vocabulary = first.tasks["noise"].target_vocabulary()  # type: ignore[attr-defined]
    assert vocabulary.pieces == pieces and any(
        "fère" in p for p in map(vocabulary.decode, map(vocabulary.encode, MONO))
    )
    assert len(vocabulary.encode("préfère")) < 9, "pieces that come in the plain text alone are in the vocabulary"


def test_a_later_run_takes_the_decoder_over_by_its_pieces(data: Path, tmp_path: Path, origin: str) -> None:
    """The first run has plain text alone; the second learns its vocabulary from the pairs."""
    noise = polyhead.train(recipe(data, "alone", NOISE + SHAPE, FIRST, origin), tmp_path / "alone")
    start = f'precision = "fp32"\ndevice = "cpu"\n[start]\nrun = "{noise.folder}"\nheads = {{ french = "noise" }}\n'
    told: list[str] = []
    french = polyhead.train(recipe(data, "later", FRENCH, STILL, start), tmp_path / "later", tell=told.append)
    assert "tasks.french: the run's head 'noise'" in told
    before, after = noise.model(), french.model()
    old, new = (model.head(name).vocabulary.pieces for model, name in ((before, "noise"), (after, "french")))  # type: ignore[union-attr]
    assert old != new
    axes = after.head("french").label_axes()
    ours, theirs = weights(after), weights(before)
    assert ours.keys() == theirs.keys() and any(name in axes for name in ours)
    both = [piece for piece in new if piece in set(old)]
    assert 256 < len(both) < len(new)
    for name, weight in ours.items():
        if name not in axes:
            assert torch.equal(weight, theirs[name]), name
            continue
        (axis,) = axes[name]
        mine, earlier = (torch.tensor([known.index(piece) for piece in both]) for known in (new, old))
        assert torch.equal(weight.index_select(axis, mine), theirs[name].index_select(axis, earlier)), name
    other = FRENCH.replace("layers = 1", "layers = 2")
    with pytest.raises(polyhead.PolyheadError, match=r"tasks\.french cannot go on from the head 'noise'"):
        polyhead.train(recipe(data, "other", other, STILL, start), tmp_path / "other")


def test_a_seq2seq_task_may_share_the_head_of_a_denoiser(data: Path, tmp_path: Path, origin: str) -> None:
    tasks = NOISE + SHAPE + '[tasks.french]\ntype = "seq2seq"\ndata = "pairs"\nhead_of = "noise"\n'
    run = polyhead.train(recipe(data, "owner", tasks, FIRST + BOTH, origin), tmp_path / "run")
    assert set(run.scores["dev"]) == {"noise", "french"}
    assert list(run.model().heads) == ["noise"]
    polyhead.evaluate(run.folder, split="dev")


def test_batches_have_room_for_what_the_decoder_reads(data: Path, tmp_path: Path, origin: str) -> None:
    loaded = load_recipe(recipe(data, "look", SHARED, FIRST, origin))
    tasks = loaded.make_tasks()
    datasets = load_datasets(loaded, tasks, ("train", "dev"))
    assert datasets["mono"].streamed and not datasets["pairs"].streamed
    prepare_tasks(tasks, datasets)
    model = Model(load_encoder(str(loaded.encoder_spec.name)), tasks)
    material = Material(model.encoder, datasets, tmp_path / BLOCKS)
    examples = material.training_set([tasks["french"], tasks["noise"]])
    assert examples.sizes == [len(PAIRS), len(MONO)]
    items, targets = examples.draw(range(len(PAIRS) + len(MONO)), model.encoder.tokenizer, (1, 2, 3))
    for row, item in enumerate(items):
        (name,) = [name for name, gold in targets.items() if gold[row] is not None]
        assert name == ("french" if row < len(PAIRS) else "noise")
        steps = tasks[name].steps(targets[name][row])
        assert examples.lengths[row] >= max(steps, len(item.ids) + 2)
        assert examples.units[name][row] == steps
    assert [examples.units["noise"][row] for row in range(len(PAIRS))] == [0] * len(PAIRS)


def test_killed_and_resumed(data: Path, tmp_path: Path, context: ForkServerContext, origin: str) -> None:
    path = recipe(data, "killed", SHARED, FIRST + BOTH, origin)
    straight = killing.run(context, path, tmp_path / "straight" / "run")
    assert straight.status == 0, straight.error
    start: Path | None = path
    moments = [r"open blocks/\w+.unfinished/targets", "record Stepped noise 2", "record StageEnded noise"]
    for pattern in [*moments, "record Stepped both 1"]:
        killed = killing.run(context, start, tmp_path / "run", Moment(pattern))
        assert killed.status == KILLED, f"{pattern}: {killed.error or killed.events}"
        start = None
    ended = killing.run(context, None, tmp_path / "run")
    assert ended.status == 0, ended.error
    assert runs.differences(runs.outcome(tmp_path / "run"), runs.outcome(tmp_path / "straight" / "run")) == []
    assert not (tmp_path / "run" / BLOCKS).exists()
    assert load_model(tmp_path / "run").tasks["noise"].metric == "perplexity"
