"""Studies in notebooks: the example runs, and what it shows is there."""

from __future__ import annotations

import builtins
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from polyhead.errors import PolyheadError
from polyhead.studies import answers
from polyhead.studies.answers import Answers
from polyhead.studies.study import Study
from studies.simulated import simulate

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return simulate(tmp_path_factory.mktemp("study"), ways=("scratch", "fine-tuned", "from:pos"), sizes=(50, 100, 200))


@pytest.fixture(scope="module")
def found(made: Study) -> Answers:
    found = answers(made)
    assert found is not None
    return found


def test_results_are_tables(made: Study, found: Answers) -> None:
    runs = made.to_pandas()
    assert len(runs) == 27 and {"way", "size", "seed", "accuracy", "seconds"} <= set(runs.columns)
    means = runs.groupby(["way", "size"])["accuracy"].mean()
    figures = found.to_pandas().set_index(["way", "size"])
    assert (figures["accuracy"] - means).abs().max() < 1e-9
    assert ((figures["low"] <= figures["accuracy"]) & (figures["accuracy"] <= figures["high"])).all()
    tests = found.to_pandas("tests")
    assert len(tests) == 9 and set(tests["better"]) <= {"scratch", "fine-tuned", "from:pos", "cannot tell"}
    assert len(found.to_pandas("saved")) == len(found.saved)
    with pytest.raises(PolyheadError, match="no table 'test'"):
        found.to_pandas("test")


def test_without_pandas_it_is_told(made: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    importing = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return importing(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PolyheadError, match="need pandas") as caught:
        made.to_pandas()
    assert "polyhead[notebook]" in caught.value.remedy


def test_answers_and_pictures_show_themselves(made: Study, found: Answers) -> None:
    shown = made._repr_html_()
    assert shown == found._repr_html_() and "<svg" in shown and "<table" in shown and "Transfer" in shown
    for name in ("learning", "saved", "minutes", "transfer"):
        assert found.picture(name)._repr_svg_().startswith("<svg")
    with pytest.raises(PolyheadError, match="nothing to draw for 'forecast'"):
        found.picture("forecast")
    with pytest.raises(PolyheadError, match="no picture 'curve'"):
        found.picture("curve")


def test_the_example_runs(tmp_path: Path, tiny_encoder: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    for part in ("examples", "src/polyhead/sample"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    recipe = tmp_path / "examples" / "specialise.toml"
    text = recipe.read_text(encoding="utf-8").replace('"minilm"', f'"{tiny_encoder}"')
    recipe.write_text(re.sub(r"(?m)^epochs = \d+", "epochs = 1", text), encoding="utf-8")
    notebook = nbformat.read(tmp_path / "examples" / "study.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
        client = nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(recipe.parent)}})
        client.execute()
    shown = [data for cell in notebook.cells for one in cell.get("outputs", []) for data in [one.get("data")] if data]
    assert "<svg" in shown[0]["text/html"] and "<table" in shown[1]["text/html"]
    assert any("image/svg+xml" in data for data in shown)
    assert "Difference(" in shown[-1]["text/plain"]
