"""What is wrong with one file of a folder, or with what a call left behind, keeps no other from its answers."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import polyhead.bulk.processes as processes
from bulk.folders import bulk, small_parts, texts, trained
from polyhead.bulk.folder import Answers
from polyhead.bulk.jobs import How, Job, Outcome
from polyhead.bulk.work import Answerer
from polyhead.errors import PolyheadError
from test_cli import fault

pytestmark = pytest.mark.usefixtures("light", "parts")


@pytest.fixture(scope="module")
def parts() -> Iterator[None]:
    with small_parts():
        yield


@pytest.fixture(scope="module")
def run(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tiny_encoder, tmp_path_factory.mktemp("data"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one file that is well."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.txt").write_text("two\n", encoding="utf-8")
    return tmp_path / "in"


def during(monkeypatch: pytest.MonkeyPatch, name: str, act: Any) -> None:
    """Do something before a file's answers are made."""
    real = Answerer._answer

    def answer(self: Answerer, job: Job) -> Outcome:
        if job.name == name:
            act()
        return real(self, job)

    monkeypatch.setattr(Answerer, "_answer", answer)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.parquet", b"no table", "not a Parquet file"),
        ("a.parquet", b"", "not a Parquet file"),
        ("a.conll", "A\tO\n".encode("utf-16"), "not UTF-8"),
        ("a.conll.gz", gzip.compress(b"A\tO\n" * 999)[:-9], "broken gzip"),
    ],
)
def test_a_broken_file_is_told(run: Path, folder: Path, tmp_path: Path, name: str, content: bytes, what: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (folder / name).write_bytes(content)
    found = bulk(run, folder, tmp_path / "out")
    assert found.done == 1 and (tmp_path / "out" / "b.conllu").exists()
    assert str(folder / name) in found.failed[name] and what in found.failed[name]
    if name == "a.parquet":
        assert what in fault("predict", run, folder / name, "-o", tmp_path / "alone.parquet").what


def test_a_file_that_is_gone_or_cannot_be_read_is_told(
    run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "gone.txt").write_text("one\n", encoding="utf-8")
    memory = Path("/proc/self/mem")
    if memory.exists():
        (folder / "mem.txt").symlink_to(memory)  # which cannot be read at its beginning
    during(monkeypatch, "gone.txt", (folder / "gone.txt").unlink)
    found = bulk(run, folder, tmp_path / "out")
    assert found.done == 1 and "gone.txt" in found.failed["gone.txt"]
    assert not memory.exists() or str(folder / "mem.txt") in found.failed["mem.txt"]


def test_names_that_are_long_or_taken_are_their_files_own_fault(run: Path, folder: Path, tmp_path: Path) -> None:
    long, longer = f"{'x' * 240}.txt", f"{'y' * 250}.txt"
    for name in (long, longer, "a.txt"):
        (folder / name).write_text("one\n", encoding="utf-8")
    (folder / "a.conllu").mkdir()
    (folder / "a.conllu" / "c.txt").write_text("three\n", encoding="utf-8")
    for _ in range(2):
        found = bulk(run, folder, tmp_path / "out")
        assert found.done == 3 and (tmp_path / "out" / f"{'x' * 240}.conllu").exists()
        assert sorted(found.failed) == ["a.conllu/c.txt", longer]
        assert str(folder / longer) in found.failed[longer] and "Choose a shorter name" in found.failed[longer]


def test_a_name_that_is_not_utf8_is_left_out(run: Path, folder: Path, tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt")).write_text("one\n", encoding="utf-8")
    except OSError:
        pytest.skip("the file system takes UTF-8 alone")
    said: list[str] = []
    assert bulk(run, folder, tmp_path / "out", tell=said.append).done == 1
    assert said == ["1 file whose name is not UTF-8 left out, as \\xff.txt"]


def test_the_command_that_deletes_answers_is_quoted(run: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "my file.txt").write_text("one\n", encoding="utf-8")
    bulk(run, folder, tmp_path / "out")
    (folder / "my file.txt").write_text("three\n", encoding="utf-8")
    with pytest.raises(PolyheadError, match="has changed since it was answered") as error:
        bulk(run, folder, tmp_path / "out")
    subprocess.run(error.value.remedy.partition("(")[2].partition(")")[0], shell=True, check=True)
    assert bulk(run, folder, tmp_path / "out").done == 2


@pytest.mark.parametrize("count", [1, 60], ids=["small", "in parts"])
def test_a_file_that_changes_while_it_is_answered_has_no_answers(
    run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    path, content = folder / "a.txt", "\n".join(texts(count))
    path.write_text(content, encoding="utf-8")
    real = Answerer._examples

    def examples(self: Answerer, job: Job, *more: Any) -> Any:
        yield from real(self, job, *more)
        if job.name == "a.txt":
            path.write_text(content.replace("0", "1"), encoding="utf-8")  # of the same size

    with monkeypatch.context() as patch:
        patch.setattr(Answerer, "_examples", examples)
        found = bulk(run, folder, tmp_path / "out")
    assert found.done == 1 and "the file was changed while it was answered" in found.failed["a.txt"]
    assert bulk(run, folder, tmp_path / "out").failed == {}


def test_a_file_that_grew_before_it_was_answered_is_done(
    run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.txt").write_text("one\n", encoding="utf-8")
    with monkeypatch.context() as patch:
        during(patch, "a.txt", lambda: (folder / "a.txt").write_text("one\nmore\n", encoding="utf-8"))
        assert bulk(run, folder, tmp_path / "out").texts == 3
    assert bulk(run, folder, tmp_path / "out").before == 2


def test_answers_of_a_killed_call_are_known_after_a_touch(run: Path, folder: Path, tmp_path: Path) -> None:
    bulk(run, folder, tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.json"
    found = json.loads(manifest.read_text(encoding="utf-8"))
    del found["inputs"]["b.txt"]["sha256"]  # a kill between the answers and their note
    manifest.write_text(json.dumps(found), encoding="utf-8")
    bulk(run, folder, tmp_path / "out")
    os.utime(folder / "b.txt", (1, 1))
    assert bulk(run, folder, tmp_path / "out").before == 1


def test_a_log_that_breaks_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / ".polyhead").mkdir()
    answers = Answers(tmp_path, {})
    name = "a\u2028b.txt"
    answers.inputs[name] = {"size": 1, "modified": 1, "answers": "a.conllu"}
    answers.save()
    answers.learn(name, texts=3)
    with answers._log().open("ab") as log:
        log.write('["é'.encode()[:-1])
    old = answers._log()
    again = Answers(tmp_path, {})
    assert again.inputs[name]["texts"] == 3
    kept = old.read_bytes()
    again.inputs[name].pop("texts")
    again.save()
    old.write_bytes(kept)  # a kill between the manifest and the log's end
    assert "texts" not in Answers(tmp_path, {}).inputs[name]


def test_what_an_ended_call_had_begun_does_not_count(tmp_path: Path) -> None:
    tried = tmp_path / ".polyhead" / "parts" / "a.txt" / "0.tried"
    tried.parent.mkdir(parents=True)
    tried.write_bytes(b"...")
    Answers(tmp_path, {})
    assert not tried.exists()


@pytest.mark.parametrize("content", ["{}", '{"asked": [], "inputs": {}}', '{"asked": {}, "inputs": {"a": 1}}', "no"])
def test_another_tools_manifest_is_refused(run: Path, folder: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(PolyheadError, match="not what polyhead writes") as error:
        bulk(run, folder, tmp_path / "out")
    assert "take a new folder" in error.value.remedy


def test_a_foreign_folder_stays_as_it_is(run: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("", encoding="utf-8")
    with pytest.raises(PolyheadError, match="This folder is not empty"):
        bulk(run, folder, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_names_keep_what_is_no_ending(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name in ("v1.2", "v1.3", "mono.en", "a.TXT"):
        (folder / name).write_text("one\n", encoding="utf-8")
    (folder / "link").symlink_to(folder / "deep")
    (folder / "dangling.txt").symlink_to(folder / "none")
    said: list[str] = []
    bulk(run, folder, tmp_path / "out", from_format="text", tell=said.append)
    found = sorted(path.name for path in (tmp_path / "out").glob("*.conllu"))
    assert found == ["a.conllu", "mono.en.conllu", "v1.2.conllu", "v1.3.conllu"]
    assert said == ["2 links to folders or to nothing left out, as link (links to files are read)"]


def test_there_are_no_more_workers_than_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    class Counted(processes._Pool):
        def __init__(self, how: How, count: int) -> None:
            counts.append(count)
            raise PolyheadError("enough")

    monkeypatch.setattr(processes, "_Pool", Counted)
    for cut in (False, True):
        job = Job("a", "a", {}, "jsonl", str(tmp_path / "a"), str(tmp_path / "parts"), cut=cut)
        with pytest.raises(PolyheadError, match="enough"):
            list(processes.by_processes([job], How(""), 4))
    assert counts == [1, 4]
