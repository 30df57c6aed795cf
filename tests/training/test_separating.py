"""A run's tasks as models of their own, each with the weights that were best for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

import polyhead
import runs
from polyhead import PolyheadError
from polyhead.model import load_model

pytestmark = pytest.mark.usefixtures("light")
STAGES = """\
[[stages]]
name = "joint"
epochs = 3
learning_rate = 0.003

[[stages]]
name = "special"
tasks = ["entities"]
epochs = 2
learning_rate = 0.01
"""
LABEL = '[data.table]\ntrain = "texts.csv"\n[tasks.label]\ntype = "classification"\ndata = "table"\nlayer = "label"\n'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> polyhead.Run:
    folder = runs.write_data(tmp_path_factory.mktemp("data"))
    (folder / "texts.csv").write_text("text,label\na cat,good\nbad,bad\nso good,good\n", encoding="utf-8")
    recipe = runs.write_recipe(folder, tiny_encoder, STAGES, tasks=runs.TASKS + LABEL)
    return polyhead.train(recipe, folder / "run")


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def models(run: polyhead.Run, tmp_path_factory: pytest.TempPathFactory, told: list[str]) -> dict[str, Path]:
    return polyhead.separate(run.folder, tmp_path_factory.mktemp("out") / "models", tell=told.append)


def test_each_task_has_its_own_best_weights_and_nothing_else(run: polyhead.Run, models: dict[str, Path]) -> None:
    assert list(models) == ["pos", "syntax", "entities", "mood", "label"]
    best = json.loads((run.folder / "best" / "tasks.json").read_text(encoding="utf-8"))
    for name, folder in models.items():
        alone = load_model(folder).state_dict()
        joint = load_model(run.folder, name if name in best else None).state_dict()
        own = {key for key in joint if key.startswith(("encoder.", f"heads.{name}.", f"mixes.{name}."))}
        assert set(alone) == own
        assert all(torch.equal(alone[key], joint[key]) for key in own)


def test_each_answers_as_the_run_does_with_its_best(run: polyhead.Run, models: dict[str, Path]) -> None:
    best = polyhead.load(run.folder, best="entities")("Ann saw Bob in Rome.")
    alone = polyhead.load(models["entities"])("Ann saw Bob in Rome.")
    assert alone["entities"] == best["entities"]
    with pytest.raises(KeyError):
        _ = alone["tree"]


def test_each_card_tells_its_own_scores(run: polyhead.Run, models: dict[str, Path]) -> None:
    for name in ("pos", "entities"):
        card = ModelCard.load(models[name] / "README.md")
        own = polyhead.evaluate(run.folder, split="dev", best=name)[name]
        found = {one.metric_type: one.metric_value for one in card.data.eval_results if one.dataset_split == "dev"}
        assert found == {figure: value for figure, value in own.items() if "/" not in figure}
        assert card.data.model_name == f"run-{name}"
        assert card.data.pipeline_tag == "token-classification"
        assert "best for this task alone" in card.text


def test_the_stages_end_where_the_weights_come_from(run: polyhead.Run, models: dict[str, Path]) -> None:
    best = json.loads((run.folder / "best" / "tasks.json").read_text(encoding="utf-8"))
    for name in ("pos", "entities"):
        stages = load_model(models[name]).info["lineage"]
        assert (stages[-1]["stage"], stages[-1]["kept"]) == (best[name]["stage"], best[name]["epoch"])
        metric = load_model(models[name]).tasks[name].metric
        assert stages[-1]["scores"][name][metric] == best[name]["score"]
    assert [one["stage"] for one in load_model(models["pos"]).info["lineage"]] == ["joint"]


def test_a_task_without_a_dev_split_is_noted(models: dict[str, Path], told: list[str]) -> None:
    assert told == ["tasks.label has no best weights, since it has no dev split: the run's own are taken"]
    assert "There is no dev or test split." in (models["label"] / "README.md").read_text(encoding="utf-8")


def test_a_model_of_one_task_is_scored_on_a_file(run: polyhead.Run, models: dict[str, Path]) -> None:
    file = run.folder.parent / "names-dev.conll"
    own = polyhead.evaluate(run.folder, split="dev", best="entities")["entities"]
    assert polyhead.evaluate(models["entities"], file=file) == {"entities": own}
    with pytest.raises(PolyheadError, match=r"is a model without a run, so it has no splits"):
        polyhead.evaluate(models["entities"], split="dev")


def test_data_that_is_gone_costs_no_model(run: polyhead.Run, tmp_path: Path) -> None:
    gone = run.folder.parent / "names-dev.conll"
    content = gone.read_bytes()
    gone.unlink()
    notes: list[str] = []
    try:
        models = polyhead.separate(run.folder, tmp_path / "models", tell=notes.append)
    finally:
        gone.write_bytes(content)
    assert any(note.startswith("no scores of entities on dev in its card:") for note in notes)
    assert list(load_model(models["entities"]).tasks) == ["entities"]


def test_a_folder_that_is_taken(run: polyhead.Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(PolyheadError, match="is not empty"):
        run.separate(tmp_path)
    with pytest.raises(PolyheadError, match="There is no finished run"):
        polyhead.separate(tmp_path, tmp_path / "out")
