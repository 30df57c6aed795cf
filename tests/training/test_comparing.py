"""Two models are compared on the same examples, whatever else they do not share."""

from __future__ import annotations

import gc
import json
import os
import shutil
import weakref
from html import escape
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import polyhead
import polyhead.training.comparing as comparing
import runs
from conftest import build_encoder
from polyhead import PolyheadError
from polyhead.cli import app
from polyhead.scoring import figure, signed
from polyhead.training.differences import Comparisons

pytestmark = pytest.mark.usefixtures("light")

SHORT = "[[stages]]\nepochs = 1\nlearning_rate = 0.001\n"
LONG = "[[stages]]\nepochs = 6\nlearning_rate = 0.01\n"
UD = runs.DATA[: runs.DATA.index("[data.names]")]
GRAMMAR = runs.TASKS[: runs.TASKS.index("[tasks.entities]")]
PRETRAINING = '[tasks.text]\ntype = "masked-lm"\ndata = "ud"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def everything(folder: Path, tiny_encoder: Path, light: None) -> Path:
    """Hardly trained, in tasks of every kind."""
    recipe = runs.write_recipe(folder, tiny_encoder, SHORT, tasks=runs.TASKS + PRETRAINING)
    return polyhead.train(recipe, folder / "everything").folder


@pytest.fixture(scope="module")
def other(folder: Path, light: None) -> Path:
    """Of another encoder, better trained, without names of people and places."""
    encoder = build_encoder(folder / "encoder", width=16, seed=3)
    tasks = runs.TASKS[: runs.TASKS.index("[tasks.entities]")] + runs.TASKS[runs.TASKS.index("[tasks.mood]") :]
    recipe = runs.write_recipe(folder, encoder, LONG, data=UD, tasks=tasks + PRETRAINING)
    return polyhead.train(recipe, folder / "other").folder


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def fault(*arguments: object) -> PolyheadError:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, PolyheadError), (result.output, result.exception)
    return result.exception


@pytest.mark.parametrize("split", ["dev", "test"])
def test_every_task_of_both_is_compared_by_the_scores_of_its_run(everything: Path, other: Path, split: str) -> None:
    notes: list[str] = []
    found = polyhead.compare(everything, other, split=split, tell=notes.append)
    assert list(found) == ["pos", "syntax", "mood"]
    first, second = (polyhead.Run.open(run).scores[split] for run in (everything, other))
    for task, one in found.items():
        assert one.examples == {"dev": 5, "test": 3}[split]
        assert one.main in one.figures
        for name, both in one.figures.items():
            assert (both.first, both.second) == (first[task][name], second[task][name])
    assert f"only {everything} has entities; left out" in notes
    assert any(note.startswith("text: learnt from text alone") for note in notes)
    assert len(notes) == len(set(notes)), "what both say is told once"


def test_a_run_differs_from_itself_by_nothing(everything: Path) -> None:
    for one in polyhead.compare(everything, everything, split="dev").values():
        assert all((both.difference, both.p) == (0.0, 1.0) for both in one.figures.values())


def test_a_comparison_shows_itself_in_a_notebook(everything: Path, other: Path) -> None:
    pandas = pytest.importorskip("pandas")
    found = polyhead.Run.open(everything).compare(polyhead.Run.open(other), split="dev")
    shown = found._repr_html_()
    assert all(escape(found.verdict(task)) in shown for task in found)
    assert f"A: {everything}" in shown and f"B: {other}" in shown
    rows = found.to_pandas()
    assert isinstance(rows, pandas.DataFrame) and list(dict.fromkeys(rows.task)) == list(found)
    main = rows[(rows.task == "pos") & (rows.figure == "accuracy")].iloc[0]
    both = found["pos"].figures["accuracy"]
    assert (main["first"], main["difference"]) == (both.first, both.difference) and both.interval
    assert (main.low, main.high, main.p) == (*both.interval, both.p)
    assert [name for name in rows.figure if "/" not in name] == [row[1] for row in found.rows()]
    only = Comparisons({"<b>pos": found["pos"]})
    assert "<b>pos" not in only._repr_html_() and "&lt;b&gt;pos" in only._repr_html_()


def test_a_file_is_scored_on_instead_of_a_split(everything: Path, other: Path, folder: Path) -> None:
    by_split = polyhead.compare(everything, other, split="dev")
    by_file = polyhead.compare(everything, other, file=folder / "ud-dev.conllu")
    assert by_file == by_split, "the tasks that both have are of one dataset, which need not be named"
    alone = polyhead.compare(everything / "model", other / "model", file=folder / "ud-dev.conllu")
    assert alone == by_split
    with pytest.raises(PolyheadError, match=r"Scoring .*model: .* without a run, so it has no splits"):
        polyhead.compare(everything, other / "model")
    with pytest.raises(PolyheadError, match=r"several datasets(.|\n)*--data names or ud"):
        polyhead.compare(everything, everything, file=folder / "ud-dev.conllu")
    named = polyhead.compare(everything, everything, file=folder / "names-dev.conll", data="names")
    assert list(named) == ["entities"]


def test_one_model_is_in_memory_at_a_time(everything: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[weakref.ref[Any]] = []
    before = comparing.open_gold

    def watched(*given: Any) -> Any:
        gc.collect()
        assert all(model() is None for model in loaded)
        found = before(*given)
        loaded.append(weakref.ref(found[0]))
        return found

    monkeypatch.setattr(comparing, "open_gold", watched)
    polyhead.compare(everything, other, split="dev")
    assert len(loaded) == 2, "each is loaded once"


@pytest.fixture
def moved(other: Path, folder: Path, tmp_path: Path) -> Path:
    """A run whose recipe names files of its own, as copies of the others' until a test changes them."""
    run = tmp_path / "moved"
    shutil.copytree(other, run)
    for path in folder.glob("ud-*.conllu"):
        shutil.copy(path, tmp_path)
    recipe = (run / "recipe.toml").read_text(encoding="utf-8")
    (run / "recipe.toml").write_text(recipe.replace(f"{folder}/ud-", f"{tmp_path}/ud-"), encoding="utf-8")
    return run


def test_the_same_examples_may_lie_elsewhere(everything: Path, other: Path, moved: Path) -> None:
    assert polyhead.compare(everything, moved, split="dev") == polyhead.compare(everything, other, split="dev")


def test_other_examples_are_told(everything: Path, moved: Path, tmp_path: Path) -> None:
    dev = tmp_path / "ud-dev.conllu"
    whole = dev.read_text(encoding="utf-8")
    dev.write_text("\n\n".join(whole.split("\n\n")[1:]), encoding="utf-8")
    with pytest.raises(PolyheadError, match=r"pos has 5 examples of the dev split .* 4 in .*moved") as caught:
        polyhead.compare(everything, moved, split="dev")
    assert caught.value.remedy == f"Score both on one file: polyhead evaluate {everything} {moved} FILE"
    for old, new, part in (("\tobj\t", "\tnsubj\t", "gold"), ("Ann", "Anna", "text")):
        assert old in whole
        dev.write_text(whole.replace(old, new), encoding="utf-8")
        with pytest.raises(PolyheadError, match=f"another {part} in .*moved than in .*everything") as caught:
            polyhead.compare(everything, moved, split="dev")
        assert caught.value.file is not None and caught.value.file.endswith("ud-dev.conllu")
        assert caught.value.line is not None


def test_what_cannot_be_compared(everything: Path, other: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PolyheadError, match="There is no run"):
        polyhead.compare(everything, tmp_path / "none")
    with pytest.raises(PolyheadError, match=r"Scoring .*everything: There are no best weights for 'nothing'"):
        polyhead.compare(everything, other, best="nothing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PolyheadError, match="can be read only once"):
        polyhead.compare(everything, other, file=tmp_path / "pipe")
    with pytest.raises(PolyheadError, match="has no dataset 'udd'"):
        polyhead.compare(everything, other, data="udd")
    known = comparing.tasks_of(everything)
    tasks = {"a": {"pos": known["pos"]}, "b": {name: task for name, task in known.items() if name != "pos"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing, "tasks_of", tasks.__getitem__)
        with pytest.raises(PolyheadError, match=r"no task in common(.|\n)*pos in a, syntax, entities, mood, text in b"):
            polyhead.compare("a", "b")


def test_tasks_without_gold_here_are_left_out(everything: Path, folder: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    found = polyhead.compare(everything, everything, split="test", tell=notes.append)
    assert list(found) == ["pos", "syntax", "mood"]
    assert "entities: there is no gold here; left out" in notes
    text = (folder / "ud-dev.conllu").read_text(encoding="utf-8")
    bare = "\n".join(line for line in text.split("\n") if not line.startswith("# sentiment"))
    (tmp_path / "bare.conllu").write_text(bare, encoding="utf-8")
    with pytest.raises(PolyheadError, match=r"Scoring .*everything: tasks.mood: no example"):
        polyhead.compare(everything, everything, file=tmp_path / "bare.conllu", data="ud")


# --- the command line ---


def test_the_command_shows_both_and_what_it_means(everything: Path, other: Path, tmp_path: Path) -> None:
    result = call("evaluate", everything, other, "--split", "dev", "--json", tmp_path / "c.json")
    found = polyhead.compare(everything, other, split="dev")
    assert f"A: {everything}" in result.stdout and f"B: {other}" in result.stdout
    for task, one in found.items():
        both = one.figures[one.main]
        assert both.interval is not None
        lines = result.stdout.splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith(f" {task} "))
        row = next(line for line in lines[start:] if f" {one.main} " in line)
        for shown in (figure(one.main, both.first), figure(one.main, both.second), signed(one.main, both.difference)):
            assert shown in row
        assert f"{signed(one.main, both.interval[0])} to {signed(one.main, both.interval[1])}" in row
        (verdict,) = [line for line in lines if line.startswith(f"{task}: ")]
        expected = f"{'B' if both.difference > 0 else 'A'} is better" if both.sure else "no sure difference"
        assert ("same" if not both.difference else expected) in verdict
    table = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert (table["first"], table["second"], table["on"]) == (str(everything), str(other), "dev")
    assert table["tasks"] == json.loads(json.dumps({name: one.to_dict() for name, one in found.items()}))


def test_the_command_tells_runs_and_files_apart(
    everything: Path, other: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "ud-dev.conllu"
    both = call("evaluate", everything, other, file).stdout
    assert "B - A" in both and "ud-dev.conllu" in both
    assert "B - A" not in call("evaluate", other, file).stdout
    assert "Give two runs first" in fault("evaluate", everything, file, other).remedy
    assert "Give two runs first" in fault("evaluate", everything, other, everything).remedy
    assert "Give two runs first" in fault("evaluate", everything, file, file).remedy
    assert "not a run and a file" in fault("evaluate", everything, file, file).what
    assert "neither a run nor a file" in fault("evaluate", everything, folder / "othr").what
    assert "instead of a split" in fault("evaluate", everything, other, file, "--split", "dev").what
    asked: list[Any] = []
    monkeypatch.setattr(comparing, "tasks_of", lambda place: asked.append(str(place)) or {})
    assert "no task in common" in fault("evaluate", everything, "owner/name@main").what
    assert asked == [str(everything), "owner/name@main"], "an id on the Hub is a model"
    assert "csv" in fault("evaluate", other, "nowhere/x.csv").what, "a suffix makes it a file"


def test_verdicts() -> None:
    from polyhead.intervals import Comparison, Difference

    def said(both: Difference | None, *, lower: bool = False, examples: int = 100) -> str:
        figures = {} if both is None else {"f1": both}
        return Comparisons({"it": Comparison(examples, 1000, figures, {}, "f1", lower)}).verdict("it")

    better = Difference(0.5, 0.625, (0.05, 0.2), 0.002)
    assert said(better) == "it: B is better than A by 12.50 in f1 (p = 0.002)."
    assert said(better, lower=True) == "it: A is better than B by 12.50 in f1 (p = 0.002)."
    assert said(Difference(0.625, 0.5, (-0.2, -0.05), 0.05)).startswith("it: A is better than B by 12.50")
    unsure = said(Difference(0.5, 0.625, (-0.1, 0.3), 0.2))
    assert unsure == "it: no sure difference: chance alone may make one of 12.50 in f1 (p = 0.200)."
    assert said(Difference(0.5, 0.5, (-0.1, 0.1), 1.0)) == "it: A and B have the same f1."
    assert "12 examples are few" in said(better, examples=12)
    assert "nothing can be said" in said(None)
    assert "nothing can be said" in said(Difference(0.5, 0.625, None, None))
