"""Tasks that share one head: one head learns from several datasets, each with a share, a score and gold of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import polyhead
import runs
from polyhead import PolyheadError
from polyhead.model import load_model
from polyhead.recipe import load_recipe, make_recipe
from polyhead.training.look import look

NAMES = '[data.names]\nlayers = ["words", "entities"]\ntrain = "names-train.conll"\ndev = "names-dev.conll"\n'
MORE = '[data.more]\nlayers = ["words", "entities"]\ntrain = "more-train.conll"\ndev = "more-dev.conll"\n'
ENTITIES = '[tasks.entities]\ntype = "ner"\ndata = "names"\nlayer = "entities"\ncrf = true\n'
SHARED = '[tasks.more]\nhead_of = "entities"\ndata = "more"\n'
STAGE = "[[stages]]\nepochs = {}\nlearning_rate = 0.003\nhead_learning_rate = 0.01\nbatch_pieces = 96\n"
TOOLS = "Kim\tO\ntook\tO\nthe\tO\nhammer\tB-TOOL\n\nthe\tO\nbig\tB-TOOL\nsaw\tI-TOOL\nbroke\tO\n\n"
"""Sentences in which only tools are marked: Kim would be a person."""

Trained = Callable[..., polyhead.Run]


@pytest.fixture
def train(tmp_path: Path, tiny_encoder: Path) -> Trained:
    """Trains a recipe over the names, and over more sentences in which something else is marked."""
    runs.write_data(tmp_path)
    for split in ("train", "dev"):
        (tmp_path / f"more-{split}.conll").write_text(TOOLS, encoding="utf-8")

    def train(name: str, rest: str, stages: str, *, origin: str = "", **more: Any) -> polyhead.Run:
        path = tmp_path / f"{name}.toml"
        origin = origin or f'encoder = "{tiny_encoder}"\n'
        path.write_text(f'precision = "fp32"\ndevice = "cpu"\n{origin}\n{rest}\n{stages}', encoding="utf-8")
        return polyhead.train(load_recipe(path), tmp_path / name, **more)

    return train


def test_one_head_learns_from_two_datasets(train: Trained) -> None:
    run = train("run", NAMES + MORE + ENTITIES + SHARED, STAGE.format(12))
    model = run.model()
    assert list(model.heads) == ["entities"] and model.head("more") is model.head("entities")
    assert list(model.mixes) == ["entities"]
    labels = model.tasks["entities"].known_labels()
    assert "TOOL" in labels and labels == model.tasks["more"].known_labels() and len(labels) > 1
    assert set(run.scores["dev"]) == {"entities", "more"}, "each task has its own score"
    (doc,) = polyhead.load(run.folder).words([["Kim", "took", "the", "hammer"]])
    assert list(doc.sentences[0].answers) == ["entities"], "the head answers once"
    again = load_model(run.folder)
    assert torch.equal(again.head("more").classify.linear.weight, again.head("entities").classify.linear.weight)  # type: ignore[union-attr,arg-type]


def test_the_resolved_recipe_and_the_card_tell_of_it(train: Trained, tmp_path: Path) -> None:
    run = train("run", NAMES + MORE + ENTITIES + SHARED + 'only = ["TOOL"]\n', STAGE.format(1))
    task = run.recipe.make_tasks()["more"]
    assert task.head_of == "entities" and task.only == ["TOOL"]  # type: ignore[attr-defined]
    again = polyhead.train(run.recipe, tmp_path / "again")
    assert runs.differences(runs.outcome(run.folder), runs.outcome(again.folder)) == []
    assert "1 head for 2 tasks" in (run.folder / "model" / "README.md").read_text(encoding="utf-8")


def test_a_new_label_is_taught_while_old_data_is_replayed(train: Trained) -> None:
    """A run that knows people and places learns tools from sentences in which these alone are marked."""
    old = train("old", NAMES + ENTITIES, STAGE.format(25))
    rest = NAMES + MORE + ENTITIES + SHARED + 'only = ["TOOL"]\n'
    stage = STAGE.format(10) + 'tasks = ["more"]\nkeep = "last"\n'
    told: list[str] = []
    start = f'[start]\nrun = "{old.folder}"\n'
    new = train("new", rest, stage + "replay = 0.7\n", origin=start, tell=told.append)
    assert any("tasks.more: the head of 'entities'" in note for note in told)
    assert any("tasks.entities: the run's head" in note and "new: TOOL" in note for note in told)
    begin, after = new.stages
    assert begin["stage"] == "start" and begin["scores"]["entities"] == old.scores["dev"]["entities"]
    assert "more" not in begin["scores"], "the run has not learnt it"
    assert after["scores"]["more"]["f1"] == 1.0
    assert after["scores"]["entities"]["f1"] >= begin["scores"]["entities"]["f1"] > 0.5
    log = runs.log(new.folder)
    assert next(one for one in log if one["record"] == "StageStarted")["tasks"] == ["more", "entities"]
    plain = train("plain", NAMES + MORE + ENTITIES + SHARED, stage, origin=start)
    assert plain.stages[-1]["scores"]["entities"]["f1"] < after["scores"]["entities"]["f1"], "forgotten without"


def test_the_start_has_no_row_where_nothing_goes_on(train: Trained) -> None:
    old = train("old", NAMES + ENTITIES, STAGE.format(1))
    fresh = f'[start]\nrun = "{old.folder}"\nfresh = ["entities"]\n'
    run = train("new", NAMES + ENTITIES, STAGE.format(1), origin=fresh)
    assert [stage["stage"] for stage in run.stages] == ["stage-1"]


@pytest.mark.parametrize("more", ['replay = 0.5\ntasks = ["entities"]\n', "replay = 0.5\n"])
def test_there_must_be_something_to_replay(train: Trained, more: str) -> None:
    old = train("old", NAMES + ENTITIES, STAGE.format(1))
    with pytest.raises(PolyheadError, match=r"new\.toml:\d+: stages\[1\]\.replay = 0\.5 has nothing to replay.*run"):
        train(
            "new", NAMES + MORE + ENTITIES + SHARED, STAGE.format(1) + more, origin=f'[start]\nrun = "{old.folder}"\n'
        )


def test_a_model_of_one_task_has_the_shared_head(train: Trained, tmp_path: Path) -> None:
    run = train("run", NAMES + MORE + ENTITIES + SHARED, STAGE.format(2))
    told: list[str] = []
    saved = polyhead.separate(run.folder, tmp_path / "each", tell=told.append)
    assert list(saved) == ["entities"] and any("tasks.more has the head of 'entities'" in note for note in told)
    assert "TOOL" in load_model(saved["entities"]).tasks["entities"].known_labels()


def test_distillation_knows_the_owner_of_a_shared_head(train: Trained) -> None:
    old = train("old", NAMES + ENTITIES, STAGE.format(2))
    told: list[str] = []
    train(
        "new",
        NAMES + MORE + ENTITIES + SHARED,
        STAGE.format(1) + f'distil = {{ teachers = ["{old.folder}"] }}\n',
        tell=told.append,
    )
    assert any("teaches entities, more" in note for note in told)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"head_of": "entity"}, r"tasks\.more\.head_of = 'entity' is no other task.*\n.*'entities'"),
        ({"head_of": "more"}, r"tasks\.more\.head_of = 'more' is no other task"),
        ({"head_of": 3}, r"tasks\.more\.head_of = 3 is no other task"),
        ({"head_of": "third"}, r"tasks\.more\.head_of = 'third', which has no head of its own.*\n.*'entities'"),
        ({"head_of": "entities", "crf": False}, r"tasks\.more\.crf = False, but the head.*'entities' has True"),
        ({"head_of": "entities", "layer": "names"}, r"tasks\.more\.layer = 'names', but.*'entities'\."),
        ({"head_of": "entities", "type": "tagging"}, r"tasks\.more\.type = 'tagging', but.*'ner'"),
        ({"head_of": "entities", "colour": 1}, r"tasks\.more has an unknown key 'colour'"),
        ({"head_of": "entities", "only": "TOOL"}, r"tasks\.more\.only = 'TOOL' is not right"),
    ],
)
def test_what_cannot_be_shared_is_told(table: dict[str, Any], told: str) -> None:
    tasks = {
        "entities": {"type": "ner", "data": "names", "layer": "entities", "crf": True},
        "more": {"data": "more", **table},
        "third": {"data": "more", "head_of": "entities"},
    }
    data = {name: {"train": "x.conll", "layers": ["words", "entities"]} for name in ("names", "more")}
    with pytest.raises(PolyheadError, match=told):
        make_recipe({"data": data, "tasks": tasks})


@pytest.mark.parametrize("key", ['fresh = ["more"]', 'heads = { more = "entities" }'])
def test_a_shared_head_begins_as_its_owner(train: Trained, key: str) -> None:
    with pytest.raises(PolyheadError, match=r"names 'more', which has the head of 'entities'.*\n.*'entities' instead"):
        train("new", NAMES + MORE + ENTITIES + SHARED, STAGE.format(1), origin=f'[start]\nrun = "old"\n{key}\n')


def test_data_can_be_checked_before(tmp_path: Path, train: Trained, tiny_encoder: Path) -> None:
    (tmp_path / "more-train.conll").write_text(TOOLS + "Kim\tB-PER\n\n", encoding="utf-8")
    with pytest.raises(PolyheadError, match=r"more-train\.conll:11: .*'PER'.*only"):
        train("run", NAMES + MORE + ENTITIES + SHARED + 'only = ["TOOL"]\n', STAGE.format(1))
    path = tmp_path / "frozen.toml"
    stage = STAGE.format(1) + "freeze = 99\n"
    path.write_text(f'encoder = "{tiny_encoder}"\n{NAMES}{ENTITIES}{stage}', encoding="utf-8")
    with pytest.raises(PolyheadError, match="freeze = 99"):
        list(look(load_recipe(path)))


def test_a_stage_can_begin_with_a_new_head(train: Trained) -> None:
    """The encoder and the other head go on; the new head is drawn from the seed, and its labels stay."""
    still = "learning_rate = 0.0\nhead_learning_rate = 0.0\n"
    second = f'[[stages]]\nname = "two"\ntasks = ["entities"]\nepochs = 1\nkeep = "last"\n{still}'
    first = STAGE.format(25) + 'name = "one"\nkeep = "last"\n'
    other = SHARED.replace('head_of = "entities"', 'type = "ner"\nlayer = "entities"')
    runs_by_name = {
        name: train(name, NAMES + MORE + ENTITIES + other, first + second + more)
        for name, more in {"kept": "", "new": 'fresh = ["entities"]\n', "again": 'fresh = ["entities"]\n'}.items()
    }
    kept, new, again = (run.model().state_dict() for run in runs_by_name.values())
    changed = {name for name in kept if not torch.equal(kept[name], new[name])}
    assert "heads.entities.classify.linear.weight" in changed and "mixes.entities.shares" in changed
    assert all(name.startswith(("heads.entities.", "mixes.entities.")) for name in changed)
    assert all(torch.equal(new[name], again[name]) for name in new)
    before, after = runs_by_name["new"].stages
    assert after["scores"]["more"] == before["scores"]["more"]
    assert after["scores"]["entities"]["f1"] < before["scores"]["entities"]["f1"]


@pytest.mark.parametrize(
    ("fresh", "told"),
    [("entitis", r"stages\[1\]\.fresh names 'entitis', which is no task of the stage"), ("more", "has the head of")],
)
def test_a_new_head_that_cannot_be_is_told(fresh: str, told: str) -> None:
    tasks = {
        "entities": {"type": "ner", "data": "names", "layer": "e"},
        "more": {"head_of": "entities", "data": "names"},
    }
    data = {"names": {"train": "x.conll", "layers": ["words", "e"]}}
    with pytest.raises(PolyheadError, match=told):
        make_recipe({"data": data, "tasks": tasks, "stages": [{"fresh": [fresh]}]})
