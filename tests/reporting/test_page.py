"""The page of a run: what it must hold, that it loads nothing, and that no text of the user's becomes markup."""

from __future__ import annotations

import builtins
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

import polyhead
import runs
from polyhead import PolyheadError
from polyhead.drawing.figures import matrix
from polyhead.reporting import report

STAGE = "learning_rate = 0.003\nhead_learning_rate = 0.01\nbatch_pieces = 48\n"
STAGES = (
    f'[[stages]]\nname = "joint"\nepochs = 2\ncosines = 1\n{STAGE}\n'
    f'[[stages]]\nname = "special"\ntasks = ["entities"]\nepochs = 1\n{STAGE}'
)


class Page(HTMLParser):
    """The tags, attributes and texts of a page; an unclosed or misplaced tag is an error."""

    VOID = ("meta", "path", "use", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> polyhead.Run:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    recipe = runs.write_recipe(runs.write_data(tmp_path_factory.mktemp("data")), tiny_encoder, STAGES)
    made = polyhead.train(recipe, tmp_path_factory.mktemp("runs") / "a $x$ <b>&run")
    torch.set_num_threads(before)
    return made


def test_the_page_says_what_came_out(run: polyhead.Run) -> None:
    path = report(run.folder)
    assert path == run.folder / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    text = " ".join(page.texts)
    for heading in ("Scores", "What each stage gained and lost", "How it learnt", "How the tasks get on"):
        assert heading in page.texts
    assert f"{100 * run.scores['test']['pos']['accuracy']:.2f}" in text
    (joint,) = [r for r in runs.log(run.folder) if r["record"] == "StageEnded" and r["cosines"]]
    for cosine in joint["cosines"].values():
        assert f"{cosine['mean']:+.3f}" in text, "in the table"
        assert f"{cosine['mean']:+.2f}" in text, "in the matrix"
    gained = run.stages[1]["scores"]["entities"]["f1"] - run.stages[0]["scores"]["entities"]["f1"]
    assert f"({gained * 100:+.2f})" in text


def test_figures_of_different_kinds_do_not_share_an_axis(tmp_path: Path, tiny_encoder: Path) -> None:
    tasks = f'{runs.TASKS}\n[tasks.words]\ntype = "masked-lm"\ndata = "ud"\n'
    recipe = runs.write_recipe(runs.write_data(tmp_path), tiny_encoder, f"[[stages]]\nepochs = 1\n{STAGE}", tasks=tasks)
    made = polyhead.train(recipe, tmp_path / "run")
    texts = Page(report(made.folder).read_text(encoding="utf-8")).texts
    captions = [text for text in texts if text.endswith("on dev after each epoch")]
    assert len(captions) == 2 and "accuracy" in captions[0] and captions[1] == "perplexity on dev after each epoch"


def test_each_task_is_looked_at_closely(run: polyhead.Run, tmp_path: Path) -> None:
    page = Page(report(run.folder, tmp_path / "page.html").read_text(encoding="utf-8"))
    for task in ("pos", "syntax", "entities", "mood"):
        assert f"{task}, looked at closely" in page.texts
    assert page.texts.count("Does it know when it is right?") == 4
    kept = json.loads((run.folder / "inspection.json").read_text(encoding="utf-8"))["tasks"]
    assert {one["split"] for one in kept.values()} == {"test", "dev"}, "names have no test split"
    pos = kept["pos"]
    assert sum(one["right"] for one in pos["labels"]) / sum(one["gold"] for one in pos["labels"]) == pytest.approx(
        run.scores["test"]["pos"]["accuracy"]
    )


def test_a_run_whose_model_is_gone_has_its_page_all_the_same(run: polyhead.Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("scores.json", "recipe.toml", "stages.json", "intervals.json", "log.jsonl"):
        (folder / name).write_bytes((run.folder / name).read_bytes())
    text = report(folder).read_text(encoding="utf-8")
    assert "How it learnt" in text and "could not be looked at closely" in text


def test_the_page_loads_nothing_and_the_folder_s_name_is_text(run: polyhead.Run) -> None:
    text = report(run.folder).read_text(encoding="utf-8")
    page = Page(text)
    assert "a $x$ <b>&run" in page.texts
    assert "<b>&run" not in text
    assert "<script" not in text
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value is not None and value.startswith("#"), "only what is in the page itself"
    assert not re.search(r"url\((?!#)", text)


def test_the_same_run_gives_the_same_page(run: polyhead.Run, tmp_path: Path) -> None:
    one, other = (report(run.folder, tmp_path / name).read_bytes() for name in ("one.html", "other.html"))
    assert one == other


def test_names_that_look_like_markup_are_drawn_as_they_are() -> None:
    names = ["a_b", "_c", "x$y$"]
    texts = " ".join(Page(matrix(names, {("a_b", "_c"): -0.5, ("_c", "x$y$"): 0.25}, [("_c", "a_b")])).texts)
    for name in names:
        assert name in texts.replace("\u200b", "")
    assert texts.count("-0.50*") == 2 and texts.count("+0.25") == 2


def test_what_is_missing_is_told(run: polyhead.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PolyheadError, match="no finished run"):
        report(tmp_path)
    importing = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return importing(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PolyheadError, match="Reports need matplotlib") as caught:
        report(run.folder)
    assert "polyhead[report]" in caught.value.remedy


def test_a_broken_log_is_told(run: polyhead.Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("scores.json", "recipe.toml", "stages.json"):
        (folder / name).write_bytes((run.folder / name).read_bytes())
    (folder / "log.jsonl").write_text(json.dumps({"record": "Stepped"}) + "\n{", encoding="utf-8")
    with pytest.raises(PolyheadError, match="log cannot be read"):
        report(folder)
