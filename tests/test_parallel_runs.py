"""Texts that are learnt from texts, from files to files: training, scores, answers as tables and as lines."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

import polyhead
import runs
from polyhead import PolyheadError
from polyhead.data import DataSpec, Text, read
from polyhead.output import _cut
from test_cli import call, fault

pytestmark = pytest.mark.usefixtures("light")

DATA = """\
[data.phrases]
train = "phrases.{en,fr}"
dev = 0.25
test = ["phrases.{en,fr}"]
"""
ECHO = '[tasks.echo]\ntype = "echo_task.Echo"\ndata = "phrases"\nlayer = "target"\n'
TABLE = '[data.table]\ntrain = "texts.csv"\n'
LABEL = '[tasks.label]\ntype = "classification"\ndata = "table"\nlayer = "label"\n'
SHOUT = '[tasks.shout]\ntype = "echo_task.Echo"\ndata = "table"\nlayer = "loud"\n'
ONE_EPOCH = "[[stages]]\nepochs = 1\n"
EN = ("a good cat", "", "see", "bad", "a bad cat sat", "good")
FR = ("un bon chat", "x", "voir", "mal", "un mauvais chat", "bon")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = runs.write_data(tmp_path_factory.mktemp("data"))
    for side, lines in (("en", EN), ("fr", FR)):
        (folder / f"phrases.{side}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "texts.csv").write_text("text,label,loud\na cat,x,A CAT\nsee,y,SEE\nbad,x,BAD\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def one(folder: Path, tiny_encoder: Path) -> Path:
    """One head, which answers with texts."""
    recipe = runs.write_recipe(folder, tiny_encoder, ONE_EPOCH, data=DATA, tasks=ECHO)
    return polyhead.train(recipe, folder / "one").folder


@pytest.fixture(scope="module")
def several(folder: Path, tiny_encoder: Path) -> Path:
    """Two heads that answer with texts, one with a label, and those about words."""
    data, tasks = runs.DATA + DATA + TABLE, runs.TASKS + ECHO + LABEL + SHOUT
    recipe = runs.write_recipe(folder, tiny_encoder, ONE_EPOCH, data=data, tasks=tasks)
    return polyhead.train(recipe, folder / "several").folder


def echoed(run: Path, texts: Sequence[str], layer: str = "target") -> list[str]:
    """What the model answers, with line breaks."""
    annotator = polyhead.load(run).only("echo" if layer == "target" else "shout")
    return [str(doc[layer]) for doc in annotator.texts(texts)]


def on_lines(answers: Sequence[str]) -> list[str]:
    return [answer.replace("\n", " ") for answer in answers]


# --- training and scoring ---


def test_a_run_knows_where_its_parts_are_and_what_they_are_called(folder: Path, one: Path) -> None:
    recipe = tomllib.loads((one / "recipe.toml").read_text(encoding="utf-8"))
    assert recipe["data"]["phrases"]["train"] == f"{folder}/phrases.{{en,fr}}"
    assert recipe["data"]["phrases"]["test"] == [f"{folder}/phrases.{{en,fr}}"]
    assert polyhead.Run.open(one).recipe.to_toml() == (one / "recipe.toml").read_text(encoding="utf-8")
    card = (one / "model" / "README.md").read_text(encoding="utf-8")
    assert "phrases.{en,fr}" in card
    assert str(folder) not in card


def test_a_file_with_braces_is_scored(folder: Path, one: Path, several: Path, tmp_path: Path) -> None:
    (tmp_path / "new.en").write_text("a cat\n\n", encoding="utf-8")
    (tmp_path / "new.fr").write_text(echoed(one, ["a cat"])[0].replace("\n", "?") + "\nx\n", encoding="utf-8")
    result = call("evaluate", one, tmp_path / "new.{en,fr}", "--json", tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8")) == {"echo": {"same": 0.0}}
    assert "1 pair with an empty side left out of" in result.stderr
    assert ": line 2" in result.stderr
    call("evaluate", several, folder / "phrases.{en,fr}", "--data", "phrases")
    assert "is parallel" in fault("evaluate", one, folder / "texts.csv").what
    assert "names as a part" in fault("evaluate", one, tmp_path / "new.{en,de}").what


def test_a_model_without_its_run_knows_its_parts(folder: Path, one: Path) -> None:
    call("evaluate", one / "model", folder / "phrases.{en,fr}")


def test_a_note_tells_what_training_left_out(folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    data = DATA.replace('test = ["phrases.{en,fr}"]', "")
    recipe = runs.write_recipe(folder, tiny_encoder, ONE_EPOCH, data=data, tasks=ECHO)
    told: list[str] = []
    polyhead.train(recipe, tmp_path / "run", tell=told.append)
    path = folder / "phrases.{en,fr}"
    assert f"1 pair with an empty side left out of {path}: line 2" in told


def test_the_check_of_a_recipe(folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    recipe = runs.write_recipe(folder, tiny_encoder, "", data=DATA, tasks=ECHO)
    shown = call("data", "check", recipe, "--json", tmp_path / "x.json").stdout
    assert "phrases.{en,fr}: line" in shown.replace("\n   ", " ")
    report = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["phrases"]
    assert report["pairs"]["target"]["test"]["in_train"]["count"] == report["splits"]["train"]["examples"]
    for wrong, what in (("phrases.{en}", "one part alone, 'en'"), ("phrases.{en,}", "an empty part")):
        data = DATA.replace("phrases.{en,fr}", wrong).replace("]\n", ']\nformat = "parallel"\n', 1)
        recipe.write_text(f"{data}\n{ECHO}", encoding="utf-8")
        error = fault("data", "check", recipe)
        assert error.what.startswith(f"data.phrases.train = '{wrong}' is not right: {what}")
        assert (error.file, error.line) == (str(recipe), 3)


# --- lines ---


def test_the_other_half_of_a_parallel_corpus(one: Path, tmp_path: Path) -> None:
    """Texts in, texts out: line n belongs to line n, so that the two files are parallel."""
    texts = ["see", "", "a good cat sat", "  ", "a cat", ""]
    (tmp_path / "mono.fr").write_text("\n".join(texts) + "\n", encoding="utf-8")
    told = call("predict", one, tmp_path / "mono.fr", "--output", tmp_path / "mono.en").stderr
    lines = (tmp_path / "mono.en").read_text(encoding="utf-8").split("\n")
    answers = on_lines(echoed(one, [texts[0], texts[2], texts[4]]))
    assert lines == [answers[0], "", answers[1], "", answers[2], "", ""]
    assert "read as plain text" in told
    assert f"3 empty texts, whose line of the answers is empty too, in {tmp_path / 'mono.fr'}" in told
    pairs = list(read(tmp_path / "mono.{en,fr}", DataSpec(), {"target": Text}))
    assert [(pair.text, pair.layers["target"]) for pair in pairs] == [
        (answer, text) for answer, text in zip(answers, (texts[0], texts[2], texts[4]), strict=True)
    ]


def test_lines_from_standard_input(one: Path) -> None:
    first, second = on_lines(echoed(one, ["a cat", "see"]))
    assert call("predict", one, "--to", "text", stdin="a cat\n\nsee").stdout == f"{first}\n\n{second}\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.csv", 'text,id\na cat,1\n"",2\nsee,3\n'),
        ("in.tsv", "text\tid\na cat\t1\n\t2\nsee\t3\n"),
        ("in.jsonl", '{"text": "a cat"}\n{"text": ""}\n{"text": "see"}\n'),
        ("in.txt", "a cat\n\nsee\n"),
    ],
)
def test_lines_for_every_input(one: Path, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    first, second = on_lines(echoed(one, ["a cat", "see"]))
    call("predict", one, tmp_path / name, "--output", tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == f"{first}\n\n{second}\n"
    assert call("predict", one, tmp_path / name, "--to", "text").stdout == f"{first}\n\n{second}\n"


def test_of_parallel_files_the_first_part_is_read(one: Path, tmp_path: Path) -> None:
    (tmp_path / "in.en").write_text("a cat\n\nsee\n", encoding="utf-8")
    first, second = on_lines(echoed(one, ["a cat", "see"]))
    call("predict", one, tmp_path / "in.{en,fr}", "-o", tmp_path / "out.hyp")
    assert (tmp_path / "out.hyp").read_text(encoding="utf-8") == f"{first}\n\n{second}\n"
    (tmp_path / "in.fr").touch()
    error = fault("predict", one, tmp_path / "in.{en,fr}", "-o", tmp_path / "in.fr", "--to", "text")
    assert "both an input and the output" in error.what
    assert "no such file" in fault("predict", one, tmp_path / "in.{de,en}").what.lower()
    assert "a brace without its other one" in fault("predict", one, tmp_path / "in.{de,en").what


def test_which_task_writes_the_lines(several: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("see\n", encoding="utf-8")
    error = fault("predict", several, tmp_path / "in.txt", "-o", tmp_path / "out.txt")
    assert "Several tasks answer with a text" in error.what
    assert "--task echo or shout" in error.remedy
    call("predict", several, tmp_path / "in.txt", "-o", tmp_path / "out.txt", "--task", "shout")
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines() == on_lines(echoed(several, ["see"], "loud"))
    error = fault("predict", several, tmp_path / "in.txt", "--task", "labels")
    assert "Did you mean 'label'?" in error.remedy
    error = fault("predict", several, tmp_path / "in.txt", "--task", "label", "--to", "text")
    assert "No answer is a text" in error.what
    record = json.loads(call("predict", several, tmp_path / "in.txt", "--task", "label").stdout)
    assert record.keys() == {"text", "label"}


def test_a_model_without_texts_takes_other_endings_as_before(several: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("see\n", encoding="utf-8")
    call("predict", several, tmp_path / "in.txt", "-o", tmp_path / "out.txt", "--task", "pos")
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").startswith("# text = see\n1\tsee")
    (tmp_path / "in.fr").write_text("see\n", encoding="utf-8")
    assert "'.fr'" in fault("predict", several, tmp_path / "in.fr", "--task", "label").what


# --- tables ---


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_table_of_answers_is_read_back(one: Path, tmp_path: Path, ending: str) -> None:
    records = [
        {"text": "a cat", "id": "1", "note": 'a "quote", and\ta tab'},
        {"text": "see", "id": "2", "note": None},
        {"text": "", "id": "3", "note": "x"},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    call("predict", one, tmp_path / "in.jsonl", "-o", tmp_path / f"out.{ending}", "--confidence")
    with (tmp_path / f"out.{ending}").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream, delimiter="," if ending == "csv" else "\t"))
    assert rows[0] == ["text", "id", "note", "target", "target_confidence"]
    assert rows[1] == ["a cat", "1", 'a "quote", and\ta tab', *echoed(one, ["a cat"]), "0.5"]
    assert [row[2] for row in rows[1:]] == ['a "quote", and\ta tab', "", "x"]
    found = list(read(tmp_path / f"out.{ending}", DataSpec(), {"target": Text}))
    assert [example.layers["target"] for example in found] == echoed(one, ["a cat", "see"])


def test_what_a_row_cannot_hold(several: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\nsee\n", encoding="utf-8")
    error = fault("predict", several, tmp_path / "in.csv", "--to", "csv")
    assert "a row of CSV cannot hold" in error.what
    assert "--task echo or label or shout" in error.remedy
    assert call("predict", several, tmp_path / "in.csv", "--to", "csv", "--task", "label").stdout.startswith(
        "text,label\n"
    )
    (tmp_path / "in.jsonl").write_text('{"text": "see"}\n{"text": "see", "more": 1}\n', encoding="utf-8")
    error = fault("predict", several, tmp_path / "in.jsonl", "-o", tmp_path / "o.csv", "--task", "echo")
    assert (error.line, "a field 'more'" in error.what) == (2, True)
    partial = (tmp_path / "o.csv.partial").read_text(encoding="utf-8")
    assert [row[0] for row in csv.reader(partial.splitlines(keepends=True))] == ["text", "see"]


@pytest.mark.parametrize(
    ("content", "left"),
    [('a,b\n"x\ny",z\n"p\nq', 'a,b\n"x\ny",z\n'), ('a,"b\nc', ""), ("a,b\nc", "a,b\n"), ('"x ""\n""y",z\n', None)],
)
def test_a_row_that_was_not_finished_is_cut_off(tmp_path: Path, content: str, left: str | None) -> None:
    """Where the disk is full, say: a line end inside quotes ends no row."""
    (tmp_path / "x").write_text(content, encoding="utf-8")
    left = content if left is None else left
    assert _cut(tmp_path / "x", b"\n", quoted=True) == len(left)
    assert (tmp_path / "x").read_text(encoding="utf-8") == left


# --- the other formats ---


def test_sentences_carry_texts_as_comments(several: Path, one: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a cat\n", encoding="utf-8")
    conllu = call("predict", one, tmp_path / "in.txt", "--to", "conllu").stdout
    answer = on_lines(echoed(one, ["a cat"]))[0]
    assert f"# target = {answer}\n" in conllu
    (tmp_path / "out.conllu").write_text(conllu, encoding="utf-8")
    back = next(iter(read(tmp_path / "out.conllu", DataSpec(comments={"target": "target"}), {"target": Text})))
    assert back.layers["target"] == answer
    assert f"# target = {answer}\n" in call("predict", one, tmp_path / "in.txt", "--to", "columns").stdout
    record = json.loads(call("predict", one, tmp_path / "in.txt", "--to", "jsonl").stdout)
    assert record == {"text": "a cat", "target": echoed(one, ["a cat"])[0]}
    assert f"target: {answer} (50%)" in str(polyhead.load(one)("a cat"))


def test_only_knows_its_tasks(several: Path) -> None:
    annotator = polyhead.load(several)
    assert list(annotator.only("label")("see").answers) == ["label"]
    assert len(annotator.names) == 7
    with pytest.raises(PolyheadError, match="No task of the model that annotates is called 'pus'"):
        annotator.only("pus")
