"""The stages behind a model go with it, and are told by the run's own log, recipe and data."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import polyhead
import runs
from polyhead.model import Model, load_model
from polyhead.nn.loading import BUNDLED
from polyhead.recipe import load_recipe
from polyhead.training import facts
from polyhead.training.lineage import Lineage, carried, origin, read_log, start_facts
from polyhead.training.prepare import load_datasets

STAGES = """\
[[stages]]
name = "joint"
epochs = 2
learning_rate = 0.003

[[stages]]
name = "special"
tasks = ["entities"]
epochs = 1
weights = { entities = 2.0 }
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    folder = runs.write_data(tmp_path_factory.mktemp("data"))
    data = runs.DATA.replace("[data.ud]\n", '[data.ud]\nlicence = "CC0-1.0"\n')
    return polyhead.train(runs.write_recipe(folder, tiny_encoder, STAGES, data=data), folder / "run").folder


def lineage(model: Model) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = model.info["lineage"]
    return found


def test_each_stage_is_told(run: Path) -> None:
    joint, special = lineage(load_model(run))
    assert [task["name"] for task in joint["tasks"]] == ["pos", "syntax", "entities", "mood"]
    assert joint["tasks"][1] == {"name": "syntax", "type": "parsing", "data": "ud", "layer": "tree"}
    assert (joint["epochs"], special["epochs"], special["kept"]) == (2, 1, 1)
    assert joint["settings"]["learning_rate"] == 0.003
    assert special["settings"]["weights"] == {"entities": 2.0}
    fingerprints = json.loads((run / "run.json").read_text(encoding="utf-8"))["fingerprints"]
    assert {data["name"]: data["fingerprint"] for data in joint["data"]} == fingerprints
    assert [data["name"] for data in special["data"]] == ["names"]
    ud = joint["data"][0]
    assert (ud["licence"], ud["examples"]) == ("CC0-1.0", {"train": 8, "dev": 5, "test": 3})
    assert ud["files"] == {"train": ["ud-train.conllu"], "dev": ["ud-dev.conllu"], "test": ["ud-test.conllu"]}
    assert (joint["polyhead"], joint["seed"]) == (polyhead.__version__, 1)
    kept = next(
        record
        for record in read_log(run / "log.jsonl")
        if record["record"] == "EpochEnded" and (record["stage"], record["epoch"]) == ("joint", joint["kept"])
    )
    for task, figures in joint["scores"].items():
        assert figures == {name: value for name, value in kept["scores"][task].items() if "/" not in name}
    assert set(joint["scores"]) == {"pos", "syntax", "entities", "mood"}


def test_the_stages_of_an_earlier_model_come_first(run: Path, tmp_path: Path) -> None:
    """What a run that starts from another one does: the earlier model's info is there when it begins."""
    folder = tmp_path / "second"
    shutil.copytree(run, folder)
    model, earlier = load_model(run), load_model(run)
    earlier.info["lineage"] = [{"stage": "pretraining", "tasks": [], "data": []}]
    earlier.info["encoder"] = {"name": "the first"}
    recipe = load_recipe(folder / "recipe.toml")
    assert carried(None) == {}
    noted = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert (noted["lineage"], noted["encoder"]["name"]) == ([], "tiny")
    noted |= start_facts(carried(earlier), model.encoder.name, recipe.base)
    (folder / "run.json").write_text(json.dumps(noted), encoding="utf-8")
    datasets = load_datasets(recipe, model.tasks, ("train", "dev", "test"))
    found = Lineage(folder, recipe, model, datasets)
    found.note()
    found.note()  # a run that is gone on with notes the same again
    assert [stage["stage"] for stage in lineage(model)] == ["pretraining", "joint", "special"]
    assert lineage(model)[1:] == lineage(load_model(run))
    assert model.info["encoder"] == {"name": "the first"}


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"record": "StageStarted"}\n{"record": "Stepped"}\n{"record": "StageEn', encoding="utf-8")
    assert read_log(path) == [{"record": "StageStarted"}]


def test_where_an_encoder_comes_from(tiny_encoder: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = (tiny_encoder / "model.safetensors").read_bytes()
    expected = {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    found = origin(str(tiny_encoder), Path())
    assert found == {"name": "tiny", "hub_id": None, "revision": None, "sha256": expected}
    assert load_model(run).info["encoder"] == found
    bundled = origin("minilm", Path())
    assert bundled["hub_id"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert bundled["sha256"]["model.safetensors"] == BUNDLED["minilm"].sha256["model.safetensors"]
    random = origin("minilm", Path(), untrained=True)
    assert (random["hub_id"], random["sha256"]) == (None, {}), "what it did not learn from is not named as its base"
    gone = origin("/home/someone/encoder", Path())
    assert gone == {"name": "encoder", "hub_id": None, "revision": None, "sha256": {}}


def test_an_encoder_of_the_hub_is_known_by_its_revision(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / ("c" * 40)
    shutil.copytree(tiny_encoder, snapshot)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(snapshot / "config.json"))
    found = origin("owner/encoder", tmp_path)
    assert (found["name"], found["hub_id"], found["revision"]) == ("owner/encoder", "owner/encoder", "c" * 40)
    assert set(found["sha256"]) == {"model.safetensors"}


def test_facts_about_the_machine() -> None:
    found = facts.run_facts(torch.device("cpu"))
    assert found["gpu"] is None
    assert found["processor"]
    assert found["memory"] is None or 0.1 < found["memory"] < 1e5
    assert found["polyhead"] == polyhead.__version__
    assert json.loads(json.dumps(found)) == found


def test_the_command_without_paths_of_this_machine() -> None:
    assert facts.command(["/venv/bin/polyhead", "train", "/home/me/my recipe.toml", "--seed", "3"]) == (
        "polyhead train 'my recipe.toml' --seed 3"
    )
    assert facts.command(["/src/polyhead/__main__.py", "demo"]) == "polyhead demo"
    assert facts.command(["train.py"]) is None
    assert facts.command([]) is None
