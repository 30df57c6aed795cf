"""The demo clears away its own earlier run, and nothing that anybody else made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import polyhead
import runs
from polyhead import PolyheadError, load_recipe
from polyhead.demo import clear

pytestmark = pytest.mark.usefixtures("light")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A recipe that stands for the demo's, and a run of it in ``run``."""
    folder = runs.write_data(tmp_path_factory.mktemp("data"))
    recipe = runs.write_recipe(folder, tiny_encoder, "[[stages]]\nepochs = 1\n")
    polyhead.train(recipe, folder / "run")
    return recipe


@pytest.fixture
def run(recipe: Path, tmp_path: Path) -> Path:
    shutil.copytree(recipe.parent / "run", tmp_path / "run")
    return tmp_path / "run"


def test_an_earlier_demo_makes_room(recipe: Path, run: Path, tmp_path: Path) -> None:
    (run / "checkpoints" / "000-00001-000000000").mkdir(parents=True)
    (run / "checkpoints" / "000-00001-000000000" / "state.safetensors").touch()
    (run / "scores.json").unlink()
    (run / "scores.json.12.unfinished").touch()  # as a killed one leaves it
    clear(run, load_recipe(recipe))
    assert list(run.iterdir()) == []
    clear(run, load_recipe(recipe))
    clear(tmp_path / "new", load_recipe(recipe))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def _edit(run: Path) -> None:
    text = (run / "recipe.toml").read_text(encoding="utf-8")
    (run / "recipe.toml").write_text(text.replace("epochs = 1", "epochs = 2"), encoding="utf-8")


STRANGE: dict[str, Callable[[Path], object]] = {
    "notes beside it": lambda run: (run / "notes.txt").touch(),
    "a folder beside it": lambda run: (run / "thesis").mkdir(),
    "notes in it": lambda run: (run / "model" / "notes.txt").touch(),
    "a link": lambda run: (run / "best" / "x.safetensors").symlink_to(run / "recipe.toml"),
    "a recipe that somebody changed": _edit,
    "no run, but a recipe": lambda run: (run / "run.json").unlink(),
    "a run.json of somebody else": lambda run: (run / "run.json").write_text("[]"),
    "a recipe that is none": lambda run: (run / "recipe.toml").write_text("reviews-train.conllu"),
}


@pytest.mark.parametrize("what", STRANGE)
def test_nothing_else_is_deleted(recipe: Path, run: Path, what: str) -> None:
    STRANGE[what](run)
    before = sorted(run.rglob("*"))
    with pytest.raises(PolyheadError, match="something other than an earlier demo") as caught:
        clear(run, load_recipe(recipe))
    assert "--output" in caught.value.remedy
    assert sorted(run.rglob("*")) == before


def test_the_place_is_seen_to_first(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with pytest.raises(PolyheadError, match="Not a directory"):
        clear(tmp_path / "a.csv" / "run", load_recipe(recipe))
    with pytest.raises(PolyheadError, match="something other than an earlier demo"):
        clear(tmp_path / "a.csv", load_recipe(recipe))
    assert (tmp_path / "a.csv").exists()
