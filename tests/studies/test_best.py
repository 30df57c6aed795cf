"""The best run of a study on tiny data: looked at once, calibrated for good, with suspects and texts to label."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import polyhead
import polyhead.studies.best as best_module
import runs
from polyhead.claim import claimed
from polyhead.data import DataSpec, load_dataset
from polyhead.errors import PolyheadError
from polyhead.reporting.study_page import study_report
from polyhead.studies import Best, Study, look_at_best, run_study
from polyhead.studies.best_words import best_words
from polyhead.studies.learn import Order, learn
from polyhead.studies.queue import Outcome
from studies.inline import Inline

pytestmark = pytest.mark.usefixtures("one_thread")

POS = '[tasks.pos]\ntype = "tagging"\ndata = "ud"\nlayer = "upos"\n'
MOOD = '[tasks.mood]\ntype = "classification"\ndata = "ud"\nlayer = "sentiment"\n'
ENTITIES = '[tasks.entities]\ntype = "ner"\ndata = "names"\nlayer = "entities"\n'
SYNTAX = '[tasks.syntax]\ntype = "parsing"\ndata = "ud"\narc_size = 8\nrelation_size = 4\n'
STAGE = "[[stages]]\nepochs = 1\nbatch_pieces = 96\nlearning_rate = 0.003\n"
MARKUP = "<script>alert(1)</script> & <b>Ann"


@pytest.fixture
def recipe(tmp_path: Path, tiny_encoder: Path) -> Path:
    folder = runs.write_data(tmp_path / "files")
    path = folder / "recipe.toml"
    top = f'encoder = "{tiny_encoder}"\nprecision = "fp32"\ndevice = "cpu"\n'
    path.write_text("\n".join([top, runs.DATA, POS, MOOD, ENTITIES, SYNTAX, STAGE]), encoding="utf-8")
    return path


Asked = Callable[..., Study]


@pytest.fixture
def ask(recipe: Path, tmp_path: Path, here: Inline) -> Asked:
    def ask(target: str = "mood", **changes: Any) -> Study:
        wish: dict[str, Any] = {"ways": ["fine-tuned"], "sizes": [8], "seeds": [1]}
        return run_study(recipe, target, tmp_path / "study", **{**wish, **changes})

    return ask


def write_pool(folder: Path, *texts: str) -> Path:
    path = folder / "pool.txt"
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


NEW = ("a good cat sat", "Bob is bad", "the cats see Rome", "was it in York?", MARKUP)


def look(made: Study, **changes: Any) -> Best:
    found = look_at_best(made, **changes)
    assert found is not None
    return found


def test_all_is_found_once_and_found_again(ask: Asked, here: Inline, tmp_path: Path) -> None:
    made = ask(sizes=[4, 8], seeds=[1, 2])
    pool = write_pool(tmp_path, *NEW, "", NEW[0].upper(), "The cats slept .")
    here.orders.clear()
    found = look(made, pool=pool, pool_size=3)
    assert [order.folder.name.rpartition("-")[0] for order in here.orders] == [
        f"part-fine-tuned-{number}" for number in (1, 2, 3, 4)
    ]
    assert found.run in made.results and found.chosen_on == "dev"
    assert found.run.curve[-1][1] == max(result.curve[-1][1] for result in made.results)
    assert found.inspection.figures == pytest.approx(found.run.figures)
    assert found.suspects is not None and found.suspects.texts == 8
    lines = [json.loads(line) for line in (made.folder / "suspects.jsonl").read_text().splitlines()]
    assert [line["rank"] for line in lines] == list(range(1, 9)) and lines[0]["gold"] in ("good", "bad")
    assert all(order.folder.parent == made.folder / "parts" for order in here.orders)
    assert not any((order.folder / "model").exists() for order in here.orders), "weights of parts serve nothing else"
    assert found.choice is not None
    choice = found.choice
    assert (choice.texts, choice.read, choice.blank, choice.known, choice.twice) == (3, 7, 0, 1, 1)
    here.orders.clear()
    when = {path: path.stat().st_mtime_ns for path in made.folder.rglob("*") if path.name != ".lock"}
    assert look(made, pool=pool, pool_size=3) == found and not here.orders
    assert when == {path: path.stat().st_mtime_ns for path in made.folder.rglob("*") if path.name != ".lock"}
    assert all(best_words(found))


def test_the_temperature_is_kept_with_the_model(ask: Asked) -> None:
    made = ask()
    (result,) = made.results
    folder = made.folder / "runs" / result.key
    before = polyhead.load(folder)("a good cat")
    found = look(made, suspects=False)
    assert found.inspection.calibration is not None
    temperature = found.inspection.calibration.temperature
    assert temperature != 1
    after = polyhead.load(folder)("a good cat")
    assert json.loads((folder / "model" / "config.json").read_text())["temperatures"] == {"mood": temperature}
    assert after["sentiment"] == before["sentiment"]
    odds = [sure / (1 - sure) for sure in (before.confidence("sentiment"), after.confidence("sentiment"))]  # type: ignore[operator]
    assert odds[1] == pytest.approx(odds[0] ** (1 / temperature), rel=1e-3)


@pytest.mark.parametrize("target", ["pos", "entities", "syntax"])
def test_a_target_about_words_has_suspects_and_texts_to_label(
    ask: Asked, recipe: Path, tmp_path: Path, target: str
) -> None:
    found = look(made := ask(target), pool=write_pool(tmp_path, *NEW), pool_size=2)
    assert found.suspects is not None and 0 < found.suspects.texts <= 8
    assert found.choice is not None and found.choice.filled and found.choice.same
    path = made.folder / found.choice.path
    task = made.question.recipe.make_tasks()[target]
    spec = made.question.recipe.data[task.data]
    both = spec.model_copy(update={"train": [*spec.files("train"), str(path)], "dev": None, "test": None})
    again = load_dataset("it", both, recipe.parent, {task.layer: task.kind}).splits["train"]
    assert len(again) == 8 + 2 and all(task.carries(example) for example in again[8:])


def test_labels_are_left_open_and_can_be_given_back(ask: Asked, recipe: Path, tmp_path: Path, here: Inline) -> None:
    """The pool's file, once its open labels are filled in, is one more training file."""
    rows = ["text,mood"] + [f"{text},{mood}" for text, mood in [("a cat", "good"), ("bad Bob", "bad")] * 5]
    files = recipe.parent
    for name in ("train", "test"):
        (files / f"said-{name}.csv").write_text("\n".join(rows if name == "train" else rows[:3]) + "\n")
    said = '[data.said]\ntrain = "said-train.csv"\ntest = "said-test.csv"\n'
    mood = '[tasks.said]\ntype = "classification"\ndata = "said"\nlayer = "mood"\n'
    recipe.write_text(recipe.read_text().split("[data")[0] + said + mood + STAGE)
    made = ask("said", sizes=[10])
    found = look(made, pool=write_pool(tmp_path, 'a "cat", or not', MARKUP, "Rome is good"), pool_size=3)
    assert found.inspection.calibration is None and "no dev split" in found.inspection.uncalibrated
    assert found.choice is not None and not found.choice.filled
    path = made.folder / found.choice.path
    head, *lines = path.read_text().splitlines()
    assert head == "text,mood,mood_suggested,mood_confidence" and len(lines) == 3
    spec = DataSpec(train=[str(files / "said-train.csv"), str(path)])
    examples = load_dataset("said", spec, files, {"mood": str}).splits["train"]
    assert ["mood" in example.layers for example in examples] == [True] * 10 + [False] * 3
    assert {example.text for example in examples[10:]} == {'a "cat", or not', MARKUP, "Rome is good"}
    path.write_text("\n".join([head, *(line.replace(",,", ",good,") for line in lines)]) + "\n")
    assert look(made, pool=tmp_path / "pool.txt", pool_size=3).choice == found.choice
    assert ",good," in path.read_text(), "what was annotated is not written over"
    filled = load_dataset("said", spec, files, {"mood": str}).splits["train"]
    assert [example.layers["mood"] for example in filled[10:]] == ["good"] * 3


def test_the_page_escapes_what_data_contains(ask: Asked, recipe: Path, tmp_path: Path) -> None:
    for name in ("ud-train.conllu", "ud-dev.conllu", "ud-test.conllu"):
        path = recipe.parent / name
        path.write_text(path.read_text().replace("sentiment = bad", "sentiment = <b>&bad").replace("cat\t", "<i>cat\t"))
    made = ask()
    found = look(made, pool=write_pool(tmp_path, *NEW), pool_size=5)
    html = study_report(made, best=found).read_text()
    assert "<script>alert" not in html and "<b>&bad" not in html and "<i>cat" not in html
    assert "&lt;script&gt;alert(1)" in html and "The best run" in html and "&lt;b&gt;&amp;bad" in html


def test_a_report_shows_what_was_found_and_trains_nothing(ask: Asked, here: Inline, tmp_path: Path) -> None:
    pytest.importorskip("cleanlab")
    made = ask()
    trained = len(here.orders)
    text = polyhead.report(made.folder).read_text(encoding="utf-8")
    assert 'id="best"' in text and "Labels to look at again" not in text and len(here.orders) == trained
    look(made)
    trained = len(here.orders)
    text = polyhead.report(made.folder).read_text(encoding="utf-8")
    assert "Labels to look at again" in text and len(here.orders) == trained
    with claimed(made.folder):
        text = polyhead.report(made.folder).read_text(encoding="utf-8")
    assert "It could not be looked at closely: Another process works on the study" in text


def test_without_cleanlab_a_note_says_how_to_have_it(ask: Asked, here: Inline, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ask()
    here.orders.clear()
    monkeypatch.setattr(best_module, "has_cleanlab", lambda: False)
    said: list[str] = []
    assert look(made, tell=said.append).suspects is None and not here.orders
    assert any("pip install 'polyhead[labels]'" in one for one in said)


def test_a_part_that_fails_costs_no_other(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ask()

    def submit(self: Inline, order: Order) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        fails = order.folder.name.startswith("part-fine-tuned-2")
        future.set_result({"error": "no"} if fails else learn(order))
        return future

    monkeypatch.setattr(Inline, "submit", submit)
    said: list[str] = []
    found = look(made, tell=said.append)
    assert found.suspects is not None and found.suspects.texts == 6
    assert "part-fine-tuned-2: no" in said


@pytest.mark.parametrize(
    ("texts", "what"),
    [(("The cats slept .",), "no text to choose: 1 in the target's data"), (("", " \t"), "The pool is empty")],
)
def test_a_pool_with_nothing_new_is_told(ask: Asked, tmp_path: Path, texts: tuple[str, ...], what: str) -> None:
    made = ask()
    with pytest.raises(PolyheadError, match=what):
        look(made, pool=write_pool(tmp_path, *texts), suspects=False)


def test_a_wrong_pool_is_told_before_anything(ask: Asked, tmp_path: Path) -> None:
    made = ask()
    for pool, size, what in (
        (tmp_path / "none.txt", 1, "no such file"),
        (tmp_path, 1, "a folder"),
        (write_pool(tmp_path, "a"), 0, "no number of texts"),
    ):
        with pytest.raises(PolyheadError, match=what):
            look(made, pool=pool, pool_size=size)
