"""Studies of several targets: sources are trained once, and the matrix says which task helps which."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runs
from polyhead import report
from polyhead.errors import PolyheadError
from polyhead.reporting.matrix_page import matrix_report
from polyhead.studies import Studies, run_study, study_each
from polyhead.studies.matrix import matrix_lines, matrix_picture
from studies.inline import Inline
from studies.simulated import STARTS, simulate

pytestmark = pytest.mark.usefixtures("one_thread")

TASKS = """
[tasks.mood]
type = "classification"
data = "ud"
layer = "sentiment"

[tasks.pos]
type = "tagging"
data = "ud"
layer = "upos"

[tasks.entities]
type = "ner"
data = "names"
layer = "entities"
"""


@pytest.fixture
def recipe(tmp_path: Path, tiny_encoder: Path) -> Path:
    folder = runs.write_data(tmp_path / "files")
    return runs.write_recipe(folder, tiny_encoder, "[[stages]]\nepochs = 1\nbatch_pieces = 96\n", tasks=TASKS)


Asked = Callable[..., Studies]


@pytest.fixture
def ask(recipe: Path, tmp_path: Path, here: Inline) -> Asked:
    def ask(targets: tuple[str, ...] = ("mood", "pos"), **changes: Any) -> Studies:
        wish: dict[str, Any] = {"ways": ["fine-tuned", "from:entities", "from:pos"], "sizes": [4], "seeds": [1, 2]}
        return study_each(recipe, targets, tmp_path / "each", **{**wish, **changes})

    return ask


def test_a_source_of_several_targets_is_trained_once(ask: Asked, here: Inline, tmp_path: Path) -> None:
    said: list[str] = []
    made = ask(tell=said.append)
    names = [order.folder.name.rpartition("-")[0] for order in here.orders]
    assert sorted(name for name in names if name.startswith("source")) == [
        f"source-{source}-{seed}" for source in ("entities", "pos") for seed in (1, 2)
    ]
    assert said[0] == "10 runs are asked for, of 2 targets", "no target is learnt before itself"
    assert [known.question.target for known in made.studies] == ["mood", "pos"]
    assert [len(known.results) for known in made.studies] == [6, 4]
    assert {path.name for path in (tmp_path / "each").iterdir()} >= {"mood", "pos", "runs", "studies.json"}
    here.orders.clear()
    again = ask()
    assert not here.orders and [known.results for known in again.studies] == [known.results for known in made.studies]
    said.clear()
    more = ask(("entities",), ways=["fine-tuned", "from:pos"], tell=said.append)
    assert [known.question.target for known in more.studies] == ["mood", "pos", "entities"]
    assert not any("left out" in one for one in said), "runs of other targets are no strangers"
    assert not any(order.folder.name.startswith("source") for order in here.orders), "the source was there already"
    table = more.to_pandas()
    assert set(zip(table["target"], table["way"], strict=True)) == {
        ("mood", "from:entities"), ("mood", "from:pos"), ("pos", "from:entities"), ("entities", "from:pos"),
    }  # fmt: skip
    assert report(tmp_path / "each") == tmp_path / "each" / "report.html"


def test_runs_of_another_recipe_are_mentioned_once(ask: Asked, recipe: Path) -> None:
    ask(ways=["fine-tuned"], seeds=[1])
    recipe.write_text(recipe.read_text().replace("epochs = 1", "epochs = 2"))
    said: list[str] = []
    ask(ways=["fine-tuned"], seeds=[1], tell=said.append)
    assert (
        [one for one in said if "left out" in one]
        == [one for one in said if one.startswith("2 finished runs of another recipe")]
        != []
    )


def test_a_folder_is_for_one_or_for_several(ask: Asked, recipe: Path, tmp_path: Path, here: Inline) -> None:
    run_study(recipe, "mood", tmp_path / "each", ways=["fine-tuned"], sizes=[4], seeds=[1])
    with pytest.raises(PolyheadError, match="holds a study of one target"):
        ask()
    with pytest.raises(PolyheadError, match="holds no studies"):
        study_each(recipe, ["mood", "pos"], recipe.parent)
    with pytest.raises(PolyheadError, match="no studies of several targets"):
        Studies.open(tmp_path)
    with pytest.raises(PolyheadError, match="no task 'moods'"):
        study_each(recipe, ["mood", "moods"], tmp_path / "new")
    with pytest.raises(PolyheadError, match="no way 'tuned'"):
        study_each(recipe, ["mood", "pos"], tmp_path / "new", ways=["tuned"])
    assert not (tmp_path / "new").exists()
    with pytest.raises(PolyheadError, match="is not empty, and holds no study"):
        study_each(recipe, ["mood", "pos"], tmp_path / "other", ways=["fine-tuned"], sizes=[4], seeds=[1])
        run_study(recipe, "mood", tmp_path / "other")


@pytest.fixture
def simulated(tmp_path: Path) -> Studies:
    """The tagger helps sentiment and the parser harms it; the tagger itself gains nothing from entities."""
    ways, sizes = ("fine-tuned", "from:pos", "from:syntax"), (50, 5000)
    mood = simulate(tmp_path / "mood", ways=ways, sizes=sizes, starts={**STARTS, "from:pos": 2.0})
    same = {"fine-tuned": STARTS["fine-tuned"], "from:entities": STARTS["fine-tuned"]}
    pos = simulate(tmp_path / "pos", ways=tuple(same), sizes=(50,), seeds=(1, 2, 3, 4), starts=same, target="pos")
    return Studies(tmp_path, [mood, pos])


def test_the_matrix_says_what_helps_and_what_harms(simulated: Studies) -> None:
    found = simulated.matrix()
    assert found is not None and found.targets == ["mood", "pos"]
    assert found.ways == ["from:pos", "from:syntax", "from:entities"]
    least = found.at(0)
    assert {place: one.sign for place, one in least.items()} == {
        ("mood", "from:pos"): 1, ("mood", "from:syntax"): -1, ("pos", "from:entities"): 0,
    }  # fmt: skip
    assert {one.size for one in found.at(-1).values()} == {50, 5000}
    lines = list(matrix_lines(found))
    assert lines[0].startswith(
        "With the fewest examples other tasks surely help in 1 of 3 cases and surely harm in 1; in 1 the data cannot "
        "tell. Most: mood with 50 examples, pos first, +"
    )
    assert lines[1].startswith("Negative transfer: mood with 50 examples, syntax first, -")
    gain = least["mood", "from:pos"]
    means = {result.way: [] for result in simulated.studies[0].results}
    for result in simulated.studies[0].results:
        if result.size == 50:
            means[result.way].append(result.figures["accuracy"])
    assert gain.value == pytest.approx(100 * (sum(means["from:pos"]) - sum(means["fine-tuned"])) / 3)


def test_the_page_of_the_matrix(simulated: Studies, tmp_path: Path) -> None:
    path = matrix_report(simulated)
    text = path.read_text(encoding="utf-8")
    found = simulated.matrix()
    assert found is not None and next(matrix_lines(found)) in text
    assert text.count("<figure") == 2 and "▼" in re.sub(r"(?s)<svg.*?</svg>", "", text)
    assert "mood/report.html" not in text, "no link to a page that is not there"
    (simulated.studies[0].folder / "report.html").write_text("", encoding="utf-8")
    assert 'href="study/report.html"' in matrix_report(simulated).read_text(encoding="utf-8")
    assert "<script" not in text and "http" not in re.sub(r"(?s)<svg.*?</svg>", "", text)
    told = matrix_picture(found, 0).told
    assert "it helps" in told and "it harms" in told and "the data cannot tell" in told


def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    alone = Studies(tmp_path, [simulate(tmp_path / "mood", ways=("fine-tuned",), sizes=(50,))])
    assert alone.matrix() is None
    with pytest.raises(PolyheadError, match="Nothing can be compared yet"):
        matrix_report(alone)


def test_the_command_takes_several_targets(recipe: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "polyhead", "study", str(recipe), "--target", "mood,pos", "--sizes", "6"]
    command += ["--ways", "fine-tuned,from:entities", "--seeds", "1", "--output", str(tmp_path / "each")]
    done = subprocess.run([*command, "--no-suspects"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "target 1 of 2: mood" in done.stderr and "With the fewest examples other tasks" in done.stdout
    for name in ("mood", "pos", "."):
        assert (tmp_path / "each" / name / "report.html").exists()
    facts = json.loads((tmp_path / "each" / "mood" / "study.json").read_text())
    assert facts["runs"] == "../runs"
    pool = subprocess.run([*command, "--pool", str(recipe)], capture_output=True, text=True, timeout=600)
    assert pool.returncode == 1 and "--pool is for a study of one target" in pool.stderr
