"""Distillation: what a stage learns from earlier runs, what it refuses, and that it can be killed at any moment."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import killing
import polyhead
import runs
from conftest import SENTENCES, build_encoder, cells
from killing import KILLED, Moment
from polyhead import PolyheadError
from polyhead.data.example import Tree, Value, WordLabels
from polyhead.model import Model
from polyhead.recipe import load_recipe
from polyhead.stage import DistilSpec
from polyhead.training import distil
from polyhead.training.distil import Lessons, taught_tasks
from polyhead.training.records import StageStarted, Stepped
from polyhead.training.soft_labels import SoftReader, SoftWriter

RATES = "learning_rate = 0.003\nhead_learning_rate = 0.01\n"


def table(name: str) -> str:
    """One task of ``runs.TASKS``."""
    start = runs.TASKS.index(f"[tasks.{name}]")
    return runs.TASKS[start:].partition("\n\n")[0] + "\n\n"


def stage(teachers: list[str], *, epochs: int = 2, distil: str = "", rest: str = "") -> str:
    named = ", ".join(f'"{name}"' for name in teachers)
    return (
        f'[[stages]]\nname = "learn"\nepochs = {epochs}\nbatch_pieces = 64\ndropout = 0.2\n{RATES}{rest}\n'
        f"[stages.distil]\nteachers = [{named}]\n{distil}\n"
    )


def train(recipe: Path, output: Path, **settings: Any) -> polyhead.Run:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return polyhead.train(recipe, output, **settings)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A folder with the runs ``grammar`` (pos, syntax), ``names`` (entities) and ``mood``, which know their texts."""
    place = tmp_path_factory.mktemp("teachers")
    data = runs.write_data(place / "data")
    for name, tasks in (("grammar", ["pos", "syntax"]), ("names", ["entities"]), ("mood", ["mood"])):
        head = f'[[stages]]\nepochs = 25\nbatch_pieces = 64\nkeep = "last"\n{RATES}'
        parts = runs.DATA if name == "names" else runs.DATA[: runs.DATA.index("[data.names]")]
        recipe = runs.write_recipe(
            data, tiny_encoder, head, data=parts, tasks="".join(map(table, tasks)), top=f"seed = {len(name)}"
        )
        train(recipe, place / name)
    return place


@pytest.fixture
def make(tmp_path: Path, teachers: Path, tiny_encoder: Path) -> Callable[..., Path]:
    """A recipe in a folder of its own, beside copies of the teachers."""
    for name in ("grammar", "names", "mood"):
        shutil.copytree(teachers / name, tmp_path / name)

    def make(stages: str, *, tasks: str = runs.TASKS, encoder: Path = tiny_encoder, **parts: str) -> Path:
        return runs.write_recipe(runs.write_data(tmp_path / "data"), encoder, stages, tasks=tasks, **parts)

    return make


ALL = ["../grammar", "../names", "../mood"]


def weights(run: polyhead.Run) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.model().state_dict().items()}


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


def units(value: Value) -> list[Any]:
    """What of a value may be right or wrong: a word's label or arc, or the whole."""
    if isinstance(value, Tree):
        return list(zip(value.heads, value.relations, strict=True))
    return list(value) if isinstance(value, WordLabels) else [value]


def test_a_student_of_another_size_answers_as_its_single_teachers_do(
    make: Callable[..., Path], tmp_path: Path, teachers: Path
) -> None:
    """The gold that it is given is wrong, so that whatever it knows it has from its teachers."""
    other = build_encoder(tmp_path / "other", width=48, layers=1, seed=5)
    stages = stage(ALL, epochs=60, distil="share = 1.0\ntemperature = 2.0", rest='keep = "last"')
    recipe = make(stages.replace("dropout = 0.2", "dropout = 0.0"), encoder=other)
    swap_gold(recipe.parent)
    notes: list[str] = []
    run = train(recipe, tmp_path / "run", tell=notes.append)
    assert any("../grammar teaches pos, syntax" in note for note in notes)
    assert run.model().encoder.width == 48
    texts = [[word[0] for word in cells(sentence)] for sentence, _ in SENTENCES]
    ours = polyhead.load(run.folder).words(texts)
    theirs = {name: polyhead.load(teachers / name).words(texts) for name in ("grammar", "names", "mood")}
    for teacher, answers in (("grammar", ("upos", "tree")), ("names", ("entities",)), ("mood", ("sentiment",))):
        for answer in answers:
            pairs = [both for one, other in zip(ours, theirs[teacher], strict=True)
                     for both in zip(units(one[answer]), units(other[answer]), strict=True)]  # fmt: skip
            assert sum(one == other for one, other in pairs) > 0.9 * len(pairs), (answer, pairs)
    assert not (run.folder / "soft").exists(), "a finished run needs no soft labels"


def swap_gold(folder: Path) -> None:
    """Other gold in the training split: the same labels, but elsewhere."""
    path = folder / "ud-train.conllu"
    text = path.read_text(encoding="utf-8")
    for one, other in (("NOUN", "VERB"), ("sentiment = good", "sentiment = bad"), ("\tnsubj\t", "\tobj\t")):
        text = text.replace(one, "@").replace(other, one).replace("@", other)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("share", ["1.0", "0.9"])
def test_gold_is_looked_at_by_its_share(make: Callable[..., Path], tmp_path: Path, share: str) -> None:
    recipe = make(stage(ALL, distil=f"share = {share}", rest='keep = "last"'))
    first = weights(train(recipe, tmp_path / "first"))
    swap_gold(recipe.parent)
    second = weights(train(recipe, tmp_path / "second"))
    moved = differing(first, second)
    assert (moved == set()) if share == "1.0" else len(moved) > 10


def test_a_task_without_a_teacher_learns_from_gold(make: Callable[..., Path], tmp_path: Path) -> None:
    """Nothing is dropped here, so that the losses of the first step can be compared."""
    tasks = table("pos") + table("mood")
    tasks = tasks.replace('layer = "', 'dropout = 0.0\nlayer = "')
    losses: list[dict[str, float]] = []

    def watch(record: object) -> None:
        if isinstance(record, Stepped) and record.step == 1:
            losses.append(record.losses)

    taught = stage(["../grammar"], distil="share = 0.5").replace("dropout = 0.2", "dropout = 0.0")
    train(make(taught, tasks=tasks), tmp_path / "taught", watch=watch)
    train(make(taught.partition("[stages.distil]")[0], tasks=tasks), tmp_path / "plain", watch=watch)
    one, other = losses
    assert one["mood"] == other["mood"]
    assert abs(one["pos"] - other["pos"]) > 1e-3


def unlabelled(folder: Path) -> None:
    """Take tags and moods away from three sentences of the training split."""
    path = folder / "ud-train.conllu"
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    for number in (0, 1, 3):
        lines = [line.split("\t") for line in blocks[number].split("\n") if not line.startswith("# sentiment")]
        blocks[number] = "\n".join("\t".join([*c[:3], "_", *c[4:]]) if len(c) > 1 else c[0] for c in lines)
    path.write_text("\n\n".join(blocks), encoding="utf-8")


@pytest.mark.parametrize(
    ("named", "extra", "tasks", "counts"),
    [
        (["../mood"], "", "mood", (8, 0, {"mood": 8})),  # three of them have no gold
        (["../grammar"], "", "pos mood", (8, 0, {"pos": 8})),
        (["../mood"], "", "mood entities", (16, 0, {"mood": 8})),
        (["../mood"], 'texts = "all"', "mood entities", (16, 0, {"mood": 16})),  # those of the other dataset, too
        ([], "", "mood", (5, 3, {})),
    ],
)
def test_texts_without_gold_are_learnt_from_too(
    make: Callable[..., Path], tmp_path: Path, named: list[str], extra: str, tasks: str, counts: Any
) -> None:
    stages = stage(named, distil=extra) if named else stage([]).partition("[stages.distil]")[0]
    recipe = make(stages, tasks="".join(map(table, tasks.split())))
    unlabelled(recipe.parent)
    found: list[Any] = []
    labels = tmp_path / "run" / "soft" / "000"

    def watch(record: object) -> None:
        if isinstance(record, StageStarted):
            readers = {name: SoftReader(labels, f"{name}.0") for name in taught_tasks(labels)} if named else {}
            found.append((record.examples, record.left_out, {name: len(one.rows) for name, one in readers.items()}))

    train(recipe, tmp_path / "run", watch=watch)
    assert found == [counts]


def test_two_teachers_of_one_task_teach_it_together(make: Callable[..., Path], tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "mood", tmp_path / "twin")
    settings = {"distil": "share = 1.0", "rest": 'keep = "last"'}
    tasks = table("mood")
    alone = train(make(stage(["../mood"], **settings), tasks=tasks + "dropout = 0.0\n"), tmp_path / "alone")
    both = train(make(stage(["../mood", "../twin"], **settings), tasks=tasks + "dropout = 0.0\n"), tmp_path / "both")
    one, other = weights(alone), weights(both)
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name], atol=1e-4), "the mean of two that agree is either"


def test_the_share_falls_over_the_stage(tmp_path: Path) -> None:
    (tmp_path / "lessons.json").write_text('{"tasks": {}}')
    annealed = Lessons(tmp_path, DistilSpec(teachers=["x"]), {})
    assert [annealed.share(done) for done in (0.0, 0.25, 1.0)] == [1.0, 0.75, 0.0]
    fixed = Lessons(tmp_path, DistilSpec(teachers=["x"], share=0.4), {})
    assert [fixed.share(done) for done in (0.0, 1.0)] == [0.4, 0.4]


def test_teachers_are_freed_before_training(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[weakref.ref[Model]] = []
    alive: list[int] = []
    load = distil.load_model

    def load_model(folder: Path) -> Model:
        gc.collect()
        alive.append(sum(model() is not None for model in seen))
        model = load(folder)
        seen.append(weakref.ref(model))
        return model

    monkeypatch.setattr(distil, "load_model", load_model)

    def watch(record: object) -> None:
        if isinstance(record, StageStarted):
            gc.collect()
            alive.append(sum(model() is not None for model in seen))

    train(make(stage(ALL, epochs=1)), tmp_path / "run", watch=watch)
    assert alive == [0, 0, 0, 0], "one after the other, and none when the stage starts"


def test_soft_labels_on_disk(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    examples = {n: (rng.random((n, 3), np.float32), np.arange(n), np.float32(n).reshape(())) for n in (4, 0, 7, 2)}
    with SoftWriter(tmp_path, "it.0") as writer:
        for number, soft in examples.items():
            writer.append(number, soft)
    reader = SoftReader(tmp_path, "it.0")
    assert set(reader.rows) == set(examples)
    assert 5 not in reader
    for number, soft in examples.items():
        assert len(reader[number]) == 3
        for one, other in zip(reader[number], soft, strict=True):
            assert one.dtype == other.dtype
            assert one.shape == other.shape
            assert np.array_equal(one, other)
    with pytest.raises(PolyheadError, match="for one text and"), SoftWriter(tmp_path, "it.1") as writer:
        writer.append(0, (np.zeros(2),))
        writer.append(1, (np.zeros((2, 2)),))
    values = tmp_path / "it.0.0.values"
    values.write_bytes(values.read_bytes()[:-4])
    with pytest.raises(PolyheadError, match="cannot be read"):
        SoftReader(tmp_path, "it.0")


# --- what is refused, before anything is learnt ---


@pytest.mark.parametrize(
    ("named", "extra", "what", "remedy"),
    [
        (["../gramar"], "", "no run", "path"),
        (["../grammar", "../data/../grammar"], "", "names '../data/../grammar' twice", "once"),
        (["../data"], "", "/data' has not finished a stage", ""),
        (["../grammar", "../names"], 'heads = { mood = "moods" }', "no teacher has a task 'moods' for 'mood'", "pos"),
        (["../grammar"], 'heads = { mod = "pos" }', "distil.heads names 'mod'", "'mood'"),
        (["../grammar"], 'tasks = ["pos"]\nheads = { mood = "pos" }', "heads names 'mood'", "distil.tasks"),
        (["../grammar"], 'tasks = ["mod"]', "distil.tasks names 'mod'", "'mood'"),
        (["../grammar"], 'tasks = ["mood"]', "teaches none of mood: it has pos, syntax", "heads = "),
        (["../grammar"], 'heads = { mood = "pos" }', "tasks.mood is classification", "distil.tasks"),
        (["../grammar"], 'heads = { pos = "syntax" }', "tasks.pos is tagging", "distil.tasks"),
        ([], "", "distil.teachers = ", "at least"),
        (["../grammar"], "share = 0.0", "share = 0.0", "falling"),
        (["../grammar"], 'share = "annael"', "share = 'annael'", "anneal"),
        (["../grammar"], "temprature = 2.0", "unknown key 'stages[1].distil.temprature'", "'temperature'"),
    ],
)  # fmt: skip
def test_what_cannot_be_learnt_is_told_before(
    make: Callable[..., Path], tmp_path: Path, named: list[str], extra: str, what: str, remedy: str
) -> None:
    recipe = make(stage(named, distil=extra))
    with pytest.raises(PolyheadError) as caught:
        train(recipe, tmp_path / "run")
    found = caught.value
    assert what in found.what
    assert remedy in found.remedy + found.what
    assert found.file is not None, "the recipe with its line, or what stands in the teacher's place"
    assert not (tmp_path / "run").exists()


def test_labels_that_have_nothing_in_common(make: Callable[..., Path], tmp_path: Path) -> None:
    recipe = make(stage(["../mood", "../names"]), tasks=table("mood") + table("entities"))
    for name in ("train", "dev", "test"):
        file = recipe.parent / f"ud-{name}.conllu"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("= good", "= up").replace("= bad", "= down"), encoding="utf-8")
    with pytest.raises(PolyheadError, match=r"have 0 labels in common.*ours are down, up, theirs bad, good") as caught:
        train(recipe, tmp_path / "run")
    assert "same names of labels" in caught.value.remedy
    text = recipe.read_text(encoding="utf-8").replace('"../mood", ', "")
    recipe.write_text(text + 'tasks = ["entities"]\n', encoding="utf-8")
    train(recipe, tmp_path / "run")


def test_labels_that_only_one_has_are_noted(make: Callable[..., Path], tmp_path: Path) -> None:
    recipe = make(stage(["../grammar"], distil='tasks = ["pos"]'), tasks=table("pos"))
    for name in ("train", "dev", "test"):
        file = recipe.parent / f"ud-{name}.conllu"
        file.write_text(file.read_text(encoding="utf-8").replace("PROPN", "NAME"), encoding="utf-8")
    notes: list[str] = []
    train(recipe, tmp_path / "run", tell=notes.append)
    assert "tasks.pos: the teacher ../grammar does not know NAME" in notes
    assert "tasks.pos: what the teacher ../grammar gives to PROPN is left out" in notes


def test_a_type_of_ones_own_without_the_methods_is_refused(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "plain_task.py").write_text(
        "from polyhead.tasks import Head\n"
        "from polyhead.tasks.classification import Classification, ClassificationHead\n"
        "class Plain(Classification):\n"
        "    def head(self, encoder):\n"
        "        return PlainHead(encoder.width, self.labels, several=False, dropout=self.dropout)\n"
        "class PlainHead(ClassificationHead):\n"
        "    soft, distil = Head.soft, Head.distil\n"
    )
    tasks = table("mood").replace('"classification"', '"plain_task.Plain"')
    recipe = make(stage(["../mood"]), tasks=tasks)
    with pytest.raises(PolyheadError, match=r"tasks\.mood cannot learn from a teacher: PlainHead lacks") as caught:
        train(recipe, tmp_path / "run")
    assert "docs/task-types.md" in caught.value.remedy


def test_the_resolved_recipe_names_the_teachers_wherever_it_lies(make: Callable[..., Path], tmp_path: Path) -> None:
    recipe = make(stage(["../grammar", "../mood"], distil='heads = { pos = "pos" }'))
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "recipe.toml"
    moved.write_text(load_recipe(recipe).to_toml(), encoding="utf-8")
    found = load_recipe(moved)
    assert found.stages[0].distil is not None
    assert found.stages[0].distil.teachers == [str(tmp_path / "grammar"), str(tmp_path / "mood")]
    assert found.to_toml() == load_recipe(recipe).to_toml()


# --- killed and resumed ---


@pytest.fixture(scope="module")
def context() -> Iterator[ForkServerContext]:
    yield killing.spawner()


TWO = '[[stages]]\nname = "first"\ntasks = ["mood"]\nepochs = 1\nbatch_pieces = 64\n' + RATES + "\n"


def test_killed_anywhere_and_resumed_without_the_teachers(
    make: Callable[..., Path], tmp_path: Path, context: ForkServerContext
) -> None:
    """Soft labels are whole or not there; once they are, nobody asks for the teachers."""
    recipe = make(TWO + stage(ALL))
    straight = killing.run(context, recipe, tmp_path / "straight")
    assert straight.status == 0, straight.error
    order = [event for event in straight.events if "soft/" in event or event.startswith("record")]
    assert any("os.rename soft/001.unfinished" in event for event in order)
    first = next(i for i, event in enumerate(order) if event.startswith("record"))
    assert not any("open soft" in event for event in order[first:]), "all soft labels come before the first stage"
    run = tmp_path / "run"
    moments = ["os.mkdir soft/001.unfinished", r"open soft/001.unfinished/syntax.0.1.values",
               r"open soft/001.unfinished/mood.2", "os.rename soft/001"]  # fmt: skip
    start: Path | None = recipe
    for pattern in moments:
        killed = killing.run(context, start, run, Moment(pattern))
        assert killed.status == KILLED, (pattern, killed.error)
        start = None
    assert killing.run(context, None, run, Moment("record Stepped first 1")).status == KILLED
    for name in ALL:
        shutil.rmtree(recipe.parent / name)
    for pattern in ("record StageStarted learn", "record Stepped learn 3", "shutil.rmtree soft"):
        killed = killing.run(context, None, run, Moment(pattern))
        assert killed.status == KILLED, (pattern, killed.error)
    assert killing.run(context, None, run).error == ""
    assert runs.differences(runs.outcome(run), runs.outcome(tmp_path / "straight")) == []
    for folder in (run, tmp_path / "straight"):
        assert not (folder / "soft").exists()


def test_damaged_soft_labels_are_made_again(
    make: Callable[..., Path], tmp_path: Path, context: ForkServerContext
) -> None:
    recipe = make(stage(["../mood"]), tasks=table("mood"))
    run = tmp_path / "run"
    assert killing.run(context, recipe, run, Moment("record Stepped learn 2")).status == KILLED
    for name in ("lessons.json", "mood.0.examples.npy"):
        (run / "soft" / "000" / name).unlink()
        refused = killing.run(context, None, run)
        assert refused.status == 1
        assert "Soft labels of the run cannot be read" in refused.error
        shutil.rmtree(run / "soft" / "000")
        assert killing.run(context, None, run, Moment("record Stepped learn [34]")).status == KILLED
    assert killing.run(context, None, run).error == ""
    assert killing.run(context, recipe, tmp_path / "straight").error == ""
    assert runs.differences(runs.outcome(run), runs.outcome(tmp_path / "straight")) == []


@pytest.mark.parametrize("change", ["changed", "missing"])
def test_teachers_that_are_still_needed_must_be_the_same(
    make: Callable[..., Path], tmp_path: Path, context: ForkServerContext, change: str
) -> None:
    recipe = make(stage(ALL))
    run = tmp_path / "run"
    assert killing.run(context, recipe, run, Moment("os.rename soft/000")).status == KILLED
    good = tmp_path / "good"
    shutil.move(tmp_path / "names", good)
    if change == "changed":
        shutil.copytree(good, tmp_path / "names")
        config = tmp_path / "names" / "model" / "config.json"
        config.write_text(config.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    refused = killing.run(context, None, run)
    assert refused.status == 1
    what = "is not the model that the run started with" if change == "changed" else "There is no run"
    assert what in refused.error
    assert str(tmp_path / "names") in refused.error
    shutil.rmtree(tmp_path / "names", ignore_errors=True)
    shutil.move(good, tmp_path / "names")
    assert killing.run(context, None, run).error == ""
