"""Training as a whole: what a recipe's settings do to the weights that come out."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from safetensors.torch import load_file
from torch import Tensor

import polyhead
import runs
from conftest import SENTENCES
from polyhead import PolyheadError
from polyhead.model import load_model
from polyhead.nn.loading import load_encoder
from polyhead.scoring import Scores
from polyhead.training import loop
from polyhead.training.optim import Optimizer
from polyhead.training.records import Cosine, EpochEnded, StageEnded, StageStarted, Stepped
from polyhead.training.weighting import Weighting
from polyhead.views import Watcher

pytestmark = pytest.mark.usefixtures("one_thread")

FAST = {"learning_rate": 0.003, "head_learning_rate": 0.01, "batch_pieces": 96}
POS = '[tasks.pos]\ntype = "tagging"\ndata = "ud"\nlayer = "upos"\n'
LEMMAS = '[tasks.lemmas]\ntype = "lemmatization"\ndata = "ud"\n'
UD = '[data.ud]\ntrain = "ud-train.conllu"\ndev = "ud-dev.conllu"\ntest = "ud-test.conllu"\n'


@pytest.fixture
def make(tmp_path: Path, tiny_encoder: Path) -> Callable[..., polyhead.Run]:
    """Train from parts of a recipe into a folder of this name; watches what it is given."""

    def make(
        name: str, stages: str, *, data: str = UD, tasks: str = POS, top: str = "", watch: Any = lambda _: None
    ) -> polyhead.Run:
        folder = tmp_path / f"{name}-data"
        if not folder.exists():
            runs.write_data(folder)
        recipe = runs.write_recipe(folder, tiny_encoder, stages, data=data, tasks=tasks, top=top)
        return polyhead.train(recipe, tmp_path / name, watch=watch)

    return make


def stage(**settings: Any) -> str:
    return "[[stages]]\n" + tomli_w.dumps(FAST | settings).replace("[weights]", "[stages.weights]") + "\n"


def weights(run: polyhead.Run) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in run.model().state_dict().items()}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


def scripted(monkeypatch: pytest.MonkeyPatch, *epochs: dict[str, float]) -> None:
    """Let the dev scores of the epochs be these accuracies."""
    left = list(epochs)

    def score(*_: object) -> Scores:
        return {task: {"accuracy": value} for task, value in left.pop(0).items()}

    monkeypatch.setattr(loop, "score", score)


def test_the_same_recipe_gives_the_same_bytes(make: Callable[..., polyhead.Run], tmp_path: Path) -> None:
    first = make("first", stage(epochs=2))
    (tmp_path / "other-data").symlink_to(tmp_path / "first-data")
    again = make("other", stage(epochs=2))
    assert runs.differences(runs.outcome(first.folder), runs.outcome(again.folder)) == []
    resolved = polyhead.train(first.folder / "recipe.toml", tmp_path / "resolved")
    assert runs.differences(runs.outcome(first.folder), runs.outcome(resolved.folder)) == []
    seeded = make("other2", stage(epochs=2), top="seed = 5")
    assert len(differing(weights(first), weights(seeded))) > 10


def test_evaluate_gives_the_scores_of_the_run(make: Callable[..., polyhead.Run]) -> None:
    run = make("run", stage(epochs=1), data=runs.DATA, tasks=runs.TASKS)
    assert polyhead.evaluate(run.folder, split="test") == run.scores["test"]
    assert polyhead.evaluate(run.folder, split="dev") == run.scores["dev"]
    assert set(run.scores["dev"]) == {"pos", "syntax", "entities", "mood"}
    assert set(run.scores["test"]) == {"pos", "syntax", "mood"}, "names has no test split"
    assert polyhead.Run.open(run.folder) == run


def test_two_batches_of_half_the_size_make_the_same_step(
    make: Callable[..., polyhead.Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Sentences of equal length, so that the mean of two means is the mean over all words."""
    grads: list[dict[str, Tensor]] = []

    def step(self: Optimizer, number: int, gradients: object = None) -> float:
        grads.append({name: p.grad.clone() for name, p in self.names.items() if p.grad is not None})
        self.clear()
        return 1.0

    monkeypatch.setattr(Optimizer, "step", step)
    losses: list[dict[str, float]] = []

    def watch(record: object) -> None:
        if isinstance(record, Stepped):
            losses.append(record.losses)

    letters = ["a b c d", "c d b a", "d a a c", "b b d c", "c a d b", "a d c c", "d d b b", "b c a a"]
    tags = {"a": "DET", "b": "NOUN", "c": "VERB", "d": "ADP"}
    rows = ["".join(f"{word}\t{tags[word]}\n" for word in text.split()) for text in letters]
    (tmp_path / "letters.conll").write_text("\n".join(rows), encoding="utf-8")
    data = f'[data.ud]\ntrain = "{tmp_path}/letters.conll"\nlayers = ["words", "upos"]\n'
    tasks = POS + "dropout = 0.0\n"
    settings = {"epochs": 1, "dropout": 0.0}
    make("whole", stage(**settings, batch_pieces=48), data=data, tasks=tasks, watch=watch)
    halves = stage(**settings, accumulate=2, batch_pieces=24)
    make("halves", halves, data=data, tasks=tasks, watch=watch)
    assert len(grads) == 2, "one step each"
    one, two = grads
    assert one.keys() == two.keys()
    assert max(float(one[name].abs().max()) for name in one) > 1e-2
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5
    assert losses[0]["pos"] == pytest.approx(losses[1]["pos"], abs=1e-5)


def test_the_last_step_of_an_epoch_takes_what_is_left(make: Callable[..., polyhead.Run]) -> None:
    steps: list[Stepped] = []
    starts: list[StageStarted] = []

    def watch(record: Any) -> None:
        (steps if isinstance(record, Stepped) else starts if isinstance(record, StageStarted) else []).append(record)

    make("run", stage(epochs=2, accumulate=2, batch_pieces=40), watch=watch)
    assert [step.step for step in steps] == list(range(1, starts[0].steps + 1))
    words = [sum(step.words for step in steps if step.epoch == epoch) for epoch in (1, 2)]
    assert words == [sum(len(text.split()) for text, _ in SENTENCES)] * 2, "every word once in an epoch"


def test_patience_stops_when_nothing_gets_better(
    make: Callable[..., polyhead.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, *({"pos": value} for value in (0.1, 0.3, 0.2, 0.4, 0.4, 0.4, 0.9)))
    records: list[Any] = []
    run = make("run", stage(epochs=10, patience=2), watch=records.append)
    better = [record.best for record in records if isinstance(record, EpochEnded)]
    assert better == [True, True, False, True, False, False]
    (end,) = (record for record in records if isinstance(record, StageEnded))
    assert (end.epochs, end.kept, end.stopped_early) == (6, 4, True)
    best = load_file(run.folder / "best" / "stage-1-00004.safetensors")
    assert differing(weights(run), best) == set()


def test_dev_is_scored_as_often_as_the_stage_says(
    make: Callable[..., polyhead.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, *({"pos": value} for value in (0.3, 0.2, 0.4, 0.1)))
    records: list[Any] = []
    run = make("run", stage(epochs=7, score_every=2, patience=2), watch=records.append)
    epochs = [record for record in records if isinstance(record, EpochEnded)]
    assert [record.epoch for record in epochs if record.scores] == [2, 4, 6, 7], "the last one always"
    assert [record.epoch for record in epochs if record.best] == [2, 6]
    (end,) = (record for record in records if isinstance(record, StageEnded))
    assert (end.epochs, end.kept) == (7, 6)
    assert differing(weights(run), load_file(run.folder / "best" / "stage-1-00006.safetensors")) == set()
    scripted(monkeypatch, *({"pos": value} for value in (0.3, 0.2, 0.1)))
    make("early", stage(epochs=9, score_every=2, patience=2), watch=records.append)
    assert (records[-1].epochs, records[-1].stopped_early) == (6, True), "patience counts epochs that were scored"


def test_scores_of_nothing_do_not_run_out_of_patience(
    make: Callable[..., polyhead.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first span or a first four words in a row are found late, and until then the last weights are the best."""
    scripted(monkeypatch, *({"pos": value} for value in (0.0, 0.0, 0.0, 0.0, 0.2, 0.1, 0.2, 0.0)))
    records: list[Any] = []
    make("run", stage(epochs=10, patience=2), watch=records.append)
    better = [record.best for record in records if isinstance(record, EpochEnded)]
    assert better == [True, True, True, True, True, False, False]
    scripted(monkeypatch, *({"pos": 0.0} for _ in range(3)))
    nothing = make("nothing", stage(epochs=3))
    assert differing(weights(nothing), load_file(nothing.folder / "best" / "stage-1-00003.safetensors")) == set()


def test_patience_starts_anew_in_each_stage(make: Callable[..., polyhead.Run], monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, *({"pos": value} for value in (0.5, 0.1, 0.2, 0.1)))
    records: list[Any] = []
    make("run", stage(epochs=9, patience=1) + stage(epochs=9, patience=1), watch=records.append)
    ends = [(end.epochs, end.kept) for end in records if isinstance(end, StageEnded)]
    assert ends == [(2, 1), (2, 1)]


def test_keep_best_and_keep_last(make: Callable[..., polyhead.Run], monkeypatch: pytest.MonkeyPatch) -> None:
    falling = [{"pos": value} for value in (0.9, 0.5, 0.1)]
    scripted(monkeypatch, *falling)
    best = make("best", stage(epochs=3, keep="best"))
    scripted(monkeypatch, *falling)
    last = make("last", stage(epochs=3, keep="last"))
    scripted(monkeypatch, *reversed(falling))
    rising = make("rising", stage(epochs=3, keep="best"))
    assert differing(weights(best), load_file(best.folder / "best" / "stage-1-00001.safetensors")) == set()
    assert differing(weights(last), weights(rising)) == set(), "the best epoch of this one is its last"
    assert len(differing(weights(last), weights(best))) > 10


def test_each_task_has_its_own_best_weights(make: Callable[..., polyhead.Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all stages; files that nothing speaks of any more are removed."""
    both = [{"pos": 0.9, "lemmas": 0.1}, {"pos": 0.5, "lemmas": 0.7}, {"pos": 0.4, "lemmas": 0.2}]
    one = [{"lemmas": 0.8}, {"pos": 0.3, "lemmas": 0.8}]  # its epoch, and then all tasks learnt until its end
    scripted(monkeypatch, *both, *one)
    run = make("run", stage(epochs=3, name="both") + stage(epochs=1, name="one", tasks=["lemmas"]), tasks=POS + LEMMAS)
    best = run.folder / "best"
    table = json.loads((best / "tasks.json").read_text(encoding="utf-8"))
    assert {name: (entry["stage"], entry["epoch"], entry["score"]) for name, entry in table.items()} == {
        "pos": ("both", 1, 0.9),
        "lemmas": ("one", 1, 0.8),
    }
    assert run.stages[-1]["scores"] == {"pos": {"accuracy": 0.3}, "lemmas": {"accuracy": 0.8}}
    assert {path.name for path in best.iterdir()} == {"tasks.json", *(entry["file"] for entry in table.values())}
    for task, entry in table.items():
        assert differing(load_model(run.folder, task).state_dict(), load_file(best / entry["file"])) == set()
    assert differing(load_model(run.folder, "pos").state_dict(), weights(run))
    with pytest.raises(PolyheadError, match="no best weights for 'syntax'") as caught:
        load_model(run.folder, "syntax")
    assert "pos, lemmas" in caught.value.remedy


def test_best_weights_do_not_pile_up(
    make: Callable[..., polyhead.Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every epoch is better than the one before, and no checkpoint is due."""
    scripted(monkeypatch, *({"pos": n / 10, "lemmas": n / 10} for n in range(1, 7)))
    counts: list[int] = []
    best = tmp_path / "run" / "best"

    def watch(record: object) -> None:
        if isinstance(record, EpochEnded):
            counts.append(len(list(best.iterdir())))

    make("run", stage(epochs=6), tasks=POS + LEMMAS, watch=watch)
    assert counts == [1] * 6


def test_without_a_dev_split_the_last_epoch_is_kept(make: Callable[..., polyhead.Run]) -> None:
    records: list[Any] = []
    data = '[data.ud]\ntrain = "ud-train.conllu"\n'
    run = make("run", stage(epochs=2) + stage(epochs=1), data=data, watch=records.append)
    assert [end.kept for end in records if isinstance(end, StageEnded)] == [2, 1]
    assert run.scores == {}
    assert [path.name for path in (run.folder / "best").iterdir()] == ["tasks.json"]
    with pytest.raises(PolyheadError, match="no best weights for 'pos'"):
        load_model(run.folder, "pos")
    assert polyhead.load(run.folder)("The cat sat .")["upos"]


@pytest.mark.parametrize(
    "data",
    [
        '[data.ud]\ntrain = "ud-train.conllu"\n',
        # another dataset's dev split is of no use to a stage that does not learn from it
        runs.DATA.replace('dev = "ud-dev.conllu"\n', ""),
    ],
)
def test_patience_needs_a_dev_split(make: Callable[..., polyhead.Run], data: str) -> None:
    entities = runs.TASKS[runs.TASKS.index("[tasks.entities]") : runs.TASKS.index("[tasks.mood]")]
    tasks = POS + (entities if "names" in data else "")
    with pytest.raises(PolyheadError, match="but none of the stage's datasets has a dev split") as caught:
        make("run", stage(epochs=2, patience=1, tasks=["pos"]), data=data, tasks=tasks)
    assert caught.value.what.startswith("stages[1].patience = 1, ")
    assert caught.value.file is not None
    assert Path(caught.value.file).read_text().split("\n")[(caught.value.line or 0) - 1] == "patience = 1"


def test_a_task_of_weight_zero_moves_nothing_but_its_own_head(make: Callable[..., polyhead.Run]) -> None:
    """Not by a bit; clipping is out of the way, for the norm of more numbers, all 0, may differ in the last one."""
    tasks = POS + "dropout = 0.0\n" + LEMMAS + "dropout = 0.0\n"
    settings = {"epochs": 2, "keep": "last", "clip": 1e9}
    both = weights(make("both", stage(**settings, weights={"lemmas": 0.0}), tasks=tasks))
    alone = weights(make("alone", stage(**settings, tasks=["pos"]), tasks=tasks))
    assert {name for name in differing(both, alone) if not name.startswith("heads.lemmas.")} == set()
    equal = weights(make("equal", stage(**settings), tasks=tasks))
    assert len(differing(equal, alone)) > 10


def test_a_stage_leaves_the_heads_of_other_tasks_alone(make: Callable[..., polyhead.Run]) -> None:
    one = weights(make("one", stage(epochs=1, keep="last"), tasks=POS + LEMMAS))
    two = weights(make("two", stage(epochs=1, keep="last") + stage(epochs=1, tasks=["pos"]), tasks=POS + LEMMAS))
    moved = differing(one, two)
    assert any(name.startswith("heads.pos.") for name in moved)
    assert not any(name.startswith("heads.lemmas.") for name in moved)


def test_a_rate_of_zero_freezes_the_encoder(make: Callable[..., polyhead.Run], tiny_encoder: Path) -> None:
    run = make("run", stage(epochs=1, learning_rate=0.0))
    own = load_encoder(str(tiny_encoder)).transformer.state_dict()
    trained = run.model().encoder.transformer.state_dict()
    assert differing(dict(own), dict(trained)) == set()


def test_dropout_of_a_stage_ends_with_it(tiny_encoder: Path) -> None:
    encoder = load_encoder(str(tiny_encoder))

    def rates() -> list[float]:
        return [float(m.rate) for m in encoder.modules() if type(m).__module__ == "polyhead.nn.dropout"]

    encoder.set_dropout(None)
    own = rates()
    assert own
    assert set(own) == {0.1}
    encoder.set_dropout(0.4)
    assert set(rates()) == {0.4}
    encoder.set_dropout(None)
    assert rates() == own


def test_examples_without_a_layer_of_the_stage_are_left_out_and_counted(
    make: Callable[..., polyhead.Run], tmp_path: Path
) -> None:
    data = runs.write_data(tmp_path / "run-data") / "ud-train.conllu"
    data.write_text(data.read_text(encoding="utf-8").replace("# sentiment = bad\n", "", 2), encoding="utf-8")
    starts: list[Any] = []
    mood = runs.TASKS[runs.TASKS.index("[tasks.mood]") :]
    make(
        "run",
        stage(epochs=1) + stage(epochs=1, tasks=["mood"]),
        data=runs.DATA[: runs.DATA.index("[data.names]")],
        tasks=POS + mood,
        watch=lambda record: starts.append(record) if isinstance(record, StageStarted) else None,
    )
    assert [(start.examples, start.left_out) for start in starts] == [(8, 0), (6, 2)]


def test_a_task_may_have_a_name_that_modules_use(make: Callable[..., polyhead.Run]) -> None:
    run = make("run", stage(epochs=1), tasks=POS.replace("tasks.pos", "tasks.type"))
    assert set(run.scores["dev"]) == {"type"}
    assert "upos" in polyhead.load(run.folder)("A cat sat .").to_dict()["sentences"][0]  # type: ignore[index]


def test_the_log_tells_the_run(make: Callable[..., polyhead.Run]) -> None:
    run = make("run", stage(epochs=2))
    records = runs.log(run.folder)
    kinds = [record["record"] for record in records]
    assert kinds[0] == "StageStarted"
    assert kinds[-1] == "StageEnded"
    assert kinds.count("EpochEnded") == 2
    facts = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    assert facts["threads"] == 1
    assert len(facts["fingerprints"]["ud"]) == 64
    assert facts["polyhead"] == polyhead.__version__


def test_a_run_that_has_gone_to_nothing_says_so(
    make: Callable[..., polyhead.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients that are no numbers are left out, but not for ever and not in silence."""
    monkeypatch.setattr(Weighting, "_weighed", lambda _self, _name, loss: loss.total * float("nan"))
    with pytest.raises(PolyheadError, match="no number for 10 steps") as caught:
        make("lost", stage(epochs=20, batch_pieces=16))
    assert "learning_rate" in caught.value.remedy


@pytest.mark.parametrize(
    ("settings", "task"),
    [
        ({"learning_rate": 1e30}, '[tasks.tree]\ntype = "parsing"\ndata = "ud"\n'),
        ({"head_learning_rate": 1e30}, POS),
        ({"learning_rate": 1e30, "average": 0.0}, LEMMAS),
    ],
)
def test_weights_that_run_away_end_a_run(
    make: Callable[..., polyhead.Run], settings: dict[str, Any], task: str, tmp_path: Path
) -> None:
    with pytest.raises(PolyheadError, match="weights have run away") as caught:
        make("lost", stage(epochs=2, batch_pieces=400, **settings), tasks=task)
    assert "learning_rate" in caught.value.remedy
    assert not (tmp_path / "lost" / "scores.json").exists()


def test_the_log_is_json_whatever_the_losses(
    make: Callable[..., polyhead.Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = Optimizer.step
    monkeypatch.setattr(loop, "LOST_STEPS", 25)  # the log takes every twentieth step
    monkeypatch.setattr(Optimizer, "step", lambda self, *given: real(self, *given) * float("inf"))
    with pytest.raises(PolyheadError, match="no number"):
        make("lost", stage(epochs=30, batch_pieces=200))
    text = (tmp_path / "lost" / "log.jsonl").read_text(encoding="utf-8")
    assert "Infinity" not in text and "NaN" not in text
    assert any("null" in line for line in text.splitlines())


@pytest.mark.parametrize(
    ("name", "content"), [("scores.json", '{"dev": {'), ("run.json", "{}"), ("run.json", "[1]"), ("run.json", "{")]
)
def test_a_damaged_run_says_so(make: Callable[..., polyhead.Run], name: str, content: str) -> None:
    run = make("run", stage(epochs=1))
    if name == "run.json":
        (run.folder / "scores.json").unlink()
    (run.folder / name).write_text(content)
    with pytest.raises(PolyheadError, match="damaged") as caught:
        polyhead.resume(run.folder)
    assert caught.value.file == str(run.folder / name)


def test_a_model_without_its_encoder_says_so(make: Callable[..., polyhead.Run]) -> None:
    run = make("run", stage(epochs=1))
    shutil.rmtree(run.folder / "model" / "encoder")
    with pytest.raises(PolyheadError, match="encoder is missing"):
        run.model()


def test_two_processes_do_not_train_one_run(make: Callable[..., polyhead.Run]) -> None:
    fcntl = pytest.importorskip("fcntl")
    run = make("one", stage(epochs=1))
    (run.folder / "scores.json").unlink()  # as if it had been killed at the very end
    with (run.folder / "log.jsonl").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(PolyheadError, match="Another process"):
            polyhead.resume(run.folder)
    assert (run.folder / "log.jsonl").stat().st_size > 0, "the one that came second cut the log off"


def test_each_stage_is_scored_on_all_that_was_learnt(make: Callable[..., polyhead.Run]) -> None:
    stages = stage(name="one", tasks=["pos"], epochs=2) + stage(name="two", tasks=["lemmas"], epochs=2)
    run = make("run", stages, tasks=POS + LEMMAS)
    one, two = run.stages
    assert (one["stage"], one["tasks"], set(one["scores"])) == ("one", ["pos"], {"pos"})
    assert (two["stage"], two["tasks"], set(two["scores"])) == ("two", ["lemmas"], {"pos", "lemmas"})
    assert two["scores"] == run.scores["dev"]
    ended = [record for record in runs.log(run.folder) if record["record"] == "StageEnded"]
    assert [record["scores"] for record in ended] == [one["scores"], two["scores"]]
    scored = polyhead.evaluate(run.folder, split="dev")
    assert scored == run.scores["dev"]


def test_replay_goes_on_with_earlier_tasks(make: Callable[..., polyhead.Run]) -> None:
    """A dataset of an earlier task comes on top, its head learns on, and its loss is in the log."""
    tasks = POS + '[tasks.names]\ntype = "ner"\ndata = "names"\nlayer = "entities"\n'
    started: list[StageStarted] = []

    def watch(record: object) -> None:
        if isinstance(record, StageStarted):
            started.append(record)

    first = stage(name="one", tasks=["names"], epochs=1)
    run = make(
        "run", first + stage(name="two", tasks=["pos"], epochs=1, replay=0.5), data=runs.DATA, tasks=tasks, watch=watch
    )
    assert (started[1].tasks, started[1].examples) == (["pos", "names"], 16), "eight of its own, eight again"
    losses = [record["losses"] for record in runs.log(run.folder) if record["record"] == "EpochEnded"]
    assert set(losses[1]) == {"pos", "names"}
    plain = make("plain", first + stage(name="two", tasks=["pos"], epochs=1), data=runs.DATA, tasks=tasks)
    moved = differing(weights(run), weights(plain))
    assert any(name.startswith("heads.names") for name in moved)


def test_cosines_are_logged_and_named(make: Callable[..., polyhead.Run], capsys: pytest.CaptureFixture[str]) -> None:
    records: list[Any] = []
    make("run", stage(epochs=3, cosines=2, batch_pieces=48), tasks=POS + LEMMAS, watch=records.append)
    steps = [record for record in records if isinstance(record, Stepped)]
    assert [bool(step.cosines) for step in steps] == [step.step % 2 == 0 for step in steps]
    (ended,) = [record for record in records if isinstance(record, StageEnded)]
    measured = [step.cosines["pos lemmas"] for step in steps if step.cosines]
    assert all(-1 <= cosine <= 1 for cosine in measured)
    assert ended.cosines["pos lemmas"].mean == pytest.approx(sum(measured) / len(measured))
    assert ended.cosines["pos lemmas"].measured == len(measured)
    plain: list[Any] = []
    make("never", stage(epochs=3, cosines=0, batch_pieces=48), tasks=POS + LEMMAS, watch=plain.append)
    assert not any(record.cosines for record in plain if isinstance(record, Stepped))
    watcher = Watcher()
    cosine = Cosine(-0.31, 0.02, 40)
    watcher(replace(ended, cosines={"pos lemmas": cosine}, against=["pos lemmas"]))
    told = capsys.readouterr().err
    assert "pos and lemmas pull the encoder apart" in told and 'try combine = "upgrad"' in told
    watcher(replace(ended, cosines={"pos lemmas": cosine}, against=["pos lemmas"], combine="upgrad"))
    told = capsys.readouterr().err
    assert "before upgrad joins them" in told and "combine =" not in told, "it does so already"


def test_losses_over_chance_start_at_one(make: Callable[..., polyhead.Run]) -> None:
    """Divided by what an untrained head loses, the losses of a parser, a classifier and a tagger are alike."""
    chances: list[dict[str, float]] = []
    weighting = loop.make_weighting

    def spy(combine: str, weights: dict[str, float], usual: dict[str, float]) -> Weighting:
        chances.append({name: 1 / weight for name, weight in weights.items()})
        return weighting(combine, weights, usual)

    loop.make_weighting, before = spy, loop.make_weighting  # type: ignore[assignment]
    try:
        run = make("run", stage(epochs=1, normalise="chance"), data=runs.DATA, tasks=runs.TASKS)
    finally:
        loop.make_weighting = before
    (chance,) = chances
    labels = run.model().tasks["pos"].labels  # type: ignore[attr-defined]
    assert chance["pos"] == pytest.approx(math.log(len(labels)), rel=1e-4)
    assert chance["mood"] == pytest.approx(math.log(2), rel=1e-4)
    assert chance["syntax"] > 2 * chance["mood"]
