"""The command line, mostly in this process; a few things only a process of its own can show."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import polyhead
import polyhead.answering.annotator
import polyhead.demo
import runs
from polyhead import PolyheadError
from polyhead.annotate import annotate
from polyhead.cli import app
from polyhead.data import DataSpec, Example, read

pytestmark = pytest.mark.usefixtures("light")

TABLE = """\
[data.table]
train = "texts.csv"
dev = 0.25
"""
LABEL = '[tasks.label]\ntype = "classification"\ndata = "table"\nlayer = "label"\n'
TEXTS = "text,label\n" + "".join(
    f"{row}\n" for row in ('"a good, cat",good', "bad day,bad", "so good,good", "not so bad,bad", "see,good", "no,bad")
)
ONE_EPOCH = "[[stages]]\nepochs = 1\nlearning_rate = 0.001\n"
GRAMMAR = runs.TASKS[: runs.TASKS.index("[tasks.entities]")]
UD = runs.DATA[: runs.DATA.index("[data.names]")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = runs.write_data(tmp_path_factory.mktemp("data"))
    (folder / "texts.csv").write_text(TEXTS, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def everything(folder: Path, tiny_encoder: Path) -> Path:
    recipe = runs.write_recipe(folder, tiny_encoder, ONE_EPOCH, data=runs.DATA + TABLE, tasks=runs.TASKS + LABEL)
    return polyhead.train(recipe, folder / "everything").folder


@pytest.fixture(scope="module")
def grammar(folder: Path, tiny_encoder: Path) -> Path:
    """UPOS and trees alone, so that a CoNLL-U file may change in three columns only."""
    recipe = runs.write_recipe(folder, tiny_encoder, ONE_EPOCH, data=UD, tasks=GRAMMAR)
    return polyhead.train(recipe, folder / "grammar").folder


@pytest.fixture(scope="module")
def texts(folder: Path, tiny_encoder: Path) -> Path:
    recipe = runs.write_recipe(folder, tiny_encoder, ONE_EPOCH, data=TABLE, tasks=LABEL)
    return polyhead.train(recipe, folder / "texts").folder


def call(*arguments: object, stdin: str | bytes | None = None) -> Result:
    """A command that must succeed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def fault(*arguments: object, stdin: str | bytes | None = None) -> PolyheadError:
    """The error of a command that must fail on what the user gave."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    assert isinstance(result.exception, PolyheadError), (result.output, result.exception)
    return result.exception


def misuse(*arguments: object) -> str:
    """What is said about options that the command does not know."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2
    return result.output


def process(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "polyhead", *map(str, arguments)]
    pipe = subprocess.PIPE
    options.setdefault("preexec_fn", _interruptible)
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, **options)  # type: ignore[call-overload, no-any-return]


def _interruptible() -> None:
    """A shell lets its background jobs ignore Ctrl-C, and their children would, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


# --- train ---


def test_train_and_resume(folder: Path, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = runs.write_recipe(folder, tiny_encoder, ONE_EPOCH, data=TABLE, tasks=LABEL)
    result = call("train", recipe, "--json", "scores.json")
    run = Path("runs/recipe")
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    assert json.loads(Path("scores.json").read_text(encoding="utf-8")) == scores
    assert f"{100 * scores['dev']['label']['accuracy']:.2f}" in result.output
    assert "epoch 1" in result.output
    assert "examples; 1 epoch\n" in result.output
    assert "ended after 1 epoch;" in result.output
    assert f"polyhead predict {run}" in result.output
    assert "is finished" in call("train", "--resume", run).output
    error = fault("train", recipe)
    assert "is not empty" in error.what
    assert "--resume runs/recipe" in error.remedy


def test_a_seed_on_the_command_line(folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    recipe = runs.write_recipe(folder, tiny_encoder, ONE_EPOCH, data=TABLE, tasks=LABEL)
    call("train", recipe, "--output", tmp_path / "run", "--seed", 7)
    assert polyhead.Run.open(tmp_path / "run").recipe.seed == 7
    assert "--seed" in misuse("train", recipe, "--output", tmp_path / "other", "--seed", -1)
    assert not (tmp_path / "other").exists()


def test_scores_are_shown_with_their_intervals(folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    recipe = runs.write_recipe(folder, tiny_encoder, ONE_EPOCH, data=UD, tasks=GRAMMAR)
    result = call("train", recipe, "--output", tmp_path / "run")
    run = polyhead.Run.open(tmp_path / "run")
    assert "95 % interval" in result.output
    for split in ("dev", "test"):
        for name, (low, high) in run.intervals[split]["syntax"].figures.items():
            assert re.search(rf"{name} .*{100 * low:.2f} to {100 * high:.2f}", result.output)
    (tmp_path / "run" / "intervals.json").unlink()
    assert polyhead.Run.open(tmp_path / "run").intervals == {}, "as in a run of an older polyhead"


def test_train_with_too_little_or_too_much(tmp_path: Path, texts: Path) -> None:
    assert "No recipe is given" in fault("train").what
    assert "no such recipe" in fault("train", tmp_path / "none.toml").what
    (tmp_path / "recipe.toml").touch()
    assert fault("train", tmp_path / "recpie.toml").remedy == "Did you mean 'recipe.toml'?"
    assert "--resume takes a run alone" in fault("train", tmp_path / "r.toml", "--resume", texts).what
    assert "--resume takes a run alone" in fault("train", "--resume", texts, "--seed", 1).what
    assert "no run to go on with" in fault("train", "--resume", tmp_path).what
    assert "No such option" in misuse("train", "--sed", 1)


# --- evaluate ---


def test_evaluate_a_split(everything: Path, tmp_path: Path) -> None:
    scores = polyhead.Run.open(everything).scores
    for split in ("dev", "test"):
        result = call("evaluate", everything, "--split", split, "--json", tmp_path / "s.json")
        low, high = polyhead.Run.open(everything).intervals[split]["pos"].figures["accuracy"]
        assert f"{100 * low:.2f} to {100 * high:.2f}" in result.output
        assert json.loads((tmp_path / "s.json").read_text(encoding="utf-8")) == scores[split]
        assert all(task in result.output for task in scores[split])
    train = call("evaluate", everything, "--split", "train", "--data", "table", "--json", tmp_path / "s.json")
    assert "label" in train.output
    assert set(json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))) == {"label"}


def test_evaluate_a_file(everything: Path, folder: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", everything, folder / "ud-test.conllu", "--data", "ud", "--json", tmp_path / "s.json")
    assert "ud-test.conllu" in call(*arguments).output
    assert json.loads((tmp_path / "s.json").read_text(encoding="utf-8")) == polyhead.Run.open(everything).scores["test"]
    error = fault("evaluate", everything, folder / "ud-test.conllu")
    assert "several datasets" in error.what
    assert "--data names or table or ud" in error.remedy


def test_evaluate_the_best_weights_of_a_task(everything: Path) -> None:
    call("evaluate", everything, "--best", "pos")
    error = fault("evaluate", everything, "--best", "nothing")
    assert "no best weights for 'nothing'" in error.what
    assert "pos" in error.remedy


def test_evaluate_what_is_not_there(everything: Path, texts: Path, folder: Path, tmp_path: Path) -> None:
    assert "no split" in fault("evaluate", everything, "--split", "tset").what
    assert "There is no run" in fault("evaluate", tmp_path / "none").what
    assert "No dataset of the run has a test split" in fault("evaluate", texts).what
    assert fault("evaluate", everything, "--data", "udd").remedy == "Did you mean 'ud'?"
    assert "no such file" in fault("evaluate", texts, folder / "texts.cvs.csv").what.lower()
    (tmp_path / "other.csv").write_text("text,lable\na,good\n", encoding="utf-8")
    assert "label" in fault("evaluate", texts, tmp_path / "other.csv").what
    error = fault("evaluate", texts, folder / "ud-test.conllu")
    assert "says conllu, but data.table of the run is csv" in error.what
    assert error.file is not None and error.file.endswith("ud-test.conllu")


def test_evaluate_reads_tags_by_the_scheme_of_training(tiny_encoder: Path, tmp_path: Path) -> None:
    """A file whose tags fit two schemes is read by the one that the training split has."""
    (tmp_path / "train.conll").write_text(
        "Ann I-PER\nLee I-PER\nsat O\n\nRome I-LOC\nBob I-PER\nLee B-PER\n\n", encoding="utf-8"
    )
    (tmp_path / "dev.conll").write_text("Ann B-PER\nBob I-PER\nsat O\n\n", encoding="utf-8")
    task = '[tasks.names]\ntype = "ner"\ndata = "names"\nlayer = "entities"\n'
    data = '[data.names]\nlayers = ["words", "entities"]\ntrain = "train.conll"\ndev = "dev.conll"\n'
    recipe = runs.write_recipe(tmp_path, tiny_encoder, ONE_EPOCH, data=data, tasks=task)
    run = polyhead.train(recipe, tmp_path / "run")
    assert polyhead.evaluate(run.folder, file=tmp_path / "dev.conll") == polyhead.evaluate(run.folder, split="dev")


def test_evaluate_says_what_was_left_out(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("text,label\na b,good\n\nc d,\ne f,bad\n", encoding="utf-8")
    notes = call("evaluate", texts, tmp_path / "e.csv").stderr
    assert "note: 1 empty line left out of" in notes
    assert "note: 1 of 3 examples of test have no 'label'" in notes


def test_evaluate_says_what_no_prediction_can_match(everything: Path, folder: Path, tmp_path: Path) -> None:
    gold = (folder / "ud-test.conllu").read_text(encoding="utf-8").replace("\tobj\t", "\tiobj\t")
    (tmp_path / "new.conllu").write_text(f"# alone\n\n{gold}", encoding="utf-8")
    notes = call("evaluate", everything, tmp_path / "new.conllu", "--data", "ud").stderr
    assert "block of comments without words left out" in notes
    assert "tasks.syntax: 1 word of the test split with a relation that training never" in notes


def test_evaluate_takes_a_file_or_a_split(texts: Path, folder: Path) -> None:
    assert "instead of a split" in fault("evaluate", texts, folder / "texts.csv", "--split", "dev").what


# --- predict: what goes in comes out ---


CONLLU = """\
# newdoc id = d1
# sent_id = 1
# text = Don't see the cats in Rome.
# sentiment = whatever
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\tSpan=x|Lang=en
1\tDo\tdo\tAUX\tVBP\tMood=Imp\t3\taux\t3:aux\t_
2\tn't\tnot\tPART\tRB\tPolarity=Neg\t3\tadvmod\t_\tA=1|B=2
2.1\tghost\t_\tNOUN\t_\t_\t_\t_\t3:dep\tEmpty=Yes
3\tsee\tsee\tVERB\tVB\t_\t0\troot\t_\t_
4\tthe\tthe\tDET\tDT\t_\t5\tdet\t_\t_
5\tcats\tcat\tNOUN\tNNS\tNumber=Plur\t3\tobj\t_\t_
6\tin\tin\tADP\tIN\t_\t7\tcase\t_\t_
7\tRome\tRome\tPROPN\tNNP\t_\t3\tobl\t_\tSpaceAfter=No
8\t.\t.\tPUNCT\t.\t_\t3\tpunct\t_\t_
8.1\tend\t_\t_\t_\t_\t_\t_\t_\t_

# text = 😀 e\u0301t\u200be  see
1\t😀\t_\tX\t_\t_\t0\troot\t_\tSpacesAfter=\\s
2\te\u0301t\u200be\t_\tX\t_\t_\t1\tdep\t_\t_
3\tsee\t_\t_\t_\t_\t_\t_\t_\t_

"""
PREDICTED = (3, 6, 7)


@pytest.mark.parametrize("to_file", [True, False])
def test_conllu_comes_back_but_for_what_is_predicted(grammar: Path, tmp_path: Path, to_file: bool) -> None:
    (tmp_path / "in.conllu").write_bytes(CONLLU.encode())
    if to_file:
        call("predict", grammar, tmp_path / "in.conllu", "--output", tmp_path / "out.conllu")
        out = (tmp_path / "out.conllu").read_bytes().decode()
    else:
        out = call("predict", grammar, "--from", "conllu", stdin=CONLLU.encode()).stdout_bytes.decode()
    before, after = CONLLU.split("\n"), out.split("\n")
    assert len(before) == len(after)
    changed = 0
    for old, new in zip(before, after, strict=True):
        if old[:1].isdigit() and "-" not in old.split("\t")[0] and "." not in old.split("\t")[0]:
            cells, others = old.split("\t"), new.split("\t")
            assert [c for i, c in enumerate(cells) if i not in PREDICTED] == [
                c for i, c in enumerate(others) if i not in PREDICTED
            ]
            assert "_" not in [others[i] for i in PREDICTED]
            changed += cells != others
        else:
            assert old == new
    assert changed > 5
    assert len(list(read(tmp_path / "out.conllu", DataSpec()))) == 2 if to_file else True


def test_windows_line_ends_gzip_and_a_byte_order_mark_come_in(grammar: Path, tmp_path: Path) -> None:
    plain = call("predict", grammar, "--from", "conllu", stdin=CONLLU.encode()).stdout_bytes
    (tmp_path / "in.conllu").write_bytes(b"\xef\xbb\xbf" + CONLLU.replace("\n", "\r\n").encode())
    assert call("predict", grammar, tmp_path / "in.conllu").stdout_bytes == plain
    (tmp_path / "in.conllu.gz").write_bytes(gzip.compress(CONLLU.encode()))
    assert call("predict", grammar, tmp_path / "in.conllu.gz").stdout_bytes == plain


def test_columns_keep_what_they_held(everything: Path, tmp_path: Path) -> None:
    """The column that the model predicts is replaced; others are passed on, and new ones follow."""
    (tmp_path / "in.conll").write_text("-DOCSTART-\tO\n\nAnn\tB-PER\nsaw\tO\n\nRome\tO\n", encoding="utf-8")
    out = call("predict", everything, tmp_path / "in.conll").stdout
    rows = [line.split("\t") for line in out.split("\n") if line and not line.startswith("#")]
    assert [row[0] for row in rows if row[0] != "-DOCSTART-"] == ["Ann", "saw", "Rome"]
    assert all(len(row) == 5 for row in rows if row[0] != "-DOCSTART-"), "words, entities, UPOS, head, relation"
    (tmp_path / "wide.conll").write_text("1 Ann x\n2 saw y\n\n3 Rome z\n", encoding="utf-8")
    (tmp_path / "words.conll").write_text("Ann\nsaw\n\nRome\n", encoding="utf-8")
    words = call("predict", everything, tmp_path / "words.conll").stdout
    assert [line.split("\t")[0] for line in words.split("\n") if line and line[0] != "#"] == ["Ann", "saw", "Rome"]
    wide = call("predict", everything, tmp_path / "wide.conll").stdout
    cells = [line.split("\t")[:3] for line in wide.split("\n") if line and line[0] != "#"]
    assert cells == [["1", "Ann", "x"], ["2", "saw", "y"], ["3", "Rome", "z"]]


def test_text_to_each_output(everything: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("The cats sat. See Rome!\n\n   \nAnn sat\n", encoding="utf-8")
    conllu = call("predict", everything, tmp_path / "in.txt").stdout
    assert [line for line in conllu.split("\n") if line.startswith("# text")] == [
        "# text = The cats sat.",
        "# text = See Rome!",
        "# text = Ann sat",
    ]
    columns = call("predict", everything, tmp_path / "in.txt", "--to", "columns").stdout
    assert [line.split("\t")[0] for line in columns.split("\n") if line[:1].isalpha()] == [
        *("The", "cats", "sat", "See", "Rome", "Ann", "sat")
    ]
    jsonl = call("predict", everything, tmp_path / "in.txt", "--to", "jsonl").stdout
    records = [json.loads(line) for line in jsonl.splitlines()]
    assert [record["text"] for record in records] == ["The cats sat. See Rome!", "Ann sat"]
    assert [len(record["sentences"]) for record in records] == [2, 1]
    assert "label_confidence" not in records[0]
    call("predict", everything, tmp_path / "in.txt", "-o", tmp_path / "out.jsonl", "--confidence")
    first = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert 0 <= first["label_confidence"] <= 1
    assert first["label"] == records[0]["label"]


def test_standard_input_is_text(texts: Path) -> None:
    given = ["a cat", "😀", "\u200b", "e\u0301", "x" * 5000, 'quoted "text"', "tab\there", "nel\u0085 ls\u2028 end"]
    out = call("predict", texts, stdin=("\n\n".join(given) + "\n").encode()).stdout_bytes.decode()
    records = [json.loads(line) for line in out.split("\n") if line]
    assert [record["text"] for record in records] == given
    assert all(record["label"] in ("good", "bad") for record in records)
    assert call("predict", texts, "-", stdin=b"a cat").stdout == call("predict", texts, stdin=b"a cat\n").stdout


@pytest.mark.parametrize("given", [b"", b"\n", b" \n\t\n\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("to", ["conllu", "columns", "jsonl"])
def test_nothing_in_nothing_out(everything: Path, given: bytes, to: str) -> None:
    result = call("predict", everything, "--to", to, stdin=given)
    assert result.stdout == ""
    assert "note: there is no text in <stdin>" in result.stderr


def test_tables_in(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('id,text,label\n7,"two\nlines, one text",bad\n8,see,x\n', encoding="utf-8")
    (tmp_path / "in.tsv").write_text("id\ttext\n7\tso good\n", encoding="utf-8")
    (tmp_path / "in.jsonl").write_text('{"n": 1, "text": "caf\\u00e9", "tags": ["a"]}\n', encoding="utf-8")
    out = call("predict", texts, tmp_path / "in.csv", tmp_path / "in.tsv", tmp_path / "in.jsonl").stdout
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["text"] for record in records] == ["two\nlines, one text", "see", "so good", "café"]
    assert [record.get("id") for record in records] == ["7", "8", "7", None]
    assert all(record["label"] in ("good", "bad") for record in records), "predicted, not what the file said"
    assert "café" in out, "letters stay readable"


def test_the_column_of_the_text(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("body,other\na cat,b\n", encoding="utf-8")
    error = fault("predict", texts, tmp_path / "in.csv")
    assert "no column 'text'" in error.what
    assert "body" in error.remedy
    record = json.loads(call("predict", texts, tmp_path / "in.csv", "--text", "body").stdout)
    assert record["text"] == "a cat"
    both = json.loads(call("predict", texts, tmp_path / "in.csv", "--text", "body", "--pair", "other").stdout)
    assert (both["text"], both["pair"]) == ("a cat", "b")


def test_single_texts_are_no_pairs(folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("text\tpair\tsame\na cat\ta dog\tno\nsee\tsee\tyes\n" * 4)
    data = '[data.pairs]\ntrain = "train.tsv"\ndev = "dev.tsv"\nlayers = ["text", "pair", "same"]\nheader = true\n'
    task = '[tasks.same]\ntype = "classification"\ndata = "pairs"\nlayer = "same"\n'
    recipe = tmp_path / "pairs.toml"
    recipe.write_text(f'encoder = "{tiny_encoder}"\n[[stages]]\nepochs = 1\n{data}{task}', encoding="utf-8")
    call("train", recipe, "--output", tmp_path / "run")
    (tmp_path / "single.txt").write_text("see\na cat\n")
    note = "2 texts without the second text that tasks.same learnt from"
    assert note in call("predict", tmp_path / "run", tmp_path / "single.txt").stderr
    assert note not in call("predict", tmp_path / "run", tmp_path / "dev.tsv").stderr


def test_parquet_in(texts: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    parquet.write_table(arrow.table({"text": ["a cat", "see"]}), tmp_path / "in.parquet")
    out = call("predict", texts, tmp_path / "in.parquet").stdout
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["a cat", "see"]


def test_several_files_make_one_output(grammar: Path, tmp_path: Path, folder: Path) -> None:
    call("predict", grammar, folder / "ud-test.conllu", folder / "ud-dev.conllu", "-o", tmp_path / "out.conllu")
    words = [e.words for file in ("ud-test", "ud-dev") for e in read(folder / f"{file}.conllu", DataSpec())]
    assert [example.words for example in read(tmp_path / "out.conllu", DataSpec())] == words


def test_text_only_models_write_words_where_the_output_needs_them(texts: Path) -> None:
    out = call("predict", texts, "--to", "conllu", stdin=b"A cat. See\n").stdout
    assert [line for line in out.split("\n") if line.startswith("#")][1].startswith("# label = ")
    assert out.count("# label") == 1, "an answer for the whole text stands at its first sentence"
    assert [line.split("\t")[1] for line in out.split("\n") if line[:1].isdigit()] == ["A", "cat", ".", "See"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\nso good,good\n,bad\nbad day,bad\n"),
        ("b.csv", "text,label\nso good,\n,\nbad day,\n"),
        ("a.tsv", "text\tlabel\nso good\t\n\t\nbad day\t\n"),
        ("a.jsonl", '{"text": "so good"}\n{"text": null}\n{"text": "bad day"}\n'),
    ],
)
def test_an_empty_text_keeps_its_place(texts: Path, tmp_path: Path, name: str, content: str) -> None:
    """Answers are joined to texts by their order, so none may be missing; that one is empty is said."""
    (tmp_path / name).write_text(content, encoding="utf-8")
    result = call("predict", texts, tmp_path / name)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["text"] for answer in answers] == ["so good", "", "bad day"]
    assert "note: 1 empty text, whose answers mean nothing, in" in result.stderr
    assert name in result.stderr
    conllu = call("predict", texts, tmp_path / name, "--to", "conllu")
    assert conllu.stdout.count("# text = ") == 2
    assert "note: 1 empty text left out of the answers for" in conllu.stderr


def test_what_is_left_out_is_said(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("so good\n\nbad day\n\n", encoding="utf-8")
    result = call("predict", texts, tmp_path / "a.txt")
    assert len(result.stdout.splitlines()) == 2
    assert "note: 2 empty lines left out of" in result.stderr


# --- predict: what can go wrong ---


def test_broken_input_keeps_what_was_finished(grammar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polyhead.answering.annotator, "CHUNK_TEXTS", 1)
    broken = CONLLU + "1\tbroken line\n\n"
    (tmp_path / "in.conllu").write_bytes(broken.encode())
    (tmp_path / "out.conllu").write_text("old", encoding="utf-8")
    error = fault("predict", grammar, tmp_path / "in.conllu", "-o", tmp_path / "out.conllu")
    assert error.file == str(tmp_path / "in.conllu")
    assert error.line == CONLLU.count("\n") + 1
    partial = tmp_path / "out.conllu.partial"
    assert str(partial) in str(error)
    assert len(list(read(partial, DataSpec(format="conllu")))) == 2, "both good sentences"
    assert (tmp_path / "out.conllu").read_text(encoding="utf-8") == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.conllu", "out.conllu", "out.conllu.partial"]


def test_a_fault_in_a_chunk_keeps_the_answers_before_it(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n{"text":\n', encoding="utf-8")
    output, partial = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    assert fault("predict", texts, tmp_path / "in.jsonl", "-o", output).line == 3
    kept = partial.read_text(encoding="utf-8")
    assert [json.loads(line)["text"] for line in kept.splitlines()] == ["one", "two"]
    result = CliRunner().invoke(app, ["predict", str(texts), str(tmp_path / "in.jsonl")])
    assert result.stdout == kept, "to the terminal too"
    (tmp_path / "in.jsonl").write_text('{"text":\n', encoding="utf-8")
    assert ".partial" not in str(fault("predict", texts, tmp_path / "in.jsonl", "-o", output))
    assert partial.read_text(encoding="utf-8") == kept, "nothing was finished, so an older one stays"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl.partial"]


@pytest.mark.parametrize("ending", ["conllu", "jsonl"])
def test_a_full_disk_keeps_what_was_finished(texts: Path, tmp_path: Path, ending: str) -> None:
    """A limit on the size of a file stands for the full disk. What is kept ends with a whole answer."""
    resource = pytest.importorskip("resource")
    (tmp_path / "in.txt").write_text("a cat sat\n" * 400, encoding="utf-8")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        error = fault("predict", texts, tmp_path / "in.txt", "-o", tmp_path / f"out.{ending}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    partial = tmp_path / f"out.{ending}.partial"
    assert "Cannot write: File too large" in error.what
    assert error.remedy == f"Make room, or choose another place.\n  What was finished before the fault is in {partial}."
    kept = list(read(partial, DataSpec(format=ending)))  # type: ignore[arg-type]
    assert 50 < len(kept) < 400
    assert partial.read_text(encoding="utf-8").endswith("}\n" if ending == "jsonl" else "\n\n")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("finished", [0, 2])
def test_ctrl_c_keeps_what_was_finished(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: int
) -> None:
    real = polyhead.Annotator.stream

    def stream(self: polyhead.Annotator, examples: Iterable[Example], **how: Any) -> Iterator[polyhead.Doc]:
        yield from islice(real(self, examples, **how), finished)
        raise KeyboardInterrupt

    monkeypatch.setattr(polyhead.Annotator, "stream", stream)
    (tmp_path / "in.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["predict", str(texts), str(tmp_path / "in.txt"), "-o", str(tmp_path / "o.jsonl")])
    assert result.exit_code == 130
    partial = tmp_path / "o.jsonl.partial"
    assert result.stderr.strip() == "Stopped." + f" What was finished is in {partial}." * bool(finished)
    assert partial.exists() == bool(finished)
    assert not finished or len(partial.read_text(encoding="utf-8").splitlines()) == finished
    assert not (tmp_path / "o.jsonl").exists()


def test_where_answers_go(texts: Path, tmp_path: Path) -> None:
    """Into what a link leads to, into a pipe, but never over an input."""
    (tmp_path / "in.txt").write_text("a cat\n", encoding="utf-8")
    answer = call("predict", texts, tmp_path / "in.txt").stdout_bytes
    (tmp_path / "link.jsonl").symlink_to("there.jsonl")
    call("predict", texts, tmp_path / "in.txt", "-o", tmp_path / "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "there.jsonl").read_bytes() == answer
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    call("predict", texts, tmp_path / "in.txt", "-o", tmp_path / "pipe")
    assert os.read(reader, 1000) == answer
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "same").symlink_to("in.txt")
    for output in ("in.txt", "same"):
        error = fault("predict", texts, tmp_path / "in.txt", "-o", tmp_path / output, "--to", "jsonl")
        assert "both an input and the output" in error.what
    assert (tmp_path / "in.txt").read_text(encoding="utf-8") == "a cat\n"


def test_inputs_that_cannot_be_meant(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.conllu").mkdir()
    assert "go into a folder" in fault("predict", texts, tmp_path / "x.conllu").what
    assert "named twice" in fault("predict", texts, "-", "-", stdin=b"x").what
    for option in ("--text", "--pair"):
        assert "text has none" in fault("predict", texts, option, "body", stdin=b"x").what
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(PolyheadError, match="Standard input is closed"):
        annotate(texts, [Path("-")], None)


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "RUN", "texts.csv", "-o", "texts.csv/y.jsonl"],
        ["train", "recipe.toml", "-o", "texts.csv/run"],
        ["train", "recipe.toml", "-o", "run", "--json", "texts.csv/a.json"],
        ["evaluate", "RUN", "--json", "texts.csv/a.json"],
        ["data", "check", "recipe.toml", "--json", "texts.csv/a.json"],
        ["demo", "-o", "run", "--json", "texts.csv/a.json"],
        ["demo", "-o", "texts.csv/run"],
        ["new", "texts.csv", "-o", "texts.csv/r.toml"],
    ],
)
def test_a_place_is_seen_to_before_the_work(
    texts: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(folder / "texts.csv", tmp_path)
    shutil.copy(folder / "recipe.toml", tmp_path)
    error = fault(*[str(texts) if word == "RUN" else word for word in command])
    assert error.what == "Cannot write: Not a directory."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.toml", "texts.csv"]


def test_bytes_that_are_no_utf8(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"good\nna\xefve\n")
    error = fault("predict", texts, tmp_path / "in.txt", "-o", tmp_path / "out.jsonl")
    assert (error.file, error.line) == (str(tmp_path / "in.txt"), 2)


def test_wrong_names_and_formats(everything: Path, tmp_path: Path) -> None:
    assert "There is no run" in fault("predict", tmp_path / "none", stdin=b"x").what
    assert "no such file" in fault("predict", everything, tmp_path / "none.txt").what.lower()
    assert "no such file" in fault("predict", everything, tmp_path / "folder.txt" / "x.txt").what.lower()
    assert fault("predict", everything, "--from", "conlu").remedy == "Did you mean 'conllu'?"
    assert fault("predict", everything, "--to", "json").remedy == "Did you mean 'jsonl'?"
    (tmp_path / "in.doc").touch()
    assert "'.doc'" in fault("predict", everything, tmp_path / "in.doc").what
    assert "Is a directory" in fault("predict", everything, "-o", tmp_path, stdin=b"x").what
    assert "not written as .gz" in fault("predict", everything, "-o", tmp_path / "out.csv.gz", stdin=b"x").what
    assert "a row of CSV cannot hold" in fault("predict", everything, "-o", tmp_path / "out.csv", stdin=b"x").what
    assert "no best weights" in fault("predict", everything, "--best", "poss", stdin=b"x").what
    assert "No such option" in misuse("predict", everything, "--form", "text")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("format_", "content"),
    [("text", "a cat\n"), ("tsv", "text\na cat\n"), ("csv", "text\na cat\n"), ("columns", "a\tO\ncat\tO\n\n")],
)
def test_a_named_pipe_is_a_file_too(everything: Path, tmp_path: Path, format_: str, content: str) -> None:
    """As a shell makes one of <(zcat texts.gz). It can be read once."""
    import threading

    os.mkfifo(tmp_path / "pipe")

    def feed() -> None:
        (tmp_path / "pipe").write_text(content, encoding="utf-8")

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    out = call("predict", everything, tmp_path / "pipe", "--from", format_, "--to", "jsonl").stdout
    thread.join(timeout=10)
    record = json.loads(out)
    assert record.get("text", "a cat") == "a cat"
    assert record.get("words", ["a", "cat"]) == ["a", "cat"]


def test_gold_of_an_input_does_not_change_its_sentences(everything: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "Ann saw. Bob went.", "names": [[0, 2, "PER"]]}\n', encoding="utf-8")
    out = call("predict", everything, tmp_path / "in.jsonl", "--to", "conllu").stdout
    assert [line for line in out.split("\n") if line.startswith("# text")] == [
        "# text = Ann saw.",
        "# text = Bob went.",
    ]
    record = json.loads(call("predict", everything, tmp_path / "in.jsonl").stdout)
    assert (record["names"], len(record["sentences"])) == ([[0, 2, "PER"]], 2)


# --- the other commands ---


def test_data_check_and_new(folder: Path, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = runs.write_recipe(folder, tiny_encoder, ONE_EPOCH, data=TABLE, tasks=LABEL)
    assert "table" in call("data", "check", recipe, "--json", tmp_path / "c.json").output
    assert set(json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))) == {"table"}
    monkeypatch.chdir(tmp_path)
    call("new", folder / "texts.csv", "-o", "new.toml")
    assert str(folder / "texts.csv") in Path("new.toml").read_text(encoding="utf-8")
    assert "such a file already" in fault("new", folder / "texts.csv", "-o", "new.toml").what


@pytest.mark.parametrize(
    ("wrong", "what", "at"),
    [
        ('encoder = "minlm"\n', "There is no encoder 'minlm'", "encoder ="),
        ('encoder = "./none"\n', "There is no encoder folder", "encoder ="),
        ('[encoder]\nwindow = 9\nname = "minlm"\n', "There is no encoder 'minlm'", "name ="),
        ('[encoder]\nname = "TINY"\nwindow = 4096\n', "encoder.window = 4096 does not fit", "window ="),
        ('encoder = { name = "TINY", window = 2 }\n', "encoder.window = 2 does not fit", "encoder ="),
        ('encoder = "TINY"\ndevice = "cpuu"\n', "device = 'cpuu' is not to be had here", "device ="),
        ('encoder = "TINY"\n[[stages]]\n[[stages]]\npatience = 3\n', "stages[2].patience = 3, but none", "patience ="),
    ],
)
def test_data_check_finds_what_training_would(
    folder: Path, tiny_encoder: Path, tmp_path: Path, wrong: str, what: str, at: str
) -> None:
    data = f'[data.table]\ntrain = "{folder / "texts.csv"}"\n'
    text = wrong.replace("TINY", str(tiny_encoder)) + data + LABEL
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text, encoding="utf-8")
    error = fault("data", "check", recipe)
    assert error.what.startswith(what)
    assert error.remedy
    assert error.file == str(recipe)
    assert text.split("\n")[(error.line or 0) - 1].startswith(at)
    assert str(fault("train", recipe, "--output", tmp_path / "run")) == str(error)
    assert not (tmp_path / "run").exists()


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("command", "stopped"),
    [
        ("evaluate RUN", "polyhead.cli.shared.TyperGroup.make_context"),
        ("evaluate RUN", "polyhead.training.run.assess"),
        ("predict RUN", "polyhead.annotate.load"),
        ("predict RUN", "polyhead.data.text.opened"),
        ("data check RECIPE", "polyhead.training.look.check"),
        ("new DATA -o OUT/new.toml", "polyhead.data.guess.guess"),
    ],
)
def test_ctrl_c_says_that_it_stopped(
    texts: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, stopped: str
) -> None:
    monkeypatch.setattr(stopped, stop)
    paths = {"RUN": texts, "RECIPE": texts / "recipe.toml", "DATA": folder / "texts.csv", "OUT": tmp_path}
    for name, path in paths.items():
        command = command.replace(name, str(path))
    result = CliRunner().invoke(app, command.split(), input="one\n")
    assert result.exit_code == 130
    assert result.stderr == "\nStopped.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("stopped", "said"),
    [
        ("polyhead.demo.load_recipe", "Nothing was trained yet."),
        ("polyhead.training.start._finish", "Go on with: polyhead train --resume runs/demo"),
        ("polyhead.demo.load", "The run runs/demo is finished."),
    ],
)
def test_ctrl_c_in_the_demo_says_what_is_left(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: str, said: str
) -> None:
    """The demo's own recipe would take minutes; that of the tests stands for it."""
    recipe = polyhead.load_recipe(texts / "recipe.toml")
    monkeypatch.setattr(polyhead.demo, "load_recipe", lambda _: recipe)
    monkeypatch.setattr(stopped, stop)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 130
    assert result.stderr.endswith(f"\nStopped. {said}\n")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    if "--resume" in said:
        call(*said.removeprefix("Go on with: polyhead ").split())
        assert polyhead.Run.open("runs/demo").scores


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["predict"], ["data", "check"], ["new"], ["demo"]])
def test_help_has_an_example(command: list[str]) -> None:
    out = call(*command, "--help").output
    assert "Usage:" in out
    if command:
        assert f"Example: polyhead {' '.join(command)}" in out


# --- processes of their own ---


def test_help_and_version_do_not_wait_for_torch() -> None:
    code = "import sys; from polyhead.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    for option in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-c", code, option], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert done.stdout.rstrip().endswith("False")
    assert polyhead.__version__ in done.stdout


def test_a_fault_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").touch()
    done = process("new", tmp_path / "data.csv", "-o", tmp_path / "recipe.toml")
    out, err = done.communicate(timeout=60)
    assert done.returncode == 1
    assert out == b""
    assert err.decode().splitlines() == [
        f"error: {tmp_path}/recipe.toml: There is such a file already.",
        "  Choose another --output.",
    ]


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("--version >&-", 1, "error: Standard output is closed."),
        ("--version > /dev/full", 1, "error: No space left on device."),
        ("new none.csv 2>&-", 1, ""),
        ("new data.csv -o é.toml", 0, ""),
        (f"new data.csv -o {'x' * 300}", 1, "File name too long."),
        (f"new {'x' * 300}.csv -o new.toml", 1, "File name too long"),
        ("new data.csv -o new.toml && cd gone && rmdir ../gone && $polyhead --version", 0, ""),
        ("--version && cd gone && rmdir ../gone && $polyhead new data.csv", 1, "The current folder is gone"),
    ],
)
def test_streams_and_paths_that_the_system_refuses(tmp_path: Path, command: str, code: int, said: str) -> None:
    if "/dev/full" in command and not Path("/dev/full").exists():
        pytest.skip("only Linux has /dev/full")
    (tmp_path / "gone").mkdir()
    (tmp_path / "data.csv").write_text(TEXTS, encoding="utf-8")
    environment = os.environ | {"polyhead": f"{sys.executable} -m polyhead", "PYTHONIOENCODING": "ascii"}
    shell = ["sh", "-c", f"$polyhead {command}"]
    done = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert said in done.stderr
    assert done.stderr == "" or said


def test_a_reader_that_has_enough_ends_it_quietly(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a cat\n" * 5_000, encoding="utf-8")
    done = process("predict", texts, tmp_path / "in.txt")
    assert done.stdout is not None
    assert done.stderr is not None
    assert json.loads(done.stdout.readline())["text"] == "a cat"
    done.stdout.close()
    assert done.stderr.read() == b""
    assert done.wait(timeout=60) != -signal.SIGPIPE


def test_ctrl_c_says_how_to_go_on(folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    stages = ONE_EPOCH.replace("epochs = 1", "epochs = 4000")
    recipe = runs.write_recipe(folder, tiny_encoder, stages, data=TABLE, tasks=LABEL)
    done = process("train", recipe, "-o", tmp_path / "run")
    log = tmp_path / "run" / "log.jsonl"
    until = time.monotonic() + 300  # a busy machine takes its time to import and to begin
    while not (log.exists() and (tmp_path / "run" / "best").exists()) and time.monotonic() < until:
        time.sleep(0.05)
    assert log.exists(), "the run has not begun"
    done.send_signal(signal.SIGINT)
    _, err = done.communicate(timeout=120)
    assert done.returncode == 130
    assert err.decode().rstrip().endswith(f"Stopped. Go on with: polyhead train --resume {tmp_path / 'run'}")
    assert "Traceback" not in err.decode()
    assert list((tmp_path / "run" / "checkpoints").iterdir()), "nothing is lost"


# --- models ---


def test_separate(everything: Path, tmp_path: Path) -> None:
    result = call("separate", everything, "--output", tmp_path / "models")
    assert f"entities: {tmp_path / 'models' / 'entities'}" in result.output
    answers = call("predict", tmp_path / "models" / "entities", "--to", "jsonl", stdin="Ann saw Bob\n").stdout
    assert set(json.loads(answers)["sentences"][0]) == {"text", "words", "entities"}
    assert "is not empty" in fault("separate", everything, "--output", tmp_path / "models").what
    assert "Missing option" in misuse("separate", everything)


def test_push_with_too_little(texts: Path, tmp_path: Path) -> None:
    assert "'name' is no id on the Hub" in fault("push", texts, "name").what
    assert "There is no run" in fault("push", tmp_path / "none", "owner/name").what
    assert "Missing argument" in misuse("push", texts)


def test_the_hub_is_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = fault("predict", "owner/name", stdin="a text\n")
    assert "The Hub cannot be reached, so owner/name cannot be fetched" in error.what


def test_an_option_of_several_values_wants_one() -> None:
    done = CliRunner().invoke(app, ["advise", "recipe.toml", "--target", "pos", "--encoders", "--sources", "a"])
    assert done.exit_code == 2 and "--encoders is followed by no name" in done.output


def test_values_of_a_study_with_spaces_are_told_to_take_commas() -> None:
    done = CliRunner().invoke(app, ["study", "recipe.toml", "--target", "pos", "--sizes", "20", "all", "--seeds", "2"])
    assert done.exit_code == 2 and "(all). Values of an option go with commas: --sizes 100,500,all" in done.output
    done = CliRunner().invoke(app, ["study", "recipe.toml", "--target", "pos", "--nothing"])
    assert done.exit_code == 2 and "--nothing" in done.output and "commas" not in done.output
