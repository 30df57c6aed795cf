"""Runs that write texts: beside other heads, killed and gone on with, frozen, from a parent to a child."""

from __future__ import annotations

import json
import shutil
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch

import killing
import polyhead
import runs
from killing import KILLED, Moment
from polyhead import PolyheadError
from polyhead.model import load_model
from test_cli import call, fault

EN = ["the dog sleeps", "the cat sleeps", "a dog eats", "a cat eats", "the dog eats", "a cat sleeps", "the cat eats"]
FR = [
    "Le chien dort.",
    "Le chat dort.",
    "Un chien mange.",
    "Un chat mange.",
    "Le chien mange.",
    "Un chat dort.",
    "Le chat mange.",
]
DE = ["Der Hund schläft.", "Die Katze schläft.", "Ein Hund frisst.", "Eine Katze frisst.", "Der Hund frisst."]
PAIRS = """\
[data.{name}]
train = "phrases.{{en,{name}}}"
dev = "phrases.{{en,{name}}}"
language = ["en", "{name}"]
"""
TASK = '[tasks.{name}]\ntype = "seq2seq"\ndata = "{name}"\nvocabulary = 300\nlayers = 1\n{more}\n'
STAGE = "[[stages]]\nepochs = {}\nlearning_rate = 0.003\nhead_learning_rate = 0.01\nbatch_pieces = 64\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = runs.write_data(tmp_path / "data")
    for side, lines in (("en", EN), ("fr", FR)):
        (folder / f"phrases.{side}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "german").mkdir()
    for side, lines in (("en", EN[: len(DE)]), ("de", DE)):
        (folder / "german" / f"phrases.{side}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def german() -> str:
    return PAIRS.format(name="de").replace('"phrases', '"german/phrases')


def write(folder: Path, encoder: Path, data: str, tasks: str, stages: str, name: str = "recipe", top: str = "") -> Path:
    made = runs.write_recipe(folder, encoder, stages, data=data, tasks=tasks)
    text = made.read_text(encoding="utf-8")
    if top:
        text = text.replace(f'encoder = "{encoder}"\n', top)
    path = folder / f"{name}.toml"
    made.unlink()
    path.write_text(text, encoding="utf-8")
    return path


def test_one_encoder_tags_and_translates(folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    recipe = write(
        folder,
        tiny_encoder,
        runs.DATA + PAIRS.format(name="fr"),
        runs.TASKS + TASK.format(name="fr", more="beams = 2"),
        STAGE.format(2),
    )
    run = polyhead.train(recipe, tmp_path / "run")
    assert set(run.scores["dev"]["fr"]) == {"bleu", "chrf", "length_ratio"}
    assert run.signatures["fr"]["bleu"].startswith("nrefs:1|case:mixed")
    assert {"pos", "syntax", "entities", "mood", "fr"} == set(run.scores["dev"])
    card = (run.folder / "model" / "README.md").read_text(encoding="utf-8")
    assert "nrefs:1" in card and "seq2seq" in card and str(tmp_path) not in card
    assert str(tmp_path) not in (run.folder / "model" / "config.json").read_text(encoding="utf-8")
    (folder / "more.txt").write_text("the dog eats\n\nthe cat sleeps\n", encoding="utf-8")
    out = tmp_path / "more.fr"
    call("predict", run.folder, folder / "more.txt", "--task", "fr", "--to", "text", "--output", out)
    lines = out.read_text(encoding="utf-8").split("\n")
    assert len(lines) == 4 and lines[0] and not lines[1] and lines[2], "a line for each line"
    many = call("predict", run.folder, folder / "more.txt", "--task", "fr", "--to", "jsonl", "--n-best", "2")
    piped = call("predict", run.folder, "--task", "fr", "--n-best", "2", stdin="the dog eats\n")
    assert piped.stdout == many.stdout.splitlines(keepends=True)[0], "what is said is JSONL if nobody says otherwise"
    assert "Add --to jsonl" in str(fault("predict", run.folder, "--task", "fr", "--to", "csv", "--n-best", "2"))
    assert "has no room" in str(fault("predict", run.folder, "--task", "fr", "--to", "text", "--confidence"))
    first = json.loads(many.stdout.splitlines()[0])
    assert isinstance(first["target"], str) and len(first["target_others"]) == 1
    assert "writes texts" in str(fault("predict", run.folder, folder / "more.txt", "--n-best", "2", "--task", "pos"))


def test_a_killed_run_goes_on_bit_for_bit(
    folder: Path, tiny_encoder: Path, tmp_path: Path, context: ForkServerContext
) -> None:
    data, tasks = PAIRS.format(name="fr") + runs.DATA, TASK.format(name="fr", more="dropout = 0.3") + runs.TASKS
    recipe = write(folder, tiny_encoder, data, tasks, STAGE.format(2))
    straight = killing.run(context, recipe, tmp_path / "straight")
    assert straight.status == 0, straight.error
    for source, step in ((recipe, 2), (None, 5)):
        killed = killing.run(context, source, tmp_path / "run", Moment(f"record Stepped stage-1 {step}$"))
        assert killed.status == KILLED, killed.error
    assert killing.run(context, None, tmp_path / "run").error == ""
    assert runs.differences(runs.outcome(tmp_path / "run"), runs.outcome(tmp_path / "straight")) == []


@pytest.mark.parametrize("decoder", ["fresh", "warm"])
def test_a_frozen_encoder_is_read_from_its_cache(
    folder: Path, tiny_encoder: Path, tmp_path: Path, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it learns is the same with and without."""
    monkeypatch.setenv("POLYHEAD_CACHE", str(tmp_path / "cache"))
    weights = []
    for cache in ("true", "false"):
        stage = STAGE.format(2) + f'freeze = "encoder"\ncache = {cache}\n'
        task = TASK.format(name="fr", more=f'decoder = "{decoder}"\nlongest = 60')  # tiny_encoder has 64 positions
        recipe = write(folder, tiny_encoder, PAIRS.format(name="fr"), task, stage)
        run = polyhead.train(recipe, tmp_path / cache)
        weights.append(load_model(run.folder).state_dict())
    assert any((tmp_path / "cache").rglob("*")), "there is a cache"
    # The gradient of a key's bias is 0 but for rounding, which Adam makes steps of.
    names = [name for name in weights[0] if not name.endswith("k_proj.bias") and not name.endswith("key.bias")]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-4) for name in names)


def test_one_decoder_for_two_languages(folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    shared = '[tasks.de]\nhead_of = "fr"\ndata = "de"\nlanguage = "de"\n'
    tasks = TASK.format(name="fr", more='language = "fr"\ndropout = 0.0') + shared
    stage = STAGE.format(40) + 'sampling = "uniform"\n'
    run = polyhead.train(
        write(folder, tiny_encoder, PAIRS.format(name="fr") + german(), tasks, stage), tmp_path / "run"
    )
    assert list(run.model().heads) == ["fr"]
    doc = polyhead.load(run.folder)("the dog sleeps")
    french, german_text = (str(doc.answers[name].value) for name in ("fr", "de"))
    assert french.split()[0] in {"Le", "Un"} and german_text.split()[0] in {"Der", "Die", "Ein", "Eine"}


def test_one_decoder_for_two_columns_of_a_file(folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    """Each task that shares the head learns from its own layer, and one that names none does not take another's."""
    lines = ["en\tde\tfr", *(f"the dog {i}\tder Hund {i}\tle chien {i}" for i in range(12))]
    for split in ("train", "dev"):
        (folder / f"both.{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = '[data.both]\ntrain = "both.train.tsv"\ndev = "both.dev.tsv"\ntext = "en"\n'
    first = TASK.format(name="de", more='language = "de"\nlayer = "de"').replace('data = "de"', 'data = "both"')
    second = '[tasks.fr]\nhead_of = "de"\ndata = "both"\nlanguage = "fr"\n'
    recipe = write(folder, tiny_encoder, data, first + second + 'layer = "fr"\n', STAGE.format(60), "columns")
    run = polyhead.train(recipe, tmp_path / "run")
    doc = polyhead.load(run.folder)("the dog 3")
    german_text, french = (str(doc.answers[name].value) for name in ("de", "fr"))
    assert german_text.startswith("der Hund") and french.startswith("le chien")
    silent = write(folder, tiny_encoder, data, first + second, STAGE.format(1), "silent")
    with pytest.raises(PolyheadError, match="target"):
        polyhead.train(silent, tmp_path / "silent")


@pytest.mark.parametrize("labels", ["union", "data"])
def test_a_child_goes_on_from_its_parent(folder: Path, tiny_encoder: Path, tmp_path: Path, labels: str) -> None:
    still = "[[stages]]\nepochs = 1\nlearning_rate = 0.0\nhead_learning_rate = 0.0\n"
    first = write(folder, tiny_encoder, german(), TASK.format(name="de", more=""), STAGE.format(3), "parent")
    parent = polyhead.train(first, tmp_path / "parent")
    heads = "" if labels == "union" else 'heads = { fr = "de" }\n'
    name, data = ("de", german()) if labels == "union" else ("fr", PAIRS.format(name="fr"))
    top = f'[start]\nrun = "{parent.folder}"\nlabels = "{labels}"\n{heads}'
    path = folder / "child.toml"
    table = TASK.format(name=name, more="")
    path.write_text(f'precision = "fp32"\ndevice = "cpu"\n{top}\n{data}\n{table}\n{still}', encoding="utf-8")
    told: list[str] = []
    child = polyhead.train(path, tmp_path / "child", tell=told.append)
    before: Any = parent.model().head("de")
    after: Any = child.model().head(name)
    if labels == "union":
        assert after.vocabulary.pieces == before.vocabulary.pieces
    theirs = dict(zip(before.vocabulary.pieces, before.decoder.embedding.weight, strict=True))
    ours = dict(zip(after.vocabulary.pieces, after.decoder.embedding.weight, strict=True))
    assert (ours.keys() == theirs.keys()) == (labels == "union")
    assert all(torch.equal(ours[piece], theirs[piece]) for piece in ours.keys() & theirs.keys())
    layer = "network.model.decoder.layers.0.fc1.weight"
    assert torch.equal(after.decoder.state_dict()[layer], before.decoder.state_dict()[layer])


def test_pairs_that_are_left_out_are_named(folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    long = [*FR[:-1], " ".join(FR)]
    (folder / "phrases.fr").write_text("\n".join(long) + "\n", encoding="utf-8")
    recipe = write(
        folder, tiny_encoder, PAIRS.format(name="fr"), TASK.format(name="fr", more="longest = 20"), STAGE.format(1)
    )
    told: list[str] = []
    run = polyhead.train(recipe, tmp_path / "run", tell=told.append)
    assert sum("phrases.{en,fr}:7" in note and "left out" in note and "longest = 20" in note for note in told) == 1
    started = next(one for one in runs.log(run.folder) if one["record"] == "StageStarted")
    assert started["left_out"] == 1


def test_targets_that_are_all_too_long_are_an_error_before_anything_is_written(
    folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    lines = [f"{text} {number} {number}" for number, text in enumerate(FR, 1000)]
    (folder / "phrases.fr").write_text("\n".join(lines) + "\n", encoding="utf-8")
    task = TASK.format(name="fr", more="longest = 4")
    recipe = write(folder, tiny_encoder, PAIRS.format(name="fr"), task, STAGE.format(1))
    said = str(fault("train", recipe, "--output", tmp_path / "run"))
    assert "recipe.toml:" in said and "7 pairs left out" in said and "longest = 4" in said
    assert not (tmp_path / "run").exists()


def test_targets_of_dev_that_are_never_written_whole_are_noted(
    folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    lines = [*FR[:3], " ".join(FR), *FR[4:]]
    (folder / "long.fr").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "long.en").write_text("\n".join(EN) + "\n", encoding="utf-8")
    data = PAIRS.format(name="fr").replace('dev = "phrases', 'dev = "long')
    recipe = write(folder, tiny_encoder, data, TASK.format(name="fr", more="longest = 20"), STAGE.format(1))
    told: list[str] = []
    polyhead.train(recipe, tmp_path / "run", tell=told.append)
    (note,) = [note for note in told if "longest = 20" in note]
    assert "1 target of the dev split" in note and "long.{en,fr}:4" in note


def test_two_translators_are_compared(folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    recipe = write(folder, tiny_encoder, PAIRS.format(name="fr"), TASK.format(name="fr", more=""), STAGE.format(1))
    one = polyhead.train(recipe, tmp_path / "one").folder
    shutil.copytree(one, tmp_path / "two")
    assert "bleu" in call("evaluate", one, tmp_path / "two", "--split", "dev").stdout


def test_an_encoder_without_a_decoder_names_the_recipe(folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    task = '[tasks.fr]\ntype = "seq2seq"\ndata = "fr"\ndecoder = "pretrained"\n'
    recipe = write(folder, tiny_encoder, PAIRS.format(name="fr"), task, STAGE.format(1))
    with pytest.raises(PolyheadError, match=r"recipe\.toml:\d+: tasks\.fr\.decoder = 'pretrained'"):
        polyhead.train(recipe, tmp_path / "run")
