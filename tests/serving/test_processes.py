"""Real servers on a tiny model: the answers of ``predict``; killed processes, new versions, stops under load."""

from __future__ import annotations

import asyncio
import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import polyhead
import polyhead.answering.annotator
import runs
from polyhead.errors import PolyheadError
from polyhead.serving.questions import Failure, Question, Wish
from polyhead.serving.work import answer, look, work
from polyhead.serving.worker import ProcessWorker
from serving.real import SOURCE, Running, running

pytestmark = [
    pytest.mark.usefixtures("light"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find the processes of models"),
]

TEXTS = ["The cats sat in Rome.", "It was bad. See Ann Lee!", "😀 café", "x" * 300, "a <b> & c", "\u202eabc", " "]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A folder with a run in it."""
    folder = runs.write_data(tmp_path_factory.mktemp("serve"))
    recipe = runs.write_recipe(folder, tiny_encoder, "[[stages]]\nepochs = 1\n")
    polyhead.train(recipe, folder / "run")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    """A server of a copy of the run, which tests may replace."""
    shutil.copytree(folder / "run" / "model", folder / "served")
    with running(folder, "one=served", "--timeout", "300") as started:
        yield started


def asked(server: Running, body: Any, **rest: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/annotate", json=body, timeout=300, **rest)


def test_answers_are_those_of_predict(server: Running, folder: Path) -> None:
    annotate = polyhead.load(folder / "run")
    docs = annotate.texts(TEXTS)
    found = asked(server, {"texts": TEXTS, "confidence": True}).json()["answers"]
    for doc, one in zip(docs, found, strict=True):
        expected = json.loads(json.dumps(doc.to_dict(confidence=True)))
        assert rounded(one) == rounded(expected)
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    command = [sys.executable, "-m", "polyhead", "predict", "run", "texts.jsonl", "--task", "pos"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    lines = httpx.post(
        f"{server.url}/v1/stream?tasks=pos",
        content=file.read_bytes(),
        headers={"Content-Type": "application/x-ndjson"},
        timeout=60,
    ).text
    assert [json.loads(line) for line in lines.splitlines()] == [json.loads(line) for line in done.stdout.splitlines()]
    conllu = asked(server, {"texts": TEXTS, "format": "conllu"}).text
    assert conllu == "".join(doc.to_conllu() for doc in docs)
    words = asked(server, {"words": ["The", "cats", "sat"], "tasks": ["entities"]}).json()["answers"][0]
    assert words == json.loads(
        json.dumps(annotate.only("entities").words([["The", "cats", "sat"]])[0].to_dict(confidence=False))
    )


def rounded(value: Any) -> Any:
    """Without the last digit of confidences, which depends on what else is in a batch."""
    if isinstance(value, float):
        return pytest.approx(value, abs=2e-3)
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


async def load(url: str, stop: asyncio.Event, clients: int = 8) -> list[tuple[int, int, bool]]:
    """What clients get that ask one after the other until they are stopped: status, version, and whether it is the
    answer to their own question."""
    seen: list[tuple[int, int, bool]] = []

    async def client(number: int) -> None:
        async with httpx.AsyncClient(timeout=300) as session:
            count = 0
            while not stop.is_set():
                text = f"The cats {number} sat {count}."
                response = await session.post(f"{url}/v1/annotate", json={"text": text})
                found = response.json()
                own = response.status_code == 200 and found["answers"][0]["text"] == text
                seen.append((response.status_code, found.get("version", 0), own))
                count += 1

    await asyncio.gather(*(client(number) for number in range(clients)))
    return seen


def under_load(server: Running, act: Any, after: float = 0.5) -> list[tuple[int, int, bool]]:
    async def go() -> list[tuple[int, int, bool]]:
        stop = asyncio.Event()
        asking = asyncio.create_task(load(server.url, stop))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(act)
        await asyncio.sleep(after)
        stop.set()
        return await asking

    return asyncio.run(asyncio.wait_for(go(), 900))


def test_a_killed_model_is_started_again_and_no_request_is_lost(server: Running) -> None:
    def kill() -> None:
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)
        server.wait_for("the process of one ended")
        while httpx.get(f"{server.url}/ready", timeout=60).status_code != 200:
            time.sleep(0.1)
        assert asked(server, {"text": "a"}).json()["version"] == before + 1

    before = server.version()
    seen = under_load(server, kill)
    assert {status for status, _, _ in seen} == {200} and all(own for _, _, own in seen)
    assert {version for _, version, _ in seen} <= {before, before + 1}


def test_a_new_version_is_swapped_in_under_load(server: Running) -> None:
    before = server.version()

    def swap() -> None:
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(f"one is now at version {before + 1}")
        assert asked(server, {"text": "a"}).json()["version"] == before + 1

    seen = under_load(server, swap)
    assert {status for status, _, _ in seen} == {200} and all(own for _, _, own in seen)
    assert {version for _, version, _ in seen} <= {before, before + 1}
    end = time.monotonic() + 60
    while len(server.workers()) > 1 and time.monotonic() < end:
        time.sleep(0.05)
    assert len(server.workers()) == 1, "the old version is gone"


def test_a_version_that_cannot_be_loaded_leaves_the_old_one(server: Running, folder: Path) -> None:
    before = server.version()
    config = folder / "served" / "config.json"
    good = config.read_bytes()
    config.write_bytes(b"{")
    try:
        server.process.send_signal(signal.SIGHUP)
        said = server.wait_for("was not loaded anew")
        assert "config.json" in said and "Traceback" not in said
    finally:
        config.write_bytes(good)
    assert asked(server, {"text": "a"}).json()["version"] == before
    told = httpx.get(f"{server.url}/v1/models/one", timeout=60).json()
    assert "config.json" in told["error"] and told["ready"]


def test_a_stop_under_load_answers_what_was_accepted(folder: Path) -> None:
    with running(folder, "run", "--log", "requests") as server:

        async def go() -> list[int]:
            async with httpx.AsyncClient(timeout=300) as session:
                body = {"texts": [f"The cats {i} sat." for i in range(50)]}
                asking = [asyncio.create_task(session.post(f"{server.url}/v1/annotate", json=body)) for _ in range(20)]
                await asyncio.to_thread(server.wait_for, "POST /v1/annotate 200")
                server.process.send_signal(signal.SIGTERM)
                return [len((await one).json()["answers"]) for one in asking]

        assert asyncio.run(asyncio.wait_for(go(), 120)) == [50] * 20
        assert server.process.wait(60) == 0
        assert server.workers() == []


def test_a_killed_server_leaves_no_process_behind(folder: Path) -> None:
    with running(folder, "run") as server:
        workers = server.workers()
        assert len(workers) == 1
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(60)
        end = time.monotonic() + 60
        while any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers) and time.monotonic() < end:
            time.sleep(0.1)
        assert not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers)


def test_what_cannot_be_served_is_told_in_a_line(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    for arguments, what in (
        (["no-such-run"], "There is no run 'no-such-run'"),
        (["run", "--host", "0.0.0.0"], "no key is set"),
        (["run", "run"], "Two models are called 'run'"),
        (["run", "--timeout", "0"], "seconds = 0"),
    ):
        command = [sys.executable, "-m", "polyhead", "serve", *arguments, "--port", "0"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 1 and what in done.stderr and "Traceback" not in done.stderr


def test_a_stop_ends_a_model_that_cannot_be_started_again(folder: Path) -> None:
    shutil.copytree(folder / "run" / "model", folder / "gone")
    with running(folder, "gone", "--grace", "1") as server:
        shutil.rmtree(folder / "gone")
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(httpx.TimeoutException):
            httpx.post(f"{server.url}/v1/annotate", json={"text": "a"}, timeout=1)
        server.wait_for("cannot be started again")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        assert "Traceback" not in server.log.read_text(encoding="utf-8")


def test_a_process_that_is_given_up_while_it_starts_ends() -> None:
    worker = ProcessWorker()
    worker.kill()
    with pytest.raises(PolyheadError, match=r"The process that loads no-such-run ended \(exit status -9\)"):
        worker._begin("no-such-run", 1)


def test_a_process_that_the_system_has_no_room_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(*_: Any) -> Any:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(ProcessWorker, "_begin", begin)
    with pytest.raises(PolyheadError, match=r"No process can be started for place: .*Cannot allocate memory"):
        asyncio.run(ProcessWorker.start("place", 1))


# --- what the process of a model does, in this one ---


@pytest.mark.parametrize("place", ["run", "no-such-run"])
def test_it_ends_silently_if_its_server_is_gone(folder: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyhead.serving.work._belong_to_the_server", lambda: None)
    server, own = multiprocessing.Pipe()
    server.close()
    work(str(folder / place), None, own)


def test_it_finds_the_kinds_of_answers(folder: Path) -> None:
    heads = {head.task: head.kind for head in look(polyhead.load(folder / "run"))}
    assert heads == {"pos": "words", "syntax": "tree", "entities": "spans", "mood": "label"}


def test_a_text_on_which_the_model_fails_fails_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    annotate = polyhead.load(folder / "run")
    split = polyhead.answering.annotator.split_text  # type: ignore[attr-defined]

    def broken(text: str, *rest: Any) -> Any:
        if "secret" in text:
            raise RuntimeError(f"cannot read {text}")
        return split(text, *rest)

    monkeypatch.setattr("polyhead.answering.annotator.split_text", broken)
    questions = [Question(text=text) for text in ("The cats.", "a secret", "in Rome")]
    first, second, third = answer(annotate, Wish(), questions)
    assert isinstance(first, bytes) and isinstance(third, bytes)
    assert isinstance(second, Failure) and not second.refused
    assert "secret" not in second.trace + second.what and "RuntimeError" in second.trace and "secret" in second.said


def test_a_task_about_words_says_that_it_answers_no_pairs(folder: Path) -> None:
    questions = [Question(text="The cats."), Question(text="The cats.", pair="They sat.")]
    first, second = answer(polyhead.load(folder / "run"), Wish(("entities", "pos")), questions)
    assert isinstance(first, bytes) and b"entities" in first
    assert isinstance(second, Failure) and second.refused and "tasks.entities answers no pairs" in second.what


def test_an_exported_model_is_served(folder: Path, tmp_path: Path) -> None:
    """Its process needs no torch."""
    pytest.importorskip("onnxruntime")
    exported = polyhead.export(folder / "run", tmp_path / "exported")
    docs = polyhead.load(exported).texts(TEXTS)
    with running(tmp_path, "exported", "--timeout", "300") as served:
        found = asked(served, {"texts": TEXTS, "confidence": True}).json()["answers"]
        assert rounded(found) == rounded([json.loads(json.dumps(doc.to_dict(confidence=True))) for doc in docs])
        (worker,) = served.workers()
        assert "libtorch" not in Path(f"/proc/{worker}/maps").read_text()


def test_an_unknown_task_is_refused_by_the_version_that_lacks_it(folder: Path) -> None:
    (found,) = answer(polyhead.load(folder / "run"), Wish(("poss",)), [Question(text="a")])
    assert isinstance(found, Failure) and found.refused and "'pos'" in found.remedy
