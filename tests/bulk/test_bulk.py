"""Folders of files: the same answers as file by file, nothing done twice, and faults told with their files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import polyhead
import polyhead.bulk.run as run_module
import runs
from bulk.folders import answers_of, bulk, plainly, small_parts, texts, trained, write_inputs
from polyhead.bulk.jobs import Job, Outcome
from polyhead.bulk.work import Answerer
from polyhead.claim import claimed
from polyhead.errors import PolyheadError
from test_cli import call, fault

pytestmark = pytest.mark.usefixtures("light", "parts")


@pytest.fixture(scope="module")
def parts() -> Iterator[None]:
    with small_parts():
        yield


@pytest.fixture(scope="module")
def run(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words and whole texts."""
    return trained(tiny_encoder, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def moods(run: Path, tiny_encoder: Path) -> Path:
    """Whole texts alone."""
    (run.parent / "texts.tsv").write_text("text\tlabel\na good cat\tgood\na bad day .\tbad\n", encoding="utf-8")
    data = '[data.table]\ntrain = "texts.tsv"\n'
    tasks = '[tasks.label]\ntype = "classification"\ndata = "table"\nlayer = "label"\n'
    stages = "[[stages]]\nepochs = 1\n"
    recipe = runs.write_recipe(run.parent, tiny_encoder, stages, data=data, tasks=tasks, name="moods.toml")
    return polyhead.train(recipe, run.parent / "moods").folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs") / "in")


@pytest.fixture(scope="module")
def expected(run: Path, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return plainly(run, inputs, tmp_path_factory.mktemp("plain"))


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The parts that are answered, as they are."""
    found: list[tuple[str, int]] = []
    real = Answerer._answer

    def answer(self: Answerer, job: Job) -> Outcome:
        found.append((job.name, job.number))
        return real(self, job)

    monkeypatch.setattr(Answerer, "_answer", answer)
    return found


def test_the_answers_are_those_of_each_file_alone(
    run: Path, inputs: Path, expected: dict[str, bytes], tmp_path: Path, done: list[tuple[str, int]]
) -> None:
    steps: list[tuple[int, int, float]] = []
    said: list[str] = []
    found = bulk(
        run,
        inputs,
        tmp_path / "out",
        watch=lambda step: steps.append((step.done, step.texts, step.read)),
        tell=said.append,
    )
    assert answers_of(tmp_path / "out") == expected
    assert len(set(done)) == len(done) and len([name for name, _ in done if name == "a.jsonl"]) == 3
    assert {number for name, number in done if name.startswith("deep/deeper")} == {0, 1}, "a gzip file has parts, too"
    assert (found.files, found.done, found.texts, found.failed) == (6, 6, 70 + 40 + 50 + 35 + 40, {})
    assert steps == sorted(steps) and steps[-1][2] == pytest.approx(found.size)
    assert "1 file whose suffix is of no format left out, as notes.md (--from reads all files as of one)" in said
    assert f"1 empty line left out of {inputs / 'deep/b.txt'}" in said
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["inputs"]["a.jsonl"]["texts"] == 70 and len(manifest["inputs"]["a.jsonl"]["sha256"]) == 64


def test_a_second_call_does_only_what_is_missing(
    run: Path, inputs: Path, expected: dict[str, bytes], tmp_path: Path, done: list[tuple[str, int]]
) -> None:
    bulk(run, inputs, tmp_path / "out")
    done.clear()
    again = bulk(run, inputs, tmp_path / "out")
    assert (done, again.before, again.texts) == ([], 6, 0)
    (tmp_path / "out" / "e.conllu").unlink()
    bulk(run, inputs, tmp_path / "out")
    assert {name for name, _ in done} == {"e.conllu"} and answers_of(tmp_path / "out") == expected


def test_files_may_be_added_and_touched(run: Path, tmp_path: Path, done: list[tuple[str, int]]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text("one\n" * 200, encoding="utf-8")
    bulk(run, folder, tmp_path / "out")
    done.clear()
    os.utime(folder / "a.txt", (1, 1))
    (folder / "b.txt").write_text("two\n", encoding="utf-8")
    bulk(run, folder, tmp_path / "out")
    assert [name for name, _ in done] == ["b.txt"]


def test_other_inputs_or_options_are_refused(run: Path, moods: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.txt").write_text("one\n", encoding="utf-8")
    bulk(run, folder, out)
    for more, what in (
        ({"confidence": True, "to_format": "jsonl"}, "--confidence differs"),
        ({"to_format": "jsonl"}, "--to differs"),
        ({"task": "mood"}, "--task differs"),
    ):
        with pytest.raises(PolyheadError, match=what):
            bulk(run, folder, out, **more)
    with pytest.raises(PolyheadError, match="The answers in this folder are another model's"):
        bulk(moods, folder, out, to_format=None)
    (folder / "a.txt").write_text("two\n", encoding="utf-8")
    with pytest.raises(PolyheadError, match=r"a\.txt: This file has changed since it was answered") as error:
        bulk(run, folder, out)
    assert f"rm {out / 'a.conllu'}" in error.value.remedy
    (out / "a.conllu").unlink()
    bulk(run, folder, out)
    assert "two" in (out / "a.conllu").read_text(encoding="utf-8")


def test_a_bad_file_does_not_keep_the_others(run: Path, tmp_path: Path, done: list[tuple[str, int]]) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    lines = [json.dumps({"text": text}) + "\n" for text in texts(60)]
    (folder / "good.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "bad.jsonl").write_text("".join([*lines[:50], "{\n"]), encoding="utf-8")
    (folder / "small.jsonl").write_text('{"no": "text"}\n', encoding="utf-8")
    error = fault("predict", run, folder, "-o", out)
    assert error.what.startswith("2 of 3 files have no answers:")
    assert f"{folder / 'bad.jsonl'}:51: not JSON" in error.what
    assert f"{folder / 'small.jsonl'}:1: no text: the record has no field 'text'" in error.what
    assert sorted(answers_of(out)) == ["good.jsonl"]
    done.clear()
    (folder / "bad.jsonl").write_text("".join(lines[:50]), encoding="utf-8")
    (folder / "small.jsonl").unlink()
    result = call("predict", run, folder, "-o", out)
    assert "Answered 1 file, 50 texts" in result.stderr and "1 file had been answered before" in result.stderr
    assert {name for name, _ in done} == {"bad.jsonl"} and len(answers_of(out)) == 2


def test_a_full_disk_ends_it_and_it_goes_on(
    run: Path, inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
    try:
        with pytest.raises(PolyheadError, match="Cannot write: File too large"):
            bulk(run, inputs, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "out").rglob("*.unfinished*"))
    bulk(run, inputs, tmp_path / "out")
    assert answers_of(tmp_path / "out") == expected


def test_tables_name_their_columns_once(moods: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts(70)), encoding="utf-8")
    bulk(moods, folder, tmp_path / "out", to_format="csv")
    call("predict", moods, folder / "a.jsonl", "-o", tmp_path / "a.csv")
    assert (tmp_path / "out" / "a.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()


@pytest.mark.parametrize("model", ["run", "moods"])
def test_parquet_keeps_its_columns(model: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = tmp_path / "in"
    folder.mkdir()
    columns = {"id": list(range(100)), "text": [*texts(98), None, "  "], "raw": [b"x"] * 100}
    parquet.write_table(arrow.table(columns), folder / "a.parquet", row_group_size=30)
    chosen = request.getfixturevalue(model)
    bulk(chosen, folder, tmp_path / "out", confidence=True)
    call("predict", chosen, folder / "a.parquet", "-o", tmp_path / "a.parquet", "--confidence")
    assert (tmp_path / "out" / "a.parquet").read_bytes() == (tmp_path / "a.parquet").read_bytes()
    table = parquet.read_table(tmp_path / "out" / "a.parquet").to_pylist()
    assert [{key: row[key] for key in columns} for row in table] == arrow.table(columns).to_pylist()
    jsonl = call("predict", chosen, folder / "a.parquet", "--confidence").stdout.splitlines()
    for row, line in zip(table, map(json.loads, jsonl), strict=True):
        assert {key: row[key] for key in line if key != "text"} == {key: line[key] for key in line if key != "text"}


def test_parquet_wants_a_file_and_columns(moods: Path, inputs: Path, tmp_path: Path) -> None:
    error = fault("predict", moods, inputs / "a.jsonl", "-o", tmp_path / "a.parquet")
    assert error.what == "Answers are written as Parquet beside the columns of a Parquet file, and this one is jsonl."
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(arrow.table({"text": ["a"]}), tmp_path / "b.parquet")
    assert "Parquet is written to a file" in str(fault("predict", moods, tmp_path / "b.parquet", "--to", "parquet"))


def test_folders_that_cannot_be_meant(run: Path, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("", encoding="utf-8")
    (tmp_path / "none").mkdir()
    for arguments, what in (
        ([inputs], "The answers for a folder of files go into a folder"),
        ([inputs, "-o", inputs], "both the folder of inputs and that of answers"),
        ([inputs, "-o", inputs / "out"], "The answers would lie among the inputs"),
        ([inputs, "-o", inputs.parent], "The inputs lie in the folder of answers"),
        ([inputs, "-o", tmp_path / "file"], "a folder of answers is wanted"),
        ([inputs, "-o", tmp_path / "full"], "This folder is not empty"),
        ([inputs, "-o", tmp_path / "out", "--on", "moon"], "--on moon is no place to work"),
        ([inputs, "-o", tmp_path / "out", "--workers", "0"], "--workers 0 is too few"),
        ([inputs, "-o", tmp_path / "out", "--to", "nonsense"], "--to nonsense is no format"),
        ([inputs, "-o", tmp_path / "out", "--to", "csv"], "a row of CSV cannot hold"),
        ([inputs, "-o", tmp_path / "out", "--from", "parallel"], "--from parallel is of single files"),
        ([tmp_path / "none", "-o", tmp_path / "out"], "no file in this folder that can be read"),
        ([inputs / "a.jsonl", "--workers", "2"], "--workers and --on are for a folder of files"),
        ([inputs, inputs / "a.jsonl", "-o", tmp_path / "out"], "This is a folder, not a file"),
    ):
        assert what in str(fault("predict", run, *arguments)), arguments
    assert not (tmp_path / "out").exists()


def test_answers_of_one_name_are_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "a.conllu"):
        (tmp_path / "in" / name).write_text("", encoding="utf-8")
    with pytest.raises(PolyheadError, match=r"would be called a\.conllu, and so would those of a\.conllu"):
        bulk(run, tmp_path / "in", tmp_path / "out")


def test_one_call_at_a_time(run: Path, inputs: Path, tmp_path: Path) -> None:
    with claimed(tmp_path / "out" / ".polyhead"), pytest.raises(PolyheadError, match="Another process works on"):
        bulk(run, inputs, tmp_path / "out")


def test_a_later_call_computes_in_the_first_ones_precision(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bf16 is taken where a measurement says so, which may say otherwise next time."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("one\n", encoding="utf-8")
    bulk(run, tmp_path / "in", tmp_path / "out")
    seen: list[Any] = []
    real = run_module.load
    monkeypatch.setattr(run_module, "load", lambda *a, **how: seen.append(how["precision"]) or real(*a, **how))
    monkeypatch.setattr(polyhead.predict, "choose_precision", lambda _: "bf16")
    bulk(run, tmp_path / "in", tmp_path / "out")
    assert seen == ["fp32"]
