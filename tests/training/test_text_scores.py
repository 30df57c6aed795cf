"""What a run says of answers that are whole texts: BLEU, chrF, and how exactly these are computed."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import pytest
from typer.testing import CliRunner

import polyhead
import runs
from polyhead.card.markdown import plain
from polyhead.cli import app
from polyhead.reporting import report
from polyhead.scoring import figure
from polyhead.text_metrics import text_signatures

ANSWERS = ("the cats are asleep .", "Ann has seen Bob .", "that was bad weather .", "all of New York sleeps .")
DATA = '[data.said]\ntrain = "said-train.csv"\ndev = "said-dev.csv"\nlanguage = "zh"\n'
TASKS = (
    '[tasks.words]\ntype = "own_text.Recall"\ndata = "said"\nlayer = "answer"\n'
    '[tasks.signs]\ntype = "own_text.Recall"\ndata = "said"\nlayer = "answer"\nlanguage = "zh"\n'
    '[tasks.mood]\ntype = "classification"\ndata = "said"\nlayer = "mood"\n'
)
STAGE = "[[stages]]\nepochs = 1\nlearning_rate = 0.001\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, light: None) -> tuple[polyhead.Run, str]:
    """A run, and what training it printed."""
    folder = tmp_path_factory.mktemp("said")
    for split in ("train", "dev"):
        rows = [f"a good cat {i},{answer},{'good' if i % 2 else 'bad'}" for i, answer in enumerate(ANSWERS * 2)]
        (folder / f"said-{split}.csv").write_text("\n".join(["text,answer,mood", *rows, ""]), encoding="utf-8")
    recipe = runs.write_recipe(folder, tiny_encoder, STAGE, data=DATA, tasks=TASKS)
    result = CliRunner().invoke(app, ["train", str(recipe), "--output", str(folder / "run")])
    assert result.exit_code == 0, (result.output, result.exception)
    return polyhead.Run.open(folder / "run"), result.stdout


EXPECTED = {"words": text_signatures(), "signs": text_signatures("zh")}
LINES = [f"{task} {name}: {one}" for task, found in EXPECTED.items() for name, one in found.items()]


def test_a_run_keeps_figures_intervals_and_signatures(trained: tuple[polyhead.Run, str]) -> None:
    run, _ = trained
    for task in ("words", "signs"):
        figures = run.scores["dev"][task]
        assert set(figures) == {"bleu", "chrf", "length_ratio"}
        low, high = run.intervals["dev"][task].figures["chrf"]
        assert low <= figures["chrf"] <= high
    assert run.signatures == EXPECTED, "tasks that need none have none"
    assert json.loads((run.folder / "intervals.json").read_text(encoding="utf-8"))["signatures"] == EXPECTED


def test_training_and_scoring_show_them(trained: tuple[polyhead.Run, str]) -> None:
    run, printed = trained
    again = CliRunner().invoke(app, ["evaluate", str(run.folder), "--split", "dev"]).stdout
    for shown in (printed, again):
        lines = shown.splitlines()
        assert [line for line in lines if "nrefs" in line] == LINES
        assert any("chrf" in line and figure("chrf", run.scores["dev"]["words"]["chrf"]) in line for line in lines)
    assert figure("bleu", 0.25) == "25.00", "a share, in per cent"


def test_the_card_and_the_page_tell_them(trained: tuple[polyhead.Run, str], tmp_path: Path) -> None:
    run, _ = trained
    card = (run.folder / "model" / "README.md").read_text(encoding="utf-8")
    assert all(f"- {plain(line)}\n" in card for line in LINES)
    pytest.importorskip("matplotlib")
    page = report(run.folder, tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(escape(line) in page for line in LINES)


def test_a_run_of_an_older_version_has_no_signatures(trained: tuple[polyhead.Run, str], tmp_path: Path) -> None:
    run, _ = trained
    table = json.loads((run.folder / "intervals.json").read_text(encoding="utf-8"))
    del table["signatures"]
    (tmp_path / "intervals.json").write_text(json.dumps(table), encoding="utf-8")
    old = polyhead.Run(tmp_path, run.scores)
    assert old.signatures == {}
    assert old.intervals == run.intervals
    (tmp_path / "intervals.json").unlink()
    assert old.signatures == {}
