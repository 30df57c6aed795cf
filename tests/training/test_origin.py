"""Where a model starts: from scratch, from random weights, with top layers drawn anew, or from a previous run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel

import killing
import polyhead
import runs
from killing import KILLED, Moment
from polyhead import PolyheadError
from polyhead.model import load_model
from polyhead.nn.loading import load_encoder
from polyhead.recipe import load_recipe
from polyhead.training.look import look

pytestmark = pytest.mark.usefixtures("one_thread")

UD = '[data.ud]\ntrain = "ud-train.conllu"\ndev = "ud-dev.conllu"\n'
UD += 'comments = { sentiment = "sentiment" }\n'
NAMES = '[data.names]\nlayers = ["words", "entities"]\ntrain = "names-train.conll"\n'
POS = '[tasks.pos]\ntype = "tagging"\ndata = "ud"\nlayer = "upos"\n'
MOOD = '[tasks.mood]\ntype = "classification"\ndata = "ud"\nlayer = "sentiment"\n'
ENTITIES = '[tasks.entities]\ntype = "ner"\ndata = "names"\nlayer = "entities"\ncrf = true\n'
SCRATCH = "[encoder]\nlayers = 2\nwidth = 32\nheads = 2\nvocabulary = 270\nwindow = 64\n"
STAGE = "[[stages]]\nepochs = {}\nlearning_rate = 0.003\nhead_learning_rate = 0.01\nbatch_pieces = 96\n"
STILL = "[[stages]]\nepochs = 1\nlearning_rate = 0.0\nhead_learning_rate = 0.0\n"
"""A stage that changes no weight, so that what comes out is where the model started."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.write_data(tmp_path_factory.mktemp("data"))


Written = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, data: Path) -> Written:
    """Writes a recipe, over files in a folder of its own."""

    def write(origin: str, rest: str, stages: str, *, seed: int = 1, name: str = "recipe") -> Path:
        folder = tmp_path / "files"
        if not folder.exists():
            shutil.copytree(data, folder)
        path = folder / f"{name}.toml"
        top = f'seed = {seed}\nprecision = "fp32"\ndevice = "cpu"\n'
        path.write_text("\n".join([top, origin, rest, stages]), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, data: Path, tiny_encoder: Path) -> Path:
    """A run of three tasks to start others from."""
    folder = tmp_path_factory.mktemp("first")
    shutil.copytree(data, folder / "files")
    recipe = folder / "files" / "recipe.toml"
    top = f'encoder = "{tiny_encoder}"\nprecision = "fp32"\ndevice = "cpu"\n'
    text = "\n".join([top, UD, NAMES, POS, MOOD, ENTITIES, STAGE.format(3)])
    recipe.write_text(text, encoding="utf-8")
    polyhead.train(recipe, folder / "run")
    return folder / "run"


def state(run: polyhead.Run | Path) -> dict[str, torch.Tensor]:
    return load_model(run if isinstance(run, Path) else run.folder).state_dict()


def equal(one: dict[str, Any], other: dict[str, Any], prefix: str) -> bool:
    names = [name for name in one if name.startswith(prefix)]
    assert names and all(name in other for name in names)
    return all(torch.equal(one[name], other[name]) for name in names)


# From scratch ------------------------------------------------------------------------------------


def test_a_run_from_scratch_learns_and_its_encoder_opens(write: Written, tmp_path: Path) -> None:
    recipe = write(SCRATCH, UD + POS, STAGE.format(80))
    told: list[str] = []
    run = polyhead.train(recipe, tmp_path / "run", tell=told.append)
    assert any(re.fullmatch(r"the encoder from scratch has [\d,]+ weights and 270 pieces", note) for note in told), told
    found = polyhead.evaluate(run.folder, split="train")
    assert found["pos"]["accuracy"] > 0.9
    model = run.model()
    assert (model.encoder.depth, model.encoder.width, model.encoder.window) == (3, 32, 64)
    assert AutoModel.from_pretrained(run.folder / "model" / "encoder").config.vocab_size == 270
    assert not (run.folder / "start").exists(), "it serves resuming alone"
    answers = polyhead.load(run.folder)("The cats slept.")
    assert len(answers["upos"]) == 4


def test_the_resolved_recipe_trains_the_same_model_again(write: Written, tmp_path: Path) -> None:
    run = polyhead.train(write("[encoder]\nwidth = 32\nlayers = 1\n", UD + POS, STAGE.format(1)), tmp_path / "one")
    text = (run.folder / "recipe.toml").read_text(encoding="utf-8")
    notes = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))["notes"]
    assert any("the training texts give no more; 16,000 were allowed" in note for note in notes)
    for line in ("heads = 1", "feed_forward = 128", "vocabulary = 16000", "window = 512", "lowercase = false"):
        assert line in text
    again = polyhead.train(run.folder / "recipe.toml", tmp_path / "two")
    one, two = runs.outcome(run.folder), runs.outcome(again.folder)
    assert runs.differences(one, two) == []
    other = polyhead.train(write(SCRATCH, UD + POS, STILL, seed=2), tmp_path / "three")
    same = polyhead.train(write(SCRATCH, UD + POS, STILL, seed=2), tmp_path / "four")
    assert equal(state(other), state(same), "")


def test_pieces_come_from_the_training_texts_alone(write: Written, tmp_path: Path) -> None:
    """Of every dataset with a task, pairs included, but of no dev or test text."""
    recipe = write(SCRATCH.replace("270", "400"), UD + NAMES + POS + ENTITIES, STILL)
    files = recipe.parent
    (files / "pairs.csv").write_text("one,two,label\n" + "yyyyyyyyyy,zzzzzzzzzz,a\nqq,rr,b\n" * 9, encoding="utf-8")
    shutil.copy(files / "ud-dev.conllu", files / "kept.conllu")
    text = (files / "ud-dev.conllu").read_text(encoding="utf-8")
    (files / "ud-dev.conllu").write_text(text.replace("cats", "xxxxxxxx"), encoding="utf-8")
    pairs = '[data.pairs]\ntrain = "pairs.csv"\nlayers = { text = "one", pair = "two" }\n'
    pairs += '[tasks.same]\ntype = "classification"\ndata = "pairs"\nlayer = "label"\n'
    recipe.write_text(
        recipe.read_text(encoding="utf-8").replace("[tasks.pos]", pairs + "[tasks.pos]"), encoding="utf-8"
    )
    run = polyhead.train(recipe, tmp_path / "run")
    pieces = run.model().encoder.tokenizer.tokenizer.get_vocab()
    assert {"Ġyyyyyyyyyy", "Ġzzzzzzzzzz", "ĠThe"} & pieces.keys() >= {"Ġyyyyyyyyyy", "Ġzzzzzzzzzz"}
    assert not any("xx" in piece for piece in pieces)
    assert any("ome" in piece or "Ann" in piece for piece in pieces)


def test_random_weights_are_the_twin_of_a_pretrained_run(write: Written, tmp_path: Path, tiny_encoder: Path) -> None:
    table = f'[encoder]\nname = "{tiny_encoder}"\nweights = "random"\n'
    first, second = (polyhead.train(write(table, UD + POS, STILL), tmp_path / name) for name in ("one", "two"))
    own = load_encoder(str(tiny_encoder))
    twin = first.model().encoder
    assert twin.tokenizer.tokenizer.to_str() == own.tokenizer.tokenizer.to_str() and twin.window == own.window
    names = [name for name, tensor in own.state_dict().items() if tensor.dim() > 1]
    assert not any(torch.equal(twin.state_dict()[name], own.state_dict()[name]) for name in names)
    assert equal(state(first), state(second), "")


def test_rates_from_scratch_are_higher(write: Written, tmp_path: Path, tiny_encoder: Path) -> None:
    rates = {}
    for name, table in {
        "scratch": SCRATCH,
        "random": f'[encoder]\nname = "{tiny_encoder}"\nweights = "random"\n',
        "pretrained": f'encoder = "{tiny_encoder}"\n',
    }.items():
        run = polyhead.train(write(table, UD + POS, "[[stages]]\nepochs = 1\n"), tmp_path / name)
        rates[name] = run.recipe.stages[0].learning_rate
    assert rates == {"scratch": 5e-4, "random": 5e-4, "pretrained": 0.0768 / 32}


def test_the_rate_is_lower_where_a_stage_only_classifies_texts(
    write: Written, tmp_path: Path, tiny_encoder: Path
) -> None:
    stages = ['tasks = ["mood"]', 'tasks = ["pos", "mood"]', 'tasks = ["mood"]\nadapter = { kind = "lora" }']
    table = "".join(f"[[stages]]\nepochs = 1\n{stage}\n" for stage in stages)
    pretrained = polyhead.train(write(f'encoder = "{tiny_encoder}"\n', UD + POS + MOOD, table), tmp_path / "run")
    usual = 0.0768 / 32
    assert [stage.learning_rate for stage in pretrained.recipe.stages] == [0.25 * usual, usual, 5 * usual]
    scratch = polyhead.train(write(SCRATCH, UD + MOOD, "[[stages]]\nepochs = 1\n"), tmp_path / "scratch")
    assert scratch.recipe.stages[0].learning_rate == 5e-4


def test_top_layers_are_drawn_anew_in_a_run(write: Written, tmp_path: Path, tiny_encoder: Path) -> None:
    table = f'[encoder]\nname = "{tiny_encoder}"\nreinitialise = 1\n'
    run = polyhead.train(write(table, UD + POS, STILL), tmp_path / "run")
    own = load_encoder(str(tiny_encoder)).transformer.state_dict()
    found = run.model().encoder.transformer.state_dict()
    changed = {name for name in own if not torch.equal(own[name], found[name])}
    assert changed and all(name.startswith("encoder.layer.1.") for name in changed)
    again = load_recipe(run.folder / "recipe.toml").encoder_spec
    assert again.reinitialise == 1 and again.weights == "pretrained"


@pytest.mark.parametrize("table", [SCRATCH, '[encoder]\nname = "{}"\nweights = "random"\nwindow = 32\n'])
def test_a_killed_run_from_scratch_is_gone_on_with(
    table: str, write: Written, tmp_path: Path, context: ForkServerContext, tiny_encoder: Path
) -> None:
    recipe = write(table.format(tiny_encoder), UD + POS, STAGE.format(2))
    reference = killing.run(context, recipe, tmp_path / "reference")
    assert reference.status == 0, reference.error
    start: Path | None = recipe
    for pattern in ("record Stepped stage-1 1", "record EpochEnded", "record StageEnded"):
        killed = killing.run(context, start, tmp_path / "run", Moment(pattern))
        assert killed.status == KILLED, killed.error
        assert (tmp_path / "run" / "start" / "encoder" / "tokenizer.json").exists()
        start = None
    ended = killing.run(context, None, tmp_path / "run")
    assert ended.status == 0, ended.error
    assert runs.differences(runs.outcome(tmp_path / "run"), runs.outcome(tmp_path / "reference")) == []
    assert not (tmp_path / "run" / "start").exists()


def test_a_damaged_start_is_told(write: Written, tmp_path: Path, context: ForkServerContext) -> None:
    recipe = write(SCRATCH, UD + POS, STAGE.format(1))
    assert killing.run(context, recipe, tmp_path / "run", Moment("record EpochEnded")).status == KILLED
    (tmp_path / "run" / "start" / "encoder" / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(PolyheadError, match="start/encoder: The run's encoder cannot be read"):
        polyhead.resume(tmp_path / "run")
    (tmp_path / "run" / "start" / "start.json").unlink()
    with pytest.raises(PolyheadError, match=r"start\.json: This file of the run is missing"):
        polyhead.resume(tmp_path / "run")


@pytest.mark.parametrize("table", [SCRATCH, '[start]\nrun = "{}"\n'])
def test_data_can_be_checked_before(table: str, write: Written, first: Path) -> None:
    recipe = load_recipe(write(table.format(first), UD + NAMES + POS, STILL))
    reports = list(look(recipe))
    assert [report.name for report in reports] == ["ud", "names"]


# From a previous run -----------------------------------------------------------------------------


def started(first: Path, more: str = "") -> str:
    return f'[start]\nrun = "{first}"\n{more}'


def test_a_run_is_gone_on_from(write: Written, tmp_path: Path, first: Path) -> None:
    """Encoder, vectors for capitals, mixes and heads of the same name and type are taken; others are new or dropped."""
    new = POS.replace("tasks.pos", "tasks.tags")
    told: list[str] = []
    run = polyhead.train(
        write(started(first), UD + NAMES + POS + ENTITIES + new, STILL), tmp_path / "run", tell=told.append
    )
    before, after = state(first), state(run)
    for part in ("encoder.", "heads.pos.", "heads.entities.", "mixes.pos.", "mixes.entities."):
        assert equal(after, before, part), part
    assert not any(name.startswith("heads.mood") for name in after)
    assert not torch.equal(after["heads.tags.classify.linear.weight"], before["heads.pos.classify.linear.weight"])
    assert run.model().encoder.name == load_model(first).encoder.name
    assert any(re.fullmatch(r"tasks\.pos: the run's head; (\d+) of its \1 labels kept", note) for note in told), told
    assert "tasks.tags: a new head" in told and "the run's head 'mood' is dropped" in told
    facts = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))["start"]
    assert facts["run"] == str(first) and len(facts["fingerprint"]) == 64
    ours, theirs = (model.encoder.tokenizer.tokenizer.to_str() for model in (run.model(), load_model(first)))
    assert ours == theirs


def test_paths_start_from_the_recipe_and_a_model_folder_will_do(write: Written, tmp_path: Path, first: Path) -> None:
    recipe = write(started(Path("before/model")), UD + POS, STILL)
    shutil.copytree(first, recipe.parent / "before")
    run = polyhead.train(recipe, tmp_path / "run")
    assert equal(state(run), state(first), "heads.pos.")
    assert f'run = "{(recipe.parent / "before" / "model").resolve()}"' in (run.folder / "recipe.toml").read_text()
    again = polyhead.train(run.folder / "recipe.toml", tmp_path / "again")
    assert runs.differences(runs.outcome(run.folder), runs.outcome(again.folder)) == []


def test_a_kept_head_can_be_drawn_anew_or_taken_from_another(write: Written, tmp_path: Path, first: Path) -> None:
    more = 'fresh = ["entities"]\nheads = { feeling = "mood" }\n'
    tasks = ENTITIES + POS + MOOD.replace("tasks.mood", "tasks.feeling")
    run = polyhead.train(write(started(first, more), UD + NAMES + tasks, STILL), tmp_path / "run")
    before, after = state(first), state(run)
    weight = "heads.entities.classify.linear.weight"
    assert after[weight].shape == before[weight].shape and not torch.equal(after[weight], before[weight])
    assert torch.equal(after["heads.feeling.linear.weight"], before["heads.mood.linear.weight"])
    assert equal(after, before, "heads.pos.")


def test_a_task_of_the_same_name_but_another_type_is_new(write: Written, tmp_path: Path, first: Path) -> None:
    told: list[str] = []
    lemmas = '[tasks.pos]\ntype = "lemmatization"\ndata = "ud"\n'
    polyhead.train(write(started(first), UD + lemmas, STILL), tmp_path / "run", tell=told.append)
    assert "tasks.pos: a new head, not the run's" in told


def one_new_type(files: Path) -> None:
    """Let the data know one kind of entity alone, which the first run does not know."""
    path = files / "names-train.conll"
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\t[BI]-LOC", "\tO", text).replace("-PER", "-CAT")
    path.write_text(text, encoding="utf-8")


def test_a_new_label_does_not_cost_the_old_ones(write: Written, tmp_path: Path, first: Path) -> None:
    recipe = write(started(first), NAMES + ENTITIES, STILL)
    one_new_type(recipe.parent)
    told: list[str] = []
    run = polyhead.train(recipe, tmp_path / "run", tell=told.append)
    assert run.model().tasks["entities"].known_labels() == ["CAT", "LOC", "PER"]
    assert "tasks.entities: the run's head; 2 of its 2 labels kept; new: CAT" in told
    before, after = state(first), state(run)
    rows = {"O": 0, "B-LOC": 1, "I-LOC": 2, "B-PER": 3, "I-PER": 4}
    now = {"O": 0, "B-LOC": 3, "I-LOC": 4, "B-PER": 5, "I-PER": 6}
    for tag, row in rows.items():
        for part in ("classify.linear.weight", "classify.linear.bias", "crf.soft_first"):
            name = f"heads.entities.{part}"
            assert torch.equal(after[name][now[tag]], before[name][row])
        for other, column in rows.items():
            name = "heads.entities.crf.soft_follow"
            assert torch.equal(after[name][now[tag], now[other]], before[name][row, column])
    assert not after["heads.entities.crf.soft_follow"][1:3].any(), "transitions of the new label are new"


def test_the_data_alone_may_say_which_labels_there_are(write: Written, tmp_path: Path, first: Path) -> None:
    recipe = write(started(first, 'labels = "data"\n'), NAMES + ENTITIES, STILL)
    one_new_type(recipe.parent)
    told: list[str] = []
    run = polyhead.train(recipe, tmp_path / "run", tell=told.append)
    assert run.model().tasks["entities"].known_labels() == ["CAT"]
    assert "tasks.entities: the run's head; 0 of its 2 labels kept; new: CAT; dropped: LOC, PER" in told


def test_best_weights_of_a_task(write: Written, tmp_path: Path, first: Path) -> None:
    run = polyhead.train(write(started(first, 'best = "pos"\n'), UD + POS, STILL), tmp_path / "run")
    best = load_model(first, "pos").state_dict()
    assert equal(state(run), best, "encoder.") and equal(state(run), best, "heads.pos.")


def test_the_card_tells_of_the_weights_that_were_best_for_a_task(write: Written, tmp_path: Path, first: Path) -> None:
    best = json.loads((first / "best" / "tasks.json").read_text(encoding="utf-8"))
    path = Path(shutil.copytree(first, tmp_path / "run")) / "best" / "tasks.json"
    kept = load_model(first).info["lineage"][0]["kept"]
    other = 1 if kept != 1 else 2  # whatever the figures were, another epoch than that of all tasks' best
    path.write_text(json.dumps(best | {"pos": best["pos"] | {"epoch": other}}), encoding="utf-8")
    start = f'[start]\nrun = "{tmp_path / "run"}"\nbest = "pos"\n'
    run = polyhead.train(write(start, UD + POS, STILL), tmp_path / "after")
    [before, _] = run.model().info["lineage"]
    log = [json.loads(line) for line in (first / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    [ended] = [one for one in log if one["record"] == "EpochEnded" and one["epoch"] == other]
    assert before["kept"] == other
    assert before["scores"]["pos"]["accuracy"] == ended["scores"]["pos"]["accuracy"]


def without_first(first: Path, folder: Path) -> Path:
    return Path(shutil.copytree(first, folder / "before"))


def test_resuming_needs_the_first_run_until_the_first_checkpoint_alone(
    write: Written, tmp_path: Path, first: Path, context: ForkServerContext
) -> None:
    before = without_first(first, tmp_path)
    recipe = write(started(before), UD + NAMES + POS + ENTITIES, STAGE.format(2))
    one_new_type(recipe.parent)
    assert killing.run(context, recipe, tmp_path / "reference").status == 0
    early = killing.run(context, recipe, tmp_path / "run", Moment("record StageStarted"))
    assert early.status == KILLED, early.error
    shutil.move(before, tmp_path / "gone")
    missing = killing.run(context, None, tmp_path / "run")
    assert missing.status == 1 and re.search(r"start\.run = .*There is no run", missing.error), missing.error
    other = load_model(tmp_path / "gone")
    with torch.no_grad():
        next(other.head("pos").parameters()).add_(1)
    other.save(before / "model")
    changed = killing.run(context, None, tmp_path / "run")
    assert changed.status == 1 and "not the model that the run started from" in changed.error, changed.error
    shutil.rmtree(before)
    shutil.move(tmp_path / "gone", before)
    late = killing.run(context, None, tmp_path / "run", Moment("record EpochEnded"))
    assert late.status == KILLED, late.error
    shutil.rmtree(before)
    ended = killing.run(context, None, tmp_path / "run")
    assert ended.status == 0, ended.error
    assert runs.differences(runs.outcome(tmp_path / "run"), runs.outcome(tmp_path / "reference")) == []


@pytest.mark.parametrize(
    ("more", "tasks", "message"),
    [
        ('best = "nothing"\n', POS, r"start\.best = 'nothing': There are no best weights.*\n.*pos"),
        ('fresh = ["tags"]\n', POS.replace("tasks.pos", "tasks.tags"), r"start\.fresh names 'tags'.*\n.*new anyway"),
        ('heads = { pos = "poss" }\n', POS, r"start\.heads\.pos = 'poss' is no task of the run.*\n.*'pos'"),
        ('heads = { pos = "mood" }\n', POS, r"tasks\.pos cannot go on from the head 'mood'.*\n.*start\.heads"),
    ],
)
def test_what_does_not_fit_the_run(
    more: str, tasks: str, message: str, write: Written, tmp_path: Path, first: Path
) -> None:
    with pytest.raises(PolyheadError, match=message):
        polyhead.train(write(started(first, more), UD + tasks, STILL), tmp_path / "run")
    assert not (tmp_path / "run").exists(), "nothing stands in the way of the next try"


def test_no_run_to_start_from(write: Written, tmp_path: Path) -> None:
    with pytest.raises(PolyheadError, match=r"start\.run = 'nowhere': There is no run .*nowhere"):
        polyhead.train(write(started(Path("nowhere")), UD + POS, STILL), tmp_path / "run")
